"""What each model minimises: its outputs joined with losses. Each registers by one line in OBJECTIVES.

An objective first gathers features and labels over the processes (`reidtrain.gather`), so that a loss sees the whole
batch whatever the number of processes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from reidtrain.batch import Batch, QueryMode
from reidtrain.errors import UserError
from reidtrain.gather import gather, gather_batch, gather_named, shared_mean
from reidtrain.losses import (
    feature_binding,
    identity_ce,
    masked_attribute_ce,
    routing_entropy,
    sdm,
    soft_margin_triplet,
)
from reidtrain.losses import unireid as losses_of_unireid
from reidtrain.models.aio import AIOOutputs
from reidtrain.models.dmf import DMFOutputs
from reidtrain.models.flexireid import FlexiReIDOutputs
from reidtrain.models.unireid import UNIReIDOutputs
from reidtrain.objective_options import DEFAULTS, TASKS

Objective = Callable[[Any, Batch, Mapping[str, Any]], dict[str, torch.Tensor]]


def options_of(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Fill the options of an objective with its defaults.

    Raises:
        UserError: for an option that the objective does not have.
    """
    defaults = DEFAULTS[name]
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
    chosen = options_of("flexireid", options)
    batch = gather_batch(batch)
    gallery, gallery_valid = gather(outputs.gallery), gather(outputs.gallery_valid)
    rows = len(outputs.gallery)
    queries = gather_named({QueryMode(mode).name: feature for mode, feature in outputs.queries.items()}, rows)
    valid = gather_named({QueryMode(mode).name: mask for mode, mask in outputs.valid.items()}, rows)
    terms: dict[str, torch.Tensor] = {}
    total = gallery.sum() * 0.0
    for name, features in queries.items():
        use = valid[name] & gallery_valid
        if not bool(use.any()):
            total = total + features.sum() * 0.0
            continue
        terms[f"sdm/{name}"] = sdm(
            gallery[use],
            features[use],
            batch.labels[use],
            scale=chosen["scale"],
            image_ids=batch.image_ids[use] if chosen["use_image_ids"] else None,
            image_id_factor=chosen["image_id_factor"],
        )
        total = total + chosen["mode_weights"].get(name, 1.0) * terms[f"sdm/{name}"]
    summed = {"sdm": total}
    if outputs.routing:
        layers = [routing_entropy(routed.probabilities, routed.mask) for routed in outputs.routing]
        active = [(routed.active * routed.mask).sum() / routed.mask.sum().clamp_min(1) for routed in outputs.routing]
        # Each process has its own mean over its own tokens; the mean over processes is that of the gradients.
        summed["ada"] = torch.stack(layers).mean()
        summed["active_experts"] = torch.stack(active).mean().detach()
        total = total + chosen["entropy_weight"] * summed["ada"]
    return {"total": total, **summed, **terms}


def unireid(outputs: UNIReIDOutputs, batch: Batch, options: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The loss of UNIReID on the rows that hold photograph, sketch and caption; see `reidtrain.losses.unireid`.

    Args:
        outputs: of the model.
        batch: not read: a batch holds distinct identities.
        options: `tasks` (text, sketch and fused; with fewer the others add nothing to the total), `alpha` (1), `gamma`
            (3.5; 0 for fixed weights), `interaction_weight` (1), `detach_weights` (false).

    Returns:
        `total`, `text`, `sketch`, `fused`, `interaction`, and without a gradient `scale` and the mean confidences
        `p_text`, `p_sketch`.
    """
    chosen = options_of("unireid", options)
    rows = gather(outputs.valid)
    features = {name: gather(feature) for name, feature in outputs.features.items()}
    if not bool(rows.any()):
        nothing = torch.stack([feature.sum() for feature in features.values()]).sum() * 0.0 + outputs.scale * 0.0
        return {"total": nothing}
    rgb, sketch, text, fused = (features[name][rows] for name in ("rgb", "sketch", "text", "fused"))
    tasks = chosen.pop("tasks")
    losses = losses_of_unireid(rgb, sketch, text, fused, scale=outputs.scale, **chosen)
    if set(tasks) != set(TASKS):
        alone = torch.stack([losses[task] for task in tasks]).sum()
        losses["total"] = alone + chosen["interaction_weight"] * losses["interaction"]
    shown = {name: losses[name] for name in ("total", "text", "sketch", "fused", "interaction")}
    confident = {name: losses[name].mean().detach() for name in ("p_text", "p_sketch")}
    return {**shown, **confident, "scale": outputs.scale.detach()}


def aio(outputs: AIOOutputs, batch: Batch, options: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """L = CE + alpha VA + FB (AIO, eq. 4 to 7).

    Args:
        outputs: of the model.
        batch: its labels.
        options: `ce_weight` (1), `va_weight` (alpha, 0.3), `fb_weight` (1), each 0 to leave a head out; `tau` (0.05);
            `include_multimodal` (false): the multimodal feature counts as a modality of FB; `label_smoothing` (0).

    Returns:
        `total`, and `ce`, `va`, `fb` where the batch has them.
    """
    chosen = options_of("aio", options)
    terms: dict[str, torch.Tensor] = {}
    total = torch.stack([feature.sum() for feature in outputs.features.values()]).sum() * 0.0
    if chosen["ce_weight"] and outputs.logits is not None:
        labels = batch.labels[outputs.rows]
        terms["ce"] = identity_ce(outputs.logits, labels, label_smoothing=chosen["label_smoothing"])
        total = total + chosen["ce_weight"] * shared_mean(terms["ce"], len(labels))
    if chosen["va_weight"]:
        terms["va"] = masked_attribute_ce(outputs.words, outputs.targets)
        total = total + chosen["va_weight"] * shared_mean(terms["va"], len(outputs.targets))
    features = gather_named(outputs.features, len(batch))
    present = gather_named(outputs.present, len(batch))
    if chosen["fb_weight"] and "rgb" in features:
        others = {m: z for m, z in features.items() if m != "rgb" and (m != "fused" or chosen["include_multimodal"])}
        held = {name: present[name] for name in ("rgb", *others)}
        labels = gather(batch.labels)
        terms["fb"] = feature_binding(features["rgb"], others, labels, tau=chosen["tau"], present=held)
        total = total + chosen["fb_weight"] * terms["fb"]
    return {"total": total, **terms}


def dmf(outputs: DMFOutputs, batch: Batch, options: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Identity loss behind the neck plus batch-hard soft-margin triplet loss before it (DMF, eq. 1 and 2).

    Photographs and words of a person are positives of each other, those of other people negatives.

    Args:
        outputs: of the model.
        batch: its labels.
        options: `ce_weight` (1), `triplet_weight` (1), `squared` (false; the paper prints the squared distance),
            `label_smoothing` (0).

    Returns:
        `total`, `triplet`, and `ce` where there is a classifier.
    """
    chosen = options_of("dmf", options)
    features, valid, labels = gather(outputs.features), gather(outputs.valid), gather(batch.labels)
    terms = {"triplet": soft_margin_triplet(features[valid], labels[valid], squared=chosen["squared"])}
    total = chosen["triplet_weight"] * terms["triplet"]
    if outputs.logits is not None:
        own = batch.labels[outputs.valid]
        terms["ce"] = identity_ce(outputs.logits, own, label_smoothing=chosen["label_smoothing"])
        total = total + chosen["ce_weight"] * shared_mean(terms["ce"], len(own))
    return {"total": total, **terms}


OBJECTIVES: dict[str, Objective] = {
    "aio": aio,
    "dmf": dmf,
    "flexireid": flexireid,
    "unireid": unireid,
}
