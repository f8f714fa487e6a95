"""Between 8-bit levels and the networks' range of -1 to 1."""

from __future__ import annotations

import torch


def scaled(image: torch.Tensor) -> torch.Tensor:
    """Levels 0..255 as float32 in -1..1."""
    return image.float() / 127.5 - 1.0


def levels(image: torch.Tensor) -> torch.Tensor:
    """Values in -1..1 as uint8 levels, rounded.

    Example:
        >>> levels(scaled(torch.tensor([0, 1, 127, 128, 255], dtype=torch.uint8))).tolist()
        [0, 1, 127, 128, 255]
    """
    return ((image.float() + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)
