"""What a training run is made of: presets in YAML, overrides, one validation that reports every mistake at once.

A preset holds only its differences from the defaults below, or from the preset that it names under `extends`. Nothing
outside `train.py`, `checkpoint.py` and the command line sees these classes: builders take flat arguments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ValidationError, model_validator

from reidtrain.errors import UserError
from reidtrain.options import option_mistakes
from reidtrain.preset_files import merge, nearest, presets, resolve
from reidtrain.sections import (
    BackboneConfig,
    BuiltConfig,
    DataConfig,
    OptimConfig,
    SamplerConfig,
    Section,
    SelectConfig,
    StageConfig,
    TrainConfig,
)

__all__ = ["RunConfig", "SelectConfig", "StageConfig", "differences", "flat", "load_config", "parse_config", "presets"]


class RunConfig(Section):
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
    loggers: tuple[Literal["jsonl", "tensorboard", "wandb", "mlflow"], ...] = ("jsonl", "tensorboard")
    """Where the history goes; RUN/log.jsonl is always written, since resumption and figures read it."""
    project: str = "reidtrain"
    """The project of Weights & Biases, the experiment of MLflow."""

    @model_validator(mode="after")
    def _parts_are_equal(self) -> RunConfig:
        size, parts = self.sampler.batch_size, self.train.accumulation
        if size % parts:
            raise ValueError(f"a batch of {size} can't be divided into train.accumulation={parts} equal parts")
        return self

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
    # Names first: a model or objective of another name begins without options, whatever the order of the overrides.
    for override in sorted(overrides, key=lambda one: not one.partition("=")[0].strip().endswith(".name")):
        mistake = _override(values, override)
        if mistake:
            mistakes.append(mistake)
    try:
        config = RunConfig.model_validate(values)
    except ValidationError as error:
        mistakes.extend(_sentence(part) for part in error.errors())
    mistakes.extend(option_mistakes(values))
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


_FREE = (
    *("about", "preset", "loggers", "project"),
    *("data.manifests", "data.workers", "data.cache", "train.log_every", "train.keep"),
)


def differences(old: RunConfig, new: RunConfig) -> list[str]:
    """What differs between two configurations, as far as it changes what is trained.

    Returns:
        Sentences such as `optim.lr is 0.001 there and 0.01 here`.
    """
    ours, theirs = flat(new.dump()), flat(old.dump())
    return [
        f"{key} is {theirs.get(key)!r} there and {ours.get(key)!r} here"
        for key in sorted(ours.keys() | theirs.keys())
        if ours.get(key) != theirs.get(key) and not key.startswith(_FREE)
    ]


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Write nested sections as `section.key`."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found.update(flat(value, f"{prefix}{key}."))
        else:
            found[f"{prefix}{key}"] = value
    return found


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
    if keys[-1] == "name" and "options" in target and target.get("name") != value:
        target.pop("options")  # as in presets: another model or objective does not inherit them
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
