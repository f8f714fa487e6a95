"""Head of the drawn person: neck, face, hair, glasses, headwear."""

from __future__ import annotations

from reidsynth.world.figure import Axis, Figure, Surface
from reidsynth.world.geometry import box, closed_curve, ellipse, mirrored, tube
from reidsynth.world.headwear import (
    HEAD_AXIS,
    Outline,
    add_headwear_back,
    add_headwear_front,
    add_headwear_side,
    scaled,
)

_FACE: Outline = [(0.024, 0.006), (0.045, 0.036), (0.049, 0.075), (0.042, 0.112), (0.020, 0.146)]
_LONG = ("long", "medium")


def _hair(figure: Figure, points: Outline, **options: float) -> None:
    figure.fill(Surface.HAIR, closed_curve(scaled(figure, points)), axis=HEAD_AXIS, **options)


def add_behind(figure: Figure) -> None:
    """Draw what hangs behind the trunk: long hair of a front view, the hood's back."""
    length, view = str(figure.look["hair_length"]), figure.shot.view
    if view == "front" and length == "long" and figure.look["headwear"] != "hood":
        _hair(figure, mirrored([(0.050, 0.02), (0.064, 0.10), (0.074, 0.20), (0.070, 0.29), (0.02, 0.28)]), shade=0.8)


def add_neck(figure: Figure) -> None:
    """Draw the neck."""
    half = 0.030 if figure.look["gender"] == "male" else 0.025
    x = 0.0 if figure.shot.frontal else -0.002
    figure.fill(
        Surface.SKIN,
        tube([(x + (0.006 if not figure.shot.frontal else 0), 0.12), (x, 0.19)], [half, half * 1.15]),
        shade=0.84,
    )


def add_head(figure: Figure) -> None:
    """Draw the head with hair, glasses and headwear as this view shows them."""
    {"front": _front, "back": _back}.get(figure.shot.view, _side)(figure)


def _front(figure: Figure) -> None:
    look, yaw = figure.look, 0.010 * figure.shot.yaw
    length = str(look["hair_length"])
    if look["headwear"] == "hood":
        _front_hood(figure, yaw)
        return
    _front_hair_behind(figure, length)
    figure.fill(Surface.SKIN, ellipse(-0.048, 0.082, 0.008, 0.015), axis=HEAD_AXIS, shade=0.9)
    figure.fill(Surface.SKIN, ellipse(0.048, 0.082, 0.008, 0.015), axis=HEAD_AXIS, shade=0.9)
    figure.fill(Surface.SKIN, closed_curve(scaled(figure, mirrored(_FACE))), axis=HEAD_AXIS, height=1.4)
    _features(figure, yaw)
    if length != "bald":
        _hair_fringe(figure, 0.046, 0.056, yaw)
    _front_locks(figure, length)
    add_headwear_front(figure)


def _front_hair_behind(figure: Figure, length: str) -> None:
    if length == "ponytail":
        tail = scaled(figure, [(0.030, 0.06), (0.060, 0.12), (0.062, 0.20), (0.050, 0.25)])
        figure.fill(
            Surface.HAIR,
            tube(tail * (figure.body.bag_side, 1), [0.012, 0.020, 0.020, 0.006]),
            axis=HEAD_AXIS,
            shade=0.9,
        )
    if length == "bun":
        figure.fill(Surface.HAIR, ellipse(0, -0.012, 0.026, 0.024), axis=HEAD_AXIS, shade=0.9)
    if length in _LONG:
        _hair(
            figure,
            mirrored([(0.028, -0.003), (0.054, 0.030), (0.062, 0.090), (0.060, 0.165), (0.03, 0.165)]),
            shade=0.85,
        )
    elif length != "bald":
        _hair(figure, mirrored([(0.028, -0.003), (0.050, 0.026), (0.053, 0.078), (0.03, 0.09)]), shade=0.9)


