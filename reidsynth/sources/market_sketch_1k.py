"""Market-Sketch-1K (MaSk1K) as its authors ship it: photographs of Market-1501 and sketches by six artists.

Reference: K. Lin et al., "Beyond Domain Gap: Exploiting Subjectivity in Sketch-Based Person Retrieval", ACM MM 2023.
Photographs lie in `photo/{train,query}`, sketches in `sketch/{A..F}/{train,query}`; of the photographs the folder
`query` is the **gallery**. File names start with Market-1501's person number; -1 is junk, 0 a distractor, as there.
Not every artist drew everybody (F least of all). `protocol/market-sketch-1k/styles.json` keeps each artist's sketches.

The photographs are Market-1501's, so a model trained on one has seen the other.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from reidsynth import listing
from reidsynth.errors import UserError
from reidsynth.policy import Policy
from reidsynth.published import Count, Published
from reidsynth.schema import Content, Record, TableSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

ARTISTS = "ABCDEF"
_PERSON = re.compile(r"(?P<pid>-1|\d{4})(?!\d)(_c(?P<camid>[1-6])(?!\d))?")
_SPLITS = {"train": "train", "query": "test"}
_JUNK, _DISTRACTOR = -1, 0


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class MarketSketch1K:
    """Market-Sketch-1K: 996 people of Market-1501, 4,763 sketches by six artists; train and test.

    Args:
        root: folder that holds `photo` and `sketch`, or the folder `Market-Sketch-1K` above it.
    """

    root: Path

    name: ClassVar[str] = "market-sketch-1k"
    version: ClassVar[int] = 1
    policy: ClassVar[Policy] = Policy(
        licence="sketches CC BY-NC-SA 4.0; photographs under Market-1501's research terms",
        egress=False,
        release={"sketch": "public", "protocol": "public"},
        default_release="never",
        note="Sketches may be shared with attribution, non-commercially and under the same terms; photographs may not.",
    )

    def dataset(self) -> str:
        """Name in the captures' `dataset` column."""
        return self.name

    def tables(self) -> tuple[TableSpec, ...]:
        """Photographs and sketches, in rows of their own."""
        return (TableSpec("rgb", "rgb", "real"), TableSpec("sketch", "sketch", "real"))

    def splits(self) -> tuple[str, ...]:
        """The authors' two."""
        return ("train", "test")

    def records(self, split: str) -> list[Record]:
        """List a split, sorted by sample_id.

        Raises:
            UserError: a folder is missing, or holds no name of the data set.
        """
        return self._found[0][split]

    def read(self, record: Record) -> Content:
        """Read one photograph or one sketch."""
        return listing.read_images(self._base, {record.modality: record.source_path})

    def stamp(self, record: Record) -> str:
        """Size and modification time."""
        return listing.stamp(self._base, record)

    def dropped(self) -> Mapping[str, int]:
        """Junk boxes, and files that the data set's grammar does not know."""
        return self._found[1]

    def protocol(self) -> dict[str, Any]:
        """Sketches of each artist."""
        styles: dict[str, list[str]] = {artist: [] for artist in self._artists}
        for split in self.splits():
            for record in self.records(split):
                if record.modality == "sketch":
                    styles[record.payload["artist"]].append(record.sample_id)
        return {"styles": styles}

    def published(self) -> Published:
        """The authors' sizes; of the photographs their release holds a selection of unstated size."""
        return Published(
            counts=(
                Count(modality="sketch", captures=4763, identities=996),
                Count(folder="sketch/F/train", identities=497),
                Count(folder="sketch/F/query", identities=493),
                Count(splits=("train",), modality="sketch", identities=498, sure=False),
                Count(splits=("test",), modality="sketch", identities=498, sure=False),
            )
        )

    @cached_property
    def _base(self) -> Path:
        return listing.release(self.root, "Market-Sketch-1K", "data")

    @cached_property
    def _artists(self) -> list[str]:
        return [artist for artist in ARTISTS if (self._base / "sketch" / artist).is_dir()]

    @cached_property
    def _found(self) -> tuple[dict[str, list[Record]], dict[str, int]]:
        base = listing.require(self._base, ("photo/train", "photo/query", "sketch"), "Market-Sketch-1K")
        if not self._artists:
            raise UserError(f"{str(base / 'sketch')!r} holds none of the artists' folders A to F: copy it again")
        splits: dict[str, list[Record]] = {"train": [], "test": []}
        dropped: Counter[str] = Counter()
        for half, split in _SPLITS.items():
            photos = self._folder(f"photo/{half}", half, None, dropped)
            sketches = [self._folder(f"sketch/{artist}/{half}", half, artist, dropped) for artist in self._artists]
            if not photos or not any(sketches):
                what = f"photo/{half}" if not photos else f"sketch/*/{half}"
                raise UserError(f"{str(base)!r} holds no image in {what} whose name starts with a person's four digits")
            splits[split] = sorted(
                [*photos, *(sketch for drawn in sketches for sketch in drawn)], key=lambda record: record.sample_id
            )
        return splits, dict(sorted(dropped.items()))

    def _folder(self, folder: str, half: str, artist: str | None, dropped: Counter[str]) -> list[Record]:
        if not (self._base / folder).is_dir():
            return []
        listed = listing.image_files(self._base / folder)
        dropped.update(listed.skipped)
        records = []
        for file in listed.files:
            named = _PERSON.match(file)
            if named is None or (artist is not None and named["pid"] == str(_JUNK)):
                dropped["image with a name outside the data set's grammar"] += 1
            elif int(named["pid"]) == _JUNK:
                dropped["junk box (person -1)"] += 1
            else:
                records.append(self._record(f"{folder}/{file}", named, half, artist))
        return records

    def _record(self, path: str, named: re.Match[str], half: str, artist: str | None) -> Record:
        pid = int(named["pid"])
        if half == "train":
            role = "train"
        elif artist is not None:
            role = "query"
        else:
            role = "distractor" if pid == _DISTRACTOR else "gallery"
        return Record(
            sample_id=listing.stem_id(self.name, path),
            pid=pid,
            camid=int(named["camid"]) if artist is None and named["camid"] else None,
            role=role,
            modality="rgb" if artist is None else "sketch",
            source_path=path,
            payload={} if artist is None else {"artist": artist},
        )
