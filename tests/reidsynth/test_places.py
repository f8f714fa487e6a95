"""Where manifests, sheets and reports may be written: any folder, whatever its name; what can't be is one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from reidsynth.cli import app
from reidsynth.errors import UserError
from reidsynth.ingest import ingest
from reidsynth.manifest import open_manifest
from reidsynth.merging import merge
from reidsynth.pipeline import run_step
from reidsynth.selection import Selection, select
from reidsynth.storage import disk_errors, writing
from reidsynth.validate import validate

LONG = "n" * 300


@pytest.mark.parametrize("name", ["d-:x", "file:x", "s3:/bucket/x", "~/x", "a%20b#?", "./q:/ü"])
def test_relative_folders_with_any_name(name, noise, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ingest(Path(name), "noise", {"rows": 6}, run=run)
    run_step(Path(name), "build-ir", "inverse", {}, run=run)
    run_step(Path(name), "caption", "template", {}, run=run)
    assert validate(Path(name)) == []
    part = select(open_manifest(Path(name)), Selection(identities=1), Path(f"{name}-part"))
    assert part.info.splits["train"].identities == 1
    whole = merge([open_manifest(Path(name))], Path(f"{name}-whole"))
    assert whole.table("text-template", "train")[0]["sample_id"] == "noise/train/00000"


@pytest.mark.parametrize("command", [["ingest", "folder", "."], ["select", "m"], ["merge", "m"], ["demo"]])
def test_an_address_is_no_folder(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, [*command, "--out", "s3://bucket/x"])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: --out 's3:/bucket/x' is an address: give a folder of this machine")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "suffix"),
    [
        (["demo", "--set", "train=2"], ""),
        (["select", "{m}", "--identities", "1"], ""),
        (["merge", "{m}"], ""),
        (["preview", "{m}"], ".png"),
        (["report", "{m}"], ".html"),
        (["audit", "{m}", "--workers", "1"], ".json"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_place_that_can_not_be_is_one_sentence(command, suffix, noise, ingested, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / f"folder{suffix or '.'}").mkdir()
    arguments = [part.format(m=ingested) for part in command]
    wrong = [tmp_path / "file" / f"x{suffix}", tmp_path / f"{LONG}{suffix}"]
    if suffix:
        wrong.append(tmp_path / f"folder{suffix}")
    before = sorted(tmp_path.rglob("*"))
    for out in wrong:
        result = CliRunner().invoke(app, [*arguments, "--out", str(out)])
        assert result.exit_code == 2, result.output
        assert "can't be written (" in result.stderr
        assert "choose another place" in result.stderr
        assert len(result.stderr.splitlines()) == 1
        assert len(result.stderr) < 300
    assert sorted(tmp_path.rglob("*")) == before


def test_errors_about_other_files_stay_what_they_are(tmp_path):
    with pytest.raises(FileNotFoundError), writing(tmp_path / "out") as handle:
        handle.write((tmp_path / "elsewhere" / "gone").read_bytes())
    with pytest.raises(UserError, match="choose another place"), disk_errors(tmp_path / "a" / "b"):
        (tmp_path / "a").rmdir()


@pytest.mark.parametrize(
    "command",
    [
        ["stats", LONG],
        ["ingest", "market1501", LONG, "--out", "m"],
        ["build", LONG, "--out", "m"],
        ["verify", "folder", LONG, "--set", "pattern={pid}"],
        ["train-ir-gan", "--llvip", LONG, "--out", "m"],
    ],
    ids=lambda command: command[0],
)
def test_a_path_that_can_not_be_read_is_one_sentence(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2
    assert result.stderr == f"error: {LONG[:80]}...: file name too long: give another path\n"
    assert list(tmp_path.iterdir()) == []
