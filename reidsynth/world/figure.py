"""The drawn person as a list of shapes and marks, back to front, in body coordinates.

Body coordinates: y runs from 0 (top of the head) to 1 (soles), x from the person's axis to the right of the image, both
in body heights. A figure walking to the left is one walking to the right, mirrored when it is put on the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import pairwise

import numpy as np

from reidsynth.world.cameras import Shot
from reidsynth.world.geometry import Points, closed_curve, open_curve, tube
from reidsynth.world.identities import Body, Look


class Surface(IntEnum):
    """What a pixel of the figure belongs to."""

    NOTHING = 0
    SKIN = 1
    HAIR = 2
    HEADWEAR = 3
    FRAME = 4
    LENS = 5
    UPPER = 6
    SECOND = 7  # wholly in the pattern's colour: a logo, a contrasting sleeve
    INNER = 8
    LOWER = 9
    SHOES = 10
    SOLE = 11
    BAG = 12
    HOOD = 13
    OCCLUDER = 14


@dataclass(frozen=True, slots=True)
class Axis:
    """Garment coordinates of a shape: v runs from the origin along a direction, u across it.

    Args:
        x: of the origin.
        y: of the origin.
        dx: unit direction of v.
        dy: unit direction of v.
        width: half width, by which u is divided for shading.
    """

    x: float
    y: float
    dx: float
    dy: float
    width: float

    @classmethod
    def between(cls, start: Sequence[float], end: Sequence[float], width: float) -> Axis:
        """Axis from one joint to the next."""
        dx, dy = end[0] - start[0], end[1] - start[1]
        length = max(float(np.hypot(dx, dy)), 1e-6)
        return cls(float(start[0]), float(start[1]), dx / length, dy / length, width)


TRUNK = Axis(0.0, 0.17, 0.0, 1.0, 0.1)


@dataclass(frozen=True, slots=True)
class Shape:
    """A filled outline.

    Args:
        surface: what it is made of.
        outline: (N, 2) body coordinates.
        axis: its garment coordinates.
        shade: brightness of the whole shape; limbs at the far side are darker.
        height: how far it stands out towards the viewer; what stands out throws a soft shadow on what does not.
        stroke: weight of its outline in a sketch; 0 leaves it out.
        inner: further (outline, axis) within the shape that only change the coordinates.
        open: how many points at the outline's end a sketch leaves out: the joint where a limb meets the trunk.
    """

    surface: Surface
    outline: np.ndarray
    axis: Axis = TRUNK
    shade: float = 1.0
    height: float = 1.0
    stroke: float = 1.0
    inner: tuple[tuple[np.ndarray, Axis], ...] = ()
    open: int = 0


@dataclass(frozen=True, slots=True)
class Mark:
    """A line drawn on what lies below it: a seam, a zip, an eye.

    Args:
        line: (N, 2) body coordinates.
        width: in body heights.
        dark: 0..1; negative values lighten.
        sketched: whether a sketch shows it.
    """

    line: np.ndarray
    width: float
    dark: float
    sketched: bool = True


@dataclass(slots=True)
class Figure:
    """Shapes and marks of one person, back to front.

    Args:
        look: attributes of the person.
        body: shape and materials.
        shot: view and pose.
        items: what has been added so far.
        hands: where the hands are, (near or image left, far or image right).
    """

    look: Look
    body: Body
    shot: Shot
    items: list[Shape | Mark] = field(default_factory=list)
    hands: list[tuple[float, float]] = field(default_factory=list)

    def fill(
        self,
        surface: Surface,
        outline: np.ndarray,
        *,
        axis: Axis = TRUNK,
        shade: float = 1.0,
        height: float = 1.0,
        stroke: float = 1.0,
    ) -> None:
        """Add a filled outline."""
        self.items.append(Shape(surface, outline, axis, shade, height, stroke))

    def curve(
        self, surface: Surface, points: Points, *, shade: float = 1.0, height: float = 1.0, stroke: float = 1.0
    ) -> None:
        """Add a smooth filled outline through points of the trunk."""
        self.fill(surface, closed_curve(points), shade=shade, height=height, stroke=stroke)

    def limb(
        self,
        surface: Surface,
        joints: Sequence[tuple[float, float]],
        widths: Sequence[float],
        *,
        shade: float = 1.0,
        height: float = 1.0,
        round_end: bool = True,
    ) -> None:
        """Add a tube along joints; each segment has its own garment coordinates, so patterns follow the bend."""
        outline = tube(joints, widths, caps=(True, round_end))
        axes = [Axis.between(a, b, max(widths[i], widths[i + 1])) for i, (a, b) in enumerate(pairwise(joints))]
        inner = tuple(
            (tube(joints[i : i + 2], widths[i : i + 2], steps=2, caps=(True, False)), axes[i])
            for i in range(1, len(axes))
        )
        self.items.append(Shape(surface, outline, axes[0], shade, height, 1.0, inner, open=3))

    def mark(self, points: Points, *, width: float = 0.006, dark: float = 0.5, sketched: bool = True) -> None:
        """Add a smooth line on what has been drawn so far."""
        line = open_curve(points) if len(points) > 2 else np.asarray(points, dtype=np.float64)
        self.items.append(Mark(line, width, dark, sketched))


@dataclass(frozen=True, slots=True)
class Leg:
    """Joints of one leg: hip, knee, ankle, and which way its foot points (0 towards the viewer)."""

    hip: tuple[float, float]
    knee: tuple[float, float]
    ankle: tuple[float, float]
    toe: float
    shade: float


@dataclass(frozen=True, slots=True)
class Arm:
    """Joints of one arm: shoulder, elbow, wrist; `side` is -1 image left, +1 image right, 0 in a side view."""

    shoulder: tuple[float, float]
    elbow: tuple[float, float]
    wrist: tuple[float, float]
    side: int
    shade: float


HIP_Y, ANKLE_Y = 0.50, 0.945
_THIGH, _SHIN = 0.232, 0.213
_UPPER_ARM, _FOREARM = 0.158, 0.142


def legs_of(body: Body, shot: Shot) -> tuple[Leg, Leg]:
    """Joints of both legs, the farther one first."""
    if shot.frontal:
        return _legs_frontal(body, shot)
    first, second = (_leg_side(shot, shot.phase + turn, shade) for turn, shade in ((np.pi, 0.8), (0.0, 1.0)))
    # The lower foot stands on the ground.
    drop = ANKLE_Y - max(first.ankle[1], second.ankle[1])
    return _lowered(first, drop), _lowered(second, drop)


def _lowered(leg: Leg, drop: float) -> Leg:
    stretch = [(x, y + drop * (y - HIP_Y) / (ANKLE_Y - HIP_Y)) for x, y in (leg.knee, leg.ankle)]
    return Leg(leg.hip, stretch[0], stretch[1], leg.toe, leg.shade)


def _legs_frontal(body: Body, shot: Shot) -> tuple[Leg, Leg]:
    legs = []
    for side in (-1, 1):
        ahead = side * np.sin(shot.phase) * shot.stride
        back = max(0.0, -ahead) if shot.view == "front" else max(0.0, ahead)
        hip = side * body.hip * 0.52
        knee = (hip + side * 0.004 + 0.010 * ahead, 0.735 - 0.012 * abs(ahead))
        ankle = (hip + side * 0.004 - side * 0.012 * shot.stride, ANKLE_Y - 0.045 * back)
        legs.append((back, Leg((hip, HIP_Y), knee, ankle, 0.35 * side, 1.0 - 0.14 * back)))
    legs.sort(key=lambda pair: -pair[0])
    return legs[0][1], legs[1][1]


def _leg_side(shot: Shot, phase: float, shade: float) -> Leg:
    swing = 0.40 * shot.stride * np.sin(phase)
    lift = (0.06 + 0.55 * max(0.0, np.cos(phase))) * shot.stride
    knee = (_THIGH * np.sin(swing + 0.25 * lift), HIP_Y + _THIGH * np.cos(swing))
    low = swing - lift
    ankle = (knee[0] + _SHIN * np.sin(low), knee[1] + _SHIN * np.cos(low))
    return Leg((0.0, HIP_Y), (float(knee[0]), float(knee[1])), (float(ankle[0]), float(ankle[1])), 1.0, shade)


def arms_of(body: Body, shot: Shot) -> tuple[Arm, Arm]:
    """Joints of both arms: in a side view the farther one first, else image left first."""
    if not shot.frontal:
        far, near = (
            _arm_side(shot, shot.phase + turn, bend) for turn, bend in zip((0.0, np.pi), shot.bend, strict=True)
        )
        return Arm(*far, side=0, shade=0.8), Arm(*near, side=0, shade=1.0)
    made = []
    for side, bend in zip((-1, 1), shot.bend, strict=True):
        out = 0.07 + 0.16 * shot.spread + max(0.0, body.belly) * 3 + max(0.0, body.hip - body.shoulder + 0.03) * 2
        shoulder = (side * (body.shoulder - 0.030), 0.221)
        elbow = (shoulder[0] + side * _UPPER_ARM * np.sin(out), shoulder[1] + _UPPER_ARM * np.cos(out))
        swing = 0.03 * shot.stride * np.sin(shot.phase) * side
        fold = -0.10 + out * 0.5 - (1.9 * bend if bend > 0.7 else 0.4 * bend)
        length = _FOREARM * (1 - 0.25 * bend)
        wrist = (elbow[0] + side * length * np.sin(fold), elbow[1] + length * np.cos(fold) + swing)
        made.append(Arm(shoulder, _pair(elbow), _pair(wrist), side, 1.0))
    return made[0], made[1]


def _arm_side(
    shot: Shot, phase: float, bend: float
) -> tuple[tuple[float, float], tuple[float, float], tuple[float, float]]:
    swing = 0.5 * shot.stride * np.sin(phase)
    shoulder = (-0.006, 0.212)
    elbow = (shoulder[0] + _UPPER_ARM * np.sin(swing), shoulder[1] + _UPPER_ARM * np.cos(swing))
    low = swing + 0.2 + (1.7 * bend if bend > 0.7 else 0.6 * bend)
    wrist = (elbow[0] + _FOREARM * np.sin(low), elbow[1] + _FOREARM * np.cos(low))
    return shoulder, _pair(elbow), _pair(wrist)


def _pair(point: Sequence[float]) -> tuple[float, float]:
    return float(point[0]), float(point[1])
