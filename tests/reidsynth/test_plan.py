from __future__ import annotations

import json
import time

import pytest
import yaml
from drawn_source import Noise
from typer.testing import CliRunner

from reidsynth.cli import app
from reidsynth.errors import UserError
from reidsynth.plan import plan
from reidsynth.recipe import build, load_recipe
from reidsynth.steps import STEPS


@pytest.fixture
def recipe(noise, monkeypatch, tmp_path):
    """Write a recipe over `rows` rows in each of two splits, and load it."""
    monkeypatch.setitem(STEPS, "build-ir", {**STEPS["build-ir"], "slow": "drawn_source:Slow"})

    def write(*steps, rows=250):
        values = {"recipe": 1, "name": "tried", "source": {"name": "noise", "rows": rows}, "steps": list(steps)}
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(values))
        return load_recipe(path)

    return write


def test_bytes_are_those_of_the_build(recipe, tmp_path, run):
    loaded = recipe({"step": "build-ir", "method": "inverse"}, {"step": "build-sketch", "method": "outline"})
    made = plan(loaded, workers=1)
    manifest = build(loaded, tmp_path / "built", run=run)
    assert made.splits == {"train": 250, "test": 250}
    for step in made.steps:
        built = sum(shard.bytes for table in step.tables for shard in manifest.info.shards_of(table))
        assert step.rows == 500
        assert step.bytes == pytest.approx(built, rel=0.25), step.name
    whole = sum(path.stat().st_size for path in manifest.path.rglob("*.parquet"))
    assert made.bytes == pytest.approx(whole, rel=0.2)


def test_time_is_shared_by_the_workers_and_grows_with_the_rows(recipe):
    loaded = recipe({"step": "build-ir", "method": "slow"}, rows=50)
    step = plan(loaded, workers=2, probe=4).steps[1]
    assert step.probed == 4
    assert step.seconds_per_row >= 0.02
    assert step.seconds == pytest.approx(step.start + 100 * step.seconds_per_row / 2)


def test_start_of_a_source_is_paid_once(recipe, monkeypatch):
    seen = []
    read = Noise.read

    def read_after_loading(self, record):
        if not seen:
            time.sleep(0.4)
        seen.append(record)
        return read(self, record)

    monkeypatch.setattr(Noise, "read", read_after_loading)
    step = plan(recipe(rows=2000), workers=1, probe=4).steps[0]
    assert step.start + 0.01 >= 0.4
    assert step.seconds < 4000 * 0.1  # scaled to all rows, the start alone would be 400 s


def test_slow_probe_is_cut_short_and_says_so(recipe):
    slow, outline = {"step": "build-ir", "method": "slow"}, {"step": "build-ir", "method": "inverse"}
    made = plan(recipe(slow, outline, rows=20), workers=1, probe=30, seconds=0.05)
    assert 1 <= made.steps[1].probed <= 2
    assert f"after {made.steps[1].probed} of 30 rows" in made.steps[1].note


def test_tokens_and_money_of_captions_without_asking(recipe, tmp_path, monkeypatch):
    ledger = tmp_path / "ledger.sqlite"
    asking = {
        "step": "caption",
        "method": "openai",
        "model": "some-model",
        "base_url": "http://192.0.2.1/v1",  # reserved: nobody answers there
        "input_price": 2.0,
        "output_price": 8.0,
        "ledger": str(ledger),
    }
    made = plan(recipe(asking, rows=140), workers=1, probe=280)
    step = made.steps[1]
    assert (step.rows, step.questions) == (240, 240)  # of 140 photographs in each split, every seventh can't be read
    assert step.prompt_tokens > 240 * 100
    assert step.cost == pytest.approx((step.prompt_tokens * 2 + step.completion_tokens * 8) / 1e6)
    assert made.cost == step.cost
    assert "the data set's terms allow a service on this machine only" in step.note
    assert not ledger.exists()


def test_captions_without_prices_have_no_cost_and_later_steps_go_on(recipe):
    asking = {"step": "caption", "method": "openai", "model": "some-model"}
    inverse = {"step": "build-ir", "method": "inverse"}
    outline = {"step": "build-sketch", "method": "outline"}
    made = plan(recipe(asking, inverse, outline, rows=14), workers=1, probe=14)
    assert made.cost is None
    assert made.steps[1].questions == 24
    assert "set input_price and output_price" in made.steps[1].note
    assert made.steps[3].bytes > 0


def test_parts_are_planned_one_by_one(noise, tmp_path):
    inverse = {"step": "build-ir", "method": "inverse"}
    demo = {"name": "demo", "train": 1, "val": 0, "test": 0, "observations": 2}
    parts = [{"source": {"name": "noise", "rows": 10}, "splits": ["train"]}, {"source": demo}]
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({"recipe": 1, "name": "both", "parts": parts, "steps": [inverse]}))
    made = plan(load_recipe(path), workers=1, probe=4)
    assert made.splits == {"train": 12}
    assert [(step.name, step.rows) for step in made.steps] == [
        ("noise: ingest", 20),
        ("noise: build-ir inverse", 10),
        ("demo: ingest", 2),
        ("demo: build-ir inverse", 2),
    ]


def test_mistakes(recipe):
    with pytest.raises(UserError, match="--probe 0"):
        plan(recipe(), workers=1, probe=0)


def test_command_line_writes_nothing(tmp_path, monkeypatch):
    path = tmp_path / "recipe.yaml"
    source = {"name": "demo", "train": 2, "val": 0, "test": 0, "observations": 2}
    steps = [{"step": "build-ir", "method": "channel-augmentation"}]
    path.write_text(yaml.safe_dump({"recipe": 1, "name": "tiny", "source": source, "steps": steps}))
    monkeypatch.chdir(tmp_path)
    arguments = ["plan", str(path), "--workers", "1", "--probe", "2"]
    told = CliRunner().invoke(app, arguments)
    assert told.exit_code == 0, told.output
    assert "build-ir channel-augmentation" in told.output
    as_json = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert as_json["splits"] == {"train": 4}
    assert as_json["total"]["rows"] == 4
    assert [step["tables"] for step in as_json["steps"]][1] == ["ir-ca"]
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]


def test_workers_are_those_of_the_engine(tmp_path):
    path = tmp_path / "recipe.yaml"
    source = {"name": "demo", "train": 2, "val": 0, "test": 0, "observations": 2}
    path.write_text(yaml.safe_dump({"recipe": 1, "name": "tiny", "source": source, "steps": []}))
    arguments = ["plan", str(path), "--probe", "1", "--json", "--engine", "ray", "--workers", "7"]
    told = CliRunner().invoke(app, arguments)
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["workers"] == 7
    unreachable = CliRunner().invoke(app, [*arguments[:-2], "--address", "127.0.0.1:1"])
    assert unreachable.exit_code == 2
    assert "no Ray cluster answers at '127.0.0.1:1'" in unreachable.output
