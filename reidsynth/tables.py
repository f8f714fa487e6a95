"""The columns of a manifest's tables as Arrow schemas, and the shard files that hold them."""

from __future__ import annotations

import json
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from reidsynth.gates import SCORES
from reidsynth.schema import ATTRIBUTE_FIELDS, ROWS_PER_GROUP, VISIBLE_REGIONS
from reidsynth.storage import writing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from reidsynth.schema import TableSpec

KEY = b"reidsynth.key"
DRAFT = ".draft"
"""Extension of a shard that is read once, to make the final one."""

_IMAGE_BYTES = "image.bytes"
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
ATTRIBUTES = pa.struct([(name, pa.string()) for name in ATTRIBUTE_FIELDS])
VISIBLE = pa.struct([(name, pa.bool_()) for name in VISIBLE_REGIONS])
USAGE = pa.struct([("prompt_tokens", pa.int64()), ("completion_tokens", pa.int64())])

CAPTURES = pa.schema(
    [
        ("sample_id", pa.string()),
        ("dataset", pa.string()),
        ("pid", pa.int64()),
        ("camid", pa.int32()),
        ("split", pa.string()),
        ("role", pa.string()),
        ("modality", pa.string()),
        ("source_path", pa.string()),
        ("source_sha256", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("derived_from", pa.string()),
    ]
)


def table_schema(spec: TableSpec) -> pa.Schema:
    """Arrow schema of a table, readable by `datasets.load_dataset` without our code.

    Args:
        spec: the table.

    Returns:
        The schema; its metadata names the Hugging Face feature of each column.
    """
    scores = pa.struct([(name, pa.float64()) for name in SCORES[spec.modality]])
    judged = [("origin", pa.string()), ("verdict", pa.string()), ("reason", pa.string()), ("scores", scores)]
    if spec.kind == "text":
        columns = [
            ("sample_id", pa.string()),
            ("captions", pa.list_(pa.string())),
            ("styles", pa.list_(pa.string())),
            ("short", pa.string()),
            ("attributes", ATTRIBUTES),
            ("visible", VISIBLE),
            *judged,
            ("draw", pa.string()),
            ("model", pa.string()),
            ("usage", USAGE),
        ]
    else:
        columns = [
            ("sample_id", pa.string()),
            ("image", IMAGE),
            ("width", pa.int32()),
            ("height", pa.int32()),
            *judged,
            ("draw", pa.string()),
            *([("spectrum", pa.string())] if spec.modality == "ir" else []),
        ]
    return described(pa.schema(columns))


def described(schema: pa.Schema) -> pa.Schema:
    """Add the Hugging Face features of a schema to its metadata, as the `datasets` library writes them."""
    features = {field.name: _feature(field.type) for field in schema}
    return schema.with_metadata({b"huggingface": json.dumps({"info": {"features": features}}).encode()})


def _feature(kind: pa.DataType) -> dict[str, Any]:
    if kind == IMAGE:
        return {"_type": "Image"}
    if pa.types.is_struct(kind):
        return {kind.field(i).name: _feature(kind.field(i).type) for i in range(kind.num_fields)}
    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "List"}
    return {"dtype": {"double": "float64"}.get(str(kind), str(kind)), "_type": "Value"}


@contextmanager
def shard_writer(
    path: Path, schema: pa.Schema, *, key: str | Callable[[], str]
) -> Iterator[Callable[[pa.RecordBatch], None]]:
    """Write one shard atomically, batch by batch.

    Images are stored uncompressed (JPEG and PNG do not shrink) in small row groups, so a single row is read quickly;
    pages carry checksums, so damage is noticed when it is read. Groups are too small for dictionaries to pay: without
    them files are smaller, and written in half of the time. Beside images the codec that is quickest will do.

    Args:
        path: final name of the shard; it exists once the block has ended well, and never half-written.
        schema: of the table.
        key: content key, stored in the file's footer; or what tells it once the last row is written.

    Yields:
        A function that appends consecutive rows; all batches but the last hold a multiple of ROWS_PER_GROUP rows.

    Raises:
        UserError: when the disk is full.
    """
    draft = path.suffix == DRAFT
    leaves = _leaves(schema)
    codec = "none" if draft else "snappy" if _IMAGE_BYTES in leaves else "zstd"
    writer_of = partial(
        pq.ParquetWriter,
        schema=schema,
        compression={name: "none" if name == _IMAGE_BYTES else codec for name in leaves},
        use_dictionary=False,
        use_content_defined_chunking=not draft,
        write_page_index=not draft,
        write_page_checksum=True,
    )
    with writing(path) as handle, writer_of(handle) as writer:
        yield lambda batch: writer.write_batch(batch, row_group_size=ROWS_PER_GROUP)
        writer.add_key_value_metadata({KEY: (key if isinstance(key, str) else key()).encode()})


def _leaves(schema: pa.Schema) -> list[str]:
    names: list[str] = []

    def walk(prefix: str, kind: pa.DataType) -> None:
        if pa.types.is_struct(kind):
            for i in range(kind.num_fields):
                walk(f"{prefix}.{kind.field(i).name}", kind.field(i).type)
        elif pa.types.is_list(kind):
            walk(f"{prefix}.list.element", kind.value_type)
        else:
            names.append(prefix)

    for field in schema:
        walk(field.name, field.type)
    return names


def shard_key(path: Path) -> str | None:
    """Content key of a finished shard; None where the file is absent or is no shard of ours."""
    if not path.exists():
        return None
    try:
        metadata = pq.read_metadata(path.absolute()).metadata or {}
    except (pa.ArrowException, OSError):
        return None
    key = metadata.get(KEY)
    return key.decode() if key else None
