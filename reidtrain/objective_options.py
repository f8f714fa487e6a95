"""The options of each objective: what they are where nobody says otherwise, and what they may be. Without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from reidtrain.batch import SEVEN_MODES

Positive = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Task = Literal["text", "sketch", "fused"]

TASKS: tuple[Task, ...] = ("text", "sketch", "fused")
"""The retrieval tasks of UNIReID: T->R, S->R, T+S->R."""


def _known(mode: str) -> str:
    names = [known.name for known in SEVEN_MODES]
    if mode not in names:
        raise ValueError(f"mode {mode!r} is none of {', '.join(names)}")
    return mode


def _distinct(tasks: list[Task]) -> list[Task]:
    if len(set(tasks)) < len(tasks):
        raise ValueError("a task is named twice")
    return tasks


KINDS: Mapping[str, Mapping[str, Any]] = {
    "aio": {
        "ce_weight": Weight,
        "va_weight": Weight,
        "fb_weight": Weight,
        "tau": Positive,
        "include_multimodal": bool,
        "label_smoothing": Share,
    },
    "dmf": {"ce_weight": Weight, "triplet_weight": Weight, "squared": bool, "label_smoothing": Share},
    "flexireid": {
        "scale": Positive,
        "entropy_weight": Weight,
        "use_image_ids": bool,
        "image_id_factor": Weight,
        "mode_weights": dict[Annotated[str, AfterValidator(_known)], Weight],
    },
    "unireid": {
        "tasks": Annotated[list[Task], Field(min_length=1), AfterValidator(_distinct)],
        "alpha": Weight,
        "gamma": float,
        "interaction_weight": Weight,
        "detach_weights": bool,
    },
}
"""What each option may be."""

DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "aio": {
        "ce_weight": 1.0,
        "va_weight": 0.3,
        "fb_weight": 1.0,
        "tau": 0.05,
        "include_multimodal": False,
        "label_smoothing": 0.0,
    },
    "dmf": {"ce_weight": 1.0, "triplet_weight": 1.0, "squared": False, "label_smoothing": 0.0},
    "flexireid": {
        "scale": 50.0,
        "entropy_weight": 0.5,
        "use_image_ids": False,
        "image_id_factor": 0.3,
        "mode_weights": {},
    },
    "unireid": {
        "tasks": list(TASKS),
        "alpha": 1.0,
        "gamma": 3.5,
        "interaction_weight": 1.0,
        "detach_weights": False,
    },
}
"""What each option is by default; an objective without options minimises what its paper does."""
