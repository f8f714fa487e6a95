"""CUHK03 under the protocol of 767 training and 700 test people ("CUHK03-NP"), with detected or hand-labelled boxes.

References: W. Li et al., "DeepReID", CVPR 2014; Z. Zhong et al., "Re-ranking Person Re-identification with k-reciprocal
Encoding", CVPR 2017 (the protocol). Two layouts are read: the protocol's MATLAB lists beside extracted images
(`<pair>_<person>_<view>_<n>.png`, numbers in the lists count from 1), and the release in the shape of Market-1501
(`<person>_c<camera>_<n>.png`). Detected and labelled boxes are two data sets that are never mixed.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import ConfigDict, field_validator
from pydantic.dataclasses import dataclass

from reidsynth import listing, splitlists
from reidsynth.errors import UserError
from reidsynth.policy import Policy
from reidsynth.published import Count, Published
from reidsynth.schema import Content, Record, TableSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SPELLINGS = {"detected": ("detected",), "labelled": ("labeled", "labelled")}
_MARKET = {
    "bounding_box_train": ("train", "train"),
    "bounding_box_test": ("test", "gallery"),
    "query": ("test", "query"),
}
_INDICES = {"train_idx": ("train", "train"), "query_idx": ("test", "query"), "gallery_idx": ("test", "gallery")}
_MARKET_NAME = re.compile(r"(?P<pid>\d{1,9})_c(?P<camid>[12])(?!\d)", re.ASCII)
_NAME = re.compile(r"\d_\d+_[12]_\d+\.\w+", re.ASCII)
_RELEASES = ("cuhk03-np", "CUHK03-NP", "cuhk03", "CUHK03")


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Cuhk03Np:
    """CUHK03-NP: 1,467 people, 2 views, the 767/700 protocol; detected or labelled boxes.

    Args:
        root: folder with `cuhk03_new_protocol_config_*.mat` and `images_*`, or the Market-1501-shaped release with
            `detected` and `labeled`, or the folder that holds one of them.
        boxes: `detected` (by a detector, what most papers report) or `labelled` (by hand).
    """

    root: Path
    boxes: Literal["detected", "labelled"] = "detected"

    name: ClassVar[str] = "cuhk03-np"
    version: ClassVar[int] = 1
    policy: ClassVar[Policy] = Policy(
        licence="academic use on request to the owners; no redistribution",
        egress=False,
        default_release="never",
        note="The photographs show real people and may not be redistributed; what is derived from them follows them.",
    )

    @field_validator("boxes", mode="before")
    @classmethod
    def _either_spelling(cls, value: object) -> object:
        return "labelled" if value == "labeled" else value

    def dataset(self) -> str:
        """Name in the captures' `dataset` column."""
        return self.name

    def tables(self) -> tuple[TableSpec, ...]:
        """Photographs."""
        return (TableSpec("rgb", "rgb", "real"),)

    def splits(self) -> tuple[str, ...]:
        """The protocol's two."""
        return ("train", "test")

    def records(self, split: str) -> list[Record]:
        """List a split, sorted by sample_id.

        Raises:
            UserError: neither layout is there, or the lists are damaged or contradict themselves.
        """
        return self._found[0][split]

    def read(self, record: Record) -> Content:
        """Read one photograph."""
        return listing.read_photo(self._base, record)

    def stamp(self, record: Record) -> str:
        """Size and modification time."""
        return listing.stamp(self._base, record)

    def dropped(self) -> Mapping[str, int]:
        """Files that neither the lists nor the data set's grammar know."""
        return self._found[1]

    def published(self) -> Published:
        """Sizes counted from the protocol's lists."""
        train, query, gallery = (7365, 1400, 5332) if self.boxes == "detected" else (7368, 1400, 5328)
        return Published(
            counts=(
                Count(captures=train + query + gallery, identities=1467),
                Count(splits=("train",), captures=train, identities=767),
                Count(splits=("test",), roles=("query",), captures=query, identities=700),
                Count(splits=("test",), roles=("gallery",), captures=gallery, identities=700),
            )
        )

    def inconsistencies(self) -> Iterator[str]:
        """Queries beyond the one that each person and camera has."""
        queries = Counter((r.pid, r.camid) for r in self.records("test") if r.role == "query")
        many = sorted(f"person {pid}, camera {camid}" for (pid, camid), count in queries.items() if count > 1)
        if many:
            yield f"{len(many)} people have more than one query in a camera: {listing.first_few(many)}"

    @cached_property
    def _base(self) -> Path:
        return listing.release(self.root, *_RELEASES)

    @cached_property
    def _found(self) -> tuple[dict[str, list[Record]], dict[str, int]]:
        base = listing.folder(self._base, "CUHK03-NP")
        splits: dict[str, list[Record]] = {"train": [], "test": []}
        dropped: Counter[str] = Counter()
        spellings = _SPELLINGS[self.boxes]
        for word in spellings:
            lists = base / f"cuhk03_new_protocol_config_{word}.mat"
            if lists.is_file():
                self._from_lists(lists, base / f"images_{word}", splits)
                break
            if (base / word / "bounding_box_train").is_dir():
                self._from_folders(base / word, splits, dropped)
                break
        else:
            there = ", ".join(sorted(path.name for path in base.iterdir())[:8]) or "nothing"
            raise UserError(
                f"{str(base)!r} is not CUHK03-NP with {self.boxes} boxes: it holds {there}, and either "
                f"cuhk03_new_protocol_config_{spellings[0]}.mat with images_{spellings[0]}, or "
                f"{spellings[0]}/bounding_box_train, is needed"
            )
        for records in splits.values():
            records.sort(key=lambda record: record.sample_id)
        return splits, dict(sorted(dropped.items()))

    def _from_lists(self, lists: Path, images: Path, splits: dict[str, list[Record]]) -> None:
        if not images.is_dir():
            raise UserError(
                f"{str(images)!r} does not exist: extract the images of cuhk-03.mat there as "
                "<pair>_<person>_<view>_<n>.png"
            )
        arrays = splitlists.matlab(lists, ("camId", "filelist", "labels", *_INDICES))
        files = [_cell(value) for value in arrays["filelist"].ravel()]
        pids = splitlists.matlab_numbers(lists, "labels", arrays["labels"])
        camids = splitlists.matlab_numbers(lists, "camId", arrays["camId"])
        if not len(files) == len(pids) == len(camids):
            raise UserError(f"{str(lists)!r} has {len(files)} files, {len(pids)} labels and {len(camids)} cameras")
        mistakes = [
            f"file {number}: {file!r} is not named like 1_001_1_01.png"
            for number, file in enumerate(files, 1)
            if not _NAME.fullmatch(file)
        ]
        used: dict[int, str] = {}
        for key, (split, role) in _INDICES.items():
            for index in splitlists.matlab_numbers(lists, key, arrays[key]):
                if not 1 <= index <= len(files):
                    mistakes.append(f"{key}: {index} is none of 1 to {len(files)}")
                elif index in used:
                    mistakes.append(f"{key}: {index} is in {used[index]} as well")
                else:
                    used[index] = key
                    path = f"{images.name}/{files[index - 1]}"
                    splits[split].append(self._record(path, pids[index - 1], camids[index - 1], role))
        if mistakes:
            raise UserError(
                f"{str(lists)!r} has {len(mistakes)} mistakes: {listing.first_few(mistakes)}; take the official file"
            )

    def _from_folders(self, base: Path, splits: dict[str, list[Record]], dropped: Counter[str]) -> None:
        listing.require(base, _MARKET, "CUHK03-NP")
        for folder, (split, role) in _MARKET.items():
            listed = listing.image_files(base / folder)
            dropped.update(listed.skipped)
            for file in listed.files:
                named = _MARKET_NAME.match(file)
                if named is None:
                    dropped["image with a name outside the data set's grammar"] += 1
                    continue
                path = f"{base.name}/{folder}/{file}"
                splits[split].append(self._record(path, int(named["pid"]), int(named["camid"]), role))

    def _record(self, path: str, pid: int, camid: int, role: str) -> Record:
        return Record(listing.stem_id(self.name, path), pid, camid, role, source_path=path)


def _cell(value: Any) -> str:  # noqa: ANN401 - a MATLAB cell holds anything
    """Text of one cell of a MATLAB list; what holds none becomes a name that no file has."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, np.ndarray) and value.size == 1 and value.ndim:
        return _cell(value.ravel()[0])
    return f"<{type(value).__name__}>"
