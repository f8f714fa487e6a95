"""A run folder's checkpoints: weights as safetensors, a readable sidecar, the full state of training.

```
RUN/config.json                          what the run is made of
RUN/best.json                            which checkpoint is best, by which metric on which split
RUN/checkpoints/step-000200/
    model.safetensors                    trained weights
    meta.json                            config, loop state, data checksum, backbone, versions, metrics
    training.pt                          optimiser and loss scaler
RUN/log.jsonl  RUN/tb/  RUN/results/  RUN/figures/
```

A frozen backbone is not stored: `meta.json` names it and holds a checksum over its tensors, so a checkpoint of a large
encoder stays small and loads wherever that encoder can be had; another encoder under the same name is refused. What is
not frozen is stored whole. A checkpoint folder is written under a temporary name, flushed to disk and renamed, so it is
whole or absent. Random states need no storing: the loop seeds itself anew from (seed, step, process) at every step.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from reidtrain.config import RunConfig, parse_config
from reidtrain.errors import UserError

if TYPE_CHECKING:
    from reidtrain.backbones import DualEncoder

FORMAT = 1
CONFIG, BEST, CHECKPOINTS = "config.json", "best.json", "checkpoints"
WEIGHTS, META, TRAINING = "model.safetensors", "meta.json", "training.pt"


@dataclass(frozen=True, slots=True)
class LoadedRun:
    """A trained model, ready to encode.

    Args:
        model: in eval mode, on the device asked for.
        backbone: its encoder (transform constants, tokenizer); part of the model.
        config: of the run.
        step: at which the checkpoint was taken.
        path: the checkpoint's folder.
        meta: its sidecar.
    """

    model: nn.Module
    backbone: DualEncoder
    config: RunConfig
    step: int
    path: Path
    meta: Mapping[str, Any]


def assemble(config: RunConfig) -> tuple[nn.Module, DualEncoder]:
    """Build the model of a configuration; new parameters are drawn from its seed.

    Raises:
        UserError: for an unknown backbone, model or option.
    """
    from reidtrain.backbones import build_backbone
    from reidtrain.models import build_model

    part = config.backbone
    with torch.random.fork_rng(devices=[]):
        backbone = build_backbone(part.name, frozen=part.frozen, image_size=part.image_size)
        torch.manual_seed(config.train.seed)
        model = build_model(config.model.name, backbone, **config.model.options)
    return model, backbone


def fingerprint(module: nn.Module) -> str:
    """Sha256 over names, shapes and values of a module's tensors, whatever device or file they came from."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def stored_state(model: nn.Module, backbone: DualEncoder) -> dict[str, torch.Tensor]:
    """The entries of the model's state that a checkpoint holds: all but those of a frozen backbone."""
    left_out = {id(value) for value in _frozen_tensors(backbone)}
    state = model.state_dict(keep_vars=True)
    return {name: value.detach() for name, value in state.items() if id(value) not in left_out}


def _frozen_tensors(backbone: DualEncoder) -> Iterable[torch.Tensor]:
    if any(parameter.requires_grad for parameter in backbone.parameters()):
        return []
    return list(backbone.state_dict(keep_vars=True).values())


def backbone_record(config: RunConfig, backbone: DualEncoder) -> dict[str, Any]:
    """What the sidecar says of the backbone: its name, whether it is stored, and its checksum where it is not."""
    stored = not list(_frozen_tensors(backbone))
    return {"name": config.backbone.name, "stored": stored, "sha256": None if stored else fingerprint(backbone)}


def save_checkpoint(
    run: Path, step: int, *, state: Mapping[str, torch.Tensor], training: Mapping[str, Any], meta: Mapping[str, Any]
) -> Path:
    """Write one checkpoint, whole or not at all.

    Args:
        run: the run folder.
        step: optimiser steps taken.
        state: the model's entries, see `stored_state`.
        training: optimiser and scaler states.
        meta: the sidecar's content besides `format` and `step`.

    Returns:
        The checkpoint's folder.

    Raises:
        UserError: when the disk is full.
    """
    folder = run / CHECKPOINTS / f"step-{step:06d}"
    temporary = folder.with_name(f".{folder.name}.writing-{os.getpid()}")
    try:
        temporary.mkdir(parents=True, exist_ok=True)
        cpu = {name: value.cpu().contiguous().clone() for name, value in state.items()}
        save_file(cpu, temporary / WEIGHTS, metadata={"format": "pt"})
        torch.save(dict(training), temporary / TRAINING)
        sidecar = {"format": FORMAT, "step": step, **meta}
        (temporary / META).write_text(json.dumps(sidecar, indent=1) + "\n", encoding="utf-8")
        for path in (*sorted(temporary.iterdir()), temporary):
            _sync(path)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.replace(folder)
        _sync(folder.parent)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise UserError(
            f"checkpoint {folder} can't be written ({error}): nothing half-written was kept; free some space or choose "
            "another folder, then run the same command to go on from the checkpoint before"
        ) from error
    return folder


