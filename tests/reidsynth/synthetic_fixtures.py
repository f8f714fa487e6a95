"""Draws SYNTH-PEDES and FineGPR as their owners ship them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fixtures import write_image

SYNTH_PEDES = (
    ("Part1/7/1.jpg", 7, "man,black hair,black shirt,pink shorts,black shoes,unknown", 2),
    ("Part1/7/2.jpg", 7, "man,black hair,black shirt,pink shorts,black shoes,red backpack", 3),
    ("Part1/10/1.jpg", 10, "woman,long brown hair,striped white t-shirt,unknown,unknown,black cap", 2),
    ("Part11/312320/1.jpg", 312320, "unknown,unknown,unknown,unknown,unknown,sunglasses", 2),
    ("Part2/31000/1.jpg", 31000, "man,hair", 2),  # not six fields
)


def synth_pedes_rows() -> list[dict[str, Any]]:
    """Rows of `synthpedes_dataset.json`: attributes are one text in a list."""
    return [
        {
            "id": pid,
            "file_path": path,
            "attributes": [attributes],
            "captions": [f"Description {n} of person {pid}, café." for n in range(captions)],
            "prompt_caption": [f"A person {pid} with attributes."],
        }
        for path, pid, attributes, captions in SYNTH_PEDES
    ]


def synth_pedes(root: Path, rows: list[dict[str, Any]] | None = None) -> Path:
    """SYNTH-PEDES in the order of the annotation, which is not that of the paths."""
    base = root / "SYNTH-PEDES"
    for seed, (path, *_) in enumerate(SYNTH_PEDES):
        write_image(base / path, seed)
    text = json.dumps(synth_pedes_rows() if rows is None else rows, indent=4, ensure_ascii=False)
    (base / "synthpedes_dataset.json").write_text(text, encoding="utf-8")
    return base


FINEGPR = (
    "0001/0001_c01_w01_l01_p01.jpg",
    "0001/0001_c36_w07_l07_p09.jpg",
    "0001/0001_c10_w02_l03_p04.jpg",
    "0002/0002_c01_w01_l01_p01.jpg",
    "0002/0002_c28_w05_l01_p02.jpg",
)


def finegpr(root: Path) -> Path:
    """FineGPR in folders of persons."""
    base = root / "FineGPR"
    for seed, name in enumerate(FINEGPR):
        write_image(base / name, seed)
    return base


def finegpr_subset(root: Path) -> Path:
    """FineGPR_subset: flat, four viewpoints of each person."""
    base = root / "FineGPR_subset"
    for pid in (1, 1150):
        for camera in (1, 10, 19, 28):
            write_image(base / f"{pid:04d}_c{camera:02d}_w01_l02_p03.jpg", pid + camera)
    return base
