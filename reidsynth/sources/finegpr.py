"""FineGPR: rendered pedestrians in 36 viewpoints, 7 weathers and 7 illuminations; captions from a file of the user's.

Reference: S. Xiang et al., "Less is More: Learning from Synthetic Data with Fine-grained Attributes for Person
Re-Identification", ACM TOMM 2023. Images are `<person>/<person>_c<viewpoint>_w<weather>_l<light>_p<place>.jpg`, or the
same names without folders (`FineGPR_subset`). The camera number is the viewpoint (c01 is 90 degrees, each next one ten
less), not a place. For pre-training only: everything is `train`. Two million images are listed a folder at a time.

The form of the authors' captions (FineGPR-C) is described nowhere, so `captions` takes what can be made of any:
JSON (`{"0001_c01_w01_l01_p01": "...", ...}` or a list of objects with the image or person and the captions) or CSV
(columns `path` or `pid`, and `caption`). A name stands for one image, a number for all images of that person.

DMF pre-trains on eleven images of each person, drawn at random: `per_identity=11`.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from functools import cached_property, lru_cache
from itertools import accumulate, groupby
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, overload

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from tqdm import tqdm

from reidsynth import listing
from reidsynth.draws import sample_seed
from reidsynth.errors import UserError
from reidsynth.policy import Policy
from reidsynth.published import Count, Published
from reidsynth.schema import Content, Record, TableSpec, Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_NAME = re.compile(r"(?P<pid>\d{4})_c(?P<camid>\d{2})_w\d{2}_l\d{2}_p\d{2}(?P<suffix>\.jpe?g|\.png)", re.IGNORECASE)
_IMAGE_KEYS = ("path", "file_path", "img_path", "image", "file_name", "filename", "name")
_PERSON_KEYS = ("pid", "id", "person")
_CAPTION_KEYS = ("caption", "captions", "text", "description")


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class FineGpr:
    """FineGPR: 1,150 rendered people, 2,028,600 images; train only, captions from a file.

    Args:
        root: folder of persons' folders (or of images, `FineGPR_subset`), or the folder that holds it.
        captions: file below root: JSON (`{"0001_c01_w01_l01_p01": "...", "0002": ["...", "..."]}`, or a list of objects
            with the image or person and the captions) or CSV (columns `path` or `pid`, and `caption`); a name stands
            for one image, a number for all images of that person; without captions by default.
        per_identity: how many images of each person to take, drawn at random; all by default.
        seed: of that draw.
    """

    root: Path
    captions: listing.BelowRoot = ""
    per_identity: Annotated[int, Field(ge=1)] | None = None
    seed: int = 0

    name: ClassVar[str] = "finegpr"
    version: ClassVar[int] = 1
    policy: ClassVar[Policy] = Policy(
        licence="research only, non-commercial, not to be distributed",
        egress=False,
        default_release="never",
        note="Rendered by a game engine; shows no real person.",
    )

    def dataset(self) -> str:
        """Name in the captures' `dataset` column."""
        return self.name

    def tables(self) -> tuple[TableSpec, ...]:
        """Images, and captions where a file of them is given."""
        told = (TableSpec("text", "text", "real"),) if self.captions else ()
        return (TableSpec("rgb", "rgb", "real"), *told)

    def splits(self) -> tuple[str, ...]:
        """All of it is for training."""
        return ("train",)

    def records(self, split: str) -> Sequence[Record]:
        """List all images, sorted by sample_id; a slice lists only its folders.

        Raises:
            UserError: no image of the data set is found, or the file of captions has mistakes.
        """
        return self._images

    def read(self, record: Record) -> Content:
        """Read one image with its captions."""
        told = record.payload.get("captions")
        return listing.read_photo(self._base, record, {"text": Text(tuple(told))} if told else None)

    def stamp(self, record: Record) -> str:
        """Size and modification time."""
        return listing.stamp(self._base, record)

    def dropped(self) -> Mapping[str, int]:
        """Files outside the data set's grammar, and images that the draw left."""
        return dict(sorted(self._images.dropped.items()))

    def published(self) -> Published:
        """The authors' sizes: 36 x 7 x 7 images of each person, 4 in the flat subset, or as many as are drawn."""
        shipped = 4 if self._images.flat else 36 * 7 * 7
        each = min(shipped, self.per_identity or shipped)
        return Published(counts=(Count(captures=1150 * each, identities=1150),), captions_each=(0, None))

    @cached_property
    def _base(self) -> Path:
        return listing.release(self.root, "FineGPR", "FineGPR_subset")

    @cached_property
    def _images(self) -> _Images:
        base = listing.folder(self._base, "the persons of FineGPR")
        images = _Images(self, base, _captions(self.root, self.captions))
        if not len(images):
            raise UserError(
                f"{str(base)!r} holds no image named like 0001/0001_c01_w01_l01_p01.jpg (nor without the folder): give "
                "the folder of FineGPR or FineGPR_subset"
            )
        return images


