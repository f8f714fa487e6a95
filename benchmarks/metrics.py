"""CPU seconds and memory of CMC + mAP + mINP at the sizes of Market-1501 and CUHK-PEDES.

    python benchmarks/metrics.py

Features of 512 numbers are drawn around one centre per identity. Each size is ranked three ways, each in a process of
its own so that the peak of memory is its own:

- `rank`: `reidtrain.metrics.rank` on a given similarity matrix (the similarity is not counted);
- `rank_features`: `reidtrain.metrics.rank_features`, similarities included, never held beyond a chunk;
- `argsort`: a plain NumPy evaluator on the same matrix, one stable argsort and cumulative sum per query.

CPU seconds on one thread (more threads share the same work), the median of five runs. Extra memory is the growth of the
peak resident size over the resident size before the call, with the heap trimmed first, so inputs are not counted. All
three must agree on the values.

Measured on two cores of an AMD EPYC while other jobs ran on them (so wall times are left out), torch 2.15:

| size | way | cpu s | extra MiB | cpu s of argsort over it |
| --- | --- | ---: | ---: | ---: |
| 3368 x 15913 | `rank` | 0.58 | 38 | 8.1 |
| 3368 x 15913 | `rank_features` (x 512) | 2.17 | 181 | 2.2 |
| 3368 x 15913 | argsort | 4.68 | 2 | 1 |
| 6156 x 3074 | `rank` | 0.18 | 33 | 7.5 |
| 6156 x 3074 | `rank_features` (x 512) | 0.69 | 74 | 1.9 |
| 6156 x 3074 | argsort | 1.32 | 1 | 1 |

With the similarity excluded, CMC, mAP and mINP were to cost less than 1.5 s and 0.5 s of CPU, and 300 MiB, at these
sizes: `rank` takes 0.58 s and 0.18 s, and with similarities `rank_features` stays below that memory, too. A later run,
under a load of nine, gave 0.58, 2.00, 0.18 and 0.84 s and 30, 169, 35 and 71 MiB for the two ways at the two sizes.
"""

from __future__ import annotations

import ctypes
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from reidtrain.metrics import rank, rank_features

SIZES = {
    # queries, gallery, identities, cameras, exclusion
    "market1501": (3368, 15913, 751, 6, "same-camera"),
    "cuhk-pedes": (6156, 3074, 1000, 1, "none"),
}
WIDTH, RUNS = 512, 5


def draw(size: str) -> dict[str, torch.Tensor]:
    """Draw features and labels of one size."""
    queries, gallery, people, cameras, _ = SIZES[size]
    noise = torch.Generator().manual_seed(0)
    centres = torch.randn(people, WIDTH, generator=noise)
    pids = {"query": torch.arange(queries) % people, "gallery": torch.randint(people, (gallery,), generator=noise)}
    drawn = {}
    for side, numbers in pids.items():
        drawn[side] = centres[numbers] + 4 * torch.randn(len(numbers), WIDTH, generator=noise)
        drawn[f"{side}_pids"] = numbers
        drawn[f"{side}_keys"] = torch.randint(cameras, (len(numbers),), generator=noise)
    return drawn


def argsort_evaluator(scores: np.ndarray, labels: dict[str, np.ndarray], exclude: str) -> tuple[float, float, float]:
    """Sort every row whole; return rank 1, mAP and mINP."""
    first, precision, penalty = [], [], []
    for row, pid, key in zip(scores, labels["query_pids"], labels["query_keys"], strict=True):
        order = np.argsort(-row, kind="stable")
        hits = labels["gallery_pids"][order] == pid
        if exclude != "none":
            hits = hits[~(hits & (labels["gallery_keys"][order] == key))]
        ranks = np.flatnonzero(hits) + 1
        if len(ranks):
            first.append(ranks[0] == 1)
            precision.append(np.mean(np.arange(1, len(ranks) + 1) / ranks))
            penalty.append(len(ranks) / ranks[-1])
    return float(np.mean(first)), float(np.mean(precision)), float(np.mean(penalty))


def resident_mib(field: str) -> float:
    """Resident size now (VmRSS) or at its peak (VmHWM)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{field}:")[1].split()[0]) / 2**10


def measure(size: str, way: str) -> dict[str, float]:
    """Run one way at one size in this process."""
    drawn, exclude = draw(size), SIZES[size][-1]
    torch.set_num_threads(1)
    query, gallery = drawn.pop("query"), drawn.pop("gallery")
    if way != "rank_features":
        normalise = torch.nn.functional.normalize
        scores = normalise(query) @ normalise(gallery).T
    labels = {name: values.numpy() for name, values in drawn.items()}

    def once() -> tuple[float, float, float]:
        if way == "argsort":
            return argsort_evaluator(scores.numpy(), labels, exclude)
        if way == "rank":
            found = rank(scores, **drawn, exclude=exclude)
        else:
            found = rank_features(query, gallery, **drawn, exclude=exclude)
        return float(found.cmc[0]), found.mAP, found.mINP

    ctypes.CDLL("libc.so.6").malloc_trim(0)  # else freed memory that is still resident would hide what the call takes
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts again from the present size
    before = resident_mib("VmRSS")
    values = once()
    extra = resident_mib("VmHWM") - before
    cpu, wall = [], []
    for _ in range(RUNS):
        wall.append(-time.perf_counter())
        cpu.append(-time.process_time())
        once()
        cpu[-1] += time.process_time()
        wall[-1] += time.perf_counter()
    return {
        "cpu": statistics.median(cpu),
        "wall": statistics.median(wall),
        "extra_mib": extra,
        "r1": values[0],
        "mAP": values[1],
        "mINP": values[2],
    }


def main() -> None:
    """Measure everything and print a table."""
    print(f"torch {torch.__version__}, one thread")
    print(
        f"{'size':<12}{'way':<15}{'cpu s':>8}{'wall s':>8}{'extra MiB':>11}{'R1':>8}{'mAP':>8}{'mINP':>8}{'ratio':>8}"
    )
    for size in SIZES:
        rows = {}
        for way in ("rank", "rank_features", "argsort"):
            command = [sys.executable, __file__, size, way]
            rows[way] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        assert all(
            abs(row[name] - rows["argsort"][name]) < 1e-6 for row in rows.values() for name in ("r1", "mAP", "mINP")
        )
        for way, row in rows.items():
            metrics = "".join(f"{100 * row[name]:8.3f}" for name in ("r1", "mAP", "mINP"))
            ratio = rows["argsort"]["cpu"] / row["cpu"]
            print(
                f"{size:<12}{way:<15}{row['cpu']:8.2f}{row['wall']:8.2f}{row['extra_mib']:11.0f}{metrics}{ratio:8.1f}"
            )


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(measure(*sys.argv[1:])))
    else:
        main()
