"""How a step's gradients are made: from the whole batch at once, or from parts of it where memory is short.

Parts come in two kinds, and for a loss that compares samples with each other they are not the same thing:

- `batch`: the loss sees the whole batch. Each part is encoded without keeping its activations, the loss is taken over
  all features, and on the way back each part is encoded once more. Gradients equal those of the whole batch (up to
  rounding) for a forward more; memory is that of one part. This is gradient caching, Gao et al., "Scaling Deep
  Contrastive Learning Batch Size under Memory Limited Setup" (RepL4NLP 2021), by torch's own checkpointing.
- `part`: each part is a small batch with a loss of its own, the mean of their gradients is taken: what gradient
  accumulation usually means. It equals the whole batch where the loss is a mean over samples that don't meet; SDM,
  InfoNCE, feature binding and batch-hard triplets have fewer negatives then, and train to something else.

With either, BatchNorm's statistics are those of a part, as they are of one process when several train.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from reidtrain.batch import Batch

if TYPE_CHECKING:
    from accelerate import Accelerator

Losses = dict[str, torch.Tensor]
Objective = Callable[[Any, Batch], Losses]


class InParts(nn.Module):
    """Encodes a batch part by part, each again on the way back; the outputs are those of the whole batch.

    It stands between a model and what wraps it for several processes, which then sees one forward a step.

    Args:
        model: its outputs have `join(parts)`.
        parts: number of parts.
    """

    def __init__(self, model: nn.Module, parts: int) -> None:
        super().__init__()
        self.model, self.parts = model, parts

    def forward(self, batch: Batch) -> Any:  # noqa: ANN401  the model's outputs
        """Encode."""
        outputs = [
            # The labels tell torch on which device random numbers are drawn.
            checkpoint(self._encode, piece.labels, piece, use_reentrant=False, context_fn=self._contexts)
            for piece in batch.split(self.parts)
        ]
        return type(outputs[0]).join(outputs)

    def _encode(self, _: torch.Tensor, piece: Batch) -> Any:  # noqa: ANN401  the model's outputs
        return self.model(piece)

    def _contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), keep_statistics(self.model)


@contextmanager
def keep_statistics(model: nn.Module) -> Iterator[None]:
    """Let no running statistics change: a batch that is encoded a second time counts once."""
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        norm.num_batches_tracked = None if norm.num_batches_tracked is None else norm.num_batches_tracked.clone()
    try:
        yield
    finally:
        for norm, (momentum, counted) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, counted


def backward(
    accelerator: Accelerator, model: nn.Module, objective: Objective, batch: Batch, *, parts: int = 1
) -> Losses:
    """Add the gradients of a batch to the model's parameters.

    Args:
        accelerator: scales the loss and holds back the exchange between processes until the last part.
        model: as prepared by it.
        objective: outputs and batch -> losses with `total`.
        batch: this process's rows.
        parts: small batches whose gradients are averaged, each with a loss of its own.

    Returns:
        The losses; with several parts their mean over the parts that have them.
    """
    pieces = batch.split(parts)
    found: list[Losses] = []
    for number, piece in enumerate(pieces):
        last = number == len(pieces) - 1
        with nullcontext() if last else accelerator.no_sync(model):
            with accelerator.autocast():
                outputs = model(piece)
            losses = objective(outputs, piece)
            accelerator.backward(losses["total"] if parts == 1 else losses["total"] * (len(piece) / len(batch)))
        found.append(losses)
    return found[0] if parts == 1 else _means(found)


def _means(found: list[Losses]) -> Losses:
    names = dict.fromkeys(name for losses in found for name in losses)
    held: Mapping[str, list[torch.Tensor]] = {
        name: [losses[name].detach() for losses in found if name in losses] for name in names
    }
    return {name: torch.stack(values).mean() for name, values in held.items()}
