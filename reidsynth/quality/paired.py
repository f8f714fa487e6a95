"""PSNR, SSIM and IoU of made images against the real ones of the same captures, beside what costs nothing to make.

PSNR and SSIM (Z. Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity", IEEE TIP
2004: 11x11 Gaussian window, sigma 1.5, range 255, over the region in which the window fits) are taken on grey values
for each image and then averaged. A number alone says little: an infrared image that is merely the photograph's
luminance, a blank page, or the mean of the training images sets the mark that a method has to beat.
"""

from __future__ import annotations

from functools import partial, reduce
from typing import TYPE_CHECKING

import numpy as np

from reidsynth.measurements import Numbers
from reidsynth.quality.samples import Place, decoded, drawn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from reidsynth.manifest import Manifest

MOST_PSNR = 100.0
"""In dB, for images that are equal; it keeps means finite."""

_SMALLEST = 11  # pixels, the side of SSIM's window
_MEAN_OF = 500  # images are enough for a mean
_LUMA = np.array([0.299, 0.587, 0.114])


def grey(image: np.ndarray) -> np.ndarray:
    """Luminance (ITU-R BT.601) of uint8 (H, W, 3) as float64 (H, W); of a grey image, the image itself."""
    values: np.ndarray = image.astype(np.float64) @ _LUMA
    return values


def compare(made: np.ndarray, real: np.ndarray, *, mask: bool = False) -> dict[str, float]:
    """Metrics of one image against the real one.

    Args:
        made: float64 (H, W) in 0..255.
        real: the same shape.
        mask: whether both are masks, of which the overlap counts besides.

    Returns:
        `psnr` in dB, at most MOST_PSNR, `ssim`, and `iou` of masks (1 where both are empty).
    """
    from skimage.metrics import structural_similarity

    error = float(np.square(made - real).mean())
    psnr = MOST_PSNR if error == 0 else min(MOST_PSNR, 10.0 * float(np.log10(255.0**2 / error)))
    ssim = structural_similarity(
        made, real, data_range=255.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    found = {"psnr": psnr, "ssim": float(ssim)}
    if mask:
        one, other = made > 127, real > 127
        union = float((one | other).sum())
        found["iou"] = float((one & other).sum()) / union if union else 1.0
    return found


def paired(
    manifest: Manifest, table: str, real: str, split: str, *, rows: int, seed: int, progress: bool | None = None
) -> tuple[Numbers, tuple[Numbers, ...], tuple[str, ...]] | None:
    """Compare a made table with the real one of its modality.

    Args:
        manifest: that holds both.
        table: the made one.
        real: the real one.
        split: of the manifest.
        rows: at most so many, drawn by the seed.
        seed: of the draw.
        progress: whether to draw a bar; None draws it on terminals only.

    Returns:
        Numbers of the table and of the baselines, on the same rows, and warnings; None where no capture has both.
    """
    photographs = ("rgb",) if "rgb" in manifest.tables else ()  # a release may lack them
    places = [Place(manifest, name, split) for name in (table, real, *photographs)]
    both = reduce(np.intersect1d, [place.passing() for place in places])
    chosen = drawn(both, places[0].ids(), rows, seed)
    modality = manifest.tables[table].modality
    baselines = _baselines(manifest, real, split, modality if photographs else "", seed)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in (table, *baselines)}
    left_out = 0
    for block in decoded(places, chosen, label=f"paired {table}", progress=progress):
        for made, truth, *given in block:
            photo = given[0] if given else truth
            if made.shape != truth.shape or photo.shape != truth.shape or min(truth.shape[:2]) < _SMALLEST:
                left_out += 1
                continue
            target = grey(truth)
            outputs = {table: grey(made)} | {name: make(photo) for name, make in baselines.items()}
            for name, output in outputs.items():
                found[name].append(compare(output, target, mask=modality == "mask"))
    if not found[table]:
        return None
    warnings = [f"{left_out} pairs of unequal or tiny size were left out"] if left_out else []
    numbers = [_summary(name, values) for name, values in found.items()]
    return numbers[0], tuple(numbers[1:]), tuple(warnings)


def _summary(name: str, values: list[dict[str, float]]) -> Numbers:
    columns = {metric: np.array([value[metric] for value in values]) for metric in values[0]}
    return Numbers(
        name=name,
        n=len(values),
        values={metric: float(column.mean()) for metric, column in columns.items()},
        spread={metric: float(column.std()) for metric, column in columns.items()},
    )


def _baselines(
    manifest: Manifest, real: str, split: str, modality: str, seed: int
) -> Mapping[str, Callable[[np.ndarray], np.ndarray]]:
    """What can be had for nothing, by name, from the photograph (H, W, 3); each gives float64 (H, W)."""
    found: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
    if modality == "ir":
        found["luminance"] = grey
        found["inverted luminance"] = lambda photo: 255.0 - grey(photo)
    elif modality == "sketch":
        found["white page"] = lambda photo: np.full(photo.shape[:2], 255.0)
    others = [name for name in ("train", *manifest.splits) if name in manifest.splits and name != split]
    for source in dict.fromkeys((*others, split)):
        place = Place(manifest, real, source)
        numbers = drawn(place.passing(), place.ids(), _MEAN_OF, seed)
        if len(numbers):
            return found | {f"mean {real} image of {source}": partial(_resized, _mean_image(place, numbers))}
    return found


def _mean_image(place: Place, numbers: np.ndarray) -> np.ndarray:
    """Mean of real images, all brought to the size of the first."""
    total: np.ndarray | None = None
    for block in decoded([place], numbers, label="", progress=False):
        for (image,) in block:
            values = grey(image)
            total = values.copy() if total is None else total + _resized(values, total)
    assert total is not None  # the caller has rows
    return total / len(numbers)


def _resized(values: np.ndarray, like: np.ndarray) -> np.ndarray:
    import cv2

    if values.shape == like.shape[:2]:
        return values
    resized: np.ndarray = cv2.resize(values, like.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return resized
