"""The drawn world: seed and size in, identities and captures out."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from reidsynth.draws import sample_rng
from reidsynth.world import captions, colour, fabrics, infrared, scenery, sketch
from reidsynth.world.assembly import draw_figure
from reidsynth.world.cameras import camera, shot
from reidsynth.world.figure import Figure, Surface
from reidsynth.world.identities import Identity, Look, body, take_identities
from reidsynth.world.raster import Canvas, Pixels, frame_of, pixels_of, rasterize

CAPTIONS = 2
_PARTS: dict[str, tuple[Surface, ...]] = {
    "hair": (Surface.HAIR,),
    "headwear": (Surface.HEADWEAR, Surface.HOOD),
    "glasses": (Surface.FRAME, Surface.LENS),
    "upper": (Surface.UPPER, Surface.SECOND),
    "lower": (Surface.LOWER,),
    "shoes": (Surface.SHOES, Surface.SOLE),
    "bag": (Surface.BAG,),
    "logo": (Surface.SECOND,),
}


@dataclass(frozen=True, slots=True)
class Capture:
    """One observation of one identity in all modalities.

    Args:
        rgb: (H, W, 3) uint8.
        mask: (H, W) uint8, 255 where the person is visible, else 0.
        ir: (H, W) uint8, near infrared.
        sketch: (H, W) uint8, black on white.
        captions: two sentences.
        attributes: what this view shows; None elsewhere.
        view: front, back, left or right.
    """

    rgb: np.ndarray
    mask: np.ndarray
    ir: np.ndarray
    sketch: np.ndarray
    captions: tuple[str, ...]
    attributes: Look
    view: str


@dataclass(frozen=True, slots=True)
class World:
    """A world of pedestrians; equal values draw equal pixels, on every machine and in any order.

    Args:
        seed: of identities, cameras, artists and shots.
        size: (height, width) of the images in pixels.
        hard: share of identities that differ from another in at most three attributes.
        detail: of the captions, see `captions.write`.

    Example:
        >>> world = World(seed=0, size=(128, 64))
        >>> person = world.identities("train", 1)[0]
        >>> world.draw(person, camera_index=2, observation=0).rgb.shape
        (128, 64, 3)
    """

    seed: int = 0
    size: tuple[int, int] = (128, 64)
    hard: float = 0.5
    detail: float = 1.0

    def identities(self, split: str, count: int) -> list[Identity]:
        """Return the first `count` identities of a split (`pretrain`, `train`, `val`, `test`)."""
        return take_identities(self.seed, split, count, hard=self.hard)

    def draw(self, identity: Identity, camera_index: int, observation: int) -> Capture:
        """Draw one observation by one camera in every modality."""
        taken_by = camera(self.seed, camera_index)
        key = f"{identity.key}/{camera_index}/{observation}"
        taken = shot(taken_by, identity.key, observation)
        look, shape = identity.look, body(identity)
        figure = draw_figure(identity, taken)
        height, width = self.size
        scale = max(2, round(384 / height))
        canvas = rasterize(figure, frame_of(taken, height * scale, width * scale))
        pixels = pixels_of(canvas)
        rng = sample_rng(self.seed, key, "scene")
        fields = (
            fabrics.pattern_field(pixels, look, shape),
            fabrics.texture_field(pixels, shape),
            fabrics.fold_field(pixels, (float(rng.uniform(0, 3)), float(rng.uniform(0, 3)))),
        )
        alpha = _share(canvas.labels > 0, self.size)
        background, background_ir = scenery.backdrop(taken_by, self.size, rng)
        scenery.ground_shadow(background, taken, taken_by.light)
        before = scenery.occluder(taken, self.size, rng)
        mirror = float(np.sign(canvas.frame.scale[0]))
        rgb = colour.compose(
            canvas, pixels, colour.person(pixels, look, shape, fields, taken_by, mirror), background, alpha
        )
        ir = colour.compose(canvas, pixels, infrared.person(pixels, shape, fields), background_ir, alpha)
        if before is not None:
            cover, hue, reflected = before
            rgb = rgb * (1 - cover[..., None]) + hue * cover[..., None]
            ir = ir * (1 - cover) + reflected * cover
            alpha = alpha * (1 - cover)
        seen = captions.visible_attributes(look, taken.view, _visible_shares(canvas, pixels, before))
        words = sample_rng(self.seed, key, "text")
        return Capture(
            rgb=colour.develop(rgb, taken_by, sample_rng(self.seed, key, "rgb")),
            mask=np.where(alpha >= 0.5, 255, 0).astype(np.uint8),
            ir=infrared.develop(ir, taken_by, sample_rng(self.seed, key, "ir")),
            sketch=self._sketch(figure, canvas, pixels, fields, key),
            captions=tuple(captions.write(seen, taken.view, shape, words, self.detail) for _ in range(CAPTIONS)),
            attributes=seen,
            view=taken.view,
        )

    def _sketch(self, figure: Figure, canvas: Canvas, pixels: Pixels, fields: colour.Fields, key: str) -> np.ndarray:
        table = colour.palette(figure.look, figure.body) @ np.array([0.30, 0.59, 0.11], dtype=np.float32)
        tones = table[pixels.surface]
        upper = pixels.surface == Surface.UPPER
        tones = np.where(upper, tones + (table[Surface.SECOND] - tones) * (fields[0] > 0.4), tones)
        rng = sample_rng(self.seed, key, "sketch")
        style = sketch.artist(self.seed, int(rng.integers(sketch.ARTISTS)))
        return sketch.finish(sketch.draw_sketch(figure, canvas, pixels, fields, tones, style, rng), *self.size)


def _share(inside: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(cv2.resize(inside.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA))


def _visible_shares(
    canvas: Canvas, pixels: Pixels, before: tuple[np.ndarray, np.ndarray, float] | None
) -> dict[str, float]:
    """Part -> share of the person's pixels that show it."""
    surface = pixels.surface
    if before is not None:
        cover = cv2.resize(before[0], canvas.labels.shape[::-1], interpolation=cv2.INTER_NEAREST).ravel()
        surface = surface[cover[pixels.index] < 0.5]
    counts = np.bincount(surface, minlength=len(Surface))
    total = max(1, len(pixels.index))
    return {part: float(sum(counts[s] for s in surfaces)) / total for part, surfaces in _PARTS.items()}
