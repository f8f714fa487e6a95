"""Memory and time of one UNIReID step on ViT-B/16 (384x128, 8 tuples), whole, in parts, and recomputed.

    OMP_NUM_THREADS=1 python benchmarks/training_memory.py

Every variant runs in a process of its own: forward, loss and backward of random pixels on random weights, float32, no
optimiser. Peak is the largest resident memory of the process, 0.6 GiB of weights and as much of gradients included; CPU
seconds are those of the second step.

Measured on one core of an EPYC (AVX-512):

| variant | peak, MiB | cpu s |
|---|---|---|
| the model alone | 1,387 | 0.0 |
| whole batch | 5,744 | 21.4 |
| 4 parts, loss of the batch | 3,061 | 27.3 |
| 4 parts, a loss each | 3,447 | 20.6 |
| gradient checkpointing | 2,457 | 24.4 |
| gradient checkpointing, 4 parts, loss of the batch | 2,635 | 31.0 |

Parts with the loss of the whole batch cost 28 % more time and 2.6 GiB less; checkpointing saves more for less at this
size, and both together nothing more: what parts still save grows with the batch, what checkpointing keeps of it too.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

import torch
from accelerate import Accelerator

from reidtrain.backbones import DualEncoder, recompute_blocks
from reidtrain.batch import Batch
from reidtrain.gradients import InParts, backward
from reidtrain.models import build_model
from reidtrain.objectives import OBJECTIVES
from reidtrain.tokenizer import Tokenizer

ROWS, SIZE = 8, (384, 128)
CAPTION = "A woman seen from behind wearing a red checked coat, blue jeans and white sneakers, with long brown hair."
VARIANTS: dict[str, dict[str, int]] = {
    "the model alone": {"steps": 0},
    "whole batch": {},
    "4 parts, loss of the batch": {"cached": 4},
    "4 parts, a loss each": {"parts": 4},
    "gradient checkpointing": {"recompute": 1},
    "gradient checkpointing, 4 parts, loss of the batch": {"recompute": 1, "cached": 4},
}


def measure(*, cached: int = 1, parts: int = 1, recompute: int = 0, steps: int = 2) -> dict[str, float]:
    """Run steps of a variant in this process: CPU seconds of the last one, peak memory in MiB."""
    import open_clip

    torch.manual_seed(0)
    clip = open_clip.create_model("ViT-B-16", pretrained=None)
    model = build_model("unireid", DualEncoder(clip, Tokenizer(77), frozen=False, image_size=SIZE)).train()
    images = {name: torch.randn(ROWS, 3, *SIZE) for name in ("rgb", "sketch")}
    rows = torch.arange(ROWS)
    present = {name: rows >= 0 for name in ("rgb", "sketch", "text")}
    batch = Batch(images, Tokenizer(77)([CAPTION] * ROWS), present, rows, rows)
    if recompute:
        recompute_blocks(model)
    whole = InParts(model, cached) if cached > 1 else model
    accelerator = Accelerator(cpu=True)
    seconds = 0.0
    for _ in range(steps):
        model.zero_grad()
        start = time.process_time()
        backward(accelerator, whole, lambda out, piece: OBJECTIVES["unireid"](out, piece, {}), batch, parts=parts)
        seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": seconds, "peak": peak / 2**10}


def main() -> None:
    """Measure every variant and print a table in Markdown."""
    if len(sys.argv) > 1:
        print(json.dumps(measure(**json.loads(sys.argv[1]))))
        return
    print("| variant | peak, MiB | cpu s |\n|---|---|---|")
    for name, options in VARIANTS.items():
        done = subprocess.run(
            [sys.executable, __file__, json.dumps(options)], capture_output=True, text=True, check=True
        )
        found = json.loads(done.stdout.splitlines()[-1])
        print(f"| {name} | {found['peak']:,.0f} | {found['seconds']:.1f} |", flush=True)


if __name__ == "__main__":
    main()
