"""The generator: a U-Net that halves a photograph until a few pixels are left, and draws the target on the way back.

Reference: P. Isola, J.-Y. Zhu, T. Zhou, A. A. Efros, "Image-to-Image Translation with Conditional Adversarial Networks"
(pix2pix), CVPR 2017, whose U-Net InfraGAN uses. Convolutions of 4x4 and stride 2; batch normalisation everywhere but in
the first and the innermost convolution and the last; dropout on the way back in the middle; tanh at the end.
"""

from __future__ import annotations

import torch
from torch import nn

from reidsynth.translator.normalisation import SharedBatchNorm2d

_WIDEST = 8  # times the base channels
_DROPPED_FROM = 4  # the first four levels keep everything
_SPREAD = 0.02  # of the initial weights, as in pix2pix


class Generator(nn.Module):
    """U-Net from three channels to one, values in -1..1 on both sides.

    Args:
        channels: of the first level; they double up to eightfold.
        downs: how often the sides are halved; they must be multiples of 2^downs.
        dropout: share of the channels' values that is dropped in training.
    """

    def __init__(self, channels: int = 64, downs: int = 7, dropout: float = 0.5) -> None:
        super().__init__()
        widths = [channels * min(2**level, _WIDEST) for level in range(downs)]
        self.multiple = 2**downs
        self.down = nn.ModuleList(_down(level, widths) for level in range(downs))
        self.up = nn.ModuleList(_up(level, widths, dropout) for level in range(downs))
        self.apply(_initialise)

    def forward(self, photos: torch.Tensor) -> torch.Tensor:
        """Translate.

        Args:
            photos: float (N, 3, H, W) in -1..1; H and W are multiples of `multiple`.

        Returns:
            Float (N, 1, H, W) in -1..1.
        """
        kept: list[torch.Tensor] = []
        flow = photos
        for layer in self.down:
            flow = layer(flow)
            kept.append(flow)
        flow = self.up[-1](kept.pop())
        for layer in reversed(self.up[:-1]):
            flow = layer(torch.cat((kept.pop(), flow), dim=1))
        return torch.tanh(flow)


def _down(level: int, widths: list[int]) -> nn.Sequential:
    innermost = level == len(widths) - 1
    if level == 0:
        return nn.Sequential(nn.Conv2d(3, widths[0], 4, 2, 1))
    layers: list[nn.Module] = [nn.LeakyReLU(0.2)]
    layers.append(nn.Conv2d(widths[level - 1], widths[level], 4, 2, 1, bias=innermost))
    if not innermost:
        layers.append(SharedBatchNorm2d(widths[level]))
    return nn.Sequential(*layers)


def _up(level: int, widths: list[int], dropout: float) -> nn.Sequential:
    innermost = level == len(widths) - 1
    given = widths[level] if innermost else 2 * widths[level]
    if level == 0:
        return nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(given, 1, 4, 2, 1))
    layers: list[nn.Module] = [nn.ReLU(), nn.ConvTranspose2d(given, widths[level - 1], 4, 2, 1, bias=False)]
    layers.append(SharedBatchNorm2d(widths[level - 1]))
    # Smaller U-Nets than the paper's drop in their last level but one, so that something is always dropped.
    if dropout > 0 and not innermost and (level >= _DROPPED_FROM or level == len(widths) - 2):
        layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers)


def _initialise(layer: nn.Module) -> None:
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(layer.weight, 0.0, _SPREAD)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    elif isinstance(layer, nn.BatchNorm2d):
        nn.init.normal_(layer.weight, 1.0, _SPREAD)
        nn.init.zeros_(layer.bias)
