"""Which file of the user's copy belongs to which capture: by sample id where it is listed, else by checksum.

Captures and listings are both sorted by sample id, so they are walked side by side: of millions of rows only numbers
stay in memory.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from reidsynth.ingest import resolved_parameters
from reidsynth.jobs import ROWS_PER_BLOCK, shard_starts
from reidsynth.schema import ROWS_PER_SHARD, Record
from reidsynth.sources import Source, build_source
from reidsynth.storage import content_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from reidsynth.jobs import Run
    from reidsynth.manifest import Manifest

Spelled = tuple[tuple[str, str, str], ...]
"""Data set, source and its parameters as JSON: what a worker needs to build the sources itself."""

COLUMNS = ("sample_id", "dataset", "pid", "camid", "role", "modality", "source_path", "source_sha256")
NOWHERE = -1


@dataclass(frozen=True, slots=True, eq=False)
class ShardMatch:
    """One shard of captures and where its rows lie in the user's copy.

    Args:
        split: of the shard.
        start: number of its first row in the split.
        numbers: of each row's record in the listing of its data set, NOWHERE where there is none.
        elsewhere: sample_id -> record of a file that was found under another path, for this split.
        records: data set -> listing of the split.
        key: changes when any of the user's files for this shard changes.
    """

    split: str
    start: int
    numbers: array[int]
    elsewhere: Mapping[str, Record]
    records: Mapping[str, Sequence[Record]]
    key: str

    def rows(self, delta: Manifest) -> list[tuple[dict[str, Any], Record | None]]:
        """Captures with their records."""
        captures = delta.table("captures", self.split).rows(self.start, self.start + len(self.numbers))
        found: list[Record | None] = [None] * len(captures)
        for dataset, listing in self.records.items():
            mine = [i for i, row in enumerate(captures) if row["dataset"] == dataset and self.numbers[i] != NOWHERE]
            if mine:
                first = self.numbers[mine[0]]
                part = listing[first : self.numbers[mine[-1]] + 1]
                for i in mine:
                    found[i] = part[self.numbers[i] - first]
        return [
            (row, record or self.elsewhere.get(row["sample_id"])) for row, record in zip(captures, found, strict=True)
        ]


@dataclass(slots=True)
class Match:
    """How a delta and the user's copy fit together.

    Args:
        shards: one for each shard of the captures, in order.
        moved: rows whose file lies under another path.
        unused: data set -> files that the delta does not speak of.
    """

    shards: list[ShardMatch] = field(default_factory=list)
    moved: int = 0
    unused: dict[str, int] = field(default_factory=dict)


def spelled(sources: Mapping[str, Source]) -> Spelled:
    """Sources as a worker can build them."""
    return tuple(
        (dataset, source.name, json.dumps(resolved_parameters(source), sort_keys=True))
        for dataset, source in sources.items()
    )


def built(keys: Spelled) -> dict[str, Source]:
    """Data set -> source, built once in each process."""
    return {dataset: _built(name, parameters) for dataset, name, parameters in keys}


@lru_cache(maxsize=16)
def _built(name: str, parameters: str) -> Source:
    return build_source(name, json.loads(parameters))


def match(delta: Manifest, sources: Mapping[str, Source], *, run: Run) -> Match:
    """Find the file of every capture.

    Args:
        delta: the release.
        sources: data set -> reader of the user's copy.
        run: engine for the checksums of files that are listed under other names.

    Raises:
        UserError: when the user's folder is not the data set.
    """
    found = Match()
    for split in delta.splits:
        listings = {name: _listing(source, split) for name, source in sources.items()}
        walk = _Walk(listings)
        starts = shard_starts(delta.info, split)
        sizes = [shard.rows for shard in delta.info.captures if shard.split == split]
        captures = delta.table("captures", split).columns(COLUMNS)
        parts = []
        for start, size in zip(starts, sizes, strict=True):
            pairs = [(row, *walk.find(row)) for row in captures.slice(start, size).to_pylist()]
            stamps = [None if record is None else sources[row["dataset"]].stamp(record) for row, _, record in pairs]
            parts.append((start, array("q", (number for _, number, _ in pairs)), content_key(stamps)))
        walk.finish()
        elsewhere = _elsewhere(walk, listings, spelled(sources), run)
        found.moved += len(elsewhere)
        taken = {record.sample_id for record in elsewhere.values()}
        for name, left in walk.left.items():
            count = len(left) - sum(sample_id.startswith(f"{name}/") for sample_id in taken)
            if count:
                found.unused[name] = found.unused.get(name, 0) + count
        key = sorted((row, record.source_path) for row, record in elsewhere.items())
        found.shards += [
            ShardMatch(split, start, numbers, elsewhere, listings, content_key(stamps, key))
            for start, numbers, stamps in parts
        ]
    return found


def _listing(source: Source, split: str) -> Sequence[Record]:
    if split not in source.splits():
        return ()
    records = source.records(split)
    return records if isinstance(records, Sequence) else list(records)


class _Walk:
    """Walks the listings beside the captures; both are sorted by sample id."""

    def __init__(self, listings: Mapping[str, Sequence[Record]]) -> None:
        self.left = {name: array("q") for name in listings}
        self.lost: dict[str, list[str]] = {}  # checksum -> captures that are listed nowhere
        self._sizes = {name: len(listing) for name, listing in listings.items()}
        self._numbers = dict.fromkeys(listings, 0)
        self._records = {name: _blocks(listing) for name, listing in listings.items()}
        self._next = {name: next(records, None) for name, records in self._records.items()}

    def find(self, row: Mapping[str, Any]) -> tuple[int, Record | None]:
        name, sample_id = row["dataset"], row["sample_id"]
        record = self._next.get(name)
        while record is not None and record.sample_id < sample_id:
            self.left[name].append(self._numbers[name])
            record = self._advance(name)
        if record is not None and record.sample_id == sample_id:
            number = self._numbers[name]
            self._advance(name)
            return number, record
        if row["source_sha256"]:
            self.lost.setdefault(row["source_sha256"], []).append(sample_id)
        return NOWHERE, None

    def finish(self) -> None:
        for name, left in self.left.items():
            left.extend(range(self._numbers[name], self._sizes[name]))

    def _advance(self, name: str) -> Record | None:
        self._numbers[name] += 1
        self._next[name] = record = next(self._records[name], None)
        return record


def _blocks(listing: Sequence[Record]) -> Iterator[Record]:
    for start in range(0, len(listing), ROWS_PER_SHARD):
        yield from listing[start : start + ROWS_PER_SHARD]


def _elsewhere(walk: _Walk, listings: Mapping[str, Sequence[Record]], keys: Spelled, run: Run) -> dict[str, Record]:
    """sample_id -> record of a file with its checksum that is listed under another name."""
    if not walk.lost:
        return {}
    tasks = (
        (keys, name, tuple(listings[name][number] for number in left[start : start + ROWS_PER_BLOCK]))
        for name, left in walk.left.items()
        for start in range(0, len(left), ROWS_PER_BLOCK)
    )
    found: dict[str, Record] = {}
    for block in run.engine.imap(_digests, tasks):
        for record, digest in block:
            found.update(dict.fromkeys(walk.lost.get(digest or "", ()), record))
    return found


def _digests(task: tuple[Spelled, str, tuple[Record, ...]]) -> list[tuple[Record, str | None]]:
    keys, name, records = task
    source = built(keys)[name]
    return [(record, source.read(record).source_sha256) for record in records]
