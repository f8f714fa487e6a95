"""Manifests put together from the shards and rows of others: the common part of `select` and `merge`.

A new shard is either a whole shard of an old manifest, which is linked, or rows of one or several, which are written.
Tables follow the captures row by row. What a step made of a row does not depend on the rows around it, so rows that
move into another shard are as good as made from it, and the shard's content key says so: the step is not run again.
"""

from __future__ import annotations

import contextlib
from array import array
from dataclasses import dataclass
from graphlib import TopologicalSorter
from itertools import groupby
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from reidsynth import rows
from reidsynth.errors import UserError
from reidsynth.jobs import input_checksums, shard_file, shard_starts
from reidsynth.linking import link_shard
from reidsynth.manifest import PARTIAL_KEY, Manifest, ManifestInfo, ShardInfo, TableInfo, step_shard_key
from reidsynth.schema import ROWS_PER_GROUP
from reidsynth.storage import content_key, sha256_file
from reidsynth.tables import KEY, described, shard_key, shard_writer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from reidsynth.reader import TableReader

__all__ = ["Piece", "assemble", "order_of"]


@dataclass(frozen=True, slots=True)
class Piece:
    """One shard of the new captures.

    Args:
        split: of the new manifest; the parts have it too.
        owners: of each row, the number of the manifest that it comes from.
        numbers: of each row, its number in that manifest's split.
        whole: number of the old shard (within the split) if this is exactly it, else None.
    """

    split: str
    owners: array[int]
    numbers: array[int]
    whole: int | None = None


def order_of(tables: Mapping[str, TableInfo]) -> list[str]:
    """Names of tables, each after those that it was made from."""
    graph = {
        name: [] if table.step is None else [other for other in table.step.inputs if other in tables]
        for name, table in tables.items()
    }
    return list(TopologicalSorter(graph).static_order())


def assemble(
    out: Path,
    info: ManifestInfo,
    parts: Sequence[Manifest],
    pieces: Sequence[Piece],
    *,
    progress: bool | None = None,
) -> ManifestInfo:
    """Link and write the shards of a new manifest.

    Args:
        out: its folder; locked by the caller.
        info: name, source, tables (shards and counts are made here) and withheld tables of the new manifest.
        parts: old manifests.
        pieces: new shards, in order.
        progress: whether to draw a bar; None draws it on terminals only.

    Returns:
        The description, ready to be committed.

    Raises:
        UserError: when a shard is missing or damaged, tables were written by different releases, or the disk is full.
    """
    names = ["captures", *order_of(info.tables)]
    bar = tqdm(
        total=len(names) * sum(len(piece.numbers) for piece in pieces),
        desc=f"assemble {out.name}",
        unit="row",
        disable=None if progress is None else not progress,
    )
    made = info.model_copy(update={"captures": ()})
    with bar:
        for name in names:
            writer = _Table(out, made, parts, name)
            shards: list[ShardInfo] = []
            for piece, file in zip(pieces, _files(name, pieces), strict=True):
                shards.append(writer.shard(piece, file, len([s for s in shards if s.split == piece.split])))
                bar.update(len(piece.numbers))
            made = _with(out, made, name, tuple(shards))
    files: dict[str, list[str]] = {}
    for shard in made.captures:
        files.setdefault(shard.split, []).append(shard.file)
    return made.model_copy(update={"splits": rows.split_infos(out, files)})


def _files(table: str, pieces: Sequence[Piece]) -> Iterator[str]:
    for split, group in groupby(pieces, key=lambda piece: piece.split):
        total = len(list(group))
        for number in range(total):
            yield shard_file(table, split, number, total)


def _with(out: Path, info: ManifestInfo, name: str, shards: tuple[ShardInfo, ...]) -> ManifestInfo:
    if name == "captures":
        return info.model_copy(update={"captures": shards})
    counts, reasons = rows.verdict_counts(out, shards)
    table = info.tables[name].model_copy(update={"shards": shards, "counts": counts, "reasons": reasons})
    return info.model_copy(update={"tables": info.tables | {name: table}})


