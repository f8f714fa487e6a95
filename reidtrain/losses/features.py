"""What every loss does to features first: precision, unit length, shapes."""

from __future__ import annotations

import torch


def exact(tensor: torch.Tensor) -> torch.Tensor:
    """Float32, or float64 for what is float64 already."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def unit(features: torch.Tensor) -> torch.Tensor:
    """Scale feature vectors to length 1; a zero vector stays zero and gets a zero gradient.

    Args:
        features: (..., D).

    Returns:
        (..., D), float32, or float64 for float64 features.
    """
    features = exact(features)
    squared = features.pow(2).sum(dim=-1, keepdim=True)
    nonzero = squared > torch.finfo(squared.dtype).tiny
    return features * torch.where(nonzero, squared, 1.0).rsqrt() * nonzero


def checked(query: torch.Tensor, gallery: torch.Tensor) -> None:
    """Require features (B, D) and (C, D), neither empty.

    Raises:
        ValueError: otherwise.
    """
    if query.ndim != 2 or gallery.ndim != 2 or query.shape[1] != gallery.shape[1]:
        raise ValueError(
            f"features must be (B, D) and (C, D) with one D, received {tuple(query.shape)} and {tuple(gallery.shape)}"
        )
    if len(query) == 0 or len(gallery) == 0:
        raise ValueError(f"a loss needs at least one feature a side, received {len(query)} and {len(gallery)}")
