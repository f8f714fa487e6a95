"""SYSU-MM01: people before four colour cameras and two infrared ones.

Reference: A. Wu et al., "RGB-Infrared Cross-Modality Person Re-Identification", ICCV 2017.
Images lie in `cam<camera>/<person>/<n>.jpg`; the people of each split are listed in `exp`. A capture is one photograph
of one camera: rows of cameras 1, 2, 4 and 5 fill `rgb`, rows of cameras 3 and 6 `ir`, so the modalities of a person
are in different rows. Folders hold more people than the lists name; they are left out and counted.
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

_CAMERAS = {1: "rgb", 2: "rgb", 3: "ir", 4: "rgb", 5: "rgb", 6: "ir"}
_LISTS = {"train": "train_id", "val": "val_id", "test": "test_id"}
_TEST_ROLE = {"rgb": "gallery", "ir": "query"}
_BY_CAMERA = {"train": (4721, 5753, 5929, 4821, 4989, 4000), "test": (1374, 1565, 1883, 1918, 1918, 1920)}
_FILE = re.compile(r"(?P<pid>\d{1,9})/[^/]+", re.ASCII)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class SysuMm01:
    """SYSU-MM01: 491 people, 4 colour and 2 infrared cameras; 296 train, 99 val, 96 test.

    Args:
        root: folder that holds `cam1` to `cam6` and `exp`, or the folder above it.
        val_in_train: put the people of val into the split train, as most papers do (395 people then train).
    """

    root: Path
    val_in_train: bool = False

    name: ClassVar[str] = "sysu-mm01"
    version: ClassVar[int] = 1
    policy: ClassVar[Policy] = Policy(
        licence="academic use under a signed agreement with the owners; no redistribution",
        egress=False,
        default_release="never",
        note="The photographs show real people who signed privacy licences; nothing derived may be redistributed.",
    )

    def dataset(self) -> str:
        """Name in the captures' `dataset` column."""
        return self.name

    def tables(self) -> tuple[TableSpec, ...]:
        """Colour photographs and near-infrared ones, in rows of their own."""
        return (TableSpec("rgb", "rgb", "real"), TableSpec("ir", "ir", "real", "nir"))

    def splits(self) -> tuple[str, ...]:
        """The owners' three, or train and test where val is in train."""
        return tuple(split for split in _LISTS if split != "val" or not self.val_in_train)

    def records(self, split: str) -> list[Record]:
        """List a split, sorted by sample_id; in the test infrared asks and colour answers.

        Raises:
            UserError: a camera's folder or a list is missing, or a person is in two lists.
        """
        return self._found[0][split]

    def read(self, record: Record) -> Content:
        """Read one image into the table of its camera."""
        return listing.read_images(self._base, {record.modality: record.source_path})

    def stamp(self, record: Record) -> str:
        """Size and modification time."""
        return listing.stamp(self._base, record)

    def dropped(self) -> Mapping[str, int]:
        """Images of people whom no list names, and files that the data set's grammar does not know."""
        return self._found[1]

    def protocol(self) -> Mapping[str, Any]:
        """The lists of people, and the official permutations where they are there."""
        lists: dict[str, Any] = {name.replace("_", "-"): list(ids) for name, ids in self._ids.items()}
        permutations = self._base / "exp" / "rand_perm_cam.mat"
        return lists | ({"rand-perm-cam": _permutations(permutations)} if permutations.is_file() else {})

    def published(self) -> Published:
        """Sizes counted from the owners' lists and permutations; those of val follow from what is told of train+val."""
        cameras = tuple(
            Count(splits=(split,), camid=camid, captures=count)
            for split, counts in _BY_CAMERA.items()
            if split == "test" or not self.val_in_train
            for camid, count in zip(_CAMERAS, counts, strict=True)
        )
        apart = (
            Count(splits=("train",), modality="rgb", captures=20_284),
            Count(splits=("train",), modality="ir", captures=9929),
            Count(splits=("train",), identities=296),
            Count(splits=("val",), identities=99),
        )
        return Published(
            counts=(
                Count(identities=491),
                *((Count(splits=("train",), identities=395),) if self.val_in_train else apart),
                Count(splits=("train", "val"), modality="rgb", captures=22_258, sure=False),
                Count(splits=("train", "val"), modality="ir", captures=11_909, sure=False),
                Count(splits=("test",), modality="rgb", captures=6775),
                Count(splits=("test",), modality="ir", captures=3803, identities=96),
                *cameras,
            )
        )

    def inconsistencies(self) -> Iterator[str]:
        """Listed people without an image, and lists that contradict each other."""
        for split, name in _LISTS.items():
            seen = {record.pid for record in self.records("train" if self.val_in_train and split == "val" else split)}
            gone = [str(pid) for pid in self._ids[name] if pid not in seen]
            if gone:
                yield f"{len(gone)} people of exp/{name} have no image: {listing.first_few(gone)}"
        available = self._ids.get("available_id")
        if available is not None:
            every = sorted(pid for name in _LISTS.values() for pid in self._ids[name])
            differ = [str(pid) for pid in sorted(set(every) ^ set(available))]
            if differ:
                who = listing.first_few(differ)
                yield f"exp/available_id and the lists of the splits differ in {len(differ)} people: {who}"

    @cached_property
    def _base(self) -> Path:
        return listing.release(self.root, "SYSU-MM01")

    @cached_property
    def _ids(self) -> dict[str, tuple[int, ...]]:
        """List -> people; `available_id` only where it is there."""
        base = listing.require(self._base, [*(f"cam{number}" for number in _CAMERAS), "exp"], "SYSU-MM01")
        found = {name: _id_list(base / "exp", name) for name in (*_LISTS.values(), "available_id")}
        missing = [f"exp/{name}.txt" for name in _LISTS.values() if found[name] is None]
        if missing:
            raise UserError(
                f"{str(base)!r} lacks {' and '.join(missing)}: the splits can't be told from the images, take the "
                "official lists"
            )
        ids = {name: people for name, people in found.items() if people is not None}
        owner: dict[int, str] = {}
        for name in _LISTS.values():
            for pid in ids[name]:
                if pid in owner:
                    raise UserError(f"person {pid} is in exp/{owner[pid]} and exp/{name}: take the official lists")
                owner[pid] = name
        return ids

    @cached_property
    def _found(self) -> tuple[dict[str, list[Record]], dict[str, int]]:
        place = {split: "train" if split == "val" and self.val_in_train else split for split in _LISTS}
        split_of = {pid: place[split] for split, name in _LISTS.items() for pid in self._ids[name]}
        splits: dict[str, list[Record]] = {split: [] for split in self.splits()}
        dropped: Counter[str] = Counter()
        for camid, modality in _CAMERAS.items():
            listed = listing.image_files(self._base / f"cam{camid}")
            dropped.update(listed.skipped)
            for file in listed.files:
                named = _FILE.fullmatch(file)
                if named is None:
                    dropped["image with a name outside the data set's grammar"] += 1
                    continue
                split = split_of.get(int(named["pid"]))
                if split is None:
                    dropped["image of a person whom no list names"] += 1
                    continue
                path = f"cam{camid}/{file}"
                role = _TEST_ROLE[modality] if split == "test" else split
                sample_id = listing.stem_id(self.name, path)
                splits[split].append(Record(sample_id, int(named["pid"]), camid, role, modality, path))
        if not any(splits.values()):
            raise UserError(f"{str(self._base)!r} holds no image of a listed person: copy cam1 to cam6 again")
        for records in splits.values():
            records.sort(key=lambda record: record.sample_id)
        return splits, dict(sorted(dropped.items()))


