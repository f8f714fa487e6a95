"""CLIP's byte-pair tokenizer, whole or cut down to the words that a small text tower knows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch

CLIP_VOCABULARY = 49408
_END = CLIP_VOCABULARY - 1
_START = CLIP_VOCABULARY - 2


@cache
def _clip_tokenizer() -> Any:  # noqa: ANN401  open_clip is untyped
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()


@cache
def _word_ids(word: str) -> tuple[int, ...]:
    return tuple(_clip_tokenizer().encode(word))


def _words(text: str) -> list[str]:
    tokenizer = _clip_tokenizer()
    found: list[str] = tokenizer.pat.findall(tokenizer.clean_fn(text))
    return found


def clip_ids(texts: Sequence[str]) -> list[int]:
    """Return the sorted CLIP token ids that occur in texts, the vocabulary for a `Tokenizer`."""
    return sorted({token for text in texts for word in _words(text) for token in _word_ids(word)})


class Tokenizer:
    """Texts to token ids: start, words, end, then zeros.

    With a vocabulary, CLIP ids are renumbered from 1 in ascending order, so that 0 stays the padding and the end token
    stays the largest id (open_clip's pooling looks for the largest). A word of which any piece is missing is left
    out whole; `unknown_words` names it.

    Args:
        context_length: length of a token row; longer texts are cut and keep their end token.
        vocabulary: CLIP ids without start and end token, None for all of CLIP's.
    """

    def __init__(self, context_length: int = 77, vocabulary: Sequence[int] | None = None) -> None:
        self.context_length = context_length
        self.vocabulary = None if vocabulary is None else sorted(vocabulary)
        kept = [*self.vocabulary, _START, _END] if self.vocabulary is not None else None
        self._index = None if kept is None else {token: index for index, token in enumerate(kept, start=1)}

    @property
    def size(self) -> int:
        """Rows that the embedding table needs."""
        return CLIP_VOCABULARY if self._index is None else len(self._index) + 1

    def _renumber(self, tokens: Sequence[int]) -> list[int] | None:
        if self._index is None:
            return list(tokens)
        found = [self._index.get(token) for token in tokens]
        return None if None in found else [token for token in found if token is not None]

    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        """Return (B, context_length) int64 ids."""
        rows = torch.zeros(len(texts), self.context_length, dtype=torch.long)
        (start,), (end,) = self._renumber([_START]) or [0], self._renumber([_END]) or [0]
        for row, text in zip(rows, texts, strict=True):
            known = (self._renumber(_word_ids(word)) for word in _words(text))
            tokens = [start, *(token for ids in known if ids is not None for token in ids)]
            tokens = [*tokens[: self.context_length - 1], end]
            row[: len(tokens)] = torch.tensor(tokens)
        return rows

    def word_ids(self, word: str) -> list[int]:
        """Return the ids of one word, empty where a piece of it is unknown."""
        return self._renumber(_word_ids(word)) or []

    def word_ends(self) -> torch.Tensor:
        """(size,) bool: ids that end a word; start token, end token and padding count as such."""
        decoder = _clip_tokenizer().decoder
        ids = range(CLIP_VOCABULARY - 2) if self.vocabulary is None else self.vocabulary
        ends = [str(decoder[token]).endswith("</w>") for token in ids]
        return torch.tensor([*([] if self.vocabulary is None else [True]), *ends, True, True])

    def unknown_words(self, text: str) -> list[str]:
        """Return the words of a text that the tokenizer leaves out, each once, in order."""
        return list(dict.fromkeys(word for word in _words(text) if self._renumber(_word_ids(word)) is None))
