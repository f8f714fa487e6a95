"""A run's checkpoints: all that training needs to go on exactly, written whole or not at all.

```
RUN/config.json                           target, options, key of the data
RUN/checkpoints/step-000200/
    generator.safetensors                 the generator with its facts; all that the steps need
    discriminator.safetensors
    training.pt                           both optimisers and the loss scaler
    meta.json                             the facts once more, readable, with options and versions
RUN/pairs/                                the pairs at the working size; removed at the end
RUN/log.jsonl  RUN/tb/  RUN/sheets/epoch-0001.png
```

Random states need no storing: whatever is random is seeded anew from (seed, step, process) at every step.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from reidsynth import storage
from reidsynth.errors import UserError
from reidsynth.translator.weights import CHECKPOINTS, GENERATOR, Facts, read_facts, save_generator

CONFIG = "config.json"
DISCRIMINATOR, TRAINING, META = "discriminator.safetensors", "training.pt", "meta.json"


@dataclass(frozen=True, slots=True)
class State:
    """What training changes.

    Args:
        generator: without any wrapper.
        discriminator: the same.
        optimizers: of both, in this order.
        scaler: of losses in half precision; None without.
    """

    generator: nn.Module
    discriminator: nn.Module
    optimizers: tuple[Any, Any]
    scaler: Any | None = None


def refuse_foreign(run: Path, config: Mapping[str, Any]) -> None:
    """Check that a folder is missing, empty or a run's: in any other nothing is deleted, replaced or added.

    Args:
        run: the folder.
        config: of the run; by its keys a run of this translator is known again.

    Raises:
        UserError: it holds something else.
    """
    foreign = run.is_file() or (run.exists() and any(run.iterdir()))
    if foreign and _config_of(run, set(config)) is None:
        raise UserError(f"{str(run)!r} is not empty and holds no run of the translator: choose another folder for it")


def prepare_folder(run: Path, config: Mapping[str, Any], *, overwrite: bool = False) -> None:
    """Begin a run in its folder, or check that the one there may be gone on with.

    Args:
        run: the folder, not a foreign one, and held (`storage.locked`).
        config: written to it: `target`, `options` and `data`.
        overwrite: delete the run in it first.

    Raises:
        UserError: it holds a run of another configuration.
    """
    old = _config_of(run, set(config))
    if old is not None and overwrite:
        for path in run.iterdir():  # the folder itself stays: it is held
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    elif old is not None and checkpoints(run):
        changed = _differences(old, dict(config))
        if changed:
            raise UserError(
                f"{str(run)!r} holds a run of another configuration ({'; '.join(changed)}): choose another --out, or "
                "delete the old run with --overwrite"
            )
        return
    storage.write_json(run / CONFIG, dict(config))


def _config_of(run: Path, names: set[str]) -> dict[str, Any] | None:
    """What a run was begun with; None where the folder holds none (other programs call a file `config.json`, too)."""
    try:
        found = json.loads((run / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and set(found) == names else None


def _differences(old: dict[str, Any], new: dict[str, Any], place: str = "") -> list[str]:
    found = []
    for name in dict.fromkeys((*old, *new)):
        before, after = old.get(name), new.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            found += _differences(before, after, f"{place}{name}.")
        elif name == "data" and before != after:
            found.append("its data changed")
        elif before != after:
            found.append(f"{place}{name} was {before!r} and is {after!r}")
    return found


def checkpoints(run: Path) -> list[Path]:
    """Finished checkpoints, oldest first."""
    return sorted((run / CHECKPOINTS).glob("step-*"))


def last_facts(run: Path) -> Facts | None:
    """Facts of the last checkpoint; None where there is none.

    Raises:
        UserError: it is damaged.
    """
    found = checkpoints(run)
    if not found:
        return None
    try:
        return read_facts(found[-1] / GENERATOR)
    except UserError as error:
        raise _damaged(found[-1], error.__cause__ or error) from error


def save_checkpoint(run: Path, state: State, facts: Facts, *, options: Mapping[str, Any], keep: int) -> Path:
    """Write one checkpoint and delete all but the last ones.

    Raises:
        UserError: the disk is full.
    """
    folder = run / CHECKPOINTS / f"step-{facts.step:08d}"
    temporary = folder.with_name(f"{storage.TEMPORARY}{os.getpid()}-{folder.name}")
    try:
        with storage.disk_errors(folder):
            temporary.mkdir(parents=True, exist_ok=True)
            save_generator(temporary / GENERATOR, state.generator.state_dict(), facts)
            found = {name: value.cpu().contiguous().clone() for name, value in state.discriminator.state_dict().items()}
            save_file(found, temporary / DISCRIMINATOR)
            training = {"optimizers": [one.state_dict() for one in state.optimizers]}
            scaler = None if state.scaler is None else state.scaler.state_dict()
            torch.save({**training, "scaler": scaler}, temporary / TRAINING)
            versions = {"torch": str(torch.__version__)}
            meta = {**facts.model_dump(mode="json"), "options": dict(options), "versions": versions}
            storage.write_json(temporary / META, meta)
            for path in (*sorted(temporary.iterdir()), temporary):
                storage.sync(path)
            shutil.rmtree(folder, ignore_errors=True)
            temporary.replace(folder)
            storage.sync(folder.parent)
    except SafetensorError as error:  # how safetensors reports a full disk
        raise UserError(f"checkpoint {str(folder)!r} can't be written ({error}): free some space") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for path in checkpoints(run)[:-keep]:
        shutil.rmtree(path)
    return folder


def restore(run: Path, state: State) -> Facts | None:
    """Put the last checkpoint into networks, optimisers and scaler.

    Returns:
        Its facts; None where there is no checkpoint.

    Raises:
        UserError: it is damaged.
    """
    facts = last_facts(run)
    if facts is None:
        return None
    folder = checkpoints(run)[-1]
    try:
        state.generator.load_state_dict(load_file(folder / GENERATOR))
        state.discriminator.load_state_dict(load_file(folder / DISCRIMINATOR))
        training = torch.load(folder / TRAINING, map_location="cpu", weights_only=True)
    except (EOFError, OSError, RuntimeError, SafetensorError, ValueError, pickle.UnpicklingError) as error:
        raise _damaged(folder, error) from error
    for optimizer, values in zip(state.optimizers, training["optimizers"], strict=True):
        optimizer.load_state_dict(values)
    if state.scaler is not None and training["scaler"]:
        state.scaler.load_state_dict(training["scaler"])
    return facts


def _damaged(folder: Path, error: BaseException) -> UserError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return UserError(
        f"checkpoint {str(folder)!r} is damaged ({reason}): delete that folder to go on from the one before"
    )
