from __future__ import annotations

import pytest
from fixtures import write_image
from manifest_rows import captures, row
from sketch_fixtures import pku_lists, pku_sketch

from reidsynth.errors import UserError
from reidsynth.ingest import ingest
from reidsynth.sources import build_source


@pytest.fixture
def root(tmp_path):
    return pku_sketch(tmp_path / "data")


def source(root, **parameters):
    return build_source("pku-sketch", {"root": str(root), **parameters})


def test_rows(root, tmp_path, run):
    manifest = ingest(tmp_path / "m", "pku-sketch", {"root": str(root.parent)}, run=run)
    assert manifest.splits == ("test",)
    assert captures(manifest, "test", "sample_id", "pid", "camid", "role", "modality") == [
        ("pku-sketch/photo/10_05_360", 10, 5, "gallery", "rgb"),
        ("pku-sketch/photo/10_12_1360", 10, 12, "gallery", "rgb"),
        ("pku-sketch/photo/1_05_351", 1, 5, "gallery", "rgb"),
        ("pku-sketch/photo/1_12_1351", 1, 12, "gallery", "rgb"),
        ("pku-sketch/photo/2_05_352", 2, 5, "gallery", "rgb"),
        ("pku-sketch/photo/2_12_1352", 2, 12, "gallery", "rgb"),
        ("pku-sketch/photo/3_05_353", 3, 5, "gallery", "rgb"),
        ("pku-sketch/photo/3_12_1353", 3, 12, "gallery", "rgb"),
        ("pku-sketch/sketch/1", 1, None, "query", "sketch"),
        ("pku-sketch/sketch/10", 10, None, "query", "sketch"),
        ("pku-sketch/sketch/2", 2, None, "query", "sketch"),
        ("pku-sketch/sketch/3", 3, None, "query", "sketch"),
    ]
    assert manifest.tables["rgb"].counts == {"test": {"pass": 8, "absent": 4}}
    assert manifest.tables["sketch"].counts == {"test": {"pass": 4, "absent": 8}}
    assert captures(manifest, "test", "width", "height")[8] == (32, 64)  # of the sketch, which is what was captured
    sketch = row(manifest, "sketch", "test", "pku-sketch/sketch/10")
    assert sketch["image"]["bytes"] == (root / "sketch/10.jpg").read_bytes()
    assert manifest.info.source.dropped == {"no image file (by its extension)": 1}


def test_artists_are_kept(root, tmp_path, run):
    manifest = ingest(tmp_path / "m", "pku-sketch", {"root": str(root)}, run=run)
    assert manifest.protocol("pku-sketch") == {"artists": {"a": [1, 10], "b": [2], "c": [3]}}


def test_given_split_lists_are_kept(root):
    pku_lists(root)
    splits = source(root, lists="idx").protocol()["splits"]
    assert len(splits) == 10
    assert splits[0] == {"train": [3, 10], "test": [1, 2]}
    assert splits[1] == {"train": [1, 2], "test": [3, 10]}


def test_descriptions_go_to_the_sketch_that_asks(root, tmp_path, run):
    (root / "TriReID.txt").write_text("10/a.jpg@A man in blue.\n10/b.jpg@He wears blue.\n1/c.jpg@A woman, a red bag.\n")
    manifest = ingest(tmp_path / "m", "pku-sketch", {"root": str(root), "captions": "TriReID.txt"}, run=run)
    told = {
        sample: row(manifest, "text", "test", sample)["captions"]
        for (sample,) in captures(manifest, "test", "sample_id")
    }
    assert {sample: captions for sample, captions in told.items() if captions} == {
        "pku-sketch/sketch/1": ["A woman, a red bag."],
        "pku-sketch/sketch/10": ["A man in blue.", "He wears blue."],
    }


def test_a_person_with_two_artists(root):
    (root / "styleAnnotation/b_1.txt").write_text("2\n10\n")
    with pytest.raises(UserError, match=r"'b_1.txt' names person 10, whom artist 'a' has drawn already"):
        source(root).protocol()


def test_a_list_that_holds_no_number(root):
    (root / "styleAnnotation/b_1.txt").write_text("two\n")
    with pytest.raises(UserError, match=r"b_1.txt', line 1: expected a person number"):
        source(root).protocol()


def test_split_lists_with_a_person_on_both_sides(root):
    pku_lists(root)
    (root / "idx/train_sketch_4.txt").write_text("sketch/3.jpg 3 0 1\n")
    with pytest.raises(UserError, match="split 4 of 'idx' has person 3 in train and in test"):
        source(root, lists="idx").protocol()
    (root / "idx/test_sketch_1.txt").unlink()
    with pytest.raises(UserError, match=r"test_sketch_1.txt' does not exist"):
        source(root, lists="idx").protocol()


def test_lists_outside_the_root_are_refused(root):
    with pytest.raises(UserError, match="relative to the root"):
        source(root, lists="/etc")


def test_descriptions_with_mistakes(root):
    (root / "t.txt").write_text("10/a.jpg A man\n")
    with pytest.raises(UserError, match="1 lines that are not"):
        source(root, captions="t.txt").records("test")
    (root / "t.txt").write_text("77/a.jpg@A man\n")
    with pytest.raises(UserError, match="describes person 77"):
        source(root, captions="t.txt").records("test")


def test_names_outside_the_grammar_are_counted(root):
    write_image(root / "photo/extra.jpg")
    assert source(root).dropped()["image with a name outside the data set's grammar"] == 1


def test_another_folder_says_what_it_lacks(tmp_path):
    (tmp_path / "photo").mkdir()
    with pytest.raises(UserError, match="is not PKU-Sketch: it lacks sketch and holds photo"):
        source(tmp_path).records("test")
