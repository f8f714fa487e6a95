"""Rows of a table by number, read from its shards as they are needed."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from reidsynth.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

CACHED_GROUPS = 64
HEAVY = ("image", "captions", "attributes", "usage", "styles", "short", "visible")
OPEN_FILES = 256  # a file's own index takes about as much memory as a photograph or two


def damaged(path: Path) -> UserError:
    """The error of a shard whose bytes are not those that were written."""
    return UserError(
        f"{path} is damaged (its content does not match its checksum): delete that file and run the command that made "
        "it again, or take it from your copy"
    )


def missing(path: Path) -> UserError:
    """The error of a shard that is on record and not on the disk."""
    return UserError(f"{path} is missing: run the command that made it again, or take it from your copy")


class TableReader:
    """Rows of one table in one split, by number, without loading the table.

    Shards are opened when a row of theirs is asked for, and the longest unused are closed again: a split of millions of
    rows costs no more than a small one.

    Args:
        shards: the split's shards in order, each with its number of rows.
        name: of the table, for messages.
        in_order: rows are asked for once and in order: one shard is kept open and one row group cached.

    Raises:
        UserError: when a shard turns out to be damaged (pages carry checksums).
    """

    def __init__(self, shards: Iterable[tuple[Path, int]], name: str, *, in_order: bool = False) -> None:
        self.name, self._in_order = name, in_order
        self._shards = list(shards)
        self._starts = list(accumulate((rows for _, rows in self._shards), initial=0))
        self._files: OrderedDict[int, tuple[pq.ParquetFile, list[int]]] = OrderedDict()
        self._cache: OrderedDict[tuple[int, int], pa.Table] = OrderedDict()

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, row: int) -> dict[str, Any]:
        """Return one row; an absent image or caption is None.

        Raises:
            IndexError: outside the split.
            UserError: when the shard is damaged.
        """
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)} in table {self.name!r}")
        number = bisect_right(self._starts, row) - 1
        inside = row - self._starts[number]
        file, starts = self._file(number)
        group = bisect_right(starts, inside) - 1
        values: dict[str, Any] = self._group(file, number, group).slice(inside - starts[group], 1).to_pylist()[0]
        return values

    def columns(self, names: Iterable[str]) -> pa.Table:
        """Return whole columns; meant for the light ones.

        Raises:
            UserError: when a shard is damaged.
        """
        wanted = list(names)
        tables = []
        for number, (path, _) in enumerate(self._shards):
            file, _ = self._file(number)
            try:
                tables.append(file.read(columns=wanted).replace_schema_metadata(None))
            except (pa.ArrowException, OSError) as error:
                raise damaged(path) from error
        return pa.concat_tables(tables)

    def rows(self, start: int, stop: int) -> list[dict[str, Any]]:
        """Return the rows start <= row < stop.

        Raises:
            UserError: when a shard is damaged.
        """
        wanted = range(start, min(stop, len(self)))
        return self.take(wanted).to_pylist() if wanted else []

    def light(self, start: int, stop: int) -> pa.Table:
        """Return the rows start <= row < stop without images and captions.

        Raises:
            UserError: when a shard is damaged.
        """
        parts: list[pa.Table] = []
        while start < stop:
            number = bisect_right(self._starts, start) - 1
            path, rows = self._shards[number]
            file, _ = self._file(number)
            names = [name for name in file.schema_arrow.names if name not in HEAVY]
            first = start - self._starts[number]
            try:
                table = file.read(columns=names, use_threads=False).slice(first, min(rows - first, stop - start))
            except (pa.ArrowException, OSError) as error:
                raise damaged(path) from error
            parts.append(table.replace_schema_metadata(None))
            start += table.num_rows
        return pa.concat_tables(parts)

    def take(self, rows: Sequence[int]) -> pa.Table:
        """Return rows by number, in the order given; quick where neighbours stand together.

        Raises:
            UserError: when a shard is damaged.
        """
        parts: list[pa.Table] = []
        done = 0
        while done < len(rows):
            number = bisect_right(self._starts, rows[done]) - 1
            file, starts = self._file(number)
            group = bisect_right(starts, rows[done] - self._starts[number]) - 1
            first, end = self._starts[number] + starts[group], self._starts[number] + starts[group + 1]
            stop = done + 1
            while stop < len(rows) and first <= rows[stop] < end:
                stop += 1
            chosen = self._group(file, number, group)
            if isinstance(rows, range) and rows.step == 1:
                parts.append(chosen.slice(rows[done] - first, stop - done))
            else:
                parts.append(chosen.take(pa.array([row - first for row in rows[done:stop]])))
            done = stop
        return pa.concat_tables(parts)

    def _file(self, number: int) -> tuple[pq.ParquetFile, list[int]]:
        """An open shard, with the number of the first row of each of its groups."""
        opened = self._files.get(number)
        if opened is not None:
            self._files.move_to_end(number)
            return opened
        path, rows = self._shards[number]
        try:
            file = pq.ParquetFile(path.absolute(), memory_map=True, page_checksum_verification=True)
        except (pa.ArrowException, OSError) as error:
            raise damaged(path) from error
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
        if sum(sizes) != rows:
            raise damaged(path)
        opened = self._files[number] = (file, list(accumulate(sizes, initial=0)))
        if len(self._files) > (1 if self._in_order else OPEN_FILES):
            self._files.popitem(last=False)
        return opened

    def _group(self, file: pq.ParquetFile, number: int, group: int) -> pa.Table:
        table = self._cache.get((number, group))
        if table is None:
            try:
                table = file.read_row_group(group, use_threads=False)
            except (pa.ArrowException, OSError) as error:
                raise damaged(self._shards[number][0]) from error
            self._cache[number, group] = table
            if len(self._cache) > (1 if self._in_order else CACHED_GROUPS):
                self._cache.popitem(last=False)
        else:
            self._cache.move_to_end((number, group))
        return table

    def __getstate__(self) -> dict[str, Any]:
        """A reader sent to another process opens its files there."""
        return {"name": self.name, "shards": self._shards, "in_order": self._in_order}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["shards"], state["name"], in_order=state["in_order"])  # type: ignore[misc] # a fresh reader over the same files
