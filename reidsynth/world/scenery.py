"""Streets behind the people: one wide view per camera, in colour and infrared, of which every capture shows a part."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from reidsynth.draws import sample_rng
from reidsynth.world.cameras import Camera, Shot, camera
from reidsynth.world.fabrics import noise_tile

Colour = tuple[float, float, float]
_WIDE = 5  # a camera's view is this many crops wide
_WALLS: tuple[Colour, ...] = (
    (150, 128, 112),
    (172, 166, 156),
    (134, 138, 142),
    (158, 108, 88),
    (188, 178, 158),
    (116, 122, 124),
)
_GROUNDS: tuple[Colour, ...] = ((138, 136, 132), (112, 113, 116), (160, 154, 144), (126, 122, 116))
_GREENS: tuple[Colour, ...] = ((84, 106, 66), (98, 116, 78), (70, 92, 62))
_DULL: tuple[Colour, ...] = (
    (70, 76, 88),
    (112, 56, 52),
    (176, 176, 176),
    (60, 62, 64),
    (88, 104, 128),
    (146, 140, 128),
)


class _View:
    """Paints the same things in colour and in infrared."""

    def __init__(self, height: int, width: int, rng: np.random.Generator) -> None:
        self.rgb = np.zeros((height, width, 3), dtype=np.float32)
        self.ir = np.zeros((height, width), dtype=np.float32)
        self.height, self.width, self.rng = height, width, rng

    def rect(self, x0: float, y0: float, x1: float, y1: float, colour: Colour, infrared: float) -> None:
        """Fill a rectangle; x in crop heights from the left, y as share of the height."""
        a = (round(x0 * self.height), round(y0 * self.height))
        b = (max(round(x1 * self.height), a[0] + 1) - 1, max(round(y1 * self.height), a[1] + 1) - 1)
        cv2.rectangle(self.rgb, a, b, colour, -1)
        cv2.rectangle(self.ir, a, b, infrared, -1)

    def polygon(self, points: list[tuple[float, float]], colour: Colour, infrared: float) -> None:
        """Fill a polygon in the same coordinates."""
        pixels = [np.round(np.asarray(points) * self.height * 16).astype(np.int32)]
        cv2.fillPoly(self.rgb, pixels, colour, cv2.LINE_8, 4)
        cv2.fillPoly(self.ir, pixels, infrared, cv2.LINE_8, 4)

    def disc(self, x: float, y: float, r: float, colour: Colour, infrared: float) -> None:
        """Fill a disc in the same coordinates."""
        centre = (round(x * self.height), round(y * self.height))
        cv2.circle(self.rgb, centre, max(1, round(r * self.height)), colour, -1)
        cv2.circle(self.ir, centre, max(1, round(r * self.height)), infrared, -1)

    def pick(self, options: tuple[Colour, ...], spread: float = 8.0) -> Colour:
        """One of some colours, a little shifted."""
        base = options[int(self.rng.integers(len(options)))]
        shift = self.rng.normal(0, spread)
        return (base[0] + shift, base[1] + shift, base[2] + shift)


def _steps(rng: np.random.Generator, end: float, low: float, high: float) -> list[float]:
    places, x = [], float(rng.uniform(0, low))
    while x < end:
        places.append(x)
        x += float(rng.uniform(low, high))
    return places


def _facade(view: _View, horizon: float, end: float) -> None:
    rng = view.rng
    view.rect(0, 0, end, horizon, view.pick(_WALLS), 70)
    for x in _steps(rng, end, 0.32, 0.48):
        frame, glass = view.pick(_DULL), (96 + rng.normal(0, 10), 112 + rng.normal(0, 8), 124 + rng.normal(0, 8))
        if rng.random() < 0.25:
            view.rect(x, horizon * 0.30, x + 0.17, horizon, frame, 44)
            view.rect(x + 0.02, horizon * 0.36, x + 0.15, horizon * 0.62, glass, 26)
            continue
        view.rect(x, horizon * 0.18, x + 0.21, horizon * 0.68, frame, 60)
        view.rect(x + 0.015, horizon * 0.22, x + 0.195, horizon * 0.64, glass, 24)
        view.rect(x + 0.100, horizon * 0.22, x + 0.110, horizon * 0.64, frame, 60)
    view.rect(0, horizon * 0.93, end, horizon, view.pick(_GROUNDS, 14), 54)


def _shops(view: _View, horizon: float, end: float) -> None:
    rng = view.rng
    view.rect(0, 0, end, horizon, view.pick(_WALLS), 66)
    for x in _steps(rng, end, 0.60, 0.80):
        sign = view.pick(_DULL)
        view.rect(x, horizon * 0.06, x + 0.54, horizon * 0.24, sign, 52)
        view.rect(x + 0.03, horizon * 0.30, x + 0.51, horizon * 0.95, (150 + rng.normal(0, 12), 150, 140), 36)
        for k in range(4):
            tall = horizon * float(rng.uniform(0.45, 0.75))
            view.rect(x + 0.05 + 0.115 * k, tall, x + 0.14 + 0.115 * k, horizon * 0.93, view.pick(_WALLS, 20), 48)
        view.rect(x + 0.265, horizon * 0.30, x + 0.277, horizon * 0.95, sign, 58)


def _park(view: _View, horizon: float, end: float) -> None:
    rng = view.rng
    view.rect(0, 0, end, horizon, (196 + rng.normal(0, 8), 204, 208), 14)
    # Leaves reflect near infrared strongly: a hedge is the brightest thing behind a person at night.
    for x in _steps(rng, end, 0.10, 0.22):
        view.disc(
            x, horizon * float(rng.uniform(0.30, 0.75)), float(rng.uniform(0.08, 0.17)), view.pick(_GREENS, 12), 82
        )
    for x in _steps(rng, end, 0.35, 0.7):
        view.rect(x, horizon * 0.2, x + 0.03, horizon, (86, 74, 62), 50)
    view.rect(0, horizon * 0.86, end, horizon, view.pick(_GREENS), 90)


def _railings(view: _View, horizon: float, end: float) -> None:
    view.rect(0, 0, end, horizon, (178, 184, 186), 16)
    view.rect(0, horizon * 0.30, end, horizon, view.pick(_WALLS), 48)
    rail = view.pick(_DULL[3:5])
    for x in np.arange(0, end, 0.055):
        view.rect(float(x), horizon * 0.55, float(x) + 0.011, horizon, rail, 62)
    view.rect(0, horizon * 0.53, end, horizon * 0.57, rail, 62)


def _bricks(view: _View, horizon: float, end: float) -> None:
    rng = view.rng
    view.rect(0, 0, end, horizon, view.pick(((150, 98, 80), (166, 140, 120), (142, 132, 124))), 60)
    for row, y in enumerate(np.arange(0, horizon, 0.042)):
        for x in np.arange(-0.05 * (row % 2), end, 0.1):
            if rng.random() < 0.45:
                tone = view.rng.normal(0, 9)
                view.rect(
                    max(0.0, float(x)),
                    float(y),
                    float(x) + 0.092,
                    float(y) + 0.034,
                    (148 + tone, 104 + tone, 86 + tone),
                    60 + tone,
                )
    for x in _steps(rng, end, 0.8, 1.4):
        view.rect(x, horizon * 0.25, x + 0.16, horizon * 0.75, view.pick(_WALLS, 20), 68)


def _car(view: _View, x: float, ground: float, colour: Colour) -> None:
    long, tall = 0.62, 0.13
    view.polygon(
        [(x + 0.10, ground - tall), (x + 0.18, ground - 0.22), (x + 0.42, ground - 0.22), (x + 0.52, ground - tall)],
        (62, 70, 78),
        26,
    )
    view.rect(x, ground - tall, x + long, ground - 0.03, colour, 58)
    for wheel in (0.12, 0.50):
        view.disc(x + wheel, ground - 0.03, 0.045, (38, 38, 40), 22)


_SCENES = (_facade, _shops, _park, _railings, _bricks, _facade)


@lru_cache(maxsize=48)
def _panorama(seed: int, index: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Wide view of a camera: colour (H, 5 W, 3) and infrared (H, 5 W), float32."""
    rng = sample_rng(seed, f"camera/{index}", "scenery")
    horizon = camera(seed, index).horizon
    view = _View(height, width * _WIDE, rng)
    end = width * _WIDE / height
    view.rect(0, horizon, end, 1.0, view.pick(_GROUNDS), 58)
    _SCENES[int(rng.integers(len(_SCENES)))](view, horizon, end)
    if rng.random() < 0.35:
        for x in _steps(rng, end, 0.9, 1.6):
            _car(view, x, horizon + 0.05, view.pick(_DULL))
    _paving(view, horizon, end)
    _grain(view, horizon)
    return view.rgb, view.ir


