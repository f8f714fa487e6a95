"""Fixtures of the pipeline's tests: a registered source of noise and two steps."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from manifest_files import unchanged

from reidsynth.engines import LocalEngine
from reidsynth.ingest import ingest
from reidsynth.jobs import Run
from reidsynth.manifest import open_manifest
from reidsynth.sources import SOURCES
from reidsynth.steps import STEPS


@pytest.fixture
def noise(monkeypatch):
    """Register the source `noise` and the steps `build-ir inverse` and `build-sketch outline`."""
    monkeypatch.setitem(SOURCES, "noise", "drawn_source:Noise")
    monkeypatch.setitem(STEPS, "build-ir", {**STEPS["build-ir"], "inverse": "drawn_source:Inverse"})
    monkeypatch.setitem(STEPS, "build-sketch", {**STEPS["build-sketch"], "outline": "drawn_source:Outline"})


@pytest.fixture
def run():
    """One worker, in this process."""
    return Run(LocalEngine(1), progress=False)


@pytest.fixture(scope="session")
def ingested(tmp_path_factory):
    """A manifest of noise with twelve rows in each of two splits, to be copied; 22 photographs can be read."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(SOURCES, "noise", "drawn_source:Noise")
        made = ingest(tmp_path_factory.mktemp("noise") / "m", "noise", {"rows": 12}, run=Run(LocalEngine(1)))
    with unchanged(made.path) as path:
        yield path


@pytest.fixture
def manifest(tmp_path, ingested, noise):
    """A copy of the manifest of noise, with its source and steps registered."""
    return open_manifest(shutil.copytree(ingested, tmp_path / "m"))
