"""Draws small trees with the layouts, names and annotation rows that the data sets' owners ship."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from reidsynth.images import encode

SHIRTS = {"red": (185, 40, 45), "blue": (50, 95, 185), "green": (55, 130, 65), "yellow": (225, 195, 60)}


def crop(seed: int = 0, size: tuple[int, int] = (64, 32), shirt: str = "red") -> np.ndarray:
    """A figure in a coloured shirt and black trousers before a grey wall, uint8 (H, W, 3)."""
    height, width = size
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), (150, 150, 145), dtype=np.float64)
    y, x = np.mgrid[0:height, 0:width]
    y, x = y / height, np.abs(x + 0.5 - width / 2) / width
    image[(x < 0.10) & (y > 0.05) & (y < 0.19)] = (205, 160, 130)
    image[(x < 0.24) & (y >= 0.19) & (y < 0.52)] = SHIRTS[shirt]
    image[(x > 0.03) & (x < 0.19) & (y >= 0.52) & (y < 0.94)] = (30, 30, 34)
    return np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)


def crop_mask(size: tuple[int, int] = (64, 32)) -> np.ndarray:
    """The figure's pixels, uint8 (H, W) in {0, 255}."""
    height, width = size
    y, x = np.mgrid[0:height, 0:width]
    y, x = y / height, np.abs(x + 0.5 - width / 2) / width
    head, shirt = (x < 0.10) & (y > 0.05) & (y < 0.19), (x < 0.24) & (y >= 0.19) & (y < 0.52)
    legs = (x > 0.03) & (x < 0.19) & (y >= 0.52) & (y < 0.94)
    return np.where(head | shirt | legs, 255, 0).astype(np.uint8)


def write_image(path: Path, seed: int = 0, shirt: str = "red") -> Path:
    """Write a drawn crop in the format that the extension names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = crop(seed, shirt=shirt)
    if path.suffix.lower() in (".jpg", ".jpeg"):
        path.write_bytes(encode(image, "jpeg"))
    else:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, {".png": "PNG", ".bmp": "BMP"}[path.suffix.lower()])
        path.write_bytes(buffer.getvalue())
    return path


MARKET = {
    "bounding_box_train": (
        "0002_c1s1_000451_03.jpg",
        "0002_c2s1_000801_01.jpg",
        "0007_c3s3_077419_03.jpg",
        "0007_c1s6_028546_01.jpg",
    ),
    "query": ("0001_c1s1_001051_00.jpg", "0003_c4s6_015641_00.jpg"),
    "bounding_box_test": (
        "-1_c1s1_000401_03.jpg",
        "-1_c3s2_112253_02.jpg",
        "0000_c1s1_000151_01.jpg",
        "0001_c1s1_002301_01.jpg",
        "0001_c3s1_000001_01.jpg",
        "0003_c4s6_015642_01.jpg",  # the same camera as its query: that query has no valid match
        "Thumbs.db",
    ),
    "gt_bbox": ("0001_c1s1_001051_00.jpg",),
}


def market1501(root: Path) -> Path:
    """Market-1501: junk, a distractor, a query whose only match is of its own camera, and the owners' Thumbs.db."""
    base = root / "Market-1501-v15.09.15"
    for folder, names in MARKET.items():
        for seed, name in enumerate(names):
            if name.endswith(".jpg"):
                write_image(base / folder / name, seed, shirt=list(SHIRTS)[int(name[:4].strip("-_c")) % len(SHIRTS)])
            else:
                (base / folder / name).write_bytes(b"\0")
    (base / "gt_query").mkdir()
    (base / "gt_query" / "0001_c1s1_001051_00_good.mat").write_bytes(b"MATLAB 5.0")
    return base


CUHK_PEDES = (
    ("train", "CUHK03/1_1.jpg", 1, 2),
    ("train", "CUHK03/1_2.jpg", 1, 3),
    ("train", "Market/0013_c5s1_000426_00.jpg", 2, 2),
    ("train", "Market/0013_c1s1_000426_01.jpg", 2, 2),
    ("train", "train_query/p11600_s14885.jpg", 3, 2),  # a person with one image
    ("val", "cam_a/001_45.bmp", 11004, 2),
    ("val", "cam_b/001_90.bmp", 11004, 2),
    ("test", "train_query/p8130_s10932.jpg", 12004, 2),  # a test row below train_query: folders are no splits
    ("test", "test_query/p2733_s3580.jpg", 12004, 2),
)


def cuhk_pedes_rows() -> list[dict[str, object]]:
    """Rows of `reid_raw.json`: train, then val, then test, tokens parallel to captions."""
    rows: list[dict[str, object]] = []
    for split, path, pid, captions in CUHK_PEDES:
        told = [f"Sentence {n} about person {pid}, who wears a red shirt and black trousers." for n in range(captions)]
        tokens = [caption.lower().rstrip(".").split() for caption in told]
        rows.append({"split": split, "captions": told, "file_path": path, "processed_tokens": tokens, "id": pid})
    return rows


def cuhk_pedes(root: Path) -> Path:
    """CUHK-PEDES with `reid_raw.json` and the older annotation beside it."""
    base = root / "CUHK-PEDES"
    for seed, (_, path, pid, _) in enumerate(CUHK_PEDES):
        write_image(base / "imgs" / path, seed, shirt=list(SHIRTS)[pid % len(SHIRTS)])
    rows = cuhk_pedes_rows()
    (base / "reid_raw.json").write_text(json.dumps(rows))
    old = [{"id": row["id"], "file_path": row["file_path"], "captions": row["captions"]} for row in rows]
    (base / "caption_all.json").write_text(json.dumps(old))
    return base
