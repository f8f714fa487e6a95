"""Dealing places: how many of each batch go to which data set, whose turn it is, and nobody twice in a batch.

A weight is a data set's share of the places, whatever its size: a small set comes round more often. Everything is a
function of (seed, epoch), so a mixed epoch resumes and divides among processes as any other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

GOLDEN = (5**0.5 - 1) / 2


def places_of_sets(shares: Sequence[float], batches: int, places: int) -> np.ndarray:
    """Say how many places of each batch go to each data set.

    Place t of the epoch goes to the set in whose part of the unit interval t times the golden ratio falls, modulo 1.
    These points lie evenly from the first one on, so any run of batches has the shares, and no batch is far from them.

    Args:
        shares: of the data sets, positive, of any sum.
        batches: of an epoch.
        places: of a batch.

    Returns:
        (batches, sets) int64, rows sum to `places`.

    Example:
        >>> places_of_sets([2, 1], 3, 3).tolist()
        [[2, 1], [2, 1], [2, 1]]
    """
    ends = np.cumsum(np.asarray(shares, dtype=np.float64) / np.sum(shares))[:-1]
    turn = np.arange(1, batches * places + 1)
    owner = np.searchsorted(ends, (turn * GOLDEN) % 1.0, side="right").reshape(batches, places)
    return np.stack([(owner == number).sum(axis=1) for number in range(len(ends) + 1)], axis=1)


def deal(counts: Sequence[int], cards: int, rng: np.random.Generator) -> np.ndarray:
    """Give each of a run of receivers `counts` distinct cards out of one shuffled deck after another.

    Where a receiver stands at the seam of two decks, the next one is rearranged so that no card comes to it twice. All
    cards are given equally often, up to the last deck.

    Args:
        counts: cards of each receiver, at most `cards`.
        cards: of a deck.
        rng: shuffles.

    Returns:
        (sum of counts,) numbers of cards, receiver after receiver.
    """
    dealt: list[np.ndarray] = []
    deck = rng.permutation(cards)
    for count in counts:
        if count <= len(deck):
            dealt.append(deck[:count])
            deck = deck[count:]
            continue
        fresh = rng.permutation(cards)
        taken = np.isin(fresh, deck)
        free, again = fresh[~taken], fresh[taken]
        missing = count - len(deck)
        dealt.append(np.concatenate([deck, free[:missing]]))
        deck = rng.permutation(np.concatenate([free[missing:], again]))
    return np.concatenate(dealt)


def spread(units: Sequence[np.ndarray], batches: int, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Deal the units of identities to batches, no batch two of one identity.

    Identities in random order take places one after another along a row of random permutations of the batches, see
    `deal`. All batches end up equally full.

    Args:
        units: of each identity; of one with more than there are batches, and of all units when there are more than
            places, a random choice is dealt.
        batches: how many.
        size: units of a batch; there must be enough for all batches.
        rng: shuffles.

    Returns:
        `batches` arrays of `size` units.
    """
    chosen = [rng.permutation(mine)[:batches] for mine in units]
    keep = np.zeros(sum(map(len, chosen)), dtype=bool)
    keep[rng.permutation(len(keep))[: batches * size]] = True
    parts = np.split(keep, np.cumsum([len(mine) for mine in chosen])[:-1])
    chosen = [mine[part] for mine, part in zip(chosen, parts, strict=True)]
    order = [chosen[i] for i in rng.permutation(len(chosen))]
    places = deal([len(mine) for mine in order], batches, rng)
    by_batch = np.concatenate(order)[np.argsort(places, kind="stable")].reshape(batches, size)
    return [rng.permutation(members) for members in by_batch]


def visits(labels: np.ndarray, rows: np.ndarray, drawn: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Choose a capture for each draw of an identity: its captures in random order, each once before one comes again.

    Args:
        labels: (N,) identity of each row of the data set.
        rows: those that may be drawn.
        drawn: (M,) identities, each with at least one of `rows`.
        rng: shuffles.

    Returns:
        (M,) rows.
    """
    order = rng.permutation(rows)
    order = order[np.argsort(labels[order], kind="stable")]
    known, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
    place = np.searchsorted(known, drawn)
    # The how-manieth draw of its identity each draw is.
    by_identity = np.argsort(place, kind="stable")
    _, first, times = np.unique(place[by_identity], return_index=True, return_counts=True)
    number = np.empty(len(drawn), dtype=np.int64)
    number[by_identity] = np.arange(len(drawn)) - np.repeat(first, times)
    chosen: np.ndarray = order[starts[place] + number % counts[place]]
    return chosen
