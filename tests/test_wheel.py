"""What is installed finds what it needs without the repository: recipes, the papers' tables, presets, weights."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel's content in a folder of its own; skipped where no build backend is at hand."""
    folder = tmp_path_factory.mktemp("wheel")
    uv = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if uv is None:
        pytest.skip("uv is not installed")
    build = [uv, "build", "--wheel", "--offline", "--quiet", "--out-dir", str(folder), str(ROOT)]
    made = subprocess.run(build, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"no wheel can be built offline: {made.stderr.strip()[-200:]}")
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_everything_that_is_data_is_in_the_wheel(installed):
    def files(folder, suffixes):
        found = (path for path in folder.rglob("*") if path.suffix in suffixes and "__pycache__" not in path.parts)
        return {path.relative_to(folder).as_posix() for path in found}

    data = {".yaml", ".json", ".html", ".safetensors"}
    for package in ("reidsynth", "reidtrain"):
        there = files(ROOT / package, {".py"} | data)
        assert there <= files(installed / package, {".py"} | data)
    assert files(ROOT / "manifests", data) == files(installed / "reidsynth/manifests", data)
    assert {path.name for path in installed.iterdir() if path.suffix != ".dist-info"} == {"reidsynth", "reidtrain"}


def test_an_installed_copy_builds_by_name_and_reports(installed, tmp_path):
    code = (
        "from pathlib import Path; import reidsynth; from reidsynth.recipe import load_recipe; "
        "from reidtrain.published import read_published; "
        f"assert Path(reidsynth.__file__).is_relative_to({str(installed)!r}); "
        "print(load_recipe(Path('demo')).name, sorted(paper.name for paper in read_published())[0])"
    )
    environment = os.environ | {"PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["demo", "AIO"], done.stderr
