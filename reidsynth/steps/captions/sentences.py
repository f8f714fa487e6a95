"""Grammar of the template captions: attributes in, different sentences of 8 to 130 words out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np

FEWEST_WORDS = 8

_SUBJECTS = {
    "male": ("man", "male pedestrian", "man", "male person"),
    "female": ("woman", "female pedestrian", "woman", "lady"),
    None: ("person", "pedestrian", "person", "passer-by"),
}
_BUILDS = {"slim": ("slim", "slender", "thin"), "heavy": ("heavy", "stout", "heavily built")}
_HAIR = {
    "bald": ("a bald head", "a shaved head"),
    "short": ("short {colour} hair", "{colour} hair cut short"),
    "medium": ("shoulder-length {colour} hair", "{colour} hair of medium length"),
    "long": ("long {colour} hair", "{colour} hair worn long"),
    "ponytail": ("{colour} hair in a ponytail", "a {colour} ponytail"),
    "bun": ("{colour} hair tied in a bun", "a {colour} bun"),
}
_PATTERNS = {
    "stripes": ("{colour} {noun} with {second} stripes", "{second} and {colour} striped {noun}"),
    "vertical stripes": ("{colour} {noun} with {second} vertical stripes",),
    "checks": ("{colour} and {second} checked {noun}", "{colour} {noun} with {second} checks"),
    "dots": ("{colour} {noun} with {second} dots", "{second} dotted {colour} {noun}"),
    "logo": ("{colour} {noun} with a {second} print", "{colour} {noun} with a {second} logo"),
    "two-tone": ("two-tone {colour} and {second} {noun}", "{colour} and {second} {noun}"),
}
_UPPERS = ("top", "upper garment", "top")
_LOWERS = ("bottoms", "lower garments")
_SINGULAR_IN_S = ("dress", "compass", "headdress")
_LEADS = ("In the picture of this camera,", "In this photograph from a camera,", "On the image that was taken here,")


class _Writer:
    """Phrases about one person; each call draws its words anew."""

    def __init__(self, known: Mapping[str, str | None], rng: np.random.Generator) -> None:
        self.known, self.rng = known, rng

    def one(self, options: Sequence[str]) -> str:
        return options[int(self.rng.integers(len(options)))]

    def value(self, field: str) -> str | None:
        """A value that is worth telling."""
        value = self.known.get(field)
        return value if value and value not in ("none", "unknown") else None

    def subject(self) -> str:
        gender = self.value("gender")
        noun = self.one(_SUBJECTS.get(gender, _SUBJECTS[None]))
        build = _BUILDS.get(self.value("build") or "")
        return article(f"{self.one(build)} {noun}" if build else noun)

    def hair(self) -> str:
        length, colour = self.value("hair_length"), self.value("hair_colour") or ""
        if length is None:
            return f"{colour} hair" if colour else ""
        if not colour and length != "bald":
            return f"{length} hair" if length in ("short", "long") else ""
        template = self.one(_HAIR.get(length, (f"{length} {{colour}} hair",)))
        return _with_article(template.format(colour=colour))

    def headwear(self) -> str:
        kind, colour = self.value("headwear"), self.value("headwear_colour")
        if kind == "hood":
            return self.one(("the hood up", "the hood pulled up"))
        return article(f"{colour} {kind}" if colour else kind) if kind else ""

    def glasses(self) -> str:
        return self.value("glasses") or ""

    def upper(self) -> str:
        noun, colour = self.value("upper_type") or self.one(_UPPERS), self.value("upper_colour")
        pattern, second = self.value("upper_pattern"), self.value("upper_pattern_colour")
        if colour is None:
            return article(noun) if self.value("upper_type") else ""
        if pattern in _PATTERNS and second:
            return article(self.one(_PATTERNS[pattern]).format(colour=colour, second=second, noun=noun))
        plain = "plain " if pattern == "plain" and self.rng.random() < 0.3 else ""
        return article(f"{plain}{colour} {noun}")

    def lower(self) -> str:
        kind, colour = self.value("lower_type"), self.value("lower_colour")
        if kind == "bare legs":
            return kind
        if kind is None:
            return f"{colour} {self.one(_LOWERS)}" if colour else ""
        return article(f"{colour} {kind}" if colour else kind)

    def shoes(self) -> str:
        kind, colour = self.value("shoes_type"), self.value("shoes_colour")
        if kind is None:
            return f"{colour} shoes" if colour else ""
        return article(f"{colour} {kind}" if colour else kind)

    def bag(self) -> str:
        kind, colour = self.value("bag"), self.value("bag_colour")
        return article(f"{colour} {kind}" if colour else kind) if kind else ""


def write(known: Mapping[str, str | None], count: int, rng: np.random.Generator) -> tuple[str, ...]:
    """Write different captions about one person.

    Args:
        known: attribute -> value; None, `none` and `unknown` are not told.
        count: number of captions.
        rng: draws structure and words.

    Returns:
        Captions of at least FEWEST_WORDS words that all differ in structure or, past five, in words.
    """
    writer = _Writer(known, rng)
    order = [int(index) for index in rng.permutation(len(_STRUCTURES))]
    captions: list[str] = []
    for number in range(count):
        structure = _STRUCTURES[order[number % len(order)]]
        caption = _long_enough(structure(writer), writer)
        for _ in range(20):
            if caption not in captions:
                break
            caption = _long_enough(structure(writer), writer)
        captions.append(caption)
    return tuple(captions)


def write_styles(known: Mapping[str, str | None], styles: Sequence[str], rng: np.random.Generator) -> tuple[str, ...]:
    """Write one caption in each style.

    Args:
        known: attribute -> value; None, `none` and `unknown` are not told.
        styles: keys of STYLE_STRUCTURES.
        rng: draws words.
    """
    writer = _Writer(known, rng)
    return tuple(_long_enough(STYLE_STRUCTURES[style](writer), writer) for style in styles)


def _long_enough(text: str, writer: _Writer) -> str:
    """A sentence; one that tells little gets a lead, so that it is long enough to be a caption."""
    if len(text.split()) < FEWEST_WORDS:
        text = f"{writer.one(_LEADS)} {text[0].lower()}{text[1:]}"
    text = " ".join(text.split()).replace(" ,", ",").replace(" .", ".")
    return f"{text[0].upper()}{text[1:]}."


def _wearing(writer: _Writer) -> str:
    head = join([writer.hair(), writer.headwear(), writer.glasses()])
    worn = join([writer.upper(), writer.lower(), writer.shoes()])
    text = writer.subject() + (f" wearing {worn}" if worn else "")
    text += f", with {head}" if head else ""
    return text + _carrying(writer)


def _dressed(writer: _Writer) -> str:
    head = join([writer.hair(), writer.glasses(), writer.headwear()])
    worn = join([writer.upper(), writer.lower()])
    text = writer.subject() + (f" with {head}" if head else "")
    text += f" is dressed in {worn}" if worn else " walks by"
    shoes = writer.shoes()
    text += f", with {shoes} on the feet" if shoes else ""
    return text + _carrying(writer)


def _two_sentences(writer: _Writer) -> str:
    subject, head = writer.subject(), join([writer.hair(), writer.headwear(), writer.glasses()])
    pronoun = {"male": "He", "female": "She"}.get(writer.value("gender") or "", "The person")
    first = f"{subject} has {head}" if head else f"{subject} crosses the view of the camera"
    worn = join([writer.upper(), writer.lower(), writer.shoes()])
    second = f"{pronoun} wears {worn}" if worn else f"{pronoun} walks by"
    bag = writer.bag()
    return f"{first}. {second}" + (f" and carries {bag}" if bag else "")


def _clothes_first(writer: _Writer) -> str:
    upper, lower = writer.upper(), writer.lower()
    subject = writer.subject()
    if not upper or not lower or writer.value("lower_type") == "bare legs":
        return _wearing(writer)
    rest = join([writer.hair(), writer.headwear(), writer.glasses(), writer.shoes()])
    joined = writer.one((f"Dressed in {upper} and {lower}", f"In {upper} combined with {lower}"))
    text = f"{joined}, {subject} " + writer.one(("is walking", "passes the camera"))
    return text + (f" with {rest}" if rest else "") + _carrying(writer)


def _top_and_bottom(writer: _Writer) -> str:
    upper, lower, shoes = writer.upper(), writer.lower(), writer.shoes()
    parts = [f"{upper} on the upper body" if upper else "", f"{lower} below" if lower else ""]
    worn = join([*parts, shoes])
    head = join([writer.glasses(), writer.hair(), writer.headwear()])
    text = f"{writer.subject()} can be seen" + (f" with {head}" if head else "")
    text += f", wearing {worn}" if worn else ""
    return text + _carrying(writer)


def _carrying(writer: _Writer) -> str:
    bag = writer.bag()
    return f", {writer.one(('carrying', 'carrying', 'with'))} {bag}" if bag else ""


_STRUCTURES: tuple[Callable[[_Writer], str], ...] = (
    _wearing,
    _dressed,
    _two_sentences,
    _clothes_first,
    _top_and_bottom,
)


def _concise(writer: _Writer) -> str:
    worn = join([writer.upper(), writer.lower()]) or join([writer.headwear(), writer.shoes()])
    return f"{writer.subject()} in {worn}{_carrying(writer)}" if worn else _wearing(writer)


def _conversational(writer: _Writer) -> str:
    pronoun = {"male": "he", "female": "she"}.get(writer.value("gender") or "", "they")
    head, worn = join([writer.hair(), writer.glasses(), writer.headwear()]), join([writer.upper(), writer.lower()])
    text = writer.one(("what I saw was", "it was", "I noticed")) + f" {writer.subject()}"
    text += f" with {head}" if head else " who walked by"
    text += f", and {pronoun} had {worn} on" if worn else ""
    shoes, bag = writer.shoes(), writer.bag()
    text += f", {shoes} too" if shoes else ""
    return text + (f", and {pronoun} carried {bag}" if bag else "")


def _detailed(writer: _Writer) -> str:
    pronoun = {"male": "He", "female": "She"}.get(writer.value("gender") or "", "The person")
    worn, shoes, bag = join([writer.upper(), writer.lower()]), writer.shoes(), writer.bag()
    head = join([writer.hair(), writer.headwear(), writer.glasses()])
    parts = [f"This camera shows {writer.subject()}" + (f" with {head}" if head else "")]
    parts += [f"{pronoun} is dressed in {worn}"] if worn else []
    parts += [f"On the feet there are {shoes}"] if shoes else []
    parts += [f"{pronoun} carries {bag}"] if bag else []
    return ". ".join(parts)


STYLE_STRUCTURES: dict[str, Callable[[_Writer], str]] = {
    "descriptive": _two_sentences,
    "concise": _concise,
    "conversational": _conversational,
    "clothing-first": _clothes_first,
    "detailed": _detailed,
}


def article(words: str) -> str:
    """Put the indefinite article before a phrase, unless its noun is a plural.

    Example:
        >>> article("orange coat"), article("white dress with blue dots"), article("navy jeans")
        ('an orange coat', 'a white dress with blue dots', 'navy jeans')
    """
    noun = words.split(" with ")[0].split(" in ")[0].split()[-1]
    return words if noun.endswith("s") and noun not in _SINGULAR_IN_S else _article(words)


def _article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _with_article(words: str) -> str:
    """Mend `a orange ponytail`."""
    return f"an{words[1:]}" if words.startswith("a ") and words[2] in "aeiou" else words


def join(parts: Sequence[str]) -> str:
    """Join phrases with commas and a last `and`; empty ones are left out.

    Example:
        >>> join(["a cap", "", "glasses", "long hair"])
        'a cap, glasses and long hair'
    """
    kept = [part for part in parts if part]
    return " and ".join([", ".join(kept[:-1]), kept[-1]]) if len(kept) > 1 else "".join(kept)
