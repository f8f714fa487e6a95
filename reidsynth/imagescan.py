"""Reads every image of some splits once and keeps what an audit compares: checksum, perceptual hash, person, role."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from reidsynth import images
from reidsynth.fingerprints import checksum, perceptual_hash
from reidsynth.jobs import ROWS_PER_BLOCK
from reidsynth.manifest import Manifest, open_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from reidsynth.jobs import Run
    from reidsynth.reader import TableReader

ABSENT, HASHED, FLAT, UNREAD = 0, 1, 2, 3


@dataclass(frozen=True, slots=True)
class Scan:
    """The images of several parts (splits of manifests); arrays run over images.

    Args:
        part: number of the part.
        row: of the capture within its split.
        table: number of the table's name; images of different tables are never compared.
        same: equal for files with equal bytes, within a table.
        state: HASHED, FLAT (too little structure to compare) or UNREAD.
        hashes: uint64 (N, 4); zeros where `state` is not HASHED.
    """

    part: np.ndarray
    row: np.ndarray
    table: np.ndarray
    same: np.ndarray
    state: np.ndarray
    hashes: np.ndarray


@dataclass(frozen=True, slots=True)
class _Task:
    folder: str
    table: str
    split: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class _Block:
    checksums: np.ndarray  # uint8 (n, 32)
    state: np.ndarray
    hashes: np.ndarray


@dataclass(frozen=True)
class Place:
    """One split of one manifest, and the tables of it that are read."""

    manifest: Manifest
    split: str
    tables: tuple[str, ...]

    @property
    def rows(self) -> int:
        """Captures of the split."""
        return self.manifest.info.splits[self.split].rows

    @cached_property
    def captures(self) -> TableReader:
        """The split's captures."""
        return self.manifest.table("captures", self.split)


def scan(places: Sequence[Place], *, run: Run) -> Scan:
    """Fingerprint all images.

    Where `captures` is named as a table (of a delta release without its photographs), the checksums of the owners'
    files stand for the photographs, and are compared with those of `rgb`.

    Args:
        places: what to read.
        run: engine and progress.

    Raises:
        UserError: a shard is damaged.
    """
    names = sorted({"rgb", *(table for place in places for table in place.tables)} - {"captures"})
    tasks = [(number, task) for number, place in enumerate(places) for task in _tasks(place)]
    bar = tqdm(
        total=sum(task.stop - task.start for _, task in tasks),
        desc="fingerprint",
        unit="image",
        disable=None if run.progress is None else not run.progress,
        smoothing=0.1,
    )
    columns: list[tuple[np.ndarray, ...]] = []
    with bar:
        for (number, task), block in zip(
            tasks, run.engine.imap(_fingerprints, (task for _, task in tasks)), strict=True
        ):
            there = np.flatnonzero(block.state != ABSENT)
            kind = names.index("rgb" if task.table == "captures" else task.table)
            columns.append(
                (
                    np.full(len(there), number),
                    task.start + there,
                    np.full(len(there), kind),
                    block.checksums[there],
                    block.state[there],
                    block.hashes[there],
                )
            )
            bar.update(task.stop - task.start)
    part, row, table, checksums, state, hashes = (np.concatenate(values) for values in zip(*columns, strict=True))
    keys = np.concatenate([checksums, table[:, None].astype(np.uint8)], axis=1)
    _, same = np.unique(np.ascontiguousarray(keys).view(f"V{keys.shape[1]}").ravel(), return_inverse=True)
    return Scan(part, row, table, same, state, hashes)


def _tasks(place: Place) -> Iterator[_Task]:
    for table in place.tables:
        for start in range(0, place.rows, ROWS_PER_BLOCK):
            stop = min(start + ROWS_PER_BLOCK, place.rows)
            yield _Task(str(place.manifest.path), table, place.split, start, stop)


@lru_cache(maxsize=8)
def _opened(folder: str) -> Manifest:
    return open_manifest(Path(folder))


def _fingerprints(task: _Task) -> _Block:
    count = task.stop - task.start
    block = _Block(np.zeros((count, 32), np.uint8), np.zeros(count, np.uint8), np.zeros((count, 4), np.uint64))
    reader = _opened(task.folder).table(task.table, task.split)
    if task.table == "captures":
        for number, digest in enumerate(reader.light(task.start, task.stop).column("source_sha256").to_pylist()):
            if digest is not None:
                block.checksums[number] = np.frombuffer(bytes.fromhex(digest), np.uint8)
                block.state[number] = FLAT  # there is nothing to hash
        return block
    for number, row in enumerate(reader.rows(task.start, task.stop)):
        if row["image"] is None:
            continue
        encoded = row["image"]["bytes"]
        block.checksums[number] = np.frombuffer(checksum(encoded), np.uint8)
        try:
            hashed = perceptual_hash(images.decode(encoded))
        except images.UnreadableImage:
            block.state[number] = UNREAD
            continue
        block.state[number] = FLAT if hashed is None else HASHED
        if hashed is not None:
            block.hashes[number] = hashed
    return block
