"""Convolutional stem with instance and batch normalisation, in place of a ViT's patch embedding.

Half of the channels of each layer pass through InstanceNorm, which removes the style of one image (an infrared's or
a sketch's contrast), the other half through BatchNorm, which keeps it: the IBN-a block of Pan et al. (ECCV 2018), used
as the image tokenizer of AIO (CVPR 2024). A small ViT trained on few images learns far sooner behind such a stem than
behind one linear projection of its patches.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class IBN(nn.Module):
    """InstanceNorm on the first half of the channels, BatchNorm on the rest.

    Args:
        channels: number of channels, at least 2.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.split = channels // 2
        self.instance = nn.InstanceNorm2d(self.split, affine=True)
        self.batch = nn.BatchNorm2d(channels - self.split)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Normalise (B, C, H, W)."""
        return torch.cat([self.instance(features[:, : self.split]), self.batch(features[:, self.split :])], dim=1)


class ConvStem(nn.Module):
    """3x3 convolutions with IBN and ReLU; the last one is plain and gives the tokens.

    Args:
        channels: output channels of each convolution; the last is the ViT's width.
        strides: stride of each convolution; their product is the patch size that the stem stands for.
    """

    def __init__(self, channels: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        if len(channels) != len(strides):
            raise ValueError(f"one stride per convolution is needed, received {list(channels)} and {list(strides)}")
        layers: list[nn.Module] = []
        before = 3
        for index, (width, stride) in enumerate(zip(channels, strides, strict=True)):
            last = index == len(channels) - 1
            layers.append(nn.Conv2d(before, width, 3, stride, padding=1, bias=last))
            if not last:
                layers += [IBN(width), nn.ReLU(inplace=True)]
            before = width
        self.layers = nn.Sequential(*layers)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Turn (B, 3, H, W) into (B, width, H / stride, W / stride)."""
        tokens: torch.Tensor = self.layers(images)
        return tokens
