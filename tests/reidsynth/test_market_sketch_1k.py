from __future__ import annotations

import shutil

import pytest
from fixtures import write_image
from manifest_rows import captures, verdicts
from sketch_fixtures import market_sketch_1k

from reidsynth.errors import UserError
from reidsynth.ingest import ingest
from reidsynth.sources import build_source


@pytest.fixture
def root(tmp_path):
    return market_sketch_1k(tmp_path / "given")


def test_rows(root, tmp_path, run):
    manifest = ingest(tmp_path / "m", "market-sketch-1k", {"root": str(root)}, run=run)
    assert captures(manifest, "train", "source_path", "pid", "camid", "role", "modality") == [
        ("photo/train/0002_c1s1_000451_03.jpg", 2, 1, "train", "rgb"),
        ("photo/train/0002_c4s2_000801_01.jpg", 2, 4, "train", "rgb"),
        *((f"sketch/{artist}/train/0002.jpg", 2, None, "train", "sketch") for artist in "ABCDE"),
    ]
    assert captures(manifest, "test", "source_path", "pid", "camid", "role", "modality") == [
        ("photo/query/0000_c1s1_000151_01.jpg", 0, 1, "distractor", "rgb"),
        ("photo/query/0001_c1s1_001051_00.jpg", 1, 1, "gallery", "rgb"),
        ("photo/query/0003_c6s3_015641_00.jpg", 3, 6, "gallery", "rgb"),
        *(
            (f"sketch/{artist}/query/000{pid}.jpg", pid, None, "query", "sketch")
            for artist in "ABCDE"
            for pid in (1, 3)
        ),
        ("sketch/F/query/0001.jpg", 1, None, "query", "sketch"),
    ]
    assert manifest.info.source.dropped == {"junk box (person -1)": 1}
    # Equal names by six artists stay six sketches.
    assert len({s for s, (v, _) in verdicts(manifest, "sketch", "test").items() if v == "pass"}) == 11


def test_styles_are_kept_by_sample(root, tmp_path, run):
    manifest = ingest(tmp_path / "m", "market-sketch-1k", {"root": str(root.parent)}, run=run)
    styles = manifest.protocol("market-sketch-1k")["styles"]
    assert list(styles) == list("ABCDEF")
    assert styles["F"] == ["market-sketch-1k/sketch/F/query/0001"]
    assert styles["A"] == [f"market-sketch-1k/sketch/A/{name}" for name in ("train/0002", "query/0001", "query/0003")]


def test_sketches_may_be_published_and_photographs_not(root):
    policy = build_source("market-sketch-1k", {"root": str(root)}).policy
    assert (policy.release_of("sketch"), policy.release_of("rgb"), policy.egress) == ("public", "never", False)


def test_a_copy_without_some_artists(root):
    for artist in "BCDEF":
        shutil.rmtree(root / "sketch" / artist)
    source = build_source("market-sketch-1k", {"root": str(root)})
    assert {r.source_path for r in source.records("test") if r.modality == "sketch"} == {
        "sketch/A/query/0001.jpg",
        "sketch/A/query/0003.jpg",
    }
    shutil.rmtree(root / "sketch/A")
    with pytest.raises(UserError, match="none of the artists' folders"):
        build_source("market-sketch-1k", {"root": str(root)}).records("test")


def test_missing_gallery_is_named(root):
    shutil.rmtree(root / "photo/query")
    with pytest.raises(UserError, match="is not Market-Sketch-1K: it lacks photo/query"):
        build_source("market-sketch-1k", {"root": str(root)}).records("test")


def test_names_without_four_digits_are_counted(root):
    write_image(root / "sketch/A/query/00012.jpg")
    write_image(root / "sketch/B/query/-1_x.jpg")
    assert build_source("market-sketch-1k", {"root": str(root)}).dropped() == {
        "image with a name outside the data set's grammar": 2,
        "junk box (person -1)": 1,
    }
