"""Captions of a capture: varied sentences about what its view shows, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from reidsynth.world.identities import Body, Look
from reidsynth.world.vocabulary import MATERIAL_WORDS

Visible = Mapping[str, str | None]
_SUBJECTS = {
    "male": ("man", "male pedestrian", "guy", "gentleman", "man"),
    "female": ("woman", "female pedestrian", "lady", "woman"),
}
_BUILDS = {
    "slim": ("slim", "thin", "slender"),
    "heavy": ("heavy", "stout", "broad"),
    "average": ("", "", "", "average-sized"),
}
_VIEWS = {
    "front": ("facing the camera", "walking towards the camera", "seen from the front", ""),
    "back": ("walking away", "seen from behind", "with the back to the camera", ""),
    "left": ("walking to the left", "seen from the side", "heading left", ""),
    "right": ("walking to the right", "seen from the side", "heading right", ""),
}
_TYPES = {
    "t-shirt": ("t-shirt", "tee", "short-sleeved t-shirt"),
    "shirt": ("shirt", "button-up shirt", "collared shirt"),
    "sweater": ("sweater", "pullover", "jumper"),
    "hoodie": ("hoodie", "hooded sweatshirt"),
    "jacket": ("jacket", "zipped jacket", "short jacket"),
    "coat": ("coat", "long coat", "overcoat"),
    "dress": ("dress", "short-sleeved dress"),
    "tank top": ("tank top", "sleeveless top"),
    "trousers": ("trousers", "pants", "slacks"),
    "jeans": ("jeans", "denim jeans"),
    "shorts": ("shorts", "short trousers"),
    "skirt": ("skirt", "short skirt"),
    "long skirt": ("long skirt", "ankle-length skirt"),
    "leggings": ("leggings", "tight leggings"),
    "sneakers": ("sneakers", "trainers", "sports shoes"),
    "shoes": ("shoes", "formal shoes"),
    "boots": ("boots", "high boots"),
    "sandals": ("sandals", "open sandals"),
    "backpack": ("backpack", "rucksack"),
    "shoulder bag": ("shoulder bag", "crossbody bag"),
    "handbag": ("handbag", "hand bag"),
    "cap": ("cap", "baseball cap"),
    "beanie": ("beanie", "knit cap"),
    "hat": ("hat", "brimmed hat"),
}
_PATTERNS = {
    "stripes": (
        "{second} and {first} striped {noun}",
        "{first} {noun} with {second} horizontal stripes",
        "{first} {noun} with {second} stripes",
    ),
    "vertical stripes": (
        "{first} {noun} with {second} vertical stripes",
        "{first} and {second} vertically striped {noun}",
    ),
    "checks": ("{first} and {second} checked {noun}", "{first} plaid {noun} with {second} checks"),
    "dots": ("{first} {noun} with {second} dots", "{second} dotted {first} {noun}"),
    "logo": ("{first} {noun} with a {second} logo on the chest", "{first} {noun} with a {second} print"),
    "two-tone": ("{noun} that is {first} above and {second} below", "two-tone {first} and {second} {noun}"),
}
_LONGEST = 40
_SYNONYMS = {
    "navy": ("navy", "dark blue"),
    "grey": ("grey", "gray"),
    "beige": ("beige", "tan"),
    "blond": ("blond", "blonde"),
    "purple": ("purple", "violet"),
}


class _Writer:
    """Makes the clauses of one caption."""

    def __init__(self, visible: Visible, body: Body, rng: np.random.Generator) -> None:
        self.seen, self.rng = visible, rng
        self.material = {slot: MATERIAL_WORDS.get(body.materials[slot], "") for slot in ("upper", "lower")}

    def one(self, options: Sequence[str]) -> str:
        return options[int(self.rng.integers(len(options)))]

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def colour(self, name: str) -> str:
        value = str(self.seen[name])
        return self.one(_SYNONYMS.get(value, (value,)))

    def noun(self, name: str) -> str:
        value = str(self.seen[name])
        return self.one(_TYPES.get(value, (value,)))

    def subject(self) -> str:
        if self.seen["gender"] is None:
            return "a person"
        build = self.one(_BUILDS.get(str(self.seen["build"]), ("",)))
        noun = self.one(_SUBJECTS[self.seen["gender"]])
        return _article(f"{build} {noun}".strip())

    def upper(self) -> str:
        if self.seen["upper_type"] is None or self.seen["upper_colour"] is None:
            return ""
        noun = self.noun("upper_type")
        if self.material["upper"] and self.chance(0.5):
            noun = f"{self.material['upper']} {noun}"
        pattern, first = self.seen["upper_pattern"], self.colour("upper_colour")
        if pattern in _PATTERNS and self.seen["upper_pattern_colour"] is not None:
            template = self.one(_PATTERNS[pattern])
            return _article(template.format(first=first, second=self.colour("upper_pattern_colour"), noun=noun))
        plain = "plain " if pattern == "plain" and self.chance(0.3) else ""
        return _article(f"{plain}{first} {noun}")

    def lower(self) -> str:
        kind = self.seen["lower_type"]
        if kind is None:
            return ""
        if kind == "bare legs":
            return "bare legs" if self.chance(0.6) else ""
        words = f"{self.colour('lower_colour')} {self.noun('lower_type')}"
        if self.material["lower"] and kind != "jeans" and self.chance(0.3):
            words = f"{self.material['lower']} {words}"
        return _article(words) if kind in ("skirt", "long skirt") else words

    def shoes(self) -> str:
        if self.seen["shoes_type"] is None or self.chance(0.1):
            return ""
        return f"{self.colour('shoes_colour')} {self.noun('shoes_type')}"

    def hair(self) -> str:
        length = self.seen["hair_length"]
        if length is None or self.chance(0.06):
            return ""
        if length == "bald":
            return self.one(("a bald head", "no hair", "a shaved head"))
        colour = self.colour("hair_colour")
        return {
            "ponytail": self.one((f"{colour} hair in a ponytail", f"a {colour} ponytail")),
            "bun": self.one((f"{colour} hair in a bun", f"{colour} hair tied up in a bun")),
            "medium": self.one((f"shoulder-length {colour} hair", f"medium {colour} hair")),
        }.get(length, f"{length} {colour} hair")

    def headwear(self) -> str:
        kind = self.seen["headwear"]
        if kind in (None, "none"):
            return ""
        if kind == "hood":
            return self.one(("the hood up", "the hood over the head"))
        return _article(f"{self.colour('headwear_colour')} {self.noun('headwear')}")

    def glasses(self) -> str:
        kind = self.seen["glasses"]
        if kind in (None, "none"):
            return ""
        return (
            self.one(("sunglasses", "dark sunglasses")) if kind == "sunglasses" else self.one(("glasses", "spectacles"))
        )

    def bag(self) -> str:
        kind = self.seen["bag"]
        if kind is None or (kind == "none" and not self.chance(0.25)):
            return ""
        if kind == "none":
            return self.one(("no bag", "nothing in the hands"))
        return _article(f"{self.colour('bag_colour')} {self.noun('bag')}")


def _article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _join(parts: Sequence[str]) -> str:
    kept = [part for part in parts if part]
    if len(kept) < 2:
        return "".join(kept)
    return f"{', '.join(kept[:-1])} and {kept[-1]}"


def _sentence(text: str) -> str:
    text = " ".join(text.replace(" ,", ",").split()).strip(" ,")
    return f"{text[0].upper()}{text[1:]}."


_OPTIONAL = ("build", "hair_length", "headwear", "glasses", "upper_pattern", "shoes_type", "bag")


def write(visible: Visible, view: str, body: Body, rng: np.random.Generator, detail: float = 1.0) -> str:
    """Write one caption, some 12 to 40 words, of the visible attributes only.

    Args:
        visible: attributes that the view shows, None for the others.
        view: one of cameras.VIEWS.
        body: of the person.
        rng: of the wording.
        detail: chance that the caption tells each of build, hair, headwear, glasses, pattern, shoes and bag; gender and
            clothes are always told.
    """
    if detail < 1:
        told = rng.random(len(_OPTIONAL)) < detail
        visible = {**visible, **{name: None for name, tell in zip(_OPTIONAL, told, strict=True) if not tell}}
    w = _Writer(visible, body, rng)
    text = ""
    for _ in range(8):
        text = _TEMPLATES[int(rng.integers(len(_TEMPLATES)))](w, w.one(_VIEWS[view]))
        if len(text.split()) <= _LONGEST:
            break
    return text


def _clothes_first(w: _Writer, view: str) -> str:
    worn = _join([w.upper(), w.lower(), w.shoes()])
    head = _join([w.hair(), w.headwear(), w.glasses()])
    bag = w.bag()
    text = f"{w.subject()} {view} wearing {worn}" if worn else f"{w.subject()} {view}"
    text += f", with {head}" if head else ""
    return _sentence(text + (f", carrying {bag}" if bag else ""))


def _head_first(w: _Writer, view: str) -> str:
    head, worn, bag = _join([w.hair(), w.glasses()]), _join([w.headwear(), w.upper(), w.lower()]), w.bag()
    text = f"{w.subject()} with {head}" if head else w.subject()
    text += f" {view} in {worn}" if worn else f" {view}"
    shoes = w.shoes()
    text += f" and {shoes}" if shoes else ""
    return _sentence(text + (f", {w.one(('with', 'and has'))} {bag}" if bag else ""))


def _two_sentences(w: _Writer, view: str) -> str:
    pronoun = {"male": "he", "female": "she"}.get(str(w.seen["gender"]), "the person")
    first = f"{w.subject()} {view} is dressed in {_join([w.upper(), w.lower()]) or 'street clothes'}"
    rest = _join([w.hair(), w.headwear(), w.glasses(), w.shoes(), w.bag()])
    return _sentence(first) + (f" {_sentence(f'{pronoun} has {rest}')}" if rest else "")


def _bag_first(w: _Writer, view: str) -> str:
    bag, head = w.bag(), _join([w.headwear(), w.hair(), w.glasses()])
    start = f"carrying {bag}, {w.subject()}" if bag else w.subject()
    worn = _join([w.upper(), w.lower(), w.shoes()]) or "street clothes"
    return _sentence(f"{start} {view} wears {worn}" + (f" and has {head}" if head else ""))


def _listing(w: _Writer, view: str) -> str:
    parts = [w.upper(), w.lower(), w.headwear(), w.hair(), w.shoes(), w.glasses(), w.bag()]
    order = w.rng.permutation(len(parts))
    listed = _join([parts[i] for i in order])
    place = f" {view}" if view else ""
    return _sentence(f"{w.one(('this is', 'the picture shows', 'we see'))} {w.subject()}{place} with {listed}")


_TEMPLATES = (_clothes_first, _head_first, _two_sentences, _bag_first, _listing)

_FRONT_ONLY_PATTERNS = ("plain", "logo")
_ENOUGH = {
    "hair": 0.006,
    "shoes": 0.0035,
    "lower": 0.02,
    "upper": 0.04,
    "bag": 0.006,
    "headwear": 0.006,
    "glasses": 0.0008,
}


_ENOUGH_LOGO = 0.006


def visible_attributes(look: Look, view: str, shares: Mapping[str, float]) -> Look:
    """What a view shows of a look; the rest is None.

    Args:
        look: all attributes.
        view: one of cameras.VIEWS.
        shares: part -> its visible pixels, as a share of the person's.
    """
    seen = dict(look)
    for part, least in _ENOUGH.items():
        absent = look.get(part if part in ("bag", "headwear", "glasses") else "") == "none"
        bare = (part == "hair" and look["hair_length"] == "bald" and look["headwear"] == "none") or (
            part == "lower" and look["lower_type"] == "bare legs"
        )
        if shares.get(part, 0.0) < least and not absent and not bare:
            for name in seen:
                if name.startswith(part):
                    seen[name] = None
    if view == "back":
        seen["glasses"] = None
    if look["upper_pattern"] == "logo" and shares.get("logo", 0.0) < _ENOUGH_LOGO:
        seen["upper_pattern"] = seen["upper_pattern_colour"] = None
    # From the back and the side a plain garment and one with a print on its chest look the same.
    if view != "front" and look["upper_pattern"] in _FRONT_ONLY_PATTERNS:
        seen["upper_pattern"] = seen["upper_pattern_colour"] = None
    return seen
