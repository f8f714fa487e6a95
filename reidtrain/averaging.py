"""Exponential moving average of what is trained: the weights that are evaluated and kept, beside those that learn.

The average covers every floating-point entry that a checkpoint stores, running statistics of normalisation included, so
weights and statistics belong together. Its decay warms up, so that the first steps don't weigh for a long time:

    decay of update n = min(decay, (1 + n) / (warmup + n)),  n = 0, 1, ...

Reference: Tarvainen and Valpola, "Mean teachers are better role models", NeurIPS 2017; the warm-up is the one that
TensorFlow's ExponentialMovingAverage made common. torch's `AveragedModel` and timm's `ModelEmaV3` copy the whole model,
a frozen backbone of any size with it; this keeps what changes and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch


class WeightAverage:
    """The average of a model's trained entries.

    Args:
        state: name -> entry of the model, sharing its memory (`reidtrain.checkpoint.stored_state`); on its device.
        decay: weight of the average against one update, 0 to 1.
        warmup: the larger, the longer recent weights count for more; at least 1.

    Attributes:
        updates: taken so far.
    """

    def __init__(self, state: Mapping[str, torch.Tensor], *, decay: float, warmup: int = 10) -> None:
        self.decay, self.warmup, self.updates = decay, warmup, 0
        self._live = {name: value for name, value in state.items() if value.is_floating_point()}
        self._mean = {name: value.clone() for name, value in self._live.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take the model's present weights into the average."""
        if not self._live:
            return
        decay = min(self.decay, (1 + self.updates) / (self.warmup + self.updates))
        torch._foreach_lerp_(list(self._mean.values()), list(self._live.values()), 1 - decay)
        self.updates += 1

    @torch.no_grad()
    def restart(self, parameters: Iterable[torch.Tensor]) -> None:
        """Forget the past of parameters that were drawn anew."""
        anew = {parameter.data_ptr() for parameter in parameters}
        for name, value in self._live.items():
            if value.data_ptr() in anew:
                self._mean[name].copy_(value)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the average into the model, and the model's own weights back at the end."""
        own = {name: value.clone() for name, value in self._live.items()}
        self._put(self._mean)
        try:
            yield
        finally:
            self._put(own)

    def training_state(self) -> dict[str, Any]:
        """What going on needs beside the average itself, which is what a checkpoint's weights hold.

        Call it outside `in_place`.

        Returns:
            `ema_updates` and `weights`, the model's own; nothing where nothing is averaged.
        """
        if not self._live:
            return {}
        return {"ema_updates": self.updates, "weights": {name: value.clone() for name, value in self._live.items()}}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint: the model holds the average, and gets its own weights back."""
        if self._live:
            self.updates = int(state["ema_updates"])
            self._mean = {name: value.clone() for name, value in self._live.items()}
            self._put(state["weights"])

    @torch.no_grad()
    def _put(self, values: Mapping[str, torch.Tensor]) -> None:
        for name, value in self._live.items():
            value.copy_(values[name])
