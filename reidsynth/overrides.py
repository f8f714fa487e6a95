"""What the command line says about a recipe's steps: parameters, and other methods than the recipe's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reidsynth.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reidsynth.schema import TableSpec


def steps_given(values: dict[str, Any], settings: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Enter what the command says about steps, and expect of their tables what the recipe expects of its own.

    Args:
        values: of the recipe, changed in place.
        settings: `STEP.PARAMETER` or `STEP.METHOD.PARAMETER` -> value.

    Returns:
        Settings that are left for the sources, and mistakes, one sentence each.
    """
    entries = [entry for holder in (values, *_dicts(values.get("parts"))) for entry in _dicts(holder.get("steps"))]
    left, found, given = {}, [], []
    before = [dict(entry) for entry in entries]
    for key, value in settings.items():
        step, _, rest = key.partition(".")
        method, _, parameter = rest.rpartition(".")
        mine = [entry for entry in entries if parameter and entry.get("step") == step]
        chosen = [entry for entry in mine if method in ("", entry.get("method"))]
        if not mine:
            left[key] = value
        elif len(chosen) == 1:
            given.append((chosen[0], parameter, value))
        else:
            methods = ", ".join(str(entry.get("method")) for entry in mine)
            found.append(f"--set {key}: write {step}.METHOD.{parameter} (methods of {step} here: {methods})")
    for entry, parameter, value in given:
        if parameter == "method" and value != entry.get("method"):  # the recipe's parameters are of the other method
            for name in set(entry) - {"step", "method", "gates"}:
                del entry[name]
    for entry, parameter, value in given:
        entry[parameter] = value
    changed = [(old, new) for old, new in zip(before, entries, strict=True) if old != new]
    _expect_of(values, {name: table for pair in changed for name, table in _renamed(*pair).items()})
    return left, found


def _renamed(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, str]:
    """The table that a step made as the recipe has it -> the one that it makes as the command says."""
    made = _output(new)
    if made is None:
        return {}  # a mistake that is told later
    was = _output(old)  # None where it needs weights, whose place the recipe leaves open
    before = f"{made.modality}-{old.get('method')}" if was is None else was.name
    return {before: made.name} if before != made.name else {}


def _output(entry: Mapping[str, Any]) -> TableSpec | None:
    from reidsynth.steps import build_step

    parameters = {key: value for key, value in entry.items() if key not in ("step", "method")}
    try:
        return build_step(str(entry.get("step")), str(entry.get("method")), parameters).output()
    except UserError:
        return None


def _expect_of(values: dict[str, Any], renamed: Mapping[str, str]) -> None:
    """Expect of the tables that are made what the recipe expects of its own."""
    for holder in (values, *_dicts(values.get("parts"))):
        expected = holder.get("expect")
        for size in expected.values() if isinstance(expected, dict) else ():
            for what in ("rows", "people", "captions"):
                if isinstance(size, dict) and isinstance(size.get(what), dict):
                    size[what] = {renamed.get(table, table): count for table, count in size[what].items()}


def _dicts(values: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - whatever YAML holds
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []
