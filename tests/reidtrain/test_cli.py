"""The command line: its commands on drawn people, its errors, and that help stays light."""

from __future__ import annotations

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from reidtrain.cli import app
from reidtrain.runlog import read_log

from .conftest import FAST

runner = CliRunner()


def invoke(*arguments):
    return runner.invoke(app, [str(argument) for argument in arguments])


def settings(*more):
    return [part for setting in (*FAST, *more) for part in ("--set", setting)]


@pytest.fixture(scope="module")
def trained(people, tiny_backbone, tmp_path_factory):
    """A run of six steps, made by the command, chosen on val."""
    run = tmp_path_factory.mktemp("cli") / "run"
    more = settings(f"backbone.name={tiny_backbone}", "train.steps=6", "select.every=3")
    result = invoke("fit", "--manifest", people(), "--out", run, "--seed", 3, *more)
    assert result.exit_code == 0, result.output
    return run, more, result


def test_fit_selects_on_val_and_says_so(trained, people):
    run, more, result = trained
    assert "on val)" in result.stdout
    best = json.loads((run / "best.json").read_text())
    assert (best["metric"], best["split"], len(best["modes"])) == ("mean R1", "val", 7)
    entries = read_log(run, "val")
    assert [entry["step"] for entry in entries] == [3, 6]
    assert best["value"] == max(entry["mean"] for entry in entries)
    assert best["value"] == pytest.approx(sum(entries[-1]["R1"].values()) / 7) or best["checkpoint"] == "step-000003"
    again = invoke("fit", "--manifest", people(), "--out", run, "--seed", 3, "--json", *more)
    assert json.loads(again.stdout) == {"run": str(run), "best": best}
    other = invoke("fit", "--manifest", people(), "--out", run, "--seed", 4, *more)
    assert other.exit_code == 2
    assert "train.seed is 3 there and 4 here" in other.stderr


def test_evaluate_prints_and_keeps_the_result(trained, people):
    run, _, _ = trained
    result = invoke("evaluate", run, "--manifest", people(), "--frozen")
    assert result.exit_code == 0, result.output
    for part in ("T+S+I->R", "R->R", "mean of seven", "chance", "frozen encoder"):
        assert part in result.stdout
    assert {path.name for path in (run / "results").iterdir()} == {
        "test.json",
        "test.md",
        "test-frozen.json",
        "test-frozen.md",
        "test-comparison.md",
    }
    only = invoke("evaluate", run / "checkpoints/step-000006", "--manifest", people(), "--modes", "S+T", "--json")
    assert list(json.loads(only.stdout)["model"]["modes"]) == ["T+S->R"]


def test_search_prints_and_draws(trained, people, tmp_path):
    run, _, _ = trained
    sketch = tmp_path / "sketch.png"
    lines = np.full((40, 20), 255, np.uint8)
    lines[::3] = 0
    cv2.imwrite(str(sketch), lines)
    query = ["search", run, "--manifest", people(), "--text", "a person in a red shirt", "--sketch", sketch]
    result = invoke(*query, "--top", 4, "--out", tmp_path / "strip.png")
    assert result.exit_code == 0, result.output
    assert len([line for line in result.stdout.splitlines() if "person 2" in line]) == 4
    assert cv2.imread(str(tmp_path / "strip.png")).shape[0] > 100
    hits = json.loads(invoke(*query, "--top", 2, "--json").stdout)
    assert [hit["rank"] for hit in hits] == [1, 2]
    unknown = invoke("search", run, "--manifest", people(), "--text", "a zebra in red")
    assert "zebra" in unknown.stderr


def test_figures_are_drawn(trained, people):
    run, _, _ = trained
    result = invoke("figures", run, "--manifest", people(), "--queries", 1, "--top", 2)
    assert result.exit_code == 0, result.output
    assert {path.name for path in (run / "figures").iterdir()} == {"curves.png", "test-rank-lists.png"}


def test_presets_and_configuration_are_shown():
    listed = invoke("presets")
    assert "flexireid-demo  FlexiReID on the drawn world" in listed.stdout
    shown = invoke("show-config", "--set", "optim.lr=0.5", "--json")
    assert json.loads(shown.stdout)["optim"]["lr"] == 0.5
    assert "lr: 0.5" in invoke("show-config", "--set", "optim.lr=0.5").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "--manifest", "nowhere", "--out", "{tmp}/run"], "is no manifest"),
        (["fit", "--manifest", "{people}", "--out", "{tmp}/run", "--preset", "flexi"], "preset 'flexi' is unknown"),
        (["fit", "--manifest", "{people}", "--out", "{tmp}/run", "--set", "a=1", "--set", "b=2"], "has 2 mistakes"),
        (["evaluate", "{tmp}/none", "--manifest", "{people}"], "so it is no run"),
        (["search", "{run}", "--manifest", "{people}"], "the query is empty"),
        (["search", "{run}", "--manifest", "{people}", "--sketch", "{tmp}/none.png"], "none.png"),
        (["evaluate", "{run}", "--manifest", "{people}", "--modes", "Q"], "query mode 'Q' is not valid"),
        (["evaluate", "{run}", "--manifest", "{people}", "--split", "dev"], "no split 'dev'"),
        (["pretrain-backbone", "--manifest", "{people}", "--out", "{tmp}/b", "--set", "steps"], "KEY=VALUE"),
        (["show-config", "--set", "optim.lr=-1"], "optim.lr: input should be greater than 0, received -1"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_two(trained, people, tmp_path, arguments, message):
    places = {"tmp": tmp_path, "people": people(), "run": trained[0]}
    result = invoke(*(argument.format(**places) for argument in arguments))
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_every_command_has_examples():
    for command in app.registered_commands:
        name = command.name or command.callback.__name__
        assert f"reidtrain {name}" in (command.epilog or ""), name


def test_help_imports_nothing_heavy():
    script = (
        "import sys; from typer.testing import CliRunner; from reidtrain.cli import app\n"
        "assert CliRunner().invoke(app, ['fit', '--help']).exit_code == 0\n"
        "heavy = {'torch', 'numpy', 'cv2', 'pyarrow', 'accelerate', 'matplotlib'} & sys.modules.keys()\n"
        "sys.exit(', '.join(heavy) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
