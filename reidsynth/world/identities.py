"""Who walks through the drawn world: attribute combinations, split regions, body shapes and materials.

The space of attribute combinations is cut into regions by a stable hash, one region per split, the same for every seed.
Identities of a split are drawn until they fall into its region, so a network trained on one split of any seed has never
seen a combination of another split of any seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np

from reidsynth.draws import sample_rng
from reidsynth.errors import UserError
from reidsynth.schema import ATTRIBUTE_FIELDS
from reidsynth.world import vocabulary as words

Look = dict[str, str | None]

# First byte of a combination's hash -> split. Half-open ranges over 0..255.
REGIONS: dict[str, tuple[int, int]] = {"pretrain": (0, 112), "train": (112, 176), "val": (176, 208), "test": (208, 256)}

_MUTATIONS: tuple[tuple[str, ...], ...] = (
    ("build",),
    ("hair_colour",),
    ("hair_length", "hair_colour"),
    ("headwear", "headwear_colour"),
    ("headwear_colour",),
    ("glasses",),
    ("upper_type",),
    ("upper_colour",),
    ("upper_pattern", "upper_pattern_colour"),
    ("upper_pattern_colour",),
    ("lower_type", "lower_colour"),
    ("lower_colour",),
    ("shoes_type", "shoes_colour"),
    ("shoes_colour",),
    ("bag", "bag_colour"),
    ("bag_colour",),
)
MAX_DIFFERENCES = 3
_MIN_CONTRAST = 55.0
_TRIES = 20000
# Only the latest people who are nobody's variant are varied: families stay small, however many people there are.
_FAMILY = 16


@dataclass(frozen=True, slots=True)
class Identity:
    """One person.

    Args:
        key: `seed/split/index`; body shape, materials and every small detail are drawn from it.
        attributes: values in the order of ATTRIBUTE_FIELDS; None where there is nothing to tell (the colour of no bag).
    """

    key: str
    attributes: tuple[str | None, ...]

    @property
    def look(self) -> Look:
        """Attributes by name."""
        return dict(zip(ATTRIBUTE_FIELDS, self.attributes, strict=True))

    def as_payload(self) -> dict[str, Any]:
        """JSON values from which `from_payload` restores the identity."""
        return {"key": self.key, "attributes": list(self.attributes)}

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> Identity:
        """Restore an identity from `as_payload`."""
        return cls(key=payload["key"], attributes=tuple(payload["attributes"]))


def region(attributes: tuple[str | None, ...]) -> str:
    """Split that an attribute combination belongs to, for every seed."""
    message = "\x1f".join(value or "" for value in attributes).encode()
    byte = hashlib.blake2b(message, digest_size=1, person=b"demo-world").digest()[0]
    return next(split for split, (start, stop) in REGIONS.items() if start <= byte < stop)


def differences(first: Identity, second: Identity) -> int:
    """Number of attributes in which two identities differ."""
    return sum(a != b for a, b in zip(first.attributes, second.attributes, strict=True))


def sample_identities(seed: int, split: str, *, hard: float = 0.5) -> Iterator[Identity]:
    """Yield identities of a split without end; a prefix does not depend on how many are taken.

    Args:
        seed: of the world.
        split: one of REGIONS.
        hard: share of identities that differ from an earlier one in at most three attributes.

    Raises:
        UserError: if the split is unknown.
    """
    if split not in REGIONS:
        raise UserError(f"the demo world has no split {split!r}: choose one of {', '.join(REGIONS)}.")
    originals: list[tuple[str | None, ...]] = []
    taken: set[tuple[str | None, ...]] = set()
    index = 0
    while True:
        key = f"{seed}/{split}/{index}"
        rng = sample_rng(seed, key, "identity")
        mutate = rng.random() < hard and bool(originals)
        attributes = _draw_new(rng, split, taken, originals[-_FAMILY:] if mutate else None)
        if not mutate:
            originals.append(attributes)
        taken.add(attributes)
        yield Identity(key, attributes)
        index += 1


def take_identities(seed: int, split: str, count: int, *, hard: float = 0.5) -> list[Identity]:
    """Return the first `count` identities of a split."""
    return list(islice(sample_identities(seed, split, hard=hard), count))


def _draw_new(
    rng: np.random.Generator,
    split: str,
    taken: set[tuple[str | None, ...]],
    parents: list[tuple[str | None, ...]] | None,
) -> tuple[str | None, ...]:
    for _ in range(_TRIES):
        attributes = _mutation(rng, parents[int(rng.integers(len(parents)))]) if parents else _fresh(rng)
        if attributes is not None and attributes not in taken and region(attributes) == split:
            return attributes
    raise RuntimeError(f"no new attribute combination for {split} after {_TRIES} tries")


def _as_tuple(look: Look) -> tuple[str | None, ...]:
    return tuple(look[name] for name in ATTRIBUTE_FIELDS)


def _fresh(rng: np.random.Generator) -> tuple[str | None, ...]:
    return _as_tuple(_random_look(rng.random(24).tolist()))


def _random_look(u: list[float]) -> Look:
    """Draw a consistent look from 24 uniform numbers."""
    gender = words.GENDER.pick(u[0])
    upper_type = words.UPPER_TYPE[gender].pick(u[1])
    look: Look = {"gender": gender, "upper_type": upper_type, "build": words.BUILD.pick(u[2])}
    look["hair_length"] = words.HAIR_LENGTH[gender].pick(u[3])
    look["hair_colour"] = None if look["hair_length"] == "bald" else words.HAIR_COLOUR.pick(u[4])
    look["glasses"] = words.GLASSES.pick(u[5])
    look["upper_colour"] = words.UPPER_COLOUR.pick(u[6])
    look.update(_random_pattern(upper_type, str(look["upper_colour"]), u[7:9]))
    headwear = words.HEADWEAR.pick(u[9])
    look["headwear"] = "none" if headwear == "hood" and upper_type not in words.OUTER_TYPES else headwear
    look["headwear_colour"] = {"none": None, "hood": look["upper_colour"]}.get(
        str(look["headwear"]), words.HEADWEAR_COLOUR.pick(u[10])
    )
    lower = words.LOWER_TYPE["dress" if upper_type == "dress" else gender].pick(u[11])
    look["lower_type"] = lower
    look["lower_colour"] = None if lower == "bare legs" else words.LOWER_COLOUR[lower].pick(u[12])
    look["shoes_type"] = words.SHOES_TYPE.pick(u[13])
    look["shoes_colour"] = words.SHOES_COLOUR[str(look["shoes_type"])].pick(u[14])
    look["bag"] = words.BAG[gender].pick(u[15])
    look["bag_colour"] = None if look["bag"] == "none" else words.BAG_COLOUR.pick(u[16])
    return look


def _random_pattern(upper_type: str, colour: str, u: list[float]) -> Look:
    outer = upper_type in ("jacket", "coat")
    pattern = (words.OUTER_PATTERN if outer else words.LIGHT_PATTERN).pick(u[0])
    if pattern == "plain":
        return {"upper_pattern": pattern, "upper_pattern_colour": None}
    second = words.Choice(
        **{
            name: 2.2 if name in words.NEUTRALS else 1.0
            for name in words.COLOURS
            if words.contrast(name, colour) >= _MIN_CONTRAST
        }
    )
    return {"upper_pattern": pattern, "upper_pattern_colour": second.pick(u[1])}


def _mutation(rng: np.random.Generator, parent: tuple[str | None, ...]) -> tuple[str | None, ...] | None:
    """Change one to three attributes of a parent; None where the result would be inconsistent."""
    other = dict(zip(ATTRIBUTE_FIELDS, _fresh(rng), strict=True))
    look = dict(zip(ATTRIBUTE_FIELDS, parent, strict=True))
    for which in rng.permutation(len(_MUTATIONS))[: int(rng.integers(1, 4))]:
        for name in _MUTATIONS[which]:
            look[name] = other[name]
    if look["headwear"] == "hood":
        look["headwear_colour"] = look["upper_colour"]
    attributes = _as_tuple(look)
    changed = sum(a != b for a, b in zip(attributes, parent, strict=True))
    return attributes if 1 <= changed <= MAX_DIFFERENCES and _consistent(look) else None


def _consistent(look: Look) -> bool:
    dress, lower = look["upper_type"] == "dress", str(look["lower_type"])
    pattern, second = look["upper_pattern"], look["upper_pattern_colour"]
    return (
        (look["hair_colour"] is None) == (look["hair_length"] == "bald")
        and (look["headwear_colour"] is None) == (look["headwear"] == "none")
        and (look["headwear"] != "hood" or look["upper_type"] in words.OUTER_TYPES)
        and (look["bag_colour"] is None) == (look["bag"] == "none")
        and (second is None) == (pattern == "plain")
        and (second is None or words.contrast(second, str(look["upper_colour"])) >= _MIN_CONTRAST)
        and (lower in ("bare legs", "leggings") if dress else lower != "bare legs")
        and (look["lower_colour"] is None) == (lower == "bare legs")
        and (lower == "bare legs" or look["lower_colour"] in words.LOWER_COLOUR[lower].values)
        and look["shoes_colour"] in words.SHOES_COLOUR[str(look["shoes_type"])].values
        and look["upper_type"] in words.UPPER_TYPE[str(look["gender"])].values
        and (dress or lower in words.LOWER_TYPE[str(look["gender"])].values)
        and look["hair_length"] in words.HAIR_LENGTH[str(look["gender"])].values
    )


@dataclass(frozen=True, slots=True)
class Body:
    """What an identity has besides attributes: shape, skin, materials, and the details of its clothes.

    Args:
        shoulder: half width at the shoulders, in body heights (so are the other lengths).
        chest: half width below the arms.
        waist: half width at the waist.
        hip: half width at the hips.
        belly: depth of the front, seen from the side.
        head: scale of the head.
        limb: scale of arm and leg thickness.
        skin: index into SKIN_TONES.
        materials: garment slot -> material.
        infrared: garment slot -> near-infrared reflectance, 0..1; `hair` and `skin` too.
        infrared_step: how the pattern's second colour differs in infrared (signed).
        period: of stripes, checks and dots, in body heights.
        texture_phase: where textures begin.
        logo: shape of a chest print.
        bag_side: -1 left, +1 right of the person.
        sleeve: 0..1, how far long sleeves are rolled up.
        hem: signed shift of hems, in body heights.
        tint: slot -> RGB shift of the garment's colour.
    """

    shoulder: float
    chest: float
    waist: float
    hip: float
    belly: float
    head: float
    limb: float
    skin: int
    materials: Mapping[str, str]
    infrared: Mapping[str, float]
    infrared_step: float
    period: float
    texture_phase: float
    logo: int
    bag_side: int
    sleeve: float
    hem: float
    tint: Mapping[str, tuple[float, float, float]]


_FRAME = {"male": (0.122, 0.098, 0.086, 0.084), "female": (0.104, 0.086, 0.070, 0.094)}
_BUILD_WIDTH = {"slim": (0.90, 0.84), "average": (1.0, 1.0), "heavy": (1.12, 1.34)}
SLOTS = ("upper", "lower", "shoes", "bag", "headwear")


@lru_cache(maxsize=512)
def body_of(key: str, gender: str, build: str, upper_type: str, lower_type: str) -> Body:
    """Draw the body and the materials of an identity; no colour goes in, so none can come out in infrared."""
    rng = sample_rng(0, key, "body")
    shoulder, chest, waist, hip = _FRAME[gender]
    broad, round_ = _BUILD_WIDTH[build]
    jitter = rng.uniform(0.95, 1.05, 6)
    kinds = {"upper": upper_type, "lower": lower_type, "shoes": "shoes", "bag": "bag", "headwear": "headwear"}
    materials = {slot: words.pick_even(words.MATERIALS_OF[kinds[slot]], rng.random()) for slot in SLOTS}
    infrared = {
        slot: float(np.clip(words.MATERIALS[materials[slot]][1] + rng.uniform(-0.06, 0.06), 0.1, 1.0)) for slot in SLOTS
    }
    infrared["hair"] = float(rng.uniform(0.22, 0.6))
    infrared["skin"] = float(rng.uniform(0.80, 0.9))
    step = float(rng.uniform(0.3, 0.5))
    return Body(
        shoulder=shoulder * broad * jitter[0],
        chest=chest * (broad + round_) / 2 * jitter[1],
        waist=waist * round_ * jitter[2],
        hip=hip * (broad + round_) / 2 * jitter[3],
        belly={"slim": 0.0, "average": 0.006, "heavy": 0.034}[build] * jitter[4],
        head=float(rng.uniform(0.96, 1.06)),
        limb=broad * float(jitter[5]) * (1.06 if gender == "male" else 0.94),
        skin=int(rng.integers(len(words.SKIN_TONES))),
        materials=materials,
        infrared=infrared,
        infrared_step=-step if infrared["upper"] > 0.55 else step,
        period=float(rng.uniform(0.052, 0.088)),
        texture_phase=float(rng.uniform(0, 1)),
        logo=int(rng.integers(6)),
        bag_side=1 if rng.random() < 0.5 else -1,
        sleeve=float(rng.uniform(0, 0.5)) if rng.random() < 0.4 else 0.0,
        hem=float(rng.uniform(-0.018, 0.022)),
        tint={slot: tuple(rng.normal(0, 5.0, 3).tolist()) for slot in SLOTS},
    )


def body(identity: Identity) -> Body:
    """Body and materials of an identity."""
    look = identity.look
    return body_of(
        identity.key,
        str(look["gender"]),
        str(look["build"]),
        str(look["upper_type"]),
        str(look["lower_type"]),
    )
