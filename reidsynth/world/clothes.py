"""Clothes of the drawn person: legs and what covers them, shoes, the upper garment, sleeves."""

from __future__ import annotations

import numpy as np

from reidsynth.world.figure import Arm, Axis, Figure, Leg, Surface
from reidsynth.world.fronts import add_front
from reidsynth.world.geometry import box, closed_curve, mirrored

HEMS = {
    "t-shirt": 0.525,
    "shirt": 0.545,
    "sweater": 0.52,
    "hoodie": 0.535,
    "jacket": 0.52,
    "coat": 0.715,
    "dress": 0.69,
    "tank top": 0.51,
}
_LOWER_EASE = {"trousers": 0.009, "jeans": 0.004, "shorts": 0.012, "leggings": -0.004}


def add_leg(figure: Figure, leg: Leg) -> None:
    """Draw one leg with its trouser leg and its shoe."""
    look, f = figure.look, figure.body.limb
    lower = str(look["lower_type"])
    thigh, knee, ankle = 0.050 * f, 0.033 * f, 0.020 * f
    joints = [leg.hip, leg.knee, leg.ankle]
    bare = lower in ("shorts", "skirt", "long skirt", "bare legs")
    if bare:
        figure.limb(Surface.SKIN, joints, [thigh, knee, ankle], shade=leg.shade)
    tall = look["shoes_type"] == "boots"
    if not tall:
        add_shoe(figure, leg)
    if not bare:
        ease = _LOWER_EASE[lower]
        end = _along(leg.knee, leg.ankle, 0.97)
        widths = [thigh + ease, knee + ease, ankle + max(ease * 1.3, 0.002)]
        figure.limb(Surface.LOWER, [leg.hip, leg.knee, end], widths, shade=leg.shade, round_end=False)
        if lower in ("trousers", "jeans"):
            figure.mark(
                [_along(leg.hip, leg.knee, 0.25), leg.knee, _along(leg.knee, leg.ankle, 0.9)],
                width=0.004,
                dark=0.12,
                sketched=False,
            )
            figure.mark(_across(leg.ankle, leg.knee, ankle + ease * 1.3, 0.10), width=0.006, dark=0.25)
    elif lower == "shorts":
        cut = _along(leg.hip, leg.knee, 0.86)
        figure.limb(Surface.LOWER, [leg.hip, cut], [thigh + 0.010, knee + 0.020], shade=leg.shade, round_end=False)
        figure.mark(_across(cut, leg.hip, knee + 0.019, 0.10), width=0.006, dark=0.25)
    if tall:
        add_shoe(figure, leg)


def _along(start: tuple[float, float], end: tuple[float, float], share: float) -> tuple[float, float]:
    return start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share


def _across(
    at: tuple[float, float], towards: tuple[float, float], half: float, share: float
) -> list[tuple[float, float]]:
    x, y = _along(at, towards, share)
    axis = Axis.between(at, towards, half)
    return [(x - axis.dy * half, y + axis.dx * half), (x + axis.dy * half, y - axis.dx * half)]


def add_shoe(figure: Figure, leg: Leg) -> None:
    """Draw the shoe at the end of a leg."""
    kind = str(figure.look["shoes_type"])
    x, y = leg.ankle
    scale = 0.92 if figure.look["gender"] == "female" else 1.0
    if kind == "boots":
        top = _along(leg.ankle, leg.knee, 0.44)
        figure.limb(Surface.SHOES, [top, leg.ankle], [0.038, 0.027], shade=leg.shade)
        figure.mark(_across(top, leg.ankle, 0.036, 0.06), width=0.007, dark=0.3)
    if figure.shot.frontal:
        foot = _foot_frontal(x, y, leg.toe, scale, figure.shot.view == "back")
    else:
        foot = _foot_side(x, y, leg, scale)
    if kind == "sandals":
        figure.fill(Surface.SKIN, foot, shade=leg.shade)
        low, high = float(foot[:, 1].max()), float(foot[:, 1].min())
        left, right = float(foot[:, 0].min()), float(foot[:, 0].max())
        for share in (0.45, 0.8):
            yy = high + (low - high) * share
            figure.fill(
                Surface.SHOES, box((left + right) / 2, yy, (right - left) * 0.46, 0.006), shade=leg.shade, stroke=0.7
            )
        figure.fill(Surface.SHOES, box((left + right) / 2, low - 0.003, (right - left) * 0.5, 0.005), shade=leg.shade)
        return
    figure.fill(Surface.SHOES, foot, shade=leg.shade, axis=Axis(x, y, 0, 1, 0.03))
    low, left, right = float(foot[:, 1].max()), float(foot[:, 0].min()), float(foot[:, 0].max())
    if kind == "sneakers":
        figure.fill(Surface.SOLE, box((left + right) / 2, low - 0.004, (right - left) * 0.5, 0.0065), stroke=0.6)
        if not figure.shot.frontal:
            figure.mark([(x + 0.012, y + 0.012), (x + 0.026, y + 0.026)], width=0.006, dark=-0.5)
    else:
        figure.mark([(left + 0.004, low - 0.003), (right - 0.004, low - 0.003)], width=0.005, dark=0.6, sketched=False)


