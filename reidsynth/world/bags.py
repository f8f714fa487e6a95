"""Bags of the drawn person, each split into what lies behind the trunk and what lies before it."""

from __future__ import annotations

from reidsynth.world.figure import Axis, Figure, Surface
from reidsynth.world.geometry import box, closed_curve, tube


def _bag_axis(x: float, y: float, width: float) -> Axis:
    return Axis(x, y, 0.0, 1.0, width)


def bag_image_side(figure: Figure) -> int:
    """Side of the image (frontal) on which the bag hangs: -1 left, +1 right."""
    return figure.body.bag_side * (-1 if figure.shot.view == "front" else 1)


def near_side(figure: Figure) -> bool:
    """Whether the bag's side is the one that a side view shows."""
    return (figure.body.bag_side == 1) == (figure.shot.view == "right")


def add_bag_behind(figure: Figure) -> None:
    """Draw what the trunk hides in part."""
    bag, shot = figure.look["bag"], figure.shot
    if bag == "backpack" and shot.view == "front":
        c = figure.body.chest + 0.010
        figure.fill(Surface.BAG, box(0, 0.30, c + 0.012, 0.115), axis=_bag_axis(0, 0.2, c), shade=0.85)
    elif bag == "backpack" and not shot.frontal:
        x = -0.062 - figure.body.belly * 0.2
        points = [
            (x + 0.03, 0.185),
            (x - 0.05, 0.20),
            (x - 0.078, 0.28),
            (x - 0.080, 0.38),
            (x - 0.04, 0.425),
            (x + 0.03, 0.415),
        ]
        figure.fill(Surface.BAG, closed_curve(points), axis=_bag_axis(x - 0.03, 0.2, 0.06), height=1.2)
        figure.mark([(x - 0.078, 0.33), (x, 0.325)], width=0.007, dark=0.45)
    elif bag == "shoulder bag" and not shot.frontal and not near_side(figure):
        figure.fill(Surface.BAG, box(0.045, 0.47, 0.040, 0.052), axis=_bag_axis(0.045, 0.42, 0.05), shade=0.8)
    elif bag == "handbag" and not shot.frontal and not near_side(figure):
        _handbag(figure)


def add_bag_before(figure: Figure) -> None:
    """Draw what lies on the trunk, before the arms."""
    bag = figure.look["bag"]
    if bag == "backpack":
        {"front": _straps, "back": _pack}.get(figure.shot.view, _strap_side)(figure)
    elif bag == "shoulder bag":
        if figure.shot.frontal:
            side = bag_image_side(figure)
            x = side * (figure.body.hip + 0.014)
            strap = [(-side * 0.058, 0.180), (0.0, 0.300), (x * 0.92, 0.43)]
            figure.fill(Surface.BAG, tube(strap, [0.0095, 0.0095, 0.0095]), axis=_bag_axis(0, 0.2, 0.02), height=1.8)
        elif near_side(figure):
            strap = [(-0.004, 0.178), (0.006, 0.30), (0.0, 0.43)]
            figure.fill(Surface.BAG, tube(strap, [0.009, 0.009, 0.009]), axis=_bag_axis(0, 0.2, 0.02), height=1.8)


def add_bag_over(figure: Figure) -> None:
    """Draw what hangs over or from the arms."""
    bag = figure.look["bag"]
    if bag == "shoulder bag" and (figure.shot.frontal or near_side(figure)):
        x = bag_image_side(figure) * (figure.body.hip + 0.014) if figure.shot.frontal else -0.01
        _body(figure, x, 0.478, 0.052, 0.052)
        figure.fill(
            Surface.BAG, box(x, 0.452, 0.053, 0.026), axis=_bag_axis(x, 0.43, 0.05), shade=0.82, height=2.2, stroke=0.8
        )
    elif bag == "handbag" and (figure.shot.frontal or near_side(figure)):
        _handbag(figure)


def _handbag(figure: Figure) -> None:
    x, y = _carrying_hand(figure)
    handle = [(x - 0.026, y + 0.052), (x - 0.018, y + 0.008), (x + 0.018, y + 0.008), (x + 0.026, y + 0.052)]
    figure.fill(Surface.BAG, tube(handle, [0.007] * 4), axis=_bag_axis(x, y, 0.03), shade=0.85)
    _body(figure, x, y + 0.092, 0.056, 0.046)
    figure.mark([(x - 0.05, y + 0.064), (x + 0.05, y + 0.064)], width=0.007, dark=0.45)


def _carrying_hand(figure: Figure) -> tuple[float, float]:
    if figure.shot.frontal:
        return figure.hands[0 if bag_image_side(figure) == -1 else 1]
    return figure.hands[1 if near_side(figure) else 0]


def _body(figure: Figure, x: float, y: float, half: float, tall: float) -> None:
    figure.fill(Surface.BAG, box(x, y, half, tall, 0.4), axis=_bag_axis(x, y - tall, half), height=2.0)


def _straps(figure: Figure) -> None:
    s = figure.body.shoulder
    for side in (-1, 1):
        strap = [(side * s * 0.42, 0.178), (side * s * 0.45, 0.25), (side * s * 0.56, 0.345)]
        figure.fill(
            Surface.BAG, tube(strap, [0.014, 0.014, 0.012]), axis=_bag_axis(side * s * 0.45, 0.2, 0.02), height=1.8
        )


def _pack(figure: Figure) -> None:
    half = max(figure.body.chest * 0.82, 0.072)
    points = [(half * 0.5, 0.188), (half * 0.92, 0.215), (half, 0.33), (half * 0.92, 0.425), (half * 0.3, 0.437)]
    outline = closed_curve([*points, *[(-x, y) for x, y in reversed(points)]])
    figure.fill(Surface.BAG, outline, axis=_bag_axis(0, 0.2, half), height=2.4)
    figure.fill(
        Surface.BAG, box(0, 0.382, half * 0.7, 0.036), axis=_bag_axis(0, 0.34, half), shade=0.84, height=2.6, stroke=0.8
    )
    figure.mark([(-half * 0.75, 0.262), (0, 0.250), (half * 0.75, 0.262)], width=0.007, dark=0.45)


def _strap_side(figure: Figure) -> None:
    strap = [(-0.040, 0.190), (0.0, 0.178), (0.034, 0.215), (0.030, 0.29), (-0.02, 0.355)]
    figure.fill(Surface.BAG, tube(strap, [0.012] * 5), axis=_bag_axis(0, 0.2, 0.02), height=1.8)
