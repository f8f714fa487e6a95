"""LLCM: people in low light before nine visible and eight near-infrared cameras.

Reference: Y. Zhang and H. Wang, "Diverse Embedding Expansion Network and Low-Light Cross-Modality Benchmark for
Visible-Infrared Person Re-identification", CVPR 2023.
Training images are those of `idx/train_vis.txt` and `idx/train_nir.txt`, and their labels there say who is who: where
folders share a label, they show one person, and the captures bear the smallest of these folders' numbers. Test images
lie in `test_{vis,nir}/cam<camera>/<person>`; `idx/test_id.txt` names the people. Either modality may ask.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from reidsynth import listing, splitlists
from reidsynth.errors import UserError
from reidsynth.policy import Policy
from reidsynth.published import Count, Published
from reidsynth.schema import Content, Record, TableSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SENSORS = {"vis": "rgb", "nir": "ir"}
_TRAIN = re.compile(r"(?P<sensor>vis|nir)/(?P<pid>\d{1,9})/\d+_c(?P<camid>\d{1,2})_[^/]+", re.ASCII)
_TEST = re.compile(r"cam(?P<camid>\d{1,2})/(?P<pid>\d{1,9})/[^/]+", re.ASCII)
_NEEDED = ("vis", "nir", "test_vis", "test_nir", "idx/train_vis.txt", "idx/train_nir.txt", "idx/test_id.txt")


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Llcm:
    """LLCM: 1,064 people, 46,767 boxes; 713 people train, 351 test.

    Args:
        root: folder that holds `vis`, `nir`, `test_vis`, `test_nir` and `idx`, or the folder above it.
    """

    root: Path

    name: ClassVar[str] = "llcm"
    version: ClassVar[int] = 1
    policy: ClassVar[Policy] = Policy(
        licence="academic use under a signed agreement with the owners; no redistribution",
        egress=False,
        default_release="never",
        note="The photographs show real people and may not be redistributed; what is derived from them follows them.",
    )

    def dataset(self) -> str:
        """Name in the captures' `dataset` column."""
        return self.name

    def tables(self) -> tuple[TableSpec, ...]:
        """Visible photographs and near-infrared ones, in rows of their own."""
        return (TableSpec("rgb", "rgb", "real"), TableSpec("ir", "ir", "real", "nir"))

    def splits(self) -> tuple[str, ...]:
        """The owners' two."""
        return ("train", "test")

    def records(self, split: str) -> list[Record]:
        """List a split, sorted by sample_id.

        Raises:
            UserError: a folder or a list is missing, or a list has lines that it may not have.
        """
        return self._train if split == "train" else self._test[0]

    def read(self, record: Record) -> Content:
        """Read one image into the table of its camera."""
        return listing.read_images(self._base, {record.modality: record.source_path})

    def stamp(self, record: Record) -> str:
        """Size and modification time."""
        return listing.stamp(self._base, record)

    def dropped(self) -> Mapping[str, int]:
        """Images on disk that no list names, and files that the data set's grammar does not know."""
        named = {record.source_path for record in self._train}
        there = [f"{sensor}/{file}" for sensor in _SENSORS for file in listing.image_files(self._base / sensor).files]
        extra = sum(file not in named for file in there)
        return self._test[1] | ({"training image that no list names": extra} if extra else {})

    def protocol(self) -> Mapping[str, Any]:
        """The lists of `idx`: images with their labels, and the people of the test."""
        lists: dict[str, Any] = {"test-id": list(self._test_ids)}
        for name in ("train_vis", "train_nir", "test_vis", "test_nir"):
            path = self._base / "idx" / f"{name}.txt"
            if path.is_file():
                lines = [[listing.stem_id(self.name, file), pid] for file, pid in splitlists.labelled_files(path)]
                lists[name.replace("_", "-")] = lines
        return lists

    def published(self) -> Published:
        """The owners' sizes; those by split are told in papers."""
        return Published(
            counts=(
                Count(captures=46_767, identities=1064),
                Count(modality="rgb", captures=25_626),
                Count(modality="ir", captures=21_141),
                Count(splits=("train",), identities=713),
                Count(splits=("test",), identities=351),
                Count(splits=("train",), modality="rgb", captures=16_946, sure=False),
                Count(splits=("train",), modality="ir", captures=13_975, sure=False),
                Count(splits=("test",), modality="rgb", captures=8680, sure=False),
                Count(splits=("test",), modality="ir", captures=7166, sure=False),
            )
        )

    def inconsistencies(self) -> Iterator[str]:
        """People of the test without an image, and test lists that name other files than there are."""
        seen = {record.pid for record in self.records("test")}
        gone = [str(pid) for pid in self._test_ids if pid not in seen]
        if gone:
            yield f"{len(gone)} people of idx/test_id.txt have no image: {listing.first_few(gone)}"
        there = {record.source_path for record in self.records("test")}
        for sensor in _SENSORS:
            path = self._base / "idx" / f"test_{sensor}.txt"
            if path.is_file():
                mine = {file for file in there if file.startswith(f"test_{sensor}/")}
                differ = sorted(mine ^ {file for file, _ in splitlists.labelled_files(path)})
                if differ:
                    yield f"idx/{path.name} and the images differ in {len(differ)} files: {listing.first_few(differ)}"

    @cached_property
    def _base(self) -> Path:
        return listing.require(listing.release(self.root, "LLCM"), _NEEDED, "LLCM")

    @cached_property
    def _test_ids(self) -> tuple[int, ...]:
        return splitlists.person_ids(self._base / "idx" / "test_id.txt")

    @cached_property
    def _train(self) -> list[Record]:
        found: list[tuple[str, str, int, int, int]] = []  # path, sensor, folder, camera, label
        mistakes: list[str] = []
        for sensor in _SENSORS:
            for file, label in splitlists.labelled_files(self._base / "idx" / f"train_{sensor}.txt"):
                named = _TRAIN.fullmatch(file)
                if named is None or named["sensor"] != sensor:
                    mistakes.append(f"train_{sensor}.txt: {file!r} is not {sensor}/<person>/<person>_c<camera>_...")
                else:
                    found.append((file, sensor, int(named["pid"]), int(named["camid"]), label))
        label_of: dict[int, int] = {}
        person: dict[int, int] = {}
        for file, _, folder, _, label in found:
            if label_of.setdefault(folder, label) != label:
                mistakes.append(f"{file!r} has the label {label}, and its folder {label_of[folder]}")
            person[label] = min(folder, person.get(label, folder))
        if mistakes:
            raise UserError(
                f"the lists in {str(self._base / 'idx')!r} have {len(mistakes)} mistakes: "
                f"{listing.first_few(mistakes)}; take the official files"
            )
        records = [self._record(f, person[label], camid, "train", sensor) for f, sensor, _, camid, label in found]
        return sorted(records, key=lambda record: record.sample_id)

    @cached_property
    def _test(self) -> tuple[list[Record], dict[str, int]]:
        people = set(self._test_ids)
        records: list[Record] = []
        dropped: Counter[str] = Counter()
        for sensor in _SENSORS:
            listed = listing.image_files(self._base / f"test_{sensor}")
            dropped.update(listed.skipped)
            for file in listed.files:
                named = _TEST.fullmatch(file)
                if named is None:
                    dropped["image with a name outside the data set's grammar"] += 1
                elif int(named["pid"]) not in people:
                    dropped["test image of a person whom test_id.txt does not name"] += 1
                else:
                    path = f"test_{sensor}/{file}"
                    records.append(self._record(path, int(named["pid"]), int(named["camid"]), "query+gallery", sensor))
        if not records:
            raise UserError(f"{str(self._base)!r} holds no test image of a person of idx/test_id.txt: copy it again")
        return sorted(records, key=lambda record: record.sample_id), dict(sorted(dropped.items()))

    def _record(self, path: str, pid: int, camid: int, role: str, sensor: str) -> Record:
        return Record(listing.stem_id(self.name, path), pid, camid, role, _SENSORS[sensor], path)
