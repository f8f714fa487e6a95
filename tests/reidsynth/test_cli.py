"""The command line: one sentence and exit code 2 for what a user can mend, one summary otherwise."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
import yaml
from typer.testing import CliRunner

from reidsynth.cli import app
from reidsynth.manifest import open_manifest


@pytest.fixture
def call(noise):
    def called(*arguments, code=0):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == code, result.output
        return result

    return called


@pytest.fixture
def recipe(tmp_path):
    def written(**changes):
        path = tmp_path / "noise.yaml"
        steps = [{"step": "build-ir", "method": "inverse"}]
        values = {"recipe": 1, "name": "n", "source": {"name": "noise", "rows": 12}, "steps": steps}
        path.write_text(yaml.safe_dump(values | changes))
        return path

    return written


def test_build_prints_one_summary(call, recipe, tmp_path):
    result = call("build", recipe(), "--out", tmp_path / "m", "--workers", 1, "--max-failed", 0.2)
    assert "train 12 of 6 people, test 12 of 6 people" in result.output
    assert "rgb         22 pass, 2 error" in result.output
    assert "ir-inverse  22 pass, 2 absent" in result.output


def test_too_many_failures_end_with_code_2(call, recipe, tmp_path):
    result = call("build", recipe(), "--out", tmp_path / "m", "--workers", 1, "--max-failed", 0.05, code=2)
    assert "2 of 24 rows of 'rgb' failed (damaged image" in result.output
    assert "more than --max-failed 0.05 allows" in result.output
    told = call("build-sketch", tmp_path / "m", "--method", "outline", "--workers", 1, code=2).stderr
    # the two rows without a photograph are absent: their reason is none of those why rows failed
    assert (
        "22 of 22 rows of 'sketch-outline' failed (nothing to draw: 2; sketch is evenly filled: 20; the first" in told
    )


def test_json_summary(call, recipe, tmp_path):
    arguments = ("build", recipe(expect={"train": {"captures": 99}}), "--out", tmp_path / "m", "--workers", 1, "--json")
    result = call(*arguments, "--max-failed", 1, code=1)
    summary = json.loads(result.stdout)
    assert summary["tables"]["rgb"] == {"pass": 22, "fail": 0, "absent": 0, "error": 2}
    assert summary["complaints"] == ["split 'train' holds 12 captures, and 99 are expected"]


def test_steps_are_commands_of_their_own(call, tmp_path):
    out = tmp_path / "m"
    call("ingest", "noise", tmp_path, "--out", out, "--workers", 1, code=2)  # the source takes no root
    call("build-ir", out, "--method", "inverse", code=2)  # nothing there yet
    from reidsynth.engines import LocalEngine
    from reidsynth.ingest import ingest
    from reidsynth.jobs import Run

    ingest(out, "noise", {"rows": 6}, run=Run(LocalEngine(1)))
    call("build-ir", out, "--method", "inverse", "--set", "offset=2", "--workers", 1)
    result = call("validate", out)
    assert f"{out} is sound" in result.output
    result = call("build-sketch", out, "--method", "outline", "--workers", 1, "--max-failed", 1)
    assert "made from other inputs" not in result.stderr
    result = call("build-ir", out, "--method", "inverse", "--set", "offset=3", "--workers", 1, "--max-failed", 1)
    assert "note: table 'sketch-outline' was made from other inputs than those now there" in result.stderr


def test_validate_ends_with_code_1(call, tmp_path):
    from reidsynth.engines import LocalEngine
    from reidsynth.ingest import ingest
    from reidsynth.jobs import Run

    out = tmp_path / "m"
    ingest(out, "noise", {"rows": 6}, run=Run(LocalEngine(1)))
    path = out / "rgb/train-00000-of-00001.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    problems = json.loads(call("validate", out, "--json", code=1).stdout)["problems"]
    assert len(problems) == 1
    assert "is damaged" in problems[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["build", "nowhere.yaml", "--out", "x"], "recipe nowhere.yaml does not exist"),
        (["build-ir", "nowhere"], "nowhere does not exist, so it is no manifest"),
        (["ingest", "market1502", ".", "--out", "x"], "unknown source 'market1502' (did you mean 'market1501'?)"),
        (["demo", "--out", "x", "--set", "train"], "--set 'train' is not valid"),
        (["demo", "--out", "x", "--workers", "0"], "--workers is 0"),
        (["caption", "m", "--limit", "5"], "--limit counts what a service is asked, and --method template asks none"),
        (["build-ir", "m", "--max-failed", "-1"], "--max-failed is -1: it is a share of the rows from 0 to 1"),
        (["build-ir", "m", "--max-failed", "nan"], "--max-failed is nan"),
        (["caption", "m", "--max-cost", "5"], "--max-cost counts what a service is asked"),
    ],
)
def test_mistakes_are_one_sentence_and_code_2(call, arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = call(*arguments, code=2)
    assert result.stderr.startswith("error: ")
    assert said in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_programming_errors_keep_their_traceback(call, recipe, tmp_path, monkeypatch):
    import drawn_source

    def broken(self, samples):
        raise ZeroDivisionError("a mistake in the program")

    monkeypatch.setattr(drawn_source.Inverse, "process", broken)
    result = CliRunner().invoke(app, ["build", str(recipe()), "--out", str(tmp_path / "m"), "--workers", "1"])
    assert isinstance(result.exception, ZeroDivisionError)


def test_listings(call):
    assert "market1501" in call("sources").output
    listed = json.loads(call("steps", "--json").stdout)
    assert "parameters" in listed["build-ir --method channel-augmentation"]


def test_every_parameter_is_explained():
    sources, steps = (json.loads(CliRunner().invoke(app, [name, "--json"]).stdout) for name in ("sources", "steps"))
    for name, facts in (sources | steps).items():
        assert set(facts["meanings"]) == set(facts["parameters"]), name
        assert all(len(meaning) > 5 for meaning in facts["meanings"].values()), name
        assert set(facts["needed"]) | set(facts["defaults"]) | {"gates"} == set(facts["parameters"]), name
    for name in ("build-ir --method gan", "caption --method openai"):
        assert steps[name]["needed"] == ["model"]
        assert steps[name]["example"].endswith(" --set model=MODEL")


def test_one_source_and_one_step_are_told_in_full(call):
    told = " ".join(call("steps", "build-ir", "channel-augmentation").output.split())
    assert "gray = false: adds .2989 R + .5870 G + .1140 B as a fourth outcome" in told
    assert "Example: reidsynth build-ir data/market --method channel-augmentation" in told
    both = call("steps", "remove-background").output
    assert "remove-background --method grabcut" in both
    assert "remove-background --method rembg" in both
    told = " ".join(call("sources", "cuhk03-np").output.split())
    assert "boxes = detected: `detected` (by a detector" in told
    assert "unknown step 'sketch'" in call("steps", "sketch", code=2).stderr
    assert "unknown method of step 'caption': 'gpt'" in call("steps", "caption", "gpt", code=2).stderr
    assert "unknown source 'market'" in call("sources", "market", code=2).stderr
    for step in ("remove-background", "build-sketch", "build-ir", "caption"):
        assert f"`reidsynth steps {step}`" in " ".join(call(step, "--help").output.split())


def test_exit_codes_are_told():
    assert "Exit codes: 0 done; 1 done, and not as asked" in " ".join(
        CliRunner().invoke(app, ["--help"]).output.split()
    )


def test_help_needs_none_of_the_heavy_libraries():
    code = (
        "import sys; from typer.testing import CliRunner; from reidsynth.cli import app; "
        "r = CliRunner().invoke(app, ['--help']); assert r.exit_code == 0; "
        "heavy = {'torch', 'cv2', 'numpy', 'pyarrow', 'datasets', 'controlnet_aux', 'PIL', 'pydantic'}; "
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_gates_are_listed_with_their_defaults_and_set_by_a_command(call, ingested, tmp_path):
    listed = json.loads(call("gates", "--json").stdout)
    assert listed["ir_range"] == {
        "default": 8.0,
        "about": "spread of the grey values between the 1st and 99th percentile, of 255",
    }
    assert listed["text_tokens"]["default"] is None
    assert all(entry["about"] for entry in listed.values())
    assert "text_tokens = never" in call("gates").output
    shutil.copytree(ingested, tmp_path / "m")
    options = ("--method", "inverse", "--set", "gates={ir_range: 300}", "--max-failed", 1, "--workers", 1)
    call("build-ir", tmp_path / "m", *options)
    assert open_manifest(tmp_path / "m").tables["ir-inverse"].reasons["blank infrared image"] == 22
