"""The matte: the person on an even ground. Steps that follow background removal ask for it; it is never stored."""

from __future__ import annotations

from typing import Literal

import numpy as np

Ground = Literal["white", "grey", "black"]

_LEVELS: dict[Ground, float] = {"white": 255.0, "grey": 127.5, "black": 0.0}
_SOFTENED = 0.7  # pixels: the edge of a mask is a staircase


def matte(photo: np.ndarray, mask: np.ndarray, ground: Ground = "white") -> np.ndarray:
    """Erase the background.

    Args:
        photo: uint8 (H, W, 3).
        mask: uint8 (H, W), probability of person times 255. Under a quarter counts as background and above three
            quarters as person, so that a network's doubt about the background leaves no ghost of it; the edge is
            softened by under a pixel.
        ground: what replaces the background.

    Returns:
        A new uint8 array (H, W, 3).
    """
    import cv2

    decided = np.clip(mask.astype(np.float32) / 127.5 - 0.5, 0.0, 1.0)
    share = cv2.GaussianBlur(decided, (0, 0), _SOFTENED)[:, :, None]
    erased: np.ndarray = (photo * share + _LEVELS[ground] * (1.0 - share)).round().astype(np.uint8)
    return erased
