"""CPU seconds of one FlexiReID training step on the demo backbone, by fusion and routing, and encoding speed.

    OMP_NUM_THREADS=1 python benchmarks/flexireid.py

A batch is 64 identities with photograph, infrared image, sketch and caption, random pixels. CPU seconds are the sum
over all threads, the median of five steps after two that are not counted. Measured on 2 cores of an EPYC (AVX-512):

| variant | cpu s a step of 64 | trained parameters |
|---|---|---|
| global-sum, single adapter | 0.61 | 29,680 |
| global-sum, adaptive | 0.63 | 183,456 |
| cmqf, single adapter | 0.77 | 562,544 |
| cmqf, adaptive | 0.83 | 716,320 |
| cmqf, adaptive, 8 local tokens, FFN ratio 4 | 1.05 | 981,024 |
| concat, adaptive | 0.72 | 318,112 |
| hierarchical, adaptive | 0.80 | 716,320 |

Frozen encoder, a cpu second: 623 images, 2352 captions.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from reidtrain.backbones import DualEncoder, build_backbone
from reidtrain.batch import MODALITIES, Batch
from reidtrain.models import build_model
from reidtrain.objectives import OBJECTIVES

CAPTION = "A woman seen from behind wearing a red checked coat, blue jeans and white sneakers, with long brown hair."
ROWS = 64
SMALL = {"adapter_width": 16, "local_tokens": 4, "fusion_heads": 4, "fusion_ratio": 2.0}
VARIANTS: dict[str, dict[str, object]] = {
    "global-sum, single adapter": {**SMALL, "fusion": "global-sum", "routing": "mlp"},
    "global-sum, adaptive": {**SMALL, "fusion": "global-sum"},
    "cmqf, single adapter": {**SMALL, "routing": "mlp"},
    "cmqf, adaptive": SMALL,
    "cmqf, adaptive, 8 local tokens, FFN ratio 4": {**SMALL, "local_tokens": 8, "fusion_ratio": 4.0},
    "concat, adaptive": {**SMALL, "fusion": "concat"},
    "hierarchical, adaptive": {**SMALL, "fusion": "hierarchical"},
}


def draw(backbone: DualEncoder, rows: int) -> Batch:
    """Draw a batch of random pixels."""
    images = {name: torch.randn(rows, 3, *backbone.image_size) for name in MODALITIES if name != "text"}
    present = {name: torch.ones(rows, dtype=torch.bool) for name in MODALITIES}
    return Batch(images, backbone.tokenize([CAPTION] * rows), present, torch.arange(rows), torch.arange(rows))


def median_seconds(work: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    spent = []
    for _ in range(7):
        start = time.process_time()
        work()
        spent.append(time.process_time() - start)
    return statistics.median(spent[2:])


def training_step(backbone: DualEncoder, batch: Batch, options: dict[str, object]) -> tuple[float, int]:
    """CPU seconds of a step, and trained parameters."""
    torch.manual_seed(0)
    model = build_model("flexireid", backbone, **options).train()
    trained = [value for value in model.parameters() if value.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        OBJECTIVES["flexireid"](model(batch), batch, {})["total"].backward()
        optimizer.step()

    return median_seconds(step), sum(value.numel() for value in trained)


def main() -> None:
    """Measure and print a table in Markdown."""
    torch.manual_seed(0)
    backbone = build_backbone("demo")
    batch = draw(backbone, ROWS)
    print("| variant | cpu s a step of 64 | trained parameters |\n|---|---|---|")
    for name, options in VARIANTS.items():
        seconds, count = training_step(backbone, batch, options)
        print(f"| {name} | {seconds:.2f} | {count:,} |", flush=True)
    with torch.no_grad():
        images = ROWS / median_seconds(lambda: backbone.image_tokens(batch.images["rgb"]))
        texts = ROWS / median_seconds(lambda: backbone.text_tokens(batch.tokens))
    print(f"\nFrozen encoder, a cpu second: {images:.0f} images, {texts:.0f} captions.")


if __name__ == "__main__":
    main()