def _front_locks(figure: Figure, length: str) -> None:
    if length == "long":
        for side in (-1, 1):
            lock = [
                (side * 0.040, 0.030),
                (side * 0.060, 0.09),
                (side * 0.066, 0.19),
                (side * 0.055, 0.27),
                (side * 0.036, 0.25),
                (side * 0.042, 0.12),
            ]
            _hair(figure, lock, height=1.5)
    elif length == "medium":
        for side in (-1, 1):
            _hair(
                figure,
                [
                    (side * 0.036, 0.026),
                    (side * 0.060, 0.08),
                    (side * 0.062, 0.155),
                    (side * 0.040, 0.163),
                    (side * 0.043, 0.09),
                ],
                height=1.5,
            )


def _front_hood(figure: Figure, yaw: float) -> None:
    _hood(
        figure,
        mirrored([(0.022, -0.020), (0.062, 0.020), (0.074, 0.085), (0.070, 0.150), (0.060, 0.196), (0.02, 0.20)]),
    )
    opening = scaled(figure, mirrored([(0.014, 0.020), (0.042, 0.050), (0.046, 0.095), (0.034, 0.140), (0.012, 0.162)]))
    figure.fill(Surface.SKIN, closed_curve(opening), axis=HEAD_AXIS, height=1.1)
    _features(figure, yaw)
    if figure.look["hair_length"] != "bald":
        _hair_fringe(figure, 0.038, 0.052, yaw)
    rim = scaled(
        figure,
        [
            (-0.046, 0.10),
            (-0.042, 0.052),
            (0, 0.018),
            (0.042, 0.052),
            (0.046, 0.10),
            (0.034, 0.142),
            (0.0, 0.165),
            (-0.034, 0.142),
            (-0.046, 0.10),
        ],
    )
    figure.mark(rim, width=0.012, dark=0.6)


def _hair_fringe(figure: Figure, y: float, half: float, yaw: float) -> None:
    part = 0.016 * figure.body.bag_side + yaw
    _hair(
        figure,
        [(-half * 0.92, y + 0.024), (-half, 0.036), (-0.034, 0.003), (0, -0.008), (0.034, 0.003), (half, 0.036),
         (half * 0.92, y + 0.024), (0.034, y - 0.002), (part, y - 0.016), (-0.034, y - 0.002)],
        height=1.5,
    )  # fmt: skip


def _features(figure: Figure, yaw: float) -> None:
    """Eyes, brows, nose, mouth, beard, and glasses before them."""
    look, s = figure.look, figure.body.head
    if look["gender"] == "male" and figure.body.logo >= 4 and look["hair_length"] != "long":
        beard = [
            (0.044, 0.090),
            (0.040, 0.118),
            (0.020, 0.148),
            (-0.020, 0.148),
            (-0.040, 0.118),
            (-0.044, 0.090),
            (-0.026, 0.108),
            (0, 0.104),
            (0.026, 0.108),
        ]
        if look["hair_length"] != "bald":
            _hair(figure, beard, shade=0.9, stroke=0.5)
    eye_y = 0.15 + (0.077 - 0.15) * s
    for side in (-1, 1):
        x = side * 0.020 * s + yaw
        figure.mark([(x - 0.007, eye_y), (x + 0.007, eye_y)], width=0.0075, dark=0.8)
        figure.mark([(x - 0.010, eye_y - 0.014), (x + 0.010, eye_y - 0.015)], width=0.005, dark=0.5)
    figure.mark([(yaw * 1.3 - 0.001, eye_y + 0.008), (yaw * 1.4 + 0.006, eye_y + 0.026)], width=0.004, dark=0.28)
    figure.mark(
        [(yaw - 0.013, eye_y + 0.042), (yaw, eye_y + 0.045), (yaw + 0.013, eye_y + 0.042)], width=0.006, dark=0.5
    )
    if look["glasses"] != "none":
        _glasses_front(figure, yaw, eye_y)


