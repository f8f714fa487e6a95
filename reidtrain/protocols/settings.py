"""What a protocol is made of: settings, the sides of a setting, and the task that they become on the rows of data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from reidtrain.batch import QueryMode

if TYPE_CHECKING:
    from reidtrain.metrics import Exclude

QUERY_ROLES = ("query", "query+gallery", "val", "train")
GALLERY_ROLES = ("gallery", "query+gallery", "distractor", "val", "train")
NO_CAPTION = -1

Part = tuple[str, int, int]
"""(modality, row, caption) of one input of a query; the caption is NO_CAPTION for images."""
Unit = tuple[Part, ...]
"""The inputs that are encoded together, each modality at most once; they may come from several rows of a person."""


class Rows(Protocol):
    """What a plan needs to know of a data set; `reidtrain.data.ReIDDataset` has it."""

    sample_ids: np.ndarray
    roles: np.ndarray
    labels: np.ndarray
    pids: np.ndarray
    camids: np.ndarray
    image_ids: np.ndarray
    datasets: np.ndarray
    captured: np.ndarray
    source_paths: np.ndarray
    present: dict[str, np.ndarray]
    origin: dict[str, np.ndarray]
    caption_counts: np.ndarray

    @property
    def lists(self) -> Mapping[str, Mapping[str, Any]]:
        """Lists that manifests keep for evaluation: data set -> name -> JSON value."""
        ...

    def captions(self, row: int) -> list[str]:
        """Captions of a row."""
        ...


@dataclass(frozen=True, eq=False)
class Sides:
    """Who asks and who answers.

    Args:
        query: rows that ask, one for each query image or group.
        gallery: rows that answer, in the order that breaks ties.
        lacking: rows that should have asked and lack a modality.
        partners: modality -> (queries,) row that lends it, where a query's own row lacks it.
        members: rows that ask together as one query, one tuple for each query; None where every row asks for itself.
        units: inputs of each query, given ready-made; one query may have several, whose features are summed.
    """

    query: np.ndarray
    gallery: np.ndarray
    lacking: int = 0
    partners: Mapping[str, np.ndarray] = field(default_factory=dict)
    members: tuple[tuple[int, ...], ...] | None = None
    units: tuple[tuple[Unit, ...], ...] | None = None


class Select(Protocol):
    """Chooses the sides of a setting; `draws` tells whether trials differ."""

    @property
    def draws(self) -> bool:
        """Whether another trial gives other sides."""
        ...

    def __call__(self, mode: QueryMode, rows: Rows, trial: int) -> Sides:
        """Choose rows for one trial."""
        ...


@dataclass(frozen=True, slots=True)
class ByRole:
    """The roles of the captures say who asks and who answers; every row that has the modalities takes part.

    Args:
        by_capture: infrared and photographs are counted only where a camera took them, not where they were made from
            one another.
    """

    by_capture: bool = False
    draws = False

    def __call__(self, mode: QueryMode, rows: Rows, trial: int) -> Sides:
        """All rows in role, whatever the trial."""
        query = self._side(QUERY_ROLES, mode.query, rows)
        asking = self._role(QUERY_ROLES, mode.query, rows)
        return Sides(query, self._side(GALLERY_ROLES, mode.gallery, rows), int(asking.sum()) - len(query))

    def _role(self, roles: tuple[str, ...], modalities: tuple[str, ...], rows: Rows) -> np.ndarray:
        usable: np.ndarray = np.isin(rows.roles, roles)
        if self.by_capture:
            camera = "ir" if "ir" in modalities else "rgb"
            usable = usable & (rows.captured == camera)
        return usable

    def _side(self, roles: tuple[str, ...], modalities: tuple[str, ...], rows: Rows) -> np.ndarray:
        return np.flatnonzero(self._role(roles, modalities, rows) & has(rows, modalities))


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of a result table.

    Args:
        mode: modalities of query and gallery.
        name: as printed; the mode's own name where it is empty.
        exclude: what a query does not see, as in `reidtrain.metrics.rank`. `as-needed`: photographs that ask
            photographs see none of their own camera (none of their own image where cameras are unknown); others do
            not see the image that they were made from or stand in the same row with, if there are any such.
        unique_identities: CMC counts distinct identities.
        select: who asks and who answers.
        trials: how many draws are averaged.
    """

    mode: QueryMode
    name: str = ""
    exclude: Exclude | Literal["as-needed"] = "as-needed"
    unique_identities: bool = False
    select: Select = field(default_factory=ByRole)
    trials: int = 1

    def __post_init__(self) -> None:
        if self.trials < 1 or (not self.select.draws and self.trials > 1):
            raise ValueError(f"trials is {self.trials}: only what is drawn has more than one")
        if not self.name:
            object.__setattr__(self, "name", self.mode.name)


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A protocol.

    Args:
        name: of the protocol.
        about: what it is, in one line.
        settings: in the order in which they are printed.
        other: what a mode beyond these settings follows.
        ranks: of the CMC that the protocol prints.
        named: makes settings beyond these from their names, None where a name is none of its own.
    """

    name: str
    about: str
    settings: tuple[Setting, ...]
    other: Setting | None = None
    ranks: tuple[int, ...] = (1, 5, 10)
    named: Callable[[str], Setting | None] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """A setting on the rows of a data set.

    Args:
        setting: what it resolves.
        query_rows: (Q,) row of each query.
        captions: (Q,) number of the caption that asks, NO_CAPTION in modes without text.
        gallery_rows: (G,).
        exclude: as `reidtrain.metrics.rank`.
        query_keys: (Q,) camera numbers or source images, None where nothing is excluded.
        gallery_keys: (G,) likewise.
        lacking: rows in the role of a query that lack a modality of the query.
        units: inputs of each query where they are more than the row's own; None where they are not.
    """

    setting: Setting
    query_rows: np.ndarray
    captions: np.ndarray
    gallery_rows: np.ndarray
    exclude: Exclude
    query_keys: np.ndarray | None
    gallery_keys: np.ndarray | None
    lacking: int
    units: tuple[tuple[Unit, ...], ...] | None = None


def has(rows: Rows, modalities: tuple[str, ...]) -> np.ndarray:
    """(N,) which rows have all of these modalities."""
    usable = np.ones(len(rows.roles), dtype=bool)
    for modality in modalities:
        usable &= rows.present.get(modality, np.zeros(len(usable), dtype=bool))
    return usable
