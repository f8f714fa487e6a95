"""How fast the drawn world is made, on one core: `python benchmarks/demo_world.py`.

Prints captures per second of everything (colour, mask, infrared, sketch, two captions, encoded) per image size, the
bytes of one capture, and the share of test queries that a reader of all visible attributes would answer right: the
ceiling of text-to-image retrieval in this world.

Measured on a 2-core machine while another job ran on it, one thread (`OMP_NUM_THREADS=1`):

    128x64:   88.4 captures/s per core,   9.4 KiB each
    256x128:   52.7 captures/s per core,  26.4 KiB each
    384x128:   34.7 captures/s per core,  38.9 KiB each
    perfect reader of visible attributes, T->R, 200 identities: R1 97.7
"""

from __future__ import annotations

import time

import cv2
import numpy as np

from reidsynth.schema import ATTRIBUTE_FIELDS
from reidsynth.sources.demo import Demo

SIZES = ((128, 64), (256, 128), (384, 128))


def speed(height: int, width: int, count: int = 200) -> None:
    """Print captures per second at one size."""
    source = Demo(test=count // 4, train=0, val=0, height=height, width=width)
    rows = list(source.records("test"))
    for row in rows[:40]:  # the cameras' streets are painted once
        source.read(row)
    start = time.process_time()
    size = sum(len(data) for row in rows for data in source.read(row).images.values())
    spent = time.process_time() - start
    print(f"{height}x{width}: {len(rows) / spent:6.1f} captures/s per core, {size / len(rows) / 1024:5.1f} KiB each")


def ceiling(seed: int = 0, identities: int = 200) -> float:
    """R1 of a perfect reader of visible attributes, queries against the gallery."""
    source = Demo(seed=seed, test=identities, train=0, val=0)
    rows = list(source.records("test"))
    seen = [source.read(row).texts["text"].attributes or {} for row in rows]
    table = np.array([[str(a[name]) if a[name] else "" for name in ATTRIBUTE_FIELDS] for a in seen])
    pids = np.array([row.pid for row in rows])
    query = np.array([row.role == "query" for row in rows])
    q, g = table[query], table[~query]
    known = (q[:, None] != "") & (g[None] != "")
    # Differences exclude; agreement counts where both show the attribute.
    score = (known & (q[:, None] == g[None])).sum(2) - 4.0 * (known & (q[:, None] != g[None])).sum(2)
    best = score == score.max(1, keepdims=True)
    right = best & (pids[query][:, None] == pids[~query][None])
    return float((right.sum(1) / best.sum(1)).mean() * 100)


if __name__ == "__main__":
    cv2.setNumThreads(1)
    for height, width in SIZES:
        speed(height, width)
    print(f"perfect reader of visible attributes, T->R, 200 identities: R1 {ceiling():.1f}")
