"""Seconds that `reidsynth --help` and `reidtrain --help` take: `python benchmarks/startup.py`.

Prints the median of eleven calls, wall and CPU seconds, with warm file caches.

Measured on a 2-core machine:

    | command | wall s | CPU s |
    |---|---|---|
    | reidsynth --help | 0.13 | 0.13 |
    | reidtrain --help | 0.12 | 0.12 |
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path


def once(command: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of one call."""
    before, start = os.times(), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, os.times()
    return wall, after.children_user + after.children_system - before.children_user - before.children_system


def main() -> None:
    """Print the table."""
    print("| command | wall s | CPU s |\n|---|---|---|")
    for name in ("reidsynth", "reidtrain"):
        command = [str(Path(sys.executable).parent / name), "--help"]
        once(command)
        walls, cpus = zip(*(once(command) for _ in range(11)), strict=True)
        print(f"| {name} --help | {statistics.median(walls):.2f} | {statistics.median(cpus):.2f} |")


if __name__ == "__main__":
    main()
