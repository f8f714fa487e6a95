"""Checks the options of models and objectives with the rest of a configuration, so that all mistakes come at once."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from reidtrain.errors import UserError
from reidtrain.models import MODELS, OPTIONS
from reidtrain.preset_files import nearest


def option_mistakes(values: Mapping[str, Any]) -> list[str]:
    """Find what is wrong with the model and the objective of a configuration.

    Args:
        values: of the configuration, not validated yet; sections that are no mappings are left to that.

    Returns:
        A sentence for each mistake.
    """
    found: list[str] = []
    for section, check in (("model", _model), ("objective", _objective)):
        chosen = values.get(section)
        if isinstance(chosen, Mapping) and isinstance(chosen.get("options", {}), Mapping):
            found += check(str(chosen.get("name", "flexireid")), chosen.get("options", {}))
    return found


def _model(name: str, options: Mapping[str, Any]) -> list[str]:
    if name not in MODELS:
        return [f"model {name!r} is unknown: choose one of {', '.join(sorted(MODELS))}"]
    module, _, attribute = OPTIONS[name].partition(":")
    kind = getattr(importlib.import_module(module), attribute)
    found = _wrong("model", name, options, get_type_hints(kind))
    if not found:
        try:
            kind(**options)
        except UserError as error:
            found.append(f"model.options of {error}")
    return found


def _objective(name: str, options: Mapping[str, Any]) -> list[str]:
    from reidtrain.objectives import DEFAULTS

    if name not in DEFAULTS:
        return [f"objective {name!r} is unknown: choose one of {', '.join(sorted(DEFAULTS))}"]
    return _wrong("objective", name, options, {key: type(value) for key, value in DEFAULTS[name].items()})


def _wrong(section: str, name: str, options: Mapping[str, Any], kinds: Mapping[str, Any]) -> list[str]:
    """Options that do not exist, or are of another type."""
    found = []
    for key, value in options.items():
        if key not in kinds:
            found.append(f"{section} {name} has no option {key}{nearest(key, kinds)}")
            continue
        try:
            TypeAdapter(kinds[key]).validate_python(value, strict=True)
        except ValidationError as error:
            found.append(f"{section}.options.{key}: {_lower(error.errors()[0]['msg'])}, received {value!r}")
    return found


def _lower(message: str) -> str:
    return message[0].lower() + message[1:]
