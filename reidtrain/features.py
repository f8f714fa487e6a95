"""Features of a data set's rows, each computed once.

A feature belongs to a (row, caption) and a set of modalities. Rows that are asked for the same sets are loaded
together, so an image is decoded once per batch whatever the number of sets that read it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader

from reidtrain.batch import Batch
from reidtrain.data import ReIDDataset, collate
from reidtrain.errors import UserError
from reidtrain.protocols import NO_CAPTION, Task

if TYPE_CHECKING:
    from reidtrain.backbones import DualEncoder
    from reidtrain.items import Item

Encoder = Callable[[Batch, tuple[str, ...]], Tensor]
Unit = tuple[int, int]  # row, caption

BATCH = 128


def frozen_encoder(backbone: DualEncoder) -> Encoder:
    """The baseline: the encoder as it was before training, its adapters off.

    Args:
        backbone: the encoder.

    Returns:
        A function (batch, modalities) -> (B, D), the sum of the L2-normalised global features of the modalities.
    """

    def encode(batch: Batch, modalities: tuple[str, ...]) -> Tensor:
        parts = []
        for modality in modalities:
            if modality == "text":
                top, _, _ = backbone.text_tokens(cast(Tensor, batch.tokens))
            else:
                top, _, _ = backbone.image_tokens(batch.images[modality])
            parts.append(F.normalize(top.float(), dim=1))
        return torch.stack(parts).sum(0)

    return encode


@dataclass(eq=False)
class Features:
    """Features of rows by modality set, each computed once.

    Args:
        encode: (batch, modalities) -> (B, D).
        dataset: where rows are loaded from.
        device: where batches go.
        workers: processes that load.
    """

    encode: Encoder
    dataset: ReIDDataset
    device: torch.device | str = "cpu"
    workers: int = 0

    def __post_init__(self) -> None:
        self._numbers: dict[tuple[str, ...], dict[Unit, int]] = {}
        self._blocks: dict[tuple[str, ...], list[Tensor]] = {}

    def compute(self, tasks: Sequence[Task]) -> None:
        """Compute what tasks need and is not there yet."""
        wanted: dict[Unit, set[tuple[str, ...]]] = {}
        for task in tasks:
            mode = task.setting.mode
            for unit in zip(task.query_rows.tolist(), task.captions.tolist(), strict=True):
                wanted.setdefault(unit, set()).add(mode.query)
            for row in task.gallery_rows.tolist():
                wanted.setdefault((row, NO_CAPTION), set()).add(mode.gallery)
        self.compute_units(wanted)

    def compute_units(self, wanted: Mapping[Unit, set[tuple[str, ...]]]) -> None:
        """Compute features of units; those that need the same modality sets are loaded together.

        Args:
            wanted: (row, caption) -> modality sets.

        Raises:
            UserError: when a feature is not finite.
        """
        groups: dict[tuple[tuple[str, ...], ...], list[Unit]] = {}
        for unit, sets in sorted(wanted.items()):
            new = tuple(sorted(one for one in sets if unit not in self._numbers.get(one, {})))
            if new:
                groups.setdefault(new, []).append(unit)
        for group, units in groups.items():
            for batch, part in self._batches(units, sorted({name for one in group for name in one})):
                for modalities in group:
                    self._keep(modalities, part, self._encoded(batch, modalities))

    @torch.inference_mode()
    def _encoded(self, batch: Batch, modalities: tuple[str, ...]) -> Tensor:
        features = self.encode(batch, modalities).float()
        if not bool(features.isfinite().all()):
            raise UserError(
                f"the features of {'+'.join(modalities)} are not finite, so the training has diverged: take an earlier "
                "checkpoint, or train again with a lower optim.lr"
            )
        return features.cpu()

    def _keep(self, modalities: tuple[str, ...], units: Sequence[Unit], features: Tensor) -> None:
        numbers = self._numbers.setdefault(modalities, {})
        numbers.update(zip(units, range(len(numbers), len(numbers) + len(units)), strict=True))
        self._blocks.setdefault(modalities, []).append(features)

    def _batches(self, units: Sequence[Unit], modalities: Sequence[str]) -> Iterator[tuple[Batch, Sequence[Unit]]]:
        places = _Places(self.dataset, units, modalities)
        loader = DataLoader(cast(Any, places), BATCH, collate_fn=collate, num_workers=self.workers)
        for number, batch in enumerate(loader):
            yield batch.to(self.device), units[number * BATCH : (number + 1) * BATCH]

    def of(self, modalities: tuple[str, ...], rows: np.ndarray, captions: np.ndarray | None = None) -> Tensor:
        """Features of rows.

        Args:
            modalities: which set.
            rows: (N,).
            captions: (N,), None for no captions.

        Returns:
            (N, D) float32 on the CPU, not normalised.
        """
        blocks = self._blocks[modalities]
        if len(blocks) > 1:
            blocks[:] = [torch.cat(blocks)]
        units = zip(rows.tolist(), [NO_CAPTION] * len(rows) if captions is None else captions.tolist(), strict=True)
        return blocks[0][[self._numbers[modalities][unit] for unit in units]]


@dataclass(frozen=True)
class _Places:
    """Units as a data set for a loader."""

    dataset: ReIDDataset
    units: Sequence[Unit]
    modalities: Sequence[str]

    def __len__(self) -> int:
        return len(self.units)

    def __getitem__(self, index: int) -> Item:
        row, caption = self.units[index]
        return self.dataset.load(row, self.modalities, caption=max(caption, 0))
