"""Join a delta release with the user's own copy of the data set, by the checksums of its files.

A delta holds the captures, each with the sha256 of the file it was read from, and what steps made. The data set's own
tables (photographs, the owners' captions) are read again from the user's folder: a row is joined where the file has
the checksum on record, whether it lies under the same path or under another one. What does not match keeps its row,
with the reason, and is reported.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from reidsynth import gates, registry, rows, thresholds
from reidsynth.errors import UserError
from reidsynth.ingest import still_valid
from reidsynth.jobs import ROWS_PER_BLOCK, Job, Run, commit, execute, shard_file, table_info
from reidsynth.linking import link_files, refuse_foreign
from reidsynth.manifest import NOT_JOINED, Manifest, ManifestInfo, ShardInfo, SourceInfo, TableInfo, open_manifest
from reidsynth.matching import Match, Row, ShardMatch, Spelled, built, match, spelled
from reidsynth.protocol import ProtocolFile, write_protocol
from reidsynth.reader import TableReader
from reidsynth.schema import Content, Record
from reidsynth.sources import Source, build_source, protocol_of, source_class
from reidsynth.storage import content_key, locked
from reidsynth.tables import table_schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from reidsynth.schema import TableSpec

MISSING = f"{NOT_JOINED}no file with this checksum in your copy"
OTHER = f"{NOT_JOINED}your file has other bytes than the one on record"
UNKNOWN = f"{NOT_JOINED}there was no readable file when the delta was made"
REASONS = (MISSING, OTHER, UNKNOWN)


@dataclass(frozen=True, slots=True)
class Joined:
    """What came of it.

    Args:
        manifest: the joined manifest.
        matched: rows whose file is the one on record.
        moved: rows among them whose file lies under another path in the user's copy.
        unmatched: reason -> rows.
        unused: data set -> files of the user's copy that the delta does not speak of.
    """

    manifest: Manifest
    matched: int
    moved: int
    unmatched: dict[str, int]
    unused: dict[str, int]

    def told(self) -> list[str]:
        """The report, one line each."""
        total = self.matched + sum(self.unmatched.values())
        moved = f" ({self.moved} of them under another path)" if self.moved else ""
        lines = [f"joined {self.matched} of {total} captures by their checksums{moved}"]
        lines += [f"files of {name} that the delta does not speak of: {count}" for name, count in self.unused.items()]
        return lines

    def complaints(self) -> list[str]:
        """What did not match, one sentence each."""
        return [f"{count} capture{'s' if count > 1 else ''} {reason}" for reason, count in self.unmatched.items()]


@dataclass(frozen=True, slots=True)
class _JoinTask:
    sources: Spelled
    split: str
    specs: tuple[TableSpec, ...]
    rows: tuple[Row, ...]  # captures, and what the user's copy lists for them


@dataclass(frozen=True, slots=True, eq=False)
class _JoinTasks:
    """Tasks of one shard, listed when they are asked for."""

    sources: Spelled
    specs: tuple[TableSpec, ...]
    delta: Manifest
    shard: ShardMatch

    def __len__(self) -> int:
        return -(-len(self.shard.numbers) // ROWS_PER_BLOCK)

    def __iter__(self) -> Iterator[_JoinTask]:
        pairs = self.shard.rows(self.delta)
        for first in range(0, len(pairs), ROWS_PER_BLOCK):
            yield _JoinTask(self.sources, self.shard.split, self.specs, tuple(pairs[first : first + ROWS_PER_BLOCK]))


def roots_of(manifest: Manifest, folder: Path | None, named: Sequence[str]) -> dict[str, Path | None]:
    """Data set -> the user's folder of it; None for data sets that are drawn.

    Args:
        manifest: the delta.
        folder: of its one data set.
        named: `data set=folder`, for several.

    Raises:
        UserError: for a data set that the delta does not hold, and for one without a folder.
    """
    given: dict[str, Path] = {}
    for text in named:
        dataset, _, path = text.partition("=")
        given[dataset] = Path(path)
    sources = {source.dataset: source for source in manifest.info.sources}
    if folder is not None:
        if len(sources) > 1:
            raise UserError(f"the delta comes from several data sets: give --root DATASET={folder} for each of them")
        given[next(iter(sources))] = folder
    unknown = sorted(set(given) - set(sources))
    if unknown:
        raise UserError(f"the delta holds nothing of {unknown[0]!r}: its data sets are {', '.join(sorted(sources))}")
    needed = [name for name, source in sources.items() if "root" in registry.parameter_names(source_class(source.name))]
    lacking = sorted(set(needed) - set(given))
    if lacking:
        raise UserError(f"where is your copy of {', '.join(lacking)}? give its folder (or --root {lacking[0]}=FOLDER)")
    return {name: given.get(name) for name in sources}


def rehydrate(
    delta: Manifest,
    roots: Mapping[str, Path | None],
    out: Path,
    *,
    run: Run,
    settings: Mapping[str, Any] | None = None,
) -> Joined:
    """Make a whole manifest from a delta and the user's own copy of the data set.

    Args:
        delta: the release, a manifest without the data set's own tables.
        roots: from `roots_of`.
        out: folder of the whole manifest; shards of the delta are linked, not copied.
        run: engine and progress.
        settings: parameters of the source that differ on this machine.

    Returns:
        The manifest and how the files matched.

    Raises:
        UserError: when nothing is withheld, or the user's folder is not the data set.
    """
    info = delta.info
    own = {name: table for name, table in info.withheld.items() if table.step is None}
    if not own:
        raise UserError(f"{delta.path} lacks no table of its data set: there is nothing to join")
    if out.resolve() == delta.path.resolve():
        raise UserError(f"{out} is the delta itself: choose another folder for the whole manifest")
    refuse_foreign(out)
    sources = {s.dataset: _source_of(s, roots.get(s.dataset), settings or {}) for s in info.sources}
    specs = _limited([table.spec for table in own.values()], info.sources)
    found = match(delta, sources, run=run)
    with locked(out):
        link_files(delta.path, out, (s for shards in _shards(info) for s in shards))
        jobs = _joined_shards(delta, sources, specs, found, out, run)
        if mistaken := _mistaken(out, jobs, specs):
            found = match(delta, sources, run=run, mistaken=mistaken)
            jobs = _joined_shards(delta, sources, specs, found, out, run)
        tables = {spec.name: _standing_in(out, table_info(out, jobs, spec, None), own[spec.name]) for spec in specs}
        kept = {name: table for name, table in info.withheld.items() if name not in own}
        lists = _lists(delta, out, sources)
        joined = info.model_copy(update={"tables": info.tables | tables, "withheld": kept, "protocol": lists})
        commit(out, joined.model_copy(update={"tables": still_valid(out, joined)}))
    first = next((spec.name for spec in specs if spec.modality == "rgb"), specs[0].name)
    reasons = Counter({reason: tables[first].reasons.get(reason, 0) for reason in REASONS})
    total = sum(size.rows for size in info.splits.values())
    unmatched = {reason: count for reason, count in reasons.items() if count}
    return Joined(open_manifest(out), total - sum(unmatched.values()), found.moved, unmatched, found.unused)


def _limited(specs: Sequence[TableSpec], sources: Sequence[SourceInfo]) -> tuple[TableSpec, ...]:
    """The tables with the thresholds that the publisher's sources had."""
    modalities = {spec.modality for spec in specs}
    asked = {name: limit for source in sources for name, limit in source.gates.items()}
    return thresholds.limited_all(specs, {n: v for n, v in asked.items() if n.partition("_")[0] in modalities})


