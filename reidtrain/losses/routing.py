"""Losses over routing distributions."""

from __future__ import annotations

import torch

from reidtrain.losses.features import exact


def routing_entropy(probabilities: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Mean entropy of routing distributions, the adaptive loss of FlexiReID (eq. 4).

    H(P) = -sum_i P_i ln P_i with 0 ln 0 = 0, averaged over the tokens where `mask` is true.

    Args:
        probabilities: (..., n) non-negative, rows sum to 1.
        mask: (...) bool, None for all tokens.

    Returns:
        A scalar between 0 and ln n; 0 where the mask is false everywhere.

    Raises:
        ValueError: if the mask's shape is not that of the tokens.

    Example:
        >>> round(float(routing_entropy(torch.tensor([[0.5, 0.5], [1.0, 0.0]]))), 4)
        0.3466
    """
    probabilities = exact(probabilities)
    floor = torch.finfo(probabilities.dtype).tiny
    entropy = -(probabilities * probabilities.clamp_min(floor).log()).sum(dim=-1)
    if mask is None:
        return entropy.mean() if entropy.numel() else entropy.sum()
    if mask.shape != entropy.shape:
        raise ValueError(f"mask must be {tuple(entropy.shape)}, one value a token, received {tuple(mask.shape)}")
    weights = mask.to(entropy.dtype)
    return (entropy * weights).sum() / weights.sum().clamp_min(1)
