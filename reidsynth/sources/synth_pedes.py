"""SYNTH-PEDES with its annotation `synthpedes_dataset.json`: 4.8 million rows, read without holding them in memory.

Reference: J. Zuo et al., "PLIP: Language-Image Pre-training for Person Representation Learning", NeurIPS 2024.
Images lie as `Part<n>/<person>/<k>.jpg`; a row has `id`, `file_path`, `captions` (two or three), `prompt_caption` (one)
and `attributes`: a list with **one** text of six fields joined by commas (gender, hair, top, bottom, shoes, accessory;
"unknown" where nobody knows). For pre-training only: there is no split and no camera.

No person wrote the descriptions: the table `text-spac` holds what the authors' captioner SPAC wrote, with the
attributes, `text-prompt` the sentence filled in from the attributes; both are of synthetic origin.

The annotation is read once as a stream, and its rows' places are sorted on disk (SQLite, a temporary file that vanishes
with the process, about 50 bytes a row); rows are then read from the annotation itself, a shard at a time.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, overload

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from reidsynth import listing
from reidsynth.errors import UserError
from reidsynth.jsonrows import stream_array
from reidsynth.policy import Policy
from reidsynth.published import Count, Published
from reidsynth.schema import ATTRIBUTE_FIELDS, Content, Record, TableSpec, Text

if TYPE_CHECKING:
    from collections.abc import Iterator

_ANNOTATION = "synthpedes_dataset.json"
_USUAL_PATH = re.compile(r"Part\d+/\d+/\w+\.jpg")
_KNOWN_MISTAKES = 20
_UNKNOWN = "unknown"

_COLOUR = re.compile(
    r"\b(beige|black|blue|brown|camel|cream|cyan|gold|golden|gray|green|grey|khaki|maroon|navy|olive|orange|pink|purple|"
    r"red|rose|salmon|silver|tan|teal|turquoise|violet|white|yellow)\b"
)
_PATTERN = re.compile(r"\b(camouflage|checked|checkered|dotted|floral|patterned|plaid|printed|striped)\b")
_LENGTH = re.compile(r"\b(bald|long|medium|short)\b")
_BAG = re.compile(r"\b(backpack|bag|briefcase|handbag|luggage|purse|rucksack|satchel|suitcase)\b")
_HEADWEAR = re.compile(r"\b(beanie|cap|hat|headscarf|helmet|hood)\b")
_GLASSES = re.compile(r"\b(eyeglasses|glasses|sunglasses)\b")


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class SynthPedes:
    """SYNTH-PEDES: 312,321 people, 4,791,711 images, two or three machine-written descriptions each; train only.

    Args:
        root: folder that holds `Part1` to `Part11` and `synthpedes_dataset.json`, or the folder above it.
        parts: numbers of the `Part` folders to read, for example those that you hold; all by default.
    """

    root: Path
    parts: tuple[Annotated[int, Field(ge=1)], ...] = ()

    name: ClassVar[str] = "synth-pedes"
    version: ClassVar[int] = 1
    policy: ClassVar[Policy] = Policy(
        licence="research only, commercial use forbidden",
        egress=False,
        default_release="never",
        note="Images come from web videos (LUPerson-NL, LPW) of real people who were not asked.",
    )

    def dataset(self) -> str:
        """Name in the captures' `dataset` column."""
        return self.name

    def tables(self) -> tuple[TableSpec, ...]:
        """Photographs, and the two kinds of machine-written descriptions."""
        return (
            TableSpec("rgb", "rgb", "real"),
            TableSpec("text-spac", "text", "synthetic"),
            TableSpec("text-prompt", "text", "synthetic"),
        )

    def splits(self) -> tuple[str, ...]:
        """All of it is for training."""
        return ("train",)

    def records(self, split: str) -> Sequence[Record]:
        """List all rows, sorted by sample_id; a slice reads only its part of the annotation.

        Raises:
            UserError: the annotation is missing, damaged, or has rows that it may not have.
        """
        return self._rows

    def read(self, record: Record) -> Content:
        """Read one photograph; its descriptions stay where the photograph is missing."""
        told = record.payload
        texts = {"text-spac": Text(tuple(told["captions"]), parse_attributes(told["attributes"]), model="SPAC")}
        if told["prompt"]:
            texts["text-prompt"] = Text(tuple(told["prompt"]))
        return listing.read_photo(self._base, record, texts)

    def stamp(self, record: Record) -> str:
        """Size and modification time."""
        return listing.stamp(self._base, record)

    def published(self) -> Published:
        """The authors' sizes; those of single parts are not published."""
        return Published(counts=() if self.parts else (Count(captures=4_791_711, identities=312_321),))

    def dropped(self) -> dict[str, int]:
        """Rows of parts that were not asked for."""
        return {"row of a part that was not asked for": self._rows.left} if self._rows.left else {}

    @cached_property
    def _base(self) -> Path:
        return listing.release(self.root, "SYNTH-PEDES")

    @cached_property
    def _rows(self) -> _SortedRows:
        base = listing.require(self._base, (_ANNOTATION,), "SYNTH-PEDES")
        return _SortedRows(base / _ANNOTATION, self.name, tuple(f"Part{number}/" for number in self.parts))


