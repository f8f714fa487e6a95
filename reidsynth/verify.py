"""Compares a copy of a data set with what its owners ship, down to every file's last byte.

Rows stream through: people and numbers are counted while files are decoded, so memory stays flat however many rows
there are (but for the checksums that tell whether two splits share a file).
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from reidsynth import listing
from reidsynth.errors import UserError
from reidsynth.ingest import resolved_parameters
from reidsynth.sources import Source, build_source, dropped, inconsistencies, published_by
from reidsynth.tally import RowSeen, Tally
from reidsynth.verification import Problem, Verification

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from reidsynth.jobs import Run
    from reidsynth.schema import Record

ROWS_PER_BLOCK = 256


def verify(name: str, parameters: Mapping[str, Any], *, run: Run, decode: bool = True) -> Verification:
    """Compare a data set's folder with what its owners ship.

    Args:
        name: of the source.
        parameters: of the source.
        run: engine and progress.
        decode: read and decode every file; without it files are only looked for.

    Returns:
        What was found. A folder without the data set's layout is a problem of it, not an exception.

    Raises:
        UserError: an unknown source, wrong parameters, or a root that is no folder.
    """
    source = build_source(name, parameters)
    root = parameters.get("root")
    if root is not None:
        listing.folder(Path(str(root)), f"the data set {name}")
    found = Verification(name, str(root or ""), decode)
    try:
        captioned = any(spec.kind == "text" for spec in source.tables())
        several = len(source.splits()) > 1
        tally = Tally(published_by(source), found, captioned=captioned, several_splits=several)
        _read(source, tally, run=run)
        found.left_out = dropped(source)
        found.problems += [Problem("lists", says) for says in inconsistencies(source)]
    except UserError as error:
        found.problems.append(Problem("layout", str(error)))
        return found
    tally.conclude()
    return found


@dataclass(frozen=True, slots=True)
class _Task:
    source: str
    parameters: str
    records: tuple[Record, ...]
    decode: bool


@lru_cache(maxsize=2)
def _source(name: str, parameters: str) -> Source:
    return build_source(name, json.loads(parameters))


def _look(task: _Task) -> list[RowSeen]:
    source = _source(task.source, task.parameters)
    return [_read_row(source, record) if task.decode else _find_row(source, record) for record in task.records]


def _read_row(source: Source, record: Record) -> RowSeen:
    content = source.read(record)
    captions = sum(len(text.captions) for text in content.texts.values())
    return RowSeen(dict(content.errors), (*content.images, *content.texts), captions, content.source_sha256)


def _find_row(source: Source, record: Record) -> RowSeen:
    gone = "missing" in source.stamp(record)
    return RowSeen({"file": listing.MISSING} if gone else {}, () if gone else ("file",), None, None)


def _blocks(records: Iterable[Record]) -> Iterator[tuple[Record, ...]]:
    """Rows in blocks; long sequences are sliced, since they may live on disk."""
    if isinstance(records, Sequence):
        yield from (tuple(records[i : i + ROWS_PER_BLOCK]) for i in range(0, len(records), ROWS_PER_BLOCK))
        return
    rows = iter(records)
    while block := tuple(islice(rows, ROWS_PER_BLOCK)):
        yield block


def _read(source: Source, tally: Tally, *, run: Run) -> None:
    parameters = json.dumps(resolved_parameters(source))
    bar = tqdm(
        total=tally.published.rows,
        desc=f"verify {source.name}",
        unit="row",
        disable=None if run.progress is None else not run.progress,
        smoothing=0.1,
    )
    waiting: deque[tuple[str, tuple[Record, ...]]] = deque()

    def tasks() -> Iterator[_Task]:
        for split in source.splits():
            for block in _blocks(source.records(split)):
                waiting.append((split, block))
                yield _Task(source.name, parameters, block, tally.found.decoded)

    with bar:
        for rows in run.engine.imap(_look, tasks()):
            split, block = waiting.popleft()
            for record, row in zip(block, rows, strict=True):
                tally.add(split, record, row)
            bar.update(len(block))
