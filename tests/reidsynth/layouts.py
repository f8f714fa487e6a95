"""Draws small trees with the layouts of visible-infrared data sets, of data sets by lists, and of rendered people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from fixtures import write_image

SYSU = {  # person -> cameras; two images by each
    1: (1, 2, 3, 4, 5, 6),
    2: (3, 4, 5, 6),  # never indoors before a colour camera: no match in an indoor search
    10: (1, 2, 3, 4, 5),  # none by camera 6
    12: (2, 3, 6),
    333: (1, 2, 3),
    500: (3, 4),  # in no list
}
SYSU_LISTS = {"train_id": (1, 12), "val_id": (333,), "test_id": (2, 10), "available_id": (1, 2, 10, 12, 333)}


def sysu_mm01(root: Path) -> Path:
    """SYSU-MM01: colour and infrared cameras, three lists on one line each, a person whom no list names."""
    base = root / "SYSU-MM01"
    for pid, cameras in SYSU.items():
        for camera in cameras:
            for number in (1, 2):
                write_image(base / f"cam{camera}" / f"{pid:04d}" / f"{number:04d}.jpg", seed=pid + camera + number)
    (base / "exp").mkdir()
    for name, ids in SYSU_LISTS.items():
        (base / "exp" / f"{name}.txt").write_text(",".join(map(str, ids)) + "\n")
    return base


LLCM_TRAIN = (  # folder, camera, label: folders 3 and 8 are one person
    (3, 1, 0),
    (5, 2, 1),
    (8, 4, 0),
)
LLCM_TEST = ((20, (1, 3)), (21, (2, 4)), (99, (1,)))  # 99 is not in test_id.txt


def llcm(root: Path) -> Path:
    """LLCM below a folder whose name contains `cam`; camera 3 has no infrared."""
    base = root / "camera data" / "LLCM"
    (base / "idx").mkdir(parents=True)
    for sensor in ("vis", "nir"):
        lines = []
        for folder, camera, label in LLCM_TRAIN:
            for frame in (1, 2):
                path = f"{sensor}/{folder:04d}/{folder:04d}_c{camera:02d}_s100000_f{frame}_{sensor}.jpg"
                write_image(base / path, seed=folder + frame)
                lines.append(f"{path} {label}")
        (base / "idx" / f"train_{sensor}.txt").write_text("\n".join(lines) + "\n")
        listed = []
        for folder, cameras in LLCM_TEST:
            for camera in cameras:
                if (sensor, camera) == ("nir", 3):
                    continue
                name = f"{folder:04d}_c{camera:02d}_s200000_f1_{sensor}.jpg"
                path = f"test_{sensor}/cam{camera}/{folder:04d}/{name}"
                write_image(base / path, seed=folder + camera)
                if folder != 99:
                    listed.append(f"{path} {folder}")
        (base / "idx" / f"test_{sensor}.txt").write_text("\n".join(listed) + "\n")
    (base / "idx" / "test_id.txt").write_text("20,21")
    return base


MSMT17 = {
    "train": ("0000/0000_000_01_0303morning_0015_0.jpg", "0001/0001_000_14_0303noon_0033_1_ex.jpg"),
    "val": ("0000/0000_001_02_0303morning_0016_0.jpg",),
    "query": ("0000/0000_000_05_0302afternoon_0100_0.jpg",),
    "gallery": ("0000/0000_001_15_0302afternoon_0110_2_ex.jpg", "0007/0007_000_03_0114noon_0200_0.jpg"),
}


def msmt17(root: Path, release: str = "V1") -> Path:
    """MSMT17: people of train and test both counted from 0, one image that no list names."""
    train, test = {"V1": ("train", "test"), "V2": ("mask_train_v2", "mask_test_v2")}[release]
    base = root / f"MSMT17_{release}"
    for seed, (name, files) in enumerate(MSMT17.items()):
        for number, file in enumerate(files):
            write_image(base / (train if name in ("train", "val") else test) / file, seed=10 * seed + number)
        (base / f"list_{name}.txt").write_text("".join(f"{file} {int(file[:4])}\n" for file in files))
    write_image(base / test / "0007/0007_001_03_0114noon_0201_0.jpg", seed=77)
    return base


CUHK03 = (  # file, label, list
    ("1_001_1_01.png", 3, "train_idx"),
    ("1_001_2_06.png", 3, "train_idx"),
    ("2_017_1_01.png", 850, "query_idx"),
    ("2_017_1_02.png", 850, "gallery_idx"),
    ("2_017_2_06.png", 850, "gallery_idx"),
    ("2_017_2_07.png", 850, "query_idx"),
)


def cuhk03_lists(root: Path) -> Path:
    """CUHK03-NP with MATLAB lists of seven keys, numbers from 1, for both kinds of boxes."""
    from scipy.io import savemat

    base = root / "cuhk03"
    for word, shift in (("detected", 0), ("labeled", 50)):
        for seed, (file, _, _) in enumerate(CUHK03):
            write_image(base / f"images_{word}" / file, seed=seed + shift)
        indices = {
            key: np.array([[i] for i, row in enumerate(CUHK03, 1) if row[2] == key], np.uint16)
            for key in ("train_idx", "query_idx", "gallery_idx")
        }
        names = np.empty((len(CUHK03), 1), object)
        names[:, 0] = [file for file, _, _ in CUHK03]
        arrays = {
            "filelist": names,
            "labels": np.array([[label] for _, label, _ in CUHK03], np.uint16),
            "camId": np.array([[int(file.split("_")[2])] for file, _, _ in CUHK03], np.uint8),
            "train_num": np.array([[767]]),
        }
        savemat(base / f"cuhk03_new_protocol_config_{word}.mat", arrays | indices, do_compression=True)
    return base


def cuhk03_folders(root: Path) -> Path:
    """CUHK03-NP in the shape of Market-1501."""
    base = root / "cuhk03-np"
    for word in ("detected", "labeled"):
        for seed, (folder, name) in enumerate(
            (
                ("bounding_box_train", "0003_c1_1.png"),
                ("bounding_box_train", "0003_c2_6.png"),
                ("query", "0850_c1_1.png"),
                ("bounding_box_test", "0850_c1_2.png"),
                ("bounding_box_test", "0850_c2_6.png"),
            )
        ):
            write_image(base / word / folder / name, seed=seed)
    return base


def randperson(root: Path) -> Path:
    """RandPerson's subset: two scenes whose cameras bear the same number."""
    base = root / "randperson"
    for seed, name in enumerate(
        ("000000_s00_c00_f000228.jpg", "000000_s01_c00_f000300.jpg", "000001_s10_c01_f000004.jpg", "readme.png")
    ):
        write_image(base / "subset" / name, seed=seed)
    return base


