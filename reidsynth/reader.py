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
    from collections.abc import Iterable
    from pathlib import Path

CACHED_GROUPS = 64
OPEN_FILES = 256  # a file's own index takes about as much memory as a photograph or two


def damaged(path: Path) -> UserError:
    """The error of a shard whose bytes are not those that were written."""
    return UserError(
        f"{path} is damaged (its content does not match its checksum): delete that file and run the command that made "
        "it again, or take it from your copy"
    )


class TableReader:
    """Rows of one table in one split, by number, without loading the table.

    Shards are opened when a row of theirs is asked for, and the longest unused are closed again: a split of millions of
    rows costs no more than a small one.

    Args:
        shards: the split's shards in order, each with its number of rows.
        name: of the table, for messages.

    Raises:
        UserError: when a shard turns out to be damaged (pages carry checksums).
    """

    def __init__(self, shards: Iterable[tuple[Path, int]], name: str) -> None:
        self.name = name
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
        """Return the rows start <= row < stop."""
        return [self[row] for row in range(start, min(stop, len(self)))]

    def _file(self, number: int) -> tuple[pq.ParquetFile, list[int]]:
        """An open shard, with the number of the first row of each of its groups."""
        opened = self._files.get(number)
        if opened is not None:
            self._files.move_to_end(number)
            return opened
        path, rows = self._shards[number]
        try:
            file = pq.ParquetFile(path, memory_map=True, page_checksum_verification=True)
        except (pa.ArrowException, OSError) as error:
            raise damaged(path) from error
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
        if sum(sizes) != rows:
            raise damaged(path)
        opened = self._files[number] = (file, list(accumulate(sizes, initial=0)))
        if len(self._files) > OPEN_FILES:
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
            if len(self._cache) > CACHED_GROUPS:
                self._cache.popitem(last=False)
        else:
            self._cache.move_to_end((number, group))
        return table

    def __getstate__(self) -> dict[str, Any]:
        """A reader sent to another process opens its files there."""
        return {"name": self.name, "shards": self._shards}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["shards"], state["name"])  # type: ignore[misc] # a fresh reader over the same files
