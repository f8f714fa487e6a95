"""Join a delta release with the user's own copy of the data set, by the checksums of its files.

A delta holds the captures, each with the sha256 of the file it was read from, and what steps made. The data set's own
tables (photographs, the owners' captions) are read again from the user's folder: a row is joined where the file has
the checksum on record, whether it lies under the same path or under another one. What does not match keeps its row,
with the reason, and is reported.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reidsynth import registry, rows
from reidsynth.errors import UserError
from reidsynth.jobs import ROWS_PER_BLOCK, Job, Run, commit, execute, shard_file, shard_starts, table_info
from reidsynth.linking import link_files, refuse_foreign
from reidsynth.manifest import Manifest, ManifestInfo, SourceInfo, TableInfo, open_manifest
from reidsynth.protocol import ProtocolFile, write_protocol
from reidsynth.schema import Content, Record
from reidsynth.sources import Source, build_source, protocol_of, source_class
from reidsynth.storage import content_key, locked
from reidsynth.tables import table_schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

    from reidsynth.schema import TableSpec

MISSING = "not joined: no file with this checksum in your copy"
OTHER = "not joined: your file has other bytes than the one on record"
UNKNOWN = "not joined: there was no readable file when the delta was made"
REASONS = (MISSING, OTHER, UNKNOWN)
_FIELDS = ("sample_id", "dataset", "pid", "camid", "role", "modality", "source_path", "source_sha256", "derived_from")


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
        return [f"{count} captures {reason}" for reason, count in self.unmatched.items()]


@dataclass(frozen=True, slots=True)
class _JoinTask:
    sources: tuple[tuple[str, str, str], ...]  # data set, source, parameters as JSON
    split: str
    specs: tuple[TableSpec, ...]
    rows: tuple[tuple[dict[str, Any], Record | None], ...]  # captures, and what the user's copy lists for them


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
    specs = tuple(table.spec for table in own.values())
    with locked(out):
        link_files(delta.path, out, (s for shards in _shards(info) for s in shards))
        jobs, moved, unused = _jobs(delta, sources, specs, run)
        schemas = {spec.name: table_schema(spec) for spec in specs}
        execute(out, jobs, schemas, _join_block, run=run, label="rehydrate")
        tables = {spec.name: _standing_in(table_info(out, jobs, spec, None), own[spec.name]) for spec in specs}
        kept = {name: table for name, table in info.withheld.items() if name not in own}
        lists = _lists(delta, out, sources)
        joined = info.model_copy(update={"tables": info.tables | tables, "withheld": kept, "protocol": lists})
        commit(out, joined)
    first = next((spec.name for spec in specs if spec.modality == "rgb"), specs[0].name)
    reasons = Counter({reason: tables[first].reasons.get(reason, 0) for reason in REASONS})
    total = sum(size.rows for size in info.splits.values())
    unmatched = {reason: count for reason, count in reasons.items() if count}
    return Joined(open_manifest(out), total - sum(unmatched.values()), moved, unmatched, unused)


def _shards(info: ManifestInfo) -> Iterator[tuple[Any, ...]]:
    yield info.captures
    for table in info.tables.values():
        yield table.shards


def _source_of(source: SourceInfo, root: Path | None, settings: Mapping[str, Any]) -> Source:
    given = {} if root is None else {"root": str(root)}
    return build_source(source.name, source.parameters | dict(settings) | given)


def _jobs(
    delta: Manifest, sources: Mapping[str, Source], specs: tuple[TableSpec, ...], run: Run
) -> tuple[list[Job], int, dict[str, int]]:
    """Work by shard of the captures; how many files lie elsewhere; how many the delta does not name."""
    keys = tuple(
        (name, source.name, json.dumps(rows.plain(asdict(source)), sort_keys=True))  # type: ignore[call-overload] # pydantic dataclasses
        for name, source in sources.items()
    )
    jobs: list[Job] = []
    moved, unused = 0, Counter[str]()
    for split in delta.splits:
        captures = delta.table("captures", split).columns(_FIELDS).to_pylist()
        listed = {record.sample_id: record for name in sources for record in _records(sources[name], split)}
        elsewhere = _elsewhere(captures, listed, keys, run)
        moved += len(elsewhere)
        found = [listed.pop(row["sample_id"], None) or elsewhere.get(row["sample_id"]) for row in captures]
        taken = {record.source_path for record in elsewhere.values()}
        unused.update(r.sample_id.partition("/")[0] for r in listed.values() if r.source_path not in taken)
        shards = [shard for shard in delta.info.captures if shard.split == split]
        for number, (first, shard) in enumerate(zip(shard_starts(delta.info, split), shards, strict=True)):
            part = list(zip(captures[first : first + shard.rows], found[first : first + shard.rows], strict=True))
            stamps = [None if record is None else _stamp(sources, row, record) for row, record in part]
            jobs.append(
                Job(
                    files={spec.name: shard_file(spec.name, split, number, len(shards)) for spec in specs},
                    split=split,
                    key=content_key("rehydrate", shard.sha256, stamps, [spec.name for spec in specs]),
                    rows=shard.rows,
                    tasks=tuple(
                        _JoinTask(
                            keys, split, specs, *(tuple(x) for x in zip(*part[i : i + ROWS_PER_BLOCK], strict=True))
                        )
                        for i in range(0, shard.rows, ROWS_PER_BLOCK)
                    ),
                )
            )
    return jobs, moved, dict(unused)


def _stamp(sources: Mapping[str, Source], row: Mapping[str, Any], record: Record) -> list[str]:
    return [record.source_path, sources[row["dataset"]].stamp(record)]


def _records(source: Source, split: str) -> Iterator[Record]:
    if split in source.splits():
        yield from source.records(split)


def _elsewhere(
    captures: Sequence[Mapping[str, Any]], listed: Mapping[str, Record], keys: tuple[Any, ...], run: Run
) -> dict[str, Record]:
    """sample_id -> record of a file that lies under another path in the user's copy."""
    lost: dict[str, list[str]] = {}
    for row in captures:
        if row["sample_id"] not in listed and row["source_sha256"]:
            lost.setdefault(row["source_sha256"], []).append(row["sample_id"])
    named = {row["sample_id"] for row in captures}
    left = [record for sample_id, record in listed.items() if sample_id not in named]
    if not lost or not left:
        return {}
    blocks = [(keys, tuple(left[i : i + ROWS_PER_BLOCK])) for i in range(0, len(left), ROWS_PER_BLOCK)]
    found = {}
    digests = (digest for block in run.engine.imap(_digests, blocks) for digest in block)
    for record, digest in zip(left, digests, strict=True):
        found.update(dict.fromkeys(lost.get(digest or "", ()), record))
    return found