class _Images(Sequence[Record]):
    """Images in sample_id order, listed folder by folder.

    `flat` says that images lie without persons' folders.

    Args:
        source: whose draw decides which images are taken.
        base: folder of persons' folders, or of images.
        told: person or stem of an image -> captions.
    """

    def __init__(self, source: FineGpr, base: Path, told: Mapping[int | str, list[str]]) -> None:
        self._source, self._base, self._told = source, base, told
        self.dropped: Counter[str] = Counter()
        entries = sorted(os.scandir(base), key=lambda entry: entry.name + "/")
        folders = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        self._folders, self.flat = folders or [""], not folders
        self._listed = lru_cache(maxsize=2)(self._list)
        self.dropped["linked folder, not entered"] += sum(entry.is_symlink() and entry.is_dir() for entry in entries)
        sizes: list[int] = []
        people: set[int] = set()
        for folder in tqdm(self._folders, desc="list finegpr", unit="folder", disable=None, delay=1, leave=False):
            names, skipped = self._listed(folder)
            sizes.append(len(names))
            people.update(int(_person(name)) for name in names)
            self.dropped.update(skipped)
        self.dropped = +self.dropped  # without zeros
        self._starts = list(accumulate(sizes, initial=0))
        strangers = [key for key in told if (key if isinstance(key, int) else int(_person(key))) not in people]
        if told and len(strangers) == len(told):
            raise UserError(
                f"{source.captions!r} describes {strangers[0]!r} and {len(told) - 1} more, and none of them is among "
                f"the images in {str(base)!r}: give the captions of these images"
            )

    def __len__(self) -> int:
        return self._starts[-1]

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...

    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        """List one image, or those of a slice."""
        numbers = range(len(self))[index]
        if isinstance(numbers, int):
            return next(self._between(numbers, numbers + 1))
        if numbers.step != 1:
            return [self[number] for number in numbers]
        return list(self._between(numbers.start, numbers.stop))

    def _between(self, start: int, stop: int) -> Iterator[Record]:
        for folder, first, end in zip(self._folders, self._starts, self._starts[1:], strict=False):
            if first < stop and start < end:
                names, _ = self._listed(folder)
                yield from (self._record(folder, name) for name in names[max(0, start - first) : stop - first])

    def _list(self, folder: str) -> tuple[list[str], Counter[str]]:
        """Names of a folder's images, sorted by sample_id, and what is left out."""
        skipped: Counter[str] = Counter()
        names = []
        with os.scandir(self._base / folder) as entries:
            for entry in entries:
                if _NAME.fullmatch(entry.name) and not entry.is_dir():
                    names.append(entry.name)
                elif entry.name != self._source.captions:
                    skipped["file or folder with a name outside the data set's grammar"] += 1
        names.sort(key=lambda name: (PurePosixPath(name).stem, name))
        wanted = self._source.per_identity
        if wanted is None:
            return names, skipped
        taken: list[str] = []
        for _, same in groupby(names, key=lambda name: name[:4]):
            drawn = sorted(
                same, key=lambda name: (sample_seed(self._source.seed, self._id(folder, name), "draw"), name)
            )
            skipped["image that the draw of per_identity left"] += len(drawn[wanted:])
            taken.extend(sorted(drawn[:wanted], key=lambda name: (PurePosixPath(name).stem, name)))
        return taken, +skipped

    def _id(self, folder: str, name: str) -> str:
        return listing.stem_id(self._source.dataset(), f"{folder}/{name}" if folder else name)

    def _record(self, folder: str, name: str) -> Record:
        named = _NAME.fullmatch(name)
        assert named is not None  # _list takes no others; this tells the type checker
        pid = int(named["pid"])
        captions = self._told.get(PurePosixPath(name).stem) or self._told.get(pid)
        return Record(
            sample_id=self._id(folder, name),
            pid=pid,
            camid=int(named["camid"]),
            role="train",
            source_path=f"{folder}/{name}" if folder else name,
            payload={"captions": captions} if captions else {},
        )


