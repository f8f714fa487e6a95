"""From shapes to pixels: one map of labels from which colour image, infrared image, sketch and mask are rendered."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from reidsynth.world.cameras import Shot
from reidsynth.world.figure import Axis, Figure, Mark, Surface

_SHIFT = 4
_NEUTRAL = 128


@dataclass(frozen=True, slots=True)
class Frame:
    """Where body coordinates lie on an image.

    Args:
        height: of the image in pixels.
        width: of the image in pixels.
        scale: (x, y) pixels per body height; x is negative where the figure is mirrored.
        origin: pixel of body coordinate (0, 0).
        lean: sideways shift of the head, in body heights.
        tilt: how much wider the head is drawn than the feet.
    """

    height: int
    width: int
    scale: tuple[float, float]
    origin: tuple[float, float]
    lean: float
    tilt: float

    def place(self, points: np.ndarray) -> np.ndarray:
        """Body coordinates (N, 2) -> pixels (N, 2)."""
        x, y = points[:, 0], points[:, 1]
        wide = x * (1 + self.tilt * (0.5 - y)) + self.lean * (1 - y)
        placed = np.empty_like(points)
        placed[:, 0] = self.origin[0] + wide * self.scale[0]
        placed[:, 1] = self.origin[1] + y * self.scale[1]
        return placed


def frame_of(shot: Shot, height: int, width: int) -> Frame:
    """Return the frame of a shot on an image of this size."""
    tall = shot.fill * height
    # Narrow crops hold narrow people: that is what resizing every crop to one size does.
    squeeze = min(1.0, max(0.88, (width / height) / 0.44))
    mirror = -1.0 if shot.view == "left" else 1.0
    top = (height - tall) * 0.62 + shot.offset[1] * height
    return Frame(
        height=height,
        width=width,
        scale=(mirror * tall * squeeze, tall),
        origin=(width * (0.5 + shot.offset[0]), top),
        lean=shot.lean,
        tilt=shot.tilt,
    )


@dataclass(frozen=True, slots=True)
class Canvas:
    """The drawn person on a supersampled grid.

    Args:
        labels: (h, w) uint8, 0 outside the person; every shape has its own label.
        ink: (h, w) uint8, lines drawn on the shapes; 128 none, more is darker.
        surfaces: label -> Surface.
        shades: label -> brightness.
        heights: label -> how far it stands out.
        axes: label -> (x, y, dx, dy, width).
        frame: where body coordinates lie on this grid.
        placed: pixels of every item's line or outline, in the figure's order.
    """

    labels: np.ndarray
    ink: np.ndarray
    surfaces: np.ndarray
    shades: np.ndarray
    heights: np.ndarray
    axes: np.ndarray
    frame: Frame
    placed: list[np.ndarray]


def fixed(points: np.ndarray) -> np.ndarray:
    """Pixels as the fixed-point integers that OpenCV draws with 1/16 pixel precision."""
    return np.rint((points - 0.5) * (1 << _SHIFT)).astype(np.int32)


def rasterize(figure: Figure, frame: Frame) -> Canvas:
    """Fill all shapes and marks of a figure, back to front."""
    labels = np.zeros((frame.height, frame.width), dtype=np.uint8)
    ink = np.full_like(labels, _NEUTRAL)
    rows: list[tuple[Surface, float, float, Axis]] = [(Surface.NOTHING, 1.0, 0.0, Axis(0, 0, 0, 1, 1))]
    lines = [item.line if isinstance(item, Mark) else item.outline for item in figure.items]
    everything = frame.place(np.concatenate(lines))
    placed = np.split(everything, np.cumsum([len(line) for line in lines])[:-1])
    for item, where in zip(figure.items, placed, strict=True):
        if isinstance(item, Mark):
            thick = max(1, round(item.width * frame.scale[1]))
            value = int(np.clip(_NEUTRAL + item.dark * 127, 0, 255))
            cv2.polylines(ink, [fixed(where)], False, value, thick, cv2.LINE_8, _SHIFT)
            continue
        pixels = [fixed(where)]
        cv2.fillPoly(ink, pixels, _NEUTRAL, cv2.LINE_8, _SHIFT)
        cv2.fillPoly(labels, pixels, len(rows), cv2.LINE_8, _SHIFT)
        rows.append((item.surface, item.shade, item.height, item.axis))
        for outline, axis in item.inner:
            cv2.fillPoly(labels, [fixed(frame.place(outline))], len(rows), cv2.LINE_8, _SHIFT)
            rows.append((item.surface, item.shade, item.height, axis))
    return Canvas(
        labels=labels,
        ink=ink,
        surfaces=np.array([int(row[0]) for row in rows], dtype=np.uint8),
        shades=np.array([row[1] for row in rows], dtype=np.float32),
        heights=np.array([row[2] for row in rows], dtype=np.float32),
        axes=np.array([(a.x, a.y, a.dx, a.dy, a.width) for *_, a in rows], dtype=np.float32),
        frame=frame,
        placed=placed,
    )


@dataclass(frozen=True, slots=True)
class Pixels:
    """The person's pixels as flat arrays of one length; what every renderer reads.

    Args:
        index: into the flattened grid.
        label: of each pixel.
        surface: of each pixel.
        u: across the garment, in body heights.
        v: along the garment, in body heights.
        across: u in half widths, -1..1 over a limb.
        shade: brightness of the shape, with soft shadows of what stands before it.
        ink: -1..1, lines drawn on it.
    """

    index: np.ndarray
    label: np.ndarray
    surface: np.ndarray
    u: np.ndarray
    v: np.ndarray
    across: np.ndarray
    shade: np.ndarray
    ink: np.ndarray


def pixels_of(canvas: Canvas) -> Pixels:
    """Collect the person's pixels with their garment coordinates."""
    frame = canvas.frame
    flat = canvas.labels.ravel()
    index = np.flatnonzero(flat)
    label = flat[index]
    axes = canvas.axes[label]
    x = ((index % frame.width).astype(np.float32) + 0.5 - frame.origin[0]) / frame.scale[0]
    y = ((index // frame.width).astype(np.float32) + 0.5 - frame.origin[1]) / frame.scale[1]
    x -= axes[:, 0] + frame.lean * (1 - y)
    y -= axes[:, 1]
    u = x * axes[:, 3] - y * axes[:, 2]
    v = x * axes[:, 2] + y * axes[:, 3]
    heights = canvas.heights[canvas.labels]
    size = max(3, int(0.028 * frame.height) | 1)
    soft = cv2.blur(heights, (size, size)).ravel()[index]
    shadow = np.clip((soft - canvas.heights[label]) * 0.55, 0.0, 0.4)
    # The rim of the person turns away from the viewer.
    inside = cv2.blur((canvas.labels > 0).astype(np.float32), (size, size)).ravel()[index]
    rim = np.clip(1.0 - inside, 0.0, 0.6) * 0.22
    ink = (canvas.ink.ravel()[index].astype(np.float32) - _NEUTRAL) / 127.0
    return Pixels(
        index=index,
        label=label,
        surface=canvas.surfaces[label],
        u=u,
        v=v,
        across=np.clip(u / axes[:, 4], -1.3, 1.3),
        shade=canvas.shades[label] * (1 - shadow) * (1 - rim),
        ink=ink,
    )
