"""What a recipe would take before anything is spent: rows, time, bytes, tokens and money of every step.

A probe of some rows, spread over all splits, goes through the same reader and the same steps as a build would, in this
process; what it took is scaled to all rows. Time is taken as shared evenly by the workers, each of which starts every
model once. Steps that ask a service are not run: they tell what they would ask. On a cluster the probe still runs here,
and nothing is added for the way of rows to workers and back.

The CPU time of the drawn world of `manifests/demo.yaml` came within 4 % of what was told; steps of a second or two take
up to half a second more, for what ends each of them (`benchmarks/plan.py`).

On disk, the drawn world of `manifests/demo.yaml` came within 6 % of what was told for each table of images; tables of
captions compress better over thousands of rows than over 64, and take about half of what is told.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reidsynth.errors import UserError
from reidsynth.prerequisites import check_weights
from reidsynth.previews import PREVIEW_ROWS
from reidsynth.probe import Probe, Size
from reidsynth.schema import ROWS_PER_GROUP, ROWS_PER_SHARD
from reidsynth.sources import build_source, terms_of
from reidsynth.steps import GatheringStep, build_step

if TYPE_CHECKING:
    from reidsynth.recipe import Recipe, SourceEntry, StepEntry
    from reidsynth.schema import Record
    from reidsynth.spending import Estimate

_BYTES_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class StepPlan:
    """What one step would take.

    Args:
        name: step and method, or `ingest` and the source.
        tables: that it writes.
        rows: captures.
        probed: rows that the numbers rest on.
        start: seconds until the first row, for weights and libraries.
        seconds_per_row: in one worker; None where a service decides.
        seconds: with all workers; None where a service decides.
        bytes: on disk.
        questions: to a service.
        sent: bytes of images to a service.
        prompt_tokens: that would be billed.
        completion_tokens: that would be billed.
        cost: of the tokens, in the currency of the prices; None without prices.
        note: what the numbers rest on, and what stands in the way.
    """

    name: str
    tables: tuple[str, ...]
    rows: int
    probed: int
    start: float = 0.0
    seconds_per_row: float | None = None
    seconds: float | None = None
    bytes: int = 0
    questions: int = 0
    sent: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a recipe would take.

    Args:
        recipe: its name.
        splits: split -> captures.
        workers: that share the work.
        steps: the reader first.
        preview: bytes of the preview table.
    """

    recipe: str
    splits: dict[str, int]
    workers: int
    steps: list[StepPlan] = field(default_factory=list)
    preview: int = 0

    @property
    def rows(self) -> int:
        """Captures."""
        return sum(self.splits.values())

    @property
    def seconds(self) -> float:
        """Of all steps; those that wait for a service are not in it."""
        return sum(step.seconds or 0.0 for step in self.steps)

    @property
    def bytes(self) -> int:
        """On disk."""
        return self.preview + sum(step.bytes for step in self.steps)

    @property
    def cost(self) -> float | None:
        """Of all tokens; None where a step has no prices."""
        asking = [step for step in self.steps if step.questions]
        costs = [step.cost for step in asking if step.cost is not None]
        return sum(costs) if len(costs) == len(asking) else None


def plan(recipe: Recipe, *, workers: int, probe: int = 64, seconds: float = 60.0) -> Plan:
    """Find out what a recipe would take.

    Args:
        recipe: checked.
        workers: that a build would have.
        probe: rows to try.
        seconds: after which a step's probe is cut short, at one row at least.

    Raises:
        UserError: the source can't be read, holds nothing, or a step can't run.
    """
    if probe < 1:
        raise UserError(f"--probe {probe} is no number of rows: give 1 or more")
    check_weights(recipe)
    made = Plan(recipe.name, {}, workers)
    parts = [(part.source, part.steps, part.splits) for part in recipe.parts]
    if recipe.source is not None:
        parts.append((recipe.source, recipe.steps, ()))
    each = 0.0
    for source, steps, splits in parts:
        with tempfile.TemporaryDirectory(prefix="reidsynth-plan-") as folder:
            origin = _Origin(source, Path(folder), made, label=f"{source.name}: " if recipe.parts else "")
            made.steps.append(origin.read(probe))
            made.steps.extend(origin.step(entry, seconds) for entry in steps)
            if recipe.parts:
                origin.take(splits)
                made.steps.extend(origin.step(entry, seconds, optional=True) for entry in recipe.steps)
            for split, captures in origin.splits.items():
                made.splits[split] = made.splits.get(split, 0) + captures
            each += origin.rows * sum(size.row for size in origin.tried.sizes.values())
    return replace(made, preview=round(min(PREVIEW_ROWS, made.rows) * each / max(1, made.rows)))


