"""Features of a data set's rows, each computed once.

A feature belongs to a (row, caption) and a set of modalities. Rows are worked off in blocks: the images of a row are
decoded once, and where the encoder can encode modality by modality (`PartEncoder`), each image and each caption passes
its tower once, whatever the number of sets and captions that it is part of.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader

from reidtrain.batch import Batch
from reidtrain.data import ReIDDataset, collate
from reidtrain.errors import UserError
from reidtrain.protocols import NO_CAPTION, Part, Task, Unit

if TYPE_CHECKING:
    from reidtrain.backbones import DualEncoder
    from reidtrain.items import Item

Modalities = tuple[str, ...]
Place = tuple[int, int]  # row, caption

BATCH = 128


class Encoder(Protocol):
    """What every model of `reidtrain.models` can do."""

    def encode(self, batch: Batch, modalities: Modalities) -> Tensor:
        """Encode B samples that have these modalities: (B, D)."""
        ...

    def supports(self, modalities: Modalities) -> bool:
        """Whether `encode` takes these modalities."""
        ...


@runtime_checkable
class PartEncoder(Protocol):
    """What a model can do whose modalities meet late; `join_parts` of its parts equals `encode`."""

    def encode_part(self, batch: Batch, modality: str) -> Tensor:
        """Encode one modality of B samples that have it: (B, ...)."""
        ...

    def join_parts(self, parts: Mapping[str, Tensor]) -> Tensor:
        """Join the parts of B samples, one for each modality of a set: (B, D)."""
        ...


@dataclass(frozen=True)
class FrozenEncoder:
    """The baseline: an encoder as it was before training, its adapters off.

    A feature is the sum of the L2-normalised global features of its modalities.

    Args:
        backbone: the encoder.
    """

    backbone: DualEncoder

    def supports(self, modalities: Modalities) -> bool:
        """Every set of modalities."""
        return bool(modalities)

    def encode(self, batch: Batch, modalities: Modalities) -> Tensor:
        """Encode B samples: (B, D)."""
        return self.join_parts({modality: self.encode_part(batch, modality) for modality in modalities})

    def encode_part(self, batch: Batch, modality: str) -> Tensor:
        """Encode one modality: (B, D), normalised."""
        if modality == "text":
            top, _, _ = self.backbone.text_tokens(cast(Tensor, batch.tokens))
        else:
            top, _, _ = self.backbone.image_tokens(batch.images[modality])
        return F.normalize(top.float(), dim=1)

    def join_parts(self, parts: Mapping[str, Tensor]) -> Tensor:
        """Sum the parts: (B, D)."""
        return torch.stack(list(parts.values())).sum(0)


@dataclass(eq=False)
class Features:
    """Features of rows by modality set.

    Args:
        encoder: a model.
        dataset: where rows are loaded from.
        device: where batches go.
        workers: processes that load.
    """

    encoder: Encoder
    dataset: ReIDDataset
    device: torch.device | str = "cpu"
    workers: int = 0

    def __post_init__(self) -> None:
        self._numbers: dict[Modalities, dict[Place, int]] = {}
        self._blocks: dict[Modalities, list[Tensor]] = {}
        self._composed: dict[Unit, Tensor] = {}
        self._parts: dict[Part, Tensor] = {}

    def compute(self, tasks: Sequence[Task]) -> None:
        """Compute what tasks need and is not there yet, composed queries aside; errors as `compute_units`."""
        wanted: dict[Place, set[Modalities]] = {}
        for task in tasks:
            mode = task.setting.mode
            if task.units is None:
                for unit in zip(task.query_rows.tolist(), task.captions.tolist(), strict=True):
                    wanted.setdefault(unit, set()).add(mode.query)
            for row in task.gallery_rows.tolist():
                wanted.setdefault((row, NO_CAPTION), set()).add(mode.gallery)
        self.compute_units(wanted)

    def compute_queries(self, tasks: Sequence[Task]) -> None:
        """Compute the queries of tasks that are composed of several rows, and forget those of earlier tasks.

        Many draws make many such queries, so they are not kept beyond the setting that asks them.
        """
        wanted = {unit for task in tasks for units in task.units or () for unit in units}
        self._composed = {unit: feature for unit, feature in self._composed.items() if unit in wanted}
        self.compute_composed(wanted)

    def queries(self, task: Task) -> Tensor:
        """Features of a task's queries.

        A query of several units is the sum of their normalised features.

        Returns:
            (Q, D) float32 on the CPU, not normalised.
        """
        if task.units is None:
            return self.of(task.setting.mode.query, task.query_rows, task.captions)
        return torch.stack([self._joined(units) for units in task.units])

    def _joined(self, units: Sequence[Unit]) -> Tensor:
        if len(units) == 1:
            return self._composed[units[0]]
        return torch.stack([F.normalize(self._composed[unit], dim=0) for unit in units]).sum(0)

    @torch.inference_mode()
    def compute_composed(self, units: Collection[Unit]) -> None:
        """Compute features of units whose inputs stand in several rows; an input that units share is encoded once.

        Args:
            units: each with its modalities in the order of a mode.

        Raises:
            UserError: when a feature is not finite.
        """
        by_kind: dict[Modalities, list[Unit]] = {}
        for unit in sorted(set(units) - self._composed.keys()):
            by_kind.setdefault(tuple(modality for modality, _, _ in unit), []).append(unit)
        for modalities, asked in by_kind.items():
            for start in range(0, len(asked), BATCH):
                some = asked[start : start + BATCH]
                features = self._encode_composed(modalities, some).float().cpu()
                _require_finite(features, modalities)
                self._composed.update(zip(some, features, strict=True))
        self._parts.clear()

    def _encode_composed(self, modalities: Modalities, units: Sequence[Unit]) -> Tensor:
        if not isinstance(self.encoder, PartEncoder):
            items = [self._composed_item(unit) for unit in units]
            return self.encoder.encode(collate(items).to(self.device), modalities)
        for modality in modalities:
            new = sorted({part for unit in units for part in unit if part[0] == modality} - self._parts.keys())
            if new:
                batch = collate([self._load(part) for part in new]).to(self.device)
                self._parts.update(zip(new, self.encoder.encode_part(batch, modality), strict=True))
        places = {modality: [unit[number] for unit in units] for number, modality in enumerate(modalities)}
        return self.encoder.join_parts({m: torch.stack([self._parts[part] for part in places[m]]) for m in modalities})

    def _composed_item(self, unit: Unit) -> Item:
        items = [self._load(part) for part in unit]
        images = {modality: image for item in items for modality, image in item.images.items()}
        tokens = next((item.tokens for item in items if item.tokens is not None), None)
        return replace(items[0], images=images, tokens=tokens, present=dict.fromkeys((m for m, _, _ in unit), True))

    def _load(self, part: Part) -> Item:
        modality, row, caption = part
        return self.dataset.load(row, (modality,), caption=max(caption, 0))

    @torch.inference_mode()
    def compute_units(self, wanted: Mapping[Place, set[Modalities]]) -> None:
        """Compute features of units.

        Args:
            wanted: (row, caption) -> modality sets; the caption is NO_CAPTION for sets without text.

        Raises:
            UserError: when a feature is not finite.
        """
        new = {
            unit: {one for one in sets if unit not in self._numbers.get(one, {})}
            for unit, sets in sorted(wanted.items())
        }
        by_row: dict[int, dict[int, set[Modalities]]] = {}
        for (row, caption), sets in new.items():
            if sets:
                by_row.setdefault(row, {})[caption] = sets
        places = _Rows(self.dataset, list(by_row.items()))
        loader = DataLoader(cast(Any, places), BATCH, collate_fn=_as_loaded, num_workers=self.workers)
        for block in loader:
            items: dict[Place, Item] = {unit: item for row in block for unit, item in row.items()}
            units: dict[Modalities, list[Place]] = {}
            for unit in items:
                for modalities in new.get(unit, ()):
                    units.setdefault(modalities, []).append(unit)
            for modalities, features in self._encoded(items, dict(sorted(units.items()))):
                self._keep(modalities, units[modalities], features)

    def _encoded(
        self, items: Mapping[Place, Item], units: Mapping[Modalities, Sequence[Place]]
    ) -> Iterator[tuple[Modalities, Tensor]]:
        if not isinstance(self.encoder, PartEncoder):
            for modalities, asked in units.items():
                batches = self._batches([_whole(items, unit, modalities) for unit in asked])
                yield modalities, torch.cat([self.encoder.encode(batch, modalities) for batch in batches])
            return
        encoder = self.encoder
        parts: dict[str, tuple[dict[Place, int], Tensor]] = {}
        for modality in sorted({modality for modalities in units for modality in modalities}):
            needed = dict.fromkeys(_home(unit, modality) for one in units if modality in one for unit in units[one])
            batches = self._batches([items[unit] for unit in needed])
            encoded = torch.cat([encoder.encode_part(batch, modality) for batch in batches])
            parts[modality] = {unit: number for number, unit in enumerate(needed)}, encoded
        for modalities, asked in units.items():
            joined = []
            for start in range(0, len(asked), BATCH):
                some = asked[start : start + BATCH]
                places = {m: [parts[m][0][_home(unit, m)] for unit in some] for m in modalities}
                joined.append(encoder.join_parts({m: parts[m][1][places[m]] for m in modalities}))
            yield modalities, torch.cat(joined)

    def _batches(self, items: Sequence[Item]) -> Iterator[Batch]:
        for start in range(0, len(items), BATCH):
            yield collate(items[start : start + BATCH]).to(self.device)

    def _keep(self, modalities: Modalities, units: Sequence[Place], features: Tensor) -> None:
        features = features.float()
        _require_finite(features, modalities)
        numbers = self._numbers.setdefault(modalities, {})
        numbers.update(zip(units, range(len(numbers), len(numbers) + len(units)), strict=True))
        self._blocks.setdefault(modalities, []).append(features.cpu())

    def of(self, modalities: Modalities, rows: np.ndarray, captions: np.ndarray | None = None) -> Tensor:
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


def _require_finite(features: Tensor, modalities: Modalities) -> None:
    if not bool(features.isfinite().all()):
        raise UserError(
            f"the features of {'+'.join(modalities)} are not finite, so the training has diverged: take an earlier "
            "checkpoint, or train again with a lower optim.lr"
        )


def _home(unit: Place, modality: str) -> Place:
    """Where a unit's part is loaded: captions with their number, images once per row."""
    return unit if modality == "text" else (unit[0], NO_CAPTION)


def _whole(items: Mapping[Place, Item], unit: Place, modalities: Modalities) -> Item:
    """An item that holds all modalities of a set."""
    if "text" not in modalities or len(modalities) == 1:
        return items[_home(unit, modalities[0])]
    images, text = items[_home(unit, "rgb")], items[unit]
    return replace(images, tokens=text.tokens, present={**images.present, **text.present})


def _as_loaded(block: list[dict[Place, Item]]) -> list[dict[Place, Item]]:
    return block


@dataclass(frozen=True)
class _Rows:
    """Rows as a data set for a loader: the row's images under NO_CAPTION, its captions under their numbers."""

    dataset: ReIDDataset
    rows: Sequence[tuple[int, Mapping[int, set[Modalities]]]]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[Place, Item]:
        row, captions = self.rows[index]
        used = {modality for sets in captions.values() for one in sets for modality in one}
        items = {(row, NO_CAPTION): self.dataset.load(row, sorted(used - {"text"}))} if used - {"text"} else {}
        for caption in sorted(captions):
            if caption != NO_CAPTION:
                items[row, caption] = self.dataset.load(row, ("text",), caption=caption)
        return items
