"""What `reidsynth verify` finds: numbers beside the published ones, problems, notes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Check = Literal["layout", "counts", "files", "captions", "splits", "lists"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One way in which the copy differs from what is published.

    Args:
        check: which check found it.
        says: one sentence.
        paths: every file that it is about.
    """

    check: Check
    says: str
    paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """One published number beside what is there; `sure` as in `reidsynth.published.Count`."""

    rows: str
    what: str
    published: int
    found: int
    sure: bool

    @property
    def agrees(self) -> bool:
        """Whether both are the same."""
        return self.published == self.found


@dataclass(slots=True)
class Part:
    """Rows of one split or one sub-folder: listed, with a file missing, with a file that can't be read."""

    listed: int = 0
    missing: int = 0
    unreadable: int = 0


@dataclass(slots=True)
class Verification:
    """What was found.

    Args:
        source: its name.
        root: the folder.
        decoded: whether every file was decoded, or only looked for.
        comparisons: published numbers.
        splits: split -> its rows.
        folders: sub-folder -> its rows; folders of single people are counted in the one above them.
        tables: table -> verdict -> rows.
        left_out: reason -> files that the reader leaves out.
        problems: what is wrong; none for a copy as published.
        notes: what is worth knowing and makes no copy wrong.
    """

    source: str
    root: str
    decoded: bool
    comparisons: list[Comparison] = field(default_factory=list)
    splits: dict[str, Part] = field(default_factory=dict)
    folders: dict[str, Part] = field(default_factory=dict)
    tables: dict[str, dict[str, int]] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether the copy is as published."""
        return not self.problems
