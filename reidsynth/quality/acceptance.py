"""The acceptance test: does a made modality still find the person among photographs, for an encoder that never saw it?

Queries are the rows of one table for a sample of people, the gallery is the photographs of the same people; the
photograph that a row came from is not in its gallery. Rank 1 and mAP stand beside those of the real modality, of the
photographs themselves, and of chance. The encoder is frozen: the test judges the table, not a training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from reidsynth.draws import sample_seed
from reidsynth.measurements import Numbers
from reidsynth.quality.ranking import Ranked, Side, rank
from reidsynth.quality.samples import Place, decoded

if TYPE_CHECKING:
    from reidsynth.manifest import Manifest
    from reidsynth.quality.encoders import Encoder

_ASKING, _SEARCHED = ("query", "query+gallery"), ("gallery", "query+gallery")
FEW = 50
"""People below which a sample is small."""

_COLUMNS = ("sample_id", "dataset", "pid", "role", "derived_from")
MOST_OF_A_PERSON = 20
"""Queries, and photographs in the gallery, of one person: more tell little more and cost as much."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows of the sampled people.

    Args:
        people: (N,) number of the person of every row of the split; -1 for rows that are not in the sample.
        photographs: (N,) number of the photograph that a row came from.
        asking: numbers of the rows that may ask.
        searched: numbers of the rows whose photographs are searched.
        count: people in the sample.
    """

    people: np.ndarray
    photographs: np.ndarray
    asking: np.ndarray
    searched: np.ndarray
    count: int


class Acceptance:
    """Searches of one split by one encoder.

    Args:
        manifest: that holds the tables.
        split: of it.
        encoder: frozen.
        people: to draw.
        seed: of the draw.
        progress: whether to draw bars; None draws them on terminals only.
    """

    def __init__(
        self,
        manifest: Manifest,
        split: str,
        encoder: Encoder,
        *,
        people: int,
        seed: int,
        progress: bool | None = None,
    ) -> None:
        self.manifest, self.split, self.encoder, self.progress = manifest, split, encoder, progress
        self.sample = sample_people(manifest, split, people=people, seed=seed)
        self.people: dict[str, int] = {}  # table -> people who had anything to find
        self._gallery: tuple[np.ndarray, np.ndarray] | None = None
        self._known: dict[str, tuple[Numbers, Numbers] | None] = {}

    def found(self, table: str) -> tuple[Numbers, Numbers] | None:
        """R1 and mAP of a table's rows as queries, and of chance on the same queries; None without such rows."""
        if table not in self._known:
            self._known[table] = self._search(table)
        return self._known[table]

    def _search(self, table: str) -> tuple[Numbers, Numbers] | None:
        rows = np.intersect1d(Place(self.manifest, table, self.split).passing(), self.sample.asking)
        if not len(rows) or not len(self._searched()[0]):
            return None
        if self.manifest.tables[table].modality == "text":
            queries, rows = self._told(table, rows)
        else:
            queries = self._seen(table, rows)
        people = self.sample.people[rows]
        ranked = rank(self._side(rows, queries), self._side(*self._searched()))
        self.people[table] = len(np.unique(people[ranked.valid]))
        return summarised(table, ranked, people) if ranked.valid.any() else None

    def _side(self, rows: np.ndarray, features: np.ndarray) -> Side:
        return Side(features, self.sample.people[rows], self.sample.photographs[rows])

    def _searched(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the gallery and their features."""
        if self._gallery is None:
            rows = np.intersect1d(Place(self.manifest, "rgb", self.split).passing(), self.sample.searched)
            self._gallery = (rows, self._seen("rgb", rows) if len(rows) else np.zeros((0, 1), np.float32))
        return self._gallery

    def _seen(self, table: str, rows: np.ndarray) -> np.ndarray:
        place = Place(self.manifest, table, self.split)
        blocks = decoded([place], rows, label=f"search by {table}", progress=self.progress)
        return self.encoder.images([image for (image,) in block] for block in blocks)

    def _told(self, table: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Features of every caption, and the row of each."""
        reader = self.manifest.table(table, self.split)
        told = [(int(row), caption) for row in rows for caption in reader[int(row)]["captions"]]
        features = self.encoder.texts([caption for _, caption in told])
        return features, np.array([row for row, _ in told], dtype=np.int64)


def sample_people(manifest: Manifest, split: str, *, people: int, seed: int) -> Sample:
    """Draw people of a split; one who is asked for must be there to be found.

    Rows ask and are searched by their role; in a split for training every row does both. Distractors are left out.

    Args:
        manifest: that holds the split.
        split: of it.
        people: to draw.
        seed: of the draw.
    """
    captures = manifest.table("captures", split).columns(_COLUMNS).to_pydict()
    names = [f"{dataset}/{pid}" for dataset, pid in zip(captures["dataset"], captures["pid"], strict=True)]
    roles = captures["role"]
    official = any(role in (*_ASKING, *_SEARCHED) for role in roles)
    asks = np.array([role in _ASKING or (not official and role != "distractor") for role in roles], dtype=bool)
    shown = np.array([role in _SEARCHED or (not official and role != "distractor") for role in roles], dtype=bool)
    both = {name for name, ask in zip(names, asks, strict=True) if ask} & {
        name for name, show in zip(names, shown, strict=True) if show
    }
    chosen = sorted(both, key=lambda name: sample_seed(seed, name, "quality"))[:people]
    number = {name: i for i, name in enumerate(chosen)}
    who = np.array([number.get(name, -1) for name in names], dtype=np.int64)
    ids = captures["sample_id"]
    return Sample(
        people=who,
        photographs=_sources(ids, captures["derived_from"]),
        asking=_few_each(np.flatnonzero(asks & (who >= 0)), who, ids, seed),
        searched=_few_each(np.flatnonzero(shown & (who >= 0)), who, ids, seed),
        count=len(chosen),
    )


def _few_each(rows: np.ndarray, who: np.ndarray, ids: list[str], seed: int) -> np.ndarray:
    """At most MOST_OF_A_PERSON rows of each person, ascending."""
    kept: dict[int, list[int]] = {}
    for row in sorted(rows.tolist(), key=lambda row: sample_seed(seed, ids[row], "quality")):
        of_person = kept.setdefault(int(who[row]), [])
        if len(of_person) < MOST_OF_A_PERSON:
            of_person.append(row)
    return np.array(sorted(row for rows_ in kept.values() for row in rows_), dtype=np.int64)


def _sources(ids: list[str], derived_from: list[str | None]) -> np.ndarray:
    """Number of the photograph at the start of each row's chain of derivations."""
    parents = {name: parent for name, parent in zip(ids, derived_from, strict=True) if parent}
    numbers: dict[str, int] = {}
    found = []
    for name in ids:
        passed = {name}
        while (parent := parents.get(name)) is not None and parent not in passed:
            passed.add(parent)
            name = parent
        found.append(numbers.setdefault(name, len(numbers)))
    return np.array(found, dtype=np.int64)


def few(found: Numbers, people: int) -> tuple[str, ...]:
    """A warning where the sample is small.

    Args:
        found: numbers of the table.
        people: who had anything to find.
    """
    if people >= FEW:
        return ()
    many = f"{people} people with {found.n} queries are" if people > 1 else f"{found.n} queries for one person are"
    return (f"{many} few: another sample may give quite other numbers",)


def summarised(table: str, ranked: Ranked, people: np.ndarray) -> tuple[Numbers, Numbers]:
    """Means over queries with their standard error over people, and what chance would reach.

    Args:
        table: that asked.
        ranked: its queries.
        people: (Q,) number of each query's person.
    """
    valid = ranked.valid
    n, skipped = int(valid.sum()), int((~valid).sum())
    columns = {"R1": (ranked.first[valid] == 1).astype(np.float64), "mAP": ranked.ap[valid]}
    about = f"of {len(np.unique(people[valid]))} people" + (f"; {skipped} with nothing to find" if skipped else "")
    found = Numbers(
        name=table,
        n=n,
        values={name: float(column.mean()) for name, column in columns.items()},
        spread={name: error for name, column in columns.items() if (error := _standard_error(column, people[valid]))},
        about=about,
    )
    chance = {"R1": float(ranked.chance_first[valid].mean()), "mAP": float(ranked.chance_ap[valid].mean())}
    return found, Numbers(name="chance", n=n, values=chance)


def _standard_error(values: np.ndarray, people: np.ndarray) -> float:
    """Of the mean, where the queries of one person are not independent: residuals are added up by person.

    0 where it is unknown (one person) or the values are all the same.
    """
    _, number = np.unique(people, return_inverse=True)
    groups = int(number.max()) + 1
    if groups < 2:
        return 0.0
    sums = np.bincount(number, weights=values - values.mean(), minlength=groups)
    return float(np.sqrt(np.square(sums).sum() * groups / (groups - 1)) / len(values))