def _glasses_front(figure: Figure, yaw: float, y: float) -> None:
    sun = figure.look["glasses"] == "sunglasses"
    figure.fill(Surface.FRAME, box(yaw * 0.6, y - 0.004, 0.049, 0.005), axis=HEAD_AXIS, stroke=0.6)
    for side in (-1, 1):
        x = side * 0.0245 + yaw
        figure.fill(Surface.FRAME, box(x, y + 0.001, 0.0225, 0.0185, 0.6), axis=HEAD_AXIS, height=1.6)
        if not sun:
            figure.fill(Surface.LENS, box(x, y + 0.001, 0.0125, 0.0105, 0.6), axis=HEAD_AXIS, height=1.6, stroke=0.6)


def _hood(figure: Figure, points: Outline) -> None:
    figure.fill(Surface.HOOD, closed_curve(scaled(figure, points)), axis=Axis(0, 0, 0, 1, 0.072), height=1.7)


def _back(figure: Figure) -> None:
    look, length = figure.look, str(figure.look["hair_length"])
    if look["headwear"] == "hood":
        _hood(
            figure,
            mirrored([(0.022, -0.020), (0.062, 0.020), (0.072, 0.085), (0.066, 0.150), (0.072, 0.205), (0.02, 0.222)]),
        )
        figure.mark([(0, -0.016), (0.003, 0.10), (0, 0.205)], width=0.006, dark=0.4)
        return
    for side in (-1, 1):
        figure.fill(Surface.SKIN, ellipse(side * 0.048, 0.082, 0.008, 0.015), axis=HEAD_AXIS, shade=0.9)
    figure.fill(
        Surface.SKIN, closed_curve(scaled(figure, mirrored([*_FACE[:4], (0.030, 0.138)]))), axis=HEAD_AXIS, height=1.4
    )
    bottom = {"bald": 0.0, "short": 0.118, "medium": 0.172, "long": 0.30}.get(length, 0.126)
    if bottom > 0.2:
        _hair(
            figure,
            mirrored(
                [(0.028, -0.003), (0.053, 0.028), (0.060, 0.10), (0.072, 0.20), (0.060, bottom), (0.02, bottom + 0.01)]
            ),
            height=1.9,
        )
    elif bottom:
        wide = 0.060 if length == "medium" else 0.050
        _hair(
            figure,
            mirrored([(0.028, -0.003), (0.051, 0.028), (0.053, 0.08), (wide, bottom - 0.018), (0.02, bottom)]),
            height=1.5,
        )
    if length in _LONG:
        figure.mark([(0.012, 0.05), (0.020, bottom - 0.02)], width=0.005, dark=0.3)
        figure.mark([(-0.020, 0.06), (-0.026, bottom - 0.03)], width=0.005, dark=0.3)
    if length == "ponytail":
        sway = 0.012 * figure.shot.yaw
        tail = [(0, 0.045), (sway * 0.5, 0.10), (sway, 0.18), (sway * 1.4, 0.245)]
        figure.fill(Surface.HAIR, tube(tail, [0.014, 0.024, 0.022, 0.006]), axis=HEAD_AXIS, height=2.2)
        figure.mark([(-0.013, 0.055), (0.013, 0.055)], width=0.009, dark=0.6)
    if length == "bun":
        figure.fill(Surface.HAIR, ellipse(0, 0.018, 0.029, 0.027), axis=HEAD_AXIS, height=2.2)
        figure.mark([(-0.018, 0.020), (0.0, 0.034), (0.018, 0.022)], width=0.005, dark=0.4)
    add_headwear_back(figure)


