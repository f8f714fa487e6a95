"""A few rows of a recipe, read and processed as a build would, with the time and the bytes that they take."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from reidsynth import rows
from reidsynth.errors import UserError
from reidsynth.manifest import Manifest, ManifestInfo, ShardInfo, SourceInfo, SplitInfo, TableInfo
from reidsynth.schema import TableSpec
from reidsynth.tables import CAPTURES, described, shard_writer, table_schema

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from reidsynth.policy import Policy
    from reidsynth.schema import Record
    from reidsynth.sources import Source
    from reidsynth.steps import Step

_SPLIT = "probe"


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes of a table on disk: of one row, of one row group besides its rows, of one shard besides its groups."""

    row: float
    group: int
    shard: int


@dataclass(frozen=True, slots=True)
class Trial:
    """What a step took: rows that it made, seconds to start, seconds for each row after that."""

    rows: int
    start: float
    seconds_per_row: float


class Probe:
    """Some rows on their way through a recipe.

    Args:
        source: that they come from.
        folder: empty; gets their shards.
        terms: of the source.
    """

    def __init__(self, source: Source, folder: Path, terms: Policy) -> None:
        self.source, self.folder, self.terms = source, folder, terms
        self.rows = 0
        self.sizes: dict[str, Size] = {}
        self._specs: dict[str, TableSpec] = {}
        self._rows: dict[str, list[dict[str, Any]]] = {}

    def read(self, chosen: Sequence[tuple[str, Record]]) -> Trial:
        """Read the rows: the first one twice, to tell the start from the work, then all.

        Args:
            chosen: (split, record).
        """
        first, _ = self._timed_reading(chosen[:1])
        again, _ = self._timed_reading(chosen[:1])
        spent, batches = self._timed_reading(chosen)
        self.rows = len(chosen)
        self._specs = {spec.name: spec for spec in self.source.tables()}
        self._rows = {table: batch.to_pylist() for table, batch in batches.items()}
        return Trial(len(chosen), max(0.0, first - again), spent / len(chosen))

    def _timed_reading(self, chosen: Sequence[tuple[str, Record]]) -> tuple[float, dict[str, pa.RecordBatch]]:
        """Seconds, writing included, and table -> rows."""
        specs = self.source.tables()
        began = time.perf_counter()
        batches: dict[str, list[pa.RecordBatch]] = {}
        for split, record in chosen:
            read = [(record, self.source.read(record))]
            made = rows.source_batches(read, split=split, dataset=self.source.dataset(), specs=specs)
            for table, batch in made.items():
                batches.setdefault(table, []).append(batch)
        whole = {
            table: pa.Table.from_batches(parts).combine_chunks().to_batches()[0] for table, parts in batches.items()
        }
        for table, batch in whole.items():
            self._write(
                table, batch, described(CAPTURES) if table == "captures" else table_schema(_named(specs, table))
            )
        return time.perf_counter() - began, whole

    def run(self, step: Step, seconds: float) -> Trial:
        """Run a step: on one row twice, to tell its start from its work, then on as many as the time allows.

        Args:
            step: built.
            seconds: for the rows; at least one is made.
        """
        spec = step.output()
        inputs = step.inputs(tuple(self._specs))
        most = min(len(self._rows[name]) for name in ("captures", *inputs))
        first, _ = self._timed(step, spec, inputs, 1)
        again, _ = self._timed(step, spec, inputs, 1)
        count = max(1, min(most, int(seconds / max(again, 1e-6))))
        spent, batch = self._timed(step, spec, inputs, count)
        self._specs[spec.name] = spec
        self._rows[spec.name] = batch.to_pylist()
        return Trial(count, max(0.0, first - again), spent / count)

    def feeds(self, step: Step) -> bool:
        """Whether the tables that a step reads are there."""
        try:
            return bool(step.inputs(tuple(self._specs)))
        except UserError:
            return False

    def leave_out(self, step: Step) -> None:
        """Give a step's table empty rows, so that later steps find it."""
        spec = step.output()
        sample_ids = [row["sample_id"] for row in self._rows["captures"]]
        self._specs[spec.name] = spec
        self._rows[spec.name] = rows.absent_batch(sample_ids, spec).to_pylist()

    def manifest(self) -> Manifest:
        """The probe's captures and photographs as a manifest of one split."""
        tables = {"rgb": self._specs["rgb"]} if "rgb" in self._specs else {}
        shards = {name: (self._shard(name),) for name in ("captures", *tables)}
        dataset = self.source.dataset()
        info = ManifestInfo(
            name="probe",
            source=SourceInfo(
                name=self.source.name,
                version=self.source.version,
                dataset=dataset,
                parameters={},
                policy=self.terms.as_dict(),
            ),
            splits={_SPLIT: SplitInfo(rows=self.rows, identities=0, roles={})},
            captures=shards["captures"],
            tables={
                name: TableInfo(name=name, modality=spec.modality, origin=spec.origin, counts={}, shards=shards[name])
                for name, spec in tables.items()
            },
        )
        return Manifest(self.folder, info)

    def _timed(self, step: Step, spec: TableSpec, inputs: Sequence[str], count: int) -> tuple[float, pa.RecordBatch]:
        began = time.perf_counter()
        block = {name: self._rows[name][:count] for name in ("captures", *inputs)}
        batch = rows.step_batch(step.process, block, inputs={name: self._specs[name] for name in inputs}, output=spec)
        self._write(spec.name, batch, table_schema(spec))
        return time.perf_counter() - began, batch

    def _shard(self, table: str) -> ShardInfo:
        path = self.folder / table / f"{_SPLIT}.parquet"
        size = path.stat().st_size
        return ShardInfo(file=f"{table}/{_SPLIT}.parquet", split=_SPLIT, rows=self.rows, bytes=size, sha256="", key="")

    def _write(self, table: str, batch: pa.RecordBatch, schema: pa.Schema) -> None:
        path = self.folder / table / f"{_SPLIT}.parquet"
        with shard_writer(path, schema, key="0" * 64) as write:
            write(batch)
        empty = path.with_name("empty.parquet")
        if not empty.exists():
            with shard_writer(empty, schema, key="0" * 64):
                pass
        metadata = pq.read_metadata(path.absolute())
        groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        stored = sum(g.column(c).total_compressed_size for g in groups for c in range(g.num_columns))
        fixed = empty.stat().st_size
        around = max(0, path.stat().st_size - stored - fixed) // max(1, len(groups))
        self.sizes[table] = Size(stored / len(batch), around, fixed)


def _named(specs: Sequence[TableSpec], name: str) -> TableSpec:
    return next(spec for spec in specs if spec.name == name)
