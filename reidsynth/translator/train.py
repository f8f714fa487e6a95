"""The training loop of the translator, top to bottom.

A run is a function of its options and its pairs: the order of the pairs and what is mirrored follow from (seed, epoch),
learning rates from the epoch, and dropout is seeded anew at every step. So a run that is killed and started again ends
with the same weights, bit by bit on a CPU.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from reidsynth import storage
from reidsynth.errors import UserError
from reidsynth.translator import prepared, scores
from reidsynth.translator.checkpoint import (
    State,
    checkpoints,
    last_facts,
    prepare_folder,
    refuse_foreign,
    restore,
    save_checkpoint,
)
from reidsynth.translator.discriminator import Discriminator
from reidsynth.translator.evaluation import evaluate
from reidsynth.translator.generator import Generator
from reidsynth.translator.losses import discriminator_losses, generator_losses
from reidsynth.translator.options import TranslatorOptions
from reidsynth.translator.pairs import WORDS, Collected, PairSet, Target, collect
from reidsynth.translator.pixels import scaled
from reidsynth.translator.prepared import prepare
from reidsynth.translator.runlog import RunLog
from reidsynth.translator.weights import GENERATOR, Facts, read_facts

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True, slots=True)
class Trained:
    """What a run ended with.

    Args:
        run: its folder.
        generator: its last checkpoint's file.
        facts: what that file says.
        main: whether this process is the one that speaks for the run.
        verdict: a sentence where the translator does not beat the mean training image, else "".
    """

    run: Path
    generator: Path
    facts: Facts
    main: bool
    verdict: str


def train(
    sets: Iterable[PairSet],
    target: Target,
    run: Path,
    *,
    options: TranslatorOptions,
    overwrite: bool = False,
    progress: bool | None = None,
) -> Trained:
    """Train a translator, or go on with a run that was interrupted.

    Args:
        sets: aligned pairs.
        target: what to make of photographs.
        run: the run folder. One with the same options and pairs is resumed, and left as it is when finished.
        options: of the networks and their training.
        overwrite: delete an existing run first.
        progress: whether to draw bars; None draws them on terminals only.

    Raises:
        UserError: no usable pairs, a folder that holds another run or that another process trains in, or options that
            don't fit.
    """
    accelerator = _accelerator(options)
    main = accelerator.is_main_process
    collected = collect(sets, options.seed)
    key = prepared.data_key(collected, options.size, options.held_out_limit)
    _divisible(len(collected.learned), options, accelerator.num_processes)
    config = {"target": target, "options": options.dump(), "data": key}
    if main:
        refuse_foreign(run, config)
    with storage.locked(run) if main else nullcontext():
        if main:
            prepare_folder(run, config, overwrite=overwrite)
        accelerator.wait_for_everyone()
        finished = _finished(run, options, main=main)
        return finished or _trained(accelerator, collected, target, run, options, progress=progress)


def _trained(
    accelerator: Accelerator,
    collected: Collected,
    target: Target,
    run: Path,
    options: TranslatorOptions,
    *,
    progress: bool | None,
) -> Trained:
    """The run itself, from its last checkpoint on."""
    # What is trained, on what, how.
    main = accelerator.is_main_process
    if main:
        prepare(collected, options.size, run, held_out_limit=options.held_out_limit, quiet=progress is False)
    accelerator.wait_for_everyone()
    pairs = prepared.open_prepared(run)
    epoch_steps = _divisible(len(pairs.learned), options, accelerator.num_processes)
    beside = scores.baselines(pairs.learned, pairs.held_out) if main else {}
    bare = fresh(options)
    networks = accelerator.prepare(bare.generator, bare.discriminator)
    state = replace(bare, optimizers=accelerator.prepare(*bare.optimizers), scaler=accelerator.scaler)
    facts = restore(run, state) or _facts(target, collected, pairs, options)

    with RunLog(run, start=facts.step, total=epoch_steps * options.total_epochs, quiet=not main, show=progress) as log:
        log.write(facts.step, "note", _told_of_data(collected, pairs, epoch_steps))
        for epoch in range(facts.step // epoch_steps, options.total_epochs):
            factor = _set_rates(state, options, epoch)
            begun = facts.step - epoch * epoch_steps
            for photos, targets in _batches(pairs.learned, options, epoch, begun, _part(accelerator)):
                # One step: the discriminator learns on what the generator makes now, then the generator on its answer.
                _seed(options.seed, facts.step, accelerator.process_index)
                batch = scaled(photos.to(accelerator.device)), scaled(targets.to(accelerator.device))
                losses = training_step(accelerator, networks, state, batch, options)
                facts = facts.model_copy(update={"step": facts.step + 1})
                log.count(losses, pairs=options.batch_size)
                if facts.step % options.log_every == 0 or facts.step % epoch_steps == 0:
                    means = log.report(facts.step, {"epoch": epoch, "lr": options.lr * factor})
                    _require_finite(means, facts.step)
                if options.save_every and facts.step % options.save_every == 0 and facts.step % epoch_steps:
                    _require_finite({name: float(value.detach()) for name, value in losses.items()}, facts.step)
                    _save(accelerator, run, state, facts, options)
            facts = facts.model_copy(update={"epoch": epoch + 1})
            if main:
                facts = evaluate(bare.generator, pairs, facts, beside, options, run, log)
            _save(accelerator, run, state, facts, options)
    if main:
        prepared.remove(run)
    accelerator.wait_for_everyone()
    return _told(run, main=main)


def training_step(
    accelerator: Accelerator,
    networks: tuple[nn.Module, nn.Module],
    state: State,
    batch: tuple[torch.Tensor, torch.Tensor],
    options: TranslatorOptions,
) -> dict[str, torch.Tensor]:
    """One step of both networks.

    Args:
        accelerator: of the run.
        networks: generator and discriminator as the accelerator wraps them.
        state: the bare networks and their optimisers.
        batch: photographs (N, 3, H, W) and targets (N, 1, H, W) in -1..1, this process's part.
        options: of the run.

    Returns:
        `generator` and `discriminator`, the losses, and their parts; on this process's part.
    """
    generator, discriminator = networks
    photos, targets = (part.contiguous(memory_format=torch.channels_last) for part in batch)
    generator.train()
    with accelerator.autocast():
        made = generator(photos)
        both = discriminator(torch.cat((photos, photos)), torch.cat((targets, made.detach().to(targets.dtype))))
        on_true, on_made = zip(*(logits.chunk(2) for logits in both), strict=True)
    d_losses = discriminator_losses(on_true, on_made)
    state.optimizers[1].zero_grad(set_to_none=True)
    accelerator.backward(d_losses["total"])
    state.optimizers[1].step()

    # The bare discriminator: its own gradients are not wanted here, so there is nothing to average over processes.
    state.discriminator.requires_grad_(False)
    with accelerator.autocast():
        judged = state.discriminator(photos, made)
    weights = {"l1_weight": options.l1_weight, "ssim_weight": options.ssim_weight, "ssim_offset": options.ssim_offset}
    g_losses = generator_losses(judged, made, targets, **weights)
    state.optimizers[0].zero_grad(set_to_none=True)
    accelerator.backward(g_losses["total"])
    state.optimizers[0].step()
    state.discriminator.requires_grad_(True)
    parts = {f"generator {name}": value for name, value in g_losses.items() if name != "total"}
    parts |= {f"discriminator {name}": value for name, value in d_losses.items() if name != "total"}
    return {"generator": g_losses["total"], "discriminator": d_losses["total"], **parts}


def _batches(
    pairs: np.ndarray, options: TranslatorOptions, epoch: int, begun: int, part: tuple[int, int]
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of an epoch from number `begun` on: this process's part of photographs and targets, uint8.

    Order and mirroring are functions of (seed, epoch); the last incomplete batch is left out.
    """
    rng = np.random.default_rng([options.seed, epoch])
    order = rng.permutation(len(pairs))
    mirrored = rng.random(len(pairs)) < options.flip
    own = options.batch_size // part[1]
    for batch in range(begun, len(pairs) // options.batch_size):
        first = batch * options.batch_size + part[0] * own
        rows = order[first : first + own]
        found = np.stack([pairs[row, :, :, ::-1] if mirrored[row] else pairs[row] for row in rows])
        both = torch.from_numpy(found)
        yield both[:, :3], both[:, 3:]


def _accelerator(options: TranslatorOptions) -> Accelerator:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs

    if options.threads:
        torch.set_num_threads(options.threads)
    cuda = torch.cuda.is_available()
    precision = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}.get(options.precision)
    if precision is None:
        precision = ("bf16" if torch.cuda.is_bf16_supported() else "fp16") if cuda else "no"
    if precision == "fp16" and not cuda:
        raise UserError("precision is float16, and there is no CUDA device: set it to auto, float32 or bfloat16")
    AcceleratorState._reset_state()  # else the precision of an earlier run in this process would stay
    # Statistics are shared and power iterations equal in all processes, so that no buffer needs to be sent around.
    whole = DistributedDataParallelKwargs(broadcast_buffers=False)
    patient = InitProcessGroupKwargs(timeout=timedelta(hours=6))  # the first process prepares the pairs for all
    return Accelerator(mixed_precision=precision, cpu=not cuda, kwargs_handlers=[whole, patient])


