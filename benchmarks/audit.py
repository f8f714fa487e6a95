"""How far apart `reidsynth audit` finds copies of a photograph, and how far strangers.

python benchmarks/audit.py --people 250
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable

import numpy as np
from PIL import Image

from reidsynth.fingerprints import MOST_DISTANCE, distances, near_pairs, perceptual_hash
from reidsynth.images import decode
from reidsynth.sources import build_source


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """Encoded as JPEG and decoded again."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return decode(buffer.getvalue())


def resized(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """At another size."""
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def cropped(image: np.ndarray, share: float) -> np.ndarray:
    """Without a share of the width and the height at every side."""
    y, x = round(image.shape[0] * share), round(image.shape[1] * share)
    return np.ascontiguousarray(image[y : image.shape[0] - y, x : image.shape[1] - x])


COPIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "JPEG, quality 90": lambda image: jpeg(image, 90),
    "JPEG, quality 75": lambda image: jpeg(image, 75),
    "JPEG, quality 50": lambda image: jpeg(image, 50),
    "JPEG, quality 30": lambda image: jpeg(image, 30),
    "half the size": lambda image: resized(image, image.shape[1] // 2, image.shape[0] // 2),
    "128x384, JPEG, quality 75": lambda image: jpeg(resized(image, 128, 384), 75),
    "10 % brighter": lambda image: np.clip(image * 1.1, 0, 255).astype(np.uint8),
    "1 % cropped at every side": lambda image: cropped(image, 0.01),
    "3 % cropped at every side": lambda image: cropped(image, 0.03),
    "mirrored": lambda image: np.ascontiguousarray(image[:, ::-1]),
}


def main() -> None:
    """Draw people, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=250)
    arguments = parser.parse_args()
    source = build_source("demo", {"train": arguments.people, "val": 0, "test": 0, "observations": 4})
    records = list(source.records("train"))
    photos = [decode(source.read(record).images["rgb"]) for record in records]
    pids = np.array([record.pid for record in records])
    began = time.process_time()
    hashes = np.stack([found for photo in photos if (found := perceptual_hash(photo)) is not None])
    each = (time.process_time() - began) / len(photos)
    first, second = np.triu_indices(len(hashes), 1)
    apart, strangers = distances(hashes[first], hashes[second]), pids[first] != pids[second]
    print(f"{len(photos)} photographs of {arguments.people} drawn people, {1e6 * each:.0f} us of CPU a hash")
    for name, chosen in (("strangers", apart[strangers]), ("one person, two photographs", apart[~strangers])):
        low = ", ".join(f"{np.quantile(chosen, q):.0f}" for q in (1e-4, 1e-2, 0.5))
        near = int((chosen <= MOST_DISTANCE).sum())
        print(f"{name}: {len(chosen):,} pairs, nearest {chosen.min()}, quantiles 1e-4, 1e-2, 0.5: {low}; {near} near")
    for name, copy in COPIES.items():
        made = [perceptual_hash(copy(photo)) for photo in photos]
        bits = distances(hashes, np.stack([found for found in made if found is not None]))
        near = (bits <= MOST_DISTANCE).mean()
        print(
            f"{name}: median {np.median(bits):.0f}, 99 % {np.quantile(bits, 0.99):.0f}, most {bits.max()}; {near:.1%}"
        )
    random = np.random.default_rng(0).integers(0, 2**64, (1_000_000, 4), dtype=np.uint64)
    began = time.process_time()
    near_pairs(random, MOST_DISTANCE)
    print(f"search among a million random hashes: {time.process_time() - began:.0f} s of CPU")


if __name__ == "__main__":
    main()
