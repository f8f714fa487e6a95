"""Fingerprints of images: equal files by checksum, near-equal pictures by a perceptual hash.

The hash is the DCT hash of Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010), with
16 x 16 instead of 8 x 8 frequencies: crops of people are much alike at 8 x 8 (upright, dark on bright), and 256 bits
keep strangers far apart. `benchmarks/audit.py` holds the measured distances, of copies and of strangers.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

SIDE = 64
FREQUENCIES = 16
MOST_DISTANCE = FREQUENCIES - 1
"""Largest distance that the search promises to find: of 16 keys of 16 bits, 15 changed bits leave one alone."""

FLAT = 3.0
"""Standard deviation of the grey values below which an image has no structure that a hash could hold."""


def checksum(encoded: bytes) -> bytes:
    """SHA-256 of a file's bytes, 32 bytes."""
    return hashlib.sha256(encoded).digest()


def perceptual_hash(image: np.ndarray) -> np.ndarray | None:
    """Hash what an image shows, coarsely.

    Shrunk to 64 x 64 grey values; bit (u, v) tells whether the DCT coefficient of frequency (u, v) is above the median
    of the lowest 16 x 16 (the mean grey value, frequency (0, 0), gives no bit). Copies at another size, JPEG quality or
    brightness keep nearly all bits; mirrored, rotated and noticeably cropped ones do not.

    Args:
        image: uint8 (H, W) or (H, W, 3), RGB.

    Returns:
        uint64 (4,); None for an image too flat to be told from another (`FLAT`).
    """
    import cv2

    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image
    small = cv2.resize(grey.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    if small.std() < FLAT:
        return None
    low = cv2.dct(small)[:FREQUENCIES, :FREQUENCIES]
    bits = low > np.median(low.ravel()[1:])
    bits[0, 0] = False
    return np.packbits(bits[_ROWS, _COLUMNS]).view(np.uint64)


# Bits are stored so that each 16-bit key takes one frequency of every row and column: keys of neighbouring frequencies
# would be alike for most people, and a search by such keys would compare everybody with everybody.
_COLUMNS = np.tile(np.arange(FREQUENCIES), FREQUENCIES)
_ROWS = (_COLUMNS + np.repeat(np.arange(FREQUENCIES), FREQUENCIES)) % FREQUENCIES


def distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Number of different bits.

    Args:
        first: uint64 (N, 4).
        second: uint64 (N, 4).

    Returns:
        int (N,).
    """
    counted: np.ndarray = np.bitwise_count(first ^ second).sum(axis=1, dtype=np.int64)
    return counted


def near_pairs(hashes: np.ndarray, most: int) -> np.ndarray:
    """Find all pairs of hashes that differ in at most `most` bits.

    Hashes are sorted by each of their 16 keys in turn, and compared where keys are equal: of 16 keys at least one stays
    the same when up to 15 bits change, so nothing is missed, and memory grows with the hashes, not with their pairs.

    Args:
        hashes: uint64 (N, 4), all different.
        most: bits, 0 to MOST_DISTANCE.

    Returns:
        int64 (M, 2), first < second, in order.

    Raises:
        ValueError: `most` is out of range.
    """
    if not 0 <= most <= MOST_DISTANCE:
        raise ValueError(f"most is {most}: it must be 0 to {MOST_DISTANCE}")
    found = [pairs for key in range(FREQUENCIES) for pairs in _pairs_by_key(hashes, key, most)]
    if not found:
        return np.empty((0, 2), np.int64)
    return np.unique(np.concatenate(found), axis=0)


def _pairs_by_key(hashes: np.ndarray, key: int, most: int) -> Iterator[np.ndarray]:
    keys = np.ascontiguousarray(hashes).view(np.uint16).reshape(len(hashes), FREQUENCIES)[:, key]
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    left = np.arange(len(order))
    step = 0
    while len(left):
        step += 1  # compare each with the one `step` places further in its run of equal keys
        left = left[left + step < len(order)]
        left = left[ordered[left] == ordered[left + step]]
        one, other = order[left], order[left + step]
        near = distances(hashes[one], hashes[other]) <= most
        if near.any():
            yield np.sort(np.stack([one[near], other[near]], axis=1), axis=1)