def _person(name: str) -> str:
    """The person's part of an image's name."""
    return name.partition("_")[0]


def _captions(root: Path, file: str) -> dict[int | str, list[str]]:
    """Captions by person or by stem of the image's name.

    Raises:
        UserError: the file can't be read, or has rows that can't be understood (the first are named).
    """
    if not file:
        return {}
    path = root / file
    rows = _csv_rows(path) if path.suffix.lower() == ".csv" else _json_rows(path)
    told: dict[int | str, list[str]] = {}
    mistakes = []
    for number, (key, captions) in enumerate(rows):
        problem = _key_problem(key) or (None if captions else "no caption")
        if problem:
            mistakes.append(f"row {number} ({str(key)[:40]!r}): {problem}")
            continue
        told.setdefault(_key(key), []).extend(captions)
    if mistakes:
        raise UserError(f"captions {str(path)!r} have {listing.mistakes(mistakes)}")
    if not told:
        raise UserError(
            f"captions {str(path)!r} have no rows: give JSON or CSV with an image or person and its caption"
        )
    return told


def _key(key: object) -> int | str:
    text = str(key).strip()
    return int(text) if text.isdecimal() else PurePosixPath(text.replace("\\", "/")).name.partition(".")[0]


def _key_problem(key: object) -> str | None:
    if isinstance(key, bool) or not isinstance(key, int | str) or not str(key).strip():
        return "names neither an image nor a person"
    found = _key(key)
    if isinstance(found, int) or _NAME.fullmatch(found + ".jpg"):
        return None
    return "is no image name like 0001_c01_w01_l01_p01.jpg and no person number"


def _json_rows(path: Path) -> Iterator[tuple[Any, list[str]]]:
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"captions {str(path)!r} are no readable JSON ({error}): give a JSON or a .csv file") from None
    if isinstance(values, dict):
        yield from ((key, _texts(value)) for key, value in values.items())
    elif isinstance(values, list):
        for row in values:
            fields = row if isinstance(row, dict) else {}
            yield _field(fields, (*_IMAGE_KEYS, *_PERSON_KEYS)), _texts(_field(fields, _CAPTION_KEYS))
    else:
        raise UserError(f"captions {str(path)!r} hold neither an object nor a list: see `reidsynth sources`")


def _csv_rows(path: Path) -> Iterator[tuple[Any, list[str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for row in csv.DictReader(file):
                yield _field(row, (*_IMAGE_KEYS, *_PERSON_KEYS)), _texts(_field(row, _CAPTION_KEYS))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"captions {str(path)!r} can't be read ({error}): save the file as UTF-8") from None


def _field(row: Mapping[str, Any], names: Iterable[str]) -> Any:  # noqa: ANN401 - any JSON value
    return next((row[name] for name in names if row.get(name) not in (None, "")), None)


def _texts(value: object) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) and listing.is_text(text) for text in texts):
        return []
    return [text.strip() for text in texts if text.strip()]
