"""The gate that needs the whole table: a caption that many people share tells nobody apart.

A step therefore writes the shards of a text table as drafts. When all are there, `settle` counts who shares what,
writes the shards with that score and its verdict, and removes the drafts. The outcome follows from the captions alone,
so that running it again changes no byte, and a run that was killed in the middle of it comes to the same end.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reidsynth import gates
from reidsynth.schema import ROWS_PER_GROUP
from reidsynth.tables import DRAFT, shard_key, shard_writer, table_schema
from reidsynth.thresholds import DEFAULT, Thresholds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from reidsynth.jobs import Job
    from reidsynth.manifest import ShardInfo
    from reidsynth.schema import TableSpec

DRAFTS = ".drafts"
_SCORE = "identities"


def draft(file: str) -> str:
    """Where a shard of a text table is written first."""
    return f"{DRAFTS}/{file.removesuffix('.parquet')}{DRAFT}"


def settle(
    out: Path,
    jobs: Sequence[Job],
    captures: Sequence[ShardInfo],
    spec: TableSpec,
    limits: Thresholds = DEFAULT,
) -> None:
    """Judge how many people of its split share each row's captions, and finish the table.

    Args:
        out: the manifest's folder.
        jobs: one for each shard of the table; a draft or a finished shard of each is there.
        captures: shards of the captures, row-aligned with them.
        spec: the text table.
        limits: where the gate closes.
    """
    for split in dict.fromkeys(job.split for job in jobs):
        chosen = [job for job in jobs if job.split == split]
        finished = [out / job.files[spec.name] for job in chosen]
        drafted = [out / draft(job.files[spec.name]) for job in chosen]
        given = [file if job.done(out) else first for job, file, first in zip(chosen, finished, drafted, strict=True)]
        capture_files = [out / shard.file for shard in captures if shard.split == split]
        hashes = [_hashes(file) for file in given]
        shared = _Shared(hashes, _persons(capture_files))
        for source, file, rows in zip(given, finished, hashes, strict=True):
            judged = partial(gates.judge_shared, people=shared.people, limits=limits)
            _settle_shard(source, file, shared.most(rows), judged, spec)
    shutil.rmtree(out / DRAFTS / spec.name, ignore_errors=True)
    if (out / DRAFTS).is_dir() and not any((out / DRAFTS).iterdir()):
        (out / DRAFTS).rmdir()


def _persons(files: Sequence[Path]) -> list[np.ndarray]:
    """Number of each row's person; equal numbers of different data sets are different people."""
    read = [_read(file, ["dataset", "pid"]) for file in files]
    datasets = pa.concat_tables(read)["dataset"].combine_chunks().dictionary_encode()
    pids = np.concatenate([table["pid"].to_numpy() for table in read])
    dense = np.unique(pids, return_inverse=True)[1]
    numbers = dense * len(datasets.dictionary) + datasets.indices.to_numpy()
    return np.split(numbers, np.cumsum([table.num_rows for table in read])[:-1])


@dataclass(frozen=True, slots=True, eq=False)
class _Hashes:
    """Captions of one shard's rows as 64-bit hashes: eight bytes each keep millions of them in memory.

    Args:
        values: of all rows, one after the other.
        counts: captions of each row.
    """

    values: np.ndarray
    counts: np.ndarray


def _hashes(file: Path) -> _Hashes:
    told = _read(file, ["captions"])["captions"].combine_chunks()
    values = np.fromiter((_hash(caption) for caption in told.flatten().to_pylist()), np.int64)
    return _Hashes(values, pc.fill_null(pc.list_value_length(told), 0).to_numpy().astype(np.int32))


def _read(file: Path, columns: list[str] | None = None) -> pa.Table:
    """Columns of one shard; by its absolute path, since pyarrow takes `a:b/c` for an address."""
    with pq.ParquetFile(file.absolute()) as shard:
        return shard.read(columns, use_threads=False)


def _hash(caption: str) -> int:
    plain = " ".join(caption.lower().split()).encode()
    return int.from_bytes(hashlib.blake2b(plain, digest_size=8).digest(), "little", signed=True)


class _Shared:
    """People for each caption that more than one person has."""

    def __init__(self, hashes: Sequence[_Hashes], persons: Sequence[np.ndarray]) -> None:
        self.people = len(np.unique(np.concatenate(persons)))
        values = np.concatenate([rows.values for rows in hashes])
        who = np.concatenate([np.repeat(p, rows.counts) for rows, p in zip(hashes, persons, strict=True)])
        order = np.lexsort((who, values))
        values, who = values[order], who[order]
        new = np.ones(len(values), bool)  # the first of the pairs that are equal
        new[1:] = (values[1:] != values[:-1]) | (who[1:] != who[:-1])
        found, counts = np.unique(values[new], return_counts=True)
        self._captions, self._counts = found[counts > 1], counts[counts > 1]

    def most(self, rows: _Hashes) -> list[int | None]:
        """The largest number of people who have one of a row's captions, for each row; None where there is none."""
        of_caption = np.ones(len(rows.values), np.int64)
        if len(self._captions):
            place = np.minimum(np.searchsorted(self._captions, rows.values), len(self._captions) - 1)
            shared = self._captions[place] == rows.values
            of_caption[shared] = self._counts[place[shared]]
        told = rows.counts > 0
        starts = (np.cumsum(rows.counts) - rows.counts)[told]
        most = iter(np.maximum.reduceat(of_caption, starts).tolist() if len(starts) else ())
        return [next(most) if any_ else None for any_ in told.tolist()]


def _settle_shard(
    source: Path, file: Path, sharing: Sequence[int | None], judge: Callable[..., gates.Verdict], spec: TableSpec
) -> None:
    key = shard_key(source)
    assert key is not None, "shards are settled once they are all there"
    table = _read(source)
    before = [table[name].to_pylist() for name in ("verdict", "reason")]
    after = [
        (verdict, reason) if count is None else _outcome(judge(verdict, reason, count))
        for verdict, reason, count in zip(*before, sharing, strict=True)
    ]
    scores = table["scores"].combine_chunks()
    identities = pa.array([None if count is None else float(count) for count in sharing], pa.float64())
    if source == file and after == list(zip(*before, strict=True)) and scores.field(_SCORE).equals(identities):
        return
    schema = table_schema(spec)
    verdicts, reasons = zip(*after, strict=True) if after else ((), ())
    columns = {
        "verdict": pa.array(verdicts, pa.string()),
        "reason": pa.array(reasons, pa.string()),
        "scores": _with_field(scores, _SCORE, identities),
    }
    for name, values in columns.items():
        table = table.set_column(table.schema.get_field_index(name), schema.field(name), values)
    with shard_writer(file, schema, key=key) as write:
        for batch in table.combine_chunks().to_batches(max_chunksize=4 * ROWS_PER_GROUP):
            write(batch)


def _outcome(verdict: gates.Verdict) -> tuple[str, str | None]:
    return verdict.verdict, verdict.reason


def _with_field(rows: pa.StructArray, name: str, values: pa.Array) -> pa.StructArray:
    """The same rows with other values in one field."""
    fields = list(rows.type)
    arrays = [values if field.name == name else rows.field(field.name) for field in fields]
    return pa.StructArray.from_arrays(arrays, fields=fields, mask=rows.is_null())
