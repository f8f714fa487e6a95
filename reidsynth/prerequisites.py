"""What the steps of a recipe need besides rows: found before the first row is read, all of it at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reidsynth.errors import UserError
from reidsynth.steps import build_step

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reidsynth.recipe import Recipe, StepEntry


def check_weights(recipe: Recipe) -> None:
    """Find the weights of every step, fetching what has a public name.

    A data set may take hours to read; that a model is missing must not be told after it.

    Args:
        recipe: whose steps are meant, those of its parts too.

    Raises:
        UserError: naming every model that is not to be had, and how to give it.
    """
    found = [told for entry in _entries(recipe) if (told := _lacking(entry))]
    unique = list(dict.fromkeys(found))
    if len(unique) == 1:
        raise UserError(unique[0])
    if unique:
        listed = "\n".join(f"  {number}. {told}" for number, told in enumerate(unique, 1))
        raise UserError(f"recipe {recipe.name} needs {len(unique)} models that are not here:\n{listed}")


def in_recipe(told: str, step: str) -> str:
    """A step's own message with `--set` as a recipe's command takes it.

    Example:
        >>> in_recipe("pass it as --set model=FOLDER", "build-sketch")
        'pass it as --set build-sketch.model=FOLDER'
    """
    return told.replace("--set ", f"--set {step}.")


def _entries(recipe: Recipe) -> Iterable[StepEntry]:
    yield from (entry for part in recipe.parts for entry in part.steps)
    yield from recipe.steps


def _lacking(entry: StepEntry) -> str:
    try:
        build_step(entry.step, entry.method, entry.parameters).weights()
    except UserError as error:
        return in_recipe(str(error), entry.step)
    return ""