def _foot_frontal(x: float, y: float, turn: float, scale: float, back: bool) -> np.ndarray:
    w, d = 0.026 * scale, 0.052 if not back else 0.042
    out = turn * 0.034
    return closed_curve(
        [(x - w * 0.8, y - 0.012), (x + w * 0.8, y - 0.012), (x + w + out, y + d * 0.62), (x + w * 0.6 + out, y + d),
         (x - w * 0.6 + out, y + d), (x - w + out, y + d * 0.62)]
    )  # fmt: skip


def _foot_side(x: float, y: float, leg: Leg, scale: float) -> np.ndarray:
    length = 0.112 * scale
    points = np.array(
        [(-0.024, -0.012), (0.024, -0.016), (0.045, 0.014), (length * 0.72, 0.030), (length * 0.78, 0.049),
         (0.03, 0.053), (-0.030, 0.053), (-0.034, 0.02)]
    )  # fmt: skip
    # A foot behind the body stands on its toes.
    back = max(0.0, leg.knee[0] - leg.ankle[0]) * 2.6
    c, s = np.cos(back), np.sin(back)
    turned = points @ np.array([[c, s], [-s, c]])
    return closed_curve(turned + np.array([x, y]))


def add_skirt(figure: Figure) -> None:
    """Draw a skirt, long skirt, or the seat of trousers."""
    lower, body, shot = str(figure.look["lower_type"]), figure.body, figure.shot
    wide = body.hip if shot.frontal else 0.058 + body.belly * 0.3
    sway = 0.012 * shot.stride * np.sin(shot.phase)
    if lower in ("skirt", "long skirt"):
        long = lower == "long skirt"
        hem, flare = (0.90, 1.42 if shot.frontal else 1.75) if long else (0.675 + body.hem, 1.34)
        points = [(wide * 0.80, 0.40), (wide * 1.06, 0.50), (wide * flare * 0.95 + sway, hem - 0.02)]
        right = [*points, (wide * flare + sway, hem - 0.004), (wide * flare * 0.9 + sway, hem + 0.005)]
        left = [(-x + 2 * (sway if y > 0.6 else 0), y) for x, y in reversed(right)]
        outline = closed_curve([*right, (sway, hem + 0.009), *left])
        figure.fill(Surface.LOWER, outline, axis=Axis(0, 0.40, 0, 1, wide * 1.2))
        for x in (-0.45, 0.1, 0.5):
            figure.mark([(x * wide, 0.52), (x * wide * flare + sway, hem - 0.02)], width=0.005, dark=0.16)
    elif lower != "bare legs":
        seat = [(wide * 0.92, 0.42), (wide * 1.02, 0.49), (wide * 0.98, 0.545), (wide * 0.3, 0.56)]
        figure.fill(Surface.LOWER, closed_curve(mirrored(seat)), axis=Axis(0, 0.42, 0, 1, wide), stroke=0.0)
        if lower != "leggings" and shot.frontal:
            figure.mark([(0, 0.49), (0, 0.57)], width=0.005, dark=0.4)
    else:
        figure.curve(Surface.SKIN, mirrored([(wide * 0.9, 0.42), (wide, 0.5), (wide * 0.3, 0.56)]), stroke=0.0)


