"""Checks the options of models, objectives and stages with the rest of a configuration: all mistakes come at once."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from reidtrain.errors import UserError
from reidtrain.models import MODELS, OPTIONS, STAGE_OPTIONS
from reidtrain.objective_options import KINDS
from reidtrain.preset_files import nearest


def option_mistakes(values: Mapping[str, Any]) -> list[str]:
    """Find what is wrong with the model, the objective and the stages' changes of the model in a configuration.

    Args:
        values: of the configuration, not validated yet; sections that are no mappings are left to that.

    Returns:
        A sentence for each mistake.
    """
    found: list[str] = []
    chosen = _built(values, "model")
    if chosen is not None:
        found += _model(*chosen, values.get("stages"))
    objective = _built(values, "objective")
    if objective is not None:
        found += _objective(*objective)
    if chosen and objective and chosen[0] in MODELS and objective[0] in KINDS and chosen[0] != objective[0]:
        found.append(
            f"objective {objective[0]} reads what model {objective[0]} gives, and the model is {chosen[0]}: set "
            "model.name and objective.name alike"
        )
    return found


def _built(values: Mapping[str, Any], section: str) -> tuple[str, Mapping[str, Any]] | None:
    chosen = values.get(section, {})
    if not isinstance(chosen, Mapping) or not isinstance(chosen.get("options", {}), Mapping):
        return None
    return str(chosen.get("name", "flexireid")), chosen.get("options", {})


def _model(name: str, options: Mapping[str, Any], stages: object) -> list[str]:
    if name not in MODELS:
        return [f"model {name!r} is unknown: choose one of {', '.join(sorted(MODELS))}"]
    module, _, attribute = OPTIONS[name].partition(":")
    kind = getattr(importlib.import_module(module), attribute)
    found = _wrong("model.options", f"model {name}", options, get_type_hints(kind))
    if not found:
        try:
            kind(**options)
        except UserError as error:
            found.append(f"model.options of {error}")
    return found + _stages(name, {} if found else options, kind, stages)


def _stages(name: str, options: Mapping[str, Any], kind: Any, stages: object) -> list[str]:  # noqa: ANN401  a dataclass
    """What is wrong with the options that stages give to the model: now, and not when the stage begins."""
    found: list[str] = []
    kinds = {key: value for key, value in get_type_hints(kind).items() if key in STAGE_OPTIONS.get(name, ())}
    for number, stage in enumerate(stages if isinstance(stages, Sequence) else ()):
        given = stage.get("model", {}) if isinstance(stage, Mapping) else {}
        if not given or not isinstance(given, Mapping):
            continue
        if not kinds:
            found.append(f"stages.{number}.model changes {', '.join(map(str, given))}, but {name} takes no changes")
            continue
        wrong = _wrong(f"stages.{number}.model", f"a stage of {name}", given, kinds)
        if not wrong:
            try:
                kind(**{**options, **given})
            except UserError as error:
                wrong.append(f"stages.{number}.model of {error}")
        found += wrong
    return found


def _objective(name: str, options: Mapping[str, Any]) -> list[str]:
    if name not in KINDS:
        return [f"objective {name!r} is unknown: choose one of {', '.join(sorted(KINDS))}"]
    return _wrong("objective.options", f"objective {name}", options, KINDS[name])


def _wrong(place: str, owner: str, options: Mapping[str, Any], kinds: Mapping[str, Any]) -> list[str]:
    """Options that do not exist, are of another type, or out of range."""
    found = []
    for key, value in options.items():
        if key not in kinds:
            found.append(f"{owner} has no option {key}{nearest(str(key), kinds)}")
            continue
        try:
            TypeAdapter(kinds[key]).validate_python(value, strict=True)
        except ValidationError as error:
            message = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
            found.append(f"{place}.{key}: {message[0].lower()}{message[1:]}, received {value!r}")
    return found
