"""Where a run's history goes besides `log.jsonl`: TensorBoard, Weights & Biases, MLflow, through accelerate's trackers.

A resumed run goes on in the same run of the service: its id is kept in `RUN/trackers.json`. Both services read where
they are and who asks from their own environment variables (WANDB_MODE=offline, MLFLOW_TRACKING_URI, ...).
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reidtrain.checkpoint import write_json
from reidtrain.config import RunConfig, flat
from reidtrain.errors import UserError

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

IDS, BOARD = "trackers.json", "tb"
SERVICES: Mapping[str, str] = {"wandb": "Weights & Biases", "mlflow": "MLflow"}
"""Loggers that are packages of their own."""


def require_loggers(names: Sequence[str]) -> None:
    """Check that the packages of the loggers are installed, before anything is trained.

    Raises:
        UserError: naming the package to install.
    """
    for name in names:
        if name in SERVICES and importlib.util.find_spec(name) is None:
            raise UserError(
                f"loggers names {name}, and the package {name} is not installed: install it to log to {SERVICES[name]} "
                f"(pip install {name}), or leave {name} out of loggers"
            )


def open_trackers(config: RunConfig, run: Path, start: int, *, quiet: bool = False) -> list[GeneralTracker]:
    """Open the trackers that a configuration names.

    Args:
        config: `loggers`, `project`, and what the services show of the run.
        run: the run folder.
        start: steps already taken; TensorBoard forgets later ones.
        quiet: open none (processes other than the first).

    Returns:
        Trackers with `log(values, step)` and `finish()`.

    Raises:
        UserError: when a service refuses to begin.
    """
    opened: list[GeneralTracker] = []
    if quiet:
        return opened
    if start == 0:
        shutil.rmtree(run / BOARD, ignore_errors=True)
    if "tensorboard" in config.loggers:
        from accelerate.tracking import TensorBoardTracker

        opened.append(TensorBoardTracker(BOARD, str(run), purge_step=start + 1 if start else None))
        opened[-1].start()
    file = run / IDS
    ids = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for name in (name for name in SERVICES if name in config.loggers):
        tracker = _service(name, config.project, run, ids.get(name))
        try:
            tracker.start()
        except Exception as error:
            raise UserError(
                f"{SERVICES[name]} can't begin ({type(error).__name__}: {error}): log in, switch it to its offline "
                f"mode, or leave {name} out of loggers"
            ) from error
        ids[name] = str(tracker.tracker.id if name == "wandb" else tracker.tracker.info.run_id)
        write_json(file, ids)
        if not start:
            tracker.store_init_configuration(flat(config.dump()))
        opened.append(tracker)
    return opened


def _service(name: str, project: str, run: Path, known: str | None) -> Any:  # noqa: ANN401  a GeneralTracker
    from accelerate.tracking import MLflowTracker, WandBTracker

    if name == "mlflow":
        return MLflowTracker(experiment_name=project, run_id=known, run_name=run.absolute().name)
    going_on = {} if known is None else {"id": known, "resume": "allow"}
    return WandBTracker(project, name=run.absolute().name, dir=str(run), **going_on)
