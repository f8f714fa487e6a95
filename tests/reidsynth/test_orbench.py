from __future__ import annotations

import json

import pytest
from manifest_rows import captures, row
from sketch_fixtures import TEXT_7, TEXT_8, orbench

from reidsynth.errors import UserError
from reidsynth.ingest import ingest
from reidsynth.sources import build_source
from reidsynth.verify import verify


@pytest.fixture
def root(tmp_path):
    return orbench(tmp_path / "data")


def source(root):
    return build_source("orbench", {"root": str(root)})


def change(root, file, edit):
    values = json.loads((root / file).read_text())
    edit(values)
    (root / file).write_text(json.dumps(values))


def test_rows(root, tmp_path, run):
    manifest = ingest(tmp_path / "m", "orbench", {"root": str(root.parent)}, run=run)
    columns = ("sample_id", "pid", "camid", "role", "modality")
    assert captures(manifest, "train", *columns) == [
        ("orbench/cp/0001/0001_sysu_0005_back_0_colorpencil", 1, None, "train", "sketch"),
        ("orbench/nir/0001/0001_sysu_0005_cam3_0001_nir", 1, 3, "train", "ir"),
        ("orbench/sk/0001/0001_sysu_0005_back_0_sketch", 1, None, "train", "sketch"),
        ("orbench/vis/0001/0001_sysu_0005_cam1_0001_vis", 1, 1, "train", "rgb"),
        ("orbench/vis/0001/0001_sysu_0005_cam2_0003_vis", 1, 2, "train", "rgb"),
    ]
    # Persons have the numbers of the lists (7, 8), not those of the folders (0605, 0606).
    assert captures(manifest, "test", *columns) == [
        ("orbench/cp/0605/0605_sysu_0117_back_0_colorpencil", 7, None, "query", "sketch"),
        ("orbench/cp/0606/0606_llcm_0200_back_0_colorpencil", 8, None, "query", "sketch"),
        ("orbench/nir/0605/0605_sysu_0117_cam3_0001_nir", 7, 3, "query", "ir"),
        ("orbench/nir/0606/0606_llcm_0200_cam3_0001_nir", 8, 3, "query", "ir"),
        ("orbench/sk/0605/0605_sysu_0117_back_0_sketch", 7, None, "query", "sketch"),
        ("orbench/sk/0606/0606_llcm_0200_back_0_sketch", 8, None, "query", "sketch"),
        ("orbench/text/0007/000", 7, None, "query", "text"),
        ("orbench/text/0008/000", 8, None, "query", "text"),
        ("orbench/vis/0605/0605_sysu_0117_cam1_0001_vis", 7, 1, "gallery", "rgb"),
        ("orbench/vis/0605/0605_sysu_0117_cam4_0002_vis", 7, 4, "gallery", "rgb"),
        ("orbench/vis/0606/0606_llcm_0200_vis", 8, None, "gallery", "rgb"),
    ]
    counts = {name: table.counts["test"] for name, table in manifest.tables.items()}
    assert counts == {
        "rgb": {"absent": 8, "pass": 3},
        "ir": {"absent": 9, "pass": 2},
        "sketch": {"absent": 9, "pass": 2},
        "sketch-colour-pencil": {"absent": 9, "pass": 2},
        "text": {"absent": 9, "pass": 2},
    }
    assert manifest.tables["ir"].spectrum == "nir"
    assert manifest.info.source.dropped == {"image of 'nir' that stands in no annotation": 1}
    sizes = dict(captures(manifest, "test", "sample_id", "width"))
    assert sizes["orbench/cp/0605/0605_sysu_0117_back_0_colorpencil"] == 32
    assert sizes["orbench/text/0007/000"] is None


def test_captions_of_one_photograph_are_joined(root, tmp_path, run):
    manifest = ingest(tmp_path / "m", "orbench", {"root": str(root)}, run=run)
    told = row(manifest, "text", "train", "orbench/vis/0001/0001_sysu_0005_cam1_0001_vis")
    assert told["captions"] == ["First sentence.", "Second sentence."]
    assert row(manifest, "text", "test", "orbench/text/0007/000")["captions"] == [TEXT_7]