def _paving(view: _View, horizon: float, end: float) -> None:
    rng = view.rng
    if rng.random() < 0.6:
        view.rect(0, horizon, end, horizon + 0.022, (184, 180, 172), 74)
    base = view.rgb[-2, 2].tolist()
    line: Colour = (base[0] * 0.86, base[1] * 0.86, base[2] * 0.86)
    if rng.random() < 0.7:
        y, step = horizon + 0.05, 0.045
        while y < 1:
            view.rect(0, y, end, y + 0.004 + 0.006 * (y - horizon), line, 50)
            y, step = y + step, step * 1.4
    if rng.random() < 0.2:
        view.rect(0, horizon, end, min(1.0, horizon + 0.16), view.pick(_GREENS), 84)


def _grain(view: _View, horizon: float) -> None:
    height, width = view.ir.shape
    rows, columns = np.arange(height) * 256 // height, np.arange(width) * 256 // height
    for smooth, amount in ((12.0, 0.05), (2.0, 0.03)):
        tile = noise_tile(smooth)[(rows & 255)[:, None], (columns & 255)[None, :]]
        view.rgb *= (1 + amount * tile)[..., None]
        view.ir *= 1 + amount * tile
    depth = np.clip((np.arange(height) / height - horizon) / (1 - horizon), 0, 1).astype(np.float32)[:, None]
    view.rgb *= (0.90 + 0.16 * depth)[..., None]
    view.ir *= 0.55 + 0.65 * depth
    sigma = 0.55 * height / 128
    cv2.GaussianBlur(view.rgb, (0, 0), sigma, dst=view.rgb)
    cv2.GaussianBlur(view.ir, (0, 0), sigma, dst=view.ir)


