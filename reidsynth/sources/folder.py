"""A plain folder of crops, told apart by a file-name pattern or by a CSV file."""

from __future__ import annotations

import csv as csv_format
import re
from collections import Counter
from dataclasses import dataclass as plain_dataclass
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, cast

from pydantic import ConfigDict, Field, field_validator, model_validator
from pydantic.dataclasses import dataclass

from reidsynth import listing
from reidsynth.draws import sample_seed
from reidsynth.errors import UserError
from reidsynth.naming import compile_pattern
from reidsynth.policy import Policy, Release
from reidsynth.schema import ROLES, Content, Record, TableSpec, Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_COLUMNS = ("path", "pid", "camid", "split", "role", "caption")
_NEEDED = ("path", "pid")
_OPTIONAL = ("camid", "split", "role")
_DEFAULT_SPLIT = "train"
# Folders named `query` and `gallery` are the two halves of one split.
_SPLIT_OF = {"query": ("test", "query"), "gallery": ("test", "gallery"), "train": ("train", "train")}
_SPLIT_NAME = re.compile(r"\w+(\.\w+)*")
_NUMBER = re.compile(r"-?\d{1,18}")


@plain_dataclass(frozen=True, slots=True)
class _Found:
    """One photograph as the pattern or the CSV tells it."""

    path: str
    pid: str
    camid: str | None = None
    split: str | None = None
    role: str | None = None
    captions: tuple[str, ...] = ()


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Folder:
    """Crops in a folder, described by a file-name pattern or a CSV file.

    People whose names are not numbers are numbered in sorted order; `manifest.json` keeps their names. Photographs
    without a split are `train`, or are shared out by identity with `shares`. Splits called `query` and `gallery` become
    the roles of one split `test`; rows of every other split but `train` are queries and gallery at once.

    Args:
        root: folder of the images; subfolders are searched.
        pattern: of the file name, such as `{pid}_c{camid}_{_}` or `{split}/{pid}/{_}.jpg`, or a regular expression
            with the groups pid, camid, split, role.
        csv: file (relative to the root) with the columns path and pid, and optionally camid, split, role, caption;
            several rows of one path are several captions.
        called: name of the data set; the folder's by default.
        shares: split -> share of the identities, `{train: 0.5, test: 0.5}` for example; for crops without a split.
        seed: of the draw of these shares.
        licence: of the images: SPDX name or a sentence, for the card.
        release: how openly what is in the folder and what is made from it may be published; you answer for it.
        egress: whether the images may be sent to an external service; you answer for it.
    """

    root: Path
    pattern: str | None = None
    csv: Path | None = None
    called: Annotated[str, Field(pattern=r"^[\w.-]*$")] = ""
    shares: dict[str, Annotated[float, Field(gt=0, le=1)]] | None = None
    seed: int = 0
    licence: str = ""
    release: Release = "private"
    egress: bool = False

    name: ClassVar[str] = "folder"
    version: ClassVar[int] = 1
    policy: ClassVar[Policy] = Policy(
        licence="not stated; that of the folder's owner",
        egress=False,
        default_release="private",
        note="Whoever built this manifest knows where the images come from and what may be done with them.",
    )

    @field_validator("pattern")
    @classmethod
    def _pattern_compiles(cls, value: str | None) -> str | None:
        if value is not None:
            compile_pattern(value)
        return value

    @field_validator("csv")
    @classmethod
    def _csv_is_relative(cls, value: Path | None) -> Path | None:
        if value is not None and value.is_absolute():
            raise ValueError("must be relative to the root, so that the manifest holds no path of this machine")
        return value

    @field_validator("shares")
    @classmethod
    def _shares_fill_one(cls, value: dict[str, float] | None) -> dict[str, float] | None:
        if value is not None:
            if abs(sum(value.values()) - 1.0) > 1e-6:
                raise ValueError("shares must add up to 1")
            for split in value:
                _split_name(split)
        return value

    @model_validator(mode="after")
    def _one_description(self) -> Folder:
        if (self.pattern is None) == (self.csv is None):
            raise ValueError("give either 'pattern' ('{pid}_c{camid}_{_}' for example) or 'csv' (columns path, pid)")
        return self

    def terms(self) -> Policy:
        """Terms as whoever builds the manifest states them."""
        stated = replace(self.policy, egress=self.egress, default_release=self.release)
        return replace(stated, licence=self.licence) if self.licence else stated

    def dataset(self) -> str:
        """Name in the captures' `dataset` column."""
        return self.called or re.sub(r"[^\w.-]+", "-", self.root.resolve().name) or self.name

    def tables(self) -> tuple[TableSpec, ...]:
        """Photographs, and captions where the CSV has a column of them."""
        photos = TableSpec("rgb", "rgb", "real")
        captioned = self.csv is not None and "caption" in _header(self._csv_path)
        return (photos, TableSpec("text", "text", "real")) if captioned else (photos,)

    def splits(self) -> tuple[str, ...]:
        """Splits that hold rows, `train` first."""
        return tuple(_in_order(self._splits))

    def records(self, split: str) -> list[Record]:
        """List a split, sorted by sample_id.

        Raises:
            UserError: no folder, no images, a pattern that matches nothing, or a CSV file with mistakes.
        """
        return self._splits[split]

    def read(self, record: Record) -> Content:
        """Read one photograph; its captions stay where the photograph can't be read."""
        captions = record.payload.get("captions")
        return listing.read_photo(self.root, record, {"text": Text(tuple(captions))} if captions else None)

    def stamp(self, record: Record) -> str:
        """Size and modification time."""
        return listing.stamp(self.root, record)

    def dropped(self) -> Mapping[str, int]:
        """Files that are no images, and images that the pattern does not match."""
        return self._listed[1]

    def pid_names(self) -> Mapping[int, str]:
        """Names of people by number; empty where names are numbers."""
        numbers = self._numbers
        return {} if all(_NUMBER.fullmatch(name) for name in numbers) else {pid: name for name, pid in numbers.items()}

    @property
    def _csv_path(self) -> Path:
        return listing.folder(self.root, "the images") / cast("Path", self.csv)

    @cached_property
    def _listed(self) -> tuple[list[_Found], dict[str, int]]:
        root = listing.folder(self.root, "the images")
        if self.csv is not None:
            return _from_csv(self._csv_path, root), {}
        listed = listing.image_files(root)
        if not listed.files:
            raise UserError(f"folder {str(root)!r} holds no images: give the folder of the crops")
        pattern = compile_pattern(cast("str", self.pattern))
        matches = [(file, pattern.match(file)) for file in listed.files]
        found = [
            _Found(file, parts["pid"], parts.get("camid"), parts.get("split"), parts.get("role"))
            for file, parts in matches
            if parts is not None
        ]
        if not found:
            shown = " and ".join(repr(file) for file in listed.files[:2])
            raise UserError(
                f"pattern {self.pattern!r} matches none of the {len(listed.files)} images in {str(root)!r}; there are "
                f"names like {shown}: write a pattern that fits them, such as '{{pid}}_c{{camid}}_{{_}}'"
            )
        dropped = Counter(listed.skipped)
        dropped["image whose name the pattern does not match"] = len(matches) - len(found)
        return found, {reason: count for reason, count in sorted(dropped.items()) if count}

    @cached_property
    def _numbers(self) -> dict[str, int]:
        names = sorted({found.pid for found in self._listed[0]})
        if all(_NUMBER.fullmatch(name) for name in names):
            return {name: int(name) for name in names}
        return {name: number for number, name in enumerate(names)}

    @cached_property
    def _splits(self) -> dict[str, list[Record]]:
        found = self._listed[0]
        shared = self._shared_out(found)
        dataset = self.dataset()
        splits: dict[str, list[Record]] = {}
        seen: dict[str, str] = {}
        for each in found:
            split, role = _place(each, shared.get(self._numbers[each.pid], _DEFAULT_SPLIT))
            sample_id = listing.stem_id(dataset, each.path)
            if sample_id in seen:
                raise UserError(
                    f"{seen[sample_id]!r} and {each.path!r} have the same sample id {sample_id!r} (path without "
                    "extension): rename or remove one of them"
                )
            seen[sample_id] = each.path
            record = Record(
                sample_id=sample_id,
                pid=self._numbers[each.pid],
                camid=_camera(each),
                role=role,
                source_path=each.path,
                payload={"captions": list(each.captions)} if each.captions else {},
            )
            splits.setdefault(split, []).append(record)
        for records in splits.values():
            records.sort(key=lambda record: record.sample_id)
        return splits

    def _shared_out(self, found: Iterable[_Found]) -> dict[int, str]:
        """Split of each person by `shares`: people in the order of a seeded hash, cut at the shares, `train` first."""
        if self.shares is None:
            return {}
        given = next((each for each in found if each.split), None)
        if given is not None:
            raise UserError(
                f"{given.path!r} already has the split {given.split!r}, so 'shares' can't be given as well: drop one"
            )
        people = sorted(set(self._numbers.values()), key=lambda pid: sample_seed(self.seed, str(pid), "shares"))
        splits, until, ends = _in_order(self.shares), 0.0, []
        for split in splits:
            until += self.shares[split]
            ends.append(round(until * len(people)))
        return {pid: next(s for s, end in zip(splits, ends, strict=True) if i < end) for i, pid in enumerate(people)}


