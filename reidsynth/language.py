"""What can be told of a caption from its words: refusals, code, loops of words, contradictions with the attributes.

Everything here is meant to be sure rather than complete: a caption by a person, or one from the drawn world with its
own attributes, must come through clean (tested).
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_REFUSAL = re.compile(
    r"\bi(?:['’]m| am) (?:sorry|unable|not able)\b|\bi (?:cannot|can['’]t|can not) |\bi apologi[sz]e"
    r"|\bas an? (?:ai\b|artificial|(?:large )?language)|\blanguage model\b|\bai assistant\b"
    r"|\b(?:cannot|can['’]t|unable to|not able to) (?:assist|help|comply|fulfil|process|provide|view|access)"
    r"|\bagainst (?:my|our|the) (?:polic|guideline)|\bno (?:image|photo|picture)\w* (?:was|is|has been) \w+"
    r"|\blorem ipsum\b|\bhope this helps\b|\blet me know\b"
    r"|^\W*(?:sure|certainly|of course|absolutely)\b[,!. ]"
    r"|^\W*here(?: is|['’]s| are) (?:the|a|an|your|some|two|three)?\s*(?:\w+ )?(?:caption|description|json|answer)"
    r"|^\W*(?:caption|description|answer|output)\s*\d*\s*:",
    re.IGNORECASE,
)
# Every refusal holds one of these, and to look for them takes a tenth of the time.
_SUSPECT = re.compile(
    r"sorry|unable|not able|cannot|can['’]t|can not|apolog|as an? |language model|ai assistant"
    r"|against|no (?:image|photo|pic)|lorem|hope this|let me|sure|certainly|course|absolutely"
    r"|here|caption|description|answer|output"
)
_FRAGMENT = re.compile(
    r"```|[{}<>\[\]|\\*_#~^]|\"\s*:|https?:|\bwww\.|&\w+;|\ufffd|\b(?:null|undefined|NaN)\b|\w+\(\)|\w\w=\w|[a-z][A-Z]"
)
# Every one of them holds one of these; captions that don't are most, and looking costs a third.
_MARKED = re.compile('[`{}<>\\[\\]|\\\\*_#~^":&\ufffd(=]|www|null|undefined|NaN|[a-z][A-Z]')
_WORD = re.compile(r"[a-z]+(?:['-][a-z]+)*|[,.;:]")
_LONGEST_WORD = 28  # the longest words of real captions, compounds with hyphens, are shorter
_LOOP_WORDS, _LOOP_DISTINCT = 20, 0.3
_FOREIGN_SHARE = 0.1
_NEAR = 7  # words before a noun in which its colours stand

_MALE = {"man", "men", "male", "guy", "gentleman", "boy", "he", "his", "him"}
_FEMALE = {"woman", "women", "female", "lady", "girl", "she", "her", "hers"}
_NOUNS = {
    "upper": "t-shirt tee shirt blouse sweater pullover jumper hoodie sweatshirt jacket coat overcoat dress top vest "
    "cardigan blazer parka polo",
    "lower": "trousers pants slacks jeans shorts skirt leggings bottoms",
    "shoes": "shoes sneakers trainers boots sandals heels slippers loafers",
    "bag": "backpack rucksack bag handbag purse satchel suitcase",
    "headwear": "cap hat beanie",
    "hair": "hair ponytail bun",
    "glasses": "glasses sunglasses spectacles",
}
_REGION = {noun: region for region, nouns in _NOUNS.items() for noun in nouns.split()}
_COLOUR_FIELDS = {
    "upper": ("upper_colour", "upper_pattern_colour"),
    "lower": ("lower_colour",),
    "shoes": ("shoes_colour",),
    "bag": ("bag_colour",),
    "headwear": ("headwear_colour",),
    "hair": ("hair_colour",),
}
# Word -> names that it does not contradict. Annotators and cameras disagree about neighbouring colours.
_COLOURS: dict[str, str] = {
    "black": "black",
    "grey": "grey",
    "gray": "grey",
    "silver": "grey white",
    "charcoal": "grey black",
    "dark": "black navy grey brown blue green purple",
    "white": "white",
    "cream": "white beige",
    "ivory": "white beige",
    "red": "red",
    "maroon": "red brown purple",
    "burgundy": "red brown purple",
    "crimson": "red",
    "orange": "orange",
    "yellow": "yellow",
    "gold": "yellow blond",
    "golden": "yellow blond",
    "mustard": "yellow brown",
    "green": "green",
    "olive": "green brown",
    "khaki": "green brown beige",
    "teal": "teal blue green",
    "turquoise": "teal blue green",
    "cyan": "teal blue",
    "blue": "blue navy teal",
    "navy": "navy blue",
    "purple": "purple",
    "violet": "purple",
    "lavender": "purple pink",
    "pink": "pink",
    "magenta": "pink purple",
    "brown": "brown",
    "tan": "beige brown",
    "beige": "beige",
    "camel": "beige brown",
    "blond": "blond yellow beige",
    "blonde": "blond yellow beige",
    "ginger": "red orange brown",
    "auburn": "red brown",
}
_LOWER_KINDS = {
    "trousers": "long",
    "pants": "long",
    "slacks": "long",
    "jeans": "long",
    "leggings": "long",
    "shorts": "shorts",
    "skirt": "skirt",
}
_STOPS = {
    "a",
    "an",
    "the",
    "his",
    "her",
    "their",
    "with",
    "in",
    "on",
    "of",
    "over",
    "under",
    "has",
    "is",
    "wears",
    "no",
}
_STOPS |= {"no", "wears", "wearing", "carrying", "carries", "holding", "dressed", ",", ".", ";", ":"}
_DENIALS = {"no", "without", "not", "nor"}


def is_refusal(caption: str) -> bool:
    """Whether a caption refuses, apologises or talks to whoever asked for it.

    Example:
        >>> is_refusal("I'm sorry, but I can't help with identifying people."), is_refusal("A man in a red shirt.")
        (True, False)
    """
    return _SUSPECT.search(caption.casefold()) is not None and _REFUSAL.search(caption) is not None


def is_fragment(caption: str) -> bool:
    """Whether a caption holds code or markup, endless words, loops, or another script than Latin.

    Example:
        >>> is_fragment('{"captions": ["A man'), is_fragment("a man a man " * 9), is_fragment("Jeans (blue), size 42.")
        (True, True, False)
    """
    if _MARKED.search(caption) is not None and _FRAGMENT.search(caption) is not None:
        return True
    words = caption.lower().split()
    if any(len(word) > _LONGEST_WORD for word in words):
        return True
    if any(a == b == c for a, b, c in zip(words, words[1:], words[2:], strict=False)):
        return True
    if len(words) >= _LOOP_WORDS and len(set(words)) < _LOOP_DISTINCT * len(words):
        return True
    if caption.isascii():
        return False
    letters = [letter for letter in caption if letter.isalpha()]
    foreign = sum(not letter.isascii() and "LATIN" not in unicodedata.name(letter, "") for letter in letters)
    return foreign > _FOREIGN_SHARE * len(letters)


def contradictions(caption: str, attributes: Mapping[str, str | None]) -> tuple[str, ...]:
    """Regions of which a caption says something else than the attributes.

    A region contradicts when its colours are told and none of them is, or is near, one of the attributes' colours;
    when the garment of the legs is another kind; when something is told that the attributes say is not there; and
    when only words of the other gender occur. What is unknown (None) contradicts nothing.

    Args:
        caption: English sentences.
        attributes: ATTRIBUTE_FIELDS -> value.

    Example:
        >>> contradictions("A man in a red shirt.", {"gender": "female", "upper_colour": "blue"})
        ('gender', 'upper')
        >>> contradictions("A lady in a dark blue coat.", {"gender": "female", "upper_colour": "navy"})
        ()
    """
    words = _WORD.findall(caption.lower().replace("’", "'"))
    nouns = _nouns(words)
    found = ["gender"] if _other_gender(set(words), attributes.get("gender")) else []
    for region, fields in _COLOUR_FIELDS.items():
        if not attributes.get(fields[0]):
            continue  # what is unknown contradicts nothing
        places = [at for at, noun in nouns if _REGION[noun] == region]
        told = {name for at in places for name in _colours_before(words, at)}
        if told and not told & (known := _names(" ".join(attributes.get(field) or "" for field in fields))) and known:
            found.append(region)
    kind = _LOWER_KINDS.get((attributes.get("lower_type") or "").split(" ")[-1])
    kinds = {_lower_kind(words, at) for at, noun in nouns if noun in _LOWER_KINDS} - {None}
    if kind and kinds and kind not in kinds and "lower" not in found:
        found.append("lower")
    for region in ("headwear", "glasses", "bag"):
        if attributes.get(region) == "none" and any(
            _REGION[noun] == region and not _DENIALS & set(words[max(0, at - 4) : at]) for at, noun in nouns
        ):
            found.append(region)
    return tuple(found)


def _nouns(words: Sequence[str]) -> list[tuple[int, str]]:
    """Position and noun; of a compound ("dress shoes") the last one."""
    return [
        (at, word)
        for at, (word, following) in enumerate(zip(words, [*words[1:], ""], strict=False))
        if word in _REGION and following not in _REGION and not (word == "top" and following == "of")
    ]


def _colours_before(words: Sequence[str], at: int) -> set[str]:
    colours: list[str] = []
    for word in reversed(words[max(0, at - _NEAR) : at]):
        if word in _STOPS or (word in _REGION and word not in ("dress", "tank")):
            break
        colours.append(word)
    return _compatible(colours[::-1])


def _compatible(words: Iterable[str]) -> set[str]:
    """Names that colour words stand for; `dark` before another colour only shades it."""
    colours = [word for part in words for word in part.strip(",").split("-") if word in _COLOURS]
    shaded = {at for at, word in enumerate(colours[:-1]) if word == "dark"}
    return {name for at, word in enumerate(colours) if at not in shaded for name in _COLOURS[word].split()}


@lru_cache(maxsize=1024)
def _names(words: str) -> frozenset[str]:
    return frozenset(_compatible(words.split()))


def _lower_kind(words: Sequence[str], at: int) -> str | None:
    return "shorts" if at and words[at - 1] == "short" and words[at] != "skirt" else _LOWER_KINDS[words[at]]


def _other_gender(words: set[str], gender: str | None) -> bool:
    if gender not in ("male", "female"):
        return False
    own, other = (_MALE, _FEMALE) if gender == "male" else (_FEMALE, _MALE)
    return bool(words & other) and not words & own
