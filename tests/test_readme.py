"""The README's code runs as it is printed, on worlds of a few people so that it takes seconds."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# What a command gets besides: fewer people and steps.
SMALLER = {
    ("reidsynth", "build"): "--set train=16 --set val=4 --set test=6 --workers 1",
    ("reidsynth", "ingest"): "--workers 1",
    ("reidsynth", "remove-background"): "--workers 1",
    ("reidsynth", "build-sketch"): "--workers 1",
    ("reidsynth", "build-ir"): "--workers 1",
    ("reidsynth", "caption"): "--workers 1",
    ("reidsynth", "audit"): "--workers 1",
    ("reidtrain", "fit"): "--set train.steps=2 --set sampler.batch_size=8 --set select.every=2 --set train.threads=1",
}


def blocks(language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [text for name, text in found if name == language]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with what the README's commands name: the recipes and a folder of crops."""
    from reidsynth.world import World

    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "manifests", folder / "manifests")
    (folder / "crops").mkdir()
    import cv2

    world = World(seed=9)
    for number, person in enumerate(world.identities("train", 3)):
        for observation in range(2):
            shot = world.draw(person, camera_index=observation, observation=observation)
            cv2.imwrite(str(folder / f"crops/{number:04d}_c{observation}_{observation}.png"), shot.rgb[..., ::-1])
    return folder


def run(line: str) -> str:
    """Run one line of the README in this process."""
    from reidsynth.cli import app as reidsynth
    from reidtrain.cli import app as reidtrain

    words = shlex.split(line)
    words += shlex.split(SMALLER.get((words[0], words[1]), ""))
    result = CliRunner().invoke({"reidsynth": reidsynth, "reidtrain": reidtrain}[words[0]], words[1:])
    assert result.exit_code == 0, f"{line}\n{result.output}\n{result.exception!r}"
    return result.output


def test_commands_and_code(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    assert len(lines) > 10
    for line in lines:
        run(line)
    for path in ("data/contact-sheet.png", "data/search.png", "data/crops.png", "runs/demo/figures/curves.png"):
        assert (place / path).stat().st_size > 10_000, path
    assert "| T+S+I |" in (place / "runs/demo/results/test-comparison.md").read_text()
    capsys.readouterr()
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "(64, 128)" in printed
    assert "True " in printed
    assert "0.0 0.5" in printed


def test_names_in_the_readme_exist():
    for target in re.findall(r"^make (\S+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target
    for path in re.findall(r"\]\((docs/[^)]+)\)|(?:^|[ (`])(manifests/[\w-]+\.yaml)", README):
        assert (ROOT / next(filter(None, path))).is_file(), path
    tree = next(block for block in blocks("") if block.startswith("manifests/"))
    package = ""
    for line in tree.splitlines():
        named = re.match(r"(\s*)(.+?)(?:\s{2,}|\s+[A-Za-z].*$|$)", line)
        indent, names = named.group(1), re.split(r", ", re.split(r"\s{2,}", line.strip())[0])
        for name in names:
            base = name.split(" ")[0]
            if not indent:
                package = base if base.endswith("/") else ""
            path = ROOT / (base if not indent else package + base)
            assert path.exists(), path
