"""Curves of the drawn figure: closed outlines through points, and tubes along limbs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

Points = Sequence[tuple[float, float]] | np.ndarray


@lru_cache(maxsize=8)
def _basis(steps: int) -> np.ndarray:
    """Catmull-Rom weights, (steps, 4)."""
    t = np.arange(steps) / steps
    weights = np.stack([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3], axis=1)
    return np.asarray(0.5 * weights)


def closed_curve(points: Points, steps: int = 4) -> np.ndarray:
    """Smooth closed outline through points (N, 2); returns (N * steps, 2)."""
    p = np.asarray(points, dtype=np.float64)
    n = len(p)
    index = (np.arange(n)[:, None] + np.arange(-1, 3)[None, :]) % n
    return np.asarray((_basis(steps) @ p[index]).reshape(n * steps, -1))


def open_curve(points: Points, steps: int = 4) -> np.ndarray:
    """Smooth line through points (N, D); returns ((N - 1) * steps + 1, D)."""
    p = np.asarray(points, dtype=np.float64)
    n = len(p)
    index = np.clip(np.arange(n - 1)[:, None] + np.arange(-1, 3)[None, :], 0, n - 1)
    return np.concatenate([(_basis(steps) @ p[index]).reshape((n - 1) * steps, -1), p[-1:]])


def tube(
    points: Points, widths: Sequence[float], *, steps: int = 4, caps: tuple[bool, bool] = (True, True)
) -> np.ndarray:
    """Outline of a limb along points (N, 2) with half widths (N,); `caps` rounds its ends."""
    spine = open_curve(np.column_stack([np.asarray(points, dtype=np.float64), widths]), steps)
    centre, half = spine[:, :2], spine[:, 2:]
    tangent = np.empty_like(centre)
    tangent[1:-1] = centre[2:] - centre[:-2]
    tangent[0], tangent[-1] = centre[1] - centre[0], centre[-1] - centre[-2]
    tangent /= np.maximum(np.hypot(tangent[:, :1], tangent[:, 1:]), 1e-9)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
    left, right = centre + normal * half, centre - normal * half
    parts = [left]
    if caps[1]:
        parts.append(_cap(centre[-1], normal[-1] * half[-1], tangent[-1] * half[-1]))
    parts.append(right[::-1])
    if caps[0]:
        parts.append(_cap(centre[0], -normal[0] * half[0], -tangent[0] * half[0]))
    return np.concatenate(parts)


def _cap(centre: np.ndarray, side: np.ndarray, ahead: np.ndarray) -> np.ndarray:
    angle = np.array([0.25, 0.5, 0.75]) * np.pi
    return np.asarray(centre + np.cos(angle)[:, None] * side + np.sin(angle)[:, None] * ahead)


def ellipse(x: float, y: float, rx: float, ry: float, points: int = 16) -> np.ndarray:
    """Outline of an ellipse, (points, 2)."""
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1)


def box(x: float, y: float, half_width: float, half_height: float, roundness: float = 0.35) -> np.ndarray:
    """Outline of a rectangle with rounded corners."""
    angle = np.linspace(0, 2 * np.pi, 20, endpoint=False) + np.pi / 20
    power = max(roundness, 0.05)
    c, s = np.cos(angle), np.sin(angle)
    return np.stack(
        [x + half_width * np.sign(c) * np.abs(c) ** power, y + half_height * np.sign(s) * np.abs(s) ** power], axis=1
    )


def mirrored(points: Points) -> list[tuple[float, float]]:
    """Right half of a symmetric outline, top to bottom -> both halves, closed in order."""
    right = [(float(x), float(y)) for x, y in points]
    return right + [(-x, y) for x, y in reversed(right)]
