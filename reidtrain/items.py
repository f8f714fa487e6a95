"""One place of a batch, and how places are stacked into a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from reidtrain.batch import IMAGE_MODALITIES, MODALITIES, Batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reidtrain.transforms import Changes


@dataclass(frozen=True, slots=True)
class Item:
    """What a batch holds of one place.

    Args:
        images: modality -> (3, H, W); absent modalities are left out.
        tokens: (L,) token ids, zeros where the text is absent; None when no text was asked for.
        present: modality that was asked for -> whether it is there.
        label: identity label.
        image_id: number of the source image.
        undrawn: where the sketch is yet to be drawn and its place holds the photograph (RGB, 0 to 1): how the sketch
            is augmented then.
    """

    images: dict[str, torch.Tensor]
    tokens: torch.Tensor | None
    present: dict[str, bool]
    label: int
    image_id: int
    undrawn: Changes | None = None


def collate(items: Sequence[Item]) -> Batch:
    """Stack items into a batch.

    Args:
        items: of any modalities; what an item lacks is zero in the batch and False in `present`.

    Returns:
        The batch; a modality that no item has appears only in `present`.
    """
    modalities = [modality for modality in MODALITIES if any(modality in item.present for item in items)]
    images: dict[str, torch.Tensor] = {}
    for modality in IMAGE_MODALITIES:
        shape = next((item.images[modality].shape for item in items if modality in item.images), None)
        if shape is not None:
            nothing = torch.zeros(shape)
            images[modality] = torch.stack([item.images.get(modality, nothing) for item in items])
    tokens = [item.tokens for item in items if item.tokens is not None]
    if tokens and len(tokens) < len(items):
        nothing = torch.zeros_like(tokens[0])
        tokens = [nothing if item.tokens is None else item.tokens for item in items]
    return Batch(
        images=images,
        tokens=torch.stack(tokens) if tokens else None,
        present={m: torch.tensor([item.present.get(m, False) for item in items]) for m in modalities},
        labels=torch.tensor([item.label for item in items], dtype=torch.long),
        image_ids=torch.tensor([item.image_id for item in items], dtype=torch.long),
        undrawn=tuple(item.undrawn for item in items) if any(item.undrawn for item in items) else None,
    )
