"""ORBench as its authors ship it: five modalities of 1,000 people, and 32 listed query sets.

Reference: J. Zuo et al., "ReID5o: Achieving Omni Multi-modal Person Re-identification in a Single Model", NeurIPS 2025.
Photographs lie in `vis`, near infrared in `nir`, colour pencil drawings in `cp`, sketches in `sk`, each below a folder
of its person; `train_annos.json` has rows of `id`, `file_path` (a photograph) and `caption`,
`test_gallery_and_queries.json` the list `RGB_GALLERY` ([person, path]) and a list for each query set, named like
`NIR+TEXT`: [person, one path or sentence for each modality, in the order of the name].

Persons have the numbers of the annotations, which are not those of the folders (the folder of a listed photograph tells
whose folder it is). Every image is a capture; every sentence that asks is a capture of its own, without an image. The
query sets and the order of the gallery are kept in `protocol/orbench/`, by sample_id. Images are of SYSU-MM01 and LLCM
among others, as their names tell; where these name a camera, it is the camera number there.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
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
    from collections.abc import Iterator, Mapping

_TRAIN, _TEST, _GALLERY = "train_annos.json", "test_gallery_and_queries.json", "RGB_GALLERY"
_TABLES = {
    "vis": TableSpec("rgb", "rgb", "real"),
    "nir": TableSpec("ir", "ir", "real", "nir"),
    "sk": TableSpec("sketch", "sketch", "real"),
    "cp": TableSpec("sketch-colour-pencil", "sketch", "real"),
}
_FOLDER_OF = {"NIR": "nir", "CP": "cp", "SK": "sk", "TEXT": "text"}
_SETS = 32
_CAMERA = re.compile(r"_cam(\d+)_")


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class OrBench:
    """ORBench: 1,000 people in RGB, near infrared, colour pencil, sketch and text; train, and 32 query sets.

    Args:
        root: folder that holds `vis`, `nir`, `cp`, `sk` and the two annotations, or the folder above it.
    """

    root: Path

    name: ClassVar[str] = "orbench"
    version: ClassVar[int] = 1
    policy: ClassVar[Policy] = Policy(
        licence="signed data use agreement with the authors; no redistribution",
        egress=False,
        default_release="never",
        note="Photographs and infrared images show real people of SYSU-MM01, LLCM and others, whose terms bind too.",
    )

    def dataset(self) -> str:
        """Name in the captures' `dataset` column."""
        return self.name

    def tables(self) -> tuple[TableSpec, ...]:
        """Five modalities, colour pencil as a second table of sketches."""
        return (*_TABLES.values(), TableSpec("text", "text", "real"))

    def splits(self) -> tuple[str, ...]:
        """The authors' two."""
        return ("train", "test")

    def records(self, split: str) -> list[Record]:
        """List a split, sorted by sample_id.

        Raises:
            UserError: a folder or an annotation is missing, or has rows that it may not have.
        """
        return self._listed[0][split]

    def read(self, record: Record) -> Content:
        """Read one image with its captions, or the sentence of a query."""
        told = record.payload.get("captions")
        texts = {"text": Text(tuple(told))} if told else None
        if record.modality == "text":
            return Content(texts=texts or {})
        return listing.read_images(self._base, {record.payload["table"]: record.source_path}, texts)

    def stamp(self, record: Record) -> str:
        """Size and modification time."""
        return listing.stamp(self._base, record)

    def dropped(self) -> Mapping[str, int]:
        """Images that no annotation knows, and files that are no images."""
        return self._listed[1]

    def published(self) -> Published:
        """The authors' number of people; only photographs of train and sentences that ask have captions."""
        return Published(
            counts=(Count(identities=1000, sure=False),), captions_each=(0, None), people=(("train",), ("test",))
        )

    def inconsistencies(self) -> Iterator[str]:
        """Query sets that are missing: every choice of four modalities, led by each of its own."""
        kinds = {
            frozenset(name.split("+")) | {name.split("+")[0] + " leads"} for name in self._test if name != _GALLERY
        }
        if len(kinds) < _SETS:
            yield f"{_TEST} has {len(kinds)} of the {_SETS} query sets"

    def protocol(self) -> dict[str, Any]:
        """Gallery and query sets, by sample_id."""
        gallery = [self._sample(path) for _, path in self._test[_GALLERY]]
        sets = {
            name: [self._asking(name, query) for query in queries]
            for name, queries in self._test.items()
            if name != _GALLERY
        }
        return {"gallery": gallery, "query-sets": sets}

    @cached_property
    def _base(self) -> Path:
        return listing.release(self.root, "ORBench")

    @cached_property
    def _train(self) -> list[dict[str, Any]]:
        base = listing.require(self._base, (*_TABLES, _TRAIN, _TEST), "ORBench")
        rows: list[dict[str, Any]] = _json(base / _TRAIN, list)
        _refuse(_TRAIN, (f"row {n}: {p}" for n, row in enumerate(rows) for p in _train_problems(row)))
        return rows

    @cached_property
    def _test(self) -> dict[str, list[list[Any]]]:
        base = listing.require(self._base, (*_TABLES, _TRAIN, _TEST), "ORBench")
        sets: dict[str, list[list[Any]]] = _json(base / _TEST, dict)
        if _GALLERY not in sets:
            raise UserError(f"{_TEST} has no list {_GALLERY!r} (it has {', '.join(sets)}): take the official file")
        _refuse(_TEST, _set_problems(sets))
        return sets

    @cached_property
    def _sentences(self) -> dict[int, list[str]]:
        """Person -> sentences that ask for them, sorted."""
        found: dict[int, set[str]] = defaultdict(set)
        for name, queries in self._test.items():
            kinds = name.split("+")
            for pid, *elements in queries:
                found[pid].update(element for kind, element in zip(kinds, elements, strict=False) if kind == "TEXT")
        return {pid: sorted(sentences) for pid, sentences in sorted(found.items())}

    @cached_property
    def _people(self) -> dict[str, dict[str, int]]:
        """Split -> folder of a person -> the person's number in the annotation."""
        people: dict[str, dict[str, int]] = {"train": {}, "test": {}}
        told = [("train", row["id"], row["file_path"]) for row in self._train]
        told += [("test", pid, element) for pid, element in self._listed_images()]
        for split, pid, path in told:
            folder = path.split("/")[1]
            other = people["test" if split == "train" else "train"]
            if people[split].setdefault(folder, pid) != pid or folder in other:
                raise UserError(
                    f"the annotations give folder {folder!r} of ORBench to two persons or to both splits (at "
                    f"{path!r}): take the official files"
                )
        return people

    def _listed_images(self) -> Iterator[tuple[int, str]]:
        """Person and path of every image in the test lists."""
        for name, queries in self._test.items():
            kinds = ["RGB"] if name == _GALLERY else name.split("+")
            for pid, *elements in queries:
                yield from ((pid, element) for kind, element in zip(kinds, elements, strict=True) if kind != "TEXT")

    @cached_property
    def _listed(self) -> tuple[dict[str, list[Record]], dict[str, int]]:
        captions: dict[str, list[str]] = {}
        for row in self._train:
            told = row["caption"] if isinstance(row["caption"], list) else [row["caption"]]
            captions.setdefault(row["file_path"], []).extend(told)
        gallery = {path for _, path in self._test[_GALLERY]}
        asking = {path for _, path in self._listed_images()} - gallery
        splits: dict[str, list[Record]] = {"train": [], "test": list(self._texts())}
        dropped: Counter[str] = Counter()
        missing = {*captions, *gallery, *asking}
        for folder in _TABLES:
            found = listing.image_files(self._base / folder)
            dropped.update(found.skipped)
            for file in found.files:
                path = f"{folder}/{file}"
                missing.discard(path)
                role = "gallery" if path in gallery else "query" if path in asking else None
                split = self._place(path, role, captions)
                if split is None:
                    dropped[f"image of {folder!r} that stands in no annotation"] += 1
                else:
                    splits[split].append(self._record(path, split, role or "train", captions.get(path)))
        for path in sorted(missing):  # listed and not there: the row stays, and reading it says so
            role = "gallery" if path in gallery else "query" if path in asking else "train"
            splits["train" if role == "train" else "test"].append(
                self._record(path, "train" if role == "train" else "test", role, captions.get(path))
            )
        for records in splits.values():
            records.sort(key=lambda record: record.sample_id)
        return splits, dict(sorted(dropped.items()))

    def _place(self, path: str, role: str | None, captions: Mapping[str, list[str]]) -> str | None:
        """Split of an image that is there, None where it stands in no annotation."""
        if role is not None:
            return "test"
        folder, person = path.split("/")[:2]
        known = path in captions if folder == "vis" else person in self._people["train"]
        return "train" if known else None

    def _record(self, path: str, split: str, role: str, captions: list[str] | None) -> Record:
        folder, person = path.split("/")[:2]
        camera = _CAMERA.search(path.rpartition("/")[2]) if folder in ("vis", "nir") else None
        table = _TABLES[folder]
        told = {"captions": captions} if captions else {}
        return Record(
            sample_id=self._sample(path),
            pid=self._people[split][person],
            camid=int(camera[1]) if camera is not None else None,
            role=role,
            modality=table.modality,
            source_path=path,
            payload={"table": table.name, **told},
        )

    def _texts(self) -> Iterator[Record]:
        for pid, sentences in self._sentences.items():
            for number, sentence in enumerate(sentences):
                yield Record(
                    sample_id=self._sentence_id(pid, number),
                    pid=pid,
                    camid=None,
                    role="query",
                    modality="text",
                    source_path=_TEST,
                    payload={"captions": [sentence]},
                )

    def _sample(self, path: str) -> str:
        return listing.stem_id(self.name, path)

    def _sentence_id(self, pid: int, number: int) -> str:
        return f"{self.name}/text/{pid:04d}/{number:03d}"

    def _asking(self, name: str, query: list[Any]) -> list[str]:
        pid, *elements = query
        return [
            self._sentence_id(pid, self._sentences[pid].index(element)) if kind == "TEXT" else self._sample(element)
            for kind, element in zip(name.split("+"), elements, strict=True)
        ]


