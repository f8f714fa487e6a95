"""t-SNE: points in the plane whose neighbourhoods resemble those of features.

L. van der Maaten and G. Hinton, "Visualizing Data using t-SNE", JMLR 2008. The exact algorithm, not an approximation:
a figure holds some hundreds of points, and N^2 numbers are then nothing. scikit-learn and openTSNE would each be a
further dependency (of compiled code) for these few lines, so they are written here; tests hold the perplexity, the
gradient (against autograd) and the separation of known clusters. It starts from the two main axes of the data, so the
same features give the same picture on every machine with the same torch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_EXAGGERATION, _EXAGGERATED = 12.0, 250
_SEARCHES = 64  # halvings of the interval that holds a point's bandwidth


def tsne(features: Tensor, *, perplexity: float = 20.0, steps: int = 750) -> Tensor:
    """Lay features out in the plane.

    Args:
        features: (N, D) finite; distances between them are Euclidean, so normalise them where cosine counts.
        perplexity: effective number of neighbours; at most (N - 1) / 3 is used.
        steps: of gradient descent, the first 250 with early exaggeration.

    Returns:
        (N, 2) float64, centred.

    Raises:
        ValueError: for fewer than four points or features that are not finite.
    """
    if features.ndim != 2 or len(features) < 4 or not bool(features.isfinite().all()):
        raise ValueError(f"t-SNE needs at least four points with finite features, received {tuple(features.shape)}")
    points = features.detach().double().cpu()
    points = points - points.mean(0)
    similar = joint_probabilities(points, min(perplexity, (len(points) - 1) / 3))
    plane = _main_axes(points)
    plane = plane * (1e-4 / plane[:, 0].std().clamp(min=1e-30))
    rate = max(len(points) / _EXAGGERATION / 4, 50.0)
    speed, gain = torch.zeros_like(plane), torch.ones_like(plane)
    for step in range(steps):
        early = step < _EXAGGERATED
        slope = gradient(plane, similar * _EXAGGERATION if early else similar)
        gain = torch.where(slope * speed < 0, gain + 0.2, gain * 0.8).clamp(min=0.01)
        speed = (0.5 if early else 0.8) * speed - rate * gain * slope
        plane = plane + speed
        plane = plane - plane.mean(0)
    return plane


def joint_probabilities(points: Tensor, perplexity: float) -> Tensor:
    """Similarities of points: Gaussian, each row with a bandwidth of the wanted perplexity, made symmetric.

    Args:
        points: (N, D).
        perplexity: exp of the entropy of every row before symmetry.

    Returns:
        (N, N), zero on the diagonal, sum 1.
    """
    rows = conditional_probabilities(points, perplexity)
    return (rows + rows.T) / (2 * len(points))


def conditional_probabilities(points: Tensor, perplexity: float) -> Tensor:
    """(N, N) rows of probabilities over the other points, each with the wanted perplexity (by bisection)."""
    distance = torch.cdist(points, points) ** 2
    itself = torch.eye(len(points), dtype=torch.bool)
    distance = distance.masked_fill(itself, math.inf)
    distance = distance - distance.min(dim=1, keepdim=True).values  # the nearest keeps weight 1: no row underflows
    low = torch.zeros(len(points), 1, dtype=points.dtype)
    high = torch.full_like(low, math.inf)
    precision = torch.ones_like(low)
    for _ in range(_SEARCHES):
        rows = torch.softmax(-distance * precision, dim=1)
        entropy = -(rows * rows.clamp(min=1e-300).log()).sum(1, keepdim=True)
        flat = entropy > math.log(perplexity)
        low, high = torch.where(flat, precision, low), torch.where(flat, high, precision)
        precision = torch.where(high.isinf(), precision * 2, (low + high) / 2)
    return torch.softmax(-distance * precision, dim=1)


def divergence(plane: Tensor, similar: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the plane's similarities (Student's t, one degree of freedom) from the points'."""
    near = 1 / (1 + torch.cdist(plane, plane, compute_mode="donot_use_mm_for_euclid_dist") ** 2)
    near = near * (1 - torch.eye(len(plane), dtype=plane.dtype))
    other = (near / near.sum()).clamp(min=1e-300)
    total: Tensor = (similar * (similar.clamp(min=1e-300) / other).log()).sum()
    return total


def gradient(plane: Tensor, similar: Tensor) -> Tensor:
    """Gradient of `divergence` with respect to the plane (equation 5 of the paper): (N, 2)."""
    near = 1 / (1 + torch.cdist(plane, plane) ** 2)
    near = near.fill_diagonal_(0.0)
    force = (similar - near / near.sum()) * near
    slope: Tensor = 4 * (force.sum(1, keepdim=True) * plane - force @ plane)
    return slope


def _main_axes(points: Tensor) -> Tensor:
    """(N, 2) projection on the two main axes; each axis points where its largest entry is positive."""
    left, sizes, _ = torch.linalg.svd(points, full_matrices=False)
    plane = left[:, :2] * sizes[:2]
    if plane.shape[1] < 2:
        plane = torch.cat([plane, torch.zeros(len(plane), 2 - plane.shape[1], dtype=plane.dtype)], dim=1)
    largest = plane.gather(0, plane.abs().argmax(0, keepdim=True))
    signed: Tensor = plane * torch.where(largest < 0, -1.0, 1.0)
    return signed
