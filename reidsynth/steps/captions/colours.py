"""What clothes can be told from a photograph and its mask alone: the colours of the upper and the lower body."""

from __future__ import annotations

from functools import cache

import numpy as np

# Name -> examples in sRGB. Several examples make a name cover what light does to it; the nearest example in CIELAB
# (lightness counting less than hue) names a pixel.
_EXAMPLES: dict[str, tuple[tuple[int, int, int], ...]] = {
    "black": ((18, 18, 20), (40, 40, 42), (32, 26, 24)),
    "grey": ((85, 85, 88), (125, 125, 128), (165, 166, 168)),
    "white": ((208, 208, 206), (240, 240, 240), (225, 222, 214)),
    "red": ((180, 35, 40), (120, 25, 30), (215, 60, 55), (128, 52, 52)),
    "orange": ((220, 115, 40), (235, 150, 70)),
    "yellow": ((225, 195, 60), (190, 170, 50), (245, 225, 110)),
    "green": ((60, 130, 60), (35, 75, 40), (110, 170, 70), (60, 140, 110), (95, 122, 90)),
    "teal": ((35, 110, 115), (60, 100, 105), (20, 140, 140)),
    "blue": ((50, 95, 180), (90, 140, 205), (40, 60, 200), (75, 105, 150)),
    "navy": ((28, 38, 85), (45, 52, 85)),
    "purple": ((105, 60, 140), (70, 40, 90), (150, 110, 185), (128, 112, 160)),
    "pink": ((220, 135, 165), (235, 170, 185), (205, 80, 140), (178, 138, 155)),
    "brown": ((100, 68, 45), (70, 45, 32), (130, 90, 60)),
    "beige": ((200, 178, 145), (170, 150, 120), (220, 205, 180)),
}
_NAMES = tuple(name for name, examples in _EXAMPLES.items() for _ in examples)
_LIGHTNESS_WEIGHT = 0.7
# Bands of the person's height, and the share of its width (about the middle) where clothes outweigh arms and errors.
_BANDS = {"upper_colour": (0.22, 0.46), "lower_colour": (0.54, 0.78)}
_CORE = 0.6
_FEWEST_PIXELS = 12
_SECOND_SHARE = 0.3


def clothing_colours(photo: np.ndarray, mask: np.ndarray) -> dict[str, tuple[str, ...]]:
    """Name the colours of the upper and the lower body.

    Each pixel of a band of the masked person votes for a name; the most frequent one is the colour, and a second one
    is told where it takes at least 30 %.

    Args:
        photo: uint8 (H, W, 3) RGB.
        mask: uint8 (H, W), above 127 where the person is.

    Returns:
        `upper_colour` and `lower_colour` -> one or two names; a band with too few pixels is left out.
    """
    person = mask > 127
    rows = np.flatnonzero(person.any(axis=1))
    if not len(rows):
        return {}
    top, tall = int(rows[0]), int(rows[-1]) - int(rows[0]) + 1
    found = {}
    for name, (first, last) in _BANDS.items():
        band = slice(top + round(first * tall), top + round(last * tall))
        pixels = photo[band][_core(person[band])]
        if len(pixels) >= _FEWEST_PIXELS:
            found[name] = named_colours(pixels)
    return found


def _core(person: np.ndarray) -> np.ndarray:
    """The middle of the person in each row."""
    columns = np.arange(person.shape[1])
    counts = person.sum(axis=1, keepdims=True)
    middle = (person * columns).sum(axis=1, keepdims=True) / np.maximum(counts, 1)
    inside: np.ndarray = person & (np.abs(columns - middle) <= np.maximum(counts * _CORE / 2, 1.0))
    return inside


def named_colours(pixels: np.ndarray) -> tuple[str, ...]:
    """One or two names for pixels.

    Args:
        pixels: uint8 (N, 3) RGB, at least one.
    """
    lab, examples = _lab(pixels), _examples()
    distances = np.zeros((len(lab), len(examples)), dtype=np.float32)
    for channel in range(3):
        distances += (lab[:, channel, None] - examples[None, :, channel]) ** 2
    votes: dict[str, int] = {}
    for index, count in enumerate(np.bincount(distances.argmin(axis=1), minlength=len(_NAMES))):
        votes[_NAMES[index]] = votes.get(_NAMES[index], 0) + int(count)
    ranked = sorted(votes, key=lambda name: (-votes[name], name))
    second = votes[ranked[1]] >= _SECOND_SHARE * len(pixels)
    return tuple(ranked[:2]) if second else (ranked[0],)


@cache
def _examples() -> np.ndarray:
    return _lab(np.array([rgb for group in _EXAMPLES.values() for rgb in group], dtype=np.uint8))


def _lab(pixels: np.ndarray) -> np.ndarray:
    import cv2

    lab: np.ndarray = cv2.cvtColor(pixels.reshape(1, -1, 3).astype(np.float32) / 255.0, cv2.COLOR_RGB2LAB)[0]
    lab[:, 0] *= _LIGHTNESS_WEIGHT
    return lab