class _SortedRows(Sequence[Record]):
    """Rows of the annotation in sample_id order; their places lie in a temporary database, they themselves in the file.

    Args:
        path: of the annotation.
        dataset: first part of sample ids.
        prefixes: of the paths to keep, () for all; `left` counts the others.

    Raises:
        UserError: naming the first mistakes of the annotation.
    """

    def __init__(self, path: Path, dataset: str, prefixes: tuple[str, ...] = ()) -> None:
        self._path, self._dataset, self._prefixes, self.left = path, dataset, prefixes, 0
        self._places = sqlite3.connect("")  # "": a temporary file of this connection
        try:
            self._sort()
        except sqlite3.OperationalError as error:
            raise UserError(
                f"the places of the rows of {path.name} can't be sorted on disk ({error}): about 50 bytes a row are "
                "needed in the folder for temporary files, another one can be given by SQLITE_TMPDIR"
            ) from error
        (self._length,) = self._places.execute("SELECT count(*) FROM sorted").fetchone()

    def _sort(self) -> None:
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-8192", "temp_store=FILE"):
            self._places.execute(f"PRAGMA {pragma}")
        self._places.execute("CREATE TABLE found (sample_id TEXT, place INTEGER, length INTEGER)")
        self._places.executemany("INSERT INTO found VALUES (?, ?, ?)", self._scanned())
        self._places.execute("CREATE TABLE sorted (place INTEGER, length INTEGER)")
        self._places.execute("INSERT INTO sorted SELECT place, length FROM found ORDER BY sample_id")
        self._places.execute("DROP TABLE found")

    def __len__(self) -> int:
        return int(self._length)

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...

    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        """Read one row, or the rows of a slice."""
        numbers = range(len(self))[index]
        if isinstance(numbers, int):
            return next(self._read([numbers]))
        return list(self._read(numbers))

    def _read(self, numbers: Sequence[int]) -> Iterator[Record]:
        if not numbers:
            return
        first, last = min(numbers), max(numbers)
        query = "SELECT rowid - 1, place, length FROM sorted WHERE rowid BETWEEN ? AND ?"
        places = {n: (place, length) for n, place, length in self._places.execute(query, (first + 1, last + 1))}
        with self._path.open("rb") as handle:
            for number in numbers:
                place, length = places[number]
                handle.seek(place)
                yield self._record(json.loads(handle.read(length)))

    def _record(self, row: dict[str, Any]) -> Record:
        return Record(
            sample_id=listing.stem_id(self._dataset, row["file_path"]),
            pid=row["id"],
            camid=None,
            role="train",
            source_path=row["file_path"],
            payload={
                "captions": row["captions"],
                "prompt": _as_list(row.get("prompt_caption")),
                "attributes": _as_list(row.get("attributes")),
            },
        )

    def _scanned(self) -> Iterator[tuple[str, int, int]]:
        mistakes: list[str] = []
        rows = 0
        for number, (place, length, row) in enumerate(stream_array(self._path, f"index {self._dataset}")):
            problem = _problem(row)
            if problem is None and self._prefixes and not row["file_path"].startswith(self._prefixes):
                self.left += 1
                continue
            if problem is None:
                rows += 1
                yield listing.stem_id(self._dataset, row["file_path"]), place, length
                continue
            mistakes.append(f"row {number}: {problem}")
            if len(mistakes) >= _KNOWN_MISTAKES:
                break
        if mistakes:
            many = "at least " if len(mistakes) >= _KNOWN_MISTAKES else ""
            raise UserError(
                f"{self._path.name} has {many}{len(mistakes)} mistakes: {listing.first_few(mistakes)}; take the "
                "official file"
            )
        if not rows:
            asked = f" of {', '.join(self._prefixes)}" if self._prefixes else ""
            raise UserError(f"{str(self._path)!r} has no rows{asked}: take the official file")


