"""The discriminator: a U-Net with spectral normalisation that judges a whole image and each of its pixels.

Reference: E. Schönfeld, B. Schiele, A. Khoreva, "A U-Net Based Discriminator for Generative Adversarial Networks",
CVPR 2020, as InfraGAN uses it: it sees the photograph and the infrared image together, and answers from its innermost
level (global) and from its last one (per pixel). Residual blocks of two 3x3 convolutions; halved by averaging, doubled
by repeating; no normalisation but that of the weights, so nothing passes between the images of a batch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm

_WIDEST = 16  # times the base channels
_DEEPEST = 6


class Discriminator(nn.Module):
    """U-Net on four channels: photograph and target.

    Args:
        channels: of the first level; they double up to sixteenfold.
        size: height and width of the images; how often they are halved follows from it, six times at most.
    """

    def __init__(self, channels: int = 64, size: tuple[int, int] = (256, 128)) -> None:
        super().__init__()
        levels = depth(size)
        widths = [channels * min(2**level, _WIDEST) for level in range(levels)]
        self.down = nn.ModuleList(_Block(4 if not n else widths[n - 1], widths[n], first=not n) for n in range(levels))
        self.judge = spectral_norm(nn.Linear(widths[-1], 1))
        given = [widths[-1]] + [2 * width for width in reversed(widths[:-1])]
        made = [*reversed(widths[:-1]), channels]
        self.up = nn.ModuleList(_Block(a, b, first=False) for a, b in zip(given, made, strict=True))
        self.pixels = spectral_norm(nn.Conv2d(channels, 1, 1))

    def forward(self, photos: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Judge.

        Args:
            photos: float (N, 3, H, W) in -1..1.
            targets: float (N, 1, H, W) in -1..1, true or generated.

        Returns:
            Logits of being true: per pixel (N, 1, H, W), and global (N, 1).
        """
        with parametrize.cached():
            # Power iterations want float32, whatever the convolutions run in.
            with torch.autocast(photos.device.type, enabled=False):
                for layer in self.modules():
                    if parametrize.is_parametrized(layer):
                        _ = layer.weight
            return self._judged(torch.cat((photos, targets), dim=1))

    def _judged(self, flow: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        kept: list[torch.Tensor] = []
        for block in self.down:
            flow = F.avg_pool2d(block(flow), 2)
            kept.append(flow)
        whole = self.judge(F.relu(flow).sum((2, 3)))
        kept.pop()
        for number, block in enumerate(self.up):
            if number:
                flow = torch.cat((flow, kept.pop()), dim=1)
            flow = block(F.interpolate(flow, scale_factor=2.0, mode="nearest"))
        return self.pixels(F.relu(flow)), whole


class _Block(nn.Module):
    """Two convolutions beside a shortcut; the first block of a network takes its input as it is."""

    def __init__(self, given: int, made: int, *, first: bool) -> None:
        super().__init__()
        self.first = first
        self.one = spectral_norm(nn.Conv2d(given, made, 3, padding=1))
        self.two = spectral_norm(nn.Conv2d(made, made, 3, padding=1))
        self.shortcut = spectral_norm(nn.Conv2d(given, made, 1))

    def forward(self, flow: torch.Tensor) -> torch.Tensor:
        inside = self.one(flow if self.first else F.relu(flow))
        made: torch.Tensor = self.two(F.relu(inside)) + self.shortcut(flow)
        return made


def depth(size: tuple[int, int]) -> int:
    """How often images of a size are halved: as long as both sides stay whole and at least 2 pixels.

    Example:
        >>> depth((256, 128)), depth((384, 128)), depth((64, 32)), depth((48, 32))
        (6, 6, 4, 4)
    """
    levels = 0
    while levels < _DEEPEST and all(side % 2 ** (levels + 1) == 0 and side >> (levels + 1) >= 2 for side in size):
        levels += 1
    return levels
