"""How close generated images come to true ones, beside three images that anybody can have without learning.

A translator that does worse than the mean training image has learned less than where people stand in a crop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from reidsynth.translator.losses import psnr, ssim
from reidsynth.translator.prepared import mean_target

TRANSLATOR, MEAN = "translator", "mean training image"
_LUMA = (0.2989, 0.5870, 0.1140)
_AT_A_TIME = 16

Generate = Callable[[torch.Tensor], torch.Tensor]
"""uint8 (N, 3, H, W) to uint8 (N, 1, H, W), on the CPU."""


@dataclass(frozen=True, slots=True)
class Closeness:
    """Means over held-out pairs, on 8 bits: PSNR in decibels and SSIM."""

    psnr: float
    ssim: float

    def beats(self, other: Closeness) -> bool:
        """Whether it is closer by both measures."""
        return self.psnr > other.psnr and self.ssim > other.ssim


def closeness(made: torch.Tensor, true: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """PSNR and SSIM of each image, both (N,).

    Args:
        made: uint8 (N, 1, H, W).
        true: the same shape.
    """
    a, b = made.float(), true.float()
    return psnr(a, b, data_range=255.0), ssim(a, b, data_range=255.0)


def score(held_out: np.ndarray, generate: Generate) -> Closeness:
    """Compare what a function makes of held-out photographs with their targets.

    Args:
        held_out: uint8 (N, 4, H, W).
        generate: the function.
    """
    found: list[tuple[torch.Tensor, torch.Tensor]] = []
    for start in range(0, len(held_out), _AT_A_TIME):
        part = torch.from_numpy(np.array(held_out[start : start + _AT_A_TIME]))
        found.append(closeness(generate(part[:, :3]), part[:, 3:]))
    decibels, similar = (torch.cat(side).double() for side in zip(*found, strict=True))
    return Closeness(round(float(decibels.mean()), 4), round(float(similar.mean()), 4))


def baselines(learned: np.ndarray, held_out: np.ndarray) -> dict[str, Closeness]:
    """Score luminance, inverted luminance and the mean training image.

    Args:
        learned: uint8 (N, 4, H, W), pairs to learn from.
        held_out: the same, of those that are held out.
    """
    mean = torch.from_numpy(mean_target(learned).round().astype(np.uint8))
    made: Mapping[str, Generate] = {
        "luminance": luminance,
        "inverted luminance": lambda photos: 255 - luminance(photos),
        MEAN: lambda photos: mean.expand(len(photos), 1, -1, -1),
    }
    return {name: score(held_out, generate) for name, generate in made.items()}


def luminance(photos: torch.Tensor) -> torch.Tensor:
    """Grey of photographs uint8 (N, 3, H, W): .2989 R + .5870 G + .1140 B, uint8 (N, 1, H, W)."""
    weights = torch.tensor(_LUMA).view(1, 3, 1, 1)
    return (photos.float() * weights).sum(1, keepdim=True).round().clamp(0, 255).to(torch.uint8)


def verdict(scores: Mapping[str, Closeness], what: str) -> str:
    """One sentence about a translator that does not beat the mean training image; "" about one that does.

    Args:
        scores: of `TRANSLATOR` and `MEAN`.
        what: the images made, "infrared image" for example.
    """
    ours, mean = scores[TRANSLATOR], scores[MEAN]
    if ours.beats(mean):
        return ""
    return (
        f"this translator does not beat the mean training {what} on the held-out pairs (PSNR {ours.psnr:.2f} against "
        f"{mean.psnr:.2f} dB, SSIM {ours.ssim:.3f} against {mean.ssim:.3f}): train it longer or on more pairs before "
        "you use it"
    )