def _shards(info: ManifestInfo) -> Iterator[tuple[Any, ...]]:
    yield info.captures
    for table in info.tables.values():
        yield table.shards


def _source_of(source: SourceInfo, root: Path | None, settings: Mapping[str, Any]) -> Source:
    given = {} if root is None else {"root": str(root)}
    return build_source(source.name, source.parameters | dict(settings) | given)


def _jobs(delta: Manifest, keys: Spelled, specs: tuple[TableSpec, ...], found: Match) -> list[Job]:
    jobs = []
    for split in delta.splits:
        shards = [shard for shard in delta.info.captures if shard.split == split]
        matches = [matched for matched in found.shards if matched.split == split]
        for number, (shard, matched) in enumerate(zip(shards, matches, strict=True)):
            jobs.append(
                Job(
                    files={spec.name: shard_file(spec.name, split, number, len(shards)) for spec in specs},
                    split=split,
                    key=content_key(
                        "rehydrate", gates.VERSION, shard.sha256, matched.key, [[s.name, s.limits] for s in specs]
                    ),
                    rows=shard.rows,
                    tasks=_JoinTasks(keys, specs, delta, matched),
                )
            )
    return jobs


def _joined_shards(
    delta: Manifest, sources: Mapping[str, Source], specs: tuple[TableSpec, ...], found: Match, out: Path, run: Run
) -> list[Job]:
    jobs = _jobs(delta, spelled(sources), specs, found)
    schemas = {spec.name: table_schema(spec) for spec in specs}
    execute(out, jobs, schemas, _join_block, run=run, label="rehydrate")
    return jobs


