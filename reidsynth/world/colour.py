"""The colour image of a capture."""

from __future__ import annotations

import cv2
import numpy as np

from reidsynth.world import vocabulary as words
from reidsynth.world.cameras import Camera
from reidsynth.world.fabrics import CLOTH, SLOT_SURFACES, is_any, noise_tile
from reidsynth.world.figure import Surface
from reidsynth.world.identities import Body, Look
from reidsynth.world.raster import Canvas, Pixels

Fields = tuple[np.ndarray, np.ndarray, np.ndarray]


def palette(look: Look, body: Body) -> np.ndarray:
    """Surface -> RGB, (n, 3) float32."""
    table = np.full((len(Surface), 3), 128.0, dtype=np.float32)
    table[Surface.SKIN] = words.SKIN_TONES[body.skin]
    table[Surface.HAIR] = words.HAIR_COLOURS.get(str(look["hair_colour"]), (60, 50, 44))
    for slot, surfaces in SLOT_SURFACES.items():
        name = look[f"{slot}_colour"]
        if name is not None:
            for surface in surfaces:
                table[surface] = np.asarray(words.COLOURS[name]) + body.tint[slot]
    if look["upper_pattern_colour"] is not None:
        table[Surface.SECOND] = words.COLOURS[str(look["upper_pattern_colour"])]
    table[Surface.FRAME] = (22, 22, 26)
    table[Surface.LENS] = (206, 212, 214)
    table[Surface.INNER] = ((222, 220, 214), (60, 60, 66), (128, 130, 134))[body.logo % 3]
    table[Surface.SOLE] = (232, 230, 224)
    return np.clip(table, 4, 250)


def person(pixels: Pixels, look: Look, body: Body, fields: Fields, camera: Camera, mirror: float) -> np.ndarray:
    """RGB of the person's pixels, (N, 3) float32, under the camera's light."""
    pattern, relief, folds = fields
    table = palette(look, body)
    rgb: np.ndarray = table[pixels.surface]
    mixed = np.flatnonzero((pattern > 0) & (pixels.surface == Surface.UPPER))
    share = pattern[mixed, None]
    rgb[mixed] = rgb[mixed] * (1 - share) + table[Surface.SECOND] * share
    cloth = is_any(pixels.surface, CLOTH)
    a = pixels.across
    light = 1.04 + 0.16 * camera.light * mirror * a - 0.17 * a * a
    light *= pixels.shade * (1 + np.where(cloth, 0.050 * folds, 0.0))
    # Dark cloth shows its weave by glints, bright cloth by shadows: an additive part keeps both visible.
    glint = 9.0 * relief
    light *= 1 + 0.085 * relief
    light *= 1 - np.where(pixels.ink > 0, 0.8 * pixels.ink, 0.0)
    rgb *= light[:, None]
    rgb += (np.where(cloth, glint, 0.0) + np.where(pixels.ink < 0, -90 * pixels.ink, 0.0))[:, None]
    return rgb


def compose(
    canvas: Canvas, pixels: Pixels, values: np.ndarray, background: np.ndarray, alpha: np.ndarray
) -> np.ndarray:
    """Put the person's supersampled pixels on a background of the final size.

    Args:
        canvas: the supersampled grid.
        pixels: the person's pixels.
        values: (N, C) or (N,) float32.
        background: (H, W, C) or (H, W) float32.
        alpha: (H, W) share of the person in every final pixel.
    """
    shape = canvas.labels.shape + values.shape[1:]
    layer = np.zeros((canvas.labels.size, *values.shape[1:]), dtype=np.float32)
    layer[pixels.index] = values
    small = cv2.resize(layer.reshape(shape), background.shape[1::-1], interpolation=cv2.INTER_AREA)
    rest = 1 - alpha
    return np.asarray(small + background * (rest[..., None] if values.ndim == 2 else rest))


def develop(image: np.ndarray, camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """What lens and sensor of a camera make of the light, (H, W, 3) uint8."""
    height, width = image.shape[:2]
    grey = image @ np.array([0.30, 0.59, 0.11], dtype=np.float32)
    image = grey[..., None] + (image - grey[..., None]) * camera.saturation
    gain = camera.exposure * float(rng.uniform(0.92, 1.08))
    image = (image * gain - 118.0) * camera.contrast + 118.0
    image *= np.asarray(camera.cast, dtype=np.float32)
    resolution = min(1.0, camera.resolution * float(rng.uniform(0.9, 1.1)))
    if resolution < 0.97:
        size = (max(8, round(width * resolution)), max(16, round(height * resolution)))
        image = cv2.resize(cv2.resize(image, size, interpolation=cv2.INTER_AREA), (width, height))
    sigma = camera.blur * float(rng.uniform(0.6, 1.3)) * height / 128
    if sigma > 0.3:
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    image = image + sensor_noise(rng, height, width, 3) * camera.noise
    return np.clip(image, 0, 255).astype(np.uint8)


def sensor_noise(rng: np.random.Generator, height: int, width: int, channels: int) -> np.ndarray:
    """Unit noise from a tile, cut at random; drawing fresh normals would cost more than the whole figure."""
    tiles = []
    for channel in range(channels):
        tile = noise_tile(0.55, 11 + channel)
        y, x = (int(n) for n in rng.integers(0, 256, 2))
        rows = np.arange(y, y + height) & 255
        columns = np.arange(x, x + width) & 255
        tiles.append(tile[rows[:, None], columns[None, :]])
    return np.stack(tiles, axis=2) if channels > 1 else tiles[0]
