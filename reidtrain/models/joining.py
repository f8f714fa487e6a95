"""Joins what a model gave for parts of a batch into what it gives for the whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch

Key = TypeVar("Key")


def join_named(parts: Sequence[Mapping[Key, torch.Tensor]], rows: Sequence[int]) -> dict[Key, torch.Tensor]:
    """Put named tensors end to end; a name that a part lacks counts as zeros (or False) there.

    Args:
        parts: name -> (rows of the part, ...).
        rows: of each part.

    Returns:
        Name -> (sum of rows, ...).
    """
    first = {name: value for part in reversed(parts) for name, value in part.items()}
    return {
        name: torch.cat(
            [
                part[name] if name in part else like.new_zeros(count, *like.shape[1:])
                for part, count in zip(parts, rows, strict=True)
            ]
        )
        for name, like in first.items()
    }


def join_sequences(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Put (B, L, ...) tensors of different L end to end, zeros (or False) behind the shorter ones."""
    longest = max(part.shape[1] for part in parts)
    padded = [
        torch.cat([part, part.new_zeros(len(part), longest - part.shape[1], *part.shape[2:])], dim=1) for part in parts
    ]
    return torch.cat(padded)
