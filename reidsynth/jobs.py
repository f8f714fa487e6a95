"""Shards of work: written once, atomically, resumed at any time.

A shard is done when its Parquet file exists under its content key (what it is made from and how, kept in the file's
footer). Inside a shard, blocks of rows go to the engine; their borders are fixed, so that neither the engine nor the
number of workers ever changes a byte.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Protocol

from tqdm import tqdm

from reidsynth import protocol, rows
from reidsynth.card import write_card
from reidsynth.manifest import (
    MANIFEST_FILE,
    NOT_JOINED,
    PARTIAL_KEY,
    ManifestInfo,
    ShardInfo,
    StepInfo,
    TableInfo,
    read_info,
    step_shard_key,
    write_info,
)
from reidsynth.measurements import joined
from reidsynth.schema import ROWS_PER_GROUP, TableSpec
from reidsynth.spending import Allowance
from reidsynth.storage import shard_sha256
from reidsynth.tables import shard_key, shard_writer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from reidsynth.engines import Engine

ROWS_PER_BLOCK = 4 * ROWS_PER_GROUP


@dataclass(frozen=True, slots=True)
class Run:
    """How to run: engine and progress, never what comes out.

    Args:
        engine: where blocks run.
        progress: whether to draw a bar with ETA; None draws it on terminals only.
        allowance: what steps that ask others may spend and send out.
    """

    engine: Engine
    progress: bool | None = None
    allowance: Allowance = field(default_factory=Allowance)


class Tasks(Protocol):
    """What `Work.tasks` needs: a tuple, or something that lists its tasks when it is iterated."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...


class Work(Protocol):
    """What `execute` needs: one shard of rows in one or more tables, and the tasks whose results fill them in order."""

    @property
    def files(self) -> Mapping[str, str]:
        """Its files by table; a file may be made from those before it."""
        ...

    @property
    def rows(self) -> int:
        """Number of its rows."""
        ...

    @property
    def tasks(self) -> Tasks:
        """Tasks, in the order of the rows."""
        ...

    def done(self, folder: Path) -> bool:
        """Whether all its files exist under their keys."""
        ...

    def key_of(self, table: str, folder: Path) -> str:
        """Key of one of its files, asked for once the files before it are finished."""
        ...


@dataclass(frozen=True, slots=True)
class Job:
    """One shard of work: its files by table, its key, and the tasks whose results fill it in order.

    Tasks may be listed anew each time they are iterated, so that millions of rows don't lie in memory.
    """

    files: dict[str, str]
    split: str
    key: str
    rows: int
    tasks: Tasks

    def done(self, folder: Path) -> bool:
        """Whether all its files exist under its key."""
        return all(shard_key(folder / file) == self.key for file in self.files.values())

    def key_of(self, table: str, folder: Path) -> str:
        """Key of one of its files."""
        return self.key


def shard_file(table: str, split: str, number: int, total: int) -> str:
    """Path of a shard inside the manifest."""
    return f"{table}/{split}-{number:05d}-of-{total:05d}.parquet"


def input_checksums(info: ManifestInfo, inputs: Collection[str], split: str, number: int) -> list[str]:
    """Checksums of the shards that one shard of a step is made from, captures first."""
    names = ("captures", *inputs)
    return [[s for s in info.shards_of(name) if s.split == split][number].content for name in names]


def stale_shards(info: ManifestInfo, table: TableInfo) -> list[ShardInfo]:
    """Shards of a step's table that were not made from the inputs now on record.

    Inputs that are withheld count by their record; where that has no shards (rows were chosen since), nothing can be
    said and nothing is. A shard is not stale for lacking rows of captures that came without the table, nor for having
    been made from more than `reidsynth rehydrate` could join.
    """
    if table.step is None:
        return []
    if any(name not in info.tables and name not in info.withheld for name in table.step.inputs):
        return list(table.shards)
    if not all(info.shards_of(name) for name in table.step.inputs):
        return []
    stale = []
    for split in {shard.split for shard in table.shards}:
        shards = [shard for shard in table.shards if shard.split == split]
        if len(shards) != len([s for s in info.captures if s.split == split]):
            return list(table.shards)
        for number, shard in enumerate(shards):
            checksums = input_checksums(info, table.step.inputs, split, number)
            known = shard.key in (PARTIAL_KEY, step_shard_key(table.step, table.spec, checksums))
            if not known and not _joined_in_part(info, table.step.inputs, split, number):
                stale.append(shard)
    return stale


