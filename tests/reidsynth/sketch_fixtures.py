"""Draws PKU-Sketch, Market-Sketch-1K and ORBench as their owners ship them."""

from __future__ import annotations

import json
from pathlib import Path

from fixtures import write_image

PKU_ARTISTS = {"a_2": (1, 10), "b_1": (2,), "c_1": (3,)}


def pku_sketch(root: Path) -> Path:
    """PKU-Sketch: unpadded person numbers, two photographs and one sketch each, artists' lists, a ReadMe."""
    base = root / "PKUSketchRE-ID_V1"
    for pid in (1, 2, 3, 10):
        write_image(base / f"photo/{pid}_05_{350 + pid}.jpg", pid)
        write_image(base / f"photo/{pid}_12_{1350 + pid}.jpg", pid + 100)
        write_image(base / f"sketch/{pid}.jpg", pid + 200)
    (base / "styleAnnotation").mkdir()
    for name, people in PKU_ARTISTS.items():
        (base / "styleAnnotation" / f"{name}.txt").write_text("\r\n".join(map(str, people)) + "\r\n")
    (base / "ReadMe.txt").write_text("names and counts")
    (base / "photo/Thumbs.db").write_bytes(b"\0")
    return base


def pku_lists(base: Path, folder: str = "idx") -> None:
    """Ten third-party split lists: path, person, camera, style."""
    (base / folder).mkdir()
    for trial in range(1, 11):
        test = (1, 2) if trial % 2 else (3, 10)
        for half in ("train", "test"):
            people = [pid for pid in (1, 2, 3, 10) if (pid in test) == (half == "test")]
            photos = [f"photo/{pid}_05_{350 + pid}.jpg {pid} 5 0" for pid in people]
            sketches = [f"sketch/{pid}.jpg {pid} 0 1" for pid in people]
            (base / folder / f"{half}_visible_{trial}.txt").write_text("\n".join(photos) + "\n")
            (base / folder / f"{half}_sketch_{trial}.txt").write_text("\n".join(sketches))


MASK1K = (
    "photo/train/0002_c1s1_000451_03.jpg",
    "photo/train/0002_c4s2_000801_01.jpg",
    "photo/query/0001_c1s1_001051_00.jpg",
    "photo/query/0003_c6s3_015641_00.jpg",
    "photo/query/0000_c1s1_000151_01.jpg",
    "photo/query/-1_c1s1_000401_03.jpg",
    *(f"sketch/{artist}/train/0002.jpg" for artist in "ABCDE"),
    *(f"sketch/{artist}/query/{pid}.jpg" for artist in "ABCDE" for pid in ("0001", "0003")),
    "sketch/F/query/0001.jpg",  # F drew neither 0002 nor 0003
)


def market_sketch_1k(root: Path) -> Path:
    """Market-Sketch-1K: equal file names by six artists, `photo/query` as gallery, attributes beside them."""
    base = root / "data"
    for seed, name in enumerate(MASK1K):
        write_image(base / name, seed)
    (base / "market_attribute.mat").write_bytes(b"MATLAB 5.0")
    return base


TEXT_7 = "A man in a black hooded jacket and black trousers."
TEXT_8 = "A woman with a red coat; she carries a bag."


def orbench(root: Path) -> Path:
    """ORBench: folders of persons whose numbers are not the annotation's, ordered query sets."""
    base = root / "ORBench"
    files = {
        "0001": ("vis/0001/0001_sysu_0005_cam1_0001_vis.jpg", "vis/0001/0001_sysu_0005_cam2_0003_vis.jpg"),
        "0605": ("vis/0605/0605_sysu_0117_cam1_0001_vis.jpg", "vis/0605/0605_sysu_0117_cam4_0002_vis.jpg"),
        "0606": ("vis/0606/0606_llcm_0200_vis.jpg",),
    }
    for person, photos in files.items():
        origin = photos[0].split("/")[2].split("_")[1:3]
        stem = f"{person}_{'_'.join(origin)}"
        drawn = (
            f"nir/{person}/{stem}_cam3_0001_nir.jpg",
            f"cp/{person}/{stem}_back_0_colorpencil.jpg",
            f"sk/{person}/{stem}_back_0_sketch.jpg",
        )
        for seed, name in enumerate((*photos, *drawn)):
            write_image(base / name, seed + int(person))
    write_image(base / "nir/0605/0605_sysu_0117_cam6_0009_nir.jpg", 9)  # stands in no query set
    train = [
        {"id": 1, "file_path": files["0001"][0], "caption": "First sentence."},
        {"id": 1, "file_path": files["0001"][1], "caption": "Another photograph."},
        {"id": 1, "file_path": files["0001"][0], "caption": "Second sentence."},
    ]
    nir = {person: f"nir/{person}/{stem}_cam3_0001_nir.jpg" for person, stem in _STEMS.items()}
    cp = {person: f"cp/{person}/{stem}_back_0_colorpencil.jpg" for person, stem in _STEMS.items()}
    sk = {person: f"sk/{person}/{stem}_back_0_sketch.jpg" for person, stem in _STEMS.items()}
    test = {
        "RGB_GALLERY": [[8, files["0606"][0]], [7, files["0605"][1]], [7, files["0605"][0]]],
        "NIR": [[8, nir["0606"]], [7, nir["0605"]]],
        "CP": [[7, cp["0605"]], [8, cp["0606"]]],
        "SK": [[7, sk["0605"]], [8, sk["0606"]]],
        "TEXT": [[8, TEXT_8], [7, TEXT_7]],
        "NIR+CP": [[7, nir["0605"], cp["0605"]]],
        "TEXT+SK": [[7, TEXT_7, sk["0605"]], [8, TEXT_8, sk["0606"]]],
        "SK+NIR+CP+TEXT": [[7, sk["0605"], nir["0605"], cp["0605"], TEXT_7]],
    }
    (base / "train_annos.json").write_text(json.dumps(train))
    (base / "test_gallery_and_queries.json").write_text(json.dumps(test))
    return base


_STEMS = {"0605": "0605_sysu_0117", "0606": "0606_llcm_0200"}
