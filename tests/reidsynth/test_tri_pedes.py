from __future__ import annotations

import shutil

import pytest
from captioned_fixtures import icfg_pedes, rstpreid, sketch_tree
from fixtures import cuhk_pedes
from manifest_rows import captures, row, verdicts

from reidsynth.errors import UserError
from reidsynth.ingest import ingest
from reidsynth.sources import build_source


@pytest.fixture
def cuhk(tmp_path):
    return cuhk_pedes(tmp_path / "data")


def test_sketches_of_the_parallel_folder(cuhk, tmp_path, run):
    sketches = sketch_tree(cuhk / "imgs", cuhk / "imgs-sketch2")
    manifest = ingest(tmp_path / "m", "tri-cuhk-pedes", {"root": str(cuhk)}, run=run)
    base = ingest(tmp_path / "base", "cuhk-pedes", {"root": str(cuhk)}, run=run)
    # The same photographs and captions, row by row, with a sketch more.
    for split in base.splits:
        assert manifest.captures(split).equals(base.captures(split))
        assert manifest.table("text", split).columns(["captions"]) == base.table("text", split).columns(["captions"])
        assert set(verdicts(manifest, "sketch-unireid", split).values()) == {("pass", None)}
    spec = manifest.tables["sketch-unireid"].spec
    assert (spec.modality, spec.origin) == ("sketch", "synthetic")
    # A photograph in .bmp has its sketch in .jpg.
    found = row(manifest, "sketch-unireid", "val", "cuhk-pedes/cam_a/001_45")
    assert found["image"]["bytes"] == (sketches / "cam_a/001_45.jpg").read_bytes()
    # Equal file names in different folders stay different sketches.
    images = [row(manifest, "sketch-unireid", "train", f"cuhk-pedes/CUHK03/1_{n}")["image"]["bytes"] for n in (1, 2)]
    assert images[0] != images[1]


def test_missing_and_damaged_sketches_keep_their_rows(cuhk, tmp_path, run):
    sketches = sketch_tree(cuhk / "imgs", cuhk / "imgs-sketch2")
    (sketches / "CUHK03/1_1.jpg").unlink()
    (sketches / "CUHK03/1_2.jpg").write_bytes(b"no image")
    manifest = ingest(tmp_path / "m", "tri-cuhk-pedes", {"root": str(cuhk)}, run=run)
    found = verdicts(manifest, "sketch-unireid", "train")
    assert found["cuhk-pedes/CUHK03/1_1"] == ("error", "file is missing")
    assert found["cuhk-pedes/CUHK03/1_2"] == ("error", "not an image")
    assert verdicts(manifest, "rgb", "train")["cuhk-pedes/CUHK03/1_1"] == ("pass", None)


@pytest.mark.parametrize("level", ["", "imgs"])
def test_released_archive_beside_the_photographs(cuhk, level):
    sketch_tree(cuhk / "imgs", cuhk.parent / "sketch/aliyun/CUHK" / level)
    source = build_source("tri-cuhk-pedes", {"root": str(cuhk.parent)})
    record = source.records("train")[0]
    assert record.payload["sketch"] == "/".join(filter(None, ["sketch/aliyun/CUHK", level, record.source_path]))
    assert set(source.read(record).images) == {"rgb", "sketch-unireid"}


@pytest.mark.parametrize(
    ("name", "draw", "archived"), [("tri-icfg-pedes", icfg_pedes, "ICFG"), ("tri-rstpreid", rstpreid, "RSTPReid")]
)
def test_archive_elsewhere_and_folder_beside(tmp_path, run, name, draw, archived):
    base = draw(tmp_path / "data")
    tree = sketch_tree(base / "imgs", tmp_path / f"released/sketch/aliyun/{archived}")
    elsewhere = {"root": str(base), "sketch_root": str(tmp_path / "released")}
    manifest = ingest(tmp_path / "m", name, elsewhere, run=run)
    assert manifest.info.source.dataset == name.removeprefix("tri-")
    assert manifest.info.source.parameters == {"sketches": ""}  # no folder of this machine
    assert {v for split in manifest.splits for v in verdicts(manifest, "sketch-unireid", split).values()} == {
        ("pass", None)
    }
    shutil.move(tree, base / "imgs-sketch")
    beside = build_source(name, {"root": str(base)}).records("test")[0]
    assert beside.payload["sketch"] == f"imgs-sketch/{beside.source_path}"


def test_a_layout_of_ones_own(cuhk):
    tree = sketch_tree(cuhk / "imgs", cuhk / "drawn")
    for path in sorted(tree.rglob("*.jpg")):
        path.rename(path.with_name(f"{path.stem}_sketch.jpg"))
    source = build_source("tri-cuhk-pedes", {"root": str(cuhk), "sketches": "drawn/{stem}_sketch.jpg"})
    assert source.read(source.records("val")[0]).errors == {}


def test_photographs_are_never_taken_for_sketches(cuhk):
    source = build_source("tri-cuhk-pedes", {"root": str(cuhk), "sketch_root": str(cuhk)})
    with pytest.raises(UserError, match="no sketch of CUHK-PEDES is found"):
        source.records("train")


def test_no_sketches_tells_where_was_looked(cuhk):
    with pytest.raises(UserError, match=r"looked for .*imgs-sketch2/\{path\}.*sketch/aliyun/CUHK/imgs/\{path\}"):
        build_source("tri-cuhk-pedes", {"root": str(cuhk)}).records("train")


@pytest.mark.parametrize(
    ("template", "message"), [("drawn", r"must hold \{path\}"), ("../x/{path}", "relative"), ("/x/{path}", "relative")]
)
def test_bad_templates(cuhk, template, message):
    with pytest.raises(UserError, match=message):
        build_source("tri-cuhk-pedes", {"root": str(cuhk), "sketches": template})


def test_sample_sees_every_split(cuhk, tmp_path, run):
    """Sketches that exist for the test split only are still found, and the others are told to be missing."""
    tree = sketch_tree(cuhk / "imgs", cuhk / "imgs-sketch2")
    for folder in ("CUHK03", "Market", "cam_a", "cam_b"):
        shutil.rmtree(tree / folder)
    manifest = ingest(tmp_path / "m", "tri-cuhk-pedes", {"root": str(cuhk)}, run=run)
    assert manifest.tables["sketch-unireid"].counts == {
        "train": {"error": 4, "pass": 1},
        "val": {"error": 2},
        "test": {"pass": 2},
    }
    assert captures(manifest, "test", "pid") == [(12004,), (12004,)]
