"""A recipe: one YAML file that says how a manifest is built, checked as a whole before the first row."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from reidsynth import rows
from reidsynth.errors import UserError
from reidsynth.expectations import Expectation, differences
from reidsynth.ingest import ingest
from reidsynth.manifest import open_manifest
from reidsynth.overrides import steps_given
from reidsynth.parts import build_parts, part_folder
from reidsynth.pipeline import run_steps
from reidsynth.prerequisites import check_weights, in_recipe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reidsynth.jobs import Run
    from reidsynth.manifest import Manifest
    from reidsynth.sources import Source

RECIPE_VERSION = 1


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


class PartEntry(BaseModel):
    """One data set of a manifest of several.

    Args:
        source: where its captures come from.
        steps: what is made from them, before the parts are merged.
        splits: that are taken; all by default.
        expect: split -> published size of this part.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: SourceEntry
    steps: tuple[StepEntry, ...] = ()
    splits: tuple[str, ...] = ()
    expect: dict[str, Expectation] = Field(default_factory=dict)


class Recipe(BaseModel):
    """The whole recipe.

    Args:
        recipe: version of this format.
        name: of the manifest.
        about: one sentence for its card.
        source: where captures come from.
        parts: instead of one source, several data sets, each built on its own and then merged.
        steps: what is made from the captures, in order.
        expect: split (or `all`) -> published size; a difference is reported and ends the build with exit code 1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: Literal[1]
    name: str
    about: str = ""
    source: SourceEntry | None = None
    parts: tuple[PartEntry, ...] = ()
    steps: tuple[StepEntry, ...] = ()
    expect: dict[str, Expectation] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_origin(self) -> Recipe:
        if (self.source is None) == (not self.parts):
            raise ValueError("either `source` or `parts` says where captures come from")
        names = [part.source.name for part in self.parts]
        if len(set(names)) < len(names):
            raise ValueError(f"each source stands once among the parts, received {', '.join(names)}")
        return self


def load_recipe(path: Path, *, root: Path | Mapping[str, Path] | None = None, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and check all of it: names, methods, parameters, and that every step finds its tables.

    Args:
        path: the YAML file, or the name of a recipe that comes with the package (`demo`).
        root: folder of the data set, for sources that read one; it stands in the command, not in the recipe. For a
            recipe of several data sets: source -> folder.
        overrides: `key=value` for the source's parameters, values in YAML; `SOURCE.key=value` where there are several;
            `STEP.key=value` for a step's (`build-ir.model=runs/lwir`), `STEP.METHOD.key=value` where it stands in the
            recipe several times. `STEP.method=...` drops the parameters that the recipe gives for its own method.

    Returns:
        The recipe, ready to run.

    Raises:
        UserError: naming every mistake at once.
    """
    values = _parsed(path)
    settings, found = steps_given(values, parse_settings(overrides))
    found += _given(values, root, settings)
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        found += [f"{_place(detail['loc'])}: {_said(detail)}".removeprefix(": ") for detail in error.errors()]
        raise _mistakes(path, found + _unit_mistakes(values)) from error
    found += _unit_mistakes(values)
    if found:
        raise _mistakes(path, found)
    return recipe


def about_sources(recipe: Recipe, overrides: Sequence[str]) -> bool:
    """Whether any of these overrides changes a source, and with it the sizes that the recipe expects."""
    entries = [*recipe.steps, *(step for part in recipe.parts for step in part.steps)]
    steps = tuple(f"{entry.step}." for entry in entries)
    return any(not setting.startswith(steps) for setting in overrides) if steps else bool(overrides)


def _given(values: dict[str, Any], root: Path | Mapping[str, Path] | None, settings: dict[str, Any]) -> list[str]:
    """Enter what the command says about the sources; what fits none of them is a mistake."""
    if isinstance(values.get("source"), dict):
        source = values["source"]
        folder = root.get(str(source.get("name"))) if isinstance(root, Mapping) else root
        source |= settings | ({} if folder is None else {"root": str(folder)})
        return []
    parts = values.get("parts")
    sources = {
        str(part["source"].get("name")): part["source"]
        for part in (parts if isinstance(parts, list) else ())
        if isinstance(part, dict) and isinstance(part.get("source"), dict)
    }
    listed = ", ".join(sources) or "none"
    roots = root if isinstance(root, Mapping) else {}
    found = [] if root is roots or root is None else [f"--root {root}: write SOURCE={root} (sources are {listed})"]
    for name, folder in roots.items():
        if name in sources:
            sources[name]["root"] = str(folder)
        else:
            found.append(f"--root {name}={folder}: the recipe has no such source (they are {listed})")
    for key, value in settings.items():
        name, dot, parameter = key.partition(".")
        if dot and name in sources:
            sources[name][parameter] = value
        else:
            found.append(f"--set {key}: write SOURCE.{key} (sources are {listed})")
    return found


