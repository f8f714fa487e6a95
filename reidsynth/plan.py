"""What a recipe would take before anything is spent: rows, time, bytes, tokens and money of every step.

A probe of some rows, spread over all splits, goes through the same reader and the same steps as a build would, in this
process; what it took is scaled to all rows. Time is taken as shared evenly by the workers, each of which starts every
model once. Steps that ask a service are not run: they tell what they would ask.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reidsynth.errors import UserError
from reidsynth.previews import PREVIEW_ROWS
from reidsynth.probe import Probe, Size
from reidsynth.schema import ROWS_PER_GROUP, ROWS_PER_SHARD
from reidsynth.sources import build_source, terms_of
from reidsynth.steps import GatheringStep, build_step

if TYPE_CHECKING:
    from reidsynth.recipe import Recipe, StepEntry
    from reidsynth.schema import Record

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
    source = build_source(recipe.source.name, recipe.source.parameters)
    began = time.perf_counter()
    listed = {split: _sequence(source.records(split)) for split in source.splits()}
    listing = time.perf_counter() - began
    splits = {split: len(records) for split, records in listed.items()}
    if not sum(splits.values()):
        raise UserError(f"the source {recipe.source.name!r} holds no captures: check its root folder and its splits")
    with tempfile.TemporaryDirectory(prefix="reidsynth-plan-") as folder:
        made = Plan(recipe.name, splits, workers)
        tried = Probe(source, Path(folder), terms_of(source))
        made.steps.append(_reading(recipe, made, tried, _spread(listed, probe), listing))
        for entry in recipe.steps:
            made.steps.append(_step(entry, made, tried, seconds))
        each = sum(size.row for size in tried.sizes.values())
    return Plan(made.recipe, splits, workers, made.steps, round(min(PREVIEW_ROWS, made.rows) * each))


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


def _reading(recipe: Recipe, made: Plan, tried: Probe, chosen: list[tuple[str, Record]], listing: float) -> StepPlan:
    spent = tried.read(chosen)
    tables = tuple(tried.sizes)
    return StepPlan(
        name=f"ingest {recipe.source.name}",
        tables=tables,
        rows=made.rows,
        probed=len(chosen),
        start=listing,
        seconds_per_row=spent / len(chosen),
        seconds=listing + made.rows * spent / len(chosen) / made.workers,
        bytes=sum(_on_disk(tried.sizes[table], made) for table in tables),
    )


def _step(entry: StepEntry, made: Plan, tried: Probe, seconds: float) -> StepPlan:
    step = build_step(entry.step, entry.method, entry.parameters)
    name = f"{entry.step} {entry.method}"
    table = step.output().name
    if isinstance(step, GatheringStep):
        return _asking(name, step, made, tried)
    trial = tried.run(step, seconds)
    return StepPlan(
        name=name,
        tables=(table,),
        rows=made.rows,
        probed=trial.rows,
        start=trial.start,
        seconds_per_row=trial.seconds_per_row,
        seconds=trial.start + made.rows * trial.seconds_per_row / made.workers,
        bytes=_on_disk(tried.sizes[table], made),
        note="" if trial.rows == tried.rows else f"probe cut short after {trial.rows} of {tried.rows} rows",
    )


def _asking(name: str, step: Any, made: Plan, tried: Probe) -> StepPlan:  # noqa: ANN401 - a step that gathers
    """A step that asks a service: what it would ask about the probe, scaled."""
    estimate = step.estimate(tried.manifest())
    tried.leave_out(step)
    scale = made.rows / tried.rows
    answered = round((estimate.completion_tokens or 0) * scale)
    notes = [f"tokens rest on {estimate.basis}"] if estimate.basis else []
    notes += ["time is the service's"]
    if not tried.terms.egress:
        notes.append("the data set's terms allow a service on this machine only")
    if estimate.cost is None and estimate.questions:
        notes.append("no prices are given: set input_price and output_price, each for a million tokens")
    return StepPlan(
        name=name,
        tables=(step.output().name,),
        rows=round(estimate.rows * scale),
        probed=tried.rows,
        bytes=answered * _BYTES_PER_TOKEN,
        questions=round(estimate.questions * scale),
        sent=round(estimate.image_bytes * scale),
        prompt_tokens=round((estimate.prompt_tokens or 0) * scale),
        completion_tokens=answered,
        cost=None if estimate.cost is None else estimate.cost * scale,
        note="; ".join(notes),
    )


def _on_disk(size: Size, made: Plan) -> int:
    """Bytes of a table: its rows, and what every row group and every shard adds."""
    shards = sum(-(-captures // ROWS_PER_SHARD) for captures in made.splits.values())
    groups = sum(-(-captures // ROWS_PER_GROUP) for captures in made.splits.values())
    return round(made.rows * size.row + groups * size.group + shards * size.shard)
