"""The preview table: captures spread over every split, all modalities side by side; what the Hub's viewer shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from reidsynth.manifest import Manifest, ManifestInfo, TableInfo
from reidsynth.schema import ROWS_PER_GROUP
from reidsynth.storage import content_key
from reidsynth.tables import CAPTURES, described, shard_writer, table_schema

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PREVIEW_ROWS = 256
PREVIEW_FILE = "preview/preview-00000-of-00001.parquet"
_CAPTURE_COLUMNS = ("sample_id", "pid", "camid", "split", "role")


def write_preview(folder: Path, info: ManifestInfo, *, out: Path) -> None:
    """Write the preview of a manifest.

    Args:
        folder: of the manifest, where its tables lie.
        info: its description; only tables that it names are shown.
        out: folder that gets `preview/`.
    """
    tables = info.tables
    schema = described(pa.schema(_preview_fields(tables)))
    key = content_key(
        "preview", sorted(shard.sha256 for name in ("captures", *tables) for shard in info.shards_of(name))
    )
    total = sum(size.rows for size in info.splits.values())
    manifest = Manifest(folder, info)
    with shard_writer(out / PREVIEW_FILE, schema, key=key) as write:
        for split, size in info.splits.items():
            count = min(size.rows, max(1, PREVIEW_ROWS * size.rows // total))
            readers = {name: manifest.table(name, split, in_order=True) for name in ("captures", *tables)}
            numbers = [number * size.rows // count for number in range(count)]  # spread: rows of every data set
            for start in range(0, count, ROWS_PER_GROUP):
                part = numbers[start : start + ROWS_PER_GROUP]
                rows = _side_by_side({name: reader.take(part) for name, reader in readers.items()}, schema)
                write(rows.combine_chunks().to_batches()[0])


def _preview_fields(tables: Mapping[str, TableInfo]) -> list[pa.Field]:
    fields = [CAPTURES.field(name) for name in _CAPTURE_COLUMNS]
    for name, table in tables.items():
        column = "captions" if table.modality == "text" else "image"
        fields.append(pa.field(name, table_schema(table.spec).field(column).type))
    return fields


def _side_by_side(rows: Mapping[str, pa.Table], schema: pa.Schema) -> pa.Table:
    """Columns of the preview, from rows of all tables."""
    captures = rows["captures"]
    columns = [captures[name] for name in schema.names if name in _CAPTURE_COLUMNS]
    columns += [table["captions" if "captions" in table.column_names else "image"] for table in list(rows.values())[1:]]
    return pa.Table.from_arrays(columns, schema=schema.remove_metadata())
