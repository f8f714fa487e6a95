"""Who asks, who answers, what is left out: the evaluation protocols, as data.

A protocol is a list of settings; a setting is one row of a result table. `plan` turns it into row numbers of a data
set, and `reidtrain.evaluate` ranks them. A new protocol is one entry of `PROTOCOLS`, under the name that its source
writes into the captures' `dataset` column.

What holds for all of them: a mode with text asks once per caption, any other once per image; a row takes part when it
has the modalities of its side; the roles of the captures say who is query and who is gallery, and the rows of a
training or validation split are both.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, cast

import numpy as np

from reidtrain.batch import SEVEN_MODES, QueryMode, parse_mode
from reidtrain.errors import UserError

if TYPE_CHECKING:
    from reidtrain.metrics import Exclude

QUERY_ROLES = ("query", "query+gallery", "val", "train")
GALLERY_ROLES = ("gallery", "query+gallery", "distractor", "val", "train")
NO_CAPTION = -1


class Rows(Protocol):
    """What a plan needs to know of a data set; `reidtrain.data.ReIDDataset` has it."""

    roles: np.ndarray
    labels: np.ndarray
    camids: np.ndarray
    image_ids: np.ndarray
    datasets: np.ndarray
    present: dict[str, np.ndarray]
    origin: dict[str, np.ndarray]
    caption_counts: np.ndarray


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
        gallery: `all`, or `one-per-camera`: one image drawn for each (identity, camera) in each trial.
        trials: how many draws are averaged.
    """

    mode: QueryMode
    name: str = ""
    exclude: Exclude | Literal["as-needed"] = "as-needed"
    unique_identities: bool = False
    gallery: Literal["all", "one-per-camera"] = "all"
    trials: int = 1

    def __post_init__(self) -> None:
        if self.trials < 1 or (self.gallery == "all" and self.trials > 1):
            raise ValueError(f"trials is {self.trials}: only a gallery that is drawn has more than one")
        if not self.name:
            object.__setattr__(self, "name", self.mode.name)


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A protocol: its settings in the order in which they are printed, and what it is about."""

    name: str
    about: str
    settings: tuple[Setting, ...]


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
    """

    setting: Setting
    query_rows: np.ndarray
    captions: np.ndarray
    gallery_rows: np.ndarray
    exclude: Exclude
    query_keys: np.ndarray | None
    gallery_keys: np.ndarray | None
    lacking: int


PHOTOGRAPHS = parse_mode("R->R")
_SEVEN = tuple(Setting(mode) for mode in SEVEN_MODES)
_TEXT = parse_mode("T->R")

PROTOCOLS: dict[str, Benchmark] = {
    "generic": Benchmark(
        "generic", "seven query modes and photographs, on any manifest", (*_SEVEN, Setting(PHOTOGRAPHS))
    ),
    "market1501": Benchmark(
        "market1501",
        "photographs, same camera excluded, distractors kept; other modes where the manifest has their modalities",
        (Setting(PHOTOGRAPHS, exclude="same-camera"), *_SEVEN),
    ),
    "cuhk-pedes": Benchmark(
        "cuhk-pedes",
        "captions against all test images; with sketches also the rows of Tri-CUHK-PEDES, source image removed",
        (
            Setting(_TEXT, exclude="none"),
            Setting(_TEXT, name="T->R, source removed", exclude="source-image"),
            *(Setting(mode, exclude="source-image") for mode in SEVEN_MODES[1:]),
            Setting(PHOTOGRAPHS),
        ),
    ),
}


