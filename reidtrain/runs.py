"""A run folder's life: begun, gone on with, its best checkpoint marked."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

import reidtrain
from reidtrain.checkpoint import (
    BEST,
    CONFIG,
    TRAINING,
    backbone_record,
    checkpoints,
    read_best,
    read_meta,
    restore,
    write_json,
)
from reidtrain.config import RunConfig, SelectConfig, differences, parse_config
from reidtrain.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reidtrain.backbones import DualEncoder


@contextmanager
def held(run: Path) -> Iterator[None]:
    """Hold a run folder, made if needed, against a second training; the lock ends with the process, however it ends.

    Raises:
        UserError: another process trains in it, or it is a file.
    """
    if run.is_file():
        raise UserError(f"{run} is a file: choose another folder for the run")
    run.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(run, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise UserError(f"another process is training in {run}: wait for it, or choose another --out") from error
    finally:
        os.close(descriptor)


def prepare_folder(run: Path, config: RunConfig, *, overwrite: bool = False) -> None:
    """Make a run folder, or check that an existing one may be gone on with.

    A run without a checkpoint has nothing to lose: the new configuration takes its place.

    Args:
        run: the folder.
        config: written to it.
        overwrite: delete an existing run first; a folder that is no run is never deleted, and nothing in it replaced.

    Raises:
        UserError: when it holds something else, or a run of another configuration.
    """
    file = run / CONFIG
    if not _is_run(run) and run.exists() and any(run.iterdir()):
        raise UserError(f"{run} is not empty and holds no run: choose another folder for the run")
    if overwrite and file.exists():
        for path in run.iterdir():  # the folder itself is locked
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    if file.exists() and checkpoints(run):
        try:
            old = parse_config(json.loads(file.read_text(encoding="utf-8")), str(file))
        except ValueError as error:
            raise UserError(f"{file} is damaged ({error}): begin anew with --overwrite") from error
        changed = differences(old, config)
        if changed:
            raise UserError(
                f"{run} holds a run of another configuration ({'; '.join(changed)}): choose another --out, or delete "
                "the old run with --overwrite"
            )
        return
    run.mkdir(parents=True, exist_ok=True)
    write_json(file, config.dump())


def _is_run(run: Path) -> bool:
    """Whether a folder holds a run: many programs call a file `config.json`, and a model's folder is none of ours."""
    try:
        found = json.loads((run / CONFIG).read_text(encoding="utf-8"))
    except OSError:
        return False
    except ValueError:
        return bool(checkpoints(run))  # a damaged one
    return isinstance(found, dict) and {"preset", "train", "objective"} <= set(found)


def resume(
    run: Path, config: RunConfig, model: nn.Module, backbone: DualEncoder, checksum: str
) -> tuple[int, Mapping[str, Any] | None]:
    """Load the last checkpoint of a run into the model.

    Args:
        run: the folder.
        config: of the run.
        model: receives the weights.
        backbone: its encoder.
        checksum: of the data at hand.

    Returns:
        Steps taken, and the states of optimiser and scaler; 0 and None where there is no checkpoint.

    Raises:
        UserError: when the data changed, or the checkpoint does not fit the model.
    """
    found = checkpoints(run)
    if not found:
        return 0, None
    meta = read_meta(found[-1])
    if meta["data"]["checksum"] != checksum:
        raise UserError(
            f"the data of {run} changed since its checkpoint at step {meta['step']} (the manifest's checksum differs): "
            "give the manifest that it began with, or begin anew with --overwrite"
        )
    restore(model, backbone, found[-1], meta, config)
    training = torch.load(found[-1] / TRAINING, map_location="cpu", weights_only=True)
    return int(meta["step"]), training


def sidecar(
    config: RunConfig, backbone: DualEncoder, checksum: str, rows: Mapping[str, Any], datasets: Sequence[str] = ()
) -> dict[str, Any]:
    """What every checkpoint of a run says of it; `datasets` are those of its training split."""
    return {
        "config": config.dump(),
        "backbone": backbone_record(config, backbone),
        "data": {"checksum": checksum, "rows": rows, "datasets": list(datasets)},
        "versions": {"reidtrain": reidtrain.__version__, "torch": torch.__version__},
    }


def mark_best(
    run: Path, step: int, metrics: Mapping[str, float], select: SelectConfig, *, last: bool, chosen_on: str | None
) -> None:
    """Point best.json to this checkpoint if it is the best so far, or the last of a run that had nothing to choose on.

    Args:
        run: the folder.
        step: of the checkpoint.
        metrics: its `mean` on the selection split, empty where none was taken.
        select: how the choice was declared.
        last: whether this is the run's last step.
        chosen_on: from `reidtrain.selection.selection_split`.
    """
    best = read_best(run)
    checkpoint = {"checkpoint": f"step-{step:06d}"}
    if metrics and metrics["mean"] > best.get("value", -1.0):
        chosen = {"value": metrics["mean"], "metric": f"mean {select.metric}", "split": select.split}
        write_json(run / BEST, {**checkpoint, **chosen, "modes": list(select.modes)})
    elif last and not best:
        reason = f"the last step: the manifest has no split {select.split!r} to choose on"
        if chosen_on is not None:
            reason = f"the last step: the run has {step}, and select.every is {select.every}"
        write_json(run / BEST, {**checkpoint, "reason": reason})
