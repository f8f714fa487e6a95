"""PKU-Sketch (PKUSketchRE-ID_V1) as its owners ship it: two photographs and one drawn sketch of each of 200 people.

Reference: L. Pang et al., "Cross-Domain Adversarial Feature Learning for Sketch Re-identification", ACM MM 2018.
Photographs are `photo/<person>_<camera>_<frame>.jpg`, sketches `sketch/<person>.jpg`; five files
`styleAnnotation/<artist>_<n>.txt` name the people whom each artist drew.

The owners fix no split: 50 people are tested in ten random draws, stratified by artist, and no lists were ever
published. So everybody is in one split `test`, sketches asking photographs. `protocol/pku-sketch/artists.json` keeps
the artists, from which the evaluation draws; `splits.json` keeps lists that the user gives (`lists`), those of a paper
that is to be repeated for example.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from reidsynth import listing
from reidsynth.errors import UserError
from reidsynth.policy import Policy
from reidsynth.published import Count, Published
from reidsynth.schema import Content, Record, TableSpec, Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_PHOTO = re.compile(r"(?P<pid>\d{1,9})_(?P<camid>\d{1,4})_\d+")
_SKETCH = re.compile(r"(?P<pid>\d{1,9})")
_ARTIST = re.compile(r"(?P<artist>[a-z])_\d+\.txt", re.IGNORECASE)
_TRIALS = range(1, 11)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class PkuSketch:
    """PKU-Sketch: 200 people, two photographs each from two cameras, one sketch each by five artists.

    Args:
        root: folder `PKUSketchRE-ID_V1`, or the folder that holds it.
        lists: folder of split lists below root (`idx` for example): `{train,test}_{visible,sketch}_{1..10}.txt`, lines
            of path, person and more.
        captions: file of descriptions below root (`TriReID.txt` for example): lines `<person>/...@<sentence>`.
    """

    root: Path
    lists: listing.BelowRoot = ""
    captions: listing.BelowRoot = ""

    name: ClassVar[str] = "pku-sketch"
    version: ClassVar[int] = 1
    policy: ClassVar[Policy] = Policy(
        licence="signed agreement with the owners (Peking University); no redistribution",
        egress=False,
        default_release="never",
        note="Photographs and sketches show real people; neither may be handed on.",
    )

    def dataset(self) -> str:
        """Name in the captures' `dataset` column."""
        return self.name

    def tables(self) -> tuple[TableSpec, ...]:
        """Photographs, sketches, and descriptions where a file of them is given."""
        told = (TableSpec("text", "text", "real"),) if self.captions else ()
        return (TableSpec("rgb", "rgb", "real"), TableSpec("sketch", "sketch", "real"), *told)

    def splits(self) -> tuple[str, ...]:
        """One split with everybody."""
        return ("test",)

    def records(self, split: str) -> list[Record]:
        """List all photographs and sketches, sorted by sample_id.

        Raises:
            UserError: a folder is missing or holds no name of the data set, or a file of descriptions has mistakes.
        """
        return self._found[0]

    def read(self, record: Record) -> Content:
        """Read one photograph, or one sketch with the descriptions of its person."""
        told = record.payload.get("captions")
        table = "rgb" if record.modality == "rgb" else "sketch"
        texts = {"text": Text(tuple(told))} if told else None
        return listing.read_images(self._base, {table: record.source_path}, texts)

    def stamp(self, record: Record) -> str:
        """Size and modification time."""
        return listing.stamp(self._base, record)

    def dropped(self) -> Mapping[str, int]:
        """Files that the data set's grammar does not know."""
        return self._found[1]

    def protocol(self) -> dict[str, Any]:
        """Artists, and split lists where they are given.

        Raises:
            UserError: a list has mistakes.
        """
        kept: dict[str, Any] = {}
        if (self._base / "styleAnnotation").is_dir():
            kept["artists"] = self._artists()
        if self.lists:
            kept["splits"] = [self._split(trial) for trial in _TRIALS]
        return kept

    def published(self) -> Published:
        """The owners' sizes; descriptions are a third party's, and of sketches only."""
        return Published(
            counts=(
                Count(identities=200),
                Count(modality="rgb", captures=400, identities=200),
                Count(modality="sketch", captures=200, identities=200),
            ),
            captions_each=(0, None),
        )

    def inconsistencies(self) -> Iterator[str]:
        """People whom no artist drew, where the artists are told, and people without two photographs."""
        artists = self.protocol().get("artists", {})
        drawn = {pid for people in artists.values() for pid in people}
        people = {record.pid for record in self.records("test")}
        differ = [str(pid) for pid in sorted(drawn ^ people)] if artists else []
        if differ:
            yield f"styleAnnotation and the images differ in {len(differ)} people: {listing.first_few(differ)}"
        photos = Counter(record.pid for record in self.records("test") if record.modality == "rgb")
        wrong = [str(pid) for pid in sorted(people) if photos[pid] != 2]
        if wrong:
            yield f"{len(wrong)} people have not exactly two photographs: {listing.first_few(wrong)}"

    @cached_property
    def _base(self) -> Path:
        return listing.release(self.root, "PKUSketchRE-ID_V1")

    @cached_property
    def _found(self) -> tuple[list[Record], dict[str, int]]:
        base = listing.require(self._base, ("photo", "sketch"), "PKU-Sketch")
        told = self._captions()
        dropped: Counter[str] = Counter()
        records = [
            *self._folder(base / "photo", _PHOTO, dropped),
            *self._folder(base / "sketch", _SKETCH, dropped, told),
        ]
        records.sort(key=lambda record: record.sample_id)
        strangers = sorted(set(told) - {record.pid for record in records if record.modality == "sketch"})
        if strangers:
            raise UserError(
                f"{self.captions!r} describes person {strangers[0]}, of whom there is no sketch: mend the file"
            )
        return records, dict(sorted(dropped.items()))

    def _folder(
        self, path: Path, grammar: re.Pattern[str], dropped: Counter[str], told: Mapping[int, list[str]] | None = None
    ) -> list[Record]:
        listed = listing.image_files(path)
        dropped.update(listed.skipped)
        records = []
        for file in listed.files:
            named = grammar.fullmatch(file.rpartition(".")[0])
            if named is None:
                dropped["image with a name outside the data set's grammar"] += 1
                continue
            parts, photo = named.groupdict(), path.name == "photo"
            pid = int(parts["pid"])
            captions = (told or {}).get(pid)
            records.append(
                Record(
                    sample_id=listing.stem_id(self.name, f"{path.name}/{file}"),
                    pid=pid,
                    camid=int(parts["camid"]) if photo else None,
                    role="gallery" if photo else "query",
                    modality="rgb" if photo else "sketch",
                    source_path=f"{path.name}/{file}",
                    payload={"captions": captions} if captions else {},
                )
            )
        if not records:
            example = "1_05_356.jpg" if path.name == "photo" else "1.jpg"
            raise UserError(f"{str(path)!r} holds no image named like {example}: copy it again")
        return records

    def _artists(self) -> dict[str, list[int]]:
        artists: dict[str, list[int]] = {}
        owner: dict[int, str] = {}
        for path in sorted((self._base / "styleAnnotation").iterdir()):
            named = _ARTIST.fullmatch(path.name)
            if named is None:
                continue
            artist = named["artist"].lower()
            people = [pid for (pid,) in _numbers(path, (0,))]
            for pid in people:
                if pid in owner:
                    raise UserError(
                        f"{path.name!r} names person {pid}, whom artist {owner[pid]!r} has drawn already: each person "
                        "has one sketch, take the official files"
                    )
                owner[pid] = artist
            artists[artist] = sorted(people)
        return artists

    def _split(self, trial: int) -> dict[str, list[int]]:
        halves: dict[str, list[int]] = {}
        for half in ("train", "test"):
            people: set[int] = set()
            for kind in ("visible", "sketch"):
                path = self._base / self.lists / f"{half}_{kind}_{trial}.txt"
                if not path.is_file():
                    raise UserError(
                        f"split list {str(path)!r} does not exist: give as lists the folder (below root) that holds "
                        "{train,test}_{visible,sketch}_{1..10}.txt"
                    )
                people.update(pid for (pid,) in _numbers(path, (1,)))
            halves[half] = sorted(people)
        both = sorted(set(halves["train"]) & set(halves["test"]))
        if both:
            raise UserError(
                f"split {trial} of {self.lists!r} has person {both[0]} in train and in test: mend the lists"
            )
        unknown = sorted({*halves["train"], *halves["test"]} - {record.pid for record in self._found[0]})
        if unknown:
            raise UserError(
                f"split {trial} of {self.lists!r} names person {unknown[0]}, of whom there is no image: numbers must "
                "be those of the file names"
            )
        return halves

    def _captions(self) -> dict[int, list[str]]:
        if not self.captions:
            return {}
        told: dict[int, list[str]] = {}
        mistakes = []
        for number, line in _lines(self._base / self.captions):
            left, at, caption = line.partition("@")
            pid = left.partition("/")[0].strip()
            if not at or not caption.strip() or not _SKETCH.fullmatch(pid):
                mistakes.append(f"line {number}: {line[:60]!r}")
                continue
            told.setdefault(int(pid), []).append(caption.strip())
        if mistakes:
            raise UserError(
                f"{self.captions!r} has {len(mistakes)} lines that are not '<person>/...@<sentence>': "
                f"{listing.first_few(mistakes)}"
            )
        return told


def _lines(path: Path) -> list[tuple[int, str]]:
    """Numbered lines of a text file that are not empty."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{str(path)!r} can't be read ({error}): copy it again") from None
    return [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]


def _numbers(path: Path, columns: Iterable[int]) -> list[tuple[int, ...]]:
    """Whole numbers in some columns of a text file."""
    wanted = list(columns)
    rows = []
    for number, line in _lines(path):
        fields = line.split()
        try:
            rows.append(tuple(int(fields[column]) for column in wanted))
        except (IndexError, ValueError):
            raise UserError(
                f"{str(path)!r}, line {number}: expected a person number in column {wanted[0] + 1}, received "
                f"{line[:60]!r}; take the official file"
            ) from None
    return rows
