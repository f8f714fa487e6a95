"""Who is on the rows of several splits, and which person numbers mean the same person in two of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from reidsynth.errors import UserError
from reidsynth.published import Published
from reidsynth.schema import ROLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reidsynth.imagescan import Place
    from reidsynth.manifest import SourceInfo


class People:
    """Who is on the rows of every part.

    Attributes:
        numbers: of each part, one number for each row: the same for the same (data set, person number), -1 for
            distractors.
        roles: of each part, one role for each row, as its place in ROLES.
        datasets: of each part, data set -> rows.
        trained_on: of each part, whether rows are there to be trained on.
    """

    def __init__(self, places: Sequence[Place]) -> None:
        self.places = places
        self.numbers: list[np.ndarray] = []
        self.roles: list[np.ndarray] = []
        self.datasets: list[dict[str, int]] = []
        self.trained_on: list[bool] = []
        known: dict[tuple[str, int], int] = {}
        for place in places:
            columns = place.manifest.table("captures", place.split).columns(["dataset", "pid", "role"])
            datasets, pids, roles = (columns.column(name).to_pylist() for name in ("dataset", "pid", "role"))
            self.datasets.append(dict(sorted(Counter(datasets).items())))
            self.trained_on.append("train" in roles)
            self.roles.append(np.array([ROLES.index(role) for role in roles], np.int8))
            self.numbers.append(
                np.array(
                    [
                        -1 if role == "distractor" else known.setdefault((dataset, pid), len(known))
                        for dataset, pid, role in zip(datasets, pids, roles, strict=True)
                    ],
                    np.int64,
                )
            )
        self.dataset_of = [dataset for dataset, _ in known]

    def of(self, part: int) -> np.ndarray:
        """Identities of a part, distractors apart."""
        found = np.unique(self.numbers[part])
        return found[found >= 0]

    def shared(self, first: int, second: int) -> int:
        """Identities in both parts, of data sets whose numbers mean the same person in both."""
        both = np.intersect1d(self.of(first), self.of(second), assume_unique=True)
        datasets = Counter(self.dataset_of[number] for number in both.tolist())
        splits = self.places[first].split, self.places[second].split
        return sum(
            count
            for dataset, count in datasets.items()
            if splits[0] == splits[1] or self._numbering(first, dataset).comparable(*splits)
        )

    def _numbering(self, part: int, dataset: str) -> Published:
        """What a data set's person numbers mean, as its reader tells it."""
        sources = [source for source in self.places[part].manifest.info.sources if source.dataset == dataset]
        return _numbering(sources[0]) if sources else Published()


def _numbering(source: SourceInfo) -> Published:
    from reidsynth.sources import SOURCES, build_source, published_by

    name = source.dataset if source.dataset in SOURCES else source.name
    if name not in SOURCES or name in ("folder", "manifest"):
        return Published()
    parameters = source.parameters if name == source.name else {}
    try:
        return published_by(build_source(name, {"root": str(Path.cwd()), **parameters}))
    except (UserError, OSError):  # a reader that must see its files first, or takes no root
        return Published()
