"""Lengths of captions in CLIP's tokens, without importing a model library.

The vocabulary is the file that open_clip installs; the Rust tokenizer of Hugging Face reads it in a tenth of a second,
where importing open_clip takes several (every worker of every text step would pay that). Tested against open_clip's
own tokenizer.
"""

from __future__ import annotations

import html
import re
from functools import cache, lru_cache
from typing import Any

from reidsynth.errors import UserError

CLIP_CONTEXT = 77
"""Tokens of a CLIP text, start and end included; what is longer gets cut."""

_MERGES = 49152 - 256 - 2
_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


@cache
def _tokenizer() -> Any:  # noqa: ANN401 - the library's class is untyped
    import gzip
    from importlib.util import find_spec
    from pathlib import Path

    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    spec = find_spec("open_clip")
    if spec is None or spec.origin is None:
        raise UserError("open_clip is not installed, and CLIP's vocabulary comes with it: pip install open-clip-torch")
    file = Path(spec.origin).with_name("bpe_simple_vocab_16e6.txt.gz")
    lines = gzip.decompress(file.read_bytes()).decode("utf-8").split("\n")[1 : _MERGES + 1]
    merges = [(first, second) for first, _, second in (line.partition(" ") for line in lines)]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges)]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, end_of_word_suffix="</w>"))
    spaces = normalizers.Replace(Regex(r"\s+"), " ")
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), spaces, normalizers.Lowercase()])
    split = pre_tokenizers.Split(Regex(_PATTERN), "removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    return tokenizer


@lru_cache(maxsize=4096)  # a caption is counted when it is written and when it is judged
def clip_tokens(text: str) -> int:
    """Number of CLIP tokens of a text, start and end included.

    Example:
        >>> clip_tokens("A man in a red shirt.")
        9
    """
    if not text.isascii():
        import ftfy

        text = ftfy.fix_text(text)  # curly quotes become straight ones, for example, as open_clip does it
    text = html.unescape(html.unescape(text))
    return len(_tokenizer().encode(text, add_special_tokens=False).ids) + 2


def within_clip(text: str, tokens: int = CLIP_CONTEXT) -> str:
    """Shorten a text to a number of CLIP tokens, at the end of a sentence, else of a clause, else of a word.

    Args:
        text: one or more sentences.
        tokens: the most that may remain, start and end included; at least 4.

    Returns:
        The text itself where it fits; otherwise its longest beginning that does, ended by a full stop.

    Example:
        >>> within_clip("A man in a red shirt, with a bag. He walks by.", 12)
        'A man in a red shirt.'
    """
    text = " ".join(text.split())
    if clip_tokens(text) <= tokens:
        return text
    for border in (r"[.!?](?=\s)", r"[,;:](?=\s)", r"\s"):
        ends = [found.start() for found in re.finditer(border, text)]
        for end in reversed(ends):
            kept = text[:end].rstrip(" .,;:!?") + "."
            if len(kept) > 1 and clip_tokens(kept) <= tokens:
                return kept
    return ""