def add_trunk(figure: Figure) -> None:
    """Draw the upper garment without sleeves."""
    kind, shot = str(figure.look["upper_type"]), figure.shot
    if kind == "tank top":
        outline = _trunk_frontal(figure, 0.5, 1.0) if shot.frontal else _trunk_side(figure, 0.5)
        figure.fill(Surface.SKIN, outline)
    hem = HEMS[kind] + figure.body.hem
    outline = (
        _trunk_frontal(figure, hem, 0.62 if kind == "tank top" else 1.0) if shot.frontal else _trunk_side(figure, hem)
    )
    width = figure.body.chest * 1.05 if shot.frontal else 0.066
    figure.fill(Surface.UPPER, outline, axis=Axis(0, 0.17, 0, 1, width), height=1.3)
    (_details_frontal if shot.frontal else _details_side)(figure, kind, hem)


def _bulk(figure: Figure) -> float:
    kind = str(figure.look["upper_type"])
    thick = {"coat": 0.012, "jacket": 0.010, "hoodie": 0.009, "sweater": 0.006}.get(kind, 0.003)
    return thick + (0.008 if figure.body.materials["upper"] == "puffer" else 0.0)


def _trunk_frontal(figure: Figure, hem: float, shoulders: float) -> np.ndarray:
    body, kind, bulk = figure.body, str(figure.look["upper_type"]), _bulk(figure)
    s, c, w, h = body.shoulder * shoulders, body.chest + bulk, body.waist + bulk, body.hip + bulk
    loose = {"hoodie": 0.6, "coat": 0.5, "jacket": 0.5, "sweater": 0.4, "t-shirt": 0.35}.get(kind, 0.15)
    w = w + (max(c, h) - w) * loose
    right = [(0.030, 0.160), (s * 0.66, 0.181), (s * 0.94, 0.205), (max(c, s * 0.86), 0.27), (w, 0.39)]
    if kind in ("coat", "dress"):
        flare = 1.12 if kind == "coat" else 1.42
        right += [(h * 1.04, 0.50), (h * flare * 0.98, hem - 0.03), *_hem(h * flare, hem)]
    elif kind in ("hoodie", "jacket", "sweater"):
        right += [(w * 1.02 + 0.004, hem - 0.035), *_hem(w * 0.97, hem)]
    else:
        right += [(h * 0.99, 0.47), *_hem(h * 1.02, hem)]
    return closed_curve(mirrored(right))


def _hem(half: float, y: float) -> list[tuple[float, float]]:
    """Corner and hanging edge of a garment; without the middle points a spline would flare at the corner."""
    return [(half, y - 0.004), (half * 0.9, y + 0.005), (half * 0.35, y + 0.007)]


def _trunk_side(figure: Figure, hem: float) -> np.ndarray:
    body, kind, bulk = figure.body, str(figure.look["upper_type"]), _bulk(figure)
    bust = 0.012 if figure.look["gender"] == "female" else 0.0
    depth = {"slim": -0.006, "average": 0.0, "heavy": 0.010}[str(figure.look["build"])] + bulk
    front = [(0.030, 0.165), (0.050 + depth, 0.215), (0.058 + depth + bust, 0.275), (0.054 + depth + body.belly, 0.39)]
    back = [
        (-0.052 - depth, hem),
        (-0.064 - depth, 0.475),
        (-0.046 - depth, 0.375),
        (-0.064 - depth, 0.25),
        (-0.034, 0.168),
    ]
    if kind in ("coat", "dress"):
        spread = 0.012 if kind == "coat" else 0.036
        edge = 0.066 + depth + spread + body.belly * 0.6
        front += [
            (0.060 + depth + body.belly, 0.50),
            (edge, hem - 0.004),
            (edge * 0.85, hem + 0.006),
            (0.0, hem + 0.008),
        ]
        back[0] = (-0.066 - depth - spread, hem - 0.004)
        back.insert(0, ((-0.066 - depth - spread) * 0.85, hem + 0.006))
    else:
        front += [(0.054 + depth + body.belly, hem)]
    return closed_curve([*front, *back])


