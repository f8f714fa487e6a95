"""Which rows are measured: drawn by a seed from (seed, sample id), so that the order of anything changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from reidsynth import images
from reidsynth.draws import sample_seed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from reidsynth.manifest import Manifest

BLOCK = 256
"""Rows that are decoded at once."""


@dataclass(frozen=True, slots=True)
class Place:
    """One table in one split of one manifest."""

    manifest: Manifest
    table: str
    split: str

    def passing(self) -> np.ndarray:
        """Numbers of the rows whose gate let them pass, ascending."""
        verdicts = self.manifest.table(self.table, self.split).columns(["verdict"]).column(0).to_numpy()
        return np.flatnonzero(verdicts == "pass")

    def ids(self) -> list[str]:
        """Sample ids of all rows."""
        found: list[str] = self.manifest.table(self.table, self.split).columns(["sample_id"]).column(0).to_pylist()
        return found


def drawn(numbers: np.ndarray, ids: Sequence[str], count: int, seed: int) -> np.ndarray:
    """At most `count` of some rows, ascending; the same for every table of a manifest, as far as it has them."""
    if len(numbers) <= count:
        return numbers
    order = sorted(numbers.tolist(), key=lambda number: sample_seed(seed, ids[number], "quality"))
    return np.array(sorted(order[:count]), dtype=np.int64)


def decoded(
    places: Sequence[Place], numbers: np.ndarray, *, label: str, progress: bool | None = None
) -> Iterator[list[tuple[np.ndarray, ...]]]:
    """Blocks of rows, each row with its image of every place; row-aligned places only.

    Args:
        places: tables that have these rows.
        numbers: of the rows, ascending.
        label: of the bar.
        progress: whether to draw one; None draws it on terminals only.

    Yields:
        Tuples of uint8 (H, W, 3) arrays.
    """
    readers = [place.manifest.table(place.table, place.split) for place in places]
    disable = None if progress is None else not progress
    with tqdm(total=len(numbers), desc=label, unit="image", disable=disable) as bar:
        for start in range(0, len(numbers), BLOCK):
            part = numbers[start : start + BLOCK]
            yield [tuple(images.decode(reader[int(n)]["image"]["bytes"]) for reader in readers) for n in part]
            bar.update(len(part))