def choose_protocol(datasets: Sequence[str], name: str | None = None) -> Benchmark:
    """Choose a protocol by its name, or by the data sets that a manifest holds.

    Args:
        datasets: values of the captures' `dataset` column.
        name: of the protocol; None chooses the one named as the only data set, else `generic`.

    Returns:
        The protocol.

    Raises:
        UserError: for an unknown name.

    Example:
        >>> choose_protocol(["my-crops"]).name
        'generic'
    """
    if name is None:
        found = set(datasets)
        return PROTOCOLS[found.pop()] if len(found) == 1 and found <= PROTOCOLS.keys() else PROTOCOLS["generic"]
    if name not in PROTOCOLS:
        raise UserError(f"protocol {name!r} is unknown: choose one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def choose_settings(protocol: Benchmark, modes: Sequence[str] | None) -> tuple[Setting, ...]:
    """Choose settings of a protocol by their name or query mode.

    Args:
        protocol: whose settings come first; a mode that it does not know becomes a setting of its own.
        modes: names of settings, or query modes such as `T+S->R`; None means all settings of the protocol.

    Returns:
        The settings, in the order asked for.

    Raises:
        UserError: for something that is neither.
    """
    if modes is None:
        return protocol.settings
    by_name = {setting.name: setting for setting in protocol.settings}
    chosen: dict[str, Setting] = {}
    for text in modes:
        setting = by_name.get(text) or by_name.get(parse_mode(text).name) or Setting(parse_mode(text))
        chosen[setting.name] = setting
    return tuple(chosen.values())


def missing(setting: Setting, rows: Rows) -> str | None:
    """Say why a setting cannot be done on these rows, None where it can."""
    query, gallery = _sides(setting, rows)
    if not len(query):
        return _why(rows, QUERY_ROLES, setting.mode.query, "query")
    if not len(gallery):
        return _why(rows, GALLERY_ROLES, setting.mode.gallery, "gallery")
    return None


def plan(setting: Setting, rows: Rows, trial: int = 0) -> Task:
    """Resolve a setting on the rows of a data set.

    Args:
        setting: what to resolve.
        rows: the data set.
        trial: which draw of the gallery.

    Returns:
        The task; without queries or gallery where `missing` has something to say.
    """
    query, gallery = _sides(setting, rows)
    lacking = int(np.isin(rows.roles, QUERY_ROLES).sum()) - len(query)
    if setting.gallery == "one-per-camera":
        gallery = _one_per_camera(gallery, rows, trial)
    exclude = _resolve(setting, rows, query, gallery)
    if "text" in setting.mode.query:
        counts = rows.caption_counts[query]
        captions = np.concatenate([np.arange(count) for count in counts]) if len(query) else counts
        query = np.repeat(query, counts)
    else:
        captions = np.full(len(query), NO_CAPTION)
    keys = _keys(exclude, rows)
    return Task(
        setting=setting,
        query_rows=query,
        captions=captions,
        gallery_rows=gallery,
        exclude=exclude,
        query_keys=None if keys is None else keys[query],
        gallery_keys=None if keys is None else keys[gallery],
        lacking=lacking,
    )


def _sides(setting: Setting, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    sides = []
    for roles, modalities in ((QUERY_ROLES, setting.mode.query), (GALLERY_ROLES, setting.mode.gallery)):
        usable = np.isin(rows.roles, roles)
        for modality in modalities:
            usable = usable & _present(rows, modality)
        sides.append(np.flatnonzero(usable))
    return sides[0], sides[1]


def _present(rows: Rows, modality: str) -> np.ndarray:
    found = cast(Mapping[str, np.ndarray], rows.present).get(modality)
    return np.zeros(len(rows.roles), dtype=bool) if found is None else found


def _why(rows: Rows, roles: Sequence[str], modalities: Sequence[str], side: str) -> str:
    having = np.isin(rows.roles, roles)
    if not having.any():
        return f"no row has the role of a {side} (the roles are {', '.join(sorted(set(rows.roles.tolist())))})"
    gone = [modality for modality in modalities if not (_present(rows, modality) & having).any()]
    return f"no {side} row has {' and '.join(gone or modalities)}{'' if gone else ' at once'}"


def _resolve(setting: Setting, rows: Rows, query: np.ndarray, gallery: np.ndarray) -> Exclude:
    if setting.exclude != "as-needed":
        return setting.exclude
    if setting.mode == PHOTOGRAPHS:
        known = (rows.camids[query] >= 0).any() and (rows.camids[gallery] >= 0).any()
        return "same-camera" if known else "source-image"
    synthetic = any((rows.origin[modality][query] == "synthetic").any() for modality in setting.mode.query)
    return "source-image" if synthetic or np.intersect1d(query, gallery).size else "none"


def _keys(exclude: Exclude, rows: Rows) -> np.ndarray | None:
    if exclude == "none":
        return None
    if exclude == "source-image":
        return rows.image_ids
    # Where the camera is unknown, the image stands for it: two unknown cameras are not the same one.
    return np.where(rows.camids >= 0, rows.camids, -2 - rows.image_ids)


def _one_per_camera(gallery: np.ndarray, rows: Rows, trial: int) -> np.ndarray:
    """Draw as common SYSU-MM01 and LLCM code does: `random` seeded by the trial; identities in order, then cameras."""
    draw = random.Random(trial)
    groups: dict[tuple[int, int], list[int]] = {}
    for row in gallery:  # rows are in the order of their sample ids
        groups.setdefault((int(rows.labels[row]), int(rows.camids[row])), []).append(int(row))
    return np.asarray([draw.choice(groups[key]) for key in sorted(groups)], dtype=np.int64)