def shipped_recipes() -> dict[str, Path]:
    """Name -> file of the recipes that come with the package: in the repository, or inside it once installed."""
    places = (Path(__file__).parents[1] / "manifests", Path(__file__).parent / "manifests")
    folder = next((place for place in places if (place / "demo.yaml").is_file()), places[0])
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))}


def _parsed(path: Path) -> dict[str, Any]:
    shipped = shipped_recipes()
    if not path.is_file() and str(path) in shipped:
        path = shipped[str(path)]
    if not path.is_file():
        raise UserError(
            f"recipe {path} does not exist: give a YAML file such as manifests/demo.yaml, or the name of one that "
            f"comes with the package ({', '.join(shipped)})"
        )
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
    if detail["type"] == "value_error":
        return str(detail["msg"]).removeprefix("Value error, ")
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
    """Mistakes of the sources and of every step; the tables that steps need are followed through the recipe."""
    found: list[str] = []
    parts = values.get("parts")
    if not isinstance(parts, list):
        _follow(values, "", found)
        return found
    merged: list[str] | None = []
    for number, part in enumerate(parts):
        made = _follow(part, f"parts.{number}.", found) if isinstance(part, dict) else None
        merged = None if merged is None or made is None else [*merged, *made]
    _steps_followed(values, merged, "", found)
    return found


def _follow(values: Mapping[str, Any], place: str, found: list[str]) -> list[str] | None:
    """Tables that a source and its steps make; None where a mistake leaves that open."""
    from reidsynth.sources import build_source

    tables: list[str] | None = None
    source = values.get("source")
    if isinstance(source, dict) and isinstance(source.get("name"), str):
        try:
            built = build_source(source["name"], {key: value for key, value in source.items() if key != "name"})
            tables = [spec.name for spec in built.tables()]
            found += [f"{place}splits: {told}" for told in _absent_splits(values.get("splits"), built)]
        except UserError as error:
            found.append(f"{place}source: {error}")
    return _steps_followed(values, tables, place, found)


def _absent_splits(wanted: Any, source: Source) -> list[str]:  # noqa: ANN401 - whatever YAML holds
    """What is wrong with the splits that a part takes: else it would be found when the part is built, hours later."""
    there = source.splits() if isinstance(wanted, list) and wanted else ()
    absent = [str(split) for split in wanted if split not in there] if there else []
    return [f"{source.name} has no {', '.join(absent)} (it has {', '.join(there)})"] if absent else []


def _steps_followed(
    values: Mapping[str, Any], tables: list[str] | None, place: str, found: list[str]
) -> list[str] | None:
    from reidsynth.steps import build_step

    entries = values.get("steps")
    makers: dict[str, int] = {}
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
            first = makers.setdefault(step.output().name, number)
            if first != number:
                raise UserError(f"{step.output().name!r} is made by steps.{first} already, and would be made anew")
        except UserError as error:
            tables = None  # later steps may need what this one would have made
            lacking = "parameter" in str(error) and " is missing" in str(error)
            hint = f"; give what is missing as --set {entry['step']}.PARAMETER=VALUE" if lacking else ""
            found.append(f"{place}steps.{number}: {in_recipe(str(error), str(entry['step']))}{hint}")
    return tables


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
    check_weights(recipe)
    kept = recipe.model_dump(mode="json", exclude={"source", "parts"}, exclude_defaults=True)
    steps = [(entry.step, entry.method, entry.parameters) for entry in recipe.steps]
    if recipe.source is None:
        kept["parts"] = [_without_root(part) for part in recipe.parts]
        manifest = build_parts(recipe, rows.portable(kept), out, run=run)
    else:
        name, parameters = recipe.source.name, recipe.source.parameters
        kept["source"] = {"name": name, **rows.without_root(parameters)}
        about, told = recipe.about, rows.portable(kept)
        manifest = ingest(out, name, parameters, run=run, about=about, title=recipe.name, recipe=told, ahead=steps)
    return run_steps(out, steps, run=run) if steps else manifest


def _without_root(part: PartEntry) -> dict[str, Any]:
    kept = part.model_dump(mode="json", exclude={"source"}, exclude_defaults=True)
    return {"source": {"name": part.source.name, **rows.without_root(part.source.parameters)}, **kept}


def unmet(recipe: Recipe, manifest: Manifest) -> list[str]:
    """Differences between the recipe's expectations and what was built, one sentence each."""
    found = differences(recipe.expect, manifest)
    for part in recipe.parts:
        told = differences(part.expect, open_manifest(part_folder(manifest.path, part))) if part.expect else []
        found += [f"{part.source.name}: {difference}" for difference in told]
    return found
