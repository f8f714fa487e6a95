"""What a translator is and how it is trained; the values are InfraGAN's."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from reidsynth import registry
from reidsynth.translator.losses import L1_WEIGHT, SSIM_WEIGHT, WINDOW

if TYPE_CHECKING:
    from collections.abc import Mapping

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"), kw_only=True)
class TranslatorOptions:
    """Options of a training run.

    Args:
        height: that images are worked on at; all photographs are brought to it, and back to their own size.
        width: the same.
        downs: of the generator; both sides must be multiples of 2^downs.
        channels: of the generator's first level.
        discriminator_channels: of the discriminator's first level.
        dropout: in the generator's middle.
        batch_size: pairs of a step, over all processes.
        epochs: at the full learning rate.
        decay_epochs: after them, in which it falls to 0 in a line.
        lr: of the generator.
        discriminator_lr: of the discriminator.
        beta1: of both Adams.
        l1_weight: of the absolute error.
        ssim_weight: of the structural error.
        ssim_offset: added to both images (-1..1) for SSIM; 1 judges brightness from black on, as on 8 bits.
        flip: share of pairs that are mirrored, photograph and target alike.
        seed: of weights, order, mirroring, dropout and the choice of pairs that are held out.
        precision: `auto` is float32 on a CPU and mixed bfloat16 or float16 on CUDA.
        held_out_limit: most held-out pairs that are scored.
        sheet_rows: held-out pairs on the sheet of every epoch.
        log_every: steps between two entries of the log.
        save_every: steps between two checkpoints, besides that at the end of every epoch; 0 for none.
        keep: checkpoints that stay.
        threads: of torch on a CPU; 0 leaves the number as it is.
    """

    height: Count = 256
    width: Count = 128
    downs: Annotated[int, Field(ge=2, le=10)] = 7
    channels: Count = 64
    discriminator_channels: Count = 64
    dropout: Share = 0.5
    batch_size: Count = 8
    epochs: Annotated[int, Field(ge=0)] = 100
    decay_epochs: Annotated[int, Field(ge=0)] = 100
    lr: Positive = 2e-4
    discriminator_lr: Positive = 2e-6
    beta1: Share = 0.5
    l1_weight: Annotated[float, Field(ge=0)] = L1_WEIGHT
    ssim_weight: Annotated[float, Field(ge=0)] = SSIM_WEIGHT
    ssim_offset: Annotated[float, Field(ge=0)] = 0.0
    flip: Annotated[float, Field(ge=0, le=1)] = 0.5
    seed: Annotated[int, Field(ge=0)] = 0
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    held_out_limit: Count = 500
    sheet_rows: Count = 8
    log_every: Count = 50
    save_every: Annotated[int, Field(ge=0)] = 0
    keep: Count = 2
    threads: Annotated[int, Field(ge=0, le=1024)] = 0

    @model_validator(mode="after")
    def _fits(self) -> TranslatorOptions:
        step = 2**self.downs
        if self.height % step or self.width % step or min(self.height, self.width) < WINDOW:
            raise ValueError(
                f"height {self.height} and width {self.width} must be multiples of 2^downs = {step}, and at least "
                f"{WINDOW}: photographs of other sizes are brought to them and back"
            )
        if self.epochs + self.decay_epochs < 1:
            raise ValueError("epochs and decay_epochs are both 0: nothing would be trained")
        return self

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width

    @property
    def total_epochs(self) -> int:
        """Epochs of the whole run."""
        return self.epochs + self.decay_epochs

    def rate_factor(self, epoch: int) -> float:
        """Factor on both learning rates in an epoch, counted from 0.

        1 in the first `epochs`, then in a line towards 0, which it would reach one epoch after the last (pix2pix).

        Example:
            >>> options = TranslatorOptions(epochs=2, decay_epochs=3)
            >>> [options.rate_factor(epoch) for epoch in range(5)]
            [1.0, 1.0, 0.75, 0.5, 0.25]
        """
        return 1.0 - max(0, epoch + 1 - self.epochs) / (self.decay_epochs + 1)

    def dump(self) -> dict[str, Any]:
        """JSON values of all fields."""
        return asdict(cast("Any", self))


def parse_options(values: Mapping[str, Any]) -> TranslatorOptions:
    """Check options.

    Raises:
        UserError: naming every unknown and wrong one at once.
    """
    found: TranslatorOptions = registry.construct(TranslatorOptions, "train-ir-gan", values)
    return found