def backdrop(taken_by: Camera, size: tuple[int, int], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Part of a camera's view behind one capture: colour (H, W, 3), infrared (H, W), float32, cut apart."""
    height, width = size
    rgb, ir = _panorama(taken_by.seed, taken_by.index, height, width)
    draws = rng.random(8)
    view_rgb = _cut(rgb, size, draws[:3])
    # The infrared camera stands elsewhere on the same street.
    view_ir = _cut(ir, size, draws[3:6])
    if draws[6] < 0.3:
        _passer_by(view_rgb, view_ir, taken_by.horizon, rng)
    return view_rgb, view_ir


def _cut(view: np.ndarray, size: tuple[int, int], draws: np.ndarray) -> np.ndarray:
    height, width = size
    zoom = 0.82 + 0.18 * draws[0]
    h, w = int(height * zoom), int(width * zoom)
    y, x = int(draws[1] * (height - h)), int(draws[2] * (view.shape[1] - w))
    part = view[y : y + h, x : x + w]
    return np.asarray(cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR)).copy()


_FAR_LEGS = [(-0.07, -0.5), (0.07, -0.5), (0.06, 0.0), (0.01, 0.0), (0.0, -0.35), (-0.02, 0.0), (-0.07, 0.0)]
_FAR_TRUNK = [(-0.11, -0.80), (-0.05, -0.85), (0.05, -0.85), (0.11, -0.80), (0.10, -0.45), (-0.10, -0.45)]
_FAR_HEAD = [(-0.05, -0.97), (0.0, -1.0), (0.05, -0.97), (0.05, -0.90), (0.0, -0.85), (-0.05, -0.90)]


