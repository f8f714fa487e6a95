"""The dataset card and the preview of a manifest, generated from its description."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import yaml

from reidsynth.manifest import Manifest, ManifestInfo, TableInfo
from reidsynth.storage import content_key, write_text
from reidsynth.tables import CAPTURES, described, shard_writer, table_schema

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PREVIEW_ROWS = 256
PREVIEW_FILE = "preview/preview-00000-of-00001.parquet"

USE = """\
## Intended use and privacy

This data set is for research on person re-identification and for evaluating it. It shows people, drawn or
photographed: it must not be used to identify, track or profile anyone without a lawful basis, and its own terms
(above) bind everything derived from it. Synthetic modalities are made from the photographs by the steps named above;
they are not measurements, and a model that does well on them has not been shown to do well on real infrared images,
sketches or descriptions.
"""


def write_card(folder: Path, info: ManifestInfo) -> None:
    """Write `README.md` and the preview of a manifest; equal descriptions give equal bytes."""
    _write_preview(folder, info)
    front = yaml.safe_dump(_front_matter(info), sort_keys=False, allow_unicode=True, width=110)
    parts = [f"---\n{front}---\n\n# {info.name}\n", info.about, _loading(info), _terms(info), _statistics(info)]
    parts += [_generators(info), USE]
    write_text(folder / "README.md", "\n".join(part.rstrip() + "\n" for part in parts if part))


def _front_matter(info: ManifestInfo) -> dict[str, Any]:
    preview = {"config_name": "preview", "default": True}
    configs: list[dict[str, Any]] = [preview | {"data_files": [{"split": "preview", "path": PREVIEW_FILE}]}]
    for name in ("captures", *info.tables):
        splits = dict.fromkeys(shard.split for shard in info.shards_of(name))
        files = [{"split": split, "path": f"{name}/{split}-*.parquet"} for split in splits]
        configs.append({"config_name": name, "data_files": files})
    licence = str(info.source.policy.get("licence", "other"))
    spdx = licence.lower() if licence in ("Apache-2.0", "MIT", "CC0-1.0", "CC-BY-4.0") else "other"
    return {
        "pretty_name": info.name,
        "license": spdx,
        "task_categories": ["image-feature-extraction"],
        "tags": ["person-re-identification", *sorted({table.modality for table in info.tables.values()})],
        "configs": configs,
    }


def _loading(info: ManifestInfo) -> str:
    table = next((name for name in info.tables if name.startswith("sketch-")), next(iter(info.tables)))
    split = next(iter(info.splits))
    return (
        "One table for each modality; row *n* of every table is capture *n*.\n\n```python\nfrom datasets import "
        f'load_dataset\n\nrows = load_dataset("FOLDER_OR_REPOSITORY", "{table}", split="{split}")\n```\n'
    )


def _terms(info: ManifestInfo) -> str:
    policy = info.source.policy
    release = ", ".join(f"{name}: {how}" for name, how in dict(policy.get("release", {})).items())
    lines = [
        "## Terms",
        "",
        f"- Source: `{info.source.dataset}`, read by `{info.source.name}` version {info.source.version}.",
        f"- Licence of the source: {policy.get('licence')}. {policy.get('note', '')}".rstrip(),
        f"- Release: {release + '; ' if release else ''}everything else: {policy.get('default_release')}.",
    ]
    return "\n".join(lines)


def _statistics(info: ManifestInfo) -> str:
    lines = ["## Statistics", "", "| split | captures | identities | roles |", "|---|---|---|---|"]
    for split, size in info.splits.items():
        roles = ", ".join(f"{role} {count}" for role, count in size.roles.items())
        lines.append(f"| {split} | {size.rows} | {size.identities} | {roles} |")
    lines += ["", "| table | origin | split | pass | fail | absent | error |", "|---|---|---|---|---|---|---|"]
    for name, table in info.tables.items():
        origin = f"{table.origin} ({table.spectrum})" if table.spectrum else table.origin
        for split, counts in table.counts.items():
            cells = " | ".join(str(counts.get(verdict, 0)) for verdict in ("pass", "fail", "absent", "error"))
            lines.append(f"| {name} | {origin} | {split} | {cells} |")
    if info.source.dropped:
        left_out = ", ".join(f"{count} {reason}" for reason, count in info.source.dropped.items())
        lines += ["", f"Left out by the reader: {left_out}."]
    lists = [f"`{entry.file}`" for files in info.protocol.values() for entry in files.values()]
    if lists:
        lines += ["", f"Lists for evaluation: {', '.join(lists)}."]
    return "\n".join(lines)


def _generators(info: ManifestInfo) -> str:
    made = [table for table in info.tables.values() if table.step is not None]
    if not made:
        return ""
    lines = ["## Generators and gates", ""]
    for table in made:
        lines.append(_generator(table))
        reasons = "; ".join(f"{reason}: {count}" for reason, count in table.reasons.items())
        lines += [f"  - rows without a pass: {reasons}"] if reasons else []
    return "\n".join(lines)


def _generator(table: TableInfo) -> str:
    step = table.step
    assert step is not None  # the caller keeps made tables only
    parameters = ", ".join(f"{name}={value}" for name, value in step.parameters.items()) or "no parameters"
    weights = "".join(f"; weights {file} sha256 {digest}" for file, digest in step.weights.items())
    inputs = ", ".join(f"`{name}`" for name in step.inputs)
    return f"- `{table.name}`: {step.name} {step.method} version {step.version} from {inputs} ({parameters}{weights})"


def _write_preview(folder: Path, info: ManifestInfo) -> None:
    """Write the first captures of every split with all modalities side by side."""
    tables = info.tables
    schema = described(pa.schema(_preview_fields(tables)))
    key = content_key(
        "preview", sorted(shard.sha256 for name in ("captures", *tables) for shard in info.shards_of(name))
    )
    total = sum(size.rows for size in info.splits.values())
    manifest = Manifest(folder, info)
    with shard_writer(folder / PREVIEW_FILE, schema, key=key) as write:
        for split, size in info.splits.items():
            count = min(size.rows, max(1, PREVIEW_ROWS * size.rows // total))
            readers = {name: manifest.table(name, split) for name in ("captures", *tables)}
            for start in range(0, count, 100):
                block = {name: reader.rows(start, min(start + 100, count)) for name, reader in readers.items()}
                values = [_wide({name: block[name][i] for name in block}) for i in range(len(block["captures"]))]
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