def test_query_sets_in_their_order(root, tmp_path, run):
    manifest = ingest(tmp_path / "m", "orbench", {"root": str(root)}, run=run)
    lists = manifest.protocol("orbench")
    assert lists["gallery"] == [
        "orbench/vis/0606/0606_llcm_0200_vis",
        "orbench/vis/0605/0605_sysu_0117_cam4_0002_vis",
        "orbench/vis/0605/0605_sysu_0117_cam1_0001_vis",
    ]
    sets = lists["query-sets"]
    assert list(sets) == ["NIR", "CP", "SK", "TEXT", "NIR+CP", "TEXT+SK", "SK+NIR+CP+TEXT"]
    assert sets["TEXT"] == [["orbench/text/0008/000"], ["orbench/text/0007/000"]]
    assert sets["SK+NIR+CP+TEXT"] == [
        [
            "orbench/sk/0605/0605_sysu_0117_back_0_sketch",
            "orbench/nir/0605/0605_sysu_0117_cam3_0001_nir",
            "orbench/cp/0605/0605_sysu_0117_back_0_colorpencil",
            "orbench/text/0007/000",
        ]
    ]
    here = {sample for (sample,) in captures(manifest, "test", "sample_id")}
    assert {sample for queries in sets.values() for query in queries for sample in query} <= here


def test_two_sentences_of_one_person_stay_apart(root):
    change(root, "test_gallery_and_queries.json", lambda sets: sets["TEXT"].append([7, "A short man."]))
    ours = source(root)
    texts = {r.sample_id: r.payload["captions"] for r in ours.records("test") if r.modality == "text"}
    assert texts == {
        "orbench/text/0007/000": [TEXT_7],
        "orbench/text/0007/001": ["A short man."],
        "orbench/text/0008/000": [TEXT_8],
    }
    assert ours.protocol()["query-sets"]["TEXT"][2] == ["orbench/text/0007/001"]
    assert ours.protocol()["query-sets"]["TEXT+SK"][0][0] == "orbench/text/0007/000"


def test_listed_images_that_are_missing_keep_their_rows(root):
    (root / "sk/0606/0606_llcm_0200_back_0_sketch.jpg").unlink()
    ours = source(root)
    record = next(r for r in ours.records("test") if r.sample_id.startswith("orbench/sk/0606"))
    assert (record.pid, record.role) == (8, "query")
    assert ours.read(record).errors == {"sketch": "file is missing"}


@pytest.mark.parametrize(
    ("file", "edit", "message"),
    [
        ("train_annos.json", lambda v: v[0].update(id="1"), "row 0: 'id' must be a whole number"),
        ("train_annos.json", lambda v: v[0].update(file_path="../x/y.jpg"), "row 0: 'file_path' must be a path vis/"),
        ("train_annos.json", lambda v: v[1].update(caption=None), "row 1: 'caption' must be a sentence"),
        ("train_annos.json", lambda v: v[0].update(id=2), "gives? folder '0001' of ORBench to two persons"),
        ("test_gallery_and_queries.json", lambda v: v.pop("RGB_GALLERY"), "has no list 'RGB_GALLERY'"),
        ("test_gallery_and_queries.json", lambda v: v.update({"RGB": []}), "'RGB' is no query set"),
        (
            "test_gallery_and_queries.json",
            lambda v: v["NIR+CP"][0].pop(),
            "'NIR.CP' row 0: expected a person and nir, cp",
        ),
        ("test_gallery_and_queries.json", lambda v: v["SK"][0].__setitem__(1, "cp/0605/a.jpg"), "'SK' row 0: expected"),
        (
            "test_gallery_and_queries.json",
            lambda v: v["SK"].append([1, "sk/0001/0001_sysu_0005_back_0_sketch.jpg"]),
            "folder '0001' of ORBench to two persons or to both splits",
        ),
    ],
)
def test_hostile_annotations(root, file, edit, message):
    change(root, file, edit)
    with pytest.raises(UserError, match=message):
        source(root).records("test")


def test_missing_folder(root):
    (root / "cp").rename(root / "colour")
    with pytest.raises(UserError, match="is not ORBench: it lacks cp and holds colour"):
        source(root).records("train")


def test_verify_counts_the_query_sets(root, run):
    found = verify("orbench", {"root": str(root)}, run=run)
    assert [problem.says for problem in found.problems] == ["test_gallery_and_queries.json has 7 of the 32 query sets"]
