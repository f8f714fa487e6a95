"""LLVIP: street scenes at night, each seen by a visible and a thermal camera at once.

Reference: X. Jia et al., "LLVIP: A Visible-infrared Paired Dataset for Low-light Vision", ICCV Workshops 2021.
The pairs train generators of infrared images; files of one name in `visible` and `infrared` are a registered pair and
make one row. Nobody is identified in them (the terms forbid it): every row has a person number of its own. The camera
is the scene, the first two digits of a name; no scene is in both splits. The infrared is thermal (long-wave), not the
near infrared of SYSU-MM01 or LLCM: a generator that learns on it makes RegDB-like images.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from reidsynth import images, listing, vocboxes
from reidsynth.errors import UserError
from reidsynth.policy import Policy
from reidsynth.published import Count, Published
from reidsynth.schema import Content, Record, TableSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np

_ROLES = {"train": "train", "test": "query+gallery"}
_SIDES = {"rgb": "visible", "ir": "infrared"}
_NAME = re.compile(r"(?P<scene>\d{2})\d{4}\.\w+", re.ASCII)
_BOXES_OF_ONE_IMAGE = 1000


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Llvip:
    """LLVIP: 15,488 registered pairs of visible and thermal images, or the people in them.

    Args:
        root: folder that holds `visible`, `infrared` and, for crops, `Annotations`, or the folder above it.
        view: `pairs` (whole images, to train generators) or `crops` (one row for each annotated person).
    """

    root: Path
    view: Literal["pairs", "crops"] = "pairs"

    name: ClassVar[str] = "llvip"
    version: ClassVar[int] = 1
    policy: ClassVar[Policy] = Policy(
        licence="non-commercial use with attribution; derivatives non-commercial; no identification of people",
        egress=False,
        default_release="private",
        note="Scenes of real streets: the terms forbid identifying people in them.",
    )

    def dataset(self) -> str:
        """Name in the captures' `dataset` column."""
        return self.name

    def tables(self) -> tuple[TableSpec, ...]:
        """Visible and thermal images, paired in one row."""
        return (TableSpec("rgb", "rgb", "real"), TableSpec("ir", "ir", "real", "lwir"))

    def splits(self) -> tuple[str, ...]:
        """The owners' two."""
        return tuple(_ROLES)

    def records(self, split: str) -> list[Record]:
        """List a split, sorted by sample_id.

        Raises:
            UserError: a folder is missing or empty, or a file of boxes is damaged.
        """
        return self._found[0][split]

    def read(self, record: Record) -> Content:
        """Read a pair; of crops, both images cut by the same box."""
        files = {table: self._file(record.source_path, table) for table in _SIDES}
        box = record.payload.get("box")
        if box is None:
            return listing.read_images(self._base, files)
        whole, pixels = _decoded(self._base, tuple(files.items()), self.stamp(record))
        cut: dict[str, bytes] = {}
        errors = dict(whole.errors)
        for table, array in pixels.items():
            try:
                cut[table] = images.encode(images.cropped(array, tuple(box)), "png")
            except images.UnreadableImage as error:
                errors[table] = str(error)
        return replace(whole, images=cut, errors=errors)

    def stamp(self, record: Record) -> str:
        """Size and modification time of both images."""
        return " ".join(listing.file_stamp(self._base, self._file(record.source_path, table)) for table in _SIDES)

    def dropped(self) -> Mapping[str, int]:
        """Files that the data set's grammar does not know; of crops, images without a file of boxes."""
        return self._found[1]

    def published(self) -> Published:
        """Numbers of pairs; nothing is published about the people in them."""
        if self.view == "crops":
            return Published()
        return Published(
            counts=(
                Count(captures=15_488),
                Count(splits=("train",), captures=12_025, sure=False),
                Count(splits=("test",), captures=3463, sure=False),
            )
        )

    def inconsistencies(self) -> Iterator[str]:
        """Scenes that are in both splits."""
        scenes = [{record.camid for record in records} for records in self._found[0].values()]
        both = [str(scene) for scene in sorted(s for s in set.intersection(*scenes) if s is not None)]
        if both:
            yield f"{len(both)} scenes are in both splits: {listing.first_few(both)}"

    @cached_property
    def _base(self) -> Path:
        return listing.release(self.root, "LLVIP")

    @cached_property
    def _other_side(self) -> dict[str, str]:
        """Visible path -> thermal path, where its extension differs."""
        found = {}
        for split in _ROLES:
            visible = {Path(file).stem: file for file in self._files("visible", split)}
            for file in self._files("infrared", split):
                mine = visible.get(Path(file).stem)
                if mine is not None and mine != file:
                    found[f"visible/{split}/{mine}"] = f"infrared/{split}/{file}"
        return found

    def _file(self, visible: str, table: str) -> str:
        if table == "rgb":
            return visible
        return self._other_side.get(visible, visible.replace("visible/", "infrared/", 1))

    def _files(self, side: str, split: str) -> tuple[str, ...]:
        return listing.image_files(self._base / side / split).files

    @cached_property
    def _found(self) -> tuple[dict[str, list[Record]], dict[str, int]]:
        needed = [f"{side}/{split}" for side in _SIDES.values() for split in _ROLES]
        base = listing.require(self._base, [*needed, *(["Annotations"] if self.view == "crops" else [])], "LLVIP")
        dropped: Counter[str] = Counter()
        splits: dict[str, list[Record]] = {}
        mistakes: list[str] = []
        for split in _ROLES:
            names: dict[str, str] = {}
            for side in reversed(_SIDES.values()):  # the visible file's name wins
                here: dict[str, str] = {}
                for file in self._files(side, split):
                    stem = Path(file).stem
                    if _NAME.fullmatch(file) is None:
                        dropped["image with a name outside the data set's grammar"] += 1
                    elif stem in here:
                        raise UserError(
                            f"{here[stem]!r} and {file!r} in {side}/{split} have the same sample id (path without "
                            "extension): remove one of them"
                        )
                    else:
                        here[stem] = file
                names |= here
            whole = [self._record(f"visible/{split}/{names[stem]}", split) for stem in sorted(names)]
            splits[split] = whole if self.view == "pairs" else self._people(base, whole, dropped, mistakes)
        if mistakes:
            raise UserError(
                f"{str(base / 'Annotations')!r} has {len(mistakes)} damaged files: {listing.first_few(mistakes)}; copy "
                "them again, or remove them to leave their images out"
            )
        empty = [split for split, records in splits.items() if not records]
        if empty:
            raise UserError(
                f"{str(base)!r} holds no {self.view} named like 010001.jpg in {' and '.join(empty)}: copy it again"
            )
        return splits, dict(sorted(dropped.items()))

    def _record(self, path: str, split: str) -> Record:
        stem = Path(path).stem
        sample_id = listing.stem_id(self.name, path)
        return Record(sample_id, int(stem), int(stem) // 10_000, _ROLES[split], source_path=path)

    def _people(self, base: Path, whole: list[Record], dropped: Counter[str], mistakes: list[str]) -> list[Record]:
        """One record for each box of each image."""
        people: list[Record] = []
        for record in whole:
            path = base / "Annotations" / f"{Path(record.source_path).stem}.xml"
            if not path.is_file():
                dropped["image without a file of boxes"] += 1
                continue
            try:
                boxes = vocboxes.read_boxes(path, "person")
            except vocboxes.BadBoxes as error:
                mistakes.append(f"{path.name}: {error}")
                continue
            people.extend(
                replace(
                    record,
                    sample_id=f"{record.sample_id}-{number:03d}",
                    pid=record.pid * _BOXES_OF_ONE_IMAGE + number,
                    payload={"box": list(box)},
                )
                for number, box in enumerate(boxes[: _BOXES_OF_ONE_IMAGE - 1], start=1)
            )
        return people


@lru_cache(maxsize=2)
def _decoded(base: Path, files: tuple[tuple[str, str], ...], stamp: str) -> tuple[Content, dict[str, np.ndarray]]:
    """A pair and its pixels; the people of one image follow each other, so it is decoded once for all of them.

    Args:
        base: folder that the paths are relative to.
        files: table and path of both images.
        stamp: of the files, so that a changed one is read again.
    """
    whole = listing.read_images(base, dict(files))
    return whole, {table: images.decode(data) for table, data in whole.images.items()}
