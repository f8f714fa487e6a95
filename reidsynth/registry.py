"""From a registered name and parameters to an object: lazy imports, every mistake named at once."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import inspect
import re
from typing import TYPE_CHECKING, Any

from reidsynth.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic_core import ErrorDetails


def locate(target: str) -> type[Any]:
    """Import what a registry names.

    Args:
        target: `module:Class`.
    """
    module, _, name = target.partition(":")
    found: type[Any] = getattr(importlib.import_module(module), name)
    return found


def unknown(kind: str, name: str, valid: Iterable[str], command: str) -> UserError:
    """The error for a name that no registry holds, with the nearest valid one.

    Args:
        kind: what was looked up, "source" for example.
        name: what was received.
        valid: every registered name.
        command: the command that lists them.
    """
    names = sorted(valid)
    near = difflib.get_close_matches(name, names, n=1)
    guess = f" (did you mean {near[0]!r}?)" if near else ""
    return UserError(f"unknown {kind} {name!r}{guess}; valid are {', '.join(names)}; `{command}` describes them")


def parameter_names(cls: type[Any]) -> tuple[str, ...]:
    """Parameters that a registered class takes."""
    return tuple(field.name for field in dataclasses.fields(cls))


@dataclasses.dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a registered class.

    Args:
        name: as `--set` and recipes write it.
        default: `dataclasses.MISSING` where it is needed.
        needed: whether it must be given.
        about: what its docstring says.
    """

    name: str
    default: Any
    needed: bool
    about: str


def described(cls: type[Any]) -> tuple[Parameter, ...]:
    """Parameters of a registered class, with what the docstrings of it and of its bases say of them."""
    about: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        about |= _arguments(vars(base).get("__doc__") or "")
    return tuple(
        Parameter(field.name, default, default is dataclasses.MISSING, about.get(field.name, ""))
        for field in dataclasses.fields(cls)
        for default in (_default(field),)
    )


def _arguments(docstring: str) -> dict[str, str]:
    """Name -> text of a docstring's section `Args`."""
    section = re.search(r"^Args:\n((?:    .*\n?|\n)*)", inspect.cleandoc(docstring), re.MULTILINE)
    entries = re.findall(r"^    (\w+): (.*(?:\n        .*)*)", section[1], re.MULTILINE) if section else []
    return {name: " ".join(text.split()) for name, text in entries}


def _default(field: dataclasses.Field[Any]) -> Any:  # noqa: ANN401 - of any parameter
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def construct(cls: type[Any], label: str, parameters: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any registered class
    """Build a registered pydantic dataclass.

    Args:
        cls: a pydantic dataclass whose fields are its parameters.
        label: how messages call it, "source folder" for example.
        parameters: name -> value.

    Raises:
        UserError: naming every missing, unknown and wrong parameter at once.
    """
    from pydantic import ValidationError

    try:
        return cls(**parameters)
    except ValidationError as error:
        details = error.errors(include_url=False)
        within = {detail["loc"][:-1] for detail in details}  # a list is wrong because of what it holds
        mistakes = "; ".join(_mistake(detail) for detail in details if not detail["loc"] or detail["loc"] not in within)
        valid = ", ".join(parameter_names(cls)) or "none"
        raise UserError(f"{label}: {mistakes} (parameters are: {valid})") from None


def _mistake(detail: ErrorDetails) -> str:
    where = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "unexpected_keyword_argument":
        return f"unknown parameter {where!r}"
    if detail["type"] in ("missing", "missing_argument"):
        return f"parameter {where!r} is missing"
    message = detail["msg"].removeprefix("Value error, ")
    if not where:
        return message
    return f"parameter {where!r}: {message[:1].lower()}{message[1:]}, received {detail['input']!r}"
