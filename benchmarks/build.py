"""A weight-free build beside a plain `datasets.map` script of the same operations: `python benchmarks/build.py`.

Both read the same folder of JPEG crops (drawn people), make a mask (GrabCut), a sketch (lineart-standard, background
removed), a pseudo-infrared image (channel augmentation) and captions, and write Parquet, with two processes. The script
calls the very same operations row by row inside one `datasets.Dataset.map(num_proc=2)` and ends with `to_parquet`; it
has no checks, no resumption, no verdicts. "Alone" are the operations and codecs in one process, without any files. CPU
time is that of all processes, imports of the workers included; the ways take turns. The table gives the median of the
rounds; the ratios below it are taken round by round.

Measured on an idle 2-core machine (AMD EPYC, Zen 4), five rounds:

    | 5,000 crops of 128x64 | wall s | CPU s | crops a CPU second |
    |---|---|---|---|
    | operations and codecs alone, one process | 33.6 | 33.6 | 148.9 |
    | reidsynth, one process | 36.3 | 36.2 | 138.2 |
    | plain datasets.map script, two processes | 23.1 | 44.4 | 112.5 |
    | reidsynth, two processes | 20.7 | 39.6 | 126.1 |

So the pipeline takes 1.06 times the CPU time of the operations alone (round by round 1.05 to 1.10), and 0.92 times
that of the script (0.84 to 0.95; by the clock 0.92, 0.86 to 0.96), with every row checked, scored and resumable.
Three runs of three rounds besides gave 1.09 (1.05 to 1.12), 1.07 (1.05 to 1.22) and 1.07 (1.07 to 1.20), and 0.89,
0.86 and 0.86 times the script: in two rounds of fourteen the machine was a tenth slower for one of the two. What is
left are the scores of the gates (.2 ms a crop), writing (.1), the photograph's path and checksum (.07). It was 1.14
to 1.16 while columns beside the images were dictionaries in groups of 100 rows (larger, and twice as slow to write),
every shard was hashed once for each table made from it, and pixels were kept that no later step reads; at 1,500 crops
it was 1.65 times the script's before steps without a network shared one pass over the rows, when each decoded every
photograph again, every worker imported controlnet_aux, and PNG files were compressed with Pillow's default.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from reidsynth import images
from reidsynth.cli.shell import running
from reidsynth.ingest import ingest
from reidsynth.pipeline import run_steps
from reidsynth.schema import Sample
from reidsynth.sources import build_source
from reidsynth.steps import build_step

STEPS = (
    ("remove-background", "grabcut"),
    ("build-sketch", "lineart-standard"),
    ("build-ir", "channel-augmentation"),
    ("caption", "template"),
)
PATTERN = "{pid}_c{camid}_{_}.jpg"


def draw(folder: Path, count: int) -> None:
    """Write crops of drawn people."""
    source = build_source("demo", {"seed": 9001, "train": -(-count // 4), "val": 0, "test": 0})
    folder.mkdir(parents=True)
    for number, record in enumerate(list(source.records("train"))[:count]):
        path = folder / f"{record.pid:05d}_c{record.camid}_{number:06d}.jpg"
        path.write_bytes(source.read(record).images["rgb"])


def ours(crops: Path, out: Path, workers: int) -> None:
    """The pipeline."""
    shutil.rmtree(out, ignore_errors=True)
    with running(workers) as run:
        steps = [(name, method, dict[str, Any]()) for name, method in STEPS]
        ingest(out, "folder", {"root": str(crops), "pattern": PATTERN.removesuffix(".jpg")}, run=run, ahead=steps)
        run_steps(out, steps, run=run)


def png(image: np.ndarray) -> bytes:
    """Encode as PIL does by default."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def operations(row: dict[str, Any]) -> dict[str, Any]:
    """All four operations on one row."""
    photo = np.asarray(row["image"].convert("RGB"))
    found: dict[str, np.ndarray] = {"rgb": photo}
    out: dict[str, Any] = {}
    for name, method in STEPS:
        made = build_step(name, method, {}).process([Sample(row["name"], {}, found)])[0]
        if made.text is not None:
            out["captions"] = list(made.text.captions)
        elif made.image is not None:
            table = {"remove-background": "mask-grabcut", "build-sketch": "sketch", "build-ir": "ir"}[name]
            found[table] = made.image
            out[table] = png(made.image)
    return out


def plain(crops: Path, out: Path) -> None:
    """The script that one would write without us."""
    import datasets

    datasets.disable_progress_bars()
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    files = sorted(str(path) for path in crops.iterdir())
    data = datasets.Dataset.from_dict({"image": files, "name": [Path(path).stem for path in files]})
    data = data.cast_column("image", datasets.Image())
    data.map(operations, num_proc=2).to_parquet(out / "data.parquet")


def alone(crops: Path) -> None:
    """Operations and codecs, nothing else."""
    steps = [build_step(name, method, {}) for name, method in STEPS]
    paths = sorted(crops.iterdir())
    for start in range(0, len(paths), 64):
        block = [(path.stem, {"rgb": images.decode(path.read_bytes())}) for path in paths[start : start + 64]]
        for step, (name, _) in zip(steps, STEPS, strict=True):
            for (_, found), made in zip(
                block, step.process([Sample(stem, {}, found) for stem, found in block]), strict=True
            ):
                if made.image is not None:
                    images.encode(made.image, "png")
                    if name == "remove-background":
                        found["mask-grabcut"] = made.image


def measure(work: Callable[[], None]) -> tuple[float, float]:
    """Seconds by the clock, and CPU seconds of all processes."""
    before, wall = os.times(), time.perf_counter()
    work()
    after = os.times()
    return time.perf_counter() - wall, sum(after[i] - before[i] for i in range(4))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crops", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pairs", nargs="+", choices=("one", "two"), default=["one", "two"], help="processes")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp())
    os.environ["HF_DATASETS_CACHE"] = str(folder / "cache")
    crops = folder / "crops"
    pairs: dict[str, dict[str, Callable[[], None]]] = {
        "one": {
            "operations and codecs alone, one process": lambda: alone(crops),
            "reidsynth, one process": lambda: ours(crops, folder / "m", 1),
        },
        "two": {
            "plain datasets.map script, two processes": lambda: plain(crops, folder / "plain"),
            "reidsynth, two processes": lambda: ours(crops, folder / "m", 2),
        },
    }
    ways = {way: work for pair in options.pairs for way, work in pairs[pair].items()}
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    try:
        draw(crops, options.crops)
        for _ in range(options.rounds):  # in turn, so that other load on the machine meets all of them
            for way, work in ways.items():
                shutil.rmtree(folder / "cache", ignore_errors=True)
                found[way].append(measure(work))
        print(f"{options.crops} crops of 128x64\n\n| | wall s | CPU s | crops a CPU second |\n|---|---|---|---|")
        for way, runs in found.items():
            wall, cpu = (median(times) for times in zip(*runs, strict=True))
            print(f"| {way} | {wall:.1f} | {cpu:.1f} | {options.crops / cpu:.1f} |")
        for pair in options.pairs:
            theirs, mine = (found[way] for way in pairs[pair])
            told = []
            for number, kind in enumerate(("wall", "CPU")):
                ratios = [m[number] / t[number] for t, m in zip(theirs, mine, strict=True)]
                told.append(f"{kind} {median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")
            print(f"\n{' over '.join(reversed(pairs[pair]))}, round by round, median: {', '.join(told)}")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