class _Table:
    """Makes the shards of one table of the new manifest, in order."""

    def __init__(self, out: Path, info: ManifestInfo, parts: Sequence[Manifest], name: str) -> None:
        self.out, self.info, self.parts, self.name = out, info, parts, name
        self._readers: dict[tuple[int, str], TableReader] = {}
        self._schema = self._one_schema()

    def shard(self, piece: Piece, file: str, number: int) -> ShardInfo:
        """Link or write one shard; a finished one is left as it is."""
        owner = piece.owners[0]
        if piece.whole is not None and self._has(owner):
            of_split = [s for s in self.parts[owner].info.shards_of(self.name) if s.split == piece.split]
            old = of_split[piece.whole]
            link_shard(self.parts[owner].path, self.out, old, file)
            return old.model_copy(update={"file": file})
        key = self._key(piece, number)
        path = self.out / file
        if key == PARTIAL_KEY or shard_key(path) != key:
            with shard_writer(path, self._schema, key=key) as write:
                for batch in self._batches(piece):
                    write(batch)
        digest = sha256_file(path)
        return ShardInfo(
            file=file,
            split=piece.split,
            rows=len(piece.numbers),
            bytes=path.stat().st_size,
            sha256=digest,
            key=key,
            stands_for=self._stood_for(piece),
        )

    def _has(self, owner: int) -> bool:
        return self.name == "captures" or self.name in self.parts[owner].tables

    def _stood_for(self, piece: Piece) -> str | None:
        """Of a whole shard that its manifest withholds: other tables were made from that one, not from empty rows."""
        withheld = self.parts[piece.owners[0]].info.withheld.get(self.name)
        if piece.whole is None or withheld is None or not withheld.shards:
            return None
        return [shard for shard in withheld.shards if shard.split == piece.split][piece.whole].content

    def _key(self, piece: Piece, number: int) -> str:
        owners = sorted(set(piece.owners))
        if not all(self._has(owner) for owner in owners):
            return PARTIAL_KEY
        if self.name != "captures":
            if any(self._partial(piece, owner) for owner in owners):
                return PARTIAL_KEY
            step = self.info.tables[self.name].step
            if step is not None and all(name in self.info.tables for name in step.inputs):
                checksums = input_checksums(self.info, step.inputs, piece.split, number)
                return step_shard_key(step, self.info.tables[self.name].spec, checksums)
        sources = [
            [shard.content for shard in self.parts[owner].info.shards_of(self.name) if shard.split == piece.split]
            for owner in owners
        ]
        return content_key("rows", sources, piece.owners.tolist(), piece.numbers.tolist())

    def _partial(self, piece: Piece, owner: int) -> bool:
        """Whether rows come from a shard that a step has still to complete."""
        manifest = self.parts[owner]
        shards = [shard for shard in manifest.info.shards_of(self.name) if shard.split == piece.split]
        lacking = [number for number, shard in enumerate(shards) if shard.key == PARTIAL_KEY]
        if not lacking:
            return False
        starts = [*shard_starts(manifest.info, piece.split), len(manifest.table("captures", piece.split))]
        mine = [n for o, n in zip(piece.owners, piece.numbers, strict=True) if o == owner]
        return any(starts[number] <= n < starts[number + 1] for number in lacking for n in mine)

    def _batches(self, piece: Piece) -> Iterator[pa.RecordBatch]:
        """Rows in blocks of ROWS_PER_GROUP."""
        for start in range(0, len(piece.numbers), ROWS_PER_GROUP):
            stop = min(start + ROWS_PER_GROUP, len(piece.numbers))
            mine: dict[int, list[int]] = {}
            for i in range(start, stop):
                mine.setdefault(piece.owners[i], []).append(i)
            tables = [
                self._take(owner, piece.split, [piece.numbers[i] for i in rows_]) for owner, rows_ in mine.items()
            ]
            order = [i for rows_ in mine.values() for i in rows_]  # of the rows as they were taken
            back = sorted(range(len(order)), key=order.__getitem__)
            yield pa.concat_tables(tables).take(pa.array(back)).combine_chunks().to_batches()[0]

    def _take(self, owner: int, split: str, numbers: list[int]) -> pa.Table:
        plain = self._schema.remove_metadata()
        if self._has(owner):
            taken = self._reader(owner, self.name, split).take(numbers)
            return taken.replace_schema_metadata(None).select(plain.names).cast(plain)
        ids = self._reader(owner, "captures", split).take(numbers).column("sample_id").to_pylist()
        return pa.Table.from_batches([rows.absent_batch(ids, self.info.tables[self.name].spec)]).cast(plain)

    def _reader(self, owner: int, name: str, split: str) -> TableReader:
        key = (owner, f"{name}/{split}")
        if key not in self._readers:
            self._readers[key] = self.parts[owner].table(name, split)
        return self._readers[key]

    def _one_schema(self) -> pa.Schema:
        """Columns of the table, the same in all parts.

        Raises:
            UserError: when they are not, since one table can't have two layouts.
        """
        found: list[tuple[Manifest, pa.Schema]] = []
        for owner, part in enumerate(self.parts):
            if self._has(owner) and part.info.shards_of(self.name):
                path = part.path / part.info.shards_of(self.name)[0].file
                schema = pq.read_schema(path.absolute())
                found.append((part, schema.with_metadata(_without_key(schema))))
        first, schema = found[0]
        for part, other in found[1:]:
            if other.remove_metadata() != schema.remove_metadata():
                raise UserError(
                    f"table {self.name!r} has other columns in {part.path} than in {first.path}: make it again in one "
                    "of them with this release of the program"
                )
        return schema if schema.metadata else described(schema)


def _without_key(schema: pa.Schema) -> dict[bytes, bytes]:
    metadata = dict(schema.metadata or {})
    with contextlib.suppress(KeyError):
        del metadata[KEY]
    return metadata
