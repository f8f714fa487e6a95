"""ORBench: query sets listed row by row in a file.

J. Zuo et al., "ReID5o: Achieving Omni Multi-modal Person Re-identification in a Single Model", NeurIPS 2025.
`test_gallery_and_queries.json` lists the gallery and 32 ordered query sets over near infrared, colour pencil, sketch
and text: four of one modality, twelve of two, twelve of three, four of four. The first modality of a set leads: it says
how many queries there are; a row is a person and one path or sentence for each modality, in the order of the set's
name. Nothing is excluded.

Colour pencil and sketch are both sketches to a model. A set with both encodes the query twice, once with each, and sums
the two normalised features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import PurePosixPath

import numpy as np

from reidtrain.batch import QueryMode
from reidtrain.errors import UserError
from reidtrain.protocols.settings import NO_CAPTION, Part, Rows, Sides, Unit, has

QUERY_SETS = "query-sets"
"""Name under which a manifest keeps the content of `test_gallery_and_queries.json`."""

GALLERY = "RGB_GALLERY"
MODALITIES = {"NIR": "ir", "CP": "sketch", "SK": "sketch", "TEXT": "text"}


def set_names() -> list[str]:
    """The 32 names: every choice of modalities, led by each of them in turn.

    Example:
        >>> len(set_names()), set_names()[4:8]
        (32, ['NIR+CP', 'CP+NIR', 'NIR+SK', 'SK+NIR'])
    """
    names = []
    for size in range(1, len(MODALITIES) + 1):
        for chosen in combinations(MODALITIES, size):
            names += ["+".join([lead, *(other for other in chosen if other != lead)]) for lead in chosen]
    return names


@dataclass(frozen=True, slots=True)
class QuerySet:
    """One listed query set.

    Args:
        name: of the set, such as `SK+NIR`.
    """

    name: str
    draws = False

    def __call__(self, mode: QueryMode, rows: Rows, trial: int) -> Sides:
        """Find the listed rows.

        Raises:
            UserError: when the manifest keeps no query sets, lacks this one, or lacks what it lists.
        """
        kept = rows.lists.get(QUERY_SETS)
        if kept is None or self.name not in kept:
            there = ", ".join(sorted(kept)) if kept else "none"
            raise UserError(f"the manifest keeps no query set {self.name!r} (it keeps {there}): ingest ORBench again")
        index = _Index(rows)
        gallery = np.asarray([index.image(path) for _, path in kept[GALLERY]], dtype=np.int64)
        gallery = gallery[has(rows, mode.gallery)[gallery]]
        query, units, lacking = [], [], 0
        for listed in kept[self.name]:
            kinds = zip(self.name.split("+"), listed[1:], strict=True)
            parts = [index.part(kind, int(listed[0]), value) for kind, value in kinds]
            if all(has_part(rows, part) for part in parts):
                query.append(parts[0][1])
                units.append(_units(parts))
            else:
                lacking += 1
        return Sides(np.asarray(query, dtype=np.int64), gallery, lacking, units=tuple(units))


def has_part(rows: Rows, part: Part) -> bool:
    """Whether the row of a part holds its modality."""
    modality, row, _ = part
    return bool(rows.present.get(modality, np.zeros(len(rows.roles), dtype=bool))[row])


def _units(parts: Sequence[Part]) -> tuple[Unit, ...]:
    """The inputs of one query: one unit, or one for each of two sketches."""
    order = ("text", "sketch", "ir")
    sketches = [part for part in parts if part[0] == "sketch"]
    others = [part for part in parts if part[0] != "sketch"]
    chosen = [[*others, sketch] for sketch in sketches] or [others]
    return tuple(tuple(sorted(unit, key=lambda part: order.index(part[0]))) for unit in chosen)


class _Index:
    """Rows by the path, and by the person and sentence, that query sets list."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._paths: Mapping[str, int] = {_stem(str(path)): n for n, path in enumerate(rows.source_paths) if path}

    def image(self, path: str) -> int:
        try:
            return self._paths[_stem(path)]
        except KeyError:
            raise UserError(
                f"the query sets of ORBench list {path!r}, which the manifest lacks: ingest the data set again"
            ) from None

    def part(self, kind: str, pid: int, value: str) -> Part:
        if MODALITIES[kind] != "text":
            return MODALITIES[kind], self.image(value), NO_CAPTION
        if (pid, value) not in self._sentences:
            raise UserError(
                f"the query sets of ORBench ask for person {pid} with {value[:60]!r}, which no row of that person has: "
                "ingest the data set again"
            )
        return self._sentences[pid, value]

    @cached_property
    def _sentences(self) -> dict[tuple[int, str], Part]:
        found: dict[tuple[int, str], Part] = {}
        for row in np.flatnonzero(self._rows.caption_counts).tolist():
            for number, sentence in enumerate(self._rows.captions(row)):
                found.setdefault((int(self._rows.pids[row]), sentence), ("text", row, number))
        return found


def _stem(path: str) -> str:
    return str(PurePosixPath(path).with_suffix(""))
