"""What a translator of minutes learns on the drawn world, beside the baselines; and what training and translating cost.

    OMP_NUM_THREADS=1 nice -n 15 python benchmarks/translator.py --out translator-benchmark --ssim-offset 1
    python benchmarks/translator.py --device cuda            # the same with the paper's width, and the share of time
                                                             # in which the GPU is busy

The drawn world's infrared images follow from materials and skin, its sketches from strokes of a dozen artists, so
neither can be read off the colours. Whole people are held out. PSNR and SSIM are means over held-out pairs.

Measured on one core of a 2-core machine (AMD EPYC, Zen 4) while other jobs ran on it. 400 people at 128x64, of whom 40
are held out; a narrow network (16 and 8 channels, six downs), batches of 4, four epochs at five times the paper's
learning rates: 1,440 steps on 1,440 pairs, 4.6 CPU minutes for infrared and 4.9 for sketches.

    | 160 held-out pairs | infrared: PSNR (dB) | SSIM | sketch: PSNR (dB) | SSIM |
    |---|---|---|---|---|
    | translator | 19.80 | .618 | 17.51 | .796 |
    | luminance | 10.07 | .243 | 13.21 | .589 |
    | inverted luminance | 8.32 | .133 | 1.34 | -.046 |
    | mean training image | 18.21 | .472 | 14.21 | .401 |

By epoch, infrared: 19.24 / .576, 19.19 / .588, 19.48 / .607, 19.80 / .618; sketch: 16.65 / .746, 17.17 / .775,
17.36 / .791, 17.51 / .796. On the sheets the infrared images have the right figures, stripes and straps, but the
brightness of a garment is a guess (its colour does not tell its material), noise and background details are missing,
and a bright object of the background may glow. Sketches have outlines and folds; hatching turns into grey, since
nothing tells where its strokes lie. The margin over the mean image is 1.6 dB and 3.3 dB: this shows that the method
learns, not how well it does on photographs.

With SSIM taken on the images as they are, -1..1, which is the default (`--ssim-offset 0`), an earlier run for infrared
ended at 19.43 dB and .590, still above the mean image; for sketches it was not measured. Both runs are older than
the option: the loss held the one or the other.

    | network | crops | images/s, a core | training pairs/s, a core |
    |---|---|---|---|
    | 64 channels, 256x128 (the paper's width) | 256x128 | 10.4 | 0.2 |
    | 16 channels, 128x64 | 256x128 | 444 | 26 |

At the paper's width most of a training step is the discriminator, which has 77 of the 118 million weights; a run of 200
epochs wants a GPU. None was at hand when this was measured, so that images/s and the busy share on CUDA are not told.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator

from reidsynth.engines import LocalEngine
from reidsynth.ingest import ingest
from reidsynth.jobs import Run
from reidsynth.policy import Policy
from reidsynth.schema import Sample
from reidsynth.steps import build_step
from reidsynth.translator.checkpoint import State
from reidsynth.translator.options import TranslatorOptions, parse_options
from reidsynth.translator.origins import ManifestPairs
from reidsynth.translator.pairs import Target
from reidsynth.translator.runlog import read_log
from reidsynth.translator.train import fresh, train, training_step
from reidsynth.translator.weights import GENERATOR, Facts, save_generator

NARROW = {"height": 128, "width": 64, "downs": 6, "channels": 16, "discriminator_channels": 8}
HASTY = {"batch_size": 4, "lr": 1e-3, "discriminator_lr": 1e-5, "threads": 1}
SIZE = (256, 128)


def learned(world: Path, target: Target, out: Path, more: dict[str, object]) -> None:
    """Train on the world and print the scores of the last epoch."""
    background = "keep" if target == "ir" else "remove"
    pairs = ManifestPairs(world, target=target, background=background)  # type: ignore[arg-type] # one of both
    start = time.process_time()
    made = train([pairs], target, out, options=parse_options(more), progress=None)
    minutes = (time.process_time() - start) / 60
    facts = made.facts
    print(
        f"\n{target}: {facts.pairs} pairs, {facts.step} steps, {minutes:.1f} CPU minutes; {made.verdict or 'beats it'}"
    )
    print(f"| {facts.held_out} held-out pairs | PSNR (dB) | SSIM |\n|---|---|---|")
    for name, values in facts.scores.items():
        print(f"| {name} | {values['psnr']:.2f} | {values['ssim']:.3f} |")
    by_epoch = [f"{e['translator']['psnr']:.2f} / {e['translator']['ssim']:.3f}" for e in read_log(out, "held-out")]
    print(f"by epoch: {', '.join(by_epoch)}")


def random_generator(folder: Path, options: TranslatorOptions) -> Path:
    """A generator as it begins: translating costs the same as after training."""
    facts = Facts(
        **{name: getattr(options, name) for name in ("height", "width", "channels", "downs")},
        target="ir",
        spectrum="nir",
        background="keep",
        data=("none",),
        pairs=0,
        held_out=0,
        terms=Policy("Apache-2.0").as_dict(),
        epoch=0,
        step=0,
        scores={},
    )
    folder.mkdir(parents=True, exist_ok=True)
    save_generator(folder / GENERATOR, fresh(options).generator.state_dict(), facts)
    return folder


def timed(work: Callable[[], object], rounds: int, device: str) -> tuple[float, float]:
    """Seconds a round (of CPU time on a CPU, best of the rounds; of wall time on CUDA), and the GPU's busy share."""
    work()
    if device == "cpu":
        best = float("inf")
        for _ in range(rounds):
            start = time.process_time()
            work()
            best = min(best, time.process_time() - start)
        return best, 0.0
    torch.cuda.synchronize()
    start = time.perf_counter()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for _ in range(rounds):
            work()
        torch.cuda.synchronize()
    wall = time.perf_counter() - start
    busy = sum(event.self_device_time_total for event in profile.key_averages()) / 1e6
    return wall / rounds, busy / wall


