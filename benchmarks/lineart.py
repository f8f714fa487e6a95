"""What the line-art network costs: the step against controlnet_aux's own calls.

    OMP_NUM_THREADS=1 python benchmarks/lineart.py            # on the CPU
    python benchmarks/lineart.py --device cuda                # images/s on a GPU, and the share of time it is busy

Weights are random: they change neither the cost nor the agreement. On the CPU, time is CPU time of one process with one
thread; the best of some rounds is printed. "Native call" is the detector's network on one photograph of 256x128 in
float32, "default call" the detector as it comes, which draws at 1024x512.

Measured on an idle 2-core machine (AMD EPYC, Zen 4, with bfloat16); native call 280 ms, default call 5,920 ms (.86 and
.44 of the native call in a run while other jobs ran):

    | step | ms | of the native call | default call / step | batch = single | levels from float32: mean, most |
    |---|---|---|---|---|---|
    | float32 | 252 | 0.90 | 23 | True | 0.25, 0.5 |
    | bfloat16 | 131 | 0.47 | 45 | True | 0.43, 2.5 |

The library's convolutions are near the core's peak in float32, so only bfloat16 halves the cost there; what float32
gains is the last layer. The .25 levels are the rounding to 8 bits. On the CPU, batches of several photographs of that
size cost up to a fifth more each than single ones (they leave the caches), so that one is drawn at a time there. No GPU
was at hand when this was measured.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from reidsynth.schema import Sample
from reidsynth.steps import Step, build_step

PHOTOS, SIZE = 4, (256, 128)
GPU_PHOTOS = 1024


def detector(folder: Path) -> object:
    """Save random weights under their real names, and load them through controlnet_aux."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from controlnet_aux import LineartDetector
        from controlnet_aux.lineart import Generator
    torch.manual_seed(0)
    for name in ("sk_model.pth", "sk_model2.pth"):
        torch.save(Generator(3, 1, 3).state_dict(), folder / name)
    return LineartDetector.from_pretrained(str(folder))


def spent(work: Callable[[], object], images: int, rounds: int = 5) -> float:
    """CPU milliseconds an image."""
    work()
    times = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times) * 1000 / images


def drawn(step: Step, samples: list[Sample]) -> np.ndarray:
    """Sketches of a batch, int16."""
    return np.stack([np.asarray(made.image) for made in step.process(samples)]).astype(np.int16)


def on_cpu(folder: Path, samples: list[Sample]) -> None:
    """Print cost and agreement."""
    original = detector(folder)
    photos = [sample.images["rgb"] for sample in samples]
    given = torch.from_numpy(photos[0]).permute(2, 0, 1)[None].float() / 255.0
    with torch.inference_mode():
        native = spent(lambda: original.model(given), 1)
        theirs = 255.0 * torch.cat([original.model(torch.from_numpy(p).permute(2, 0, 1)[None] / 255.0) for p in photos])
    default = spent(lambda: original(photos[0]), 1, rounds=2)
    print(f"native call {native:.0f} ms, default call {default:.0f} ms")
    print("| step | ms | of the native call | default call / step | batch = single | levels from float32: mean, most |")
    print("|---|---|---|---|---|---|")
    kinds = ["float32"]
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        kinds.append("bfloat16")
    for kind in kinds:
        step = build_step(
            "build-sketch",
            "lineart",
            {"model": str(folder), "background": "keep", "precision": kind, "device": "cpu"},
        )
        cost = spent(lambda step=step: step.process(samples), len(samples))
        together = drawn(step, samples)
        alone = np.concatenate([drawn(step, [sample]) for sample in samples])
        away = np.abs(together - theirs[:, 0].numpy())
        print(
            f"| {kind} | {cost:.0f} | {cost / native:.2f} | {default / cost:.0f} | {np.array_equal(together, alone)} "
            f"| {away.mean():.2f}, {away.max():.1f} |"
        )


def on_gpu(folder: Path, photos: int) -> None:
    """Print images/s and the share of the time in which the GPU works."""
    detector(folder)
    rng = np.random.default_rng(0)
    batch = [Sample(str(n), {}, {"rgb": rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8)}) for n in range(64)]
    for kind in ("float32", "auto"):
        step = build_step("build-sketch", "lineart", {"model": str(folder), "background": "keep", "precision": kind})
        step.process(batch)
        torch.cuda.synchronize()
        start = time.perf_counter()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            for _ in range(photos // len(batch)):
                step.process(batch)
            torch.cuda.synchronize()
        wall = time.perf_counter() - start
        busy = sum(event.self_device_time_total for event in profile.key_averages()) / 1e6
        print(f"{kind}: {photos / wall:,.0f} images/s, GPU busy {busy / wall:.0%}")


def main() -> None:
    """Measure on the device asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    samples = [Sample(str(n), {}, {"rgb": rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8)}) for n in range(PHOTOS)]
    with tempfile.TemporaryDirectory() as folder:
        if options.device == "cuda":
            on_gpu(Path(folder), GPU_PHOTOS)
        else:
            torch.set_num_threads(1)
            on_cpu(Path(folder), samples)


if __name__ == "__main__":
    main()