def _in_order(splits: Iterable[str]) -> list[str]:
    """Splits, `train` first: as they are listed, and as shares are cut, in whatever order those were written."""
    return sorted(splits, key=lambda split: (split != "train", split))


def _place(found: _Found, otherwise: str) -> tuple[str, str]:
    """Split and role of a photograph."""
    given = found.split or otherwise
    split, role = _SPLIT_OF.get(given.lower(), (given, "query+gallery"))
    role = found.role or role
    if role not in ROLES:
        raise UserError(f"{found.path!r} has the role {role!r}: valid are {', '.join(ROLES)}")
    try:
        return _split_name(split), role
    except ValueError as error:
        raise UserError(f"{found.path!r}: {error}") from None


def _split_name(split: str) -> str:
    if not _SPLIT_NAME.fullmatch(split):
        raise ValueError(f"split {split!r} must be made of letters, digits, _ and single dots")
    return split


def _camera(found: _Found) -> int | None:
    if not found.camid:
        return None
    if not _NUMBER.fullmatch(found.camid) or not -(2**31) <= int(found.camid) < 2**31:
        raise UserError(f"{found.path!r} has the camera {found.camid!r}: camid must be a whole number, or left out")
    return int(found.camid)


def _header(path: Path) -> list[str]:
    if not path.is_file():
        raise UserError(f"CSV file {str(path)!r} does not exist: give its path relative to the images' folder")
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            return next(csv_format.reader(file), [])
        except (UnicodeDecodeError, csv_format.Error) as error:
            raise UserError(f"CSV file {str(path)!r} can't be read ({error}): save it as UTF-8") from None


