"""Samples per second of a UNIReID training step, ViT-B/16 at 384x128: ours against a straightforward one.

    python benchmarks/unireid_throughput.py                          # batch 64 on a GPU
    python benchmarks/unireid_throughput.py --device cpu --batch 4 --steps 3

A sample is a photograph, a sketch and a caption of 25 words; weights and pixels are random, which changes no cost. A
step is forward, loss, backward, optimiser. *Straightforward*: open_clip's own calls, one for photographs, one for
sketches, one for captions at 77 tokens, float32, eager, plain Adam. *Ours*: what `reidtrain fit` does, photographs and
sketches in one pass, captions cut behind the longest, then, each on top of the one before, bfloat16 autocast, on a GPU
channels-last convolution and a fused optimiser, and with `--compile` torch.compile. The median of the steps after two
that are not counted (compiling is in these); on the CPU one thread and its CPU time.

Measured on one core of an AMD EPYC (Zen 4, with bfloat16) while other jobs ran beside, batch 4, 2 steps:

    | step | samples/s | over straightforward | loss of the first step |
    |---|---|---|---|
    | straightforward, float32 | 0.36 | 1.00 | 6.2106 |
    | ours, float32 | 0.39 | 1.07 | 6.2106 |
    | ours, bfloat16 | 0.67 | 1.84 | 6.2117 |

No GPU was at hand: the figures for batch 64 on one, and for channels-last, the fused optimiser and compiling, are open.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from reidtrain.backbones import DualEncoder
from reidtrain.batch import Batch
from reidtrain.hardware import keep_memory
from reidtrain.models import build_model
from reidtrain.models.unireid import UNIReIDOutputs
from reidtrain.objectives import OBJECTIVES
from reidtrain.optim import Group, parameter_groups
from reidtrain.tokenizer import Tokenizer

SIZE = (384, 128)
CAPTION = "a tall woman with long brown hair in a red checked coat over a white shirt, blue jeans and grey sneakers, "
CAPTION += "carrying a small black leather bag"
GROUPS = (Group("bias", lr_scale=2.0, weight_decay=0.0),)
UNCOUNTED = 2


@dataclass(frozen=True)
class Variant:
    """A way to make a step; fields as in the module docstring."""

    name: str
    plain: bool = False
    bfloat16: bool = False
    tuned: bool = False
    compiled: bool = False


class Straightforward(nn.Module):
    """UNIReID's forward pass as one writes it first."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model

    def forward(self, batch: Batch) -> UNIReIDOutputs:
        """Encode photographs, sketches and captions, one after another."""
        clip = self.model.backbone.clip
        features = {name: clip.encode_image(batch.images[name]) for name in ("rgb", "sketch")}
        features["text"] = clip.encode_text(batch.tokens)
        features["fused"] = features["sketch"] + features["text"]
        return UNIReIDOutputs(features, torch.ones_like(batch.labels, dtype=torch.bool), self.model.scale * 1.0)


def draw_model() -> Any:  # noqa: ANN401  reidtrain.models.unireid.UNIReID
    """UNIReID on ViT-B/16 with random weights."""
    import open_clip

    torch.manual_seed(0)
    clip = open_clip.create_model("ViT-B-16", pretrained=None)
    return build_model("unireid", DualEncoder(clip, Tokenizer(), image_size=SIZE, frozen=False)).train()


def draw_batch(model: Any, count: int, device: str) -> Batch:  # noqa: ANN401
    """Random pixels, distinct identities."""
    torch.manual_seed(0)
    images = {name: torch.randn(count, 3, *SIZE) for name in ("rgb", "sketch")}
    present = {name: torch.ones(count, dtype=torch.bool) for name in ("rgb", "sketch", "text")}
    numbers = torch.arange(count)
    return Batch(images, model.backbone.tokenize([CAPTION] * count), present, numbers, numbers).to(device)


def make_step(variant: Variant, batch: Batch, device: str) -> Callable[[], float]:
    """Build a training step that returns its loss."""
    model = draw_model().to(device)
    cuda = device == "cuda"
    if variant.tuned and cuda:
        model.to(memory_format=torch.channels_last)
    groups = parameter_groups(model, lr=1e-5, weight_decay=4e-5, groups=GROUPS)
    optimizer = torch.optim.Adam(groups, eps=1e-3, fused=True if variant.tuned and cuda else None)
    forward: Any = Straightforward(model) if variant.plain else model
    forward = torch.compile(forward) if variant.compiled else forward

    def step() -> float:
        kind = torch.autocast(device, dtype=torch.bfloat16) if variant.bfloat16 else nullcontext()
        with kind:
            outputs = forward(batch)
        loss = OBJECTIVES["unireid"](outputs, batch, {})["total"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    return step


def seconds(step: Callable[[], float], steps: int, clock: Callable[[], float]) -> tuple[float, float]:
    """Median seconds of a step, and the first loss."""
    first = step()
    spent = []
    for _ in range(UNCOUNTED - 1 + steps):
        start = clock()
        step()  # reads the loss back, so a GPU is done
        spent.append(clock() - start)
    return statistics.median(spent[UNCOUNTED - 1 :]), first


def variants(device: str, *, compiled: bool) -> list[Variant]:
    """What is measured."""
    listed = [Variant("straightforward, float32", plain=True), Variant("ours, float32")]
    listed.append(Variant("ours, bfloat16", bfloat16=True))
    tuned = device == "cuda"
    if tuned:
        listed.append(Variant("ours, bfloat16, channels-last, fused Adam", bfloat16=True, tuned=True))
    if compiled:
        listed.append(Variant(f"{listed[-1].name}, compiled", bfloat16=True, tuned=tuned, compiled=True))
    return listed


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    keep_memory()
    clock = time.perf_counter if options.device == "cuda" else time.process_time
    if options.device == "cpu":
        torch.set_num_threads(1)
    batch = draw_batch(draw_model(), options.batch, options.device)
    print(f"batch {options.batch}, {options.device}, {options.steps} steps")
    print("| step | samples/s | over straightforward | loss of the first step |\n|---|---|---|---|")
    base = 0.0
    for variant in variants(options.device, compiled=options.compile):
        spent, loss = seconds(make_step(variant, batch, options.device), options.steps, clock)
        base = base or spent
        print(f"| {variant.name} | {options.batch / spent:.2f} | {base / spent:.2f} | {loss:.4f} |", flush=True)


if __name__ == "__main__":
    main()
