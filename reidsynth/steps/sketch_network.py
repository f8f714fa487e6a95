"""What sketches by networks share: matte first, a network in batches at the photograph's size, black on white."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from reidsynth import weights
from reidsynth.errors import UserError, reason
from reidsynth.schema import Made, Sample, TableSpec
from reidsynth.steps import photo_inputs
from reidsynth.steps.matte import Ground, matte
from reidsynth.steps.networks import (
    Device,
    Precision,
    Threads,
    as_tensor,
    in_batches,
    inference,
    loaded,
    padded,
    stack_pixels,
    torch_device,
    torch_dtype,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    import torch


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class NetworkSketch(ABC):
    """Draws with a network of controlnet_aux.

    Args:
        model: hub name, folder, or file of the weights.
        background: `remove` erases what the mask leaves out before drawing (UNIReID's order), `keep` draws it.
        mask: table to remove the background with; None takes the one that a step made, else the real `mask`.
        ground: what takes the background's place.
        scale: the photograph is enlarged this many times for drawing, and the sketch reduced again.
        precision: `auto` is float32 on a CPU and mixed float16 on CUDA.
        threads: of one worker on a CPU; part of the parameters, since another number may change the last bits.
        device: `auto` takes CUDA where there is one; it changes no more than the last bits.
    """

    model: str = "lllyasviel/Annotators"
    background: Literal["remove", "keep"] = "remove"
    mask: str | None = None
    ground: Ground = "white"
    scale: Annotated[int, Field(ge=1, le=8)] = 1
    precision: Precision = "auto"
    threads: Threads = 1
    device: Device = "auto"

    name: ClassVar[str] = "build-sketch"
    method: ClassVar[str]
    version: ClassVar[int] = 1
    filename: ClassVar[str]
    """Name under which the authors publish the weights."""
    multiple: ClassVar[int]
    """The network's sides must be multiples of this; photographs are padded and sketches cropped."""

    converts: ClassVar[bool] = False
    """Whether the network works with its weights in half precision."""

    @abstractmethod
    def network(self, file: Path) -> torch.nn.Module:
        """Load the network through controlnet_aux's loader."""

    @abstractmethod
    def darkness(self, network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        """Draw a batch.

        Args:
            network: as `network` loaded it.
            images: float (N, 3, H, W), RGB, 0 to 255.

        Returns:
            Float (N, H, W), 0 for paper to 1 for ink.
        """

    def output(self) -> TableSpec:
        """Table `sketch-<method>`: one grey channel, black on white."""
        return TableSpec(f"sketch-{self.method}", "sketch", "synthetic")

    def inputs(self, tables: Collection[str]) -> tuple[str, ...]:
        """Photographs and, unless the background is kept, masks.

        Raises:
            UserError: one of them is not there.
        """
        return photo_inputs(self.name, tables, erased=self.background == "remove", mask=self.mask)

    def parameters(self) -> dict[str, Any]:
        """All fields but the device; of local weights their name only."""
        fields = asdict(cast("Any", self))
        del fields["device"]
        return fields | {"model": weights.published_name(self.model)}

    def weights(self) -> dict[str, str]:
        """Checksum of the file in use.

        Raises:
            UserError: it is not to be had.
        """
        return weights.checksums([self._file()])

    def _file(self) -> Path:
        return weights.find_file(self.model, self.filename, purpose=f"{self.name} --method {self.method}")

    def load(self) -> tuple[torch.nn.Module, torch.device, torch.dtype]:
        """Load the network onto its device.

        Raises:
            UserError: the file holds other weights, or none.
        """
        device = torch_device(self.device)
        dtype = torch_dtype(self.precision, device)
        file = self._file()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about models of controlnet_aux that are not used here
                network = self.network(file)
        except Exception as error:  # torch.load and load_state_dict raise almost anything on foreign bytes
            raise UserError(
                f"{file.name} does not hold the weights of {self.method} ({reason(error)}): take the file that the "
                "network's authors publish under that name"
            ) from error
        network = network.eval().requires_grad_(False).to(device)
        # Autocast would convert the weights for every batch; on CUDA it keeps in float32 what half precision harms.
        return network.to(dtype) if self.converts and device.type == "cpu" else network, device, dtype

    def process(self, samples: Sequence[Sample]) -> list[Made]:
        """Draw the photographs, those of equal size together."""
        network, device, dtype = loaded(self)
        ready = [self._ready(sample) for sample in samples]

        def run(stack: np.ndarray) -> np.ndarray:
            with inference(device, dtype, self.threads):
                ink = self.darkness(network, as_tensor(stack, device))
            drawn: np.ndarray = (255.0 - ink.float().clamp(0.0, 1.0) * 255.0).round().byte().cpu().numpy()
            return drawn

        drawn = in_batches(ready, run, pixels=stack_pixels(device))
        return [Made(image=self._fitted(lines, sample)) for lines, sample in zip(drawn, samples, strict=True)]

    def _ready(self, sample: Sample) -> np.ndarray:
        import cv2

        photo = sample.images["rgb"]
        if self.background == "remove":
            mask = next(image for name, image in sample.images.items() if name != "rgb")
            photo = matte(photo, mask, self.ground)
        if self.scale > 1:
            size = (photo.shape[1] * self.scale, photo.shape[0] * self.scale)
            photo = cv2.resize(photo, size, interpolation=cv2.INTER_CUBIC)
        return padded(photo, self.multiple)

    def _fitted(self, drawn: np.ndarray, sample: Sample) -> np.ndarray:
        import cv2

        height, width = sample.images["rgb"].shape[:2]
        drawn = np.ascontiguousarray(drawn[: height * self.scale, : width * self.scale])
        if self.scale > 1:
            drawn = cv2.resize(drawn, (width, height), interpolation=cv2.INTER_AREA)
        return drawn
