"""`reidsynth verify`: what differs from the published data set is named, and nothing else is."""

from __future__ import annotations

import json
import shutil

import pytest
from fixtures import cuhk_pedes, cuhk_pedes_rows, market1501, write_image
from layouts import llcm, llvip, msmt17, regdb, sysu_mm01
from typer.testing import CliRunner

from reidsynth.cli import app
from reidsynth.engines import LocalEngine
from reidsynth.errors import UserError
from reidsynth.jobs import Run
from reidsynth.published import Count, Published
from reidsynth.sources import source_class
from reidsynth.verify import verify


@pytest.fixture
def published(monkeypatch):
    """Say that a source's fixture is what is published."""

    def say(name, *counts, **more):
        monkeypatch.setattr(source_class(name), "published", lambda self: Published(counts=counts, **more))

    return say


@pytest.fixture
def checked(run):
    def check(name, root, decode=True, **parameters):
        return verify(name, {"root": str(root), **parameters}, run=run, decode=decode)

    return check


MARKET = (
    Count(captures=10),
    Count(splits=("train",), captures=4, identities=2),
    Count(splits=("test",), roles=("query",), captures=2, identities=2),
    Count(roles=("distractor",), captures=1),
)


def test_a_copy_as_published(tmp_path, published, checked):
    published("market1501", *MARKET)
    found = checked("market1501", market1501(tmp_path))
    assert found.good
    assert all(one.agrees for one in found.comparisons)
    assert {name: part.listed for name, part in found.folders.items()} == {
        "bounding_box_train": 4,
        "bounding_box_test": 4,
        "query": 2,
    }
    assert found.left_out["junk box (person -1)"] == 2
    assert found.tables == {"rgb": {"pass": 10, "error": 0}}


def test_every_number_that_differs_is_named(tmp_path, published, checked):
    published("market1501", *MARKET, Count(captures=99, sure=False), left_out={"junk box (person -1)": 7})
    root = market1501(tmp_path)
    (root / "bounding_box_train/0007_c3s3_077419_03.jpg").unlink()
    (root / "bounding_box_train/0007_c1s6_028546_01.jpg").unlink()
    found = checked("market1501", root)
    assert [(problem.check, problem.says) for problem in found.problems] == [
        ("counts", "all: 8 captures, and 10 are published (2 too few)"),
        ("counts", "train: 2 captures, and 4 are published (2 too few)"),
        ("counts", "train: 1 identity, and 2 are published (1 too few)"),
    ]
    assert any("99 are published" in note and "not counted from the owners' lists" in note for note in found.notes)
    assert "2 files left out as 'junk box (person -1)', and 7 are told of" in found.notes


def test_damaged_and_missing_files_are_all_listed(tmp_path, published, checked):
    published("cuhk-pedes")
    root = cuhk_pedes(tmp_path)
    for path in ("cam_a/001_45.bmp", "cam_b/001_90.bmp"):
        (root / "imgs" / path).unlink()
    jpeg = root / "imgs/CUHK03/1_1.jpg"
    jpeg.write_bytes(jpeg.read_bytes()[:-300])
    found = checked("cuhk-pedes", root)
    missing, damaged = sorted(found.problems, key=lambda problem: "missing" not in problem.says)
    assert missing.says == "2 files are missing: cam_a/001_45.bmp; cam_b/001_90.bmp"
    assert missing.paths == ("cam_a/001_45.bmp", "cam_b/001_90.bmp")
    assert damaged.says.startswith("1 file can't be read (damaged image: ")
    assert (found.folders["cam_a"].missing, found.folders["CUHK03"].unreadable) == (1, 1)
    assert found.splits["val"].missing == 2


def test_without_decoding_missing_files_are_found_and_damaged_ones_not(tmp_path, published, checked):
    published("cuhk-pedes", Count(captions=99))
    root = cuhk_pedes(tmp_path)
    (root / "imgs/cam_a/001_45.bmp").unlink()
    (root / "imgs/CUHK03/1_1.jpg").write_bytes(b"")
    found = checked("cuhk-pedes", root, decode=False)
    assert [problem.paths for problem in found.problems] == [("cam_a/001_45.bmp",)]
    assert found.notes[0] == "files were looked for and not decoded; captions were not counted"


