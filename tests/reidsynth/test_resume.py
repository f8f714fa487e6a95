"""Killed at any moment and resumed with another number of workers, a build gives the bytes of an undisturbed one."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from manifest_files import tree

RECIPE = """
recipe: 1
name: killed
source: {name: demo, PEOPLE, observations: 2, height: 64, width: 32}
steps:
  - {step: remove-background, method: grabcut}
  - {step: build-sketch, method: lineart-standard}
  - {step: build-ir, method: channel-augmentation}
  - {step: caption, method: template}
"""


def build(recipe: Path, out: Path, workers: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "reidsynth", "build", str(recipe), "--out", str(out), "--workers", str(workers)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def kill_and_resume(tmp_path: Path, kills: int, seed: int, people: str = "train: 30, val: 25, test: 25") -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.replace("PEOPLE", people))
    undisturbed = tmp_path / "undisturbed"
    began = time.monotonic()
    assert build(recipe, undisturbed, 1).wait() == 0
    seconds = time.monotonic() - began
    expected = tree(undisturbed)
    rng = random.Random(seed)
    killed = 0
    out = tmp_path / "killed"
    while killed < kills:
        process = build(recipe, out, rng.choice((1, 2, 3)))
        time.sleep(rng.uniform(0.2, 1.0) * seconds)
        process.send_signal(signal.SIGKILL)
        if process.wait() == -signal.SIGKILL:
            killed += 1
            if out.is_dir():  # shards that are there are whole
                for path in out.rglob("*.parquet"):
                    if not path.name.startswith(".writing-") and "preview" not in path.parts:
                        assert path.read_bytes() == expected[path.relative_to(out).as_posix()]
        else:  # it came to its end before the signal: begin anew
            shutil.rmtree(out)
    assert build(recipe, out, 2).wait() == 0
    assert tree(out) == expected


def test_two_kills(tmp_path):
    kill_and_resume(tmp_path, kills=2, seed=0, people="train: 12, val: 4, test: 4")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_twenty_kills(tmp_path, seed):
    """Sixty in all; with the forty of test_captions_batches.py a hundred."""
    kill_and_resume(tmp_path, kills=20, seed=seed)
