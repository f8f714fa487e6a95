"""An existing manifest as a source of another one."""

from __future__ import annotations

import json

import pytest
from fixtures import cuhk_pedes, market1501
from layouts import sysu_mm01

from reidsynth import open_manifest
from reidsynth.errors import UserError
from reidsynth.ingest import ingest
from reidsynth.pipeline import run_step
from reidsynth.sources import build_source
from reidsynth.validate import validate


@pytest.fixture
def first(tmp_path, run, noise):
    root = sysu_mm01(tmp_path)
    (root / "cam1/0001/0001.jpg").write_bytes(b"no image")
    ingest(tmp_path / "first", "sysu-mm01", {"root": str(root)}, run=run)
    return tmp_path / "first"


def again(first, run, **parameters):
    return ingest(first.parent / "second", "manifest", {"root": str(first), **parameters}, run=run)


def test_captures_images_reasons_lists_and_terms_come_along(first, run):
    old, new = open_manifest(first), again(first, run)
    assert validate(new.path) == []
    assert new.splits == old.splits
    for split in old.splits:
        assert new.captures(split) == old.captures(split)
        for table in ("rgb", "ir"):
            before, after = old.table(table, split), new.table(table, split)
            assert [after[i] for i in range(len(after))] == [before[i] for i in range(len(before))]
    assert new.info.source.dataset == "sysu-mm01"
    assert new.info.source.policy == old.info.source.policy
    assert new.info.source.dropped == old.info.source.dropped == {"image of a person whom no list names": 4}
    assert new.protocol("sysu-mm01") == old.protocol("sysu-mm01") != {}
    assert new.tables["ir"].spectrum == "nir"


def test_no_path_of_this_machine_is_kept(first, run):
    again(first, run)
    assert str(first) not in (first.parent / "second" / "manifest.json").read_text()


def test_what_steps_made_is_left_unless_it_is_named(first, run):
    run_step(first, "build-ir", "inverse", {}, run=run)
    new = again(first, run)
    assert set(new.tables) == {"rgb", "ir"}
    other = ingest(first.parent / "third", "manifest", {"root": str(first), "only": ["rgb", "ir-inverse"]}, run=run)
    assert other.tables["ir-inverse"].origin == "synthetic"
    old = open_manifest(first).table("ir-inverse", "val")
    new_rows = other.table("ir-inverse", "val")
    assert [new_rows[i]["image"] for i in range(len(old))] == [old[i]["image"] for i in range(len(old))]


def test_steps_run_on_it(first, run):
    again(first, run)
    made = run_step(first.parent / "second", "build-ir", "inverse", {}, run=run)
    assert made.tables["ir-inverse"].counts["train"]["pass"] > 0


def test_captions_come_along(tmp_path, run):
    ingest(tmp_path / "first", "cuhk-pedes", {"root": str(cuhk_pedes(tmp_path))}, run=run)
    new = again(tmp_path / "first", run)
    old = open_manifest(tmp_path / "first").table("text", "test")
    assert [new.table("text", "test")[i]["captions"] for i in range(2)] == [old[i]["captions"] for i in range(2)]


def test_a_changed_manifest_is_read_again(tmp_path, run):
    root = market1501(tmp_path)
    ingest(tmp_path / "first", "market1501", {"root": str(root)}, run=run)
    before = again(tmp_path / "first", run).checksum
    (root / "query/0001_c1s1_001051_00.jpg").write_bytes(
        (root / "bounding_box_train/0002_c1s1_000451_03.jpg").read_bytes()
    )
    ingest(tmp_path / "first", "market1501", {"root": str(root)}, run=run)
    assert again(tmp_path / "first", run).checksum != before


def test_unknown_table(first, run):
    with pytest.raises(UserError, match=r"has no table depth: it holds ir, rgb"):
        again(first, run, only=["depth"])


def test_no_manifest_there(tmp_path, run):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"holds no manifest\.json, so it is no manifest"):
        again(tmp_path / "empty", run)


def test_of_several_data_sets_one_is_chosen(first):
    info = json.loads((first / "manifest.json").read_text())
    other = {**info["source"], "dataset": "another"}
    (first / "manifest.json").write_text(json.dumps({**info, "merged": [info["source"], other]}))
    with pytest.raises(UserError, match="holds several data sets: choose one of another, sysu-mm01 with --set take"):
        build_source("manifest", {"root": str(first)}).dataset()
    chosen = build_source("manifest", {"root": str(first), "take": "another"})
    assert chosen.dataset() == "another"
    assert list(chosen.records("train")) == []
