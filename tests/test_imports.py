"""The import rules of the two packages, kept over their syntax trees."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted([*ROOT.glob("reidsynth/**/*.py"), *ROOT.glob("reidtrain/**/*.py")])
HEAVY = {"torch", "torchvision", "cv2", "datasets", "transformers", "open_clip", "controlnet_aux", "diffusers", "rembg"}


def imported(path: Path, *, at_import: bool = False) -> set[str]:
    """Modules that a file imports; with `at_import` only those that run when it is imported."""
    names: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(path.read_text())]
    while waiting:
        node = waiting.pop()
        lazy = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        typing = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        if at_import and (lazy or typing):
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        waiting.extend(ast.iter_child_nodes(node))
    return names


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_import_rules(path):
    name, modules = name_of(path), imported(path)
    roots = {module.split(".")[0] for module in modules}
    if name.startswith("reidsynth"):
        assert "reidtrain" not in roots
        at_import = imported(path, at_import=True)
        if not name.startswith("reidsynth.translator"):
            assert "torch" not in {module.split(".")[0] for module in at_import}, "torch is imported where used"
            assert not [m for m in at_import if m.startswith("reidsynth.translator")], "which imports torch"
    elif name != "reidtrain.data":
        assert "reidsynth" not in roots, "only reidtrain.data reads manifests"
    for package, other in (("reidsynth.sources.", "reidsynth.steps"), ("reidsynth.steps.", "reidsynth.sources")):
        if name.startswith(package):
            assert not [module for module in modules if module.startswith(other)]
    if name == "reidtrain.metrics" or name.startswith("reidtrain.losses"):
        foreign = {module for module in modules if not module.startswith("reidtrain.losses")}
        assert {module.split(".")[0] for module in foreign} <= {"torch"} | set(sys.stdlib_module_names)
    if name.startswith("reidtrain.models"):
        allowed = (
            "reidtrain.models",
            "reidtrain.batch",
            "reidtrain.backbones",
            "reidtrain.attention",
            "reidtrain.stem",
            "reidtrain.trunks",
            "reidtrain.losses.unit",
            "reidtrain.errors",
        )
        ours = {module for module in modules if module.startswith("reidtrain.")} - {"reidtrain.losses"}
        assert all(module.startswith(allowed) for module in ours), ours
    if ".cli" in name:
        assert not HEAVY & {m.split(".")[0] for m in imported(path, at_import=True)}
    assert not re.search(r"\.(utils|misc|common|helpers)$", name)
    assert len(path.read_text().splitlines()) <= 400