def _passer_by(rgb: np.ndarray, ir: np.ndarray, horizon: float, rng: np.random.Generator) -> None:
    """Draw a small, dim figure far away."""
    height, width = ir.shape
    x, scale = float(rng.uniform(0.05, 0.95)) * width, float(rng.uniform(0.2, 0.32)) * height
    feet = (horizon + 0.04) * height + scale * 0.35
    parts: list[tuple[list[tuple[float, float]], Colour, float]] = [
        (_FAR_LEGS, (66, 68, 76), 46.0),
        (_FAR_TRUNK, _DULL[int(rng.integers(len(_DULL)))], 64.0),
        (_FAR_HEAD, (150, 122, 104), 92.0),
    ]
    for points, colour, infrared in parts:
        pixels = [np.round((np.asarray(points) * scale + (x, feet)) * 16).astype(np.int32)]
        cv2.fillPoly(rgb, pixels, colour, cv2.LINE_AA, 4)
        cv2.fillPoly(ir, pixels, infrared, cv2.LINE_AA, 4)


def ground_shadow(background: np.ndarray, shot: Shot, light: float) -> None:
    """Darken the ground under the person, in place."""
    height, width = background.shape[:2]
    soft = np.zeros((height, width), dtype=np.float32)
    feet = (int(width * (0.5 + shot.offset[0] - 0.10 * light)), int(height * (0.962 + shot.offset[1])))
    cv2.ellipse(soft, feet, (int(width * 0.30), max(1, int(height * 0.020))), 0, 0, 360, 0.42, -1)
    cv2.GaussianBlur(soft, (0, 0), height * 0.011, dst=soft)
    background *= 1 - soft[..., None]


def occluder(
    shot: Shot, size: tuple[int, int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, float] | None:
    """What stands before the person: share of every pixel (H, W), colour (H, W, 3), infrared; None if nothing."""
    if not shot.occluder:
        return None
    height, width = size
    cover = np.zeros((height, width), dtype=np.uint8)
    x, y = shot.occluder_place, 0.78 + 0.1 * float(rng.random())
    colour, infrared = _OCCLUDERS[shot.occluder](cover, x, y, rng)
    shade = 1 + 0.10 * noise_tile(3.0)[np.arange(height)[:, None] & 255, np.arange(width)[None, :] & 255]
    return cover.astype(np.float32) / 255, np.asarray(colour, dtype=np.float32) * shade[..., None], infrared


def _bollard(cover: np.ndarray, x: float, y: float, rng: np.random.Generator) -> tuple[Colour, float]:
    h, w = cover.shape
    half = 0.055 * h / 2
    cv2.rectangle(cover, (round(x * w - half), round(y * h)), (round(x * w + half), h), 255, -1)
    cv2.circle(cover, (round(x * w), round(y * h)), round(half), 255, -1)
    return (74, 76, 78), 50.0


def _bush(cover: np.ndarray, x: float, y: float, rng: np.random.Generator) -> tuple[Colour, float]:
    h, w = cover.shape
    for _ in range(14):
        at = (round((x + rng.normal(0, 0.22)) * w), round((y + 0.06 + rng.uniform(0, 0.16)) * h))
        cv2.circle(cover, at, round(rng.uniform(0.025, 0.05) * h), 255, -1, cv2.LINE_AA)
    return (70, 92, 58), 120.0


def _pole(cover: np.ndarray, x: float, y: float, rng: np.random.Generator) -> tuple[Colour, float]:
    h, w = cover.shape
    side = 0.22 + 0.56 * x
    cv2.rectangle(cover, (round(side * w - 0.016 * h), 0), (round(side * w + 0.016 * h), h), 255, -1)
    return (98, 100, 102), 66.0


def _railing(cover: np.ndarray, x: float, y: float, rng: np.random.Generator) -> tuple[Colour, float]:
    h, w = cover.shape
    top = y - 0.16
    for yy in (top, top + 0.13):
        cv2.rectangle(cover, (0, round(yy * h)), (w, round((yy + 0.022) * h)), 255, -1)
    for xx in np.arange(x * 0.1, w / h, 0.12):
        cv2.rectangle(cover, (round(xx * h), round(top * h)), (round((xx + 0.015) * h), h), 255, -1)
    return (86, 88, 92), 58.0


_OCCLUDERS = {"bollard": _bollard, "bush": _bush, "pole": _pole, "railing": _railing}
