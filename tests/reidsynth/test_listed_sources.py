"""MSMT17, CUHK03-NP and RandPerson: captures of colour cameras, by lists or by names."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from layouts import CUHK03, cuhk03_folders, cuhk03_lists, msmt17, randperson

from reidsynth.containment import on_record
from reidsynth.errors import UserError
from reidsynth.ingest import ingest
from reidsynth.sources import build_source, dropped

REAL = Path(__file__).parents[3] / "shared/data/crops/randperson_000000_s00_c00_f000228.jpg"


def source(name, root, **parameters):
    return build_source(name, {"root": str(root), **parameters})


class TestMsmt17:
    @pytest.mark.parametrize("release", ["V1", "V2"])
    def test_splits_come_from_the_lists(self, tmp_path, release):
        msmt = source("msmt17", msmt17(tmp_path, release))
        folder = {"V1": "test", "V2": "mask_test_v2"}[release]
        assert [(r.pid, r.camid, r.role) for r in msmt.records("train")] == [(0, 1, "train"), (1, 14, "train")]
        assert [(r.pid, r.camid, r.role) for r in msmt.records("val")] == [(0, 2, "val")]
        assert [(r.pid, r.camid, r.role, r.source_path) for r in msmt.records("test")] == [
            (0, 5, "query", f"{folder}/0000/0000_000_05_0302afternoon_0100_0.jpg"),
            (0, 15, "gallery", f"{folder}/0000/0000_001_15_0302afternoon_0110_2_ex.jpg"),
            (7, 3, "gallery", f"{folder}/0007/0007_000_03_0114noon_0200_0.jpg"),
        ]

    def test_val_may_train(self, tmp_path):
        msmt = source("msmt17", msmt17(tmp_path), val_in_train=True)
        assert msmt.splits() == ("train", "test")
        assert [(r.pid, r.camid, r.role) for r in msmt.records("train")] == [
            (0, 1, "train"),
            (0, 2, "train"),
            (1, 14, "train"),
        ]

    def test_all_may_train(self, tmp_path, run):
        """`MSMT17_all`: person 0 of the test is not person 0 of the training, and the data set has its own name."""
        manifest = ingest(tmp_path / "m", "msmt17", {"root": str(msmt17(tmp_path)), "all_in_train": True}, run=run)
        assert manifest.splits == ("train",)
        rows = manifest.captures("train").to_pylist()
        assert {row["dataset"] for row in rows} == {"msmt17-all"}
        assert [(row["sample_id"].split("/")[1], row["pid"], row["camid"], row["role"]) for row in rows] == [
            ("test", 10_000, 5, "train"),
            ("test", 10_000, 15, "train"),
            ("test", 10_007, 3, "train"),
            ("train", 0, 1, "train"),
            ("train", 0, 2, "train"),
            ("train", 1, 14, "train"),
        ]
        assert not list(source("msmt17", tmp_path, all_in_train=True).inconsistencies())
        assert on_record("msmt17-all", "msmt17") == {"msmt17"}

    def test_releases_are_told_apart(self, tmp_path, run):
        notes = []
        for release, folder in (("V1", "train"), ("V2", "mask_train_v2")):
            root = msmt17(tmp_path / release, release)
            manifest = ingest(tmp_path / f"m{release}", "msmt17", {"root": str(root)}, run=run)
            sample_id = manifest.captures("val").column("sample_id")[0].as_py()
            assert sample_id == f"msmt17/{folder}/0000/0000_001_02_0303morning_0016_0"
            notes.append(manifest.info.source.policy["note"])
        assert notes[0].startswith("Release V1. Results on V1 and V2 do not compare.")
        assert notes[1].startswith("Release V2, with masked faces.")

    def test_both_releases_side_by_side_need_a_choice(self, tmp_path):
        msmt17(tmp_path, "V1"), msmt17(tmp_path, "V2")
        with pytest.raises(UserError, match="holds both releases: choose one with --set release=V1 or release=V2"):
            source("msmt17", tmp_path).records("train")
        assert source("msmt17", tmp_path, release="V2").records("val")[0].source_path.startswith("mask_train_v2/")

    def test_images_without_a_list_are_counted(self, tmp_path):
        assert dropped(source("msmt17", msmt17(tmp_path))) == {"image that no list names": 1}

    def test_missing_list_is_named(self, tmp_path):
        root = msmt17(tmp_path)
        (root / "list_val.txt").unlink()
        with pytest.raises(UserError, match=r"it lacks list_val\.txt and holds"):
            source("msmt17", root).records("train")

    def test_another_folder_is_told_what_is_needed(self, tmp_path):
        (tmp_path / "images").mkdir()
        with pytest.raises(UserError, match=r"lacks train and test \(V1\) or mask_train_v2 and mask_test_v2 \(V2\)"):
            source("msmt17", tmp_path).records("train")

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("0000/0000_000_01_0303morning_0015_0.jpg 0", r"list_query\.txt: .* is in list_gallery\.txt|is in"),
            ("0000/holiday.jpg 0", "'0000/holiday.jpg' has a name outside the data set's grammar"),
            ("../train/0000/0000_000_01_0303morning_0015_0.jpg 0", r"leaves the data set's folder by '\.\.'"),
        ],
    )
    def test_hostile_lines(self, tmp_path, line, message):
        root = msmt17(tmp_path)
        name = "list_val.txt" if line.endswith("_0015_0.jpg 0") else "list_query.txt"
        with (root / name).open("a") as file:
            file.write(line + "\n")
        with pytest.raises(UserError, match=message):
            source("msmt17", root).records("train")

    def test_listed_image_that_is_missing_keeps_its_row(self, tmp_path):
        root = msmt17(tmp_path)
        msmt = source("msmt17", root)
        record = msmt.records("test")[0]
        (root / record.source_path).unlink()
        assert msmt.read(record).errors == {"rgb": "file is missing"}


class TestCuhk03:
    @pytest.mark.parametrize(("boxes", "word"), [("detected", "detected"), ("labelled", "labeled")])
    def test_matlab_lists_count_from_one(self, tmp_path, boxes, word):
        cuhk = source("cuhk03-np", cuhk03_lists(tmp_path), boxes=boxes)
        found = {r.source_path: (r.pid, r.camid, r.role) for split in cuhk.splits() for r in cuhk.records(split)}
        roles = {"train_idx": "train", "query_idx": "query", "gallery_idx": "gallery"}
        assert found == {
            f"images_{word}/{file}": (label, int(file.split("_")[2]), roles[which]) for file, label, which in CUHK03
        }
        assert cuhk.read(cuhk.records("test")[0]).errors == {}

    @pytest.mark.parametrize("boxes", ["detected", "labelled", "labeled"])
    def test_market_shaped_release(self, tmp_path, boxes):
        cuhk = source("cuhk03-np", cuhk03_folders(tmp_path).parent, boxes=boxes)
        assert [(r.pid, r.camid, r.role) for r in cuhk.records("test")] == [
            (850, 1, "gallery"),
            (850, 2, "gallery"),
            (850, 1, "query"),
        ]
        word = "detected" if boxes == "detected" else "labeled"
        assert cuhk.records("train")[0].sample_id == f"cuhk03-np/{word}/bounding_box_train/0003_c1_1"
        assert cuhk.boxes in ("detected", "labelled")

    def test_neither_layout(self, tmp_path):
        (tmp_path / "cuhk-03.mat").write_bytes(b"")
        with pytest.raises(UserError, match=r"holds cuhk-03\.mat, and either cuhk03_new_protocol_config_labeled\.mat"):
            source("cuhk03-np", tmp_path, boxes="labelled").records("train")

    def test_lists_without_extracted_images(self, tmp_path):
        root = cuhk03_lists(tmp_path)
        (root / "images_detected").rename(root / "elsewhere")
        with pytest.raises(UserError, match=r"images_detected' does not exist: extract the images of cuhk-03\.mat"):
            source("cuhk03-np", root).records("train")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"query_idx": np.array([[0]])}, "query_idx: 0 is none of 1 to 6"),
            ({"query_idx": np.array([[1]])}, "query_idx: 1 is in train_idx as well"),
            ({"query_idx": np.array([[3.5]])}, "'query_idx' must hold whole numbers"),
            ({"labels": np.array([[1], [2]])}, "has 6 files, 2 labels and 6 cameras"),
            ({"camId": None}, "lacks camId"),
            ({"filelist": np.array([["../../x.png"]] * 6, object)}, r"file 1: '\.\./\.\./x\.png' is not named like"),
            ({"filelist": np.zeros((6, 1))}, "file 1: '<float64>' is not named like"),
        ],
    )
    def test_hostile_lists(self, tmp_path, change, message):
        from scipy.io import loadmat, savemat

        path = cuhk03_lists(tmp_path) / "cuhk03_new_protocol_config_detected.mat"
        arrays = {key: value for key, value in loadmat(path).items() if not key.startswith("__")} | change
        savemat(path, {key: value for key, value in arrays.items() if value is not None})
        with pytest.raises(UserError, match=message):
            source("cuhk03-np", tmp_path).records("train")

    @pytest.mark.parametrize("data", [b"", b"MATLAB 5.0 MAT-file", b"\x89HDF\r\n\x1a\n" + bytes(600), bytes(2000)])
    def test_damaged_matlab_file(self, tmp_path, data):
        root = cuhk03_lists(tmp_path)
        (root / "cuhk03_new_protocol_config_detected.mat").write_bytes(data)
        with pytest.raises(UserError, match=r"is no readable MATLAB file of format 5|lacks camId"):
            source("cuhk03-np", root).records("train")


class TestRandPerson:
    @pytest.mark.parametrize("inside", ["", "subset", ".."])
    def test_a_camera_is_scene_and_number(self, tmp_path, inside):
        rendered = source("randperson", randperson(tmp_path) / inside)
        assert rendered.splits() == ("train",)
        assert [(r.sample_id, r.pid, r.camid) for r in rendered.records("train")] == [
            ("randperson/subset/000000_s00_c00_f000228", 0, 0),
            ("randperson/subset/000000_s01_c00_f000300", 0, 100),
            ("randperson/subset/000001_s10_c01_f000004", 1, 1001),
        ]
        assert dropped(rendered) == {"image with a name outside the data set's grammar": 1}

    @pytest.mark.real_data
    @pytest.mark.skipif(not REAL.is_file(), reason="needs a file that is not part of the repository")
    def test_an_original_crop(self, tmp_path, run):
        (tmp_path / "subset").mkdir()
        shutil.copy(REAL, tmp_path / "subset" / REAL.name.removeprefix("randperson_"))
        manifest = ingest(tmp_path / "m", "randperson", {"root": str(tmp_path / "subset")}, run=run)
        (capture,) = manifest.captures("train").to_pylist()
        assert (capture["pid"], capture["camid"], capture["sample_id"]) == (
            0,
            0,
            "randperson/subset/000000_s00_c00_f000228",
        )
        assert manifest.table("rgb", "train")[0]["image"]["bytes"] == REAL.read_bytes()

    def test_a_folder_of_something_else(self, tmp_path):
        with pytest.raises(UserError, match=r"holds no image named like 000000_s00_c00_f000228\.jpg"):
            list(source("randperson", tmp_path).records("train"))