def write_json(path: Path, value: object) -> None:
    """Write JSON so that the file is the old one or the new one, never half of it."""
    temporary = path.with_name(f".{path.name}.writing-{os.getpid()}")
    temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    _sync(temporary)
    temporary.replace(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def checkpoints(run: Path) -> list[Path]:
    """Finished checkpoints, oldest first."""
    return sorted((run / CHECKPOINTS).glob("step-*"), key=lambda path: int(path.name.removeprefix("step-")))


def prune(run: Path, keep: int) -> None:
    """Delete all but the last `keep` checkpoints and the best, and what killed runs left half-written."""
    best = read_best(run).get("checkpoint")
    for path in checkpoints(run)[:-keep]:
        if path.name != best:
            shutil.rmtree(path)
    for path in (run / CHECKPOINTS).glob(".step-*.writing-*"):
        shutil.rmtree(path)


def read_best(run: Path) -> dict[str, Any]:
    """Content of best.json, empty where there is none yet."""
    path = run / BEST
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def read_meta(folder: Path) -> dict[str, Any]:
    """Read a checkpoint's sidecar.

    Raises:
        UserError: when it is damaged or of another format.
    """
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} is no checkpoint ({META} can't be read: {error}): choose another one") from error
    if meta.get("format") != FORMAT:
        raise UserError(f"{folder} has checkpoint format {meta.get('format')!r}, and this release reads {FORMAT}")
    return dict(meta)


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Read a checkpoint's weights.

    Raises:
        UserError: when the file is damaged.
    """
    try:
        return dict(load_file(folder / WEIGHTS))
    except (OSError, SafetensorError) as error:
        raise UserError(f"{folder / WEIGHTS} can't be read ({error}): choose another checkpoint of the run") from error


def restore(model: nn.Module, backbone: DualEncoder, folder: Path, meta: Mapping[str, Any], config: RunConfig) -> None:
    """Put a checkpoint's weights into a model.

    Raises:
        UserError: when the checkpoint belongs to another model or another backbone.
    """
    theirs = meta["config"]["model"]["name"]
    weights = read_weights(folder)
    wanted = stored_state(model, backbone)
    misfits = sorted(set(wanted) ^ set(weights)) or sorted(n for n in wanted if wanted[n].shape != weights[n].shape)
    if theirs != config.model.name or misfits:
        detail = f" ({len(misfits)} tensors don't fit, the first is {misfits[0]})" if misfits else ""
        raise UserError(
            f"{folder} is a checkpoint of a {theirs!r} that is not the {config.model.name!r} asked for{detail}: use "
            "the configuration that it was trained with, or another checkpoint"
        )
    record = meta["backbone"]
    if not record["stored"] and (have := fingerprint(backbone)) != record["sha256"]:
        raise UserError(
            f"{folder} was trained on a backbone {record['name']!r} with checksum {record['sha256'][:12]}, but the one "
            f"here has {have[:12]}: provide the encoder that it was trained on"
        )
    model.load_state_dict(weights, strict=False)


def find_checkpoint(run: Path) -> Path:
    """Find the best checkpoint of a run folder; a checkpoint's own folder is taken as it is.

    Raises:
        UserError: when the folder is no run, or holds no checkpoint.
    """
    if (run / META).exists():
        return run
    if not (run / CONFIG).exists():
        what = "does not exist" if not run.exists() else f"holds no {CONFIG}"
        raise UserError(f"{run} {what}, so it is no run: train one with `reidtrain fit --manifest M --out {run}`")
    best = run / CHECKPOINTS / str(read_best(run).get("checkpoint"))
    found = [best] if best.exists() else checkpoints(run)
    if not found:
        raise UserError(f"{run} holds no checkpoint yet: run the `reidtrain fit` that made it again, it goes on")
    return found[-1]


def load_run(run: str | Path, device: torch.device | str = "cpu") -> LoadedRun:
    """Load a run's best checkpoint, or the checkpoint whose folder is given.

    Args:
        run: a run folder or one of its checkpoints.
        device: where the model goes.

    Returns:
        The model in eval mode with its configuration.

    Raises:
        UserError: when there is none, it is damaged, or its backbone can't be had.
    """
    folder = find_checkpoint(Path(run))
    meta = read_meta(folder)
    config = parse_config(meta["config"], f"the configuration in {folder / META}")
    model, backbone = assemble(config)
    restore(model, backbone, folder, meta, config)
    model.requires_grad_(False).eval().to(device)
    return LoadedRun(model, backbone, config, int(meta["step"]), folder, meta)
