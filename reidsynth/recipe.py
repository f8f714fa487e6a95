"""A recipe: one YAML file that says how a manifest is built, checked as a whole before the first row."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reidsynth import rows
from reidsynth.errors import UserError
from reidsynth.ingest import ingest
from reidsynth.pipeline import run_step

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reidsynth.jobs import Run
    from reidsynth.manifest import Manifest

RECIPE_VERSION = 1


class Expectation(BaseModel):
    """Published size of a split; None where nothing is published."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    captures: int | None = None
    identities: int | None = None


class SourceEntry(BaseModel):
    """A source by name; all other keys are its parameters."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameters of the source."""
        return dict(self.model_extra or {})


class StepEntry(BaseModel):
    """A step by name and method; all other keys are its parameters."""

    model_config = ConfigDict(extra="allow", frozen=True)

    step: str
    method: str

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameters of the step."""
        return dict(self.model_extra or {})


class Recipe(BaseModel):
    """The whole recipe.

    Args:
        recipe: version of this format.
        name: of the manifest.
        about: one sentence for its card.
        source: where captures come from.
        steps: what is made from them, in order.
        expect: split -> published size; a difference is reported and ends the build with exit code 1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: Literal[1]
    name: str
    about: str = ""
    source: SourceEntry
    steps: tuple[StepEntry, ...] = ()
    expect: dict[str, Expectation] = Field(default_factory=dict)


def load_recipe(path: Path, *, root: Path | None = None, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and check all of it: names, methods, parameters, and that every step finds its tables.

    Args:
        path: the YAML file.
        root: folder of the data set, for sources that read one; it stands in the command, not in the recipe.
        overrides: `key=value` for the source's parameters, values in YAML.

    Returns:
        The recipe, ready to run.

    Raises:
        UserError: naming every mistake at once.
    """
    values = _parsed(path)
    if isinstance(values.get("source"), dict):
        values["source"] |= parse_settings(overrides) | ({} if root is None else {"root": str(root)})
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        found = [f"{_place(detail['loc'])}: {_said(detail)}" for detail in error.errors()]
        raise _mistakes(path, found + _unit_mistakes(values)) from error
    found = _unit_mistakes(values)
    if found:
        raise _mistakes(path, found)
    return recipe


def _parsed(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"recipe {path} does not exist: give a YAML file such as manifests/demo.yaml")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"recipe {path} is no valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise UserError(f"recipe {path} holds no keys: it needs `recipe: {RECIPE_VERSION}`, `name`, `source`, `steps`")
    return values


def _place(location: Sequence[int | str]) -> str:
    return ".".join(str(part) for part in location)


def _said(detail: Mapping[str, Any]) -> str:
    if detail["type"] == "extra_forbidden":
        return f"there is no such key (valid: {', '.join(Recipe.model_fields)})"
    return f"{detail['msg']} (got {detail['input']!r})" if detail["type"] != "missing" else "is missing"


def _mistakes(path: Path, found: Sequence[str]) -> UserError:
    unique = list(dict.fromkeys(found))
    if len(unique) == 1:
        return UserError(f"recipe {path} has a mistake: {unique[0]}")
    listed = "\n".join(f"  {number}. {mistake}" for number, mistake in enumerate(unique, 1))
    return UserError(f"recipe {path} has {len(unique)} mistakes; mend them all:\n{listed}")


def _unit_mistakes(values: Mapping[str, Any]) -> list[str]:
    """Mistakes of the source and of every step; the tables that steps need are followed through the recipe."""
    from reidsynth.sources import build_source
    from reidsynth.steps import build_step

    found: list[str] = []
    tables: list[str] | None = None
    source = values.get("source")
    if isinstance(source, dict) and isinstance(source.get("name"), str):
        try:
            built = build_source(source["name"], {key: value for key, value in source.items() if key != "name"})
            tables = [spec.name for spec in built.tables()]
        except UserError as error:
            found.append(f"source: {error}")
    entries = values.get("steps")
    for number, entry in enumerate(entries if isinstance(entries, list) else ()):
        if not isinstance(entry, dict) or not {"step", "method"} <= entry.keys():
            tables = None
            continue
        parameters = {key: value for key, value in entry.items() if key not in ("step", "method")}
        try:
            step = build_step(str(entry["step"]), str(entry["method"]), parameters)
            if tables is not None:
                step.inputs(tuple(tables))
                tables.append(step.output().name)
        except UserError as error:
            tables = None  # later steps may need what this one would have made
            found.append(f"steps.{number}: {error}")
    return found


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """Read `key=value` pairs, values in YAML; what YAML can't read, and what starts like `{pid}`, is text.

    Raises:
        UserError: for a pair without `=`.

    Example:
        >>> parse_settings(["gray=true", "seed=3"])
        {'gray': True, 'seed': 3}
        >>> parse_settings(["pattern={pid}_c{camid}_{_}"])
        {'pattern': '{pid}_c{camid}_{_}'}
    """
    values: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise UserError(f"--set {setting!r} is not valid: write key=value, for example --set seed=1")
        values[key] = _value(value)
    return values


def _value(text: str) -> Any:  # noqa: ANN401 - whatever YAML holds
    if re.match(r"\{\w+\}", text):  # a file-name pattern; YAML would take `{pid}` for a mapping
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def build(recipe: Recipe, out: Path, *, run: Run) -> Manifest:
    """Build a manifest from a recipe; finished shards are not made twice.

    Args:
        recipe: what to build.
        out: folder of the manifest.
        run: engine and progress.

    Returns:
        The manifest.

    Raises:
        UserError: for anything that the data set or the disk does not allow.
    """
    parameters = recipe.source.parameters
    kept = recipe.model_dump(mode="json", exclude={"source"})
    kept["source"] = {"name": recipe.source.name, **rows.without_root(parameters)}
    manifest = ingest(out, recipe.source.name, parameters, run=run, about=recipe.about, title=recipe.name, recipe=kept)
    for entry in recipe.steps:
        manifest = run_step(out, entry.step, entry.method, entry.parameters, run=run)
    return manifest


def unmet(recipe: Recipe, manifest: Manifest) -> list[str]:
    """Differences between the recipe's expectations and what was built, one sentence each."""
    found = []
    for split, expected in recipe.expect.items():
        size = manifest.info.splits.get(split)
        for what, want in (("captures", expected.captures), ("identities", expected.identities)):
            have = None if size is None else (size.rows if what == "captures" else size.identities)
            if want is not None and have != want:
                found.append(f"split {split!r} holds {have or 0} {what}, and {want} are expected")
    return found