def test_people_in_two_splits(tmp_path, checked, published):
    published("cuhk-pedes")
    root = cuhk_pedes(tmp_path)
    rows = cuhk_pedes_rows()
    rows[-1]["id"] = 1
    (root / "reid_raw.json").write_text(json.dumps(rows))
    problems = checked("cuhk-pedes", root).problems
    assert [problem.says for problem in problems] == ["1 person is in both 'train' and 'test': 1"]


def test_numbers_that_begin_anew_are_other_people(tmp_path, checked, published):
    root = msmt17(tmp_path)
    assert [p.check for p in checked("msmt17", root).problems if p.check != "counts"] == []
    published("msmt17")
    assert [p.says for p in checked("msmt17", root).problems] == [
        "1 person is in both 'train' and 'val': 0",
        "1 person is in both 'train' and 'test': 0",
        "1 person is in both 'val' and 'test': 0",
    ]


def test_a_file_that_is_in_two_splits_is_worth_a_note(tmp_path, checked):
    root = market1501(tmp_path)
    shutil.copy(root / "query/0001_c1s1_001051_00.jpg", root / "bounding_box_train/0002_c2s1_000801_01.jpg")
    assert any("equal to one of another split" in note for note in checked("market1501", root).notes)


def test_two_files_of_one_sample_id(tmp_path, checked, published):
    published("market1501")
    root = market1501(tmp_path)
    write_image(root / "query/0003_c4s6_015641_00.png")
    (problem,) = checked("market1501", root).problems
    assert problem.says == (
        "1 file with the sample id (path without extension) of another: query/0003_c4s6_015641_00.png"
    )


def test_tokens_are_as_many_as_captions(tmp_path, checked, published):
    published("cuhk-pedes")
    root = cuhk_pedes(tmp_path)
    rows = cuhk_pedes_rows()
    rows[2]["processed_tokens"].pop()
    (root / "reid_raw.json").write_text(json.dumps(rows))
    (problem,) = checked("cuhk-pedes", root).problems
    assert problem.says == (
        "1 rows have another number of processed_tokens than captions: Market/0013_c5s1_000426_00.jpg"
    )


def test_captions_are_counted_by_capture(tmp_path, checked, published):
    published("cuhk-pedes", Count(captions=20), captions_each=(2, 2))
    root = cuhk_pedes(tmp_path)
    assert [p.says for p in checked("cuhk-pedes", root).problems] == [
        "all: 19 captions, and 20 are published (1 too few)",
        "1 file should have 2 captions: CUHK03/1_2.jpg (3)",
    ]


def test_halves_of_pairs_are_named_by_their_table(tmp_path, checked, published):
    published("llvip", Count(captures=4))
    root = llvip(tmp_path)
    (root / "infrared/train/010001.jpg").unlink()
    (root / "visible/train/010002.jpg").unlink()
    assert [p.says for p in checked("llvip", root).problems] == [
        "ir of 1 file is missing: visible/train/010001.jpg",
        "1 file is missing: visible/train/010002.jpg",
    ]


def test_people_without_one_modality_are_worth_a_note(tmp_path, checked, published):
    published("sysu-mm01")
    root = sysu_mm01(tmp_path)
    shutil.rmtree(root / "cam3/0333")
    assert "1 person of 'val' without ir rows: 333" in checked("sysu-mm01", root).notes