@lru_cache(maxsize=16)
def _built(name: str, parameters: str) -> Source:
    return build_source(name, json.loads(parameters))


def _by_dataset(keys: tuple[tuple[str, str, str], ...]) -> dict[str, Source]:
    return {dataset: _built(name, parameters) for dataset, name, parameters in keys}


def _digests(task: tuple[tuple[tuple[str, str, str], ...], tuple[Record, ...]]) -> list[str | None]:
    sources = _by_dataset(task[0])
    return [sources[r.sample_id.partition("/")[0]].read(r).source_sha256 for r in task[1]]


def _join_block(task: _JoinTask) -> dict[str, pa.RecordBatch]:
    sources = _by_dataset(task.sources)
    pairs = [_joined(sources, task, row, record) for row, record in task.rows]
    batches = rows.source_batches(pairs, split=task.split, dataset="", specs=task.specs)
    return {name: batch for name, batch in batches.items() if name != "captures"}


def _joined(
    sources: Mapping[str, Source], task: _JoinTask, row: Mapping[str, Any], record: Record | None
) -> tuple[Record, Content]:
    known = Record(row["sample_id"], row["pid"], row["camid"], row["role"], row["modality"], row["source_path"])
    if record is None:
        return known, _refused(task, MISSING)
    content = sources[row["dataset"]].read(record)
    if content.source_sha256 != row["source_sha256"]:
        lost = MISSING if content.source_sha256 is None else OTHER
        return known, _refused(task, lost if row["source_sha256"] else UNKNOWN)
    return replace(record, sample_id=row["sample_id"]), content


def _refused(task: _JoinTask, reason: str) -> Content:
    return Content(errors={spec.name: reason for spec in task.specs})


def _standing_in(table: TableInfo, original: TableInfo) -> TableInfo:
    """Let every shard whose rows all matched stand for the publisher's: what was made from that needs no new making."""
    if any(reason in table.reasons for reason in REASONS) or len(table.shards) != len(original.shards):
        return table
    pairs = zip(table.shards, original.shards, strict=True)
    shards = tuple(mine.model_copy(update={"stands_for": theirs.content}) for mine, theirs in pairs)
    return table.model_copy(update={"shards": shards})


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
