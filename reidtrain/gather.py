"""One batch from the parts of all processes, with gradients.

Contrastive losses compare every sample with every other: with the batch split over processes each would see only its
own part. `gather` puts what every process computed end to end, in the order of the processes, so that every process
computes the loss of the whole batch. On the way back each process receives the sum of all processes' gradients for its
own part; DDP then averages the parameters' gradients over the processes. The two cancel: two processes of 32 give the
gradient of one process of 64, for the encoder as for parameters of the loss such as a learnable scale.

Two things stay each process's own: the statistics of a BatchNorm (the necks of AIO and DMF, AIO's tokenizers), and what
a model draws at random (AIO's unions of modalities, DMF's mix).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import distributed
from torch.autograd.function import once_differentiable

from reidtrain.batch import Batch


def process_count() -> int:
    """Number of processes that train together; 1 without torch.distributed."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: torch.Tensor) -> torch.Tensor:  # noqa: ANN401  torch's context has no public type
        parts = [torch.empty_like(part) for _ in range(process_count())]
        distributed.all_gather(parts, part.contiguous())
        ctx.rows = len(part)
        return torch.cat(parts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # noqa: ANN401  torch's context has no public type
        gradient = gradient.contiguous()
        distributed.all_reduce(gradient)
        start = distributed.get_rank() * ctx.rows
        return gradient[start : start + ctx.rows]


def gather(part: torch.Tensor) -> torch.Tensor:
    """Put the processes' parts end to end.

    Args:
        part: (B, ...), of one shape and type in all processes.

    Returns:
        (B * processes, ...), in the order of the processes; the part itself where there is one process.
    """
    if process_count() == 1:
        return part
    if part.dtype == torch.bool:  # not every backend sends it
        return gather(part.to(torch.uint8)).to(torch.bool)
    gathered: torch.Tensor = _Gather.apply(part)
    return gathered


def shared_mean(mean: torch.Tensor, count: int) -> torch.Tensor:
    """A mean over one process's part, scaled so that DDP's average over the processes is the mean over all parts.

    For losses that compare nothing between samples there is no need to gather; but parts may hold unequally many.

    Args:
        mean: a scalar, over `count` elements.
        count: of this process; 0 where it has none and `mean` is 0.

    Returns:
        The mean times count * processes / count of all processes.
    """
    if process_count() == 1:
        return mean
    total = torch.tensor(float(count), device=mean.device)
    distributed.all_reduce(total)
    return mean * (count * process_count() / total.clamp_min(1))


def gather_named(parts: Mapping[str, torch.Tensor], rows: int) -> dict[str, torch.Tensor]:
    """Gather named tensors; a name that a process lacks counts as zeros there.

    A process whose part of a batch holds no sketch has computed no sketch feature, while another has.

    Args:
        parts: name -> (B, ...).
        rows: B.

    Returns:
        Name -> (B * processes, ...), the names of all processes in sorted order.
    """
    if process_count() == 1:
        return dict(parts)
    own = {name: (tuple(part.shape[1:]), part.dtype) for name, part in parts.items()}
    held: list[Any] = [None] * process_count()
    distributed.all_gather_object(held, own)
    wanted = {name: description for one in held for name, description in one.items()}
    device = next((part.device for part in parts.values()), torch.device("cpu"))
    gathered: dict[str, torch.Tensor] = {}
    for name in sorted(wanted):
        shape, dtype = wanted[name]
        part = parts.get(name)
        if part is None:
            # With a gradient, so that this process takes part in the exchange on the way back.
            part = torch.zeros((rows, *shape), dtype=dtype, device=device, requires_grad=dtype.is_floating_point)
        gathered[name] = gather(part)
    return gathered


def gather_batch(batch: Batch) -> Batch:
    """The labels, image ids and presence of the whole batch; images and tokens stay this process's own."""
    if process_count() == 1:
        return batch
    named = gather_named({f"has/{name}": mask for name, mask in batch.present.items()}, len(batch))
    present = {name.removeprefix("has/"): mask for name, mask in named.items()}
    return replace(batch, present=present, labels=gather(batch.labels), image_ids=gather(batch.image_ids))
