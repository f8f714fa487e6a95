"""What each model minimises: its outputs joined with losses. Each registers by one line in OBJECTIVES."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from reidtrain.batch import Batch, QueryMode
from reidtrain.errors import UserError
from reidtrain.losses import routing_entropy, sdm
from reidtrain.models.flexireid import FlexiReIDOutputs

Objective = Callable[[Any, Batch, Mapping[str, Any]], dict[str, torch.Tensor]]

FLEXIREID_DEFAULTS: dict[str, Any] = {
    "scale": 50.0,
    "entropy_weight": 0.5,
    "use_image_ids": False,
    "image_id_factor": 0.3,
    "mode_weights": {},
}


def options_of(defaults: Mapping[str, Any], options: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Fill options with defaults.

    Raises:
        UserError: for an option that the objective does not have.
    """
    unknown = sorted(set(options) - set(defaults))
    if unknown:
        raise UserError(
            f"objective {name} has no option {', '.join(unknown)}: its options are {', '.join(sorted(defaults))}"
        )
    return {**defaults, **options}


def flexireid(outputs: FlexiReIDOutputs, batch: Batch, options: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Sum of the SDM losses of all query modes plus lambda times the routing entropy (FlexiReID, eq. 9 and 10).

    A mode uses the rows that hold all of its modalities and a photograph; a mode without such rows adds nothing. The
    entropy is averaged over tokens, then over the layers of both towers.

    Args:
        outputs: of the model.
        batch: its labels and image ids.
        options: `scale` (50, i.e. 1/0.02), `entropy_weight` (lambda, 0.5), `use_image_ids` (false) with
            `image_id_factor` (0.3), `mode_weights` (mode name -> factor, for example {"T->R": 2.0}; others 1).

    Returns:
        `total`, `sdm`, `ada`, `active_experts` (no gradient), and `sdm/<mode>` for each mode.
    """
    chosen = options_of(FLEXIREID_DEFAULTS, options, "flexireid")
    terms: dict[str, torch.Tensor] = {}
    total = outputs.gallery.sum() * 0.0
    for modalities, features in outputs.queries.items():
        rows = outputs.valid[modalities] & outputs.gallery_valid
        if not bool(rows.any()):
            continue
        name = QueryMode(modalities).name
        terms[f"sdm/{name}"] = sdm(
            outputs.gallery[rows],
            features[rows],
            batch.labels[rows],
            scale=chosen["scale"],
            image_ids=batch.image_ids[rows] if chosen["use_image_ids"] else None,
            image_id_factor=chosen["image_id_factor"],
        )
        total = total + chosen["mode_weights"].get(name, 1.0) * terms[f"sdm/{name}"]
    summed = {"sdm": total}
    if outputs.routing:
        layers = [routing_entropy(routed.probabilities, routed.mask) for routed in outputs.routing]
        active = [(routed.active * routed.mask).sum() / routed.mask.sum().clamp_min(1) for routed in outputs.routing]
        summed["ada"] = torch.stack(layers).mean()
        summed["active_experts"] = torch.stack(active).mean().detach()
        total = total + chosen["entropy_weight"] * summed["ada"]
    return {"total": total, **summed, **terms}


OBJECTIVES: dict[str, Objective] = {
    "flexireid": flexireid,
}
