"""Counts the rows of a data set as they are read, and compares the counts with what is published."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from reidsynth import listing
from reidsynth.published import Count, Published
from reidsynth.verification import Comparison, Part, Problem, Verification

if TYPE_CHECKING:
    from reidsynth.schema import Record


@dataclass(frozen=True, slots=True)
class RowSeen:
    """What reading one row gave: table -> reason, number of captions (None: not read), checksum."""

    errors: Mapping[str, str]
    present: tuple[str, ...]
    captions: int | None
    digest: str | None


_SINGULAR = {"captures": "capture", "identities": "identity", "captions": "caption"}
_NOTHING: frozenset[str] = frozenset()


class Tally:
    """Counts rows as they come.

    Args:
        published: what to compare with.
        found: where the results go.
        captioned: whether the data set has captions.
        several_splits: whether files may be in two splits; otherwise no checksums are kept.
    """

    def __init__(self, published: Published, found: Verification, *, captioned: bool, several_splits: bool) -> None:
        self.published = published
        self.found = found
        self._captioned = captioned
        self._several_splits = several_splits
        self._sizes = [Counter[str]() for _ in self.published.counts]
        self._people: list[set[int]] = [set() for _ in self.published.counts]
        self._people_of: dict[str, set[int]] = {}
        self._modalities: dict[str, dict[int, frozenset[str]]] = {}
        self._sets: dict[frozenset[str], frozenset[str]] = {}  # one object for each, however many people have it
        self._reasons: dict[tuple[str, str], list[str]] = {}
        self._wrong_captions: list[str] = []
        self._first_split: dict[bytes, str] = {}
        self._twice: list[str] = []
        self._last = ""
        self._twins: list[str] = []

    def add(self, split: str, record: Record, row: RowSeen) -> None:
        """Count one row."""
        path = record.source_path or record.sample_id
        if record.sample_id == self._last:
            self._twins.append(path)
        self._last = record.sample_id
        for number, count in enumerate(self.published.counts):
            if count.fits(split, record):
                self._sizes[number].update(captures=1, captions=row.captions or 0)
                self._people[number].add(record.pid)
        if record.role != "distractor":
            self._people_of.setdefault(split, set()).add(record.pid)
            seen = self._modalities.setdefault(split, {})
            if record.modality not in (known := seen.get(record.pid, _NOTHING)):
                seen[record.pid] = self._sets.setdefault(known | {record.modality}, known | {record.modality})
        missing = listing.MISSING in row.errors.values()
        for part in (
            self.found.splits.setdefault(split, Part()),
            self.found.folders.setdefault(sub_folder(path), Part()),
        ):
            part.listed += 1
            part.missing += missing
            part.unreadable += bool(row.errors) and not missing
        for table, reason in row.errors.items():
            self._reasons.setdefault((table, reason), []).append(path)
        self._count_tables(row)
        self._count_captions(path, row)
        if row.digest is not None and self._several_splits:
            self._count_file(split, path, row.digest)

    def _count_tables(self, row: RowSeen) -> None:
        for verdict, tables in (("pass", row.present), ("error", tuple(row.errors))):
            for table in tables:
                verdicts = self.found.tables.setdefault(table, {"pass": 0, "error": 0})
                verdicts[verdict] += 1

    def _count_captions(self, path: str, row: RowSeen) -> None:
        if row.captions is None or not self._captioned:
            return
        fewest, most = self.published.captions_each
        if row.captions < fewest or (most is not None and row.captions > most):
            self._wrong_captions.append(f"{path} ({row.captions})")

    def _count_file(self, split: str, path: str, digest: str) -> None:
        if self._first_split.setdefault(bytes.fromhex(digest)[:8], split) != split:
            self._twice.append(path)

    def conclude(self) -> None:
        """Turn counts into comparisons, problems and notes."""
        found = self.found
        for number, count in enumerate(self.published.counts):
            self._compare(count, self._sizes[number], self._people[number])
        for (table, reason), paths in sorted(self._reasons.items()):
            missing = "is missing" if len(paths) == 1 else "are missing"
            what = missing if reason == listing.MISSING else f"can't be read ({reason})"
            which = "" if table in ("rgb", "file") else f"{table} of "
            found.problems.append(
                Problem("files", f"{which}{_files(paths)} {what}: {listing.first_few(paths)}", tuple(paths))
            )
        if self._twins:
            says = f"{_files(self._twins)} with the sample id (path without extension) of another: "
            found.problems.append(Problem("files", says + listing.first_few(self._twins), tuple(self._twins)))
        if self._wrong_captions:
            fewest, most = self.published.captions_each
            wanted = str(fewest) if fewest == most else f"{fewest} or more" if most is None else f"{fewest} to {most}"
            told = listing.first_few(self._wrong_captions)
            says = f"{_files(self._wrong_captions)} should have {wanted} captions: {told}"
            found.problems.append(Problem("captions", says, tuple(self._wrong_captions)))
        self._compare_splits()
        self._compare_left_out()
        self._note_modalities()
        if self._twice:
            found.notes.append(f"{_files(self._twice)} equal to one of another split: {listing.first_few(self._twice)}")
        if not found.decoded:
            found.notes.append("files were looked for and not decoded; captions were not counted")
        if not self.published.counts:
            found.notes.append("no sizes are published for this source, so none were compared")

    def _compare(self, count: Count, sizes: Counter[str], people: set[int]) -> None:
        values = {"captures": sizes["captures"], "identities": len(people), "captions": sizes["captions"]}
        for what, value in values.items():
            published: int | None = getattr(count, what)
            if published is None or (what == "captions" and not self.found.decoded):
                continue
            made = Comparison(count.label, what, published, value, count.sure)
            self.found.comparisons.append(made)
            if made.agrees:
                continue
            differ = abs(value - published)
            named = _SINGULAR[what] if value == 1 else what
            says = (
                f"{count.label}: {value:,} {named}, and {published:,} are published ({differ:,} too "
                f"{'few' if value < published else 'many'})"
            )
            if count.sure:
                self.found.problems.append(Problem("counts", says))
            else:
                self.found.notes.append(f"{says}; the published number was not counted from the owners' lists")

    def _compare_splits(self) -> None:
        for first, second in combinations(self._people_of, 2):
            both = sorted(self._people_of[first] & self._people_of[second])
            if both and self.published.comparable(first, second):
                who = listing.first_few([str(pid) for pid in both])
                people = f"{len(both)} people are" if len(both) > 1 else "1 person is"
                says = f"{people} in both {first!r} and {second!r}: {who}"
                self.found.problems.append(Problem("splits", says))

    def _compare_left_out(self) -> None:
        for reason, number in self.published.left_out.items():
            have = self.found.left_out.get(reason, 0)
            if have != number:
                self.found.notes.append(f"{have:,} files left out as {reason!r}, and {number:,} are told of")

    def _note_modalities(self) -> None:
        """Tell of people who lack a modality that others of their split have in rows of their own."""
        every = sorted(set[str]().union(*self._sets))
        for split, each in self._modalities.items():
            for modality in every:
                lacking = sorted(pid for pid, seen in each.items() if modality not in seen)
                if lacking:
                    who = listing.first_few([str(pid) for pid in lacking])
                    people = f"{len(lacking)} people" if len(lacking) > 1 else "1 person"
                    self.found.notes.append(f"{people} of {split!r} without {modality} rows: {who}")


def sub_folder(path: str) -> str:
    """Folder of a file, up to the first one that bears a number: those are people.

    Example:
        >>> sub_folder("test_vis/cam3/0007/a.jpg"), sub_folder("CUHK03/1_1.jpg"), sub_folder("0007_c1.jpg")
        ('test_vis/cam3', 'CUHK03', '.')
    """
    kept: list[str] = []
    for part in path.split("/")[:-1]:
        if part.isdigit():
            break
        kept.append(part)
    return "/".join(kept) or "."


def _files(paths: list[str]) -> str:
    return f"{len(paths):,} files" if len(paths) > 1 else "1 file"
