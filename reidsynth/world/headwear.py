"""Caps, beanies and hats of the drawn person; a hood belongs to the garment and is drawn with the head."""

from __future__ import annotations

import numpy as np

from reidsynth.world.figure import Axis, Figure, Surface
from reidsynth.world.geometry import closed_curve, ellipse, mirrored

Outline = list[tuple[float, float]]
HEAD_AXIS = Axis(0.0, 0.0, 0.0, 1.0, 0.05)


def add_headwear_front(figure: Figure) -> None:
    """Draw headwear seen from the front."""
    kind = figure.look["headwear"]
    if kind == "cap":
        _wear(figure, mirrored([(0.026, -0.014), (0.048, 0.006), (0.055, 0.048), (0.02, 0.052)]), height=1.7)
        _wear(figure, mirrored([(0.030, 0.038), (0.060, 0.050), (0.050, 0.064), (0.02, 0.066)]), shade=0.72, height=2.0)
        figure.mark([(0, -0.012), (0, 0.036)], width=0.004, dark=0.25)
    elif kind == "beanie":
        _wear(
            figure,
            mirrored([(0.022, -0.030), (0.044, -0.010), (0.054, 0.030), (0.054, 0.052), (0.02, 0.056)]),
            height=1.6,
        )
        _wear(figure, mirrored([(0.054, 0.024), (0.057, 0.050), (0.02, 0.054), (0.02, 0.028)]), shade=0.78, height=1.8)
    elif kind == "hat":
        _wear(figure, mirrored([(0.026, -0.038), (0.046, -0.026), (0.052, 0.034), (0.02, 0.040)]), height=1.6)
        _wear(figure, [(x, y) for x, y in ellipse(0, 0.038, 0.096, 0.015).tolist()], shade=0.85, height=2.0)
        figure.mark([(-0.050, 0.022), (0.050, 0.022)], width=0.011, dark=0.55)


def add_headwear_back(figure: Figure) -> None:
    """Draw headwear seen from the back."""
    kind = figure.look["headwear"]
    if kind == "cap":
        _wear(figure, mirrored([(0.026, -0.014), (0.050, 0.006), (0.057, 0.060), (0.02, 0.066)]), height=2.4)
        figure.fill(
            Surface.HAIR if figure.look["hair_length"] != "bald" else Surface.SKIN,
            ellipse(0, 0.050, 0.018, 0.010),
            axis=HEAD_AXIS,
            shade=0.8,
        )
        figure.mark([(0, -0.012), (0, 0.038)], width=0.004, dark=0.25)
    elif kind == "beanie":
        _wear(
            figure,
            mirrored([(0.022, -0.030), (0.046, -0.010), (0.056, 0.036), (0.056, 0.068), (0.02, 0.072)]),
            height=2.4,
        )
        _wear(figure, mirrored([(0.056, 0.040), (0.059, 0.066), (0.02, 0.070), (0.02, 0.042)]), shade=0.78, height=2.6)
    elif kind == "hat":
        _wear(figure, mirrored([(0.026, -0.038), (0.046, -0.026), (0.053, 0.040), (0.02, 0.046)]), height=2.4)
        _wear(figure, [(x, y) for x, y in ellipse(0, 0.046, 0.096, 0.015).tolist()], shade=0.85, height=2.6)
        figure.mark([(-0.050, 0.028), (0.050, 0.028)], width=0.011, dark=0.55)


def add_headwear_side(figure: Figure) -> None:
    """Draw headwear of a person who walks to the right."""
    kind = figure.look["headwear"]
    if kind == "cap":
        _wear(
            figure,
            [
                (0.054, 0.042),
                (0.046, 0.004),
                (0.008, -0.020),
                (-0.036, -0.010),
                (-0.060, 0.030),
                (-0.060, 0.056),
                (0.0, 0.048),
            ],
            height=2.0,
        )
        _wear(
            figure,
            [(0.034, 0.034), (0.070, 0.036), (0.106, 0.052), (0.100, 0.058), (0.044, 0.052)],
            shade=0.74,
            height=2.2,
        )
    elif kind == "beanie":
        _wear(
            figure,
            [
                (0.056, 0.040),
                (0.048, -0.004),
                (0.010, -0.032),
                (-0.038, -0.020),
                (-0.063, 0.024),
                (-0.064, 0.062),
                (0.0, 0.052),
            ],
            height=2.0,
        )
        _wear(
            figure,
            [(0.058, 0.020), (0.058, 0.046), (0.0, 0.058), (-0.066, 0.066), (-0.066, 0.040), (0.0, 0.032)],
            shade=0.78,
            height=2.2,
        )
    elif kind == "hat":
        _wear(figure, [(0.050, 0.036), (0.046, -0.026), (0.008, -0.036), (-0.040, -0.028), (-0.056, 0.036)], height=2.0)
        _wear(figure, [(x, y) for x, y in ellipse(-0.002, 0.040, 0.100, 0.013).tolist()], shade=0.85, height=2.2)
        figure.mark([(-0.052, 0.022), (0.048, 0.022)], width=0.011, dark=0.55)


def _wear(figure: Figure, points: Outline, **options: float) -> None:
    figure.fill(Surface.HEADWEAR, closed_curve(scaled(figure, points)), axis=HEAD_AXIS, **options)


def scaled(figure: Figure, points: Outline | np.ndarray, shift: float = 0.0) -> np.ndarray:
    """Scale about the chin, so that head size never moves the neck."""
    scale = figure.body.head
    out = (np.asarray(points, dtype=np.float64) - (0.0, 0.15)) * scale + (shift, 0.15)
    return np.asarray(out)
