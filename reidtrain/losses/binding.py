"""Losses that pull together the features of one person: feature binding, and the batch-hard triplet loss."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F

from reidtrain.losses.features import exact, unit


def _kept(features: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Unit features, absent rows zero: whatever they held, nothing of it reaches a value or a gradient."""
    return unit(features if mask is None else torch.where(mask[:, None], features, 0.0))


def feature_binding(
    rgb: torch.Tensor,
    others: Mapping[str, torch.Tensor],
    pids: torch.Tensor,
    *,
    tau: float = 0.05,
    present: Mapping[str, torch.Tensor] | None = None,
) -> torch.Tensor:
    """Bind every modality of a person to his photograph, and push photographs of other people apart (AIO, eq. 6).

    L_i = -mean_m cos(z_i^R, z_i^m) / tau + log sum_{j: pid_j != pid_i} exp(cos(z_i^R, z_j^R) / tau), averaged over the
    anchors i for which both parts exist. m runs over the modalities that anchor i has. The positive is not in the
    denominator, so the loss is often negative, unlike InfoNCE.

    Args:
        rgb: (B, D) features of the photographs.
        others: modality -> (B, D) features, row i of the capture of row i of `rgb`.
        pids: (B,) identity labels; a batch needs two identities.
        tau: temperature.
        present: modality -> (B,) bool, rows that have it; a modality that is not named is there in all rows. The entry
            `rgb` says which photographs exist; others are neither anchor nor negative.

    Returns:
        A scalar; 0 with a zero gradient where no anchor has both a partner and another person beside it.

    Raises:
        ValueError: for shapes that do not fit, or a presence of a modality that is not among the features.

    Example:
        >>> rgb, pids = torch.eye(2), torch.tensor([0, 1])
        >>> feature_binding(rgb, {"sketch": rgb}, pids, tau=0.5).item()
        -2.0
    """
    masks = dict(present or {})
    _check_binding(rgb, others, pids, masks)
    here = masks.get("rgb", torch.ones(len(rgb), dtype=torch.bool, device=rgb.device))
    anchors = _kept(rgb, here)
    held, similar = torch.zeros_like(anchors[:, 0]), torch.zeros_like(anchors[:, 0])
    for name, features in others.items():
        has = masks.get(name, torch.ones_like(here))
        held = held + has.to(held.dtype)
        similar = similar + (anchors * _kept(features, has).to(anchors.dtype)).sum(dim=1)
    strangers = (pids[:, None] != pids[None, :]) & here[None, :]
    valid = here & (held > 0) & strangers.any(dim=1)
    if not bool(valid.any()):
        return (anchors.sum() + similar.sum()) * 0.0
    positive = similar[valid] / held[valid] / tau
    # -inf only where a stranger stands beside it: every valid row keeps at least one finite entry.
    logits = (anchors[valid] @ anchors.T / tau).masked_fill(~strangers[valid], float("-inf"))
    return (logits.logsumexp(dim=1) - positive).mean()


def _check_binding(
    rgb: torch.Tensor, others: Mapping[str, torch.Tensor], pids: torch.Tensor, masks: Mapping[str, torch.Tensor]
) -> None:
    unknown = sorted(set(masks) - set(others) - {"rgb"})
    if unknown:
        raise ValueError(
            f"present names {', '.join(unknown)}, but features are given for {', '.join(others) or 'none'}"
        )
    shapes = {name: tuple(features.shape) for name, features in others.items()}
    if rgb.ndim != 2 or any(shape != tuple(rgb.shape) for shape in shapes.values()) or pids.shape != rgb.shape[:1]:
        raise ValueError(f"all features must be (B, D) with B pids, received {tuple(rgb.shape)}, {shapes}, {len(pids)}")
    misfit = {name: tuple(mask.shape) for name, mask in masks.items() if mask.shape != rgb.shape[:1]}
    if misfit:
        raise ValueError(f"presence must be ({len(rgb)},) for each modality, received {misfit}")


def pairwise_distance(features: torch.Tensor, *, squared: bool = False) -> torch.Tensor:
    """Euclidean distance of every two rows; where it is 0 its gradient is 0, not infinite.

    Args:
        features: (B, D).
        squared: return its square.

    Returns:
        (B, B).
    """
    features = exact(features)
    # By differences, not by products: the distance of near neighbours is what is mined here.
    square = (features[:, None] - features[None, :]).pow(2).sum(dim=2)
    if squared:
        return square
    apart = square > torch.finfo(square.dtype).tiny
    return torch.where(apart, square, 1.0).sqrt() * apart


def soft_margin_triplet(features: torch.Tensor, pids: torch.Tensor, *, squared: bool = False) -> torch.Tensor:
    """Batch-hard triplet loss with a soft margin.

    L_a = log(1 + exp(max_p d(a, p) - min_n d(a, n))), averaged over the anchors a that have both another row of their
    identity and a row of another identity. Source: Hermans et al., "In Defense of the Triplet Loss for Person
    Re-Identification" (arXiv 1703.07737, eq. 5); DMF writes the distance squared (eq. 1).

    Args:
        features: (B, D), not normalised.
        pids: (B,) identity labels; P x K batches.
        squared: use squared euclidean distances.

    Returns:
        A scalar; 0 with a zero gradient where no anchor has both.

    Raises:
        ValueError: for shapes that do not fit.

    Example:
        >>> features, pids = torch.tensor([[0.0], [1.0], [3.0], [5.0]]), torch.tensor([0, 0, 1, 1])
        >>> round(float(soft_margin_triplet(features, pids)), 4)
        0.3151
    """
    if features.ndim != 2 or pids.shape != features.shape[:1]:
        raise ValueError(f"features must be (B, D) with B pids, received {tuple(features.shape)} and {len(pids)}")
    distance = pairwise_distance(features, squared=squared)
    same = pids[:, None] == pids[None, :]
    positives = same & ~torch.eye(len(pids), dtype=torch.bool, device=pids.device)
    valid = positives.any(dim=1) & (~same).any(dim=1)
    if not bool(valid.any()):
        return distance.sum() * 0.0
    hardest = distance[valid].masked_fill(~positives[valid], float("-inf")).amax(dim=1)
    nearest = distance[valid].masked_fill(same[valid], float("inf")).amin(dim=1)
    return F.softplus(hardest - nearest).mean()
