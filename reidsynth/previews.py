"""The preview table: captures spread over every split, all modalities side by side; what the Hub's viewer shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
                values = [_wide({name: reader[number] for name, reader in readers.items()}) for number in part]
                write(pa.RecordBatch.from_pylist(values, schema=schema.remove_metadata()))


def _preview_fields(tables: Mapping[str, TableInfo]) -> list[pa.Field]:
    fields = [CAPTURES.field(name) for name in ("sample_id", "pid", "camid", "split", "role")]
    for name, table in tables.items():
        column = "captions" if table.modality == "text" else "image"
        fields.append(pa.field(name, table_schema(table.spec).field(column).type))
    return fields


def _wide(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    capture = rows["captures"]
    wide = {name: capture[name] for name in ("sample_id", "pid", "camid", "split", "role")}
    for name, row in rows.items():
        if name != "captures":
            wide[name] = row["captions"] if "captions" in row else row["image"]
    return wide
