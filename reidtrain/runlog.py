"""What a run tells while it trains: a JSONL file, its trackers (TensorBoard, ...), and one line of progress."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker


class RunLog:
    """Writes a run's history; a resumed run goes on where its checkpoint was taken.

    Args:
        run: the run folder.
        start: steps already taken; later entries of an interrupted run are removed.
        total: steps of the whole run.
        trackers: that get every number, see `reidtrain.trackers`.
        quiet: write and show nothing (processes other than the first).
    """

    def __init__(
        self,
        run: Path,
        start: int,
        total: int,
        *,
        trackers: Sequence[GeneralTracker] = (),
        quiet: bool = False,
    ) -> None:
        path = Path(os.devnull) if quiet else run / "log.jsonl"
        if not quiet:
            _cut(path, start)
        self._file = path.open("a", encoding="utf-8")
        self._trackers = trackers
        # A terminal is refreshed often; a log file gets a line every ten seconds.
        pace = 0.2 if sys.stderr.isatty() else 10.0
        self._bar = tqdm(
            total=total, initial=start, unit="step", disable=quiet, mininterval=pace, dynamic_ncols=True, desc="fit"
        )
        self._sums: defaultdict[str, torch.Tensor | float] = defaultdict(float)
        self._steps = self._samples = 0
        self._clock = time.perf_counter()

    def count(self, losses: Mapping[str, torch.Tensor], *, samples: int) -> None:
        """Count one step and keep its losses (no device waits for this)."""
        for name, value in losses.items():
            self._sums[name] = self._sums[name] + value.detach()
        self._steps += 1
        self._samples += samples
        self._bar.update()

    def report(self, step: int, values: Mapping[str, float]) -> dict[str, float]:
        """Write the mean losses since the last report.

        Args:
            step: steps taken.
            values: learning rate and the like.

        Returns:
            Loss -> mean.
        """
        means = {name: float(total) / self._steps for name, total in self._sums.items()}
        speed = round(self._samples / max(1e-9, time.perf_counter() - self._clock), 1)
        parts = {name: mean for name, mean in means.items() if name != "total"}
        self.write(step, "train", {"loss": means["total"], "losses": parts, **values, "samples_per_s": speed})
        self._bar.set_postfix({"loss": f"{means['total']:.3f}", "samples/s": f"{speed:.0f}"}, refresh=False)
        self.restart_clock()
        return means

    def restart_clock(self) -> None:
        """Begin a new window of losses and speed; what was not reported is kept out of the next report."""
        self._sums.clear()
        self._steps = self._samples = 0
        self._clock = time.perf_counter()

    def write(self, step: int, kind: str, values: Mapping[str, Any]) -> None:
        """Write one entry.

        Args:
            step: steps taken.
            kind: `train`, `val` or `note`; prefix of the trackers' names.
            values: numbers, texts or one more level of numbers.
        """
        self._file.write(json.dumps({"step": step, "kind": kind, **values}) + "\n")
        self._file.flush()
        numbers: dict[str, float] = {}
        for name, value in values.items():
            inner = value if isinstance(value, Mapping) else {"": value}
            for key, number in inner.items():
                if isinstance(number, int | float):
                    numbers["/".join(filter(None, (kind, name, key)))] = number
        for tracker in self._trackers if numbers else ():
            tracker.log(numbers, step=step)

    def say(self, text: str) -> None:
        """Print a line above the progress line."""
        if not self._bar.disable:
            self._bar.write(text, file=sys.stderr)

    def __enter__(self) -> RunLog:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the files."""
        self._bar.close()
        for tracker in self._trackers:
            tracker.finish()
        self._file.close()


def read_log(run: Path, kind: str | None = None) -> list[dict[str, Any]]:
    """Entries of a run's log, in order.

    Args:
        run: the run folder.
        kind: only those of one kind.
    """
    path = run / "log.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    entries = [entry for line in lines if (entry := _entry(line))]
    return [entry for entry in entries if kind is None or entry["kind"] == kind]


def _entry(line: str) -> dict[str, Any] | None:
    try:
        return dict(json.loads(line))
    except ValueError:  # the last line of a killed run may be cut
        return None


def _cut(path: Path, start: int) -> None:
    entries = [entry for entry in read_log(path.parent) if entry["step"] <= start] if start else []
    temporary = path.with_name(f".{path.name}.writing")
    temporary.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    temporary.replace(path)
