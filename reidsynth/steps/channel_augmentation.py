"""Infrared from colour by channel augmentation: one colour channel, as if it were the camera's only one.

Reference: M. Ye, W. Ruan, B. Du, M. Z. Shou, "Channel Augmented Joint Learning for Visible-Infrared Recognition",
ICCV 2021; AIO (CVPR 2024) makes its missing infrared images this way. R, G and B are equally likely and grey is off
by default. This is the stored form, on 8-bit pixels; the form that augments training images belongs to the trainer.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from reidsynth.draws import sample_rng
from reidsynth.schema import Made, Sample, TableSpec
from reidsynth.steps import photo_inputs

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

_CHANNELS = "RGB"
_LUMA = np.array([0.2989, 0.5870, 0.1140])


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class ChannelAugmentation:
    """Takes one of R, G, B, drawn for each photograph, for its infrared image; needs no weights.

    Args:
        gray: adds .2989 R + .5870 G + .1140 B as a fourth outcome, each then 1/4.
        seed: of the draws.
    """

    gray: bool = False
    seed: int = 0

    name: ClassVar[str] = "build-ir"
    method: ClassVar[str] = "channel-augmentation"
    version: ClassVar[int] = 1

    def output(self) -> TableSpec:
        """Table `ir-ca`: one grey channel, which a decoder repeats in R, G and B."""
        return TableSpec("ir-ca", "ir", "synthetic", "pseudo")

    def inputs(self, tables: Collection[str]) -> tuple[str, ...]:
        """Photographs.

        Raises:
            UserError: there are none.
        """
        return photo_inputs(self.name, tables)

    def parameters(self) -> dict[str, Any]:
        """All fields."""
        return asdict(cast("Any", self))

    def weights(self) -> dict[str, str]:
        """None."""
        return {}

    def process(self, samples: Sequence[Sample]) -> list[Made]:
        """Draw a channel for each photograph and record it as `channel=R`, for example."""
        return [self._made(sample) for sample in samples]

    def _made(self, sample: Sample) -> Made:
        photo = sample.images["rgb"]
        drawn = int(sample_rng(self.seed, sample.sample_id, self.name).integers(4 if self.gray else 3))
        if drawn == len(_CHANNELS):
            return Made(image=(photo @ _LUMA).round().astype(np.uint8), draw="channel=gray")
        return Made(image=photo[:, :, drawn].copy(), draw=f"channel={_CHANNELS[drawn]}")