def _joined_in_part(info: ManifestInfo, inputs: Collection[str], split: str, number: int) -> bool:
    """Whether one of the shards that a shard of a step is made from lacks rows of the one that it was made from."""
    for table in (info.tables[name] for name in inputs if name in info.tables):
        shard = [shard for shard in table.shards if shard.split == split][number]
        if shard.stands_for is None and any(reason.startswith(NOT_JOINED) for reason in table.reasons):
            return True
    return False


def shard_starts(info: ManifestInfo, split: str) -> list[int]:
    """Number of the first row of every shard of a split; shards of merged manifests may be short."""
    sizes = [shard.rows for shard in info.captures if shard.split == split]
    return list(accumulate(sizes, initial=0))[:-1]


def execute(
    out: Path,
    jobs: Sequence[Work],
    schemas: Mapping[str, pa.Schema],
    function: Callable[[Any], dict[str, pa.RecordBatch]],
    *,
    run: Run,
    label: str,
    fetch: Callable[[Any], Any] | None = None,
) -> None:
    """Make the shards that are not there yet, in order.

    Args:
        out: the manifest's folder.
        jobs: all shards.
        schemas: of their tables.
        function: makes a block's rows of what was fetched for it.
        run: engine and progress.
        label: of the bar.
        fetch: reads what a task names; None where the task says all.
    """
    waiting = [job for job in jobs if not job.done(out)]
    if not waiting:
        return
    bar = tqdm(
        total=sum(job.rows for job in jobs),
        initial=sum(job.rows for job in jobs) - sum(job.rows for job in waiting),
        desc=label,
        unit="row",
        disable=None if run.progress is None else not run.progress,
        smoothing=0.1,
    )
    results: Iterator[dict[str, pa.RecordBatch]] = run.engine.imap(
        function, (task for job in waiting for task in job.tasks), fetch=fetch
    )
    with bar:
        for job in waiting:
            with ExitStack() as stack:
                write = {
                    table: stack.enter_context(
                        shard_writer(out / job.files[table], schemas[table], key=partial(job.key_of, table, out))
                    )
                    for table in reversed(list(job.files))  # so that the first file is finished first
                }
                for _ in range(len(job.tasks)):
                    batches = next(results)
                    for table, batch in batches.items():
                        write[table](batch)
                    bar.update(next(iter(batches.values())).num_rows)


def shard_infos(out: Path, jobs: Sequence[Job], table: str) -> tuple[ShardInfo, ...]:
    """Describe the finished shards of one table."""
    return tuple(
        ShardInfo(
            file=job.files[table],
            split=job.split,
            rows=job.rows,
            bytes=(out / job.files[table]).stat().st_size,
            sha256=shard_sha256(out / job.files[table]),
            key=job.key,
        )
        for job in jobs
    )


def table_info(out: Path, jobs: Sequence[Job], spec: TableSpec, step: StepInfo | None) -> TableInfo:
    """Describe a finished table; its verdicts are counted from its files."""
    shards = shard_infos(out, jobs, spec.name)
    counts, reasons = rows.verdict_counts(out, shards)
    return TableInfo(
        name=spec.name,
        modality=spec.modality,
        origin=spec.origin,
        spectrum=spec.spectrum,
        step=step,
        counts=counts,
        reasons=reasons,
        shards=shards,
    )


def commit(out: Path, info: ManifestInfo) -> None:
    """Write card, preview and description, then remove shards and protocol files that the description does not name.

    What was measured of tables that are still there is kept; the card marks it where they have changed since.
    """
    before = read_info(out).quality if (out / MANIFEST_FILE).exists() else ()
    quality = tuple(one for one in joined(before, info.quality) if one.table in info.tables)
    info = info.model_copy(update={"tables": dict(sorted(info.tables.items())), "quality": quality})
    write_card(out, info)
    write_info(out, info)
    named = {shard.file for shards in (info.captures, *(t.shards for t in info.tables.values())) for shard in shards}
    for name in ("captures", *info.tables):
        for path in sorted((out / name).glob("*.parquet")):
            if path.relative_to(out).as_posix() not in named:
                path.unlink()
    listed = {entry.file for files in info.protocol.values() for entry in files.values()}
    for path in sorted((out / protocol.FOLDER).glob("*/*.json")):
        if path.relative_to(out).as_posix() not in listed:
            path.unlink()
