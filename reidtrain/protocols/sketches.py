"""PKU-Sketch and Market-Sketch-1K: drawn sketches ask photographs.

PKU-Sketch: L. Pang et al., "Cross-Domain Adversarial Feature Learning for Sketch Re-identification", MM 2018. 50 of its
200 people are tested, 11, 5, 20, 8 and 6 of the artists a to e, in ten random splits; there is no camera filter. The
only public generator is unseeded and its lists were never published, so no two papers use the same ones. Ours are
published: `assets/pku-sketch-splits.json` holds, for each split and artist, positions in the artist's sorted list of
people (the lists themselves come with the data set), as `stratified_positions` draws them.

Sketch, text and photographs of a person stand in different rows. A query is a person: the sketch asks, text comes from
the same row or else from the person's first row that has it, one query per caption; where the query holds a photograph
or infrared, they come from the person's first photograph, and that photograph is not seen.

Market-Sketch-1K: K. Lin et al., "Beyond Domain Gap: Exploiting Subjectivity in Sketch-Based Person Retrieval", MM 2023.
Six artists, A to F. Single-query: every sketch of the chosen styles asks. Multi-query: all sketches of a person in the
chosen styles ask together, their normalised features summed (absent styles add nothing, as zero padding does).
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

import numpy as np

from reidtrain.batch import QueryMode
from reidtrain.errors import UserError
from reidtrain.protocols.settings import GALLERY_ROLES, QUERY_ROLES, Rows, Sides, has

PKU, MASK = "pku-sketch", "market-sketch-1k"

PKU_TEST = {"a": 11, "b": 5, "c": 20, "d": 8, "e": 6}
PKU_ALL = {"a": 46, "b": 20, "c": 79, "d": 33, "e": 22}
STYLES = "ABCDEF"


def stratified_positions(splits: int = 10, seed: int = 0) -> list[dict[str, list[int]]]:
    """Draw the test people of PKU-Sketch.

    Args:
        splits: how many.
        seed: split n is drawn by Python's `random.Random(seed * 1000 + n)`, artists a to e in order.

    Returns:
        For each split: artist -> sorted positions (from 0) in the artist's list of people, sorted by number.
    """
    drawn = []
    for number in range(splits):
        draw = random.Random(seed * 1000 + number)
        drawn.append({artist: sorted(draw.sample(range(PKU_ALL[artist]), PKU_TEST[artist])) for artist in PKU_TEST})
    return drawn


@cache
def published_positions() -> list[dict[str, list[int]]]:
    """The ten published splits; see `stratified_positions`."""
    text = resources.files("reidtrain").joinpath("assets", "pku-sketch-splits.json").read_text(encoding="utf-8")
    splits: list[dict[str, list[int]]] = json.loads(text)["splits"]
    return splits


def pku_test_people(artists: dict[str, list[int]], trial: int) -> list[int]:
    """People of a published split.

    Args:
        artists: artist -> people, as the data set's `styleAnnotation` lists them.
        trial: number of the split, from 0.

    Returns:
        The 50 test people, sorted.

    Raises:
        UserError: when the lists are not those of PKU-Sketch.
    """
    sizes = {artist: len(people) for artist, people in artists.items()}
    if sizes != PKU_ALL:
        raise UserError(f"the artists of PKU-Sketch have {sizes} people; the splits are made for {PKU_ALL}")
    chosen = published_positions()[trial]
    return sorted(sorted(artists[artist])[place] for artist, places in chosen.items() for place in places)


@dataclass(frozen=True, slots=True)
class PkuSplit:
    """The test people of a split: sketches ask, photographs answer.

    Args:
        lists: `published` ones of ours, or `given` ones that were read with the data set.
    """

    lists: Literal["published", "given"] = "published"
    draws = True

    def __call__(self, mode: QueryMode, rows: Rows, trial: int) -> Sides:
        """Choose a split's rows.

        Raises:
            UserError: when the manifest keeps no such lists, or others than PKU-Sketch's.
        """
        tested = np.isin(rows.pids, self._people(rows, trial))
        photos = tested & (rows.captured == "rgb")
        return _by_person(mode, rows, tested, np.flatnonzero(photos & has(rows, mode.gallery)))

    def _people(self, rows: Rows, trial: int) -> list[int]:
        name = "artists" if self.lists == "published" else "splits"
        kept = rows.lists.get(PKU, {}).get(name)
        if kept is None:
            need = "its folder styleAnnotation" if name == "artists" else "a folder of split lists"
            raise UserError(f"the manifest keeps no {name} of PKU-Sketch: ingest it with {need}")
        if name == "artists":
            return pku_test_people({artist: [int(pid) for pid in pids] for artist, pids in kept.items()}, trial)
        if trial >= len(kept):
            raise UserError(f"the manifest keeps {len(kept)} splits of PKU-Sketch, and ten are averaged: give all ten")
        return [int(pid) for pid in kept[trial]["test"]]


def _by_person(mode: QueryMode, rows: Rows, tested: np.ndarray, gallery: np.ndarray) -> Sides:
    """One query for each person who has all of the mode's modalities, in whatever rows."""
    lenders: dict[str, dict[int, int]] = {}
    for modality in mode.query:
        able = tested & has(rows, (modality,))
        if modality in ("rgb", "ir"):
            able &= rows.captured == "rgb"
        order = sorted(np.flatnonzero(able).tolist(), key=lambda row: (_preference(rows, row, modality), row))
        first: dict[int, int] = {}
        for row in order:
            first.setdefault(int(rows.labels[row]), row)
        lenders[modality] = first
    everyone = sorted({int(label) for label in rows.labels[tested]})
    asking = [label for label in everyone if all(label in lenders[modality] for modality in mode.query)]
    lead = next((m for m in ("sketch", "text", "ir", "rgb") if m in mode.query), "rgb")
    query = np.asarray([lenders[lead][label] for label in asking], dtype=np.int64)
    partners = {m: np.asarray([lenders[m][label] for label in asking], dtype=np.int64) for m in mode.query}
    return Sides(query, gallery, len(everyone) - len(asking), partners)


