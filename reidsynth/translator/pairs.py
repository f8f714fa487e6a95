"""Aligned pairs to learn from, and which of them are held out.

What is held out shares nobody with what is learned from: pairs are held out by person where the data tell who is who,
by camera where everybody is seen once, by file where nothing is known. LLVIP brings a split of its own (other scenes).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from reidsynth import images
from reidsynth.draws import sample_seed
from reidsynth.errors import UserError
from reidsynth.policy import Policy, combined
from reidsynth.schema import Spectrum
from reidsynth.steps.matte import matte

Target = Literal["ir", "sketch"]
Background = Literal["keep", "remove"]
TARGETS: tuple[Target, ...] = get_args(Target)
WORDS = {"ir": "infrared image", "sketch": "sketch"}
PLURALS = {"ir": "infrared images", "sketch": "sketches"}

HELD_OUT_SHARE = 0.1
_SHAPES_DIFFER = 0.02  # by more than this the two sides of a pair show different parts of the scene


@dataclass(frozen=True, slots=True)
class Pair:
    """One pair as it is listed.

    Args:
        name: unique in its set.
        group: who or what must not stand on both sides of the division.
        stamp: changes with the pair's content.
        key: what the set reads it by.
    """

    name: str
    group: str
    stamp: str
    key: Any


@dataclass(frozen=True, slots=True)
class Division:
    """Pairs to learn from, and those held out; `dropped` counts what could not be a pair, by reason."""

    learned: list[Pair]
    held_out: list[Pair]
    dropped: Mapping[str, int]


class PairSet(ABC):
    """Pairs of one origin.

    Attributes:
        name: of the data, for the checkpoint and the cards of what it makes.
        spectrum: of the targets, where they are infrared images.
        terms: of the data.
        background: whether the photographs come with their background erased.
    """

    name: str
    spectrum: Spectrum | None
    terms: Policy
    background: Background = "keep"

    @abstractmethod
    def divide(self, seed: int) -> Division:
        """List the pairs, in an order that does not depend on the disk.

        Raises:
            UserError: there are none, or too few to hold any out.
        """

    @abstractmethod
    def encoded(self, pair: Pair) -> Mapping[str, bytes]:
        """Bytes of `photo` and `target`, and of `mask` where the background is erased; called by several threads."""

    def read(self, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
        """Decode a pair.

        Returns:
            Photograph uint8 (H, W, 3) and target uint8 (h, w), grey.

        Raises:
            UnreadableImage: either is damaged, or they are not of one shape.
        """
        found = self.encoded(pair)
        photo, target = images.decode(found["photo"]), _grey(images.decode(found["target"]))
        shapes = [side.shape[1] / side.shape[0] for side in (photo, target)]
        if abs(shapes[0] / shapes[1] - 1.0) > _SHAPES_DIFFER:
            sizes = " and ".join(f"{side.shape[1]}x{side.shape[0]}" for side in (photo, target))
            raise images.UnreadableImage(f"photograph and target of different shapes ({sizes})")
        if "mask" in found:
            mask = images.decode_mask(found["mask"])
            if mask.shape != photo.shape[:2]:
                raise images.UnreadableImage("mask of another size")
            photo = matte(photo, mask)
        return photo, target


def _grey(image: np.ndarray) -> np.ndarray:
    import cv2

    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))


def hold_out(pairs: Sequence[Pair], share: float, seed: int, where: str) -> tuple[list[Pair], list[Pair]]:
    """Divide pairs by group: whole groups are held out, drawn by (seed, group).

    Args:
        pairs: at least one.
        share: of the groups that is held out, at least one group.
        seed: of the draw.
        where: the data, for the message.

    Returns:
        Pairs to learn from, pairs held out.

    Raises:
        UserError: there is only one group.
    """
    groups = sorted({pair.group for pair in pairs}, key=lambda group: (sample_seed(seed, group, "held out"), group))
    if len(groups) < 2:
        raise UserError(f"{where} shows one person, camera or pair only, so nothing can be held out: give it more")
    chosen = set(groups[: min(len(groups) - 1, max(1, round(share * len(groups))))])
    return [p for p in pairs if p.group not in chosen], [p for p in pairs if p.group in chosen]


def held_out_share(text: str | None) -> float | str:
    """Read `--held-out`: a share, or the name of a split.

    Raises:
        UserError: a number outside 0..1.

    Example:
        >>> held_out_share(None), held_out_share("0.25"), held_out_share("test")
        (0.1, 0.25, 'test')
    """
    if text is None:
        return HELD_OUT_SHARE
    try:
        share = float(text)
    except ValueError:
        return text
    if not 0 < share < 1:
        raise UserError(f"--held-out {text} is no share: give a number between 0 and 1, or the name of a split")
    return share


@dataclass(frozen=True, slots=True)
class Collected:
    """Pairs of all sets, with what the checkpoint says of them.

    Args:
        learned: set and pair.
        held_out: the same.
        dropped: set's name -> reason -> count.
        spectrum: of the targets.
        background: of the photographs.
        terms: of all data together.
        names: of the sets.
    """

    learned: list[tuple[PairSet, Pair]]
    held_out: list[tuple[PairSet, Pair]]
    dropped: Mapping[str, Mapping[str, int]]
    spectrum: Spectrum | None
    background: Background
    terms: Policy
    names: tuple[str, ...]


def collect(sets: Iterable[PairSet], seed: int) -> Collected:
    """Bring the pairs of several sets together.

    Raises:
        UserError: there is no set, their spectra differ, or some come with their background erased and others not.
    """
    every = list(sets)
    if not every:
        raise UserError("no pairs are given: name --manifest FOLDER, --llvip FOLDER, or --photos and --images")
    spectra: defaultdict[Spectrum | None, list[str]] = defaultdict(list)
    for one in every:
        spectra[one.spectrum].append(one.name)
    if len(spectra) > 1:
        told = ", ".join(f"{' and '.join(names)}: {spectrum}" for spectrum, names in spectra.items())
        raise UserError(f"the pairs are of several spectra ({told}): a translator learns one; train one for each")
    if len({one.background for one in every}) > 1:
        told = ", ".join(f"{one.name}: {one.background}" for one in every)
        raise UserError(f"the background is erased in some pairs only ({told}): erase it in all of them, or in none")
    divided = [(one, one.divide(seed)) for one in every]
    return Collected(
        learned=[(one, pair) for one, division in divided for pair in division.learned],
        held_out=[(one, pair) for one, division in divided for pair in division.held_out],
        dropped={one.name: division.dropped for one, division in divided if division.dropped},
        spectrum=every[0].spectrum,
        background=every[0].background,
        terms=combined(one.terms for one in every),
        names=tuple(dict.fromkeys(one.name for one in every)),
    )