def parse_attributes(told: Sequence[str]) -> dict[str, str | None] | None:
    """Sort the six fields of an attribute text into the manifest's fields.

    Args:
        told: the annotation's list: one text with six fields joined by commas.

    Returns:
        ATTRIBUTE_FIELDS -> value, None where it is unknown; None for a text that has not six fields.

    Example:
        >>> parsed = parse_attributes(["man,black hair,black shirt,pink shorts,black shoes,unknown"])
        >>> {name: value for name, value in parsed.items() if value}
        ... # doctest: +NORMALIZE_WHITESPACE
        {'gender': 'man', 'hair_colour': 'black', 'upper_type': 'shirt', 'upper_colour': 'black',
         'lower_type': 'shorts', 'lower_colour': 'pink', 'shoes_type': 'shoes', 'shoes_colour': 'black'}
    """
    fields = [field.strip().lower() for field in told[0].split(",")] if len(told) == 1 else []
    if len(fields) != 6:
        return None
    gender, hair, top, bottom, shoes, accessory = ("" if field == _UNKNOWN else field for field in fields)
    values: dict[str, str | None] = dict.fromkeys(ATTRIBUTE_FIELDS)
    values["gender"] = gender or None
    values["hair_colour"], values["hair_length"] = _first(hair, _COLOUR), _first(hair, _LENGTH)
    for name, phrase in (("upper", top), ("lower", bottom), ("shoes", shoes)):
        values[f"{name}_colour"], values[f"{name}_type"] = _first(phrase, _COLOUR), _thing(phrase)
    values["upper_pattern"] = _first(top, _PATTERN)
    for name, things in (("bag", _BAG), ("headwear", _HEADWEAR), ("glasses", _GLASSES)):
        values[name] = _first(accessory, things)
        if values[name] is not None and name != "glasses":
            values[f"{name}_colour"] = _first(accessory, _COLOUR)
    return values


def _first(phrase: str, words: re.Pattern[str]) -> str | None:
    found = words.search(phrase)
    return None if found is None else found[1]


def _thing(phrase: str) -> str | None:
    """A phrase without its colours and patterns."""
    return " ".join(_PATTERN.sub(" ", _COLOUR.sub(" ", phrase)).split()) or None


def _as_list(value: object) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)  # type: ignore[call-overload] # checked by _problem


def _problem(row: object) -> str | None:
    """What is wrong with a row, None where nothing is."""
    if not isinstance(row, dict):
        return f"expected an object, received {type(row).__name__}"
    path, pid, captions = row.get("file_path"), row.get("id"), row.get("captions")
    if not isinstance(path, str) or (not _USUAL_PATH.fullmatch(path) and listing.relative_problem(path) is not None):
        return f"'file_path' must be a path below the data set's folder, received {str(path)[:60]!r}"
    if not isinstance(pid, int) or isinstance(pid, bool) or abs(pid) >= 2**63:
        return f"'id' must be a whole number, received {str(pid)[:60]!r}"
    if not _are_texts(captions) or not captions:
        return f"'captions' must be a list of sentences, received {str(captions)[:60]!r}"
    for key in ("attributes", "prompt_caption"):
        if row.get(key) is not None and not _are_texts(_listed(row[key])):
            return f"{key!r} must be a list of texts, received {str(row[key])[:60]!r}"
    return None


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) and listing.is_text(text) for text in value)
