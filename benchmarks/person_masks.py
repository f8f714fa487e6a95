"""People with exact masks, for the benchmarks of background removal; and how well a mask fits.

`composites` puts the people of DIR/humans/*.png (with alpha) over DIR/backgrounds/*.png; `photographs` crops people out
of photographs by the polygons of DIR/person_polygons.json (COCO's layout, one record with its annotations for each
image). Both cut with a margin around the person, as a detector does, and bring the crop to one height.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw

Pair = tuple[np.ndarray, np.ndarray]
"""A crop, uint8 (H, W, 3), and its true mask, bool (H, W)."""

_SMALLEST = 60  # pixels of height: smaller people have no outline to speak of


def composites(folder: Path, margin: float, height: int) -> Iterator[Pair]:
    """Every person over every background."""
    for person in sorted((folder / "humans").glob("*.png")):
        front = np.asarray(Image.open(person).convert("RGBA"))
        for behind in sorted((folder / "backgrounds").glob("*.png")):
            back = np.asarray(Image.open(behind).convert("RGB").resize(front.shape[1::-1]))
            share = front[:, :, 3:] / 255.0
            photo = (front[:, :, :3] * share + back * (1 - share)).round().astype(np.uint8)
            yield _crop(photo, front[:, :, 3] > 127, margin, height)


def photographs(folder: Path, margin: float, height: int) -> Iterator[Pair]:
    """Every person who has polygons and is not too small."""
    for photo, truth in _people(folder):
        yield _crop(photo, truth, margin, height)


def moved(folder: Path, backgrounds: Path, margin: float, height: int) -> Iterator[Pair]:
    """Every person of the photographs, cut out and put over every background."""
    for photo, truth in _people(folder):
        for behind in sorted(backgrounds.glob("*.png")):
            back = np.asarray(Image.open(behind).convert("RGB").resize(photo.shape[1::-1]))
            yield _crop(np.where(truth[:, :, None], photo, back), truth, margin, height)


def _people(folder: Path) -> Iterator[Pair]:
    for record in json.loads((folder / "person_polygons.json").read_text()):
        photo = Image.open(folder / record["image"]["file_name"]).convert("RGB")
        for person in record["annotations"]:
            if isinstance(person["segmentation"], dict):
                continue  # run-length coded: a crowd
            drawn = Image.new("L", photo.size)
            for polygon in person["segmentation"]:
                ImageDraw.Draw(drawn).polygon(polygon, fill=255)
            truth = np.asarray(drawn) > 127
            if truth.any(1).sum() >= _SMALLEST:
                yield np.asarray(photo), truth


def _crop(photo: np.ndarray, truth: np.ndarray, margin: float, height: int) -> Pair:
    rows, columns = np.flatnonzero(truth.any(1)), np.flatnonzero(truth.any(0))
    down, across = (round(margin * (axis[-1] - axis[0] + 1)) for axis in (rows, columns))
    part = np.s_[
        max(0, rows[0] - down) : rows[-1] + 1 + down,
        max(0, columns[0] - across) : columns[-1] + 1 + across,
    ]
    width = round(photo[part].shape[1] * height / photo[part].shape[0])
    small = cv2.resize(photo[part], (width, height), interpolation=cv2.INTER_AREA)
    mask = cv2.resize(truth[part].astype(np.uint8) * 255, (width, height), interpolation=cv2.INTER_AREA)
    return small, mask > 127


def known_sets(folder: Path) -> dict[str, list[Pair]]:
    """Both kinds at both margins, 256 pixels high: `folder` holds `canvas` (composites) and `coco` (photographs)."""
    found = {}
    for margin in (0.05, 0.12):
        found[f"composites, {margin:.0%} margin"] = list(composites(folder / "canvas", margin, 256))
        found[f"photographs, {margin:.0%} margin"] = list(photographs(folder / "coco", margin, 256))
    return found


def overlap(found: np.ndarray, truth: np.ndarray) -> float:
    """Intersection over union of two masks."""
    return float((found & truth).sum() / max(1, (found | truth).sum()))
