"""Optimisers by name, parameter groups by name pattern, and the learning rate as a function of the step alone."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from reidtrain.errors import UserError


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters that are trained differently.

    Args:
        match: regular expression, searched in the parameter's name.
        lr_scale: factor on the learning rate.
        weight_decay: in place of the general one; None keeps it.
    """

    match: str
    lr_scale: float = 1.0
    weight_decay: float | None = None


def parameter_groups(
    model: nn.Module, *, lr: float, weight_decay: float, groups: Sequence[Group]
) -> list[dict[str, object]]:
    """Sort the trainable parameters into optimiser groups; a parameter belongs to the first group that matches.

    Args:
        model: parameters without a gradient are left out.
        lr: base learning rate.
        weight_decay: of parameters that no group overrides.
        groups: in order.

    Returns:
        Groups for a torch optimiser, each with its `base_lr`.

    Raises:
        UserError: when a pattern matches nothing, or nothing is trainable.
    """
    patterns = [re.compile(group.match) for group in groups]
    sorted_: list[list[nn.Parameter]] = [[] for _ in range(len(groups) + 1)]
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    if not names:
        raise UserError("no parameter of the model is trainable: set backbone.frozen=false or choose another model")
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            index = next((i for i, pattern in enumerate(patterns) if pattern.search(name)), len(groups))
            sorted_[index].append(parameter)
    for group, members in zip(groups, sorted_, strict=False):
        if not members:
            raise UserError(
                f"optim.groups: pattern {group.match!r} matches no trainable parameter that an earlier group has left: "
                f"names look like {', '.join(names[:3])}"
            )
    rules = [*groups, Group(match="")]
    return [
        {
            "params": members,
            "base_lr": lr * rule.lr_scale,
            "lr": lr * rule.lr_scale,
            "weight_decay": weight_decay if rule.weight_decay is None else rule.weight_decay,
        }
        for rule, members in zip(rules, sorted_, strict=True)
        if members
    ]


def build_optimizer(
    name: str, groups: list[dict[str, object]], *, betas: tuple[float, float], eps: float, momentum: float
) -> torch.optim.Optimizer:
    """Build an optimiser.

    Args:
        name: `adam`, `adamw` or `sgd`.
        groups: from `parameter_groups`.
        betas: of Adam.
        eps: of Adam.
        momentum: of SGD.
    """
    if name == "sgd":
        return torch.optim.SGD(groups, momentum=momentum)
    kind: type[torch.optim.Adam] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name]
    return kind(groups, betas=betas, eps=eps)


def rate_factor(step: int, total: int, *, options: Mapping[str, float], schedule: str) -> float:
    """Factor on the learning rate of a step.

    Args:
        step: steps taken before this one.
        total: of the run.
        options: `warmup` (share of the steps), `warmup_start` and `final` (factors at the two ends).
        schedule: `cosine` or `constant`, after the warm-up.

    Returns:
        Linear from `warmup_start` to 1, then along the cosine to `final`, or 1.
    """
    warm = round(options["warmup"] * total)
    if step < warm:
        return options["warmup_start"] + (1 - options["warmup_start"]) * step / warm
    if schedule == "constant":
        return 1.0
    progress = (step - warm) / max(1, total - warm)
    return options["final"] + (1 - options["final"]) * 0.5 * (1 + math.cos(math.pi * progress))


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> float:
    """Set every group's learning rate; returns that of the last group, the general one."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
    return float(optimizer.param_groups[-1]["lr"])