def _details_frontal(figure: Figure, kind: str, hem: float) -> None:
    front, yaw = figure.shot.view == "front", 0.018 * figure.shot.yaw
    if kind in ("sweater", "hoodie", "jacket"):
        w = figure.body.waist + 0.004
        figure.mark([(-w, hem - 0.026), (0, hem - 0.020), (w, hem - 0.026)], width=0.006, dark=0.4)
    if kind == "dress":
        w = figure.body.waist
        figure.fill(Surface.UPPER, box(0, 0.405, w * 1.02, 0.011), shade=0.6, axis=Axis(0, 0.17, 0, 1, 0.1), stroke=0.7)
    if front:
        add_front(figure, kind, yaw, hem)
    elif kind == "hoodie" and figure.look["headwear"] != "hood":
        figure.curve(
            Surface.HOOD, [(-0.055, 0.172), (0.055, 0.172), (0.062, 0.205), (0, 0.262), (-0.062, 0.205)], height=1.8
        )
        figure.mark([(-0.03, 0.195), (0, 0.215), (0.03, 0.195)], width=0.006, dark=0.4)
    elif kind == "coat":
        figure.mark([(0, 0.50), (0, hem - 0.01)], width=0.006, dark=0.45)
        figure.mark([(-0.05, 0.415), (0.05, 0.415)], width=0.010, dark=0.4)
    elif kind in ("shirt", "jacket"):
        figure.mark([(-0.075, 0.225), (0, 0.215), (0.075, 0.225)], width=0.005, dark=0.28)


def _details_side(figure: Figure, kind: str, hem: float) -> None:
    if kind in ("sweater", "hoodie", "jacket"):
        figure.mark([(-0.055, hem - 0.024), (0.06, hem - 0.024)], width=0.006, dark=0.4)
    if kind == "dress":
        figure.fill(Surface.UPPER, box(0.0, 0.40, 0.055, 0.011), shade=0.6, stroke=0.7)
    if kind == "hoodie" and figure.look["headwear"] != "hood":
        figure.curve(
            Surface.HOOD, [(-0.02, 0.150), (0.032, 0.172), (-0.05, 0.205), (-0.092, 0.225), (-0.075, 0.17)], height=1.8
        )
    if kind in ("jacket", "coat", "shirt"):
        figure.curve(
            Surface.UPPER, [(-0.034, 0.148), (0.030, 0.160), (0.036, 0.186), (-0.036, 0.178)], shade=0.82, height=1.6
        )
    if kind in ("jacket", "coat", "hoodie"):
        figure.mark([(0.034, 0.40), (0.022, 0.47)], width=0.006, dark=0.4)


def add_arm(figure: Figure, arm: Arm) -> None:
    """Draw one arm: skin, sleeve, hand."""
    kind, f = str(figure.look["upper_type"]), figure.body.limb
    top, middle, end = 0.033 * f, 0.025 * f, 0.018 * f
    joints = [arm.shoulder, arm.elbow, arm.wrist]
    hand_axis = Axis.between(arm.elbow, arm.wrist, 0.02)
    hand = (arm.wrist[0] + hand_axis.dx * 0.022, arm.wrist[1] + hand_axis.dy * 0.022)
    figure.limb(Surface.SKIN, [arm.wrist, hand], [end, 0.018 * f], shade=arm.shade, height=1.5)
    figure.hands.append(hand)
    bulk = _bulk(figure)
    rolled = figure.body.sleeve if kind in ("shirt", "sweater", "hoodie") else 0.0
    surface = Surface.UPPER
    if kind in ("t-shirt", "dress", "tank top") or rolled:
        figure.limb(Surface.SKIN, joints, [top, middle, end], shade=arm.shade, height=1.5)
    if kind == "tank top":
        return
    if kind in ("t-shirt", "dress"):
        cut = _along(arm.shoulder, arm.elbow, 0.72)
        figure.limb(
            surface,
            [arm.shoulder, cut],
            [top + bulk + 0.004, middle + bulk + 0.007],
            shade=arm.shade,
            height=1.6,
            round_end=False,
        )
        figure.mark(_across(cut, arm.shoulder, middle + 0.008, 0.08), width=0.005, dark=0.3)
        return
    wrist = _along(arm.elbow, arm.wrist, 1.0 - rolled * 1.4)
    widths = [top + bulk, middle + bulk + 0.002, end + bulk * 0.8 + 0.004 + (0.006 if rolled else 0)]
    figure.limb(surface, [arm.shoulder, arm.elbow, wrist], widths, shade=arm.shade, height=1.6, round_end=False)
    figure.mark(_across(wrist, arm.elbow, widths[2], 0.10), width=0.006, dark=0.35)
