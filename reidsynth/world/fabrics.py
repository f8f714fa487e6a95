"""Patterns and fabric textures in garment coordinates; the colour image and the infrared image share them."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np

from reidsynth.world.figure import Surface
from reidsynth.world.identities import Body, Look
from reidsynth.world.raster import Pixels
from reidsynth.world.vocabulary import MATERIALS

_NOISE = 256


@lru_cache(maxsize=8)
def noise_tile(smooth: float, seed: int = 7) -> np.ndarray:
    """Tile of smooth noise, (256, 256) float32 of mean 0 and standard deviation 1, seamless."""
    raw = np.random.default_rng(seed).standard_normal((_NOISE, _NOISE)).astype(np.float32)
    if smooth > 0:
        pad = int(4 * smooth) + 1
        raw = cv2.GaussianBlur(np.pad(raw, pad, mode="wrap"), (0, 0), smooth)[pad:-pad, pad:-pad]
    return np.asarray((raw - raw.mean()) / raw.std(), dtype=np.float32)


def _noise(u: np.ndarray, v: np.ndarray, grain: float, smooth: float = 4.0) -> np.ndarray:
    """Noise at garment coordinates whose grains are about `grain` body heights wide."""
    scale = 2.4 * smooth / grain
    tile = noise_tile(smooth)
    return np.asarray(tile[(v * scale).astype(np.int32) & (_NOISE - 1), (u * scale).astype(np.int32) & (_NOISE - 1)])


def _part(x: np.ndarray) -> np.ndarray:
    """Fractional part."""
    return np.asarray(x - np.floor(x))


def _ridge(x: np.ndarray) -> np.ndarray:
    """Triangle wave of period 1: 1 on the ridge, -1 in the seam at whole numbers."""
    return 1 - 4 * np.abs(_part(x) - 0.5)


Texture = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
_TAU = np.float32(2 * np.pi)
_TEXTURES: dict[str, Texture] = {
    "rib": lambda u, v, a: np.sin(u * (_TAU / 0.036)),
    "cord": lambda u, v, a: np.clip(1.6 * np.sin(u * (_TAU / 0.060)), -1, 1),
    "pleat": lambda u, v, a: 1 - 2 * _part(u / 0.064 + 0.1),
    "twill": lambda u, v, a: 0.8 * np.sin((u + v) * (_TAU / 0.044)),
    "weave": lambda u, v, a: 0.8 * np.sign(np.sin(u * (_TAU / 0.052)) * np.sin(v * (_TAU / 0.052))),
    "knit": lambda u, v, a: np.sin((v + 0.022 * _ridge(u / 0.066)) * (_TAU / 0.046)),
    "blotch": lambda u, v, a: np.clip(0.8 * _noise(u, v, 0.032), -1, 1),
    "puffer": lambda u, v, a: np.sin(_part(v / 0.074) * np.float32(np.pi)) * 2.1 - 1.35,
    "diamond": lambda u, v, a: np.clip(
        1.5 * np.minimum(_ridge((u + v) / 0.098), _ridge((u - v) / 0.098)) + 0.75, -1, 1
    ),
    "gloss": lambda u, v, a: 2.2 * np.exp(-(((a - 0.3 + 0.25 * np.sin(v * 32)) / 0.22) ** 2)) - 0.55,
}


def texture(kind: str, u: np.ndarray, v: np.ndarray, across: np.ndarray) -> np.ndarray | None:
    """Relief of a fabric texture, about -1..1; None for a smooth fabric."""
    made = _TEXTURES.get(kind)
    return None if made is None else made(u, v, across)


def _checks(u: np.ndarray, v: np.ndarray, period: float) -> np.ndarray:
    return 0.5 * (_part(u / period + 0.25) < 0.5) + 0.5 * (_part(v / period) < 0.5)


def _dots(u: np.ndarray, v: np.ndarray, period: float) -> np.ndarray:
    step = max(period, 0.066)
    row = np.floor(v / step)
    du = _part(u / step + 0.5 * (row % 2)) - 0.5
    dv = _part(v / step) - 0.5
    return np.asarray(du * du + dv * dv < 0.090)


_PATTERNS: dict[str, Callable[[np.ndarray, np.ndarray, float], np.ndarray]] = {
    "stripes": lambda u, v, period: _part(v / period) < 0.48,
    "vertical stripes": lambda u, v, period: _part(u / (period * 0.9) + 0.25) < 0.46,
    "checks": lambda u, v, period: _checks(u, v, period * 1.05),
    "dots": _dots,
    "two-tone": lambda u, v, period: v > 0.165,
}


def pattern_field(pixels: Pixels, look: Look, body: Body) -> np.ndarray:
    """Share of the second colour at every pixel, 0..1: the upper garment's pattern, and prints."""
    field = np.zeros(len(pixels.index), dtype=np.float32)
    field[pixels.surface == Surface.SECOND] = 1.0
    made = _PATTERNS.get(str(look["upper_pattern"]))
    if made is not None:
        at = np.flatnonzero(pixels.surface == Surface.UPPER)
        field[at] = made(pixels.u[at], pixels.v[at], body.period)
    return field


SLOT_SURFACES: dict[str, tuple[Surface, ...]] = {
    "upper": (Surface.UPPER, Surface.HOOD, Surface.SECOND),
    "lower": (Surface.LOWER,),
    "shoes": (Surface.SHOES,),
    "bag": (Surface.BAG,),
    "headwear": (Surface.HEADWEAR,),
}
CLOTH = (Surface.UPPER, Surface.HOOD, Surface.LOWER, Surface.BAG)
_TEXTURED = ("upper", "lower", "bag")


def is_any(surface: np.ndarray, wanted: tuple[Surface, ...]) -> np.ndarray:
    """Whether each pixel is of one of some surfaces."""
    table = np.zeros(len(Surface), dtype=bool)
    table[list(wanted)] = True
    return np.asarray(table[surface])


def texture_field(pixels: Pixels, body: Body) -> np.ndarray:
    """Relief of the fabrics at every pixel, about -1..1; 0 where smooth."""
    field = np.zeros(len(pixels.index), dtype=np.float32)
    for slot in _TEXTURED:
        kind = MATERIALS[body.materials[slot]][0]
        if kind == "smooth":
            continue
        at = np.flatnonzero(is_any(pixels.surface, SLOT_SURFACES[slot]))
        relief = texture(kind, pixels.u[at] + 0.01 * body.texture_phase, pixels.v[at], pixels.across[at])
        if relief is not None:
            field[at] = relief
    return field


def fold_field(pixels: Pixels, offset: tuple[float, float]) -> np.ndarray:
    """Soft folds of cloth, mean 0 and standard deviation 1, of one capture."""
    return _noise(pixels.u * 0.8 + pixels.v * 0.35 + offset[0], pixels.v * 0.55 + offset[1], 0.11, 6.0)