def fresh(options: TranslatorOptions) -> State:
    """Networks drawn from the seed, and their optimisers; the process's own random state stays as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        generator = Generator(options.channels, options.downs, options.dropout)
        discriminator = Discriminator(options.discriminator_channels, options.size)
    # Pixel by pixel in memory: a fifth less time for a narrow discriminator on a CPU, and what tensor cores read.
    for network in (generator, discriminator):
        network.to(memory_format=torch.channels_last)
    betas = (options.beta1, 0.999)
    optimizers = (
        torch.optim.Adam(generator.parameters(), options.lr, betas),
        torch.optim.Adam(discriminator.parameters(), options.discriminator_lr, betas),
    )
    return State(generator, discriminator, optimizers)


def _set_rates(state: State, options: TranslatorOptions, epoch: int) -> float:
    factor = options.rate_factor(epoch)
    for optimizer, rate in zip(state.optimizers, (options.lr, options.discriminator_lr), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate * factor
    return factor


def _divisible(pairs: int, options: TranslatorOptions, processes: int) -> int:
    """Steps of an epoch; at least one batch must be filled, and shared evenly."""
    if options.batch_size % processes:
        raise UserError(f"batch_size {options.batch_size} can't be divided among {processes} processes: set a multiple")
    if pairs < options.batch_size:
        raise UserError(
            f"{pairs} pairs to learn from don't fill a batch of {options.batch_size}: give more pairs, or set "
            "batch_size to less"
        )
    return pairs // options.batch_size


def _part(accelerator: Accelerator) -> tuple[int, int]:
    return accelerator.process_index, accelerator.num_processes


def _seed(seed: int, step: int, process: int) -> None:
    """Make dropout a function of (seed, step, process)."""
    message = f"{seed}\x1f{step}\x1f{process}".encode()
    torch.manual_seed(int.from_bytes(hashlib.blake2b(message, digest_size=8).digest(), "little") >> 1)


def _facts(target: Target, collected: Collected, pairs: prepared.Prepared, options: TranslatorOptions) -> Facts:
    return Facts(
        target=target,
        spectrum=collected.spectrum,
        height=options.height,
        width=options.width,
        channels=options.channels,
        downs=options.downs,
        background=collected.background,
        data=collected.names,
        pairs=len(pairs.learned),
        held_out=len(pairs.held_out),
        terms=collected.terms.as_dict(),
        epoch=0,
        step=0,
        scores={},
    )


def _told_of_data(collected: Collected, pairs: prepared.Prepared, epoch_steps: int) -> dict[str, Any]:
    told = {"pairs": len(pairs.learned), "held_out": len(pairs.held_out), "steps_per_epoch": epoch_steps}
    return {**told, "dropped": {k: dict(v) for k, v in collected.dropped.items()}, "failed": dict(pairs.failed)}


def _save(accelerator: Accelerator, run: Path, state: State, facts: Facts, options: TranslatorOptions) -> None:
    if accelerator.is_main_process:
        save_checkpoint(run, state, facts, options=options.dump(), keep=options.keep)
    accelerator.wait_for_everyone()


def _finished(run: Path, options: TranslatorOptions, *, main: bool) -> Trained | None:
    """What a run ended with; None where something is left to do."""
    last = last_facts(run)
    if last is None or last.epoch < options.total_epochs:
        return None
    if main:
        prepared.remove(run)  # still there where the run was killed after its last checkpoint
    return _told(run, main=main)


def _told(run: Path, *, main: bool) -> Trained:
    file = checkpoints(run)[-1] / GENERATOR
    facts = read_facts(file)
    found = {name: scores.Closeness(**values) for name, values in facts.scores.items()}
    return Trained(run, file, facts, main, scores.verdict(found, WORDS[facts.target]))


def _require_finite(losses: Mapping[str, float], step: int) -> None:
    for name in ("generator", "discriminator"):
        if not np.isfinite(losses[name]):
            raise UserError(
                f"the loss of the {name} became {losses[name]} before step {step}: lower lr, or use precision=float32"
            )
