"""CUHK-PEDES with its official annotation `reid_raw.json`.

Reference: S. Li et al., "Person Search with Natural Language Description", CVPR 2017.
Person numbers are the annotation's `id` (the numbers in file names belong to the data sets that the images came from),
splits are its `split`. The folders below `imgs` are origins of images, never splits, whatever their names.
"""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from reidsynth import listing
from reidsynth.errors import UserError
from reidsynth.policy import Policy
from reidsynth.schema import Content, Record, TableSpec, Text

if TYPE_CHECKING:
    from collections.abc import Iterator

_ANNOTATION, _OLD_ANNOTATION, _IMAGES = "reid_raw.json", "caption_all.json", "imgs"
_ROLES = {"train": "train", "val": "query+gallery", "test": "query+gallery"}


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class CuhkPedes:
    """CUHK-PEDES: 13,003 people, 40,206 images, two sentences each, splits of `reid_raw.json`.

    Args:
        root: folder that holds `imgs` and `reid_raw.json`, or the folder above it.
    """

    root: Path

    name: ClassVar[str] = "cuhk-pedes"
    version: ClassVar[int] = 1
    policy: ClassVar[Policy] = Policy(
        licence="academic use on request to the owners; no redistribution",
        egress=False,
        default_release="never",
        note="Images come from several data sets of real people (Market-1501, CUHK01, CUHK03, VIPeR, CUHK-SYSU).",
    )

    def dataset(self) -> str:
        """Name in the captures' `dataset` column."""
        return self.name

    def tables(self) -> tuple[TableSpec, ...]:
        """Photographs and the annotators' sentences."""
        return (TableSpec("rgb", "rgb", "real"), TableSpec("text", "text", "real"))

    def splits(self) -> tuple[str, ...]:
        """Splits that the annotation fills."""
        return tuple(split for split in _ROLES if self._found[split])

    def records(self, split: str) -> list[Record]:
        """List a split, sorted by sample_id.

        Raises:
            UserError: the annotation is missing, of the old kind, damaged, or has rows that it may not have.
        """
        return self._found[split]

    def read(self, record: Record) -> Content:
        """Read one photograph; its sentences stay where the photograph is missing."""
        text = Text(captions=tuple(record.payload["captions"]))
        return listing.read_photo(self._base / _IMAGES, record, {"text": text})

    def stamp(self, record: Record) -> str:
        """Size and modification time."""
        return listing.stamp(self._base / _IMAGES, record)

    @cached_property
    def _base(self) -> Path:
        inner = self.root / "CUHK-PEDES"
        return inner if inner.is_dir() else self.root

    @cached_property
    def _found(self) -> dict[str, list[Record]]:
        base = listing.folder(self._base, f"CUHK-PEDES ({_IMAGES}, {_ANNOTATION})")
        rows = _annotation(base)
        if not (base / _IMAGES).is_dir():
            raise UserError(f"{str(base)!r} has no folder {_IMAGES!r}: put the data set's images there")
        problems = [f"row {number}: {problem}" for number, row in enumerate(rows) for problem in _problems(row)]
        if problems:
            raise UserError(
                f"{_ANNOTATION} has {len(problems)} mistakes: {listing.first_few(problems)}; take the official file"
            )
        splits: dict[str, list[Record]] = {split: [] for split in _ROLES}
        seen: dict[str, int] = {}
        for number, row in enumerate(rows):
            record = _record(row)
            if record.sample_id in seen:
                raise UserError(
                    f"{_ANNOTATION} has two rows with sample id {record.sample_id!r} (rows {seen[record.sample_id]} "
                    f"and {number}): each image may stand there once, take the official file"
                )
            seen[record.sample_id] = number
            splits[row["split"].lower()].append(record)
        for records in splits.values():
            records.sort(key=lambda record: record.sample_id)
        return splits


def _record(row: dict[str, Any]) -> Record:
    return Record(
        sample_id=listing.stem_id(CuhkPedes.name, row["file_path"]),
        pid=row["id"],
        camid=None,
        role=_ROLES[row["split"].lower()],
        source_path=row["file_path"],
        payload={"captions": row["captions"]},
    )


def _annotation(base: Path) -> list[Any]:
    path = base / _ANNOTATION
    if not path.is_file():
        if (base / _OLD_ANNOTATION).is_file():
            raise UserError(
                f"{str(base)!r} holds only {_OLD_ANNOTATION}, which has no splits (folders below {_IMAGES} are origins "
                f"of images, not splits): get {_ANNOTATION} from the data set's owners"
            )
        raise UserError(f"{str(base)!r} has no {_ANNOTATION}: put the official annotation there")
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(f"{str(path)!r} is no readable JSON ({error}): copy the official file again") from None
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{str(path)!r} is not a list of rows: take the official file")
    return rows


def _problems(row: object) -> Iterator[str]:
    if not isinstance(row, dict):
        yield f"expected an object, received {type(row).__name__}"
        return
    for key, (valid, wanted) in _FIELDS.items():
        if key not in row:
            yield f"{key!r} is missing"
        elif not valid(row[key]):
            yield f"{key!r} must be {wanted}, received {str(row[key])[:60]!r}"


def _is_split(value: object) -> bool:
    return isinstance(value, str) and value.lower() in _ROLES


def _is_path(value: object) -> bool:
    return isinstance(value, str) and listing.relative_problem(value) is None


def _is_captions(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(caption, str) for caption in value)


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_FIELDS = {
    "split": (_is_split, "train, val or test"),
    "file_path": (_is_path, f"a path below {_IMAGES}, neither absolute nor with '..'"),
    "captions": (_is_captions, "a list of sentences"),
    "id": (_is_id, "a whole number"),
}
