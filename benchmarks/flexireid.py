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

One expert layer forward and back, all experts on all tokens (dense) against each on its own tokens (sparse):

| expert layer | active of 6 | dense, cpu s | sparse, cpu s |
|---|---|---|---|
| demo (64 x 33 tokens of 128, adapters of 16) | 4.0 | 0.010 | 0.023 |
| demo (64 x 33 tokens of 128, adapters of 16) | 2.2 | 0.009 | 0.013 |
| demo (64 x 33 tokens of 128, adapters of 16) | 1.5 | 0.009 | 0.009 |
| demo (64 x 33 tokens of 128, adapters of 16) | 1.1 | 0.007 | 0.007 |
| ViT-B/16 (64 x 193 tokens of 768, adapters of 64) | 4.0 | 0.634 | 1.468 |
| ViT-B/16 (64 x 193 tokens of 768, adapters of 64) | 2.3 | 0.651 | 0.640 |
| ViT-B/16 (64 x 193 tokens of 768, adapters of 64) | 1.5 | 0.623 | 0.533 |
| ViT-B/16 (64 x 193 tokens of 768, adapters of 64) | 1.1 | 0.671 | 0.430 |
| ViT-B/16, adapters of 256 | 4.0 | 2.291 | 2.316 |
| ViT-B/16, adapters of 256 | 2.3 | 2.381 | 1.279 |
| ViT-B/16, adapters of 256 | 1.6 | 2.289 | 1.023 |
| ViT-B/16, adapters of 256 | 1.1 | 2.423 | 0.862 |

So the sparse form pays once routing is sharp (1.5 times at one expert a token and the paper's width, 2.8 times at four
times that width), loses by half where four of six work, and does nothing for the demo's narrow adapters: a whole step
there took 1.08 s dense and 1.07 s sparse, measured side by side. FlexiReID begins with four active experts, and its
entropy term drives them towards one.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from reidtrain.backbones import DualEncoder, build_backbone
from reidtrain.batch import MODALITIES, Batch
from reidtrain.models import build_model
from reidtrain.models.experts import ExpertLayer, ExpertOptions
from reidtrain.objectives import OBJECTIVES

CAPTION = "A woman seen from behind wearing a red checked coat, blue jeans and white sneakers, with long brown hair."
ROWS = 64
SMALL = {"adapter_width": 16, "local_tokens": 4, "fusion_heads": 4, "fusion_ratio": 2.0}
VARIANTS: dict[str, dict[str, object]] = {
    "global-sum, single adapter": {**SMALL, "fusion": "global-sum", "routing": "mlp"},
    "global-sum, adaptive": {**SMALL, "fusion": "global-sum"},
    "cmqf, single adapter": {**SMALL, "routing": "mlp"},
    "cmqf, adaptive": SMALL,
    "cmqf, adaptive, sparse experts": {**SMALL, "moe": "sparse"},
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


LAYERS = {
    "demo (64 x 33 tokens of 128, adapters of 16)": (33, 128, 16),
    "ViT-B/16 (64 x 193 tokens of 768, adapters of 64)": (193, 768, 64),
    "ViT-B/16, adapters of 256": (193, 768, 256),
}


def expert_layer(shape: tuple[int, int, int], form: str, active: float) -> tuple[float, float]:
    """CPU seconds of one expert layer, forward and back, and mean number of active experts.

    Args:
        shape: tokens, their width, width of an adapter.
        form: `dense` or `sparse`.
        active: how far the router's weights differ; 0 routes all alike.
    """
    length, width, adapter = shape
    torch.manual_seed(0)
    layer = ExpertLayer(width, ExpertOptions(width=adapter, form=form))
    torch.nn.init.normal_(layer.up, std=0.02)
    assert layer.router is not None
    torch.nn.init.normal_(layer.router.weight, std=active * width**-0.5)
    tokens = torch.randn(ROWS, length, width, requires_grad=True)
    counted: list[float] = []

    def step() -> None:
        update, routing = layer(tokens, None)
        assert routing is not None
        counted.append(float(routing.active.float().mean()))
        update.sum().backward()

    return median_seconds(step), counted[-1]


def compare_forms() -> None:
    """Print dense against sparse experts."""
    print("\n| expert layer | active of 6 | dense, cpu s | sparse, cpu s |\n|---|---|---|---|")
    for name, shape in LAYERS.items():
        for active in (0.0, 1.0, 2.0, 8.0):
            dense, count = expert_layer(shape, "dense", active)
            sparse, _ = expert_layer(shape, "sparse", active)
            print(f"| {name} | {count:.1f} | {dense:.3f} | {sparse:.3f} |", flush=True)


def main() -> None:
    """Measure and print tables in Markdown."""
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
    compare_forms()


if __name__ == "__main__":
    main()
