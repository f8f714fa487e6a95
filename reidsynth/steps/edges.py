"""Sketches by edge detectors of controlnet_aux: TEED, PiDiNet and HED, in batches at the photograph's own size.

References: X. Soria et al., "Tiny and Efficient Model for the Edge Detection Generalization", ICCV-W 2023 (TEED);
Z. Su et al., "Pixel Difference Networks for Efficient Edge Detection", ICCV 2021 (PiDiNet); S. Xie, Z. Tu,
"Holistically-Nested Edge Detection", ICCV 2015, in L. Zhang's variant for ControlNet (HED). What differs from the
detectors' calls: nothing is scaled to 512 and rounded to multiples of 64, the outputs of several scales are joined on
the device, batches are drawn together, and edges are black on white. These networks draw lines some pixels wide
whatever the size, so that a crop is enlarged twice for drawing by default; `scale=1` draws at native size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from reidsynth.steps.sketch_network import NetworkSketch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import torch


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Teed(NetworkSketch):
    """Draws edges with TEED (58 thousand parameters, `5_model.pth`)."""

    model: str = "fal-ai/teed"
    scale: Annotated[int, Field(ge=1, le=8)] = 2

    method: ClassVar[str] = "teed"
    filename: ClassVar[str] = "5_model.pth"
    multiple: ClassVar[int] = 8

    def network(self, file: Path) -> torch.nn.Module:
        """Load through the detector."""
        from controlnet_aux import TEEDdetector

        network: torch.nn.Module = TEEDdetector.from_pretrained(str(file.parent), filename=file.name).model
        return network

    def darkness(self, network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        """Mean of the outputs of all scales, as a probability."""
        return _mean_probability(network(images), images)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Hed(NetworkSketch):
    """Draws soft edges with HED (`ControlNetHED.pth`)."""

    scale: Annotated[int, Field(ge=1, le=8)] = 2

    method: ClassVar[str] = "hed"
    filename: ClassVar[str] = "ControlNetHED.pth"
    multiple: ClassVar[int] = 16

    def network(self, file: Path) -> torch.nn.Module:
        """Load through the detector."""
        from controlnet_aux import HEDdetector

        network: torch.nn.Module = HEDdetector.from_pretrained(str(file.parent), filename=file.name).netNetwork
        return network

    def darkness(self, network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        """Mean of the outputs of all scales, as a probability."""
        return _mean_probability(network(images), images)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Pidinet(NetworkSketch):
    """Draws edges with PiDiNet (`table5_pidinet.pth`)."""

    scale: Annotated[int, Field(ge=1, le=8)] = 2

    method: ClassVar[str] = "pidinet"
    filename: ClassVar[str] = "table5_pidinet.pth"
    multiple: ClassVar[int] = 8

    def network(self, file: Path) -> torch.nn.Module:
        """Load through the detector."""
        from controlnet_aux import PidiNetDetector

        network: torch.nn.Module = PidiNetDetector.from_pretrained(str(file.parent), filename=file.name).netNetwork
        return network

    def darkness(self, network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        """Last of its outputs, which joins the scales; the network takes BGR in 0..1."""
        answer: Any = network(images.flip(1) / 255.0)
        edges: torch.Tensor = answer[-1][:, 0]
        return edges


def _mean_probability(outputs: Sequence[torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    """Logits (N, 1, h, w) of several scales, enlarged, averaged, through a sigmoid; (N, H, W) in float32."""
    import torch
    import torch.nn.functional as F

    size = images.shape[2:]
    grown = [F.interpolate(each.float(), size, mode="bilinear", align_corners=False)[:, 0] for each in outputs]
    return torch.sigmoid(torch.stack(grown).mean(0))
