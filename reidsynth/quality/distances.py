"""How far a table of made images lies from real ones as a whole: Frechet and kernel distance of a network's features.

Frechet distance: M. Heusel et al., "GANs Trained by a Two Time-Scale Update Rule", NeurIPS 2017. It is biased upward on
few images, the more the longer the features, so that it compares only what has the same n. Kernel distance: M.
Binkowski et al., "Demystifying MMD GANs", ICLR 2018 (polynomial kernel of degree 3): unbiased, and given with the
spread over subsets. Both come from torchmetrics; the features come from the network that the user names, and numbers
from different networks can't be compared: the published FID numbers rest on one particular Inception network.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from reidsynth.draws import sample_seed
from reidsynth.measurements import Numbers
from reidsynth.quality.samples import Place, decoded, drawn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reidsynth.quality.encoders import Encoder

ENOUGH = 10_000
"""Images from which on the bias of the Frechet distance is usually taken for small."""

_SUBSETS, _SUBSET_SIZE = 50, 1000
_FEWEST = 4


class Features:
    """Features of tables, each taken once.

    Args:
        encoder: whose features.
        rows: of a table at most, drawn by the seed.
        seed: of the draw.
        progress: whether to draw bars; None draws them on terminals only.
    """

    def __init__(self, encoder: Encoder, *, rows: int, seed: int, progress: bool | None = None) -> None:
        self.encoder, self.rows, self.seed, self.progress = encoder, rows, seed, progress
        self._known: dict[tuple[str, str, str], np.ndarray] = {}

    def of(self, place: Place) -> np.ndarray:
        """Features (N, D) of the rows of a table that passed their gate; (0, D) where there are none."""
        key = (str(place.manifest.path), place.table, place.split)
        if key not in self._known:
            numbers = drawn(place.passing(), place.ids(), self.rows, self.seed)
            blocks = decoded([place], numbers, label=f"features {place.table}", progress=self.progress)
            batches = ([image for (image,) in block] for block in blocks)
            self._known[key] = self.encoder.images(batches) if len(numbers) else np.zeros((0, 1), np.float32)
        return self._known[key]

    def of_all(self, places: Sequence[Place]) -> np.ndarray:
        """Features of several splits together."""
        found = [features for place in places if len(features := self.of(place))]
        return np.concatenate(found) if found else np.zeros((0, 1), np.float32)


def distance(
    features: Features, made: Place, reference: Sequence[Place], photographs: Place | None
) -> tuple[Numbers, tuple[Numbers, ...], tuple[str, ...]] | None:
    """Distance of a made table to real images.

    Args:
        features: of the network in use.
        made: the table.
        reference: the real table, in one or several splits.
        photographs: of the manifest, to tell what changing nothing would give; None where there are none.

    Returns:
        Numbers of the table; those of two halves of the reference (what no method can be below) and of the
        photographs; warnings. None where there are fewer than four images on a side.
    """
    real, found = features.of_all(reference), features.of(made)
    if min(len(real), len(found)) < _FEWEST:
        return None
    seed = features.seed
    numbers = measured(made.table, found, real, seed)
    half = np.random.default_rng(sample_seed(seed, made.table, "halves")).permutation(len(real))
    most = min(len(found), len(real) // 2)  # a Frechet distance compares with one of as many images
    first, second = real[half[:most]], real[half[most : 2 * most]]
    beside = []
    if len(second) >= _FEWEST:
        beside.append(measured("two halves of the reference", first, second, seed))
    if photographs is not None and len(unchanged := features.of(photographs)) >= _FEWEST:
        beside.append(measured("photographs as they are", unchanged, real, seed))
    return numbers, tuple(beside), _warnings(min(len(found), len(real)), found.shape[1])


def measured(name: str, first: np.ndarray, second: np.ndarray, seed: int) -> Numbers:
    """Both distances between two sets of features.

    Args:
        name: of the first.
        first: float (N, D).
        second: float (M, D).
        seed: of the kernel distance's subsets.
    """
    import torch
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

    given = _given(first.shape[1])
    subset = max(2, min(_SUBSET_SIZE, min(len(first), len(second)) // 2))
    frechet = FrechetInceptionDistance(feature=given)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that features are kept in memory, which is meant here
        kernel = KernelInceptionDistance(feature=given, subsets=_SUBSETS, subset_size=subset)
    for metric in (frechet, kernel):
        metric.update(torch.from_numpy(second).double(), real=True)
        metric.update(torch.from_numpy(first).double(), real=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mean, spread = kernel.compute()
    return Numbers(
        name=name,
        n=len(first),
        values={"frechet": float(frechet.compute()), "kernel": float(mean)},
        spread={"kernel": float(spread)},
        about=f"against {len(second)}; kernel distance over {_SUBSETS} subsets of {subset}",
    )


def _given(length: int) -> Any:  # noqa: ANN401 - a torch module; torch is imported where it is used
    """What torchmetrics takes for a network: features pass through it as they are."""
    from torch import nn

    network: Any = nn.Identity()
    network.num_features = length
    return network


def _warnings(n: int, length: int) -> tuple[str, ...]:
    if n >= ENOUGH:
        return ()
    few = f"{n} images: the Frechet distance is biased upward on few; go by the kernel distance"
    if n <= length:
        few += f" (and {n} images can't span {length} features, so that its covariance is singular)"
    return (few,)
