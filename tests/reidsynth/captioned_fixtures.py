"""Draws ICFG-PEDES, RSTPReid and the sketch trees of the Tri-* data sets as their owners ship them."""

from __future__ import annotations

import json
from pathlib import Path

from fixtures import SHIRTS, write_image

ICFG_PEDES = (
    ("train", "test/0627/0627_010_05_0303afternoon_1591_0.jpg", 0),  # a row of train below the folder test
    ("train", "train/0001/0001_000_01_0113morning_0010_1_ex.jpg", 1),
    ("train", "train/0001/0001_003_14_0113noon_0410_0.jpg", 1),
    ("test", "test/0700/0700_000_03_0302morning_0001_2.jpg", 3102),
    ("test", "train/0002/0002_001_03_0303noon_0020_0.jpg", 3103),
)


def icfg_pedes(root: Path, annotation: str = "ICFG-PEDES.json") -> Path:
    """ICFG-PEDES: MSMT17's names, one caption a row, no row of val."""
    base = root / "ICFG-PEDES"
    rows = []
    for seed, (split, path, pid) in enumerate(ICFG_PEDES):
        write_image(base / "imgs" / path, seed, shirt=list(SHIRTS)[pid % len(SHIRTS)])
        caption = f"A long sentence about person {pid} in image {seed}."
        tokens = [caption.lower().rstrip(".").split()]
        rows.append({"split": split, "captions": [caption], "file_path": path, "processed_tokens": tokens, "id": pid})
    (base / annotation).write_text(json.dumps(rows))
    return base


RSTPREID = (("train", 0), ("train", 1), ("val", 3701), ("test", 3901))


def rstpreid(root: Path) -> Path:
    """RSTPReid: five images of each person, flat, two captions each; the path's key is `img_path`."""
    base = root / "RSTPReid"
    rows = []
    for split, pid in RSTPREID:
        for index in range(5):
            path = f"{pid:04d}_c{index * 3 + 2}_{index:04d}.jpg"
            write_image(base / "imgs" / path, index, shirt=list(SHIRTS)[pid % len(SHIRTS)])
            captions = [f"Sentence {n} about image {index} of person {pid}." for n in range(2)]
            rows.append({"id": pid, "img_path": path, "captions": captions, "split": split})
    (base / "data_captions.json").write_text(json.dumps(rows))
    return base


def sketch_tree(images: Path, sketches: Path) -> Path:
    """A sketch of every photograph below `images`, at the same relative path, always `.jpg`."""
    for number, path in enumerate(sorted(images.rglob("*.*"))):
        write_image((sketches / path.relative_to(images)).with_suffix(".jpg"), 1000 + number)
    return sketches
