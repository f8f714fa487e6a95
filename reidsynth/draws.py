"""Random draws that depend on what is drawn for, never on when, where or in which order."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def sample_seed(seed: int, sample_id: str, step: str) -> int:
    """Return a 64-bit seed made from (seed, sample_id, step).

    Example:
        >>> sample_seed(0, "demo/a", "build-ir") == sample_seed(0, "demo/a", "build-ir")
        True
        >>> sample_seed(0, "demo/a", "build-ir") == sample_seed(1, "demo/a", "build-ir")
        False
    """
    message = f"{seed}\x1f{sample_id}\x1f{step}".encode()
    return int.from_bytes(hashlib.blake2b(message, digest_size=8).digest(), "little")


def sample_rng(seed: int, sample_id: str, step: str) -> np.random.Generator:
    """Return the generator of one sample in one step; order, workers and resumption never change its draws."""
    import numpy as np

    return np.random.default_rng(sample_seed(seed, sample_id, step))
