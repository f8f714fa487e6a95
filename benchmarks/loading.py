"""How fast the training data come out of a manifest: images a second and core.

    python benchmarks/loading.py data/demo
    python benchmarks/loading.py data/demo --size 384 128

Four readings, one process, one thread: rows of the table alone, rows decoded and normalised, augmented batches of the
identity sampler (all modalities), and the same from the cache. Rows are visited in random order, as training does.

Measured on a 2-core machine without other load, one process, 1,600 rows at 128x64, images per CPU second:

    rows of the table, in random order    25,215
    decoded, resized, normalised           6,432
    augmented batches                      2,200
    augmented batches, cached              6,127
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from reidtrain.data import DEFAULT_TABLES, ReIDDataset, collate, open_manifest
from reidtrain.sampler import TupleSampler
from reidtrain.transforms import Augment, ImageTransform


def rate(work: Callable[[], int]) -> tuple[float, float]:
    """Images per CPU second and per wall second."""
    cpu, wall = time.process_time(), time.perf_counter()
    images = work()
    return images / (time.process_time() - cpu), images / (time.perf_counter() - wall)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--split", default="train")
    parser.add_argument("--size", type=int, nargs=2, default=(128, 64), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--rows", type=int, default=1500)
    parser.add_argument("--batches", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)

    there = open_manifest(options.manifest).tables
    tables = {modality: names for modality, names in DEFAULT_TABLES.items() if set(names) & set(there)}
    augment = {name: Augment() for name in ("rgb", "ir", "sketch")}
    transform = ImageTransform(tuple(options.size), (0.5,) * 3, (0.25,) * 3, augment)

    def opened(*, cache: bool = False) -> ReIDDataset:
        return ReIDDataset(
            options.manifest,
            options.split,
            tables=tables,
            transform=transform,
            tokenize=lambda texts: torch.zeros(len(texts), 77, dtype=torch.long),
            cache=cache,
        )

    data = opened()
    order = np.random.default_rng(0).permutation(len(data))[: options.rows].tolist()
    reader = open_manifest(options.manifest).table("rgb", options.split)

    def rows() -> int:
        return sum(reader[row]["image"] is not None for row in order)

    def decoded() -> int:
        return sum("rgb" in data.load(row, ["rgb"]).images for row in order)

    def batches(dataset: ReIDDataset) -> Callable[[], int]:
        sampler = TupleSampler(dataset.index(), batch_size=min(64, int(dataset.labels.max()) + 1))

        def work() -> int:
            count = 0
            for number, draws in enumerate(sampler):
                batch = collate([dataset[draw] for draw in draws])
                count += sum(int(mask.sum()) for name, mask in batch.present.items() if name != "text")
                if number + 1 == options.batches:
                    break
            return count

        return work

    cached = opened(cache=True)
    for row in range(len(cached)):
        cached.load(row)
    print(f"{options.manifest} {options.split}, {len(data)} rows, to {options.size[0]}x{options.size[1]}")
    readings = {
        "rows of the table": rows,
        "decoded, resized, normalised": decoded,
        "augmented batches": batches(data),
        "augmented batches, cached": batches(cached),
    }
    for name, work in readings.items():
        cpu, wall = rate(work)
        print(f"{name:<30} {cpu:8.0f} images per cpu second  {wall:8.0f} per second")


if __name__ == "__main__":
    main()
