"""AIO's tokenizers: images to tokens by an IBN stem, captions to tokens with attribute words that can be masked.

Li et al., "All in One Framework for Multimodal Re-identification in the Wild" (CVPR 2024), section 3.1; the stem with
instance and batch normalisation is that of Pan et al. (ECCV 2018).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
import yaml
from torch import nn

from reidtrain.stem import IBN

ATTRIBUTE_WORDS = Path(__file__).parents[1] / "assets" / "attribute-words.yaml"
CHANNELS, STEM_STRIDE = 64, 2


class ImageTokenizer(nn.Module):
    """Convolution 7x7 stride 2, IBN; convolution 3x3, IBN; convolution 3x3, BatchNorm; ReLU after each; a projection.

    The projection's kernel equals its stride, so that tokens don't overlap there.

    Args:
        width: of a token.
        patch: pixels that one token stands for, a multiple of 2: 16 turns 384x192 into 24x12 tokens.
    """

    def __init__(self, width: int, patch: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, CHANNELS, 7, STEM_STRIDE, padding=3, bias=False),
            IBN(CHANNELS),
            nn.ReLU(),
            nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False),
            IBN(CHANNELS),
            nn.ReLU(),
            nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False),
            nn.BatchNorm2d(CHANNELS),
            nn.ReLU(),
        )
        kernel = patch // STEM_STRIDE
        self.projection = nn.Conv2d(CHANNELS, width, kernel, kernel)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Turn (B, 3, H, W) into (B, width, H / patch, W / patch)."""
        tokens: torch.Tensor = self.projection(self.stem(images))
        return tokens


def pool_tokens(tokens: torch.Tensor, grid: tuple[int, int], most: int) -> torch.Tensor:
    """Average image tokens over a coarser grid of the same shape.

    Args:
        tokens: (B, rows * columns, W), row by row.
        grid: (rows, columns).
        most: tokens that may remain, at least 1.

    Returns:
        (B, rows' * columns', W) with rows' * columns' <= most; the tokens themselves where they are few enough.
    """
    rows, columns = grid
    if rows * columns <= most:
        return tokens
    ratio = (most / (rows * columns)) ** 0.5
    new_rows = max(1, min(most, int(rows * ratio)))
    new_columns = max(1, min(columns, most // new_rows, round(columns * ratio) or 1))
    image = tokens.transpose(1, 2).unflatten(2, grid)
    return F.adaptive_avg_pool2d(image, (new_rows, new_columns)).flatten(2).transpose(1, 2)


@cache
def attribute_words() -> tuple[str, ...]:
    """The attribute vocabulary, its classes in order, each word once."""
    kinds = yaml.safe_load(ATTRIBUTE_WORDS.read_text(encoding="utf-8"))
    return tuple(dict.fromkeys(str(word) for words in kinds.values() for word in words))


class AttributeFinder(nn.Module):
    """Finds the attribute words of captions among their token ids.

    A word counts only where it is a whole word: the `bag` at the end of an unlisted compound is none.

    Args:
        word_ids: gives the token ids of a word, none where the vocabulary lacks it.
        word_ends: (V,) bool, ids that end a word.
        words: the attribute vocabulary; a word's class is its place in it.
    """

    ends: torch.Tensor

    def __init__(
        self, word_ids: Callable[[str], Sequence[int]], word_ends: torch.Tensor, words: Sequence[str] | None = None
    ) -> None:
        super().__init__()
        self.words = tuple(attribute_words() if words is None else words)
        found = {tuple(word_ids(word)): number for number, word in enumerate(self.words)}
        self.patterns = sorted(((ids, n) for ids, n in found.items() if ids), key=lambda entry: -len(entry[0]))
        self.register_buffer("ends", word_ends, persistent=False)
        single = torch.full((len(word_ends),), -1, dtype=torch.long)
        for ids, number in self.patterns:
            if len(ids) == 1:
                single[ids[0]] = number
        self.register_buffer("single", single, persistent=False)

    def forward(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Find words.

        Args:
            ids: (B, L).

        Returns:
            (B, L) int64, the class at the first token of each attribute word and -1 elsewhere; (B, L) bool, all tokens
            of attribute words.
        """
        starts = F.pad(self.ends[ids][:, :-1], (1, 0), value=True)
        classes = torch.where(starts & self.ends[ids], self.get_buffer("single")[ids], -1)
        covered = classes >= 0
        for pattern, number in self.patterns:
            if len(pattern) > 1 and ids.shape[1] >= len(pattern):
                windows = ids.unfold(1, len(pattern), 1)
                match = (windows == torch.tensor(pattern, device=ids.device)).all(dim=-1)
                match = F.pad(match, (0, len(pattern) - 1)) & starts
                classes = torch.where(match, number, classes)
                for shift in range(len(pattern)):
                    covered = covered | F.pad(match, (shift, 0))[:, : ids.shape[1]]
        return classes, covered
