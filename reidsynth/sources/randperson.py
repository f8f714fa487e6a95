"""RandPerson: rendered people, for training only.

Reference: Y. Wang et al., "Surpassing Real-World Source Training Data: Random 3D Characters for Generalizable Person
Re-Identification", ACM MM 2020.
File names are `<person>_s<scene>_c<camera>_f<frame>.jpg`. Camera numbers begin anew in every scene: a camera is the
pair of both, stored as 100 x scene + camera.
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
    from collections.abc import Iterator, Mapping

_NAME = re.compile(r"(?P<pid>\d{1,9})_s(?P<scene>\d{1,2})_c(?P<camid>\d{1,2})_f\d+", re.ASCII)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class RandPerson:
    """RandPerson: 8,000 rendered people, 19 cameras in 11 scenes; training only.

    Args:
        root: folder `randperson` or its `subset`, or the folder that holds it.
    """

    root: Path

    name: ClassVar[str] = "randperson"
    version: ClassVar[int] = 1
    policy: ClassVar[Policy] = Policy(
        licence="Apache-2.0 for the repository; the images' own terms are not stated",
        egress=True,
        default_release="private",
        note="All people are rendered; nobody real is shown.",
    )

    def dataset(self) -> str:
        """Name in the captures' `dataset` column."""
        return self.name

    def tables(self) -> tuple[TableSpec, ...]:
        """Rendered photographs."""
        return (TableSpec("rgb", "rgb", "real"),)

    def splits(self) -> tuple[str, ...]:
        """Training only: the owners publish no query and no gallery."""
        return ("train",)

    def records(self, split: str) -> Iterator[Record]:
        """List the images, sorted by sample_id.

        Raises:
            UserError: no folder, or no image with a name of the data set.
        """
        for file in self._found[0]:
            named = _NAME.match(file.rpartition("/")[2])
            assert named is not None  # `_found` keeps no other
            yield Record(
                sample_id=listing.stem_id(self.name, file),
                pid=int(named["pid"]),
                camid=100 * int(named["scene"]) + int(named["camid"]),
                role="train",
                source_path=file,
            )

    def read(self, record: Record) -> Content:
        """Read one image."""
        return listing.read_photo(self._base, record)

    def stamp(self, record: Record) -> str:
        """Size and modification time."""
        return listing.stamp(self._base, record)

    def dropped(self) -> Mapping[str, int]:
        """Files that the data set's grammar does not know."""
        return self._found[1]

    def published(self) -> Published:
        """Sizes of the subset; the whole set has 1,801,816 images."""
        return Published(counts=(Count(captures=132_145, identities=8000),))

    @cached_property
    def _base(self) -> Path:
        base = listing.release(self.root, "randperson", "RandPerson")
        return base.parent if base.name == "subset" else base

    @cached_property
    def _found(self) -> tuple[tuple[str, ...], dict[str, int]]:
        base = listing.folder(self._base, "RandPerson (subset)")
        within = "subset/" if (base / "subset").is_dir() else ""
        listed = listing.image_files(base / within)
        files = [f"{within}{file}" for file in listed.files if _NAME.match(file.rpartition("/")[2])]
        if not files:
            raise UserError(
                f"{str(base / within)!r} holds no image named like 000000_s00_c00_f000228.jpg: give the folder "
                "randperson or its subset"
            )
        dropped = Counter(listed.skipped)
        dropped["image with a name outside the data set's grammar"] = len(listed.files) - len(files)
        files.sort(key=lambda file: listing.stem_id("", file))
        return tuple(files), {reason: count for reason, count in sorted(dropped.items()) if count}
