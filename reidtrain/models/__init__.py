"""The models; each registers by one line in MODELS and one in OPTIONS.

A model encodes a `Batch` into features: `encode(batch, modalities) -> (B, D)` for search and evaluation,
`supports(modalities) -> bool` says which sets it takes, and `forward(batch) -> outputs` is for its objective of the
same name in `reidtrain.objectives`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, cast

from reidtrain.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from reidtrain.backbones import DualEncoder

MODELS: dict[str, str] = {
    "aio": "reidtrain.models.aio:build",
    "dmf": "reidtrain.models.dmf:build",
    "flexireid": "reidtrain.models.flexireid:build",
    "unireid": "reidtrain.models.unireid:build",
}

OPTIONS: dict[str, str] = {
    "aio": "reidtrain.models.options:AIOOptions",
    "dmf": "reidtrain.models.options:DMFOptions",
    "flexireid": "reidtrain.models.options:FlexiReIDOptions",
    "unireid": "reidtrain.models.options:UNIReIDOptions",
}
"""The dataclass of each model's options."""

STAGE_OPTIONS: dict[str, tuple[str, ...]] = {"dmf": ("modality_mix",)}
"""Options that a model takes anew in a stage, see its `begin_stage`; other models take none."""

CLASSIFIERS = ("aio", "dmf")
"""Models with an option `classes`: how many identities the training data has."""


def build_model(name: str, backbone: DualEncoder, **options: Any) -> nn.Module:  # noqa: ANN401  each model's own options
    """Build a model on a backbone.

    Args:
        name: a key of MODELS.
        backbone: its encoder; becomes part of the model.
        options: flat options of that model.

    Returns:
        The model, its new parameters drawn from the process's random state.

    Raises:
        UserError: for an unknown model, option or value.
    """
    if name not in MODELS:
        raise UserError(f"model {name!r} is unknown: choose one of {', '.join(sorted(MODELS))}")
    module, _, builder = MODELS[name].partition(":")
    return cast("nn.Module", getattr(importlib.import_module(module), builder)(backbone, **options))
