"""Background removal without weights: GrabCut, led by what a crop of a pedestrian looks like.

Reference: C. Rother, V. Kolmogorov, A. Blake, "GrabCut", SIGGRAPH 2004 (OpenCV's implementation). What differs from
the usual call with a rectangle: crops of people are tight, so that a rectangle holds nearly all of the image and the
background's colours are never learned. Here a drawn prior (where a standing person is), the likeness to the crop's
sides and colour histograms that know the height of a pixel settle which pixels are surely background; GrabCut then
decides the rest, at a smaller size: it costs most and gains least from more pixels. Its vote counts where the
probability is in doubt (between about .53 and .87); beyond that the probability decides (benchmarks/grabcut.py).
"""

from __future__ import annotations

from dataclasses import asdict
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, cast

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from reidsynth.draws import sample_seed
from reidsynth.schema import Made, Sample, TableSpec
from reidsynth.steps import photo_inputs

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

_SMALLEST = (16, 8)  # below that there are too few pixels to learn colours from
_ROUNDS = 2
_COLOUR_BINS, _HEIGHT_BINS = 12, 4
_TEMPER = 0.7  # histograms of neighbouring pixels are not independent evidence
_SURE_PERSON, _SURE_BACKGROUND = 0.9, 0.12
_CUT_WEIGHT, _DECIDED = 0.25, 0.65  # of GrabCut's answer beside the probability; a pixel above is the person's
_OUTLINE = 5  # side of the majority filter
_SIDE_COLUMNS, _SIDE_ROWS, _SIDE_DISTANCE, _SIDE_WEIGHT = 2, (-4, -2, 0, 2, 4), 14.0, 1.5
# Half width of a standing person, as a share of the crop's width, by height from the top (share of the crop's height).
_HEIGHTS = (0.0, 0.03, 0.08, 0.15, 0.19, 0.25, 0.45, 0.55, 0.75, 0.97, 1.0)
_HALF_WIDTHS = (0.06, 0.12, 0.15, 0.14, 0.22, 0.32, 0.34, 0.30, 0.26, 0.24, 0.20)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class GrabCut:
    """Masks people by GrabCut with a person prior; needs no weights.

    Args:
        working_pixels: photographs with more pixels are segmented at this size; the mask is scaled back.
        cut_pixels: GrabCut itself runs at this size.
        iterations: rounds of GrabCut after the prior.
        seed: of the colour clusters' start.
    """

    working_pixels: Annotated[int, Field(ge=512, le=4_000_000)] = 8192
    cut_pixels: Annotated[int, Field(ge=512, le=4_000_000)] = 3072
    iterations: Annotated[int, Field(ge=1, le=20)] = 1
    seed: int = 0

    name: ClassVar[str] = "remove-background"
    method: ClassVar[str] = "grabcut"
    version: ClassVar[int] = 2

    def output(self) -> TableSpec:
        """Table `mask-grabcut`: 255 where the person is, 0 elsewhere."""
        return TableSpec("mask-grabcut", "mask", "synthetic")

    def inputs(self, tables: Collection[str]) -> tuple[str, ...]:
        """Photographs.

        Raises:
            UserError: there are none.
        """
        return photo_inputs(self.name, tables)

    def parameters(self) -> dict[str, Any]:
        """All fields."""
        return asdict(cast("Any", self))

    def weights(self) -> dict[str, str]:
        """None."""
        return {}

    def process(self, samples: Sequence[Sample]) -> list[Made]:
        """Mask each photograph; `scores` holds the raw certainty of the colour model."""
        return [self._masked(sample) for sample in samples]

    def _masked(self, sample: Sample) -> Made:
        import cv2

        photo = sample.images["rgb"]
        height, width = photo.shape[:2]
        if height < _SMALLEST[0] or width < _SMALLEST[1]:
            return Made(error=f"{width}x{height} pixels are too few to find a person in")
        cv2.setRNGSeed(sample_seed(self.seed, sample.sample_id, self.name) & 0x7FFFFFFF)
        small = _shrunk(photo, self.working_pixels)
        belief = person_probability(small)
        mask = self._decided(small, belief)
        if mask.shape != (height, width):
            # An area of 255 grown bilinearly and cut at half keeps straight edges; nearest neighbours leave stairs.
            mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR)
            mask = np.where(mask > 127, 255, 0).astype(np.uint8)
        return Made(image=mask, scores={"confidence": float(np.abs(2.0 * belief - 1.0).mean())})

    def _decided(self, photo: np.ndarray, belief: np.ndarray) -> np.ndarray:
        """Let GrabCut vote at its own size where the belief is in doubt; returns uint8 (H, W), 0 or 255."""
        import cv2

        small = _shrunk(photo, self.cut_pixels)
        size = (photo.shape[1], photo.shape[0])
        alike = small.shape == photo.shape
        likely = belief if alike else cv2.resize(belief, small.shape[1::-1], interpolation=cv2.INTER_AREA)
        found = _cut(small, likely, self.iterations)
        vote = found if alike else cv2.resize(found, size, interpolation=cv2.INTER_LINEAR)
        person = _CUT_WEIGHT * vote + (1.0 - _CUT_WEIGHT) * belief > _DECIDED
        return _without_specks(person.astype(np.uint8)) * np.uint8(255)


