"""From a setting to row numbers: queries per caption or per image, who is left out, and by which key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from reidtrain.batch import parse_mode
from reidtrain.errors import UserError
from reidtrain.protocols.settings import GALLERY_ROLES, NO_CAPTION, QUERY_ROLES, Rows, Setting, Sides, Task, Unit, has

if TYPE_CHECKING:
    from reidtrain.metrics import Exclude

PHOTOGRAPHS = parse_mode("R->R")


def missing(setting: Setting, rows: Rows) -> str | None:
    """Say why a setting cannot be done on these rows, None where it can."""
    try:
        sides = setting.select(setting.mode, rows, 0)
    except UserError as error:  # a list that the protocol needs is not there
        return str(error)
    if not len(sides.query):
        return _why(rows, QUERY_ROLES, setting.mode.query, "query")
    if not len(sides.gallery):
        return _why(rows, GALLERY_ROLES, setting.mode.gallery, "gallery")
    return None


def plan(setting: Setting, rows: Rows, trial: int = 0) -> Task:
    """Resolve a setting on the rows of a data set.

    Args:
        setting: what to resolve.
        rows: the data set.
        trial: which draw.

    Returns:
        The task; without queries or gallery where `missing` has something to say.
    """
    sides = setting.select(setting.mode, rows, trial)
    exclude = _resolve(setting, rows, sides)
    places, captions, units = _asked(setting, rows, sides)
    keys = _keys(exclude, rows)
    owners = _key_rows(sides, exclude)[places]
    return Task(
        setting=setting,
        query_rows=sides.query[places],
        captions=captions,
        gallery_rows=sides.gallery,
        exclude=exclude,
        query_keys=None if keys is None else keys[owners],
        gallery_keys=None if keys is None else keys[sides.gallery],
        lacking=sides.lacking,
        units=units,
    )


def _asked(
    setting: Setting, rows: Rows, sides: Sides
) -> tuple[np.ndarray, np.ndarray, tuple[tuple[Unit, ...], ...] | None]:
    """The queries of the sides: place in `sides.query`, caption, and composed inputs if there are any."""
    count = len(sides.query)
    places, captions = np.arange(count), np.full(count, NO_CAPTION)
    if sides.units is not None:
        return places, captions, sides.units
    lenders = {modality: sides.partners.get(modality, sides.query) for modality in setting.mode.query}
    if "text" in lenders and sides.members is None:
        counts = rows.caption_counts[lenders["text"]]
        captions = np.concatenate([np.arange(number) for number in counts]) if count else counts
        places = np.repeat(places, counts)
    if sides.members is not None:
        groups = (tuple(_unit(setting, dict.fromkeys(lenders, row), 0) for row in rows_) for rows_ in sides.members)
        return places, captions, tuple(groups)
    if not sides.partners:
        return places, captions, None
    units = tuple(
        (_unit(setting, {modality: int(lender[place]) for modality, lender in lenders.items()}, int(caption)),)
        for place, caption in zip(places, captions, strict=True)
    )
    return places, captions, units


def _unit(setting: Setting, lenders: dict[str, int], caption: int) -> Unit:
    return tuple(
        (modality, lenders[modality], caption if modality == "text" else NO_CAPTION) for modality in setting.mode.query
    )


def _why(rows: Rows, roles: Sequence[str], modalities: tuple[str, ...], side: str) -> str:
    having = np.isin(rows.roles, roles)
    if not having.any():
        return f"no row has the role of a {side} (the roles are {', '.join(sorted(set(rows.roles.tolist())))})"
    gone = [modality for modality in modalities if not (has(rows, (modality,)) & having).any()]
    return f"no {side} row has {' and '.join(gone or modalities)}{'' if gone else ' at once'}"


def _resolve(setting: Setting, rows: Rows, sides: Sides) -> Exclude:
    if setting.exclude != "as-needed":
        return setting.exclude
    if setting.mode == PHOTOGRAPHS:
        known = (rows.camids[sides.query] >= 0).any() and (rows.camids[sides.gallery] >= 0).any()
        return "same-camera" if known else "source-image"
    lenders = {modality: sides.partners.get(modality, sides.query) for modality in setting.mode.query}
    synthetic = any((rows.origin[modality][lender] == "synthetic").any() for modality, lender in lenders.items())
    seen = np.intersect1d(_key_rows(sides, "source-image"), sides.gallery).size
    return "source-image" if synthetic or seen else "none"


def _key_rows(sides: Sides, exclude: Exclude) -> np.ndarray:
    """(queries,) the row whose key counts: of a lent photograph where source images are excluded, else the query's."""
    if exclude != "source-image":
        return sides.query
    return sides.partners.get("rgb", sides.partners.get("ir", sides.query))


def _keys(exclude: Exclude, rows: Rows) -> np.ndarray | None:
    if exclude == "none":
        return None
    if exclude == "source-image":
        return rows.image_ids
    # Where the camera is unknown, the image stands for it: two unknown cameras are not the same one.
    return np.where(rows.camids >= 0, rows.camids, -2 - rows.image_ids)
