"""Sketches by the line-art network that AIO calls "Lineart", at the photograph's own size.

Reference: C. Chan, F. Durand, P. Isola, "Learning to generate line drawings that convey geometry and semantics", CVPR
2022; weights and network class as controlnet_aux ships them (4.29 M parameters, RGB in 0..1, black on white in 0..1).
What differs from the detector's call: it scales the short side to 512, which makes a 256x128 crop 1024x512, draws one
image at a time and inverts the result. Here the network runs on batches at native size. InstanceNorm keeps no running
statistics, so the batch changes no sample. Its last layer, a 7x7 convolution to one channel, is computed as a 1x1
convolution to 49 channels and 49 shifted additions: the same sum in another order, several times faster on a CPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from reidsynth.steps.sketch_network import NetworkSketch

if TYPE_CHECKING:
    from pathlib import Path

    import torch


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Lineart(NetworkSketch):
    """Draws fine lines with the line-art network (controlnet_aux weights, `sk_model.pth`)."""

    method: ClassVar[str] = "lineart"
    filename: ClassVar[str] = "sk_model.pth"
    multiple: ClassVar[int] = 4
    converts: ClassVar[bool] = True

    def network(self, file: Path) -> torch.nn.Module:
        """Load through the detector, which wants a fine and a coarse model; only one of them is used."""
        from controlnet_aux import LineartDetector

        name = file.name
        detector = LineartDetector.from_pretrained(str(file.parent), filename=name, coarse_filename=name)
        network: torch.nn.Module = detector.model
        return network

    def darkness(self, network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        """Run the network; its paper is 1 and its ink 0."""
        return 1.0 - line_drawing(network, images / 255.0)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class LineartCoarse(Lineart):
    """Draws coarse lines with the line-art network (controlnet_aux weights, `sk_model2.pth`)."""

    method: ClassVar[str] = "lineart-coarse"
    filename: ClassVar[str] = "sk_model2.pth"


def line_drawing(network: Any, images: torch.Tensor) -> torch.Tensor:  # noqa: ANN401 - the library ships no types
    """The network's answer.

    Args:
        network: controlnet_aux's line-art network.
        images: (N, 3, H, W), RGB, 0 to 1; sides are multiples of 4.

    Returns:
        (N, H, W) in float32, black (0) on white (1); equal to `network(images)[:, 0]` up to rounding.
    """
    import torch

    hidden = network.model3(network.model2(network.model1(network.model0(images))))
    pad, last, _ = network.model4
    return torch.sigmoid(_to_one_channel(pad(hidden), last))


def _to_one_channel(hidden: torch.Tensor, layer: torch.nn.Conv2d) -> torch.Tensor:
    """A convolution to one channel as a product over channels and a sum over shifts."""
    import torch.nn.functional as F

    rows, columns = layer.weight.shape[2:]
    every = layer.weight[0].permute(1, 2, 0).reshape(rows * columns, -1, 1, 1)
    maps = F.conv2d(hidden, every).float()
    height, width = hidden.shape[2] - rows + 1, hidden.shape[3] - columns + 1
    total = maps.new_zeros(len(maps), height, width)
    for row in range(rows):
        for column in range(columns):
            total += maps[:, row * columns + column, row : row + height, column : column + width]
    assert layer.bias is not None, "controlnet_aux's last layer has a bias"
    return total + layer.bias.float()
