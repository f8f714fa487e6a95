"""Modalities, query modes and the batch that passes between data, models and evaluation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from reidtrain.errors import UserError

if TYPE_CHECKING:
    import torch

    from reidtrain.transforms import Changes

MODALITIES = ("rgb", "ir", "sketch", "text")
IMAGE_MODALITIES = ("rgb", "ir", "sketch")
LETTERS = {"text": "T", "sketch": "S", "ir": "I", "rgb": "R"}
_BY_LETTER = {letter: modality for modality, letter in LETTERS.items()}


@dataclass(frozen=True, slots=True)
class QueryMode:
    """Which modalities ask and which answer.

    Args:
        query: modalities of the query, in the order T, S, I, R.
        gallery: modalities of the gallery.
    """

    query: tuple[str, ...]
    gallery: tuple[str, ...] = ("rgb",)

    @property
    def name(self) -> str:
        """The mode as papers write it, for example `T+S->R`."""
        return f"{_letters(self.query)}->{_letters(self.gallery)}"


def _letters(modalities: tuple[str, ...]) -> str:
    return "+".join(LETTERS[modality] for modality in modalities)


def _side(text: str, mode: str) -> tuple[str, ...]:
    letters = [part.strip() for part in text.split("+")]
    unknown = [letter for letter in letters if letter not in _BY_LETTER]
    if unknown or len(set(letters)) != len(letters):
        raise UserError(
            f"query mode {mode!r} is not valid: write distinct letters of T, S, I, R joined by '+', "
            "then '->' and the gallery's letters, for example 'T+S->R'"
        )
    return tuple(modality for modality, letter in LETTERS.items() if letter in letters)


def parse_mode(mode: str) -> QueryMode:
    """Read a query mode.

    Args:
        mode: for example `T+S->R`; `T+S` alone means `T+S->R`.

    Returns:
        The mode, its letters in the order T, S, I, R.

    Raises:
        UserError: for unknown or repeated letters.

    Example:
        >>> parse_mode("S+T->R").name
        'T+S->R'
    """
    query, arrow, gallery = mode.partition("->")
    return QueryMode(_side(query, mode), _side(gallery, mode) if arrow else ("rgb",))


SEVEN_MODES = tuple(parse_mode(text) for text in ("T", "S", "I", "T+S", "T+I", "S+I", "T+S+I"))


@dataclass(slots=True)
class Batch:
    """One batch of samples, any modality possibly absent.

    Args:
        images: modality -> (B, 3, H, W) float, zeros where absent; a modality that no sample has may be left out.
        tokens: (B, L) token ids, None when no text was asked for.
        present: modality -> (B,) bool.
        labels: (B,) identity labels.
        image_ids: (B,) number of the source image; rows derived from one photograph share it.
        undrawn: for each row None, or how its sketch is augmented once it is drawn from the photograph (RGB, 0 to 1)
            that stands in its place; None where all are drawn. See `reidtrain.line_drawing`.
    """

    images: dict[str, torch.Tensor]
    tokens: torch.Tensor | None
    present: dict[str, torch.Tensor]
    labels: torch.Tensor
    image_ids: torch.Tensor
    undrawn: tuple[Changes | None, ...] | None = None

    def __len__(self) -> int:
        return int(self.labels.shape[0])

    def split(self, parts: int) -> list[Batch]:
        """Split into `parts` runs of rows, as equal as they can be; a batch of fewer rows gives fewer parts."""
        if parts == 1:
            return [self]
        size, longer = divmod(len(self), parts)
        ends = [(number + 1) * size + min(number + 1, longer) for number in range(parts)]
        runs = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False) if end > start]
        return [self.rows(run) for run in runs]

    def rows(self, chosen: slice) -> Batch:
        """Return some of its rows."""
        return replace(
            self,
            images={name: value[chosen] for name, value in self.images.items()},
            tokens=None if self.tokens is None else self.tokens[chosen],
            present={name: value[chosen] for name, value in self.present.items()},
            labels=self.labels[chosen],
            image_ids=self.image_ids[chosen],
            undrawn=None if self.undrawn is None else self.undrawn[chosen],
        )

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on a device."""
        return replace(
            self,
            images={name: value.to(device, non_blocking=True) for name, value in self.images.items()},
            tokens=None if self.tokens is None else self.tokens.to(device, non_blocking=True),
            present={name: value.to(device, non_blocking=True) for name, value in self.present.items()},
            labels=self.labels.to(device, non_blocking=True),
            image_ids=self.image_ids.to(device, non_blocking=True),
        )
