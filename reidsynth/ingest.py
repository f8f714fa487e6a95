"""From a source to a manifest: captures and the tables that the data set itself holds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

from tqdm import tqdm

from reidsynth import gates, rows, thresholds
from reidsynth.ahead import Ahead, leading, read_and_make
from reidsynth.engines import LocalEngine
from reidsynth.errors import UserError
from reidsynth.jobs import ROWS_PER_BLOCK, Job, Run, commit, execute, shard_file, shard_infos, stale_shards, table_info
from reidsynth.linking import mark, refuse_foreign
from reidsynth.manifest import (
    MANIFEST_FILE,
    Manifest,
    ManifestInfo,
    SourceInfo,
    TableInfo,
    lost_files,
    open_manifest,
    read_info,
)
from reidsynth.passes import order
from reidsynth.protocol import write_protocol
from reidsynth.schema import ROWS_PER_SHARD, SCHEMA_VERSION, Record
from reidsynth.sources import GATES, Source, build_source, dropped, pid_names, protocol_of, terms_of
from reidsynth.storage import content_key, locked
from reidsynth.tables import CAPTURES, described, table_schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import pyarrow as pa

    from reidsynth.grouping import Asked
    from reidsynth.passes import Order, Planned
    from reidsynth.schema import Content, TableSpec

_FIELDS = tuple(field.name for field in fields(Record))


@dataclass(frozen=True, slots=True)
class _SourceTask:
    source: str
    parameters: str  # JSON: hashable, so that a worker builds the source once
    split: str
    records: tuple[Record, ...]
    specs: tuple[TableSpec, ...]
    orders: tuple[Order, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class _Read:
    """A block's rows as the source read them."""

    rows: list[tuple[Record, Content]]
    split: str
    dataset: str
    specs: tuple[TableSpec, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _SourceTasks:
    """Tasks of one shard, listed when they are asked for."""

    source: str
    parameters: str
    split: str
    records: Sequence[Record]  # of the whole split
    start: int
    stop: int
    specs: tuple[TableSpec, ...]
    orders: tuple[Order, ...] = ()

    def __len__(self) -> int:
        return -(-(self.stop - self.start) // ROWS_PER_BLOCK)

    def __iter__(self) -> Iterator[_SourceTask]:
        part = self.records[self.start : self.stop]
        for first in range(0, len(part), ROWS_PER_BLOCK):
            block = tuple(part[first : first + ROWS_PER_BLOCK])
            yield _SourceTask(self.source, self.parameters, self.split, block, self.specs, self.orders)


def ingest(
    out: Path,
    name: str,
    parameters: Mapping[str, Any],
    *,
    run: Run,
    about: str = "",
    title: str | None = None,
    recipe: Mapping[str, Any] | None = None,
    ahead: Sequence[Asked] = (),
) -> Manifest:
    """Read a source into a manifest: captures and the tables that the data set itself holds.

    Args:
        out: folder of the manifest; made if needed, completed if it was begun.
        name: of the source, one of `reidsynth sources`.
        parameters: of the source; `gates`, thresholds for the tables that it holds, is one of every source.
        run: engine and progress.
        about: one sentence for the card.
        title: name of the manifest; the source's data set by default.
        recipe: the recipe that this is part of, kept in `manifest.json`.
        ahead: steps that are going to run on the manifest at once; those that can be made while the rows are in memory
            are, and `run_steps` then finds their shards.

    Returns:
        The manifest, without the tables of these steps.

    Raises:
        UserError: for wrong parameters, a bad layout, duplicated sample ids, a full disk, or a folder that holds
            something else.
    """
    source = build_source(name, parameters)
    specs = thresholds.limited_all(source.tables(), parameters.get(GATES))
    refuse_foreign(out)
    jobs: list[Job] = []
    for split in source.splits():
        jobs.extend(_source_jobs(source, specs, split, run))
    if not jobs:
        raise UserError(f"the source {name!r} holds no captures: check its root folder and its splits")
    lists = protocol_of(source)  # before the first row: a bad list is told at once
    schemas = {"captures": described(CAPTURES)} | {spec.name: table_schema(spec) for spec in specs}
    with locked(out):
        mark(out)
        if any(not job.done(out) for job in jobs):
            (out / MANIFEST_FILE).unlink(missing_ok=True)  # its checksums would no longer be those on disk
        # A drawn world is drawn by the workers; files are read where they are, which workers elsewhere can't see.
        resolved = resolved_parameters(source)
        here = isinstance(run.engine, LocalEngine) or rows.without_root(resolved) == resolved
        read, lay_out = (None, _read_and_lay_out) if here else (_read, _lay_out)
        planned = leading(ahead, specs) if here else ()
        work = [_with_steps(job, planned, out) for job in jobs]
        schemas |= {each.spec.name: table_schema(each.spec) for each in planned}
        label = " + ".join([f"ingest {name}", *(each.made.name for each in planned)])
        execute(out, work, schemas, lay_out, run=run, label=label, fetch=read)
        info = ManifestInfo(
            name=title or source.dataset(),
            about=about,
            recipe=None if recipe is None else rows.plain(recipe),
            source=_source_info(source).model_copy(update={"gates": dict(parameters.get(GATES) or {})}),
            splits=rows.split_infos(out, _capture_files(jobs)),
            captures=shard_infos(out, jobs, "captures"),
            tables={spec.name: table_info(out, jobs, spec, None) for spec in specs},
            protocol={source.dataset(): write_protocol(out, source.dataset(), lists)} if lists else {},
        )
        commit(out, info.model_copy(update={"tables": still_valid(out, info)}))
    return open_manifest(out)


def _with_steps(job: Job, steps: tuple[Planned, ...], out: Path) -> Job | Ahead:
    """The work for a shard of rows, with the tables that follow from it unless there is anything of them yet."""
    tasks = job.tasks
    if not steps or not isinstance(tasks, _SourceTasks):
        return job
    number = tasks.start // ROWS_PER_SHARD
    total = -(-len(tasks.records) // ROWS_PER_SHARD)
    finals = {each.spec.name: shard_file(each.spec.name, job.split, number, total) for each in steps}
    both = Ahead(job, steps, finals, replace(tasks, orders=tuple(map(order, steps))))
    return job if both.begun(out) else both


def _capture_files(jobs: Sequence[Job]) -> dict[str, list[str]]:
    files: dict[str, list[str]] = {}
    for job in jobs:
        files.setdefault(job.split, []).append(job.files["captures"])
    return files


def _source_jobs(source: Source, specs: tuple[TableSpec, ...], split: str, run: Run) -> list[Job]:
    """One job for each shard. Of a lazy listing only one shard's records are in memory at a time, here and later."""
    found = source.records(split)
    records = found if isinstance(found, Sequence) else list(found)
    resolved = resolved_parameters(source)
    total = -(-len(records) // ROWS_PER_SHARD)
    tables = ["captures", *(spec.name for spec in specs)]
    identity = [SCHEMA_VERSION, gates.VERSION, source.name, source.version, rows.without_root(resolved), split]
    identity += [[spec.name, spec.limits] for spec in specs if spec.limits]
    jobs = []
    last: Record | None = None
    disable = None if run.progress is None else not run.progress
    bar = tqdm(total=len(records), desc=f"list {split}", unit="row", disable=disable, delay=1, leave=False)
    with bar:
        for number in range(total):
            start, stop = number * ROWS_PER_SHARD, min((number + 1) * ROWS_PER_SHARD, len(records))
            part = records[start:stop]
            _check_order(source, part if last is None else [last, *part])
            last = part[-1]
            listed = [[{name: getattr(record, name) for name in _FIELDS}, source.stamp(record)] for record in part]
            jobs.append(
                Job(
                    files={table: shard_file(table, split, number, total) for table in tables},
                    split=split,
                    key=content_key(*identity, number, total, listed),
                    rows=len(part),
                    tasks=_SourceTasks(source.name, json.dumps(resolved), split, records, start, stop, specs),
                )
            )
            bar.update(len(part))
    return jobs


def resolved_parameters(source: Source) -> dict[str, Any]:
    """All parameters of a source, defaults included, as JSON values."""
    return rows.plain(asdict(cast("Any", source)))


def _check_order(source: Source, records: Sequence[Record]) -> None:
    for before, after in pairwise(records):
        if before.sample_id == after.sample_id:
            raise UserError(
                f"two captures of {source.dataset()} have the sample id {before.sample_id!r} ({before.source_path!r} "
                f"and {after.source_path!r}): sample ids are paths without extension, rename or remove one"
            )
        if before.sample_id > after.sample_id:
            raise ValueError(f"source {source.name} lists {after.sample_id!r} after {before.sample_id!r}")


@lru_cache(maxsize=4)
def _source(name: str, parameters: str) -> Source:
    return build_source(name, json.loads(parameters))


def _read(task: _SourceTask) -> _Read:
    source = _source(task.source, task.parameters)
    read = [(record, source.read(record)) for record in task.records]
    return _Read(read, task.split, source.dataset(), task.specs)


def _lay_out(block: _Read) -> dict[str, pa.RecordBatch]:
    return rows.source_batches(block.rows, split=block.split, dataset=block.dataset, specs=block.specs)


def _read_and_lay_out(task: _SourceTask) -> dict[str, pa.RecordBatch]:
    source = _source(task.source, task.parameters)
    read = ((record, source.read(record)) for record in task.records)  # one row at a time is in memory, decoded once
    if task.orders:
        return read_and_make(read, task.orders, split=task.split, dataset=source.dataset(), specs=task.specs)
    return rows.source_batches(read, split=task.split, dataset=source.dataset(), specs=task.specs)


def _source_info(source: Source) -> SourceInfo:
    return SourceInfo(
        name=source.name,
        version=source.version,
        dataset=source.dataset(),
        parameters=rows.portable(rows.without_root(resolved_parameters(source))),
        policy=terms_of(source).as_dict(),
        dropped=dropped(source),
        pid_names={str(pid): name for pid, name in pid_names(source).items()},
    )


def still_valid(out: Path, info: ManifestInfo) -> dict[str, TableInfo]:
    """Tables to describe: those of `info`, and those of earlier steps on this folder that were made from them.

    Args:
        out: the manifest's folder.
        info: of what was read again.
    """
    if not (out / MANIFEST_FILE).exists():
        return info.tables
    kept = dict(info.tables)
    waiting = {name: table for name, table in read_info(out).tables.items() if table.step is not None}
    waiting = {name: table for name, table in waiting.items() if name not in kept}
    found = True
    while found:  # a table may depend on another that is kept
        found = False
        for name, table in list(waiting.items()):
            lost = any(lost_files(out, table.shards))  # the step makes them again
            if not lost and not stale_shards(info.model_copy(update={"tables": kept}), table):
                kept[name] = waiting.pop(name)
                found = True
    return kept