def _json(path: Path, kind: type) -> Any:  # noqa: ANN401 - any JSON value
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{str(path)!r} is no readable JSON ({error}): copy the official file again") from None
    if not isinstance(values, kind) or not values:
        wanted = "list of rows" if kind is list else "object of lists"
        raise UserError(f"{str(path)!r} is not a {wanted}: take the official file")
    return values


def _refuse(file: str, found: Iterator[str]) -> None:
    problems = list(found)
    if problems:
        raise UserError(f"{file} has {len(problems)} mistakes: {listing.first_few(problems)}; take the official file")


def _train_problems(row: object) -> Iterator[str]:
    if not isinstance(row, dict):
        yield f"expected an object, received {type(row).__name__}"
        return
    if not _is_number(row.get("id")):
        yield f"'id' must be a whole number, received {str(row.get('id'))[:60]!r}"
    if not _is_image(row.get("file_path"), "vis"):
        yield f"'file_path' must be a path vis/<person>/<name>, received {str(row.get('file_path'))[:60]!r}"
    caption = row.get("caption")
    told = caption if isinstance(caption, list) else [caption]
    if not told or not all(_is_sentence(sentence) for sentence in told):
        yield f"'caption' must be a sentence, received {str(caption)[:60]!r}"


def _set_problems(sets: Mapping[str, Any]) -> Iterator[str]:
    for name, queries in sets.items():
        folders = ["vis"] if name == _GALLERY else [_FOLDER_OF.get(kind, "") for kind in name.split("+")]
        if "" in folders:
            yield f"{name!r} is no query set (made of {', '.join(_FOLDER_OF)})"
        elif not isinstance(queries, list):
            yield f"{name!r} must be a list, received {type(queries).__name__}"
        else:
            wanted = f"expected a person and {', '.join(folders)}"
            bad = [(number, query) for number, query in enumerate(queries) if not _is_query(query, folders)]
            yield from (f"{name!r} row {number}: {wanted}, received {str(query)[:60]!r}" for number, query in bad)


def _is_query(query: object, folders: list[str]) -> bool:
    if not isinstance(query, list) or len(query) != len(folders) + 1 or not _is_number(query[0]):
        return False
    pairs = zip(query[1:], folders, strict=True)
    return all(_is_sentence(e) if folder == "text" else _is_image(e, folder) for e, folder in pairs)


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def _is_sentence(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip()) and listing.is_text(value)


def _is_image(value: object, folder: str) -> bool:
    if not isinstance(value, str) or listing.relative_problem(value) is not None:
        return False
    parts = value.split("/")
    return len(parts) >= 3 and parts[0] == folder and all(parts)