def _id_list(folder: Path, name: str) -> tuple[int, ...] | None:
    """People of one list, from the text file or else from the MATLAB one; None where neither is there."""
    text, matlab = folder / f"{name}.txt", folder / f"{name}.mat"
    if text.is_file():
        return splitlists.person_ids(text)
    if not matlab.is_file():
        return None
    values = splitlists.matlab(matlab, ("id",))["id"]
    return splitlists.unique_ids(matlab, splitlists.matlab_numbers(matlab, "id", values))


def _permutations(path: Path) -> list[list[list[list[int]]]]:
    """The official gallery draws: camera -> person -> trial -> image numbers from 1; [] where a person has none."""
    cameras = splitlists.matlab(path, ("rand_perm_cam",))["rand_perm_cam"].ravel()
    if len(cameras) != len(_CAMERAS):
        raise UserError(
            f"{str(path)!r} has {len(cameras)} cameras, and {len(_CAMERAS)} are needed: take the official file"
        )
    found = []
    for camera in cameras:
        people = []
        for person in camera.ravel():
            numbers = splitlists.matlab_numbers(path, "rand_perm_cam", person)
            trials = person.shape[0] if person.ndim == 2 and person.size else 0
            width = len(numbers) // trials if trials else 0
            people.append([numbers[row * width : (row + 1) * width] for row in range(trials)])
        found.append(people)
    return found
