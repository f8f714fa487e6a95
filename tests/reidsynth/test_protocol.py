from __future__ import annotations

import json

import drawn_source
import pytest

from reidsynth import open_manifest
from reidsynth.errors import UserError
from reidsynth.ingest import ingest
from reidsynth.pipeline import run_step
from reidsynth.protocol import write_protocol
from reidsynth.validate import validate

LISTS = {"test-id": [3, 1, 2], "artists": {"a": [1], "b": [2, 3]}}


@pytest.fixture
def built(tmp_path, noise, run, monkeypatch):
    monkeypatch.setattr(drawn_source.Noise, "protocol", lambda self: LISTS, raising=False)
    ingest(tmp_path / "m", "noise", {"rows": 5}, run=run)
    return tmp_path / "m"


def test_lists_come_back_as_they_were_and_are_in_the_card(built):
    manifest = open_manifest(built)
    assert manifest.protocol("noise") == LISTS
    assert manifest.protocol("another") == {}
    assert json.loads((built / "protocol/noise/test-id.json").read_text()) == [3, 1, 2]
    assert "`protocol/noise/artists.json`" in (built / "README.md").read_text()
    assert validate(built) == []


def test_steps_keep_them(built, run):
    assert run_step(built, "build-ir", "inverse", {}, run=run).protocol("noise") == LISTS


def test_changed_lists_replace_the_old_files_and_the_checksum(built, run, monkeypatch):
    before = open_manifest(built).checksum
    monkeypatch.setattr(drawn_source.Noise, "protocol", lambda self: {"test-id": [3, 1]}, raising=False)
    manifest = ingest(built, "noise", {"rows": 5}, run=run)
    assert manifest.protocol("noise") == {"test-id": [3, 1]}
    assert [path.name for path in (built / "protocol/noise").iterdir()] == ["test-id.json"]
    assert manifest.checksum != before


def test_damage_is_noticed(built):
    file = built / "protocol/noise/test-id.json"
    file.write_text("[3,1,9]\n")
    with pytest.raises(UserError, match=r"test-id\.json is not the file on record"):
        open_manifest(built).protocol("noise")
    assert any("test-id.json" in problem for problem in validate(built))
    file.unlink()
    with pytest.raises(UserError, match=r"test-id\.json is missing"):
        open_manifest(built).protocol("noise")


def test_manifest_without_lists_says_nothing_of_them(tmp_path, noise, run):
    manifest = ingest(tmp_path / "m", "noise", {"rows": 5}, run=run)
    assert manifest.info.protocol == {}
    assert not (tmp_path / "m/protocol").exists()


@pytest.mark.parametrize("name", ["Test", "../x", "a_b", "", "a/b"])
def test_names_are_checked(tmp_path, name):
    with pytest.raises(ValueError, match="lower-case words"):
        write_protocol(tmp_path, "noise", {name: []})