def _from_csv(path: Path, root: Path) -> list[_Found]:
    """Read the CSV; rows of one path are joined, every mistake is counted and the first are told."""
    header = _header(path)
    missing = [column for column in _NEEDED if column not in header]
    if missing:
        raise UserError(
            f"CSV file {str(path)!r} lacks the column {' and '.join(map(repr, missing))} (columns there: "
            f"{', '.join(header) or 'none'}): it needs path and pid, and may have camid, split, role, caption"
        )
    found: dict[str, _Found] = {}
    mistakes: list[str] = []
    with path.open(encoding="utf-8-sig", newline="") as file:
        for line, row in enumerate(csv_format.DictReader(file), start=2):
            values = {column: (row.get(column) or "").strip() for column in _COLUMNS}
            problem = _row_problem(values, root, found.get(values["path"]))
            if problem:
                mistakes.append(f"line {line}: {problem}")
                continue
            before = found.get(values["path"])
            captions = (before.captions if before else ()) + ((values["caption"],) if values["caption"] else ())
            found[values["path"]] = _told(values, captions)
    if mistakes:
        raise UserError(f"CSV file {str(path)!r} has {listing.mistakes(mistakes)}")
    if not found:
        raise UserError(f"CSV file {str(path)!r} has no rows: list one image in each")
    return [found[key] for key in sorted(found)]


def _told(values: Mapping[str, str], captions: tuple[str, ...] = ()) -> _Found:
    camid, split, role = (values[column] or None for column in _OPTIONAL)
    return _Found(values["path"], values["pid"], camid, split, role, captions)


def _row_problem(values: Mapping[str, str], root: Path, before: _Found | None) -> str | None:
    problem = listing.relative_problem(values["path"])
    if problem:
        return f"path {values['path']!r} {problem}"
    if not values["pid"]:
        return f"no pid for {values['path']!r}"
    if before is not None:
        told = _told(values, before.captions)
        return (
            None if told == before else f"{values['path']!r} has another pid, camid, split or role on an earlier line"
        )
    try:
        listing.inside(root, values["path"])
    except listing.BadPath as error:
        return f"{values['path']!r}: {error}"
    return None
