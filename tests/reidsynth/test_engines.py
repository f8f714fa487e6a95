"""Engines: what is abandoned when a run is interrupted."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reidsynth.cli import app
from reidsynth.engines import LocalEngine


def slow(task):
    path, seconds = task
    time.sleep(seconds)
    Path(path).write_text("done")
    return path


def test_an_interrupted_run_does_not_wait_for_what_workers_do(tmp_path):
    def interrupted():
        with LocalEngine(2) as engine:
            results = engine.imap(slow, tasks * 2)
            assert next(results) == str(tmp_path / "first")
            raise KeyboardInterrupt

    tasks = [(str(tmp_path / "first"), 0.0), (str(tmp_path / "second"), 8.0), (str(tmp_path / "third"), 8.0)]
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [path.name for path in tmp_path.iterdir()] == ["first"]


def test_an_interruption_is_one_sentence(monkeypatch, tmp_path):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("reidsynth.cli.building.parameters", interrupted)
    result = CliRunner().invoke(app, ["demo", "--out", str(tmp_path / "m")])
    assert result.exit_code == 130
    assert result.stderr == "interrupted: finished shards are kept, run the same command again to go on\n"
