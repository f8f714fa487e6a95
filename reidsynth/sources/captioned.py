"""Captioned photographs with one JSON annotation: what CUHK-PEDES, ICFG-PEDES and RSTPReid have in common.

The annotation is a list of rows with `split` (compared in lower case), `captions`, `id` and the image's path below
`imgs`. Person numbers are the annotation's `id`, splits its `split`; folder names are never either of them.
Protocol: every caption of a split asks, every image of it is the gallery, so a row of val or test is both.
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
from reidsynth.schema import Content, Record, TableSpec, Text

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator

    from reidsynth.policy import Policy

IMAGES = "imgs"
_ROLES = {"train": "train", "val": "query+gallery", "test": "query+gallery"}


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class CaptionedPhotographs:
    """A data set of captioned photographs; the class variables of its subclasses say how it is laid out.

    Args:
        root: folder that holds `imgs` and the annotation, or the folder above it.
    """

    root: Path

    name: ClassVar[str]
    version: ClassVar[int] = 1
    policy: ClassVar[Policy]
    title: ClassVar[str]
    """Name of the owners' folder."""
    annotations: ClassVar[tuple[str, ...]]
    """Names under which the annotation is found, the first that is there is taken."""
    path_key: ClassVar[str] = "file_path"
    camera: ClassVar[re.Pattern[str] | None] = None
    """Finds the camera number (group 1) in a file's name; None where names do not tell it."""

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
            UserError: the annotation is missing, of the wrong kind, damaged, or has rows that it may not have.
        """
        return self._found[split]

    def read(self, record: Record) -> Content:
        """Read one photograph; its sentences stay where the photograph is missing."""
        text = Text(captions=tuple(record.payload["captions"]))
        return listing.read_photo(self._base / IMAGES, record, {"text": text})

    def stamp(self, record: Record) -> str:
        """Size and modification time."""
        return listing.stamp(self._base / IMAGES, record)

    def inconsistencies(self) -> Iterator[str]:
        """Rows whose `processed_tokens`, where they have some, are not as many as their captions."""
        wrong = [
            str(row[self.path_key])
            for row in _rows(self._annotation_file(self._base))
            if "processed_tokens" in row
            and (not isinstance(row["processed_tokens"], list) or len(row["processed_tokens"]) != len(row["captions"]))
        ]
        if wrong:
            yield f"{len(wrong)} rows have another number of processed_tokens than captions: {listing.first_few(wrong)}"

    def _annotation_file(self, base: Path) -> Path:
        """The annotation.

        Raises:
            UserError: there is none.
        """
        for name in self.annotations:
            if (base / name).is_file():
                return base / name
        there = ", ".join(sorted(path.name for path in base.iterdir())[:8]) or "nothing"
        raise UserError(
            f"{str(base)!r} has no {' or '.join(self.annotations)} (it holds {there}): put the official annotation "
            "there"
        )

    @cached_property
    def _base(self) -> Path:
        return listing.release(self.root, self.title)

    @cached_property
    def _found(self) -> dict[str, list[Record]]:
        base = listing.folder(self._base, f"{self.title} ({IMAGES}, {self.annotations[0]})")
        file = self._annotation_file(base)
        rows = _rows(file)
        if not (base / IMAGES).is_dir():
            raise UserError(f"{str(base)!r} has no folder {IMAGES!r}: put the data set's images there")
        problems = [f"row {n}: {problem}" for n, row in enumerate(rows) for problem in self._problems(row)]
        if problems:
            raise UserError(f"{file.name} has {listing.mistakes(problems)}; take the official file")
        splits: dict[str, list[Record]] = {split: [] for split in _ROLES}
        seen: dict[str, int] = {}
        for number, row in enumerate(rows):
            record = self._record(row)
            if record.sample_id in seen:
                raise UserError(
                    f"{file.name} has two rows with sample id {record.sample_id!r} (rows {seen[record.sample_id]} "
                    f"and {number}): each image may stand there once, take the official file"
                )
            seen[record.sample_id] = number
            splits[row["split"].lower()].append(record)
        for records in splits.values():
            records.sort(key=lambda record: record.sample_id)
        return splits

    def _record(self, row: dict[str, Any]) -> Record:
        path = row[self.path_key]
        named = self.camera.search(path.rpartition("/")[2]) if self.camera is not None else None
        return Record(
            sample_id=listing.stem_id(self.dataset(), path),
            pid=row["id"],
            camid=int(named[1]) if named is not None else None,
            role=_ROLES[row["split"].lower()],
            source_path=path,
            payload={"captions": row["captions"]},
        )

    def _problems(self, row: object) -> Iterator[str]:
        if not isinstance(row, dict):
            yield f"expected an object, received {type(row).__name__}"
            return
        for field, (valid, wanted) in _FIELDS.items():
            key = self.path_key if field == "path" else field
            if key not in row:
                yield f"{key!r} is missing"
            elif not valid(row[key]):
                yield f"{key!r} must be {wanted}, received {str(row[key])[:60]!r}"


def _rows(path: Path) -> list[Any]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise UserError(f"{str(path)!r} is no readable JSON ({error}): copy the official file again") from None
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{str(path)!r} is not a list of rows: take the official file")
    return rows


def _is_split(value: object) -> bool:
    return isinstance(value, str) and value.lower() in _ROLES


def _is_path(value: object) -> bool:
    return isinstance(value, str) and listing.relative_problem(value) is None


def _is_captions(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(c, str) and listing.is_text(c) for c in value)


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


_FIELDS = {
    "split": (_is_split, "train, val or test"),
    "path": (_is_path, f"a path below {IMAGES}, neither absolute nor with '..'"),
    "captions": (_is_captions, "a list of sentences"),
    "id": (_is_id, "a whole number"),
}
