"""The sections of a configuration: what each may hold, and what it holds where nobody says otherwise.

`reidtrain.config` joins them into one configuration, reads presets and applies overrides.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from reidtrain.batch import SEVEN_MODES, parse_mode
from reidtrain.errors import UserError

Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0)]


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression ({error})") from error
    return pattern


Pattern = Annotated[str, AfterValidator(_compiles)]


class Section(BaseModel):
    """A section: no unknown fields, no changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class AugmentConfig(Section):
    """Augmentation of one modality; fields as `reidtrain.transforms.Augment`."""

    flip: Probability = 0.5
    pad: Annotated[int, Field(ge=0)] = 10
    pad_fill: Literal["black", "edge"] = "black"
    erase: Probability = 0.5
    erase_area: tuple[Probability, Probability] = (0.02, 0.4)
    channel: Literal["none", "replicate", "replicate-gray", "adap-gray"] = "none"
    gray: Probability = 0.5
    channel_erase: Probability = 0.0


class AugmentsConfig(Section):
    """Augmentation by modality."""

    rgb: AugmentConfig = AugmentConfig()
    ir: AugmentConfig = AugmentConfig()
    sketch: AugmentConfig = AugmentConfig()


class TablesConfig(Section):
    """Tables of each modality in order of preference, real ones first; null leaves a modality out.

    Besides a manifest's tables there are `online-ca` and `online-lineart`, made in training, and `TABLE:DATA_SET` for
    the rows of one data set; see `reidtrain.preference`.
    """

    rgb: tuple[str, ...] | None = ("rgb",)
    ir: tuple[str, ...] | None = ("ir", "ir-gan", "ir-ca")
    sketch: tuple[str, ...] | None = (
        *("sketch", "sketch-colour-pencil", "sketch-unireid"),
        *("sketch-lineart", "sketch-lineart-standard"),
    )
    text: tuple[str, ...] | None = ("text", "text-spac", "text-template")

    def named(self) -> dict[str, tuple[str, ...]]:
        """Modality -> tables, without the modalities left out."""
        return {name: tables for name, tables in self if tables}


class DataConfig(Section):
    """Which manifests, tables and modalities are read, and how."""

    manifests: tuple[Path, ...] = ()
    split: str = "train"
    tables: TablesConfig = TablesConfig()
    lineart: Path = Path("sk_model.pth")
    """Weights of the network that draws the sketches of the table `online-lineart`."""
    augment: AugmentsConfig = AugmentsConfig()
    mix: dict[str, Weight] | None = None
    """Data set -> weight: its share of a batch's places, against 1 for each that is not named; see `reidtrain.mixing`.
    Null draws all captures alike, so that large sets fill most places."""
    accept_failed: bool = False
    cache: bool = False
    workers: Annotated[int, Field(ge=0)] = 2


class SamplerConfig(Section):
    """Which captures stand together in a batch; see `reidtrain.sampler`."""

    name: Literal["tuples", "random", "groups"] = "tuples"
    batch_size: Count = 64
    per_identity: Count = 1
    pairing: Literal["capture", "cross", "identity"] = "capture"

    @model_validator(mode="after")
    def _tuples_are_single(self) -> SamplerConfig:
        if self.name != "groups" and self.per_identity != 1:
            raise ValueError(f"per_identity belongs to the sampler 'groups'; {self.name!r} draws one place at a time")
        return self


class BackboneConfig(Section):
    """The image-text encoder; see `reidtrain.backbones`."""

    name: str = "demo"
    frozen: bool = True
    image_size: tuple[Count, Count] | None = None


class BuiltConfig(Section):
    """A model or an objective by its registered name, with options for its builder."""

    name: str = "flexireid"
    options: dict[str, Any] = {}


class GroupConfig(Section):
    """Parameters whose name matches a regular expression, and what is different for them."""

    match: Pattern
    lr_scale: Positive = 1.0
    weight_decay: Annotated[float, Field(ge=0)] | None = None


class OptimConfig(Section):
    """Optimiser and learning-rate schedule.

    The rate climbs linearly from `warmup_start` x `lr` over `warmup` (a share of all steps) and then falls to
    `final` x `lr` along a cosine, or stays.
    """

    name: Literal["adam", "adamw", "sgd"] = "adam"
    lr: Positive = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    betas: tuple[Probability, Probability] = (0.9, 0.999)
    eps: Positive = 1e-8
    momentum: Probability = 0.9
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: Probability = 0.0
    warmup_start: Probability = 0.1
    final: Probability = 0.0
    groups: tuple[GroupConfig, ...] = ()


class TrainConfig(Section):
    """The loop: how long, how exact, how often it looks up."""

    steps: Count | None = None
    epochs: Count | None = None
    seed: int = 0
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    clip_norm: Positive | None = None
    accumulation: Count = 1
    """Parts of a batch that pass the network one after another."""
    accumulation_loss: Literal["batch", "part"] = "batch"
    """What the loss sees, see `reidtrain.gradients`."""
    gradient_checkpointing: bool = False
    """Keep no activations of the transformers' blocks, compute them again on the way back."""
    compile: bool = False
    """Compile the model's forward with torch.compile."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay of the weights' moving average, which is evaluated and kept; null for none, see `reidtrain.averaging`."""
    ema_warmup: Count = 10
    threads: Annotated[int, Field(ge=0)] = 0
    shuffle_labels: bool = False
    log_every: Count = 10
    save_every: Count | None = None
    """Steps between two checkpoints; null for the end of every epoch, or of a run that is counted in steps."""
    keep: Count = 2

    @model_validator(mode="after")
    def _one_length(self) -> TrainConfig:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("exactly one of steps and epochs says how long the run is")
        return self


class StageConfig(Section):
    """One stage of a run; what it does not name stays as the rest of the configuration says.

    The learning rate goes through its whole schedule, warm-up included, in every stage that has `own_schedule`; stages
    without it share one with the stage before.
    """

    name: str
    share: Positive = 1.0
    """Length, relative to the other stages."""
    datasets: tuple[str, ...] | None = None
    """Values of the captures' `dataset` column that are drawn; null for all."""
    modalities: tuple[str, ...] | None = None
    """Modalities that are drawn; null for all."""
    mix: dict[str, Weight] | None = None
    """In place of `data.mix`."""
    model: dict[str, Any] = {}
    """Options that the model takes for this stage, see its `begin_stage`."""
    restart: tuple[Pattern, ...] = ()
    """Regular expressions: modules with such names draw their parameters anew when the stage begins."""
    own_schedule: bool = False


class SelectConfig(Section):
    """How the best checkpoint is chosen; the metric is declared before the run."""

    split: str = "val"
    metric: Literal["R1", "mAP", "mINP"] = "R1"
    modes: tuple[str, ...] = tuple(mode.name for mode in SEVEN_MODES)
    every: Count | None = None
    """Steps between two looks at the split; null as for `train.save_every`."""

    @model_validator(mode="after")
    def _modes_exist(self) -> SelectConfig:
        for mode in self.modes:
            try:
                parse_mode(mode)
            except UserError as error:
                raise ValueError(str(error)) from error
        return self
