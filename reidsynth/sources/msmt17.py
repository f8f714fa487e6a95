"""MSMT17 as its owners ship it, first release and the second one with masked faces.

Reference: L. Wei et al., "Person Transfer GAN to Bridge Domain Gap for Person Re-Identification", CVPR 2018.
`list_{train,val,query,gallery}.txt` say who belongs where, in lines of `<person>/<file> <person>`; file names are
`<person>_<index>_<camera>_<date and time of day>_<frame>_<n>.jpg`. Training and test people are both counted from 0
and are different people. Numbers reached on one release say nothing about the other: sample ids (`mask_test_v2/...`)
and the card tell them apart.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from reidsynth import listing, splitlists
from reidsynth.errors import UserError
from reidsynth.policy import Policy
from reidsynth.published import Count, Published
from reidsynth.schema import Content, Record, TableSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_FOLDERS = {"V1": ("train", "test"), "V2": ("mask_train_v2", "mask_test_v2")}
_LISTS = {
    "list_train.txt": ("train", "train", 0),
    "list_val.txt": ("val", "val", 0),
    "list_query.txt": ("test", "query", 1),
    "list_gallery.txt": ("test", "gallery", 1),
}
_TRAINING_BY_CAMERA = (4910, 203, 454, 1614, 4296, 1678, 3453, 795, 1396, 655, 3154, 1364, 3635, 3876, 1138)
_TEST_PEOPLE = 10_000  # added to the number of a test person who stands beside training people
_NAME = re.compile(r"\d+/\d+_\d+_(?P<camid>\d{1,3})_\d+(morning|noon|afternoon)_\d+_\d+(_ex)?\.\w+", re.ASCII)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Msmt17:
    """MSMT17: 4,101 people, 15 cameras, 126,441 images; releases V1 and V2.

    Args:
        root: folder `MSMT17_V1`, `MSMT17_V2` or `MSMT17`, or the folder that holds it.
        release: `V1` or `V2`; needed only where both lie side by side.
        val_in_train: put the images of `list_val.txt` into the split train, as many papers do.
        all_in_train: put all images there, those of the test too (`MSMT17_all` of DMF and others), whose people are
            numbered from 10,000 on. The data set is then called `msmt17-all`; nothing may be tested on MSMT17 after it.
    """

    root: Path
    release: Literal["V1", "V2"] | None = None
    val_in_train: bool = False
    all_in_train: bool = False

    name: ClassVar[str] = "msmt17"
    version: ClassVar[int] = 1
    policy: ClassVar[Policy] = Policy(
        licence="research use on request to the owners; no redistribution",
        egress=False,
        default_release="never",
        note="The photographs show real people and may not be redistributed; what is derived from them follows them.",
    )

    def dataset(self) -> str:
        """Name in the captures' `dataset` column; both releases show the same people."""
        return f"{self.name}-all" if self.all_in_train else self.name

    def terms(self) -> Policy:
        """The policy; its note, which the card repeats, tells the release."""
        told = {"V1": "Release V1.", "V2": "Release V2, with masked faces."}[self._place[1]]
        return replace(self.policy, note=f"{told} Results on V1 and V2 do not compare. {self.policy.note}")

    def tables(self) -> tuple[TableSpec, ...]:
        """Photographs."""
        return (TableSpec("rgb", "rgb", "real"),)

    def splits(self) -> tuple[str, ...]:
        """Training, the owners' validation images of the same people (unless they are in train), and the test."""
        if self.all_in_train:
            return ("train",)
        return ("train", "test") if self.val_in_train else ("train", "val", "test")

    def records(self, split: str) -> list[Record]:
        """List a split, sorted by sample_id.

        Raises:
            UserError: a folder or a list is missing, or a list has lines that it may not have.
        """
        return self._found[split]

    def read(self, record: Record) -> Content:
        """Read one photograph."""
        return listing.read_photo(self._place[0], record)

    def stamp(self, record: Record) -> str:
        """Size and modification time."""
        return listing.stamp(self._place[0], record)

    def dropped(self) -> Mapping[str, int]:
        """Images on disk that no list names."""
        base, release = self._place
        named = {record.source_path for records in self._found.values() for record in records}
        there = [
            f"{folder}/{file}" for folder in _FOLDERS[release] for file in listing.image_files(base / folder).files
        ]
        extra = sum(file not in named for file in there)
        return {"image that no list names": extra} if extra else {}

    def published(self) -> Published:
        """Sizes of both releases; train and val show the same people, and the test counts its people from 0 again."""
        if self.all_in_train:
            return Published(counts=(Count(captures=126_441, identities=4101),))
        apart = (
            Count(splits=("train",), captures=30_248, sure=False),
            Count(splits=("val",), captures=2373, sure=False),
        )
        return Published(
            counts=(
                Count(captures=126_441),
                Count(splits=("train", "val"), captures=32_621, identities=1041),
                *(() if self.val_in_train else apart),
                Count(splits=("test",), roles=("query",), captures=11_659, identities=3060),
                Count(splits=("test",), roles=("gallery",), captures=82_161, identities=3060),
                *(
                    Count(splits=("train", "val"), camid=camid, captures=count)
                    for camid, count in enumerate(_TRAINING_BY_CAMERA, start=1)
                ),
            ),
            people=(("train", "val"), ("test",)),
            shared=(("train", "val"),),
        )

    def inconsistencies(self) -> Iterator[str]:
        """Labels that differ from their folder's number."""
        for split, records in self._found.items():
            wrong = [r.source_path for r in records if int(r.source_path.split("/")[1]) != r.pid % _TEST_PEOPLE]
            if wrong:
                yield f"{len(wrong)} images of {split!r} are labelled as another person: {listing.first_few(wrong)}"

    @cached_property
    def _place(self) -> tuple[Path, str]:
        """Folder and release."""
        listing.folder(self.root, "MSMT17 (MSMT17_V1 or MSMT17_V2)")
        candidates = [self.root, *(self.root / name for name in ("MSMT17_V1", "MSMT17_V2", "MSMT17"))]
        found = [
            (base, release)
            for base in candidates
            for release, folders in _FOLDERS.items()
            if all((base / folder).is_dir() for folder in folders) and self.release in (None, release)
        ]
        if not found:
            wanted = _FOLDERS.items() if self.release is None else [(self.release, _FOLDERS[self.release])]
            layouts = " or ".join(f"{' and '.join(folders)} ({release})" for release, folders in wanted)
            there = ", ".join(sorted(path.name for path in self.root.iterdir())[:8]) or "nothing"
            raise UserError(
                f"{str(self.root)!r} is not MSMT17: it lacks {layouts} and holds {there}; give the folder MSMT17_V1 or "
                "MSMT17_V2"
            )
        if len({release for _, release in found}) > 1:
            raise UserError(f"{str(self.root)!r} holds both releases: choose one with --set release=V1 or release=V2")
        return found[0]

    @cached_property
    def _found(self) -> dict[str, list[Record]]:
        base, release = self._place
        listing.require(base, _LISTS, "MSMT17")
        splits: dict[str, list[Record]] = {split: [] for split in self.splits()}
        seen: dict[str, str] = {}
        mistakes: list[str] = []
        for name, (split, role, side) in _LISTS.items():
            if self.all_in_train or (split == "val" and self.val_in_train):
                split = role = "train"
            for relative, label in splitlists.labelled_files(base / name):
                path = f"{_FOLDERS[release][side]}/{relative}"
                named = _NAME.fullmatch(relative)
                if named is None:
                    mistakes.append(f"{name}: {relative!r} has a name outside the data set's grammar")
                elif path in seen:
                    mistakes.append(f"{name}: {relative!r} is in {seen[path]} as well")
                else:
                    seen[path] = name
                    pid = label + _TEST_PEOPLE if self.all_in_train and side else label
                    splits[split].append(self._record(path, pid, int(named["camid"]), role))
        if mistakes:
            raise UserError(
                f"the lists in {str(base)!r} have {len(mistakes)} mistakes: {listing.first_few(mistakes)}; take the "
                "official files"
            )
        for records in splits.values():
            records.sort(key=lambda record: record.sample_id)
        return splits

    def _record(self, path: str, pid: int, camid: int, role: str) -> Record:
        return Record(listing.stem_id(self.dataset(), path), pid, camid, role, source_path=path)
