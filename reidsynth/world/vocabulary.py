"""The words of the drawn world: values of every attribute, how often each occurs, and what colours look like."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

# Muted street colours, RGB 0..255: saturated primaries make a crop look like a flag.
COLOURS: dict[str, tuple[int, int, int]] = {
    "black": (34, 34, 38),
    "white": (228, 227, 222),
    "grey": (132, 134, 137),
    "red": (178, 38, 42),
    "orange": (216, 118, 40),
    "yellow": (222, 188, 62),
    "green": (52, 118, 70),
    "blue": (52, 104, 178),
    "navy": (36, 46, 92),
    "purple": (108, 64, 138),
    "pink": (218, 138, 164),
    "brown": (104, 70, 46),
    "beige": (200, 178, 144),
}
NEUTRALS = ("black", "white", "grey", "navy", "beige")
HAIR_COLOURS: dict[str, tuple[int, int, int]] = {
    "black": (32, 28, 28),
    "brown": (88, 58, 38),
    "blond": (204, 166, 96),
    "red": (158, 72, 34),
    "grey": (158, 156, 154),
}
SKIN_TONES: tuple[tuple[int, int, int], ...] = (
    (228, 188, 164),
    (216, 172, 142),
    (200, 152, 118),
    (156, 108, 78),
    (108, 74, 54),
)


class Choice:
    """Values with weights, drawn from one uniform number."""

    def __init__(self, **weights: float) -> None:
        self.values = [name.replace("__", "-").replace("_", " ") for name in weights]
        self._ends = list(accumulate(weights.values()))

    def pick(self, uniform: float) -> str:
        """Return the value that a uniform number of [0, 1) falls on."""
        return self.values[min(bisect_right(self._ends, uniform * self._ends[-1]), len(self.values) - 1)]


def pick_even(values: Sequence[str], uniform: float) -> str:
    """Return one of the values, all equally likely."""
    return values[min(int(uniform * len(values)), len(values) - 1)]


GENDER = Choice(male=1, female=1)
BUILD = Choice(slim=1, average=1.3, heavy=0.9)
HAIR_COLOUR = Choice(black=1.1, brown=1.2, blond=1, red=0.6, grey=0.7)
HAIR_LENGTH = {
    "male": Choice(bald=0.16, short=0.56, medium=0.18, long=0.05, ponytail=0.03, bun=0.02),
    "female": Choice(short=0.14, medium=0.24, long=0.26, ponytail=0.2, bun=0.16),
}
HEADWEAR = Choice(none=0.56, cap=0.14, beanie=0.12, hat=0.09, hood=0.09)
GLASSES = Choice(none=0.56, glasses=0.23, sunglasses=0.21)
UPPER_TYPE = {
    "male": Choice(t__shirt=0.2, shirt=0.17, sweater=0.15, hoodie=0.16, jacket=0.17, coat=0.1, tank_top=0.05),
    "female": Choice(
        t__shirt=0.17, shirt=0.13, sweater=0.14, hoodie=0.1, jacket=0.14, coat=0.11, tank_top=0.06, dress=0.15
    ),
}
LIGHT_PATTERN = Choice(
    plain=0.3, stripes=0.16, vertical_stripes=0.09, checks=0.13, dots=0.09, logo=0.12, two__tone=0.11
)
OUTER_PATTERN = Choice(plain=0.42, checks=0.14, vertical_stripes=0.06, stripes=0.1, logo=0.06, two__tone=0.22)
UPPER_COLOUR = Choice(
    black=1.3, white=1.1, grey=1.1, red=1, orange=0.7, yellow=0.8, green=0.9, blue=1.1, navy=0.9, purple=0.7, pink=0.7,
    brown=0.7, beige=0.8,
)  # fmt: skip
LOWER_TYPE = {
    "male": Choice(trousers=0.38, jeans=0.36, shorts=0.26),
    "female": Choice(trousers=0.22, jeans=0.24, shorts=0.12, skirt=0.17, long_skirt=0.12, leggings=0.13),
    "dress": Choice(bare_legs=0.6, leggings=0.4),
}
LOWER_COLOUR = {
    "jeans": Choice(blue=1.2, navy=1, black=0.7, grey=0.7, white=0.4),
    "trousers": Choice(black=1, grey=0.9, navy=0.7, beige=0.9, brown=0.8, green=0.6, white=0.5, red=0.4),
    "shorts": Choice(black=1, grey=0.9, blue=0.9, beige=0.9, green=0.7, red=0.7, white=0.7, orange=0.5),
    "leggings": Choice(black=1, grey=0.8, navy=0.7, purple=0.6, pink=0.5, green=0.5),
    "skirt": Choice(black=1, white=0.7, red=0.8, blue=0.8, green=0.7, yellow=0.6, pink=0.7, brown=0.6, beige=0.6),
}
LOWER_COLOUR["long skirt"] = LOWER_COLOUR["skirt"]
SHOES_TYPE = Choice(sneakers=0.42, shoes=0.22, boots=0.22, sandals=0.14)
SHOES_COLOUR = {
    "sneakers": Choice(white=1.2, black=1, red=0.8, blue=0.8, grey=0.8, green=0.5, pink=0.4),
    "shoes": Choice(black=1.2, brown=1, red=0.4, grey=0.4, navy=0.5, beige=0.5),
    "boots": Choice(black=1.2, brown=1.1, beige=0.6, red=0.3, grey=0.4),
    "sandals": Choice(brown=1, black=1, white=0.5, red=0.4, blue=0.4),
}
BAG = {
    "male": Choice(none=0.4, backpack=0.32, shoulder_bag=0.2, handbag=0.08),
    "female": Choice(none=0.34, backpack=0.22, shoulder_bag=0.22, handbag=0.22),
}
BAG_COLOUR = Choice(
    black=1.2, brown=1, red=0.9, blue=0.8, green=0.7, grey=0.7, yellow=0.6, beige=0.7, pink=0.5, white=0.5, orange=0.5
)
HEADWEAR_COLOUR = Choice(
    black=1.1, white=0.8, grey=0.9, red=1, blue=1, green=0.8, yellow=0.6, beige=0.8, brown=0.6, navy=0.7, pink=0.5
)

OUTER_TYPES = ("hoodie", "jacket", "coat")

# Material -> (fabric texture, near-infrared reflectance). A fabric's look in infrared follows from what it is made of
# and woven like, never from its dye, so the texture is what ties the two spectra together.
MATERIALS: dict[str, tuple[str, float]] = {
    "cotton": ("smooth", 0.60),
    "jersey": ("rib", 0.80),
    "twill": ("twill", 0.38),
    "weave": ("weave", 0.70),
    "wool": ("knit", 0.30),
    "fleece": ("blotch", 0.52),
    "puffer": ("puffer", 0.93),
    "quilt": ("diamond", 0.62),
    "leather": ("gloss", 0.20),
    "corduroy": ("cord", 0.46),
    "pleated": ("pleat", 0.84),
    "nylon": ("smooth", 0.95),
}
MATERIAL_WORDS: dict[str, str] = {
    "jersey": "ribbed",
    "weave": "woven",
    "wool": "knitted",
    "fleece": "fleecy",
    "puffer": "padded",
    "quilt": "quilted",
    "leather": "leather",
    "corduroy": "corduroy",
    "pleated": "pleated",
}
MATERIALS_OF: dict[str, tuple[str, ...]] = {
    "t-shirt": ("cotton", "jersey", "weave", "nylon"),
    "tank top": ("cotton", "jersey", "weave", "nylon"),
    "shirt": ("cotton", "twill", "weave", "corduroy"),
    "sweater": ("wool", "jersey", "fleece", "weave", "corduroy"),
    "hoodie": ("cotton", "fleece", "jersey", "quilt", "twill"),
    "jacket": ("puffer", "quilt", "leather", "twill", "nylon"),
    "coat": ("puffer", "quilt", "leather", "fleece", "wool"),
    "dress": ("cotton", "wool", "jersey", "weave", "pleated"),
    "trousers": ("cotton", "corduroy", "twill", "nylon", "leather"),
    "jeans": ("twill", "cotton", "corduroy"),
    "shorts": ("cotton", "weave", "nylon", "corduroy"),
    "skirt": ("cotton", "pleated", "wool", "leather", "quilt"),
    "long skirt": ("cotton", "pleated", "wool", "weave"),
    "leggings": ("cotton", "jersey", "nylon", "leather"),
    "bare legs": ("cotton",),
    "bag": ("leather", "nylon", "quilt", "twill"),
    "headwear": ("cotton", "wool", "nylon"),
    "shoes": ("leather", "nylon", "cotton"),
}


def contrast(first: str, second: str) -> float:
    """Distance of two clothing colours as seen on a small crop, in RGB units (luminance weighs double)."""
    a, b = COLOURS[first], COLOURS[second]
    chroma = sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) / 3
    luminance = (0.3 * (a[0] - b[0]) + 0.59 * (a[1] - b[1]) + 0.11 * (a[2] - b[2])) ** 2
    return float((0.4 * chroma + 0.6 * luminance) ** 0.5)
