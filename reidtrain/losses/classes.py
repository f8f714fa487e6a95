"""Cross-entropies over classes: identities, and the masked attribute words of captions."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from reidtrain.losses.features import exact


def _masked_ce(
    logits: torch.Tensor, targets: torch.Tensor, mask: torch.Tensor | None, label_smoothing: float
) -> torch.Tensor:
    if logits.ndim < 2 or logits.shape[:-1] != targets.shape or (mask is not None and mask.shape != targets.shape):
        received = f"{tuple(logits.shape)} and {tuple(targets.shape)}"
        received += "" if mask is None else f" with a mask {tuple(mask.shape)}"
        raise ValueError(f"logits must be (..., C) with targets and mask (...), received {received}")
    here = torch.ones_like(targets, dtype=torch.bool) if mask is None else mask
    classes = logits.shape[-1]
    wrong = here & ((targets < 0) | (targets >= classes))
    if bool(wrong.any()):
        raise ValueError(f"target {int(targets[wrong][0])} is no class: there are {classes}, numbered from 0")
    if not bool(here.any()):
        # Not `0 * logits`: what is masked may hold anything.
        return exact(logits[here]).sum()
    return F.cross_entropy(exact(logits[here]), targets[here], label_smoothing=label_smoothing)


def identity_ce(
    logits: torch.Tensor, labels: torch.Tensor, *, mask: torch.Tensor | None = None, label_smoothing: float = 0.0
) -> torch.Tensor:
    """Mean cross-entropy over identities (AIO, eq. 4; the ID loss of DMF, eq. 2).

    The paper of AIO divides by the number of identities; this is the ordinary mean over the features present.

    Args:
        logits: (..., C).
        labels: (...) int64 in [0, C).
        mask: (...) bool, features that exist; None for all.
        label_smoothing: share of the target spread over all classes.

    Returns:
        A scalar; 0 with a zero gradient where the mask is false everywhere.

    Raises:
        ValueError: for shapes that do not fit, or a label that is no class.

    Example:
        >>> round(float(identity_ce(torch.zeros(2, 4), torch.tensor([0, 3]))), 4)
        1.3863
    """
    return _masked_ce(logits, labels, mask, label_smoothing)


def masked_attribute_ce(
    logits: torch.Tensor, targets: torch.Tensor, *, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Mean cross-entropy over masked attribute words (vision-guided masked attribute modelling, AIO, eq. 5).

    Args:
        logits: (..., V) over the attribute vocabulary.
        targets: (...) int64, the words that were masked; anything where `mask` is false.
        mask: (...) bool, places that hold a masked word; None for all.

    Returns:
        A scalar; 0 with a zero gradient where no word is masked.

    Raises:
        ValueError: for shapes that do not fit, or a target outside the vocabulary.

    Example:
        >>> logits, mask = torch.zeros(2, 3, 4), torch.tensor([[True, False, False], [False, False, False]])
        >>> round(float(masked_attribute_ce(logits, torch.zeros(2, 3, dtype=torch.long), mask=mask)), 4)
        1.3863
    """
    return _masked_ce(logits, targets, mask, 0.0)
