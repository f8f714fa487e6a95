"""Batch normalisation over the batch of all processes, on any device.

`torch.nn.SyncBatchNorm` does the same on GPUs only; this one is made of differentiable sums, so that two processes on
CPUs give the gradient of one (tested).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import distributed, nn
from torch.autograd.function import once_differentiable


class _Sum(torch.autograd.Function):
    """Sum over processes; the gradient of a sum that every process goes on with is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:  # noqa: ANN401 - torch's context has no public type
        del ctx
        total = value.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # noqa: ANN401 - torch's context has no public type
        del ctx
        total = gradient.clone()
        distributed.all_reduce(total)
        return total


class SharedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation whose statistics are those of the whole batch, over all processes.

    In one process, and in eval mode, it is `torch.nn.BatchNorm2d`. The processes' parts must be of one size.
    """

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Normalise.

        Args:
            images: (N, C, H, W).
        """
        processes = distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1
        if not self.training or processes == 1:
            return super().forward(images)
        values = images.float()
        count = values.numel() // values.shape[1] * processes
        mean = _total(values.sum((0, 2, 3))) / count
        centred = values - mean[:, None, None]
        variance = _total((centred * centred).sum((0, 2, 3))) / count
        self._remember(mean.detach(), variance.detach() * (count / (count - 1)))
        scaled = centred * torch.rsqrt(variance + self.eps)[:, None, None]
        return (scaled * self.weight[:, None, None] + self.bias[:, None, None]).to(images.dtype)

    def _remember(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        assert self.running_mean is not None, "running statistics are always on here"
        assert self.running_var is not None, "running statistics are always on here"
        assert self.num_batches_tracked is not None, "running statistics are always on here"
        share = 0.1 if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)
        self.num_batches_tracked.add_(1)


def _total(value: torch.Tensor) -> torch.Tensor:
    total: torch.Tensor = _Sum.apply(value)
    return total
