"""Protocol files: the lists that a data set's evaluation needs besides its images, kept in the manifest.

A source that has such lists offers `protocol() -> Mapping[str, JSON value]`. `ingest` writes each value to
`protocol/<dataset>/<name>.json` and enters the file, with size and checksum, in `manifest.json` under
`protocol.<dataset>.<name>`; `Manifest.protocol(dataset)` reads them back by name, checksums compared. Files of several
data sets stand side by side, so manifests can be merged.

Values speak of persons by the data set's own number (`pid`) and of images by `sample_id`; nobody parses a path again.
Names are lower-case words joined by `-`. What each source keeps:

| data set | name | value |
|---|---|---|
| pku-sketch | `artists` | artist -> pids that this artist drew: `{"a": [3, 8, ...], ..., "e": [...]}` |
| pku-sketch | `splits` | where a folder of split lists was given: `[{"train": [pids], "test": [pids]}, ...]` |
| market-sketch-1k | `styles` | artist -> sample ids of the sketches: `{"A": [...], ..., "F": [...]}` |
| orbench | `query-sets` | set -> queries as sample ids in the set's order: `{"NIR+TEXT": [[nir, text], ...]}` |
| orbench | `gallery` | sample ids of the gallery, in the owners' order |
| sysu-mm01 | `train-id`, `val-id`, `test-id`, `available-id` | pids: `[1, 2, 4, ...]` |
| sysu-mm01 | `rand-perm-cam` | if shipped: `[camera - 1][pid - 1]` is a 10 x n list of 1-based image numbers |
| llcm | `train-vis`, `train-nir`, `test-vis`, `test-nir` | lines of the idx file: `[[sample_id, label], ...]` |
| llcm | `test-id` | pids |
| regdb | `splits` | trial -> halves: `{"1": {"train": [pids], "test": [pids]}, ...}` |
| regdb | `trial` | number of the trial whose halves the splits of this manifest are |

Publishing follows the source's policy under the modality name `protocol`: owners' lists are part of their package.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from reidsynth.errors import UserError
from reidsynth.inside import InsidePath
from reidsynth.storage import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FOLDER = "protocol"
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class ProtocolFile(BaseModel):
    """One file: path inside the manifest, size in bytes, checksum."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: InsidePath
    bytes: int
    sha256: str


def write_protocol(out: Path, dataset: str, values: Mapping[str, Any]) -> dict[str, ProtocolFile]:
    """Write the protocol files of one data set; equal values give equal bytes.

    Args:
        out: folder of the manifest.
        dataset: that the lists are of.
        values: name -> JSON value.

    Returns:
        name -> the file, sorted by name.

    Raises:
        ValueError: for a name that is not lower-case words joined by `-`; this is a mistake in a source.
        UserError: when the disk is full.
    """
    written = {}
    for name in sorted(values):
        if not _NAME.fullmatch(name):
            raise ValueError(f"protocol file {name!r} of {dataset}: names are lower-case words joined by '-'")
        text = json.dumps(values[name], ensure_ascii=False, separators=(",", ":")) + "\n"
        data = text.encode()
        file = f"{FOLDER}/{dataset}/{name}.json"
        written[name] = ProtocolFile(file=file, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        path = out / file
        if not path.is_file() or path.read_bytes() != data:
            write_text(path, text)
    return written


def read_protocol(folder: Path, files: Mapping[str, ProtocolFile]) -> dict[str, Any]:
    """Read protocol files.

    Args:
        folder: of the manifest.
        files: name -> the file, from `manifest.json`.

    Returns:
        name -> JSON value.

    Raises:
        UserError: when a file is missing or is not the one on record.
    """
    return {name: json.loads(checked_bytes(folder, entry)) for name, entry in files.items()}


def checked_bytes(folder: Path, entry: ProtocolFile) -> bytes:
    """Bytes of one protocol file.

    Raises:
        UserError: when it is missing or is not the one on record.
    """
    path = folder / entry.file
    if not path.is_file():
        raise UserError(f"{path} is missing: ingest the data set again, or take the file from your copy")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise UserError(
            f"{path} is not the file on record (its checksum differs): ingest the data set again, or take the file "
            "from your copy"
        )
    return data
