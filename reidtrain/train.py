"""The training loop, top to bottom.

A run is a function of its configuration and its data: batches come from (seed, epoch), augmentation from (seed, epoch,
sample), the learning rate from the step, and everything else that is random is seeded anew at every step. So a run that
is killed and started again ends with the same weights, bit by bit on the CPU.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch.utils.data import DataLoader

from reidtrain.batch import Batch
from reidtrain.checkpoint import assemble, prune, save_checkpoint, stored_state
from reidtrain.config import RunConfig
from reidtrain.data import ReIDDataset, collate
from reidtrain.errors import UserError
from reidtrain.hardware import choose_precision, keep_memory
from reidtrain.identities import with_classes
from reidtrain.objectives import OBJECTIVES
from reidtrain.optim import Group, build_optimizer, parameter_groups, rate_factor, set_rate
from reidtrain.runlog import RunLog
from reidtrain.runs import mark_best, prepare_folder, resume, sidecar
from reidtrain.sampler import SAMPLERS, IdentityIndex, IdentitySampler
from reidtrain.selection import selection_interval, validate
from reidtrain.stages import Stage, begin, plan_stages, stage_at
from reidtrain.transforms import Augment, ImageTransform

if TYPE_CHECKING:
    from accelerate import Accelerator

    from reidtrain.backbones import DualEncoder


def train(config: RunConfig, run: str | Path, *, overwrite: bool = False) -> Path:
    """Train a model, or go on with a run that was interrupted.

    Args:
        config: of the run; `data.manifests` names at least one manifest.
        run: the run folder. One with the same configuration is resumed (and left as it is when finished).
        overwrite: delete an existing run first.

    Returns:
        The run folder.

    Raises:
        UserError: when the folder holds another run, the data changed, or the configuration does not fit the data.
    """
    run = Path(run)
    config = with_classes(config)
    keep_memory()
    accelerator = _accelerator(config)
    if accelerator.is_main_process:
        prepare_folder(run, config, overwrite=overwrite)
    accelerator.wait_for_everyone()

    # What is trained, on what, how.
    bare, backbone = assemble(config)
    dataset = training_data(config, backbone)
    stages = training_stages(config, dataset, part=(accelerator.process_index, accelerator.num_processes))
    objective = _objective(config)
    select_every = selection_interval(config, total := stages[-1].stop, bare, backbone)
    save_every = config.train.save_every or total
    start, training = resume(run, config, bare, backbone, dataset.checksum)
    model, optimizer = accelerator.prepare(bare, _optimizer(config, bare))
    if training is not None:
        _restore_training(accelerator, optimizer, training)
    seen = sorted(set(dataset.datasets.tolist()))
    record = sidecar(config, backbone, dataset.checksum, dataset.describe(), seen)

    with RunLog(run, start=start, total=total, quiet=not accelerator.is_main_process) as log:
        log.write(start, "note", {"tables": str(dataset.describe()), "steps_per_epoch": len(stages[0].sampler)})
        for step, batch in _batches(config, dataset, stages, start, total):
            # One step.
            stage = _stage_of(step, stages, bare, optimizer, config.train.seed, resumed=step == start)
            _seed(config.train.seed, step, accelerator.process_index)
            model.train()
            rate = set_rate(optimizer, _factor(config, step, stage.rates))
            batch = batch.to(accelerator.device)
            with accelerator.autocast():
                outputs = model(batch)
            losses = objective(outputs, batch, config.objective.options)
            accelerator.backward(losses["total"])
            norm = accelerator.clip_grad_norm_(model.parameters(), config.train.clip_norm or float("inf"))
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            done = step + 1
            log.count(losses, samples=config.sampler.batch_size)
            if done % config.train.log_every == 0 or done == total:
                means = log.report(done, {"epoch": stage.position(step)[0], "lr": rate, "grad_norm": float(norm)})
                _require_finite(means["total"], done, rate)

            # What is kept of it.
            select = done % select_every == 0 or (done == total and select_every <= total)
            if select or done % save_every == 0 or done == total:
                if accelerator.is_main_process:
                    metrics = validate(config, bare, backbone, done, log) if select else {}
                    state = {"optimizer": optimizer.state_dict(), "scaler": _scaler_state(accelerator)}
                    meta = {**record, "total": total, "metrics": metrics}
                    save_checkpoint(run, done, state=stored_state(bare, backbone), training=state, meta=meta)
                    mark_best(run, done, metrics, config.select, last=done == total)
                    prune(run, config.train.keep)
                accelerator.wait_for_everyone()
                log.restart_clock()
    return run


def _batches(
    config: RunConfig, dataset: ReIDDataset, stages: Sequence[Stage], start: int, total: int
) -> Iterator[tuple[int, Batch]]:
    """Number the batches from `start` to `total`, epoch after epoch, beginning in the middle of one if need be."""
    step = start
    while step < total:
        stage = stage_at(stages, step)
        loader = _loader(config, dataset, stage.sampler)
        while step < stage.stop:
            stage.sampler.set_position(*stage.position(step))
            for batch in loader:
                yield step, batch
                step += 1
                if step == stage.stop:
                    break


def _stage_of(
    step: int,
    stages: Sequence[Stage],
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    seed: int,
    *,
    resumed: bool,
) -> Stage:
    """The stage of a step, begun or gone on with where this is its first step or the first after a resumption."""
    stage = stage_at(stages, step)
    if resumed or step == stage.start:
        for parameter in begin(stage, model, seed, fresh=step == stage.start):
            optimizer.state.pop(parameter, None)  # what the optimiser remembers of it is void
    return stage


def _loader(config: RunConfig, dataset: ReIDDataset, sampler: IdentitySampler) -> DataLoader[Batch]:
    workers = config.data.workers
    return DataLoader(
        cast(Any, dataset),
        batch_sampler=cast(Any, sampler),
        collate_fn=collate,
        num_workers=workers,
        persistent_workers=workers > 0,
        worker_init_fn=_quiet_worker,
    )


def _factor(config: RunConfig, step: int, bounds: tuple[int, int]) -> float:
    options = config.optim.model_dump(include={"warmup", "warmup_start", "final"})
    first, last = bounds
    return rate_factor(step - first, last - first, options=options, schedule=config.optim.schedule)


def training_data(config: RunConfig, backbone: DualEncoder) -> ReIDDataset:
    """The data set of a configuration, augmented.

    Raises:
        UserError: when no manifest is named, or one lacks what the configuration asks for.
    """
    if not config.data.manifests:
        raise UserError("no manifest is given: name one with --manifest (build one with `reidsynth build`)")
    augment = {name: Augment(**options.model_dump()) for name, options in config.data.augment}
    return ReIDDataset(
        list(config.data.manifests),
        config.data.split,
        tables=config.data.tables.named(),
        transform=ImageTransform(backbone.image_size, backbone.mean, backbone.std, augment),
        tokenize=backbone.tokenize,
        cache=config.data.cache,
        accept_failed=config.data.accept_failed,
        seed=config.train.seed,
    )


def training_stages(config: RunConfig, dataset: ReIDDataset, *, part: tuple[int, int] = (0, 1)) -> list[Stage]:
    """The stages of a configuration with their samplers, for process `part[0]` of `part[1]`."""

    def make(index: IdentityIndex) -> IdentitySampler:
        return SAMPLERS[config.sampler.name](
            index,
            batch_size=config.sampler.batch_size,
            per_identity=config.sampler.per_identity,
            pairing=config.sampler.pairing,
            seed=config.train.seed,
            part=part,
            shuffle_labels=config.train.shuffle_labels,
        )

    return plan_stages(config, dataset, make)


def _accelerator(config: RunConfig) -> Accelerator:
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs

    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    # A model need not use all of its parameters in every batch: experts without tokens, modalities nobody has.
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    precision = choose_precision(config.train.precision)
    # Without saying `cpu`, processes that torchrun started on a machine without a GPU would not know of each other.
    return Accelerator(mixed_precision=precision, cpu=not torch.cuda.is_available(), kwargs_handlers=[unused])


def _objective(config: RunConfig) -> Any:  # noqa: ANN401 - a reidtrain.objectives.Objective
    name = config.objective.name
    if name not in OBJECTIVES:
        raise UserError(f"objective {name!r} is unknown: choose one of {', '.join(sorted(OBJECTIVES))}")
    return OBJECTIVES[name]


def _optimizer(config: RunConfig, model: torch.nn.Module) -> torch.optim.Optimizer:
    options = config.optim
    groups = parameter_groups(
        model,
        lr=options.lr,
        weight_decay=options.weight_decay,
        groups=[Group(**group.model_dump()) for group in options.groups],
    )
    return build_optimizer(options.name, groups, betas=options.betas, eps=options.eps, momentum=options.momentum)


def _restore_training(accelerator: Accelerator, optimizer: torch.optim.Optimizer, training: Mapping[str, Any]) -> None:
    optimizer.load_state_dict(training["optimizer"])
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


def _quiet_worker(_: int) -> None:
    """One thread per worker: the loop's process has the others."""
    import cv2

    torch.set_num_threads(1)
    cv2.setNumThreads(0)


def _require_finite(loss: float, step: int, rate: float) -> None:
    if not np.isfinite(loss):
        raise UserError(
            f"the loss became {loss} before step {step} at learning rate {rate:.2g}: lower optim.lr, set "
            "train.clip_norm, or use train.precision=fp32"
        )
