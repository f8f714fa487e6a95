"""What only the front of an upper garment shows: neckline, collar, zip, pockets, print."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from reidsynth.world.figure import Axis, Figure, Surface
from reidsynth.world.geometry import box, closed_curve, ellipse


def add_front(figure: Figure, kind: str, yaw: float, hem: float) -> None:
    """Draw the front details of a garment; `yaw` shifts them sideways, `hem` is where the garment ends."""
    _FRONTS[kind](figure, yaw, hem)


def _v_neck(figure: Figure, yaw: float, depth: float, half: float) -> None:
    figure.curve(
        Surface.INNER,
        [(-half + yaw, 0.158), (half + yaw, 0.158), (0.012 + yaw, depth), (-0.012 + yaw, depth)],
        height=1.2,
    )


def _front_round(figure: Figure, yaw: float, hem: float) -> None:
    half = 0.042 if figure.look["upper_type"] != "sweater" else 0.034
    figure.curve(
        Surface.SKIN,
        [(-half, 0.160), (half, 0.160), (half * 0.7 + yaw, 0.186), (yaw, 0.196), (-half * 0.7 + yaw, 0.186)],
        height=1.2,
        stroke=0.8,
    )
    if figure.look["upper_type"] == "sweater":
        figure.mark([(-0.036, 0.168), (yaw, 0.204), (0.036, 0.168)], width=0.008, dark=0.3)


def _front_straps(figure: Figure, yaw: float, hem: float) -> None:
    figure.curve(
        Surface.SKIN,
        [(-0.045, 0.160), (0.045, 0.160), (0.040 + yaw, 0.20), (yaw, 0.225), (-0.040 + yaw, 0.20)],
        height=1.2,
    )


def _front_shirt(figure: Figure, yaw: float, hem: float) -> None:
    figure.mark([(yaw, 0.185), (yaw, hem - 0.005)], width=0.007, dark=0.42)
    for y in (0.24, 0.30, 0.36, 0.42, 0.48):
        figure.mark([(yaw - 0.001, y), (yaw + 0.002, y + 0.004)], width=0.010, dark=0.55, sketched=False)
    for side in (-1, 1):
        figure.curve(
            Surface.UPPER,
            [(side * 0.030, 0.150), (side * 0.050, 0.176), (side * 0.028 + yaw, 0.205), (yaw, 0.178)],
            shade=1.12,
            height=1.7,
        )


def _front_hoodie(figure: Figure, yaw: float, hem: float) -> None:
    if figure.look["headwear"] != "hood":
        for side in (-1, 1):
            figure.curve(
                Surface.HOOD,
                [(side * 0.026, 0.148), (side * 0.066, 0.165), (side * 0.052, 0.200), (yaw, 0.222), (yaw, 0.196)],
                height=1.8,
            )
    for side in (-1, 1):
        figure.mark([(side * 0.014 + yaw, 0.215), (side * 0.018 + yaw, 0.285)], width=0.007, dark=-0.6)
        figure.mark([(side * 0.038 + yaw, 0.425), (side * 0.058 + yaw, 0.485)], width=0.007, dark=0.42)
    figure.mark([(-0.038 + yaw, 0.425), (0.038 + yaw, 0.425)], width=0.006, dark=0.42)


def _front_jacket(figure: Figure, yaw: float, hem: float) -> None:
    _v_neck(figure, yaw, 0.235, 0.034)
    for side in (-1, 1):
        figure.curve(
            Surface.UPPER,
            [(side * 0.026, 0.146), (side * 0.052, 0.168), (side * 0.030 + yaw, 0.238), (side * 0.010 + yaw, 0.222)],
            shade=0.8,
            height=1.8,
        )
        figure.mark([(side * 0.056 + yaw, 0.405), (side * 0.042 + yaw, 0.455)], width=0.007, dark=0.45)
    figure.mark([(yaw, 0.235), (yaw, hem - 0.004)], width=0.009, dark=0.65)


def _front_coat(figure: Figure, yaw: float, hem: float) -> None:
    _v_neck(figure, yaw, 0.285, 0.036)
    for side in (-1, 1):
        figure.curve(
            Surface.UPPER,
            [
                (side * 0.028, 0.150),
                (side * 0.064, 0.190),
                (side * 0.056, 0.225),
                (side * 0.012 + yaw, 0.300),
                (side * 0.012, 0.230),
            ],
            shade=0.8,
            height=1.8,
        )
        figure.mark([(side * 0.066 + yaw, 0.445), (side * 0.050 + yaw, 0.50)], width=0.007, dark=0.45)
    figure.mark([(yaw, 0.30), (yaw, hem - 0.004)], width=0.008, dark=0.6)
    for y in (0.33, 0.39, 0.45):
        figure.mark([(yaw + 0.020, y), (yaw + 0.022, y + 0.003)], width=0.012, dark=0.6, sketched=False)


_FRONTS: dict[str, Callable[[Figure, float, float], None]] = {
    "t-shirt": _front_round,
    "sweater": _front_round,
    "dress": _front_round,
    "tank top": _front_straps,
    "shirt": _front_shirt,
    "hoodie": _front_hoodie,
    "jacket": _front_jacket,
    "coat": _front_coat,
}


_HEART = ((0.0, -0.45), (0.9, -0.9), (0.9, 0.0), (0.0, 1.2), (-0.9, 0.0), (-0.9, -0.9))


def add_logo(figure: Figure) -> None:
    """Draw the chest print; only a front view shows it."""
    if figure.look["upper_pattern"] != "logo" or figure.shot.view != "front":
        return
    x, y, r = 0.02 * figure.shot.yaw, 0.295, 0.046
    angle = np.arange(10) * np.pi / 5 - np.pi / 2
    star = np.stack([np.cos(angle), np.sin(angle)], axis=1) * np.where(np.arange(10) % 2, 0.48, 1.15)[:, None] * r
    outlines = {
        0: [ellipse(x, y, r, r)],
        1: [star + np.array([x, y])],
        2: [box(x, y - 0.028, r * 1.1, 0.014), box(x, y + 0.012, r * 1.1, 0.014)],
        3: [np.array([(x, y - r * 1.1), (x + r * 1.15, y + r * 0.8), (x - r * 1.15, y + r * 0.8)])],
        4: [box(x, y, r, r * 0.9, 0.15)],
        5: [closed_curve([(x + r * dx, y + r * dy) for dx, dy in _HEART])],
    }[figure.body.logo]  # fmt: skip
    for outline in outlines:
        figure.fill(Surface.SECOND, outline, axis=Axis(0, 0.17, 0, 1, 0.1), height=1.3)
