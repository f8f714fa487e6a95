"""The training loop, top to bottom.

A run is a function of its configuration and its data: batches come from (seed, epoch), augmentation from (seed, epoch,
sample), the learning rate from the step, and everything else that is random is seeded anew at every step. So a run that
is killed and started again ends with the same weights, bit by bit on the CPU.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from reidtrain.averaging import WeightAverage
from reidtrain.backbones import recompute_blocks
from reidtrain.checkpoint import assemble, prune, save_checkpoint, stored_state
from reidtrain.config import RunConfig
from reidtrain.errors import UserError
from reidtrain.feeding import finishing, numbered_batches, training_data, training_stages
from reidtrain.gradients import InParts, Objective, backward
from reidtrain.hardware import choose_precision, keep_memory
from reidtrain.identities import with_classes
from reidtrain.objectives import OBJECTIVES
from reidtrain.optim import Group, build_optimizer, parameter_groups, rate_factor, set_rate
from reidtrain.runlog import RunLog
from reidtrain.runs import held, mark_best, prepare_folder, resume, sidecar
from reidtrain.selection import selection_split, validate
from reidtrain.stages import Stage, begin, due, stage_at
from reidtrain.trackers import open_trackers, require_loggers

if TYPE_CHECKING:
    from accelerate import Accelerator


def train(config: RunConfig, run: str | Path, *, overwrite: bool = False) -> Path:
    """Train a model, or go on with a run that was interrupted.

    Args:
        config: of the run; `data.manifests` names at least one manifest.
        run: the run folder. One with the same configuration is resumed (and left as it is when finished).
        overwrite: delete an existing run first.

    Returns:
        The run folder.

    Raises:
        UserError: when the folder holds another run, another process trains in it, the data changed, or the
            configuration does not fit the data.
    """
    run = Path(run)
    config = with_classes(config)
    accelerator = _accelerator(config)
    with held(run) if accelerator.is_main_process else nullcontext():
        if accelerator.is_main_process:
            prepare_folder(run, config, overwrite=overwrite)
        accelerator.wait_for_everyone()
        _train(config, run, accelerator)
    return run


def _train(config: RunConfig, run: Path, accelerator: Accelerator) -> None:
    # What is trained, on what, how.
    bare, backbone = assemble(config)
    dataset = training_data(config, backbone)
    stages = training_stages(config, dataset, part=(accelerator.process_index, accelerator.num_processes))
    objective, finish = _objective(config), finishing(config, dataset, accelerator)
    total, by_epoch, chosen_on = stages[-1].stop, bool(config.train.epochs), selection_split(config, bare, backbone)
    start, training = resume(run, config, bare, backbone, dataset.checksum)
    model, optimizer = accelerator.prepare(_for_training(config, bare), _optimizer(config, bare))
    average = _average(config, stored_state(bare, backbone))
    if training is not None:
        _restore_training(accelerator, optimizer, average, training)
    record = sidecar(config, backbone, dataset.checksum, dataset.describe(), sorted(set(dataset.datasets.tolist())))

    quiet = not accelerator.is_main_process
    with RunLog(run, start, total, trackers=open_trackers(config, run, start, quiet=quiet), quiet=quiet) as log:
        log.write(start, "note", {"tables": str(dataset.describe()), "steps_per_epoch": len(stages[0].sampler)})
        for step, batch in numbered_batches(config, dataset, stages, start, total):
            # One step.
            stage, anew = _stage_of(step, stages, bare, optimizer, config.train.seed, resumed=step == start)
            average.restart(anew)
            _seed(config.train.seed, step, accelerator.process_index)
            model.train()
            rate = set_rate(optimizer, _factor(config, step, stage.rates))
            losses = backward(accelerator, model, objective, finish(batch), parts=_loss_parts(config))
            norm = accelerator.clip_grad_norm_(model.parameters(), config.train.clip_norm or float("inf"))
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            average.update()
            done = step + 1
            log.count(losses, samples=config.sampler.batch_size)
            if done % config.train.log_every == 0 or done == total:
                means = log.report(done, {"epoch": stage.position(step)[0], "lr": rate, "grad_norm": float(norm)})
                _require_finite(means["total"], done, rate)

            # What is kept of it.
            select = chosen_on is not None and due(done, stages, config.select.every, by_epoch=by_epoch)
            if select or due(done, stages, config.train.save_every, by_epoch=by_epoch) or done == total:
                if accelerator.is_main_process:
                    kept = {"optimizer": optimizer.state_dict(), "scaler": _scaler_state(accelerator)}
                    kept |= average.training_state()
                    with average.in_place():
                        metrics = validate(config, bare, backbone, done, log) if select else {}
                        meta = {**record, "total": total, "metrics": metrics}
                        save_checkpoint(run, done, state=stored_state(bare, backbone), training=kept, meta=meta)
                    mark_best(run, done, metrics, config.select, last=done == total, chosen_on=chosen_on)
                    prune(run, config.train.keep)
                accelerator.wait_for_everyone()
                log.restart_clock()


def _stage_of(
    step: int,
    stages: Sequence[Stage],
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    seed: int,
    *,
    resumed: bool,
) -> tuple[Stage, list[torch.nn.Parameter]]:
    """The stage of a step, begun or gone on with where this is its first step or the first after a resumption.

    Returns:
        The stage, and the parameters that it drew anew.
    """
    stage = stage_at(stages, step)
    anew = begin(stage, model, seed, fresh=step == stage.start) if resumed or step == stage.start else []
    for parameter in anew:
        optimizer.state.pop(parameter, None)  # what the optimiser remembers of it is void
    return stage, anew


def _factor(config: RunConfig, step: int, bounds: tuple[int, int]) -> float:
    options = config.optim.model_dump(include={"warmup", "warmup_start", "final"})
    first, last = bounds
    return rate_factor(step - first, last - first, options=options, schedule=config.optim.schedule)


def _accelerator(config: RunConfig) -> Accelerator:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import DistributedDataParallelKwargs

    require_loggers(config.loggers)
    keep_memory()
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    # A model need not use all of its parameters in every batch: experts without tokens, modalities nobody has.
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    precision = choose_precision(config.train.precision)
    # A process may train several runs; accelerate would hold each to the precision of the first.
    AcceleratorState._reset_state()
    # Without saying `cpu`, processes that torchrun started on a machine without a GPU would not know of each other.
    return Accelerator(mixed_precision=precision, cpu=not torch.cuda.is_available(), kwargs_handlers=[unused])


def _for_training(config: RunConfig, model: torch.nn.Module) -> torch.nn.Module:
    """The model as training calls it: compiled, recomputed, in parts, as configured."""
    if config.train.gradient_checkpointing:
        recompute_blocks(model)
    if config.train.compile:
        model.compile()
    cached = config.train.accumulation if config.train.accumulation_loss == "batch" else 1
    return InParts(model, cached) if cached > 1 else model


def _loss_parts(config: RunConfig) -> int:
    return config.train.accumulation if config.train.accumulation_loss == "part" else 1


def _average(config: RunConfig, state: Mapping[str, torch.Tensor]) -> WeightAverage:
    """The moving average of the weights; without one, an average of nothing."""
    decay = config.train.ema
    return WeightAverage({} if decay is None else state, decay=decay or 0.0, warmup=config.train.ema_warmup)


def _objective(config: RunConfig) -> Objective:
    name = config.objective.name
    if name not in OBJECTIVES:
        raise UserError(f"objective {name!r} is unknown: choose one of {', '.join(sorted(OBJECTIVES))}")
    chosen = OBJECTIVES[name]
    return lambda outputs, batch: chosen(outputs, batch, config.objective.options)


def _optimizer(config: RunConfig, model: torch.nn.Module) -> torch.optim.Optimizer:
    options = config.optim
    groups = parameter_groups(
        model,
        lr=options.lr,
        weight_decay=options.weight_decay,
        groups=[Group(**group.model_dump()) for group in options.groups],
    )
    return build_optimizer(options.name, groups, betas=options.betas, eps=options.eps, momentum=options.momentum)


def _restore_training(
    accelerator: Accelerator, optimizer: torch.optim.Optimizer, average: WeightAverage, training: Mapping[str, Any]
) -> None:
    optimizer.load_state_dict(training["optimizer"])
    average.resume(training)
    if accelerator.scaler is not None:
        accelerator.scaler.load_state_dict(training["scaler"])


def _scaler_state(accelerator: Accelerator) -> dict[str, Any]:
    return {} if accelerator.scaler is None else dict(accelerator.scaler.state_dict())


def _seed(seed: int, step: int, process: int) -> None:
    """Make whatever the model draws (dropout, modality choice) a function of (seed, step, process)."""
    message = f"{seed}\x1f{step}\x1f{process}".encode()
    number = int.from_bytes(hashlib.blake2b(message, digest_size=8).digest(), "little")
    random.seed(number)
    np.random.seed(number % 2**32)  # noqa: NPY002 - libraries that draw from the global state are seeded through it
    torch.manual_seed(number >> 1)


def _require_finite(loss: float, step: int, rate: float) -> None:
    if not np.isfinite(loss):
        raise UserError(
            f"the loss became {loss} before step {step} at learning rate {rate:.2g}: lower optim.lr, set "
            "train.clip_norm, or use train.precision=fp32"
        )