def speeds(folder: Path, device: str, kinds: dict[str, TranslatorOptions], rounds: int) -> None:
    """Print images/s of the step and pairs/s of a training step."""
    rng = np.random.default_rng(0)
    each = "a core" if device == "cpu" else "GPU busy"
    print(f"\n| network | crops | images/s, {each} | training pairs/s, {each} |\n|---|---|---|---|")
    for name, options in kinds.items():
        count = 16 if device == "cpu" else 512
        samples = [Sample(str(n), {}, {"rgb": rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8)}) for n in range(count)]
        place = random_generator(folder / name, options)
        step = build_step("build-ir", "gan", {"model": str(place), "device": device})
        translating = timed(lambda step=step, samples=samples: step.process(samples), rounds, device)
        accelerator = Accelerator(cpu=device == "cpu", mixed_precision="no" if device == "cpu" else "bf16")
        bare = fresh(options)
        networks = accelerator.prepare(bare.generator, bare.discriminator)
        state = State(bare.generator, bare.discriminator, tuple(accelerator.prepare(*bare.optimizers)))
        batch = tuple(
            (torch.rand(options.batch_size, channels, *options.size) * 2 - 1).to(accelerator.device)
            for channels in (3, 1)
        )
        training = timed(
            lambda a=accelerator, n=networks, s=state, b=batch, o=options: training_step(a, n, s, b, o),
            max(1, rounds if device == "cuda" else rounds // 2),
            device,
        )
        told = [
            f"{amount / seconds:,.1f}" + (f", {busy:.0%}" if device == "cuda" else "")
            for amount, (seconds, busy) in ((count, translating), (options.batch_size, training))
        ]
        print(f"| {name} | {SIZE[0]}x{SIZE[1]} | {told[0]} | {told[1]} |", flush=True)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--out", type=Path, help="keep the world, the runs and their sheets here")
    parser.add_argument("--people", type=int, default=400, help="of the world, four captures each")
    parser.add_argument("--epochs", type=int, default=2, help="at the full rate, and as many in which it falls")
    parser.add_argument("--ssim-offset", type=float, default=0.0, help="of the loss; 1 judges as on 8 bits")
    parser.add_argument("--only", choices=("ir", "sketch", "speed"))
    options = parser.parse_args()
    given = NARROW | HASTY if options.device == "cpu" else {"height": 256, "width": 128}
    given |= {"epochs": options.epochs, "decay_epochs": options.epochs, "ssim_offset": options.ssim_offset}
    if options.device == "cpu":
        torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        out = options.out or Path(temporary)
        if options.only != "speed":
            world = {"train": options.people, "val": 1, "test": 0}
            sides = {"height": given["height"], "width": given["width"]}
            with LocalEngine(1) as engine:
                ingest(out / "world", "demo", world | sides, run=Run(engine, progress=False))
            targets: tuple[Target, ...] = ("ir", "sketch")
            for target in (one for one in targets if options.only in (None, one)):
                learned(out / "world", target, out / target, given)
        if options.only in (None, "speed"):
            paper = {"batch_size": 2} if options.device == "cpu" else {}  # a step of 8 would take a core a minute
            kinds = {"64 channels, 256x128": parse_options(paper), "16 channels, 128x64": parse_options(NARROW)}
            speeds(Path(temporary), options.device, kinds, rounds=3 if options.device == "cpu" else 50)


if __name__ == "__main__":
    main()
