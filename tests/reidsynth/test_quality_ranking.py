"""Rank 1 and mAP of the acceptance test against a slow search, cases worked by hand, and chance by trying."""

from __future__ import annotations

import numpy as np
import pytest

from reidsynth.quality.ranking import Side, expected_ap, rank, rank_scores


def slow(scores, relevant, excluded):
    """First hit and average precision of every query, item by item."""
    found = []
    for row, hits, hidden in zip(scores, relevant, excluded, strict=True):
        items = sorted((i for i in range(len(row)) if not hidden[i]), key=lambda i: (-row[i], i))
        ranks = [place for place, item in enumerate(items, 1) if hits[item]]
        if ranks:
            found.append((ranks[0], sum(n / place for n, place in enumerate(ranks, 1)) / len(ranks)))
        else:
            found.append((0, 0.0))
    return found


@pytest.mark.parametrize("gallery", [1, 2, 7, 60])
@pytest.mark.parametrize("share", [0.05, 0.5])
@pytest.mark.parametrize("levels", [2, 1000])
def test_equals_the_slow_search(gallery, share, levels):
    rng = np.random.default_rng(gallery + levels)
    scores = (rng.integers(0, levels, (40, gallery)) - levels // 2).astype(np.float32)  # ties and negative scores
    relevant, excluded = rng.random((40, gallery)) < share, rng.random((40, gallery)) < 0.3
    found = rank_scores(scores, relevant, excluded)
    expected = slow(scores, relevant, excluded)
    assert found.first.tolist() == [first for first, _ in expected]
    np.testing.assert_allclose(found.ap, [ap for _, ap in expected], rtol=1e-12)
    assert found.valid.tolist() == [first > 0 for first, _ in expected]


def test_hits_at_ranks_two_and_four():
    hits = np.array([[False, True, False, True]])
    found = rank_scores(np.array([[0.9, 0.8, 0.7, 0.1]]), hits, np.zeros_like(hits))
    assert (found.first.item(), found.ap.item()) == (2, 0.5)


def test_an_excluded_item_is_neither_found_nor_in_the_way():
    hits = np.array([[True, True, False]])
    hidden = np.array([[True, False, False]])
    found = rank_scores(np.array([[0.9, 0.1, 0.5]]), hits, hidden)
    assert (found.first.item(), found.ap.item()) == (2, 0.5)
    assert found.chance_first.item() == 0.5


def test_equal_scores_are_ranked_by_their_place_and_chunks_change_nothing():
    rng = np.random.default_rng(0)
    queries, gallery = rng.normal(size=(600, 4)), rng.normal(size=(50, 4)).round(1)
    asking, shown = rng.integers(0, 10, 600), rng.integers(0, 10, 50)
    found = Side(gallery, shown, np.arange(50))
    whole = rank(Side(queries, asking, np.arange(600)), found)
    parts = [rank(Side(queries[i : i + 1], asking[i : i + 1], np.array([i])), found) for i in range(0, 600, 97)]
    assert whole.first[::97].tolist() == [part.first.item() for part in parts]
    unit = [array / np.linalg.norm(array, axis=1, keepdims=True) for array in (queries, gallery)]
    same = asking[:, None] == shown[None, :]
    expected = slow((unit[0] @ unit[1].T).astype(np.float32), same, same & np.eye(600, 50, dtype=bool))
    assert whole.first.tolist() == [first for first, _ in expected]
    equal = Side(np.ones((5, 2)), np.array([1, 1, 0, 1, 0]), np.arange(5))
    assert rank(Side(np.ones((1, 2)), np.array([0]), np.array([9])), equal).first.item() == 3
    assert rank(Side(np.ones((1, 2)), np.array([0]), np.array([2])), equal).first.item() == 4  # not itself; 5th of 4


@pytest.mark.parametrize(("relevant", "size"), [(1, 1), (1, 5), (3, 5), (5, 5), (2, 40)])
def test_chance_is_the_mean_over_random_orders(relevant, size):
    rng = np.random.default_rng(0)
    hits = np.zeros((4000, size), bool)
    hits[:, :relevant] = True
    tried = rank_scores(rng.random((4000, size)), hits, np.zeros_like(hits))
    expected = expected_ap(np.array([relevant]), np.array([size])).item()
    assert tried.ap.mean() == pytest.approx(expected, abs=0.015)
    assert (tried.first == 1).mean() == pytest.approx(relevant / size, abs=0.03)
    assert tried.chance_ap == pytest.approx(expected)


def test_chance_of_a_query_with_nothing_to_find_is_nothing():
    assert expected_ap(np.array([0, 0]), np.array([5, 0])).tolist() == [0.0, 0.0]
