"""Pairs brought to the size that the translator works at, once, into one file that training maps into memory.

A pair is four bytes for each pixel: red, green, blue, target. Of a million pixels and tens of thousands of pairs only
what a batch holds is in memory, and every process of a run shares the pages. The file is as good as its key, which
says what it was made from; it is made anew where that changed, and removed when the run is finished.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from reidsynth import images, storage
from reidsynth.errors import UserError
from reidsynth.translator.pairs import Collected, Pair, PairSet

FOLDER = "pairs"
_ABOUT = "pairs.json"
_SIDES = ("learned", "held-out")
_FAILED_SHARE = 0.05
_AT_A_TIME = 256
_MOST_THREADS = 16


@dataclass(frozen=True, slots=True)
class Prepared:
    """Pairs ready to learn from.

    Args:
        learned: uint8 (N, 4, H, W), mapped from disk.
        held_out: the same, of those that are held out.
        names: of the held-out pairs.
        key: of everything.
        failed: reason -> pairs that could not be read.
    """

    learned: np.ndarray
    held_out: np.ndarray
    names: tuple[str, ...]
    key: str
    failed: Mapping[str, int]


def data_key(collected: Collected, size: tuple[int, int], held_out_limit: int) -> str:
    """Key of what `prepare` would make: names and stamps of all pairs, and the size."""
    sides = _sides(collected, held_out_limit).values()
    listed = [[(one.name, pair.name, pair.stamp) for one, pair in side] for side in sides]
    return storage.content_key("pairs 1", listed, list(size), collected.background)


def prepare(collected: Collected, size: tuple[int, int], run: Path, *, held_out_limit: int, quiet: bool) -> Prepared:
    """Read and shrink or enlarge all pairs, or find them there.

    Args:
        collected: the pairs.
        size: height and width to bring them to.
        run: the run folder.
        held_out_limit: most held-out pairs, spread over all of them.
        quiet: without a progress bar.

    Raises:
        UserError: too many pairs can't be read, or the disk is full.
    """
    key = data_key(collected, size, held_out_limit)
    folder = run / FOLDER
    if _about(folder).get("key") != key:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            _make(folder, collected, size, key, held_out_limit=held_out_limit, quiet=quiet)
        except UserError:
            shutil.rmtree(folder, ignore_errors=True)  # gigabytes, and nobody will look for them here
            raise
    return open_prepared(run)


def _make(
    folder: Path, collected: Collected, size: tuple[int, int], key: str, *, held_out_limit: int, quiet: bool
) -> None:
    failed: Counter[str] = Counter()
    sides = _sides(collected, held_out_limit)
    names = [_write(folder / f"{side}.bin", pairs, size, failed, quiet=quiet) for side, pairs in sides.items()]
    _refuse_failures(failed, sum(map(len, sides.values())), names)
    values = {"size": list(size), "pairs": [len(found) for found in names], "names": names[1]}
    storage.write_json(folder / _ABOUT, {"key": key, **values, "failed": dict(sorted(failed.items()))})


def open_prepared(run: Path) -> Prepared:
    """What `prepare` made."""
    folder = run / FOLDER
    about = _about(folder)
    shapes = [(count, 4, *about["size"]) for count in about["pairs"]]
    learned, held_out = (
        np.memmap(folder / f"{side}.bin", np.uint8, "r", shape=shape)
        for side, shape in zip(_SIDES, shapes, strict=True)
    )
    return Prepared(learned, held_out, tuple(about["names"]), about["key"], about["failed"])


def mean_target(pairs: np.ndarray) -> np.ndarray:
    """Mean target of pairs uint8 (N, 4, H, W), float64 (H, W); some at a time."""
    total = np.zeros(pairs.shape[2:])
    for start in range(0, len(pairs), _AT_A_TIME):
        total += pairs[start : start + _AT_A_TIME, 3].sum(0, np.float64)
    return total / len(pairs)


def remove(run: Path) -> None:
    """Delete what `prepare` made: a copy of data that has its own terms."""
    shutil.rmtree(run / FOLDER, ignore_errors=True)


def fitted(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bring an image, uint8 (H, W) or (H, W, 3), to a height and width; by area to fewer pixels, else by cubics."""
    import cv2

    height, width = size
    if image.shape[:2] == (height, width):
        return image
    kind = cv2.INTER_AREA if height * width < image.shape[0] * image.shape[1] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (width, height), interpolation=kind))


def _sides(collected: Collected, held_out_limit: int) -> dict[str, Sequence[tuple[PairSet, Pair]]]:
    held_out = collected.held_out
    count = min(held_out_limit, len(held_out))
    chosen = [held_out[number * len(held_out) // count] for number in range(count)]
    return dict(zip(_SIDES, (collected.learned, chosen), strict=True))


def _about(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / _ABOUT).read_text(encoding="utf-8")))
    except (OSError, ValueError):  # never finished
        return {}


def _write(
    path: Path, pairs: Sequence[tuple[PairSet, Pair]], size: tuple[int, int], failed: Counter[str], *, quiet: bool
) -> list[str]:
    """Write one side; returns the names of the pairs in the file."""
    names: list[str] = []
    bar = tqdm(total=len(pairs), desc=f"prepare {path.stem}", unit="pair", disable=quiet or None)
    pool = ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1))  # decoders let other threads run
    with storage.disk_errors(path), path.open("wb") as raw, bar, pool:
        for start in range(0, len(pairs), _AT_A_TIME):
            part = pairs[start : start + _AT_A_TIME]
            for (_, pair), both in zip(part, pool.map(partial(_fitted_pair, size=size), part), strict=True):
                bar.update()
                if isinstance(both, str):
                    failed[both] += 1
                else:
                    raw.write(both.tobytes())
                    names.append(pair.name)
    return names


def _fitted_pair(given: tuple[PairSet, Pair], size: tuple[int, int]) -> np.ndarray | str:
    """Both sides of a pair, uint8 (4, H, W), or why they can't be used."""
    one, pair = given
    try:
        photo, target = one.read(pair)
    except images.UnreadableImage as error:
        return str(error)
    both = np.concatenate([fitted(photo, size), fitted(target, size)[:, :, None]], axis=2)
    return np.ascontiguousarray(both.transpose(2, 0, 1))


def _refuse_failures(failed: Mapping[str, int], listed: int, sides: Sequence[Sequence[str]]) -> None:
    """Refuse data of which too much can't be read, or that leave a side without a pair."""
    count = sum(failed.values())
    if all(sides) and count <= _FAILED_SHARE * listed:
        return
    if not failed:
        lacking = "to learn from" if not sides[0] else "to hold out"
        raise UserError(f"{listed} pairs are given, and none of them is one {lacking}: give data that hold both")
    reasons = "; ".join(f"{reason}: {pairs}" for reason, pairs in failed.items())
    raise UserError(
        f"{count} of {listed} pairs can't be used ({reasons}), and at most {_FAILED_SHARE:.0%} may fail, with some "
        "left to learn from and some to hold out: mend or remove them"
    )
