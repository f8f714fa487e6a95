"""What is published about a data set's size, as its source declares it for `reidsynth verify`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reidsynth.schema import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """Published numbers of some of a data set's rows: those that fit everything that is given here.

    Args:
        captures: number of rows.
        identities: number of people.
        captions: number of captions.
        splits: of these splits; () for all.
        roles: in these roles; () for all.
        modality: of what the camera saw.
        camid: of this camera.
        folder: below this folder, relative to the data set's root.
        sure: False for numbers that are told in papers or by others, and that nobody counted from the owners' lists:
            a difference is told, and does not make a copy wrong.
    """

    captures: int | None = None
    identities: int | None = None
    captions: int | None = None
    splits: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    modality: str | None = None
    camid: int | None = None
    folder: str | None = None
    sure: bool = True

    def fits(self, split: str, record: Record) -> bool:
        """Whether a row is one of these."""
        return (
            (not self.splits or split in self.splits)
            and (not self.roles or record.role in self.roles)
            and self.modality in (None, record.modality)
            and self.camid in (None, record.camid)
            and (self.folder is None or record.source_path.startswith(f"{self.folder}/"))
        )

    @property
    def label(self) -> str:
        """Which rows, for people: `train`, `test, query`, `test, camera 3`, `all`."""
        parts = ["+".join(self.splits), "+".join(self.roles), self.modality or "", self.folder or ""]
        parts.append("" if self.camid is None else f"camera {self.camid}")
        return ", ".join(part for part in parts if part) or "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What is published about a data set.

    Args:
        counts: its sizes.
        captions_each: fewest and most captions of a capture; None as most: no limit.
        people: groups of splits that number their people together, for example `(("train", "val"), ("test",))` where
            the test counts from 0 again; () when person numbers hold for the whole data set.
        shared: pairs of splits that show the same people on purpose.
        left_out: reason of `dropped` -> number of files, told but not counted from a list.
    """

    counts: tuple[Count, ...] = ()
    captions_each: tuple[int, int | None] = (1, None)
    people: tuple[tuple[str, ...], ...] = ()
    shared: tuple[tuple[str, str], ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)

    def comparable(self, first: str, second: str) -> bool:
        """Whether a person number in one split means the same person in another, who should not be in both."""
        if {first, second} in [set(pair) for pair in self.shared]:
            return False
        group = {split: number for number, splits in enumerate(self.people) for split in splits}
        return group.get(first) == group.get(second)

    @property
    def rows(self) -> int | None:
        """Number of all rows, as far as it is published."""
        whole = [count.captures for count in self.counts if count.label == "all" and count.captures is not None]
        return whole[0] if whole else None
