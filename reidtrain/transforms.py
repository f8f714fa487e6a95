"""Image transforms: pixels in, normalised tensors out, with augmentation where a generator is given.

Every random draw comes from the generator that the caller hands over. The data set makes one from
hash(seed, epoch, sample, modality), so modalities are augmented independently of each other, and neither the number of
workers nor a resumed run changes a single pixel. No transform edits its input in place.

References: random erasing, Zhong et al. 2020 (arXiv 1708.04896); channel augmentation and channel random erasing, Ye et
al., "Channel Augmented Joint Learning for Visible-Infrared Recognition", ICCV 2021. As in the authors' pipeline the
channel operations come after normalisation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Channel = Literal["none", "replicate", "replicate-gray", "adap-gray"]
LUMINANCE = (0.2989, 0.5870, 0.1140)
CHANNEL_CONSTANTS = (0.4914, 0.4822, 0.4465)
"""What channel random erasing leaves, on normalised pixels, as in the authors' pipeline."""


@dataclass(frozen=True, slots=True)
class Augment:
    """How one modality is augmented in training.

    Args:
        flip: probability of a horizontal flip.
        pad: pixels added on each side before a crop of the original size is drawn; 0 crops nothing.
        pad_fill: what the added pixels show: `black`, as the papers' code does, or the `edge` continued.
        erase: probability of random erasing.
        erase_area: smallest and largest share of the image that is erased.
        channel: `replicate` (one of R, G, B in all channels), `replicate-gray` (luminance as a fourth outcome) or
            `adap-gray` (R, G, B 1/4 each, luminance `gray`/4, unchanged (1 - `gray`)/4).
        gray: the probability p of `adap-gray`.
        channel_erase: probability of channel random erasing: to a constant of each channel, as the authors of channel
            augmentation do with infrared, instead of to the data's mean.
    """

    flip: float = 0.5
    pad: int = 10
    pad_fill: Literal["black", "edge"] = "black"
    erase: float = 0.5
    erase_area: tuple[float, float] = (0.02, 0.4)
    channel: Channel = "none"
    gray: float = 0.5
    channel_erase: float = 0.0


@dataclass(frozen=True, slots=True)
class Changes:
    """An augmentation with all of its draws made; the default changes nothing.

    Args:
        flip: whether left and right change places.
        pad: pixels added on each side.
        fill: what they show.
        corner: (top, left) of the crop in the padded image; None crops nothing.
        channel: `none`, or what takes the place of all channels: `R`, `G`, `B` or `gray`.
        box: (top, left, height, width) that is erased, None for none.
        constants: erase to `CHANNEL_CONSTANTS` and not to 0.
    """

    flip: bool = False
    pad: int = 0
    fill: Literal["black", "edge"] = "black"
    corner: tuple[int, int] | None = None
    channel: str = "none"
    box: tuple[int, int, int, int] | None = None
    constants: bool = False


