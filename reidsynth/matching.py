"""Which file of the user's copy belongs to which capture: by sample id where it is listed, else by checksum.

A file that turns out not to be the one on record (`mistaken`) may be that of another capture, and the one on record may
lie under another name: both are then looked for by their checksums as well.

Captures and listings are both sorted by sample id, so they are walked side by side: of millions of rows only numbers
stay in memory.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Collection, Sequence
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

Row = tuple[dict[str, Any], Record | None, Record | None]
"""A capture, the record of its file, and the record that is listed under its name; mostly the same one."""

COLUMNS = ("sample_id", "dataset", "pid", "camid", "role", "modality", "source_path", "source_sha256")
NOWHERE = -1


@dataclass(frozen=True, slots=True, eq=False)
class ShardMatch:
    """One shard of captures and where its rows lie in the user's copy.

    Args:
        split: of the shard.
        start: number of its first row in the split.
        numbers: of each row's record in the listing of its data set, NOWHERE where there is none.
        elsewhere: sample_id -> record of a file that was found under another path.
        records: data set -> listing of the split.
        key: changes when any of the user's files for this shard changes.
    """

    split: str
    start: int
    numbers: array[int]
    elsewhere: Mapping[str, Record]
    records: Mapping[str, Sequence[Record]]
    key: str

    def rows(self, delta: Manifest) -> list[Row]:
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
            (row, self.elsewhere.get(row["sample_id"], record), record)
            for row, record in zip(captures, found, strict=True)
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


def match(
    delta: Manifest, sources: Mapping[str, Source], *, run: Run, mistaken: Collection[str] = frozenset()
) -> Match:
    """Find the file of every capture.

    Args:
        delta: the release.
        sources: data set -> reader of the user's copy.
        run: engine for the checksums of files that are listed under other names.
        mistaken: sample ids of captures whose listed file is not the one on record.

    Raises:
        UserError: when the user's folder is not the data set.
    """
    walks: dict[str, _Walk] = {}
    parts = []
    for split in delta.splits:
        walk = walks[split] = _Walk({name: _listing(source, split) for name, source in sources.items()}, mistaken)
        starts = shard_starts(delta.info, split)
        sizes = [shard.rows for shard in delta.info.captures if shard.split == split]
        captures = delta.table("captures", split).columns(COLUMNS)
        for start, size in zip(starts, sizes, strict=True):
            rows = captures.slice(start, size).to_pylist()
            pairs = [(row, *walk.find(row)) for row in rows]
            stamps = [None if record is None else sources[row["dataset"]].stamp(record) for row, _, record in pairs]
            numbers = array("q", (number for _, number, _ in pairs))
            borders = rows[0]["sample_id"], rows[-1]["sample_id"]
            parts.append((split, start, numbers, borders, content_key(stamps)))
        walk.finish()
    elsewhere, taken = _elsewhere(walks, spelled(sources), run)
    found = Match(moved=len(elsewhere), unused=_unused(walks, elsewhere, taken))
    for split, start, numbers, (first, last), stamps_key in parts:
        mine = {name: moved for name, moved in elsewhere.items() if first <= name <= last}
        places = sorted((name, record.source_path, stamp) for name, (_, record, stamp) in mine.items())
        key = content_key(stamps_key, places)
        records = {name: record for name, (_, record, _) in mine.items()}
        found.shards.append(ShardMatch(split, start, numbers, records, walks[split].listings, key))
    return found


def _listing(source: Source, split: str) -> Sequence[Record]:
    if split not in source.splits():
        return ()
    records = source.records(split)
    return records if isinstance(records, Sequence) else list(records)


class _Walk:
    """Walks the listings of a split beside its captures; both are sorted by sample id.

    `left` are numbers of records that belong to no capture by their name, `wrong` of those that do and are mistaken.
    """

    def __init__(self, listings: Mapping[str, Sequence[Record]], mistaken: Collection[str]) -> None:
        self.listings = listings
        self.left = {name: array("q") for name in listings}
        self.wrong = {name: array("q") for name in listings}
        self.lost: dict[tuple[str, str], list[str]] = {}  # data set and checksum -> captures without their file
        self._mistaken = mistaken
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
        number = NOWHERE
        if record is not None and record.sample_id == sample_id:
            number = self._numbers[name]
            self._advance(name)
            if sample_id not in self._mistaken:
                return number, record
            self.wrong[name].append(number)
        else:
            record = None
        if row["source_sha256"]:
            self.lost.setdefault((name, row["source_sha256"]), []).append(sample_id)
        return number, record

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


_Moved = tuple[str, Record, str]
"""Split of the copy that lists a file, its record there, and its stamp."""


def _elsewhere(walks: Mapping[str, _Walk], keys: Spelled, run: Run) -> tuple[dict[str, _Moved], set[tuple[str, str]]]:
    """sample_id -> the file with its checksum that is listed under another name; and which files these are."""
    lost: dict[tuple[str, str], list[str]] = {}
    for walk in walks.values():
        for key, sample_ids in walk.lost.items():
            lost.setdefault(key, []).extend(sample_ids)
    names = {name for name, _ in lost}
    tasks = (
        (keys, name, split, tuple(walk.listings[name][number] for number in numbers[start : start + ROWS_PER_BLOCK]))
        for split, walk in walks.items()
        for name in sorted(names & walk.left.keys())
        for numbers in (walk.left[name], walk.wrong[name])
        for start in range(0, len(numbers), ROWS_PER_BLOCK)
    )
    found: dict[str, _Moved] = {}
    taken: set[tuple[str, str]] = set()
    for name, split, block in run.engine.imap(_digests, tasks) if lost else ():
        for record, digest, stamp in block:
            captures = lost.get((name, digest or ""), ())
            found.update(dict.fromkeys(captures, (split, record, stamp)))
            if captures:
                taken.add((name, record.sample_id))
    return found, taken


def _unused(
    walks: Mapping[str, _Walk], elsewhere: Collection[str], taken: Collection[tuple[str, str]]
) -> dict[str, int]:
    """Data set -> files that belong to no capture, neither by their name nor by their checksum."""
    counts: Counter[str] = Counter()
    moved = {name for name, _ in taken}
    for walk in walks.values():
        for name, listing in walk.listings.items():
            counts[name] += len(walk.left[name])
            if name in moved:
                counts[name] -= sum((name, listing[number].sample_id) in taken for number in walk.left[name])
            names = {listing[number].sample_id for number in walk.wrong[name]}  # whose captures may have found others
            counts[name] += sum(each in elsewhere and (name, each) not in taken for each in names)
    return {name: count for name, count in counts.items() if count}


def _digests(
    task: tuple[Spelled, str, str, tuple[Record, ...]],
) -> tuple[str, str, list[tuple[Record, str | None, str]]]:
    keys, name, split, records = task
    source = built(keys)[name]
    return name, split, [(record, source.read(record).source_sha256, source.stamp(record)) for record in records]
