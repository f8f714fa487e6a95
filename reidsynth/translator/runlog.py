"""What a run tells while it trains: a JSONL file, TensorBoard, and one line of progress with the time left."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from reidsynth import storage

LOG, BOARD = "log.jsonl", "tb"


class RunLog:
    """Writes a run's history; a resumed run goes on where its checkpoint was taken.

    Args:
        run: the run folder.
        start: steps already taken; later entries of an interrupted run are removed.
        total: steps of the whole run.
        quiet: write and show nothing (processes other than the first).
        show: whether to draw a bar; None draws it on terminals only.
    """

    def __init__(self, run: Path, *, start: int, total: int, quiet: bool = False, show: bool | None = None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        path = Path(os.devnull) if quiet else run / LOG
        if not quiet:
            kept = [entry for entry in read_log(run) if entry["step"] <= start] if start else []
            storage.write_text(path, "".join(json.dumps(entry) + "\n" for entry in kept))
            if start == 0:
                shutil.rmtree(run / BOARD, ignore_errors=True)
        self._file = path.open("a", encoding="utf-8")
        self._board = None if quiet else SummaryWriter(str(run / BOARD), purge_step=start + 1 if start else None)
        pace = 0.2 if sys.stderr.isatty() else 10.0
        hidden = True if quiet else None if show is None else not show
        self._bar = tqdm(
            total=total, initial=start, unit="step", disable=hidden, mininterval=pace, dynamic_ncols=True, desc="train"
        )
        self.restart()

    def restart(self) -> None:
        """Begin a new window of losses and speed."""
        self._sums: defaultdict[str, torch.Tensor | float] = defaultdict(float)
        self._steps = self._pairs = 0
        self._clock = time.perf_counter()

    def count(self, losses: Mapping[str, torch.Tensor], *, pairs: int) -> None:
        """Count one step and keep its losses (no device waits for this)."""
        for name, value in losses.items():
            self._sums[name] = self._sums[name] + value.detach()
        self._steps += 1
        self._pairs += pairs
        self._bar.update()

    def report(self, step: int, values: Mapping[str, float]) -> dict[str, float]:
        """Write the mean losses since the last report, and the speed; returns the losses."""
        means = {name: float(total) / self._steps for name, total in self._sums.items()}
        speed = round(self._pairs / max(1e-9, time.perf_counter() - self._clock), 1)
        self.write(step, "train", {"losses": means, **values, "pairs_per_s": speed})
        shown = {"L_G": f"{means['generator']:.2f}", "L_D": f"{means['discriminator']:.3f}", "pairs/s": f"{speed:.0f}"}
        self._bar.set_postfix(shown, refresh=False)
        self.restart()
        return means

    def write(self, step: int, kind: str, values: Mapping[str, Any]) -> None:
        """Write one entry.

        Args:
            step: steps taken.
            kind: `train`, `held-out` or `note`; prefix of the TensorBoard names.
            values: numbers, texts, or levels of them.
        """
        self._file.write(json.dumps({"step": step, "kind": kind, **values}) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, number in _numbers(values, kind):
                self._board.add_scalar(name, number, step)

    def picture(self, step: int, sheet: np.ndarray) -> None:
        """Hand a sheet, uint8 (H, W, 3), to TensorBoard."""
        if self._board is not None:
            self._board.add_image("sheet", sheet, step, dataformats="HWC")

    def __enter__(self) -> RunLog:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the files."""
        self._bar.close()
        if self._board is not None:
            self._board.close()
        self._file.close()


def _numbers(values: Mapping[str, Any], place: str) -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            found += _numbers(value, f"{place}/{name}")
        elif isinstance(value, int | float):
            found.append((f"{place}/{name}", float(value)))
    return found


def read_log(run: Path, kind: str | None = None) -> list[dict[str, Any]]:
    """Entries of a run's log, in order, all or those of one kind; a line that a kill cut off is left out."""
    path = run / LOG
    entries: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            entries.append(dict(json.loads(line)))
        except ValueError:
            continue
    return [entry for entry in entries if kind is None or entry["kind"] == kind]
