"""The near-infrared image of a capture: lit by a lamp at the camera, bright where skin and fabrics reflect.

No visible colour enters. Reflectance follows from materials, the pattern's second dye and the fabric's relief; hair and
skin have their own.
"""

from __future__ import annotations

import cv2
import numpy as np

from reidsynth.world.cameras import Camera
from reidsynth.world.colour import Fields, sensor_noise
from reidsynth.world.fabrics import CLOTH, SLOT_SURFACES, is_any
from reidsynth.world.figure import Surface
from reidsynth.world.identities import Body
from reidsynth.world.raster import Pixels


def reflectance(body: Body) -> np.ndarray:
    """Surface -> near-infrared reflectance, (n,) float32 in 0..1."""
    table = np.full(len(Surface), 0.5, dtype=np.float32)
    table[Surface.SKIN] = body.infrared["skin"]
    table[Surface.HAIR] = body.infrared["hair"]
    for slot, surfaces in SLOT_SURFACES.items():
        for surface in surfaces:
            table[surface] = body.infrared[slot]
    table[Surface.SECOND] = np.clip(body.infrared["upper"] + body.infrared_step, 0.08, 1.0)
    table[Surface.FRAME] = 0.06
    table[Surface.LENS] = 0.62
    table[Surface.INNER] = 0.72
    table[Surface.SOLE] = 0.8
    return table


def person(pixels: Pixels, body: Body, fields: Fields) -> np.ndarray:
    """Infrared brightness of the person's pixels, (N,) float32 in 0..255."""
    pattern, relief, folds = fields
    table = reflectance(body)
    value = table[pixels.surface]
    upper = pixels.surface == Surface.UPPER
    value = np.where(upper, value + (table[Surface.SECOND] - value) * pattern, value)
    cloth = is_any(pixels.surface, CLOTH)
    value = value * (1 + 0.20 * relief) + np.where(cloth, 0.055 * relief, 0.0)
    # The lamp stands at the camera: surfaces that turn away darken evenly on both sides.
    value *= (1.05 - 0.24 * pixels.across**2) * (0.35 + 0.65 * pixels.shade)
    value *= 1 + np.where(cloth, 0.045 * folds, 0.0)
    value *= 1 - np.where(pixels.ink > 0, 0.7 * pixels.ink, 0.0)
    value += np.where(pixels.ink < 0, -0.3 * pixels.ink, 0.0)
    return np.asarray(value * 228.0, dtype=np.float32)


def develop(image: np.ndarray, camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """What the infrared camera makes of it, (H, W) uint8: lamp spot, soft lens, noise that grows in the dark."""
    height, width = image.shape
    x = (np.arange(width, dtype=np.float32) + 0.5) / width - camera.lamp[0]
    y = (np.arange(height, dtype=np.float32) + 0.5) / height - camera.lamp[1]
    spot = np.exp(-(x[None, :] ** 2 * 0.6 + y[:, None] ** 2) / (camera.lamp_width**2))
    image = image * spot * (camera.infrared_gain * float(rng.uniform(0.92, 1.08))) + 8.0
    sigma = (0.35 + 0.3 * float(rng.random())) * height / 128
    if sigma > 0.3:
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    image = image + sensor_noise(rng, height, width, 1) * camera.infrared_noise
    return np.asarray(np.clip(image, 0, 255).astype(np.uint8))