@pytest.mark.parametrize(
    ("draw", "name", "spoil", "says"),
    [
        (
            sysu_mm01,
            "sysu-mm01",
            lambda root: (root / "exp/val_id.txt").write_text("333,400"),
            "1 people of exp/val_id have no image: 400",
        ),
        (
            llcm,
            "llcm",
            lambda root: (root / "test_vis/cam1/0020/0020_c01_s200000_f1_vis.jpg").unlink(),
            "idx/test_vis.txt and the images differ in 1 files: test_vis/cam1/0020/0020_c01_s200000_f1_vis.jpg",
        ),
        (
            regdb,
            "regdb",
            lambda root: (root / "idx/train_visible_7.txt").unlink(),
            "lists of 1 of 10 trials are missing: 7",
        ),
        (
            llvip,
            "llvip",
            lambda root: [
                shutil.copy(root / f"{side}/train/010001.jpg", root / f"{side}/test/010009.jpg")
                for side in ("visible", "infrared")
            ],
            "1 scenes are in both splits: 1",
        ),
    ],
)
def test_lists_that_contradict_each_other(tmp_path, checked, published, draw, name, spoil, says):
    published(name)
    root = draw(tmp_path)
    spoil(root)
    assert says in [problem.says for problem in checked(name, root).problems if problem.check == "lists"]


def test_another_layout_is_a_finding_not_a_crash(tmp_path, checked):
    (tmp_path / "holiday").mkdir()
    (problem,) = checked("sysu-mm01", tmp_path).problems
    assert problem.check == "layout"
    assert "is not SYSU-MM01: it lacks cam1, cam2" in problem.says


@pytest.mark.slow
def test_workers_change_nothing(tmp_path, published):
    published("market1501", *MARKET)
    root = market1501(tmp_path)
    (root / "query/0003_c4s6_015641_00.jpg").write_bytes(b"no image")
    results = []
    for workers in (1, 2):
        with LocalEngine(workers) as engine:
            results.append(verify("market1501", {"root": str(root)}, run=Run(engine, progress=False)))
    assert results[0] == results[1]
    assert not results[0].good


def test_sources_without_published_sizes_are_checked_all_the_same(tmp_path, checked):
    write_image(tmp_path / "train/7_1.jpg")
    write_image(tmp_path / "test/7_2.jpg")
    found = checked("folder", tmp_path, pattern="{split}/{pid}_{_}")
    assert [problem.says for problem in found.problems] == ["1 person is in both 'train' and 'test': 7"]


def call(*arguments, code):
    result = CliRunner().invoke(app, ["verify", *map(str, arguments), "--workers", "1"])
    assert result.exit_code == code, result.output
    return result


def test_command_tells_and_ends_with_code_1(tmp_path, published):
    published("market1501", *MARKET)
    root = market1501(tmp_path)
    assert "as published" in call("market1501", root, code=0).output
    (root / "query/0003_c4s6_015641_00.jpg").unlink()
    output = call("market1501", root, code=1).output
    assert "not as published (counts): test, query: 1 capture, and 2 are published (1 too few)" in output
    assert "bounding_box_train" in output


def test_json_is_the_whole_finding(tmp_path, published):
    published("market1501", *MARKET)
    values = json.loads(call("market1501", market1501(tmp_path), "--json", code=0).stdout)
    assert values["good"] is True
    assert values["comparisons"][1] == {
        "rows": "train",
        "what": "captures",
        "published": 4,
        "found": 4,
        "sure": True,
    }
    assert values["folders"]["query"] == {"listed": 2, "missing": 0, "unreadable": 0}


@pytest.mark.parametrize("name", ["dukemtmc", "DukeMTMC-reID", "duke", "duke-mtmc-reid"])
def test_dukemtmc_is_refused_by_name_with_the_reason(tmp_path, name):
    assert "owners withdrew it in 2019" in call(name, tmp_path, code=2).stderr


def test_dukemtmc_is_refused_through_another_reader(tmp_path):
    root = market1501(tmp_path).rename(tmp_path / "DukeMTMC-reID")
    assert "DukeMTMC" in call("market1501", root, code=2).stderr


def test_missing_root_and_unknown_source_are_the_users_errors(tmp_path, checked):
    with pytest.raises(UserError, match="does not exist"):
        checked("market1501", tmp_path / "none")
    assert "unknown source 'market1502'" in call("market1502", tmp_path, code=2).stderr
