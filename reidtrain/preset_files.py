"""Preset files: YAML that holds only differences, from the defaults or from the preset under `extends`.

A preset may hold `rows`, the rows of its ablation: name -> what is different, written `PRESET:ROW` wherever a preset is
asked for. Rows are inherited like everything else: `flexireid-demo:soft` is the row `soft` of `flexireid` on the
settings of `flexireid-demo`; a row that makes no sense there is set to null, and `rows: null` inherits none.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from reidtrain.errors import UserError


def presets() -> dict[str, str]:
    """Names of the shipped presets and of their rows, with what they are about."""
    found = sorted(resources.files("reidtrain").joinpath("presets").iterdir(), key=lambda entry: entry.name)
    about: dict[str, str] = {}
    for name in (Path(entry.name).stem for entry in found if entry.name.endswith(".yaml")):
        values = _resolve(name, ())
        about[name] = str(values.get("about", ""))
        about.update({f"{name}:{row}": str(changes.get("about", "")) for row, changes in _rows(values).items()})
    return about


def resolve(preset: str) -> dict[str, Any]:
    """Read a preset with all that it extends.

    Args:
        preset: name or path of a preset, with `:ROW` for a row of it.

    Returns:
        Its values, without `extends` and `rows`.

    Raises:
        UserError: when a preset or row does not exist, or is not YAML.
    """
    name, _, row = preset.partition(":")
    values = _resolve(name, ())
    rows = _rows(values)
    values.pop("rows")
    if not row:
        return values
    if row not in rows:
        hint = nearest(row, list(rows)) if rows else ": it has none"
        raise UserError(f"preset {name!r} has no row {row!r}{hint}")
    return merge(values, rows[row])


def row_names(preset: str) -> list[str]:
    """Rows of a preset's ablation, as `PRESET:ROW`.

    Raises:
        UserError: when the preset does not exist, or is not YAML.
    """
    return [f"{preset}:{row}" for row in _rows(_resolve(preset, ()))]


def _read_preset(name: str) -> dict[str, Any]:
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise UserError(f"preset file {name} does not exist: give the path of a YAML file or a preset's name")
        text = path.read_text(encoding="utf-8")
    else:
        entry = resources.files("reidtrain").joinpath("presets", f"{name}.yaml")
        if not entry.is_file():
            raise UserError(f"preset {name!r} is unknown{nearest(name, _names())}; `reidtrain presets` lists them")
        text = entry.read_text(encoding="utf-8")
    try:
        values = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise UserError(f"preset {name} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise UserError(f"preset {name} must be a mapping of sections, received {type(values).__name__}")
    return values


def _rows(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: changes for name, changes in (values["rows"] or {}).items() if changes is not None}


def _names() -> list[str]:
    entries = resources.files("reidtrain").joinpath("presets").iterdir()
    return sorted(Path(entry.name).stem for entry in entries if entry.name.endswith(".yaml"))


def _resolve(name: str, seen: tuple[str, ...]) -> dict[str, Any]:
    values = dict(_read_preset(name))
    parent = values.pop("extends", None)
    if parent is None:
        return {**values, "rows": values.get("rows", {})}
    if parent in (name, *seen):
        raise UserError(f"preset {name!r} extends itself through {' -> '.join((*seen, name, parent))}")
    base = _resolve(str(parent), (*seen, name))
    base.pop("about", None)
    return merge(base, values)


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Merge key by key, changes win; a model or objective of another name does not inherit the base's options."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            renamed = "name" in value and "options" in old and value["name"] != old.get("name")
            merged[key] = dict(value) if renamed else merge(old, value)
        else:
            merged[key] = value
    return merged


def nearest(name: str, valid: Mapping[str, Any] | Sequence[str]) -> str:
    """Say what may have been meant by an unknown name, and what there is."""
    close = difflib.get_close_matches(name, list(valid), n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return f"{hint}: choose among {', '.join(valid)}" if valid else hint
