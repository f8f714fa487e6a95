"""What a training run is made of: presets in YAML, overrides, one validation that reports every mistake at once.

A preset holds only its differences from the defaults below, or from the preset that it names under `extends`. Nothing
outside `train.py`, `checkpoint.py` and the command line sees these classes: builders take flat arguments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from reidtrain.batch import SEVEN_MODES, parse_mode
from reidtrain.errors import UserError
from reidtrain.preset_files import merge, nearest, presets, resolve

__all__ = ["RunConfig", "StageConfig", "differences", "load_config", "parse_config", "presets"]

Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AugmentConfig(_Part):
    """Augmentation of one modality; fields as `reidtrain.transforms.Augment`."""

    flip: Probability = 0.5
    pad: Annotated[int, Field(ge=0)] = 10
    pad_fill: Literal["black", "edge"] = "black"
    erase: Probability = 0.5
    erase_area: tuple[Probability, Probability] = (0.02, 0.4)
    channel: Literal["none", "replicate", "replicate-gray", "adap-gray"] = "none"
    gray: Probability = 0.5
    channel_erase: Probability = 0.0


class AugmentsConfig(_Part):
    """Augmentation by modality."""

    rgb: AugmentConfig = AugmentConfig()
    ir: AugmentConfig = AugmentConfig()
    sketch: AugmentConfig = AugmentConfig()


class TablesConfig(_Part):
    """Tables of each modality in order of preference, real ones first; null leaves a modality out."""

    rgb: tuple[str, ...] | None = ("rgb",)
    ir: tuple[str, ...] | None = ("ir", "ir-ca")
    sketch: tuple[str, ...] | None = ("sketch", "sketch-colour-pencil", "sketch-unireid", "sketch-lineart-standard")
    text: tuple[str, ...] | None = ("text", "text-spac", "text-template")

    def named(self) -> dict[str, tuple[str, ...]]:
        """Modality -> tables, without the modalities left out."""
        return {name: tables for name, tables in self if tables}


class DataConfig(_Part):
    """Which manifests, tables and modalities are read, and how."""

    manifests: tuple[Path, ...] = ()
    split: str = "train"
    tables: TablesConfig = TablesConfig()
    augment: AugmentsConfig = AugmentsConfig()
    accept_failed: bool = False
    cache: bool = False
    workers: Annotated[int, Field(ge=0)] = 2


class SamplerConfig(_Part):
    """Which captures stand together in a batch; see `reidtrain.sampler`."""

    name: Literal["tuples", "groups"] = "tuples"
    batch_size: Count = 64
    per_identity: Count = 1
    pairing: Literal["capture", "cross", "identity"] = "capture"

    @model_validator(mode="after")
    def _tuples_are_single(self) -> SamplerConfig:
        if self.name == "tuples" and self.per_identity != 1:
            raise ValueError("per_identity belongs to the sampler 'groups'; 'tuples' takes one place per identity")
        return self


class BackboneConfig(_Part):
    """The image-text encoder; see `reidtrain.backbones`."""

    name: str = "demo"
    frozen: bool = True
    image_size: tuple[Count, Count] | None = None


class BuiltConfig(_Part):
    """A model or an objective by its registered name, with options for its builder."""

    name: str = "flexireid"
    options: dict[str, Any] = {}


class GroupConfig(_Part):
    """Parameters whose name matches a regular expression, and what is different for them."""

    match: str
    lr_scale: Positive = 1.0
    weight_decay: Annotated[float, Field(ge=0)] | None = None


class OptimConfig(_Part):
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


class TrainConfig(_Part):
    """The loop: how long, how exact, how often it looks up."""

    steps: Count | None = None
    epochs: Count | None = None
    seed: int = 0
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    clip_norm: Positive | None = None
    threads: Annotated[int, Field(ge=0)] = 0
    shuffle_labels: bool = False
    log_every: Count = 10
    save_every: Count | None = None
    keep: Count = 2

    @model_validator(mode="after")
    def _one_length(self) -> TrainConfig:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("exactly one of steps and epochs says how long the run is")
        return self


class StageConfig(_Part):
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
    model: dict[str, Any] = {}
    """Options that the model takes for this stage, see its `begin_stage`."""
    restart: tuple[str, ...] = ()
    """Regular expressions: modules with such names draw their parameters anew when the stage begins."""
    own_schedule: bool = False


class SelectConfig(_Part):
    """How the best checkpoint is chosen; the metric is declared before the run."""

    split: str = "val"
    metric: Literal["R1", "mAP", "mINP"] = "R1"
    modes: tuple[str, ...] = tuple(mode.name for mode in SEVEN_MODES)
    every: Count | None = None

    @model_validator(mode="after")
    def _modes_exist(self) -> SelectConfig:
        for mode in self.modes:
            try:
                parse_mode(mode)
            except UserError as error:
                raise ValueError(str(error)) from error
        return self


class RunConfig(_Part):
    """Everything a run is made of; written to RUN/config.json."""

    preset: str
    about: str = ""
    data: DataConfig = DataConfig()
    sampler: SamplerConfig = SamplerConfig()
    backbone: BackboneConfig = BackboneConfig()
    model: BuiltConfig = BuiltConfig()
    objective: BuiltConfig = BuiltConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig
    stages: tuple[StageConfig, ...] = ()
    select: SelectConfig = SelectConfig()

    def dump(self) -> dict[str, Any]:
        """The configuration as JSON values."""
        return self.model_dump(mode="json")


def load_config(preset: str, overrides: Sequence[str] = (), **data: object) -> RunConfig:
    """Read a preset, apply overrides, validate.

    Args:
        preset: name of a shipped preset, or path of a YAML file.
        overrides: `a.b=value` each, the value in YAML (`optim.lr=3e-4`, `data.tables.ir=[ir-ca]`).
        **data: fields of `data` that the command line sets (`manifests`).

    Returns:
        The configuration.

    Raises:
        UserError: one message that names every mistake.
    """
    file, colon, row = preset.partition(":")
    name = f"{Path(file).stem}{colon}{row}"
    values = merge(resolve(preset), {"preset": name, **({"data": data} if data else {})})
    mistakes: list[str] = []
    for override in overrides:
        mistake = _override(values, override)
        if mistake:
            mistakes.append(mistake)
    try:
        config = RunConfig.model_validate(values)
    except ValidationError as error:
        mistakes.extend(_sentence(part) for part in error.errors())
    if mistakes:
        listed = "".join(f"\n  - {mistake}" for mistake in mistakes)
        count = "a mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        raise UserError(f"the configuration of preset {preset!r} has {count}:{listed}")
    return config


def parse_config(values: Mapping[str, Any], where: str) -> RunConfig:
    """Validate a stored configuration.

    Raises:
        UserError: when it does not fit this release.
    """
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        listed = "; ".join(_sentence(part) for part in error.errors())
        raise UserError(f"{where} can't be read by this release: {listed}") from error


_FREE = ("about", "preset", "data.manifests", "data.workers", "data.cache", "train.log_every", "train.keep")


def differences(old: RunConfig, new: RunConfig) -> list[str]:
    """What differs between two configurations, as far as it changes what is trained.

    Returns:
        Sentences such as `optim.lr is 0.001 there and 0.01 here`.
    """
    ours, theirs = _flat(new.dump()), _flat(old.dump())
    return [
        f"{key} is {theirs.get(key)!r} there and {ours.get(key)!r} here"
        for key in sorted(ours.keys() | theirs.keys())
        if ours.get(key) != theirs.get(key) and not key.startswith(_FREE)
    ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _override(values: dict[str, Any], override: str) -> str | None:
    """Apply `a.b=value` in place; returns what is wrong with it."""
    path, equals, text = override.partition("=")
    if not equals or not path.strip():
        return f"override {override!r} must be written section.key=value, for example optim.lr=3e-4"
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return f"override {override!r}: {text!r} is not valid YAML"
    keys = path.strip().split(".")
    target = values
    for key in keys[:-1]:
        inner = target.get(key)
        target[key] = dict(inner) if isinstance(inner, Mapping) else {}
        target = target[key]
    target[keys[-1]] = _number(value)
    return None


def _number(value: object) -> object:
    """YAML 1.1 reads 3e-4 as text: take what Python takes for a number."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _sentence(error: Any) -> str:  # noqa: ANN401 - a pydantic ErrorDetails mapping
    path = [str(part) for part in error["loc"]]
    where = ".".join(path) or "configuration"
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        valid = _fields(path[:-1])
        return f"{where} does not exist{nearest(path[-1], valid)}"
    if error["type"] == "missing":
        return f"{where} is missing"
    received = error["input"]
    return f"{where}: {message[0].lower()}{message[1:]}, received {received!r}"


def _fields(path: Sequence[str]) -> list[str]:
    """Names of the fields of the section at `path`."""
    section: Any = RunConfig
    for key in path:
        fields = getattr(section, "model_fields", {})
        section = fields[key].annotation if key in fields else None
    return sorted(getattr(section, "model_fields", {}))
