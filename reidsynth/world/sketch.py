"""The hand-drawn sketch of a capture: jittered strokes, one of a dozen artists, hatching for dark cloth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from reidsynth.draws import sample_rng
from reidsynth.world.colour import Fields
from reidsynth.world.fabrics import is_any, noise_tile
from reidsynth.world.figure import Figure, Mark, Surface
from reidsynth.world.raster import Canvas, Frame, Pixels, fixed

ARTISTS = 12


@dataclass(frozen=True, slots=True)
class Artist:
    """How somebody draws.

    Args:
        weight: stroke width in pixels of a 128-pixel-high sketch.
        pressure: how much weight and darkness change along a line.
        grey: of the pencil, 0 black.
        wobble: how far lines stray, in pixels of a 128-pixel-high sketch.
        overshoot: how far strokes run past their end.
        repeats: how many strokes follow each line.
        hatch: distance of hatching lines in pixels of a 128-pixel-high sketch.
        angle: of the hatching, radians.
        texture: how strongly fabrics are hinted at, 0..1.
    """

    weight: float
    pressure: float
    grey: int
    wobble: float
    overshoot: float
    repeats: int
    hatch: float
    angle: float
    texture: float


@lru_cache(maxsize=64)
def artist(seed: int, index: int) -> Artist:
    """Return an artist of a world."""
    rng = sample_rng(seed, f"artist/{index}", "artist")
    return Artist(
        weight=float(rng.uniform(0.55, 1.05)),
        pressure=float(rng.uniform(0.1, 0.5)),
        grey=int(rng.integers(15, 75)),
        wobble=float(rng.uniform(0.15, 0.6)),
        overshoot=float(rng.uniform(0.0, 0.9)),
        repeats=1 + int(rng.random() < 0.35),
        hatch=float(rng.uniform(2.4, 3.4)),
        angle=float(rng.uniform(0.5, 1.1) * (1 if rng.random() < 0.7 else -1)),
        texture=float(rng.uniform(0.45, 1.0)),
    )


class _Pencil:
    """Draws lines on a supersampled sheet."""

    def __init__(self, sheet: np.ndarray, frame: Frame, style: Artist, rng: np.random.Generator) -> None:
        self.sheet, self.frame, self.style = sheet, frame, style
        self.unit = frame.height / 128
        smooth = rng.standard_normal((1024, 2)).astype(np.float32)
        for _ in range(2):
            smooth = (np.roll(smooth, 1, 0) + smooth + np.roll(smooth, -1, 0)) * 0.5
        self._jitter = smooth * (style.wobble * self.unit * 0.5)
        self._cuts = rng.integers(7, 15, 256).tolist()
        self._press = rng.uniform(-1, 1, 256).tolist()
        self._at = int(rng.integers(0, 256))

    def line(self, pixels: np.ndarray, *, weight: float = 1.0, closed: bool = False) -> None:
        """Follow a line once or more, in strokes."""
        if closed:
            pixels = np.concatenate([pixels, pixels[:2]])
        for _ in range(self.style.repeats):
            self._at += 1
            start = (self._at * 61) % (1024 - len(pixels))
            self._strokes(pixels + self._jitter[start : start + len(pixels)], weight)

    def _strokes(self, pixels: np.ndarray, weight: float) -> None:
        start = 0
        while start < len(pixels) - 1:
            self._at += 1
            stop = start + self._cuts[self._at % 256]
            press = self._press[self._at % 256] * self.style.pressure
            part = pixels[start : stop + 1]
            if len(part) > 2 and self.style.overshoot > 0.3:
                step = part[-1] - part[-2]
                part = np.concatenate([part, part[-1:] + step * (self.style.overshoot * 0.5)])
            thick = max(1, round(self.style.weight * weight * self.unit * (1 + press)))
            grey = int(np.clip(self.style.grey - 60 * press, 0, 130))
            cv2.polylines(self.sheet, [fixed(part)], False, grey, thick, cv2.LINE_AA, 4)
            start = stop


def draw_sketch(
    figure: Figure,
    canvas: Canvas,
    pixels: Pixels,
    fields: Fields,
    tones: np.ndarray,
    style: Artist,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return the supersampled sketch, uint8, black on white.

    Args:
        figure: shapes and marks, back to front.
        canvas: their label map.
        pixels: the person's pixels.
        fields: pattern, texture and folds at those pixels.
        tones: brightness 0..255 that the artist sees at those pixels, without light and shade.
        style: of the artist.
        rng: of this sketch.
    """
    sheet = np.full(canvas.labels.shape, 255, dtype=np.uint8)
    pencil = _Pencil(sheet, canvas.frame, style, rng)
    for item, placed in zip(figure.items, canvas.placed, strict=True):
        if isinstance(item, Mark):
            if item.sketched:
                pencil.line(placed, weight=0.45 + 0.35 * abs(item.dark))
            continue
        cv2.fillPoly(sheet, [fixed(placed)], 255, cv2.LINE_8, 4)
        if item.stroke > 0:
            kept = placed[: len(placed) - item.open] if item.open else placed
            pencil.line(kept, weight=item.stroke, closed=not item.open)
    _shade(sheet, canvas, pixels, fields, tones, style)
    return sheet


def _shade(sheet: np.ndarray, canvas: Canvas, pixels: Pixels, fields: Fields, tones: np.ndarray, style: Artist) -> None:
    """Hatch dark areas, draw the pattern's edges and hint at fabrics."""
    unit = canvas.frame.height / 128
    pattern, relief, _ = fields
    x = (pixels.index % canvas.frame.width).astype(np.float32) / unit
    y = (pixels.index // canvas.frame.width).astype(np.float32) / unit
    stray = noise_tile(6.0)[y.astype(np.int32) & 255, x.astype(np.int32) & 255] * style.wobble * 0.8
    c, s = np.float32(np.cos(style.angle)), np.float32(np.sin(style.angle))
    along = (x * c + y * s + stray) / style.hatch
    across = (x * s - y * c + stray) / (style.hatch * 1.1)
    first = along - np.floor(along) < 0.25
    second = across - np.floor(across) < 0.24
    level = np.where(tones < 62, 3, np.where(tones < 108, 2, np.where(tones < 150, 1, 0)))
    level = np.where(is_any(pixels.surface, (Surface.SKIN, Surface.SOLE, Surface.LENS)), 0, level)
    grey = np.full(len(pixels.index), 255, dtype=np.int32)
    grey = np.where((level == 1) & first & second, 150, grey)
    grey = np.where((level >= 2) & first, 120, grey)
    grey = np.where((level == 3) & second, 90, grey)
    grey = np.where(pixels.surface == Surface.FRAME, 30, grey)
    grey = np.where(relief < -0.45, np.minimum(grey, int(232 - 88 * style.texture)), grey)
    flat = sheet.ravel()
    flat[pixels.index] = np.minimum(flat[pixels.index], grey.astype(np.uint8))
    if pattern.any():
        plane = np.zeros(sheet.size, dtype=np.uint8)
        plane[pixels.index] = (pattern * 100).astype(np.uint8) + 60
        edges = cv2.morphologyEx(plane.reshape(sheet.shape), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)).ravel()
        edge = edges[pixels.index] * (pixels.surface == Surface.UPPER)
        hit = pixels.index[(edge > 30) & (edge < 120)]
        flat[hit] = np.minimum(flat[hit], style.grey + 40)


def finish(sheet: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scan a supersampled sketch at its final size."""
    return np.asarray(cv2.resize(sheet, (width, height), interpolation=cv2.INTER_AREA))