def _mistaken(out: Path, jobs: Sequence[Job], specs: Sequence[TableSpec]) -> set[str]:
    """Captures whose listed file turned out to be another one than that on record."""
    name = specs[0].name
    reader = TableReader([(out / job.files[name], job.rows) for job in jobs], name, in_order=True)
    told = reader.columns(["sample_id", "reason"])
    return set(told.filter(pc.equal(told["reason"], OTHER))["sample_id"].to_pylist())


def _join_block(task: _JoinTask) -> dict[str, pa.RecordBatch]:
    sources = built(task.sources)
    pairs = [_joined(sources, task, *row) for row in task.rows]
    batches = rows.source_batches(pairs, split=task.split, dataset="", specs=task.specs)
    return {name: batch for name, batch in batches.items() if name != "captures"}


def _joined(
    sources: Mapping[str, Source],
    task: _JoinTask,
    row: Mapping[str, Any],
    record: Record | None,
    listed: Record | None,
) -> tuple[Record, Content]:
    known = Record(row["sample_id"], row["pid"], row["camid"], row["role"], row["modality"], row["source_path"])
    if record is None:
        return known, _refused(task, MISSING)
    content = sources[row["dataset"]].read(record)
    if content.source_sha256 != row["source_sha256"]:
        lost = MISSING if content.source_sha256 is None else OTHER
        return known, _refused(task, lost if row["source_sha256"] else UNKNOWN)
    if listed is not None and record != listed:  # files changed places; what is told of the name stayed
        record, content = listed, replace(content, texts=sources[row["dataset"]].read(listed).texts)
    return replace(record, sample_id=row["sample_id"]), content


def _refused(task: _JoinTask, reason: str) -> Content:
    return Content(errors={spec.name: reason for spec in task.specs})


def _standing_in(out: Path, table: TableInfo, original: TableInfo) -> TableInfo:
    """Let every shard whose rows all matched stand for the publisher's: what was made from that needs no new making."""
    if len(table.shards) != len(original.shards):
        return table
    shards = tuple(
        mine if _lacks(out, table, mine) else mine.model_copy(update={"stands_for": theirs.content})
        for mine, theirs in zip(table.shards, original.shards, strict=True)
    )
    return table.model_copy(update={"shards": shards})


def _lacks(out: Path, table: TableInfo, shard: ShardInfo) -> bool:
    """Whether rows of a shard found no file."""
    if not any(reason in table.reasons for reason in REASONS):
        return False
    reasons = TableReader([(out / shard.file, shard.rows)], table.name, in_order=True).columns(["reason"])["reason"]
    return bool(pc.any(pc.is_in(reasons, pa.array(REASONS))).as_py())


def _lists(delta: Manifest, out: Path, sources: Mapping[str, Source]) -> dict[str, dict[str, ProtocolFile]]:
    """Protocol files: those of the delta, and those of the user's copy."""
    lists = dict(delta.info.protocol)
    for name, files in lists.items():
        link_files(delta.path, out, files.values())
        lists[name] = files
    for name, source in sources.items():
        if name not in lists and (values := protocol_of(source)):
            lists[name] = write_protocol(out, name, values)
    return lists
