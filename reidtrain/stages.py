"""Stages of a run: which data, which options of the model, which learning rate, from which step on.

A run without stages has one that changes nothing. Every stage reads the same data set, so an identity keeps its label;
a stage's sampler sees only the data sets and modalities that the stage names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import torch
from torch import nn

from reidtrain.config import RunConfig, StageConfig
from reidtrain.data import ReIDDataset
from reidtrain.errors import UserError
from reidtrain.sampler import IdentityIndex, IdentitySampler


@dataclass(frozen=True)
class Stage:
    """A stage with its data and its place in the run.

    Args:
        config: as configured.
        sampler: of its batches.
        start: its first step.
        stop: the step after its last.
        rates: first and last step of the learning-rate schedule that it belongs to.
    """

    config: StageConfig
    sampler: IdentitySampler
    start: int
    stop: int
    rates: tuple[int, int]

    def position(self, step: int) -> tuple[int, int]:
        """Epoch and batch of a step, counted from the stage's beginning."""
        return divmod(step - self.start, len(self.sampler))


def plan_stages(
    config: RunConfig, dataset: ReIDDataset, make: Callable[[IdentityIndex], IdentitySampler]
) -> list[Stage]:
    """Lay the stages of a run one after another.

    The run's length is divided by their shares; with `train.epochs`, each stage counts epochs of its own data.

    Args:
        config: of the run.
        dataset: its data.
        make: builds a sampler.

    Returns:
        At least one stage.

    Raises:
        UserError: when a stage names data that there is not, or is left without a step.
    """
    parts = config.stages or (StageConfig(name="all"),)
    samplers = [make(_part_of(dataset, part, config.data.mix)) for part in parts]
    whole = sum(part.share for part in parts)
    if config.train.steps:
        ends = [round(config.train.steps * share / whole) for share in accumulate(part.share for part in parts)]
    else:
        epochs = config.train.epochs or 0
        lengths = [round(epochs * part.share / whole * len(one)) for part, one in zip(parts, samplers, strict=True)]
        ends = list(accumulate(lengths))
    bounds = list(pairwise([0, *ends]))
    empty = [part.name for part, (start, stop) in zip(parts, bounds, strict=True) if stop <= start]
    if empty:
        raise UserError(f"stages {', '.join(empty)} get no step: lengthen the run (train.steps) or their share")
    firsts = [i for i, part in enumerate(parts) if i == 0 or part.own_schedule]
    found = []
    for i, (part, sampler, (start, stop)) in enumerate(zip(parts, samplers, bounds, strict=True)):
        first = max(j for j in firsts if j <= i)
        last = next((j for j in firsts if j > i), len(parts)) - 1
        found.append(Stage(part, sampler, start, stop, (bounds[first][0], bounds[last][1])))
    return found


def stage_at(stages: Sequence[Stage], step: int) -> Stage:
    """The stage that a step belongs to."""
    return next((stage for stage in stages if step < stage.stop), stages[-1])


def due(done: int, stages: Sequence[Stage], every: int | None, *, by_epoch: bool) -> bool:
    """Whether a look at the selection split, or a checkpoint, is due after a step.

    Args:
        done: steps taken, at least one.
        stages: of the run.
        every: steps between two of them, the last step included; None for the end of every epoch and of the run.
        by_epoch: whether the run is counted in epochs; one that is counted in steps has them at its end alone where
            `every` is None.
    """
    total = stages[-1].stop
    if every is not None:
        return done % every == 0 or done == total >= every
    stage = stage_at(stages, done - 1)
    return done == total or (by_epoch and (done == stage.stop or stage.position(done)[1] == 0))


def begin(stage: Stage, model: nn.Module, seed: int, *, fresh: bool) -> list[nn.Parameter]:
    """Tell the model that a stage begins, or is gone on with.

    Args:
        stage: which.
        model: gets the stage's options.
        seed: of parameters that are drawn anew.
        fresh: whether this is the stage's first step, at which `restart` draws parameters anew.

    Returns:
        The parameters drawn anew: what an optimiser remembers of them is void.

    Raises:
        UserError: when the model takes no such options, or a pattern of `restart` matches nothing.
    """
    options, change = stage.config.model, getattr(model, "begin_stage", None)
    if options and change is None:
        raise UserError(f"stage {stage.config.name!r} changes {', '.join(options)}, but this model takes no changes")
    if callable(change):
        change(**options)
    if not fresh:
        return []
    restarted: list[nn.Parameter] = []
    for pattern in stage.config.restart:
        named: list[tuple[str, Any]] = [(name, module) for name, module in model.named_modules() if name]
        chosen = [m for name, m in named if re.search(pattern, name) and hasattr(m, "reset_parameters")]
        if not chosen:
            raise UserError(f"stage {stage.config.name!r}: restart pattern {pattern!r} matches no module")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + stage.start)
            for module in chosen:
                module.reset_parameters()
                restarted.extend(module.parameters())
    return restarted


def _part_of(dataset: ReIDDataset, stage: StageConfig, mix: Mapping[str, float] | None) -> IdentityIndex:
    index = dataset.index()
    if stage.modalities is not None:
        unknown = sorted(set(stage.modalities) - set(index.present))
        if unknown:
            raise UserError(
                f"stage {stage.name!r} draws {', '.join(unknown)}, but the data has {', '.join(index.present)}"
            )
        index = replace(index, present={m: mask for m, mask in index.present.items() if m in stage.modalities})
    there = sorted(set(dataset.datasets.tolist()))
    if unknown := sorted(set(stage.datasets or ()) - set(there)):
        raise UserError(f"stage {stage.name!r} draws from {', '.join(unknown)}, but the data holds {', '.join(there)}")
    drawn = there if stage.datasets is None else list(stage.datasets)
    mix = mix if stage.mix is None else stage.mix
    if mix is not None:
        if unknown := sorted(set(mix) - set(there)):
            raise UserError(f"data.mix weighs {', '.join(unknown)}, but the data holds {', '.join(there)}")
        shares = {name: mix.get(name, 1.0) for name in drawn}
        drawn = [name for name in drawn if shares[name] > 0]
        if not drawn:
            raise UserError(f"data.mix gives no weight to any of {', '.join(shares)}: give one of them more than 0")
        index = replace(index, shares={name: shares[name] for name in drawn})
    if drawn != there:
        rows = np.isin(dataset.datasets, drawn)
        index = replace(index, present={m: mask & rows for m, mask in index.present.items()})
    return index