def regdb(root: Path) -> Path:
    """RegDB: four people, two images by each camera, all ten halvings."""
    base = root / "RegDB"
    (base / "idx").mkdir(parents=True)
    for side, mark in (("Visible", "v"), ("Thermal", "t")):
        for pid in (1, 2, 3, 4):
            for frame in (10, 20):
                write_image(base / side / str(pid) / f"male_front_{mark}_{frame:05d}_{pid}.bmp", seed=pid * 100 + frame)
        for trial in range(1, 11):
            training = (1, 2) if trial % 2 else (2, 4)
            for half in ("train", "test"):
                people = [pid for pid in (1, 2, 3, 4) if (pid in training) == (half == "train")]
                lines = [
                    f"{side}/{pid}/male_front_{mark}_{frame:05d}_{pid}.bmp {label}"
                    for label, pid in enumerate(people)
                    for frame in (10, 20)
                ]
                (base / "idx" / f"{half}_{side.lower()}_{trial}.txt").write_text("\n".join(lines))
    return base


VOC = (
    """<annotation><filename>{name}</filename><size><width>32</width><height>64</height></size>{objects}</annotation>"""
)
OBJECT = (
    "<object><name>{label}</name><bndbox><xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox>"
    "</object>"
)
LLVIP = {"train": ("010001", "010002", "020001"), "test": ("190001",)}


def llvip(root: Path) -> Path:
    """LLVIP: equal names on both sides; boxes of people, one of a car, one beyond the border."""
    base = root / "LLVIP"
    (base / "Annotations").mkdir(parents=True)
    for split, names in LLVIP.items():
        for seed, name in enumerate(names):
            write_image(base / "visible" / split / f"{name}.jpg", seed=int(name))
            write_image(base / "infrared" / split / f"{name}.jpg", seed=int(name) + 1 + seed, shirt="blue")
            objects = OBJECT.format(2, 4, 12, 60, label="person")
            if name == "010001":
                objects += OBJECT.format(0, 0, 5, 5, label="car") + OBJECT.format(20, 30, 99, 80, label="person")
            (base / "Annotations" / f"{name}.xml").write_text(VOC.format(name=f"{name}.jpg", objects=objects))
    return base
