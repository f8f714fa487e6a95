"""ORBench: query sets listed row by row in a file.

J. Zuo et al., "ReID5o: Achieving Omni Multi-modal Person Re-identification in a Single Model", NeurIPS 2025.
`test_gallery_and_queries.json` lists the gallery and 32 ordered query sets over near infrared, colour pencil, sketch
and text: four of one modality, twelve of two, twelve of three, four of four. The first modality of a set leads: it says
how many queries there are; a row names one image or sentence for each modality, in the order of the set's name. Nothing
is excluded.

Colour pencil and sketch are both sketches to a model. A set with both encodes the query twice, once with each, and sums
the two normalised features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from reidtrain.batch import QueryMode
from reidtrain.errors import UserError
from reidtrain.protocols.settings import NO_CAPTION, Part, Rows, Sides, Unit, has

DATASET, QUERY_SETS, GALLERY = "orbench", "query-sets", "gallery"
MODALITIES: Mapping[str, str] = {"NIR": "ir", "CP": "sketch", "SK": "sketch", "TEXT": "text"}


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
        lists = rows.lists.get(DATASET, {})
        kept = lists.get(QUERY_SETS)
        if kept is None:
            raise UserError("the manifest keeps no query sets of ORBench: ingest the data set again")
        if self.name not in kept:
            there = ", ".join(sorted(kept)) or "none"
            raise UserError(f"the manifest keeps no query set {self.name!r} (it keeps {there}): ingest ORBench again")
        places = {str(sample): row for row, sample in enumerate(rows.sample_ids)}
        gallery = np.asarray([_place(places, sample) for sample in lists[GALLERY]], dtype=np.int64)
        gallery = gallery[has(rows, mode.gallery)[gallery]]
        kinds = [MODALITIES[kind] for kind in self.name.split("+")]
        query, units, lacking = [], [], 0
        for listed in kept[self.name]:
            parts = [_part(kind, _place(places, sample)) for kind, sample in zip(kinds, listed, strict=True)]
            if all(_has_part(rows, part) for part in parts):
                query.append(parts[0][1])
                units.append(_units(parts))
            else:
                lacking += 1
        return Sides(np.asarray(query, dtype=np.int64), gallery, lacking, units=tuple(units))


def _place(places: Mapping[str, int], sample: str) -> int:
    try:
        return places[sample]
    except KeyError:
        raise UserError(
            f"the query sets of ORBench list {sample!r}, which this split lacks: ingest the data set again"
        ) from None


def _part(modality: str, row: int) -> Part:
    return modality, row, 0 if modality == "text" else NO_CAPTION


def _has_part(rows: Rows, part: Part) -> bool:
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
