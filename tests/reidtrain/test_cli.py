"""The command line: its commands on drawn people, its errors, and that help stays light."""

from __future__ import annotations

import json
import re
import shutil
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


def test_evaluate_prints_and_keeps_the_result(trained, people, tmp_path):
    run = shutil.copytree(trained[0], tmp_path / "run", ignore=shutil.ignore_patterns("results"))
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
    whole = (run / "results" / "test.json").read_bytes()
    only = invoke("evaluate", run / "checkpoints/step-000006", "--manifest", people(), "--modes", "S+T", "--json")
    assert list(json.loads(only.stdout)["model"]["modes"]) == ["T+S->R"]
    assert (run / "results" / "test.json").read_bytes() == whole
    assert list(json.loads((run / "results" / "test-only-S+T.json").read_text())["modes"]) == ["T+S->R"]


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


@pytest.mark.slow
def test_figures_of_every_kind_are_drawn_where_asked(trained, people, tmp_path):
    run, _, _ = trained
    commands = {
        "rank-list": ("--queries", 1, "--top", 2, "--modes", "T", "--protocol", "tri-cuhk-pedes"),
        "tsne": ("--identities", 3, "--views", 1, "--frozen"),
        "attention": ("--queries", 1),
    }
    for name, options in commands.items():
        files = [tmp_path / f"{name}{suffix}" for suffix in (".png", ".html")]
        outs = [part for file in files for part in ("--out", file)]
        result = invoke(name, run, "--manifest", people(), *options, *outs)
        assert result.exit_code == 0, result.output
        assert all(str(file) in result.stdout and file.stat().st_size > 1000 for file in files)


def test_a_protocol_an_order_and_each_query_can_be_asked_for(trained, people, tmp_path):
    run, _, _ = trained
    asked = ["--protocol", "tri-cuhk-pedes", "--rerank", "5,2,0.3", "--per-query", "--json"]
    result = invoke("evaluate", run, "--manifest", people(), *asked)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["model"]
    assert list(found["modes"]) == ["T->R", "T->R, source removed", "S->R", "T+S->R"]
    assert (found["protocol"], found["rerank"]) == ("tri-cuhk-pedes", "k-reciprocal 5,2,0.3")
    stem = run / "results" / "test-tri-cuhk-pedes-reranked"
    assert len(stem.with_name(f"{stem.name}-queries.csv").read_text().splitlines()) == 1 + 3 * 72 + 48
    told = invoke("report", run, "--out", tmp_path / "report.md")
    assert told.exit_code == 0, told.output
    assert "FlexiReID, table 1" in told.stdout
    assert "data: people here, cuhk-pedes in FlexiReID" in (tmp_path / "report.md").read_text()
    reports = json.loads(invoke("report", run, "--json").stdout)
    assert {len(report["lines"]) for report in reports} >= {4}


def test_protocols_are_listed_with_their_rules():
    assert "llcm-released-code" in invoke("protocols").stdout
    shown = invoke("protocols", "sysu-mm01", "--json")
    rules = {rule["setting"]: rule for rule in json.loads(shown.stdout)}
    assert (rules["I->R, indoor"]["excluded"], rules["I->R, indoor"]["trials"]) == ("sysu", "10")


def test_presets_and_configuration_are_shown():
    listed = invoke("presets")
    assert re.search(r"^flexireid-demo +FlexiReID on the drawn world", listed.stdout, re.MULTILINE)
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
        (["evaluate", "{run}", "--manifest", "{people}", "--protocol", "sysu"], "protocol 'sysu' is unknown"),
        (["evaluate", "{run}", "--manifest", "{people}", "--rerank", "20"], "write k1,k2,lambda"),
        (["evaluate", "{run}", "--manifest", "{people}", "--device", "gpu"], "device 'gpu' is unknown"),
        (["evaluate", "{run}", "--manifest", "{people}", "--device", "cuda:99"], "device 'cuda:99' is not there"),
        (["search", "{run}", "--manifest", "{people}", "--text", "a man", "--device", "gpu"], "device 'gpu' is"),
        (["tsne", "{run}", "--manifest", "{people}", "--device", "gpu"], "device 'gpu' is unknown"),
        (["show-config", "--set", "objective.name=unireid"], "objective unireid reads what model unireid gives"),
        (["protocols", "duke"], "protocol 'duke' is unknown"),
        (["report", "{tmp}"], "holds no results"),
        (["ablate", "flexi", "--manifest", "{people}", "--out", "{tmp}/a"], "preset 'flexi' is unknown"),
        (["ablate", "flexireid", "--manifest", "{people}", "--out", "{tmp}/a", "--seeds", "x"], "seeds 'x' can't be"),
        (["attention", "{run}", "--manifest", "{people}", "--method", "gaze"], "method 'gaze' is unknown"),
        (["curves", "{run}", "--out", "{tmp}/pictures"], "pictures ends in neither .png nor .html"),
        (["tsne", "{run}", "--manifest", "{people}", "--out", "{tmp}/p.jpg"], "p.jpg ends in neither .png nor .html"),
        (["search", "{run}", "--manifest", "{people}", "--text", "a man", "--out", "{tmp}/p.jpg"], "not end in .png"),
        (
            ["evaluate", "{run}", "--manifest", "{people}", "--protocol", "pku-sketch", "--modes", "T", "--modes", "S"],
            "(T->R, S->R: the manifest keeps no artists of PKU-Sketch",
        ),
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
