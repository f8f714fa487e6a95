"""k-reciprocal re-ranking.

Z. Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017. The distance of two images
becomes a mix of their own distance and of the Jaccard distance of their k-reciprocal neighbourhoods in queries and
gallery together. Conventions of the common implementations, which ours agrees with (tested against a dense one):

- the own distance is the squared Euclidean distance of normalised features, each row divided by its largest value;
- half neighbourhoods have round(k1 / 2) members, joined when more than two thirds of them are already there;
- the exclusion of a protocol comes afterwards, on the final distance.

Neighbourhoods are kept sparse and similarities are taken in blocks, so memory grows with Q x G (the result) and with
(Q + G) x k1, never with (Q + G)^2. Neighbours of equal distance are taken in the order of their index, queries first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reidtrain.errors import UserError
from reidtrain.metrics import cosine

_ROWS = 512  # rows of the (Q + G) x (Q + G) distances that are held at once


@dataclass(frozen=True, slots=True)
class Rerank:
    """Constants of k-reciprocal re-ranking.

    Args:
        k1: neighbours that may be reciprocal.
        k2: neighbours whose encodings are averaged; 1 averages nothing.
        weight: of the own distance, from 0 to 1 (lambda in the paper).

    Raises:
        UserError: for values outside their range.
    """

    k1: int = 20
    k2: int = 6
    weight: float = 0.3

    def __post_init__(self) -> None:
        if self.k1 < 1 or self.k2 < 1 or not 0 <= self.weight <= 1:
            raise UserError(
                f"re-ranking with k1={self.k1}, k2={self.k2}, lambda={self.weight} is not possible: k1 and k2 are "
                "whole numbers from 1, lambda lies between 0 and 1; the usual ones are 20,6,0.3"
            )

    def __str__(self) -> str:
        return f"k-reciprocal {self.k1},{self.k2},{self.weight:g}"


def parse_rerank(text: str) -> Rerank:
    """Read constants written as `20,6,0.3`.

    Raises:
        UserError: for anything else.
    """
    parts = text.split(",")
    try:
        k1, k2, weight = int(parts[0]), int(parts[1]), float(parts[2])
    except (ValueError, IndexError):
        parts = []
    if len(parts) != 3:
        raise UserError(f"re-ranking constants {text!r} can't be read: write k1,k2,lambda, for example 20,6,0.3")
    return Rerank(k1, k2, weight)


def reranked(query: Tensor, gallery: Tensor, constants: Rerank | None = None) -> Tensor:
    """Similarities after k-reciprocal re-ranking.

    Args:
        query: (Q, D) finite features.
        gallery: (G, D) finite features.
        constants: k1, k2 and lambda.

    Returns:
        (Q, G) float32, minus the final distance: higher is closer.
    """
    constants = constants or Rerank()
    everyone = torch.cat([query, gallery])
    neighbours, largest = _neighbours(everyone, constants.k1 + 1)
    rows = _encoded(everyone, neighbours, largest, constants.k1)
    rows = _averaged(rows, neighbours, constants.k2)
    own = 2 - 2 * cosine(query, gallery).double()
    final = (own.clamp(min=0) / largest[: len(query), None]) * constants.weight
    final += torch.from_numpy(_jaccard(rows, len(query))) * (1 - constants.weight)
    return -final.float()


Encoding = list[tuple[np.ndarray, np.ndarray]]  # of each image: columns, and their weights


def _neighbours(everyone: Tensor, count: int) -> tuple[np.ndarray, Tensor]:
    """(N, count) nearest images of each, itself among them, and the (N,) largest distance of each."""
    count = min(count, len(everyone))
    nearest, largest = [], []
    for block in everyone.split(_ROWS):
        scores = cosine(block, everyone)
        least = scores.topk(count, dim=1).values[:, -1:]
        row, column = (scores >= least).nonzero(as_tuple=True)  # more than `count` of them where there are ties
        order = scores[row, column].sort(descending=True, stable=True).indices
        order = order[row[order].sort(stable=True).indices]
        row, column = row[order], column[order]
        first = torch.searchsorted(row, torch.arange(len(block), device=row.device))
        nearest.append(column[first[:, None] + torch.arange(count, device=row.device)].cpu().numpy())
        largest.append((2 - 2 * scores.min(dim=1).values.double()).clamp(min=1e-12).cpu())
    return np.concatenate(nearest), torch.cat(largest)


def _reciprocal(neighbours: np.ndarray, row: int, count: int) -> np.ndarray:
    forward = neighbours[row, : count + 1]
    mutual: np.ndarray = forward[(neighbours[forward, : count + 1] == row).any(axis=1)]
    return mutual


def _encoded(everyone: Tensor, neighbours: np.ndarray, largest: Tensor, k1: int) -> Encoding:
    """Gaussian weights of each image's expanded k-reciprocal neighbours."""
    half = [_reciprocal(neighbours, row, round(k1 / 2)) for row in range(len(neighbours))]
    encoded = []
    unit = torch.nn.functional.normalize(everyone.double(), dim=1)
    for row in range(len(neighbours)):
        near = _reciprocal(neighbours, row, k1)
        joined = [near]
        for candidate in near:
            other = half[candidate]
            if np.isin(other, near).sum() > 2 / 3 * len(other):
                joined.append(other)
        columns = np.unique(np.concatenate(joined))
        distance = (2 - 2 * (unit[columns] @ unit[row])).clamp(min=0) / largest[row]
        weights = np.exp(-distance.cpu().numpy())
        encoded.append((columns, weights / weights.sum()))
    return encoded


def _averaged(rows: Encoding, neighbours: np.ndarray, k2: int) -> Encoding:
    if k2 == 1:
        return rows
    averaged = []
    for near in neighbours[:, :k2]:
        columns, place = np.unique(np.concatenate([rows[other][0] for other in near]), return_inverse=True)
        weights = np.bincount(place, np.concatenate([rows[other][1] for other in near])) / len(near)
        averaged.append((columns, weights))
    return averaged


def _jaccard(rows: Encoding, queries: int) -> np.ndarray:
    """(Q, G) Jaccard distances of encodings."""
    gallery = len(rows) - queries
    lengths = [len(columns) for columns, _ in rows[queries:]]
    column = np.concatenate([columns for columns, _ in rows[queries:]])
    weight = np.concatenate([weights for _, weights in rows[queries:]])
    item = np.repeat(np.arange(gallery), lengths)
    order = np.argsort(column, kind="stable")
    column, weight, item = column[order], weight[order], item[order]
    bounds = np.searchsorted(column, np.arange(len(rows) + 1))
    found = np.empty((queries, gallery), dtype=np.float64)
    for row, (columns, weights) in enumerate(rows[:queries]):
        spans = [np.arange(bounds[one], bounds[one + 1]) for one in columns]
        place = np.concatenate(spans)
        mine = np.repeat(weights, [len(span) for span in spans])
        shared = np.bincount(item[place], np.minimum(mine, weight[place]), minlength=gallery)
        found[row] = 1 - shared / (2 - shared)
    return found
