"""Market-1501 as its owners ship it: `bounding_box_train`, `bounding_box_test`, `query`.

Reference: L. Zheng et al., "Scalable Person Re-identification: A Benchmark", ICCV 2015.
File names are `<person>_c<camera>s<sequence>_<frame>_<box>.jpg`. Person -1 is junk and is left out (and counted);
person 0 stands for distractors, which stay in the gallery and match nobody.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from reidsynth import listing
from reidsynth.errors import UserError
from reidsynth.policy import Policy
from reidsynth.published import Count, Published
from reidsynth.schema import Content, Record, TableSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

_RELEASE = "Market-1501-v15.09.15"
_FOLDERS = {
    "bounding_box_train": ("train", "train"),
    "bounding_box_test": ("test", "gallery"),
    "query": ("test", "query"),
}
_NAME = re.compile(r"(?P<pid>-1|\d+)_c(?P<camid>[1-6])(?!\d)")
_JUNK, _DISTRACTOR = -1, 0


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Market1501:
    """Market-1501: 1,501 people, 6 cameras; train, query and gallery with distractors.

    Args:
        root: folder `Market-1501-v15.09.15`, or the folder that holds it.
    """

    root: Path

    name: ClassVar[str] = "market1501"
    version: ClassVar[int] = 1
    policy: ClassVar[Policy] = Policy(
        licence="research use; no machine-readable licence",
        egress=False,
        default_release="never",
        note="The photographs show real people and may not be redistributed; what is derived from them follows them.",
    )

    def dataset(self) -> str:
        """Name in the captures' `dataset` column."""
        return self.name

    def tables(self) -> tuple[TableSpec, ...]:
        """Photographs."""
        return (TableSpec("rgb", "rgb", "real"),)

    def splits(self) -> tuple[str, ...]:
        """The owners' two."""
        return ("train", "test")

    def records(self, split: str) -> list[Record]:
        """List a split, sorted by sample_id.

        Raises:
            UserError: one of the three folders is missing, or holds no name of the data set.
        """
        return self._found[0][split]

    def read(self, record: Record) -> Content:
        """Read one photograph."""
        return listing.read_photo(self._base, record)

    def stamp(self, record: Record) -> str:
        """Size and modification time."""
        return listing.stamp(self._base, record)

    def dropped(self) -> Mapping[str, int]:
        """What was left out: junk boxes, and files that the data set's grammar does not know."""
        return self._found[1]

    def published(self) -> Published:
        """The owners' sizes; the number of junk boxes follows from that of the folder, which is told in papers."""
        return Published(
            counts=(
                Count(captures=12_936 + 3368 + 15_913),
                Count(splits=("train",), captures=12_936, identities=751),
                Count(splits=("test",), roles=("query",), captures=3368, identities=750),
                Count(splits=("test",), roles=("gallery",), captures=13_115),
                Count(splits=("test",), roles=("distractor",), captures=2798),
            ),
            left_out={"junk box (person -1)": 3819},
        )

    @cached_property
    def _base(self) -> Path:
        inner = self.root / _RELEASE
        return inner if inner.is_dir() else self.root

    @cached_property
    def _found(self) -> tuple[dict[str, list[Record]], dict[str, int]]:
        base = listing.folder(self._base, f"Market-1501 ({', '.join(_FOLDERS)})")
        missing = [name for name in _FOLDERS if not (base / name).is_dir()]
        if missing:
            there = ", ".join(sorted(path.name for path in base.iterdir())[:8]) or "nothing"
            raise UserError(
                f"{str(base)!r} is not Market-1501: it lacks {', '.join(missing)} and holds {there}; give the folder "
                f"{_RELEASE} or its parent"
            )
        splits: dict[str, list[Record]] = {"train": [], "test": []}
        dropped: Counter[str] = Counter()
        for folder in _FOLDERS:
            records = self._folder(base / folder, dropped)
            if not records:
                raise UserError(
                    f"{str(base / folder)!r} holds no image named like 0002_c1s1_000451_03.jpg: copy it again"
                )
            splits[_FOLDERS[folder][0]].extend(records)
        for records in splits.values():
            records.sort(key=lambda record: record.sample_id)
        return splits, dict(sorted(dropped.items()))

    def _folder(self, path: Path, dropped: Counter[str]) -> list[Record]:
        listed = listing.image_files(path)
        dropped.update(listed.skipped)
        records = []
        for file in listed.files:
            named = _NAME.match(file)
            if named is None:
                dropped["image with a name outside the data set's grammar"] += 1
                continue
            pid = int(named["pid"])
            if pid == _JUNK:
                dropped["junk box (person -1)"] += 1
                continue
            relative = f"{path.name}/{file}"
            records.append(
                Record(
                    sample_id=listing.stem_id(self.name, relative),
                    pid=pid,
                    camid=int(named["camid"]),
                    role="distractor" if pid == _DISTRACTOR else _FOLDERS[path.name][1],
                    source_path=relative,
                )
            )
        return records
