"""Which table serves each row: of every modality the first of a preference list that holds it.

Two names stand for tables that no manifest holds, made from photographs in training:

- `online-ca`, infrared by channel augmentation, while loading;
- `online-lineart`, sketches by the Lineart network, batch by batch where the model runs (`reidtrain.line_drawing`).

`TABLE:DATA_SET` is a table that serves the rows of that data set alone, `online-lineart:synth-pedes` for example.

A stored table costs disk and is the same at every visit; these cost time, and a new draw (of the channel) comes with
every visit. Where a list names a stored table first, that one serves the rows that it holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reidtrain.batch import MODALITIES
from reidtrain.errors import UserError

ONLINE_CA, ONLINE_LINEART = "online-ca", "online-lineart"
ONLINE: Mapping[str, str] = {ONLINE_CA: "ir", ONLINE_LINEART: "sketch"}
"""Table made in training -> the modality that it is."""


@dataclass(frozen=True, slots=True)
class Source:
    """One table of one manifest.

    Args:
        manifest: number of the manifest.
        table: that is read.
        modality: what it is used as.
        origin: `real` or `synthetic`.
        online: name of the table made from it in training, empty for one that is used as it is.
    """

    manifest: int
    table: str
    modality: str
    origin: str
    online: str = ""

    @property
    def name(self) -> str:
        """As configurations name it."""
        return self.online or self.table


@dataclass(frozen=True, slots=True)
class Places:
    """Where the rows of a data set stand.

    Args:
        manifests: opened manifests.
        paths: their folders, for messages.
        split: of each.
        owner: (N,) number of each row's manifest.
        local: (N,) row within it.
        datasets: (N,) name of each row's data set.
    """

    manifests: Sequence[Any]
    paths: Sequence[object]
    split: str
    owner: np.ndarray
    local: np.ndarray
    datasets: np.ndarray


class TableChoice:
    """The choice for all rows.

    Args:
        places: of the rows.
        tables: modality -> tables in order of preference.
        accept_failed: use rows that failed their gate.

    Attributes:
        sources: tables in use.
        number: modality -> (N,) int64, number of the source that serves each row, -1 where none does.
        present: modality -> (N,) bool.
        origin: modality -> (N,) `real`, `synthetic` or empty.
        captions: number of a text source -> its column of captions.
        caption_counts: (N,) int64.

    Raises:
        UserError: for a modality that no table holds, or a table of another modality.
    """

    def __init__(
        self,
        places: Places,
        tables: Mapping[str, Sequence[str]],
        *,
        accept_failed: bool = False,
    ) -> None:
        self._places, self._verdicts = places, {"pass", "fail"} if accept_failed else {"pass"}
        rows = len(places.owner)
        self.sources: list[Source] = []
        self.number: dict[str, np.ndarray] = {}
        self.present: dict[str, np.ndarray] = {}
        self.origin: dict[str, np.ndarray] = {}
        self.captions: dict[int, Any] = {}
        self.caption_counts = np.zeros(rows, dtype=np.int64)
        for modality in (modality for modality in MODALITIES if modality in tables):
            chosen = np.full(rows, -1, dtype=np.int64)
            for entry in tables[modality]:
                name, only = table_of(entry), entry.partition(":")[2]
                free = (chosen < 0) & ((places.datasets == only) if only else True)
                for manifest in range(len(places.manifests)):
                    self._offer(chosen, free & (places.owner == manifest), self._source(modality, manifest, name))
            if not any(source.modality == modality for source in self.sources):
                raise UserError(self._lacks(modality, tables[modality]))
            origins = np.array([source.origin for source in self.sources] + [""])
            self.number[modality] = chosen
            self.present[modality] = chosen >= 0
            self.origin[modality] = origins[chosen]

    def _offer(self, chosen: np.ndarray, free: np.ndarray, source: Source | None) -> None:
        """Let a table serve those of the free rows that it holds."""
        if source is None:
            return
        manifest, rows = self._places.manifests[source.manifest], np.flatnonzero(free)
        able = self._usable(manifest, source.table)[self._places.local[rows]]
        if source.modality == "text":
            column = manifest.table(source.table, self._places.split).columns(["captions"]).column("captions")
            captions = column.combine_chunks()
            lengths = captions.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
            counts = lengths[self._places.local[rows]]
            able = able & (counts > 0)
            self.captions[len(self.sources)] = captions
            self.caption_counts[rows[able]] = counts[able]
        chosen[rows[able]] = len(self.sources)
        self.sources.append(source)

    def _source(self, modality: str, number: int, name: str) -> Source | None:
        """A table of a manifest as a source of a modality, None where there is no such table."""
        if ONLINE.get(name) == modality:
            return Source(number, "rgb", modality, "synthetic", name)
        manifest = self._places.manifests[number]
        if name not in manifest.tables:
            return None
        spec = manifest.tables[name].spec
        if spec.modality != modality:
            raise UserError(
                f"table {name!r} holds {spec.modality}, but is configured as {modality}: list one of "
                f"{table_names(manifest, modality)} under data.tables.{modality}"
            )
        return Source(number, name, modality, spec.origin)

    def _usable(self, manifest: Any, name: str) -> np.ndarray:  # noqa: ANN401  a reidsynth Manifest
        verdicts = manifest.table(name, self._places.split).columns(["verdict"]).column("verdict").to_pylist()
        return np.fromiter((verdict in self._verdicts for verdict in verdicts), dtype=bool, count=len(verdicts))

    def _lacks(self, modality: str, asked: Sequence[str]) -> str:
        manifests = self._places.manifests
        there = sorted({name for manifest in manifests for name in table_names(manifest, modality)})
        folder = ", ".join(str(path) for path in self._places.paths)
        every = sorted({name for manifest in manifests for name in manifest.tables})
        mend = (
            f"name one of its {modality} tables ({', '.join(there)}) under data.tables.{modality}"
            if there
            else f"build one with reidsynth, or leave {modality} out of data.tables"
        )
        return (
            f"the manifest {folder} lacks the modality {modality}: no table {' or '.join(map(repr, asked))} among its "
            f"tables ({', '.join(every)}); {mend}"
        )

    def of(self, modality: str, row: int) -> Source:
        """The table that serves a row, which has the modality."""
        return self.sources[int(self.number[modality][row])]

    def describe(self) -> dict[str, dict[str, int]]:
        """Count the rows that each table serves: modality -> table -> rows."""
        counts: dict[str, dict[str, int]] = {}
        for number, source in enumerate(self.sources):
            rows = int((self.number[source.modality] == number).sum())
            named = counts.setdefault(source.modality, {})
            named[source.name] = named.get(source.name, 0) + rows
        return {modality: counts[modality] for modality in self.number}


def table_of(entry: str) -> str:
    """The table of an entry of a preference list, without the data set that it may be for.

    Example:
        >>> table_of("online-lineart:synth-pedes")
        'online-lineart'
    """
    return entry.partition(":")[0]


def table_names(manifest: Any, modality: str) -> list[str]:  # noqa: ANN401  a reidsynth Manifest
    """Tables of a manifest that hold a modality."""
    return sorted(name for name, info in manifest.tables.items() if info.spec.modality == modality)
