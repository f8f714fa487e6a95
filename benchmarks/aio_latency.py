"""Milliseconds that AIO takes for a query of 1, 2 and 4 modalities, beside the paper's table 9.

    python benchmarks/aio_latency.py                            # 700 samples; takes a GPU where there is one
    python benchmarks/aio_latency.py --samples 10 --device cpu

ViT-B/16 with random weights (they change no cost) at 384x192, 288 tokens an image, captions of 25 words, one sample at
a time, the median over the samples after three that are not counted; on the CPU one thread and its CPU time, so that
other jobs don't count. The paper tells neither its machine nor the batch
size nor which two modalities. `token_budget` is ours: image tokens that a sequence of several modalities holds at most.

Measured on one core of an AMD EPYC (Zen 4) while other jobs ran beside, 6 samples, float32; no GPU was at hand:

    | query | ms | ms, token_budget 288 | ms, token_budget 144 | paper, ms | over one modality: here, paper |
    |---|---|---|---|---|---|
    | R | 708.8 | 712.3 | 748.1 | 10.23 | 1.00, 1.00 |
    | T | 109.1 | 104.6 | 110.0 | 10.23 | 0.15, 1.00 |
    | R+T | 751.7 | 797.0 | 449.7 | 47.66 | 1.06, 4.66 |
    | R+I | 1453.2 | 728.9 | 508.5 | 47.66 | 2.05, 4.66 |
    | R+I+S+T | 2325.0 | 891.3 | 594.6 | 181.32 | 3.28, 17.72 |

Here the cost grows with the number of tokens, not with its square as in the paper: at this width the linear layers
outweigh attention up to some thousand tokens. With a budget of one image, four modalities cost 1.26 of one.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence

import torch

from reidtrain.backbones import DualEncoder
from reidtrain.batch import LETTERS, Batch
from reidtrain.hardware import choose_precision
from reidtrain.models import build_model
from reidtrain.published import read_published
from reidtrain.tokenizer import Tokenizer

SIZE = (384, 192)
QUERIES = (("rgb",), ("text",), ("rgb", "text"), ("rgb", "ir"), ("rgb", "ir", "sketch", "text"))
CAPTION = "a tall woman with long brown hair in a red checked coat over a white shirt, blue jeans and grey sneakers, "
CAPTION += "carrying a small black leather bag"
BUDGETS = (None, 288, 144)
UNCOUNTED = 3


def draw_backbone() -> DualEncoder:
    """ViT-B/16 with random weights."""
    import open_clip

    torch.manual_seed(0)
    return DualEncoder(open_clip.create_model("ViT-B-16", pretrained=None), Tokenizer(), image_size=SIZE)


def draw_sample(backbone: DualEncoder, modalities: Sequence[str]) -> Batch:
    """One sample of random pixels."""
    images = {name: torch.randn(1, 3, *SIZE) for name in modalities if name != "text"}
    present = {name: torch.ones(1, dtype=torch.bool) for name in modalities}
    tokens = backbone.tokenize([CAPTION]) if "text" in modalities else None
    return Batch(images, tokens, present, torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long))


@torch.inference_mode()
def latency(
    model: torch.nn.Module, backbone: DualEncoder, modalities: Sequence[str], options: argparse.Namespace
) -> float:
    """Median milliseconds of a sample."""
    batch = draw_sample(backbone, modalities).to(options.device)
    kind = {"no": torch.float32, "bf16": torch.bfloat16}[choose_precision(options.precision)]
    clock = time.perf_counter if options.device == "cuda" else time.process_time
    spent = []
    for _ in range(UNCOUNTED + options.samples):
        start = clock()
        with torch.autocast(options.device, dtype=kind, enabled=kind != torch.float32):
            model.encode(batch, modalities)
        if options.device == "cuda":
            torch.cuda.synchronize()
        spent.append(clock() - start)
    return 1000 * statistics.median(spent[UNCOUNTED:])


def published() -> dict[int, float]:
    """Number of modalities -> milliseconds of the paper."""
    paper = next(paper for paper in read_published() if paper.model == "aio")
    table = next(table for table in paper.tables if table.kind == "latency")
    return {int(entry["modalities"]): float(entry["ms"]) for entry in table.entries}


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=700)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    options = parser.parse_args()
    if options.device == "cpu":
        torch.set_num_threads(1)
    backbone, theirs = draw_backbone(), published()
    found: dict[tuple[str, ...], list[float]] = {query: [] for query in QUERIES}
    for budget in BUDGETS:
        model = build_model("aio", backbone, token_budget=budget).eval().to(options.device)
        for query in QUERIES:
            found[query].append(latency(model, backbone, query, options))
    print(f"{options.samples} samples, {options.device}, {options.precision}")
    budgets = " | ".join("ms" if budget is None else f"ms, token_budget {budget}" for budget in BUDGETS)
    print(f"| query | {budgets} | paper, ms | over one modality: here, paper |")
    print("|---|" + "---|" * (len(BUDGETS) + 2))
    for query, cells in found.items():
        paper = theirs[len(query)]
        ratios = f"{cells[0] / found['rgb',][0]:.2f}, {paper / theirs[1]:.2f}"
        name = "+".join(LETTERS[modality] for modality in query)
        print(f"| {name} | " + " | ".join(f"{cell:.1f}" for cell in cells) + f" | {paper} | {ratios} |")


if __name__ == "__main__":
    main()