def person_probability(photo: np.ndarray) -> np.ndarray:
    """Probability of person per pixel, from the prior, the crop's sides and the colours that these tell apart.

    Each round learns two histograms over (L, a, b, height), one weighted by the probability and one by its
    complement, and takes prior times likelihood ratio as the next probability.

    Args:
        photo: uint8 (H, W, 3) RGB.

    Returns:
        float64 (H, W) in 0..1, never rescaled.
    """
    prior = _prior(*photo.shape[:2])
    index = _histogram_index(photo)
    logit = np.log(prior / (1.0 - prior)) + _unlike_the_sides(photo)
    belief: np.ndarray = 1.0 / (1.0 + np.exp(-logit))
    for _ in range(_ROUNDS):
        ratio = np.log(_histogram(index, belief) + 1e-6) - np.log(_histogram(index, 1.0 - belief) + 1e-6)
        evidence = np.clip(ratio, -4.0, 4.0)[index]
        belief = 1.0 / (1.0 + np.exp(-(logit + _TEMPER * evidence)))
        belief = _blurred(belief, photo.shape[0] * 0.012)
    return belief


@lru_cache(maxsize=64)
def _prior(height: int, width: int) -> np.ndarray:
    """A standing person mixed with an ellipse (sitting, bent, arms up), low at the sides."""
    y = (np.arange(height)[:, None] + 0.5) / height
    offset = np.abs((np.arange(width)[None, :] + 0.5) / width - 0.5)
    half = np.interp(y[:, 0], _HEIGHTS, _HALF_WIDTHS)[:, None]
    standing = 0.03 + 0.87 / (1.0 + np.exp(-16.0 * (half - offset)))
    radius = np.sqrt((offset / 0.45) ** 2 + ((y - 0.5) / 0.5) ** 2)
    ellipse = 0.03 + 0.87 / (1.0 + np.exp(8.0 * (radius - 0.9)))
    sides = 1.0 - 0.9 * np.clip(1.0 - (0.5 - offset) / 0.1, 0.0, 1.0)
    return np.clip((0.4 * standing + 0.6 * ellipse) * sides, 0.005, 0.995)


def _unlike_the_sides(photo: np.ndarray) -> np.ndarray:
    """Evidence from the background that a crop shows left and right of the person, at the same height.

    Returns:
        float64 (H, W): log odds that grow with the distance in CIELAB from the nearest colour at the sides.
    """
    import cv2

    height = photo.shape[0]
    lab = cv2.cvtColor(photo, cv2.COLOR_RGB2LAB).astype(np.float32)
    lab[:, :, 0] *= 0.6  # shadows change lightness more than hue
    sides = np.concatenate([lab[:, :_SIDE_COLUMNS], lab[:, -_SIDE_COLUMNS:]], axis=1)
    rows = np.clip(np.arange(height)[:, None] + np.array(_SIDE_ROWS), 0, height - 1)
    near = sides[rows].reshape(height, -1, 3)  # of each row, the colours at its sides and at those of its neighbours
    # Squared distances by |a - b|^2 = |a|^2 - 2 ab + |b|^2: one small product for each row.
    squares = np.matmul(lab, -2.0 * near.transpose(0, 2, 1)) + np.square(near).sum(2)[:, None, :]
    nearest = np.maximum(squares.min(2) + np.square(lab).sum(2), 0.0)
    distance = np.sqrt(nearest.astype(np.float64)) / _SIDE_DISTANCE
    evidence: np.ndarray = _SIDE_WEIGHT * np.clip(distance - 1.0, -2.0, 1.0)
    return evidence


