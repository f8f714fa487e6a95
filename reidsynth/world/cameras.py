"""Cameras of the drawn world, and the single shots that they take."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from reidsynth.draws import sample_rng

VIEWS = ("front", "back", "left", "right")


@dataclass(frozen=True, slots=True)
class Camera:
    """What stays the same over a camera's shots.

    Args:
        seed: of the world.
        index: number of the camera.
        views: probability of each of VIEWS.
        exposure: gain of the colour image.
        cast: gain per colour channel.
        saturation: 1 leaves colours as they are.
        contrast: slope around mid grey.
        light: side that light comes from, -1 left to +1 right.
        blur: standard deviation of the lens blur, in pixels of a 128-pixel-high image.
        noise: standard deviation of the sensor noise, 0..255.
        resolution: share of the pixels that the sensor resolves.
        occlusion: probability that something stands before the person.
        horizon: height of the ground's far edge, 0 top to 1 bottom.
        lamp: centre of the infrared lamp's spot, (x, y) in 0..1.
        lamp_width: width of that spot.
        infrared_gain: gain of the infrared image.
        infrared_noise: standard deviation of its noise, 0..255.
    """

    seed: int
    index: int
    views: tuple[float, float, float, float]
    exposure: float
    cast: tuple[float, float, float]
    saturation: float
    contrast: float
    light: float
    blur: float
    noise: float
    resolution: float
    occlusion: float
    horizon: float
    lamp: tuple[float, float]
    lamp_width: float
    infrared_gain: float
    infrared_noise: float


@lru_cache(maxsize=256)
def camera(seed: int, index: int) -> Camera:
    """Return a camera of a world."""
    rng = sample_rng(seed, f"camera/{index}", "camera")
    views = np.full(4, 0.12)
    views[index % 4] += 0.52
    warmth = rng.normal(0, 0.05)
    return Camera(
        seed=seed,
        index=index,
        views=(views[0], views[1], views[2], views[3]),
        exposure=float(rng.uniform(0.88, 1.10)),
        cast=(1 + warmth, 1 + float(rng.normal(0, 0.018)), 1 - warmth),
        saturation=float(rng.uniform(0.8, 1.08)),
        contrast=float(rng.uniform(0.92, 1.14)),
        light=float(rng.uniform(-1, 1)),
        blur=float(rng.uniform(0.0, 0.55)),
        noise=float(rng.uniform(1.5, 4.5)),
        resolution=float(rng.uniform(0.72, 1.0)),
        occlusion=float(rng.uniform(0.04, 0.16)),
        horizon=float(rng.uniform(0.34, 0.56)),
        lamp=(float(rng.uniform(0.35, 0.65)), float(rng.uniform(0.35, 0.55))),
        lamp_width=float(rng.uniform(0.62, 0.9)),
        infrared_gain=float(rng.uniform(0.88, 1.12)),
        infrared_noise=float(rng.uniform(3.0, 6.5)),
    )


@dataclass(frozen=True, slots=True)
class Shot:
    """View, pose and placement of one capture; shared by its colour image, infrared image and sketch.

    Args:
        view: one of VIEWS; `left` walks to the left of the image.
        phase: of the step, in radians.
        stride: 0 stands, 1 strides.
        yaw: small turn within the view, -1..1.
        lean: sideways tilt.
        bend: how far each arm's elbow is bent, 0..1 (image left, image right).
        spread: how far arms stand off the body, 0..1.
        tilt: how much larger the head appears than the feet.
        fill: share of the image height that the person takes.
        offset: shift of the person's axis and of the soles, share of width and of height.
        occluder: "" or what stands before the person.
        occluder_place: 0..1, where.
    """

    view: str
    phase: float
    stride: float
    yaw: float
    lean: float
    bend: tuple[float, float]
    spread: float
    tilt: float
    fill: float
    offset: tuple[float, float]
    occluder: str
    occluder_place: float

    @property
    def frontal(self) -> bool:
        """Whether the person is seen from the front or the back."""
        return self.view in ("front", "back")


OCCLUDERS = ("bollard", "bush", "pole", "railing")


def shot(taken_by: Camera, key: str, observation: int) -> Shot:
    """Draw view, pose and placement of one observation of the identity with this key."""
    rng = sample_rng(taken_by.seed, f"{key}/{taken_by.index}/{observation}", "shot")
    view = VIEWS[min(int(np.searchsorted(np.cumsum(taken_by.views), rng.random())), 3)]
    stands = rng.random() < 0.25
    bend = rng.uniform(0, 0.45, 2)
    if rng.random() < 0.22:
        bend[int(rng.integers(2))] = rng.uniform(0.75, 1.0)
    occluded = rng.random() < taken_by.occlusion
    return Shot(
        view=view,
        phase=float(rng.uniform(0, 2 * np.pi)),
        stride=float(rng.uniform(0.02, 0.15) if stands else rng.uniform(0.45, 1.0)),
        yaw=float(rng.uniform(-1, 1)),
        lean=float(rng.normal(0, 0.014)),
        bend=(float(bend[0]), float(bend[1])),
        spread=float(rng.uniform(0.1, 0.9)),
        tilt=float(rng.uniform(-0.03, 0.09)),
        fill=float(rng.uniform(0.86, 0.915)),
        offset=(float(rng.uniform(-0.05, 0.05)), float(rng.uniform(-0.012, 0.012))),
        occluder=OCCLUDERS[int(rng.integers(len(OCCLUDERS)))] if occluded else "",
        occluder_place=float(rng.random()),
    )
