"""Rank 1 and mAP of a small search, and what chance would reach.

The conventions are those of the field's person re-identification evaluations: cosine similarity in float32, order by
descending score and then by ascending gallery index, AP as the mean over the relevant items of the precision at their
rank, taken after exclusion; a query with nothing left to find counts in no mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_QUERIES_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Ranked:
    """How every query fared.

    Args:
        valid: (Q,) bool: whether it has anything to find.
        first: (Q,) rank of the first relevant item, from 1; 0 where the query is not valid.
        ap: (Q,) average precision, 0 where the query is not valid.
        chance_first: (Q,) probability that a random order puts a relevant item first.
        chance_ap: (Q,) expected average precision of a random order.
    """

    valid: np.ndarray
    first: np.ndarray
    ap: np.ndarray
    chance_first: np.ndarray
    chance_ap: np.ndarray


@dataclass(frozen=True, slots=True)
class Side:
    """Queries, or a gallery.

    Args:
        features: float (N, D), of any length but zero.
        people: (N,) number of the person on each.
        photographs: (N,) number of the photograph that each came from.
    """

    features: np.ndarray
    people: np.ndarray
    photographs: np.ndarray


def rank(queries: Side, gallery: Side) -> Ranked:
    """Search a gallery with every query, some queries at a time, for the other photographs of the same person.

    Args:
        queries: Q of them, at least one.
        gallery: G photographs; a query does not see the one that it came from itself.

    Returns:
        How the queries fared; memory grows with G, and with Q only by what is returned.
    """
    normalised = _normalised(gallery.features)
    parts = []
    for start in range(0, len(queries.features), _QUERIES_AT_ONCE):
        some = slice(start, start + _QUERIES_AT_ONCE)
        relevant = queries.people[some, None] == gallery.people[None, :]
        excluded = relevant & (queries.photographs[some, None] == gallery.photographs[None, :])
        parts.append(rank_scores(_normalised(queries.features[some]) @ normalised.T, relevant, excluded))
    names = ("valid", "first", "ap", "chance_first", "chance_ap")
    return Ranked(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def rank_scores(scores: np.ndarray, relevant: np.ndarray, excluded: np.ndarray) -> Ranked:
    """Rank by given scores.

    Args:
        scores: float (Q, G), higher is better.
        relevant: bool (Q, G).
        excluded: bool (Q, G): items that a query does not see.

    Example:
        >>> hits = np.array([[False, True, False, True]])
        >>> found = rank_scores(np.array([[0.9, 0.8, 0.7, 0.1]]), hits, np.zeros_like(hits))
        >>> found.first.tolist(), found.ap.tolist()
        ([2], [0.5])
    """
    order = np.argsort(-scores, axis=1, kind="stable")
    seen = np.take_along_axis(~excluded, order, axis=1)
    hit = np.take_along_axis(relevant, order, axis=1) & seen
    position = np.maximum(np.cumsum(seen, axis=1), 1)
    count = hit.sum(axis=1)
    valid = count > 0
    precision = np.cumsum(hit, axis=1) / position
    ap = (precision * hit).sum(axis=1) / np.maximum(count, 1)
    first = np.where(valid, np.take_along_axis(position, hit.argmax(axis=1)[:, None], axis=1)[:, 0], 0)
    size = seen.sum(axis=1)
    return Ranked(valid, first, ap, count / np.maximum(size, 1), expected_ap(count, size))


def expected_ap(relevant: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Mean average precision over all orders of a gallery.

    An item at rank k is relevant with probability R / N and has (k - 1)(R - 1) / (N - 1) relevant ones before it, so
    that E[AP] = (1 / N) sum over k of (1 / k)(1 + (k - 1)(R - 1) / (N - 1)).

    Args:
        relevant: (Q,) number of relevant items R.
        size: (Q,) size of the gallery N.

    Returns:
        (Q,) expectation, 0 where there is nothing to find.

    Example:
        >>> expected_ap(np.array([1, 2]), np.array([2, 2])).tolist()
        [0.75, 1.0]
    """
    largest = int(size.max(initial=0))
    harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, largest + 1))])[size]
    others = (relevant - 1) / np.maximum(size - 1, 1)
    found = (harmonic + others * (size - harmonic)) / np.maximum(size, 1)
    return np.where((relevant > 0) & (size > 0), found, 0.0)


def _normalised(features: np.ndarray) -> np.ndarray:
    values = features.astype(np.float32)
    length = np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    unit: np.ndarray = values / length
    return unit