def _histogram_index(photo: np.ndarray) -> np.ndarray:
    import cv2

    height = photo.shape[0]
    lab = cv2.cvtColor(photo, cv2.COLOR_RGB2LAB).astype(np.float32)
    lab[:, :, 1:] = (lab[:, :, 1:] - 128.0) * 1.6 + 128.0  # colours of clothes fill the middle of the a, b plane
    bins = np.clip(lab * (_COLOUR_BINS / 256.0), 0, _COLOUR_BINS - 1).astype(np.int64)
    rows = (np.arange(height) * _HEIGHT_BINS // height)[:, None]
    colour: np.ndarray = (bins[:, :, 0] * _COLOUR_BINS + bins[:, :, 1]) * _COLOUR_BINS + bins[:, :, 2]
    index: np.ndarray = colour * _HEIGHT_BINS + rows
    return index


def _histogram(index: np.ndarray, weight: np.ndarray) -> np.ndarray:
    shape = (_COLOUR_BINS,) * 3 + (_HEIGHT_BINS,)
    counts = np.bincount(index.ravel(), weight.ravel(), int(np.prod(shape))).reshape(shape)
    for axis in range(4):
        counts = _smoothed(counts, axis)
    total: np.ndarray = (counts / counts.sum()).ravel()
    return total


def _smoothed(values: np.ndarray, axis: int) -> np.ndarray:
    """Kernel 1/4, 1/2, 1/4 along one axis, the ends repeated."""
    values = np.moveaxis(values, axis, 0)
    before = np.concatenate([values[:1], values[:-1]])
    after = np.concatenate([values[1:], values[-1:]])
    return np.moveaxis(0.25 * before + 0.5 * values + 0.25 * after, 0, axis)


def _cut(photo: np.ndarray, belief: np.ndarray, iterations: int) -> np.ndarray:
    """Run GrabCut from the belief; returns float64 (H, W), 1 for the person."""
    import cv2

    labels = np.where(belief > 0.5, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[belief > _SURE_PERSON] = cv2.GC_FGD
    labels[belief < _SURE_BACKGROUND] = cv2.GC_BGD
    sure_person, sure_background = _anchors(*belief.shape)
    labels[sure_background] = cv2.GC_BGD
    labels[sure_person] = cv2.GC_FGD
    background, person = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(photo, labels, None, background, person, iterations, cv2.GC_INIT_WITH_MASK)
    found: np.ndarray = ((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)).astype(np.float64)
    return found


@lru_cache(maxsize=64)
def _anchors(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Head and spine of the crop's person; its upper corners."""
    y = (np.arange(height)[:, None] + 0.5) / height
    offset = np.abs((np.arange(width)[None, :] + 0.5) / width - 0.5)
    head = (y > 0.05) & (y < 0.13) & (offset < 0.05)
    spine = (y >= 0.13) & (y < 0.6) & (offset < 0.08)
    return head | spine, (y < 0.1) & (offset > 0.4)


def _without_specks(found: np.ndarray) -> np.ndarray:
    """Drop parts under a tenth of the largest, and fill holes under a hundredth of the image."""
    import cv2

    _, parts, stats, _ = cv2.connectedComponentsWithStats(found, connectivity=4)
    areas = stats[:, cv2.CC_STAT_AREA].astype(np.float64)
    areas[0] = 0.0
    kept = (areas >= 0.1 * areas.max()) & (areas > 0)
    found = kept[parts].astype(np.uint8)
    _, holes, stats, _ = cv2.connectedComponentsWithStats(1 - found, connectivity=4)
    small = stats[:, cv2.CC_STAT_AREA] < 0.01 * found.size
    small[0] = False
    found = np.where(small[holes], 1, found).astype(np.uint8)
    size = (_OUTLINE, _OUTLINE)  # the outline of a person has no spikes; the median of zeros and ones is the majority
    counts = cv2.boxFilter(found, -1, size, normalize=False, borderType=cv2.BORDER_REPLICATE)
    smooth: np.ndarray = (counts > _OUTLINE**2 // 2).astype(np.uint8)
    return smooth


def _blurred(values: np.ndarray, sigma: float) -> np.ndarray:
    import cv2

    blurred: np.ndarray = cv2.GaussianBlur(values, (0, 0), max(sigma, 0.3))
    return blurred


def _shrunk(photo: np.ndarray, pixels: int) -> np.ndarray:
    import cv2

    height, width = photo.shape[:2]
    scale = (pixels / (height * width)) ** 0.5
    if scale >= 1.0:
        return np.ascontiguousarray(photo)
    size = (max(_SMALLEST[1], round(width * scale)), max(_SMALLEST[0], round(height * scale)))
    shrunk: np.ndarray = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    return shrunk
