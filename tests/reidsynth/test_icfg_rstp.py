from __future__ import annotations

import json

import pytest
from captioned_fixtures import icfg_pedes, rstpreid
from manifest_rows import captures, row

from reidsynth.errors import UserError
from reidsynth.ingest import ingest
from reidsynth.sources import build_source


def test_icfg_rows(tmp_path, run):
    root = icfg_pedes(tmp_path)
    manifest = ingest(tmp_path / "m", "icfg-pedes", {"root": str(root)}, run=run)
    assert manifest.splits == ("train", "test")
    assert captures(manifest, "train", "sample_id", "pid", "camid", "role") == [
        ("icfg-pedes/test/0627/0627_010_05_0303afternoon_1591_0", 0, 5, "train"),
        ("icfg-pedes/train/0001/0001_000_01_0113morning_0010_1_ex", 1, 1, "train"),
        ("icfg-pedes/train/0001/0001_003_14_0113noon_0410_0", 1, 14, "train"),
    ]
    assert captures(manifest, "test", "source_path", "pid", "camid", "role") == [
        ("test/0700/0700_000_03_0302morning_0001_2.jpg", 3102, 3, "query+gallery"),
        ("train/0002/0002_001_03_0303noon_0020_0.jpg", 3103, 3, "query+gallery"),
    ]
    told = row(manifest, "text", "test", "icfg-pedes/train/0002/0002_001_03_0303noon_0020_0")
    assert told["captions"] == ["A long sentence about person 3103 in image 4."]
    assert manifest.info.source.policy["default_release"] == "never"


@pytest.mark.parametrize("annotation", ["ICFG_PEDES.json", "ICFG-PDES.json"])
def test_icfg_annotation_in_every_spelling(tmp_path, annotation):
    icfg_pedes(tmp_path, annotation)
    assert len(build_source("icfg-pedes", {"root": str(tmp_path)}).records("train")) == 3


def test_icfg_without_annotation_says_what_is_there(tmp_path):
    (icfg_pedes(tmp_path) / "ICFG-PEDES.json").rename(tmp_path / "elsewhere.json")
    with pytest.raises(UserError, match=r"has no ICFG-PEDES.json or ICFG_PEDES.json .* \(it holds imgs\)"):
        build_source("icfg-pedes", {"root": str(tmp_path)}).splits()


def test_rstp_rows(tmp_path, run):
    rstpreid(tmp_path)
    manifest = ingest(tmp_path / "m", "rstpreid", {"root": str(tmp_path)}, run=run)
    assert {split: (size.rows, size.identities) for split, size in manifest.info.splits.items()} == {
        "train": (10, 2),
        "val": (5, 1),
        "test": (5, 1),
    }
    assert captures(manifest, "val", "sample_id", "pid", "camid", "role") == [
        (f"rstpreid/3701_c{camera}_{index:04d}", 3701, camera, "query+gallery")
        # in the order of names: c11 and c14 come before c2
        for camera, index in ((11, 3), (14, 4), (2, 0), (5, 1), (8, 2))
    ]
    told = row(manifest, "text", "test", "rstpreid/3901_c2_0000")
    assert told["captions"] == ["Sentence 0 about image 0 of person 3901.", "Sentence 1 about image 0 of person 3901."]


def test_a_path_that_names_no_file(tmp_path):
    root = rstpreid(tmp_path)
    rows = json.loads((root / "data_captions.json").read_text())
    rows[0]["img_path"] = "."
    (root / "data_captions.json").write_text(json.dumps(rows))
    with pytest.raises(UserError, match=r"row 0: 'img_path' must be a path below imgs.*received '\.'"):
        build_source("rstpreid", {"root": str(root)}).records("train")


def test_rstp_names_its_own_path_key(tmp_path):
    base = rstpreid(tmp_path)
    rows = json.loads((base / "data_captions.json").read_text())
    rows[0]["file_path"] = rows[0].pop("img_path")
    rows[1]["img_path"] = "../x.jpg"
    (base / "data_captions.json").write_text(json.dumps(rows))
    with pytest.raises(UserError, match=r"row 0: 'img_path' is missing; row 1: 'img_path' must be a path below imgs"):
        build_source("rstpreid", {"root": str(tmp_path)}).splits()