class _Origin:
    """One source on its way through a recipe.

    Args:
        entry: of the recipe.
        folder: empty; gets the probe's shards.
        made: the plan, for its workers.
        label: before the names of steps.
    """

    def __init__(self, entry: SourceEntry, folder: Path, made: Plan, label: str) -> None:
        self.source = build_source(entry.name, entry.parameters)
        self.name, self.workers, self.label = entry.name, made.workers, label
        self.tried = Probe(self.source, folder, terms_of(self.source))
        self.splits: dict[str, int] = {}

    @property
    def rows(self) -> int:
        """Captures."""
        return sum(self.splits.values())

    def read(self, probe: int) -> StepPlan:
        """List everything, read the probe."""
        began = time.perf_counter()
        listed = {split: _sequence(self.source.records(split)) for split in self.source.splits()}
        listing = time.perf_counter() - began
        self.splits = {split: len(records) for split, records in listed.items()}
        if not self.rows:
            raise UserError(f"the source {self.name!r} holds no captures: check its root folder and its splits")
        chosen = _spread(listed, probe)
        trial = self.tried.read(chosen)
        return StepPlan(
            name=f"{self.label}ingest" if self.label else f"ingest {self.name}",
            tables=tuple(self.tried.sizes),
            rows=self.rows,
            probed=len(chosen),
            start=listing + trial.start,
            seconds_per_row=trial.seconds_per_row,
            seconds=listing + trial.start + self.rows * trial.seconds_per_row / self.workers,
            bytes=sum(self._on_disk(size) for size in self.tried.sizes.values()),
        )

    def take(self, splits: Sequence[str]) -> None:
        """Go on with some splits only; () for all."""
        self.splits = {split: rows for split, rows in self.splits.items() if not splits or split in splits}

    def step(self, entry: StepEntry, seconds: float, *, optional: bool = False) -> StepPlan:
        """Run a step on the probe.

        Args:
            entry: of the recipe.
            seconds: after which the probe is cut short.
            optional: whether the source may lack what the step reads, and gets empty rows.
        """
        step = build_step(entry.step, entry.method, entry.parameters)
        name, table = f"{self.label}{entry.step} {entry.method}", step.output().name
        if optional and not self.tried.feeds(step):
            self.tried.leave_out(step)
            return StepPlan(name, (table,), self.rows, 0, seconds=0.0, note="these rows lack what it reads")
        if isinstance(step, GatheringStep):
            return self._asking(name, step)
        trial = self.tried.run(step, seconds)
        cut = trial.rows < self.tried.rows
        return StepPlan(
            name=name,
            tables=(table,),
            rows=self.rows,
            probed=trial.rows,
            start=trial.start,
            seconds_per_row=trial.seconds_per_row,
            seconds=trial.start + self.rows * trial.seconds_per_row / self.workers,
            bytes=self._on_disk(self.tried.sizes[table]),
            note=f"probe cut short after {trial.rows} of {self.tried.rows} rows" if cut else "",
        )

    def _asking(self, name: str, step: Any) -> StepPlan:  # noqa: ANN401 - a step that gathers
        """A step that asks a service: what it would ask about the probe, scaled."""
        estimate: Estimate = step.estimate(self.tried.manifest())
        self.tried.leave_out(step)
        scale = self.rows / self.tried.rows
        answered = round((estimate.completion_tokens or 0) * scale)
        notes = [f"tokens rest on {estimate.basis}"] if estimate.basis else []
        notes.append("its time is the service's")
        if not self.tried.terms.egress:
            notes.append("the data set's terms allow a service on this machine only")
        if estimate.cost is None and estimate.questions:
            notes.append("no prices are given: set input_price and output_price, each for a million tokens")
        return StepPlan(
            name=name,
            tables=(step.output().name,),
            rows=round(estimate.rows * scale),
            probed=self.tried.rows,
            bytes=answered * _BYTES_PER_TOKEN,
            questions=round(estimate.questions * scale),
            sent=round(estimate.image_bytes * scale),
            prompt_tokens=round((estimate.prompt_tokens or 0) * scale),
            completion_tokens=answered,
            cost=None if estimate.cost is None else estimate.cost * scale,
            note="; ".join(notes),
        )

    def _on_disk(self, size: Size) -> int:
        """Bytes of a table: its rows, and what every row group and every shard adds."""
        shards = sum(-(-captures // ROWS_PER_SHARD) for captures in self.splits.values())
        groups = sum(-(-captures // ROWS_PER_GROUP) for captures in self.splits.values())
        return round(self.rows * size.row + groups * size.group + shards * size.shard)


def _sequence(records: Any) -> Sequence[Record]:  # noqa: ANN401 - any iterable of records
    return records if isinstance(records, Sequence) else list(records)


def _spread(listed: dict[str, Sequence[Record]], probe: int) -> list[tuple[str, Record]]:
    """Rows at equal distances over all splits, in an order that spreads every beginning of the list as well."""
    ends = np.cumsum([len(records) for records in listed.values()])
    total = int(ends[-1])
    chosen = np.unique(np.linspace(0, total - 1, min(probe, total)).round().astype(int))
    found: list[tuple[str, Record]] = []
    for place in np.random.default_rng(0).permutation(chosen).tolist():
        number = int(np.searchsorted(ends, place, side="right"))
        split, records = list(listed.items())[number]
        row = place - int(ends[number]) + len(records)
        found.append((split, records[row : row + 1][0]))
    return found
