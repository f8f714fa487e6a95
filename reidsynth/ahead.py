"""Steps that are made while their rows are being read: each photograph is read and decoded once.

When a data set is read for the first time and steps without a network follow at once, their shards are written in the
same pass, under the keys that they would have anyway. The steps then find them there. Only shards of which nothing is
there yet are made so: whatever exists may still be valid, which is known once the source has been read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reidsynth import grouping, rows, shared_captions
from reidsynth.errors import UserError
from reidsynth.manifest import step_shard_key
from reidsynth.passes import Planned, carry_out
from reidsynth.storage import shard_sha256

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    import pyarrow as pa

    from reidsynth.grouping import Asked
    from reidsynth.jobs import Job, Tasks
    from reidsynth.passes import Order
    from reidsynth.schema import Content, Record, TableSpec


@dataclass(frozen=True, slots=True)
class Ahead:
    """One shard of a source's rows, with the tables that steps make of it.

    Args:
        job: what the source's own tables need.
        steps: in order.
        finals: table -> file that each step's table ends in.
        tasks: that fill all of them.
    """

    job: Job
    steps: tuple[Planned, ...]
    finals: Mapping[str, str]
    tasks: Tasks

    @property
    def files(self) -> dict[str, str]:
        """The source's files, then those of the steps as they are first written."""
        written = {each.spec.name: _written(each, self.finals[each.spec.name]) for each in self.steps}
        return self.job.files | written

    @property
    def rows(self) -> int:
        """Number of its rows."""
        return self.job.rows

    def done(self, folder: Path) -> bool:
        """Whether the source's tables are there: the steps complete their own."""
        return self.job.done(folder)

    def begun(self, folder: Path) -> bool:
        """Whether any of the steps' shards is there, of this or an earlier making."""
        written = (_written(each, self.finals[each.spec.name]) for each in self.steps)
        return any((folder / file).exists() for file in (*self.finals.values(), *written))

    def key_of(self, table: str, folder: Path) -> str:
        """Key of one of its files, once those before it are finished."""
        if table in self.job.files:
            return self.job.key
        step = next(step for step in self.steps if step.spec.name == table)
        files = self.job.files | dict(self.finals)
        contents = [shard_sha256(folder / files[name]) for name in ("captures", *step.made.inputs)]
        return step_shard_key(step.made, step.spec, contents)


def _written(step: Planned, file: str) -> str:
    return shared_captions.draft(file) if step.spec.kind == "text" else file


def leading(asked: Sequence[Asked], specs: Sequence[TableSpec]) -> tuple[Planned, ...]:
    """Steps that can be made while the rows are being read.

    Args:
        asked: the steps that follow, in order.
        specs: tables of the source.

    Returns:
        The first of them, as far as they share a pass; none where the first needs a network, where one would replace
        a table of the source, or where anything is wrong with them: that is told when they run.
    """
    if not asked:
        return ()
    names = [spec.name for spec in specs]
    try:
        group = grouping.together(grouping.entries(asked))[0]
        found = grouping.planned(group, names)
    except UserError:
        return ()
    apart = not group[0].shares or any(each.spec.name in names for each in found)
    return () if apart else tuple(found)


def read_and_make(
    read: Iterable[tuple[Record, Content]],
    orders: Sequence[Order],
    *,
    split: str,
    dataset: str,
    specs: Sequence[TableSpec],
) -> dict[str, pa.RecordBatch]:
    """Lay out what a source read, and run steps on it.

    Args:
        read: records with their content, in row order.
        orders: the steps.
        split: of the rows.
        dataset: value of that column.
        specs: tables of the source.

    Returns:
        table -> its rows, `captures` included.
    """
    decoded: dict[tuple[str, int], np.ndarray] = {}
    needed = {name for each in orders for name in each.inputs}
    found = rows.source_batches(read, split=split, dataset=dataset, specs=specs, decoded=decoded, kept=needed)
    block: dict[str, list[dict[str, Any]]] = {
        name: batch.to_pylist() for name, batch in found.items() if name in needed or name == "captures"
    }
    return found | carry_out(orders, block, {spec.name: spec for spec in specs}, decoded)