def draw_changes(
    recipe: Augment, size: tuple[int, int], rng: np.random.Generator, *, channel: Channel | None = None
) -> Changes:
    """Draw an augmentation.

    Args:
        recipe: what it is drawn from.
        size: (height, width) of the image.
        rng: draws.
        channel: in place of the recipe's.
    """
    flip = bool(rng.random() < recipe.flip)
    corner = tuple(int(value) for value in rng.integers(0, 2 * recipe.pad + 1, size=2)) if recipe.pad else None
    outcome = _draw_channel(rng, channel or recipe.channel, recipe.gray)
    constants = bool(rng.random() < recipe.channel_erase)
    erased = constants or rng.random() < recipe.erase
    box = erase_box(size, rng, area=recipe.erase_area) if erased else None
    return Changes(flip, recipe.pad, recipe.pad_fill, cast("tuple[int, int] | None", corner), outcome, box, constants)


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize an image, averaging over pixels along each side that shrinks.

    Args:
        image: uint8 (H, W, 3).
        size: (height, width) wanted.

    Returns:
        uint8 (height, width, 3); the input itself where it has that size already.
    """
    import cv2

    height, width = size
    for axis, wanted in ((0, height), (1, width)):
        have = image.shape[axis]
        if have != wanted:
            target = (image.shape[1], wanted) if axis == 0 else (wanted, image.shape[0])
            image = cv2.resize(image, target, interpolation=cv2.INTER_AREA if have > wanted else cv2.INTER_LINEAR)
    return image


def pad_crop(
    image: np.ndarray, rng: np.random.Generator, *, pad: int, fill: Literal["black", "edge"] = "black"
) -> np.ndarray:
    """Pad each side and crop the original size at a random place.

    Args:
        image: (H, W, 3).
        rng: where the place is drawn from.
        pad: pixels on each side.
        fill: `black` or `edge`.

    Returns:
        (H, W, 3), a new array.
    """
    top, left = (int(value) for value in rng.integers(0, 2 * pad + 1, size=2))
    return _crop(image, (top, left), pad, fill)


def _crop(image: np.ndarray, corner: tuple[int, int], pad: int, fill: Literal["black", "edge"]) -> np.ndarray:
    height, width = image.shape[:2]
    top, left = corner
    if fill == "edge":
        rows = np.clip(np.arange(top - pad, top - pad + height), 0, height - 1)
        columns = np.clip(np.arange(left - pad, left - pad + width), 0, width - 1)
        moved: np.ndarray = image[rows[:, None], columns[None, :]]
        return moved
    out = np.zeros_like(image)
    y, x = top - pad, left - pad
    out[max(0, -y) : height - max(0, y), max(0, -x) : width - max(0, x)] = image[
        max(0, y) : height + min(0, y), max(0, x) : width + min(0, x)
    ]
    return out


def erase_box(
    size: tuple[int, int], rng: np.random.Generator, *, area: tuple[float, float] = (0.02, 0.4)
) -> tuple[int, int, int, int] | None:
    """Draw the box of random erasing.

    Args:
        size: (height, width) of the image.
        rng: where the box is drawn from.
        area: smallest and largest share of the image.

    Returns:
        (top, left, height, width), or None when ten draws gave no box that fits.
    """
    height, width = size
    for _ in range(10):
        pixels = rng.uniform(*area) * height * width
        ratio = math.exp(rng.uniform(math.log(0.3), math.log(1 / 0.3)))
        tall, wide = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
        if 0 < tall < height and 0 < wide < width:
            return int(rng.integers(0, height - tall + 1)), int(rng.integers(0, width - wide + 1)), tall, wide
    return None


def augment_channels(
    image: torch.Tensor, rng: np.random.Generator, *, kind: Channel, gray: float = 0.5
) -> tuple[torch.Tensor, str]:
    """Channel augmentation: one colour channel takes the place of all three.

    Args:
        image: (3, H, W).
        rng: where the channel is drawn from.
        kind: see `Augment.channel`.
        gray: the probability p of `adap-gray`.

    Returns:
        A new (3, H, W) tensor (the input itself for "none" or the unchanged outcome) and what was drawn: `R`, `G`,
        `B`, `gray` or `none`.
    """
    outcome = _draw_channel(rng, kind, gray)
    return _with_channel(image, outcome), outcome


def _draw_channel(rng: np.random.Generator, kind: Channel, gray: float) -> str:
    if kind == "none":
        return "none"
    chances = {
        "replicate": (1 / 3, 1 / 3, 1 / 3, 0.0),
        "replicate-gray": (0.25, 0.25, 0.25, 0.25),
        "adap-gray": (0.25, 0.25, 0.25, gray / 4),
    }[kind]
    outcome = int(np.searchsorted(np.cumsum(chances), rng.random(), side="right"))
    return ("R", "G", "B", "gray", "none")[outcome]


def _with_channel(image: torch.Tensor, outcome: str) -> torch.Tensor:
    if outcome == "none":
        return image
    if outcome == "gray":
        weights = torch.tensor(LUMINANCE, dtype=image.dtype)
        return (weights[:, None, None] * image).sum(dim=0).expand(3, -1, -1).clone()
    return image["RGB".index(outcome)].expand(3, -1, -1).clone()


def raw(image: np.ndarray) -> torch.Tensor:
    """Turn uint8 (H, W, 3) into float32 (3, H, W) from 0 to 1, as networks other than the backbone read it."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float() / 255


