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
    if mask is not None:
        if mask.shape != probabilities.shape[:-1]:
            wanted = tuple(probabilities.shape[:-1])
            raise ValueError(f"mask must be {wanted}, one value a token, received {tuple(mask.shape)}")
        # Taken out before the logarithm: what stands at padded places may be anything, and 0 x NaN is NaN.
        probabilities = torch.where(mask[..., None], probabilities, 0.0)
    floor = torch.finfo(probabilities.dtype).tiny
    entropy = -(probabilities * probabilities.clamp_min(floor).log()).sum(dim=-1)
    count = entropy.numel() if mask is None else mask.sum()
    return entropy.sum() / torch.as_tensor(count, device=entropy.device).clamp_min(1)
