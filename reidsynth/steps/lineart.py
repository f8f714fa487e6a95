"""Sketches without weights: controlnet_aux's standard line art, at the photograph's own size.

The detector draws a pixel as dark as it is darker than its neighbourhood (a Gaussian blur), relative to the median of
what stands out. UNIReID's order is kept: the background is erased to white before anything is drawn, which also makes
the outline a line. What differs from calling the detector plainly: it scales the short side to 512 and rounds both
sides to 64, which distorts a crop; here the photograph is padded to a multiple of 64 first, so that nothing is scaled,
and its answer (white on black) is inverted.

`LineartStandardDetector` itself is not called: importing its package costs every worker several seconds, for models
that are not used here, and its five lines are written with half the work. The tests hold them to the library's
answer, bit by bit.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from reidsynth.schema import Made, Sample, TableSpec
from reidsynth.steps import photo_inputs
from reidsynth.steps.matte import matte

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

_MULTIPLE = 64  # of the sides, as the detector wants them
_LARGEST_FACTOR = 4
_FAINTEST, _MEDIAN_LEVEL = 16.0, 127.0  # of the detector: the median of what stands out is drawn at half of black
_REFERENCE_SIDE = 64.0  # short side that `sigma` is given for


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class LineartStandard:
    """Draws lines where a photograph is darker than its neighbourhood (controlnet_aux); needs no weights.

    Args:
        background: `remove` erases to white what the mask leaves out, `keep` draws all of the photograph.
        mask: table to remove the background with; None takes the one that a step made, else the real `mask`.
        sigma: neighbourhood in pixels of a crop that is 64 wide; it grows with the photograph.
        threshold: darkness, of 255, that stands out.
        strength: factor on the darkness of lines.
        drawn_at: photographs with a shorter side are enlarged to it for drawing, so that lines come out thin.
    """

    background: Literal["remove", "keep"] = "remove"
    mask: str | None = None
    sigma: Annotated[float, Field(gt=0, le=50)] = 2.0
    threshold: Annotated[int, Field(ge=0, le=255)] = 8
    strength: Annotated[float, Field(gt=0, le=10)] = 1.3
    drawn_at: Annotated[int, Field(ge=1, le=4096)] = 128

    name: ClassVar[str] = "build-sketch"
    method: ClassVar[str] = "lineart-standard"
    version: ClassVar[int] = 1

    def output(self) -> TableSpec:
        """Table `sketch-lineart-standard`: one grey channel, black on white."""
        return TableSpec("sketch-lineart-standard", "sketch", "synthetic")

    def inputs(self, tables: Collection[str]) -> tuple[str, ...]:
        """Photographs and, unless the background is kept, masks.

        Raises:
            UserError: one of them is not there.
        """
        return photo_inputs(self.name, tables, erased=self.background == "remove", mask=self.mask)

    def parameters(self) -> dict[str, Any]:
        """All fields."""
        return asdict(cast("Any", self))

    def weights(self) -> dict[str, str]:
        """None."""
        return {}

    def process(self, samples: Sequence[Sample]) -> list[Made]:
        """Draw each photograph; one at a time, as the detector takes them."""
        return [Made(image=self._drawn(sample)) for sample in samples]

    def _drawn(self, sample: Sample) -> np.ndarray:
        import cv2

        photo = sample.images["rgb"]
        if self.background == "remove":
            photo = matte(photo, next(image for name, image in sample.images.items() if name != "rgb"))
        height, width = photo.shape[:2]
        short = min(height, width)
        factor = min(_LARGEST_FACTOR, max(1, math.ceil(self.drawn_at / short)))
        if factor > 1:
            photo = cv2.resize(photo, (width * factor, height * factor), interpolation=cv2.INTER_CUBIC)
        lines = _detect(photo, self.sigma * short * factor / _REFERENCE_SIDE, self.threshold)
        if factor > 1:
            lines = cv2.resize(lines, (width, height), interpolation=cv2.INTER_AREA)
        drawn: np.ndarray = (255.0 - np.clip(lines * self.strength, 0, 255)).round().astype(np.uint8)
        return drawn


def _detect(photo: np.ndarray, sigma: float, threshold: int) -> np.ndarray:
    """Darkness of the lines, uint8 (H, W)."""
    import cv2

    height, width = photo.shape[:2]
    padded = cv2.copyMakeBorder(photo, 0, -height % _MULTIPLE, 0, -width % _MULTIPLE, cv2.BORDER_REPLICATE)
    pixels = padded.astype(np.float32)
    around = cv2.subtract(cv2.GaussianBlur(pixels, (0, 0), sigma), pixels)
    darkness = cv2.min(cv2.min(*cv2.split(around)[:2]), cv2.extractChannel(around, 2)).clip(0, 255)
    standing_out = darkness[darkness > threshold]
    darkness /= max(_FAINTEST, np.median(standing_out)) if len(standing_out) else _FAINTEST
    darkness *= _MEDIAN_LEVEL
    drawn: np.ndarray = darkness[:height, :width].clip(0, 255).astype(np.uint8)
    return drawn