def _side(figure: Figure) -> None:
    """Head of a person who walks to the right."""
    look, length = figure.look, str(figure.look["hair_length"])
    if look["headwear"] == "hood":
        face = [
            (0.020, 0.018),
            (0.052, 0.040),
            (0.055, 0.066),
            (0.067, 0.088),
            (0.056, 0.100),
            (0.054, 0.128),
            (0.030, 0.150),
            (0.0, 0.13),
            (0.0, 0.03),
        ]
        figure.fill(Surface.SKIN, closed_curve(scaled(figure, face)), axis=HEAD_AXIS, height=1.1)
        _profile(figure)
        _hood(
            figure,
            [
                (0.046, -0.004),
                (0.036, 0.060),
                (0.030, 0.110),
                (0.036, 0.170),
                (0.030, 0.200),
                (-0.050, 0.206),
                (-0.068, 0.14),
                (-0.074, 0.06),
                (-0.050, -0.002),
                (0.006, -0.020),
            ],
        )
        figure.mark(
            scaled(figure, [(0.044, 0.0), (0.033, 0.06), (0.028, 0.11), (0.034, 0.165)]), width=0.010, dark=0.45
        )
        return
    if length == "ponytail":
        tail = [(-0.050, 0.045), (-0.086, 0.085), (-0.096, 0.16), (-0.084, 0.23)]
        figure.fill(Surface.HAIR, tube(scaled(figure, tail), [0.012, 0.021, 0.020, 0.005]), axis=HEAD_AXIS)
    if length == "bun":
        figure.fill(Surface.HAIR, ellipse(-0.058, 0.022, 0.027, 0.026), axis=HEAD_AXIS)
    face = [
        (0.0, 0.0),
        (0.036, 0.012),
        (0.052, 0.040),
        (0.053, 0.066),
        (0.067, 0.090),
        (0.055, 0.100),
        (0.056, 0.128),
        (0.034, 0.148),
        (0.004, 0.135),
        (-0.040, 0.11),
        (-0.050, 0.06),
        (-0.036, 0.014),
    ]
    figure.fill(Surface.SKIN, closed_curve(scaled(figure, face)), axis=HEAD_AXIS, height=1.4)
    _profile(figure)
    if length != "bald":
        _hair_side(figure, length)
    if length not in _LONG:
        figure.fill(Surface.SKIN, ellipse(-0.006, 0.082, 0.010, 0.016), axis=HEAD_AXIS, shade=0.92, stroke=0.6)
    if look["glasses"] != "none":
        figure.mark(scaled(figure, [(-0.008, 0.074), (0.036, 0.072)]), width=0.009, dark=0.9)
    add_headwear_side(figure)


def _hair_side(figure: Figure, length: str) -> None:
    crown: Outline = [(0.052, 0.038), (0.040, 0.008), (0.006, -0.010), (-0.036, 0.000), (-0.060, 0.036)]
    if length == "long":
        rest = [
            (-0.066, 0.11),
            (-0.082, 0.21),
            (-0.064, 0.295),
            (-0.030, 0.27),
            (-0.014, 0.16),
            (0.004, 0.10),
            (0.020, 0.050),
        ]
    elif length == "medium":
        rest = [(-0.066, 0.10), (-0.064, 0.160), (-0.020, 0.174), (0.004, 0.145), (0.006, 0.09), (0.022, 0.050)]
    else:
        rest = [(-0.058, 0.085), (-0.040, 0.122), (-0.022, 0.105), (-0.018, 0.068), (0.004, 0.074), (0.014, 0.042)]
    _hair(figure, [*crown, *rest], height=1.5)


def _profile(figure: Figure) -> None:
    look = figure.look
    if look["gender"] == "male" and figure.body.logo >= 4 and look["hair_length"] not in ("bald", "long"):
        _hair(
            figure,
            [
                (0.056, 0.106),
                (0.057, 0.130),
                (0.034, 0.152),
                (0.006, 0.136),
                (-0.008, 0.10),
                (0.014, 0.112),
                (0.036, 0.112),
            ],
            shade=0.9,
            stroke=0.5,
        )
    figure.mark(scaled(figure, [(0.036, 0.076), (0.046, 0.076)]), width=0.0075, dark=0.8)
    figure.mark(scaled(figure, [(0.034, 0.062), (0.050, 0.062)]), width=0.005, dark=0.5)
    figure.mark(scaled(figure, [(0.042, 0.118), (0.054, 0.117)]), width=0.005, dark=0.5)
    if look["glasses"] != "none":
        figure.fill(Surface.FRAME, box(0.044, 0.077, 0.0185, 0.018, 0.6), axis=HEAD_AXIS, height=1.6)
        if look["glasses"] == "glasses":
            figure.fill(Surface.LENS, box(0.045, 0.077, 0.0095, 0.0105, 0.6), axis=HEAD_AXIS, height=1.6, stroke=0.6)