def erase(image: torch.Tensor, changes: Changes) -> torch.Tensor:
    """Erase the box of an augmentation in a normalised (3, H, W) image; the input stays as it is."""
    if changes.box is None:
        return image
    top, left, tall, wide = changes.box
    out = image.clone()
    fill = out.new_tensor(CHANNEL_CONSTANTS if changes.constants else (0.0, 0.0, 0.0))
    out[:, top : top + tall, left : left + wide] = fill[:, None, None]
    return out


class ImageTransform:
    """Turns uint8 images into normalised tensors.

    Args:
        size: (height, width) that the backbone reads.
        mean: three means of the backbone's normalisation, of pixels in [0, 1].
        std: three standard deviations.
        augment: modality -> how it is augmented in training; modalities that are not named are only normalised.
    """

    def __init__(
        self,
        size: tuple[int, int],
        mean: Sequence[float],
        std: Sequence[float],
        augment: Mapping[str, Augment] | None = None,
    ) -> None:
        self.size = (int(size[0]), int(size[1]))
        self.mean, self.std = tuple(mean), tuple(std)
        self.augment = dict(augment or {})
        # One table of 256 values per channel: a look-up is several times faster than arithmetic on strided pixels.
        levels = np.arange(256)[:, None] / 255
        self._levels = ((levels - np.asarray(mean)) / np.asarray(std)).astype(np.float32)

    def fit(self, image: np.ndarray) -> np.ndarray:
        """Resize to the backbone's size; what may be cached, since nothing in it is random."""
        return resize(image, self.size)

    def normalise(self, image: np.ndarray) -> torch.Tensor:
        """Turn uint8 (H, W, 3) into float32 (3, H, W) of about zero mean and unit variance."""
        import cv2

        out = np.empty((3, *image.shape[:2]), dtype=np.float32)
        for channel, plane in enumerate(cv2.split(image)):
            cv2.LUT(plane, self._levels[:, channel].copy(), dst=out[channel])
        return torch.from_numpy(out)

    def __call__(
        self,
        image: np.ndarray,
        *,
        modality: str,
        rng: np.random.Generator | None = None,
        channel: Channel | None = None,
    ) -> torch.Tensor:
        """Transform one image.

        Args:
            image: uint8 (H, W, 3), of any size.
            modality: chooses the augmentation.
            rng: draws the augmentation; None, or a modality without one, only resizes and normalises.
            channel: channel augmentation to apply in place of the modality's own, with or without other augmentation
                (`replicate` makes infrared from colour).

        Returns:
            float32 (3, height, width).

        Raises:
            ValueError: when `channel` is given without a generator.
        """
        image = self.fit(image)
        if rng is None:
            if channel is not None:
                raise ValueError("channel augmentation draws at random: it needs a generator")
            return self.normalise(image)
        recipe = self.augment.get(modality)
        if recipe is None:
            out = self.normalise(image)
            return augment_channels(out, rng, kind=channel)[0] if channel else out
        changes = draw_changes(recipe, self.size, rng, channel=channel)
        if changes.flip:
            image = np.ascontiguousarray(image[:, ::-1])
        if changes.corner is not None:
            image = _crop(image, changes.corner, changes.pad, changes.fill)
        return erase(_with_channel(self.normalise(image), changes.channel), changes)

    def changes(self, modality: str, rng: np.random.Generator) -> Changes:
        """Draw how an image of a modality is augmented, for what does so later; nothing without a recipe for it."""
        recipe = self.augment.get(modality)
        return Changes() if recipe is None else draw_changes(recipe, self.size, rng)