def _preference(rows: Rows, row: int, modality: str) -> int:
    """The drawn sketch before one made from a photograph, and text that stands beside it before other text."""
    return 0 if modality in ("rgb", "ir") or rows.captured[row] == "sketch" else 1


@dataclass(frozen=True, slots=True)
class Styles:
    """Sketches of some artists of Market-Sketch-1K ask.

    Args:
        styles: letters out of A to F.
        together: all sketches of a person ask as one query.
    """

    styles: str = STYLES
    together: bool = False
    draws = False

    def __call__(self, mode: QueryMode, rows: Rows, trial: int) -> Sides:
        """Choose rows by the artists' lists that the manifest keeps.

        Raises:
            UserError: when it keeps none.
        """
        kept = rows.lists.get(MASK, {}).get("styles")
        if kept is None:
            raise UserError("the manifest keeps no styles of Market-Sketch-1K: ingest the data set again")
        drawn = [sample for style in self.styles for sample in kept.get(style, [])]
        chosen = np.isin(rows.sample_ids, drawn)
        asking = chosen & np.isin(rows.roles, QUERY_ROLES)
        query = np.flatnonzero(asking & has(rows, mode.query))
        able = np.isin(rows.roles, GALLERY_ROLES) & (rows.captured == "rgb") & has(rows, mode.gallery)
        gallery, lacking = np.flatnonzero(able), int(asking.sum()) - len(query)
        if not self.together:
            return Sides(query, gallery, lacking)
        groups: dict[int, list[int]] = {}
        for row in query.tolist():
            groups.setdefault(int(rows.labels[row]), []).append(row)
        members = tuple(tuple(groups[label]) for label in sorted(groups))
        leads = np.asarray([rows_[0] for rows_ in members], dtype=np.int64)
        return Sides(leads, gallery, lacking, members=members)
