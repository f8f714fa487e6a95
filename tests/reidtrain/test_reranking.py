"""Re-ranking against a dense reading of the paper."""

import numpy as np
import pytest
import torch

from reidtrain.errors import UserError
from reidtrain.reranking import Rerank, parse_rerank, reranked


def dense(query, gallery, k1, k2, weight):
    """Everything at once: all distances, all neighbourhoods as sets, all encodings as full vectors."""
    points = torch.nn.functional.normalize(torch.cat([query, gallery]).double(), dim=1).numpy()
    count = len(points)
    distance = np.clip(2 - 2 * points @ points.T, 0, None)
    distance /= distance.max(axis=1, keepdims=True)
    order = np.argsort(distance, axis=1, kind="stable")

    def mutual(row, k):
        return {other for other in order[row, : k + 1] if row in order[other, : k + 1]}

    encoding = np.zeros((count, count))
    for row in range(count):
        near = mutual(row, k1)
        whole = set(near)
        for other in near:
            theirs = mutual(other, round(k1 / 2))
            if len(theirs & near) > 2 / 3 * len(theirs):
                whole |= theirs
        columns = sorted(whole)
        encoding[row, columns] = np.exp(-distance[row, columns])
        encoding[row] /= encoding[row].sum()
    encoding = np.stack([encoding[order[row, :k2]].mean(axis=0) for row in range(count)])
    shared = np.minimum(encoding[: len(query), None], encoding[None, len(query) :]).sum(axis=2)
    jaccard = 1 - shared / (2 - shared)
    return -((1 - weight) * jaccard + weight * distance[: len(query), len(query) :])


@pytest.mark.parametrize(("k1", "k2", "weight"), [(20, 6, 0.3), (5, 1, 0.0), (7, 3, 1.0), (300, 2, 0.5)])
def test_reranking_equals_a_dense_reading(k1, k2, weight, monkeypatch):
    monkeypatch.setattr("reidtrain.reranking._ROWS", 7)
    noise = torch.Generator().manual_seed(3)
    centres = torch.randn(12, 8, generator=noise)
    query = centres + 0.4 * torch.randn(12, 8, generator=noise)
    gallery = centres.repeat(5, 1) + 0.4 * torch.randn(60, 8, generator=noise)
    found = reranked(query, gallery, Rerank(k1, k2, weight)).numpy()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, dense(query, gallery, k1, k2, weight), atol=1e-5)


def test_equal_images_are_ordered_by_their_index():
    gallery = torch.eye(4).repeat(6, 1)
    once, again = (reranked(torch.eye(4), gallery, Rerank(3, 2, 0.3)) for _ in range(2))
    assert torch.equal(once, again)
    assert bool(once.isfinite().all())


def test_neighbours_help_a_query_that_is_far_from_its_match():
    """The query's own nearest image is another person's; its match shares all of its neighbours."""
    ring = torch.tensor([[1.0, 0.30], [1.0, 0.22], [1.0, 0.14], [1.0, 0.06]])
    decoy = torch.tensor([[1.0, 0.42]])
    query = torch.tensor([[1.0, 0.36]])
    plain = torch.nn.functional.normalize(query) @ torch.nn.functional.normalize(torch.cat([ring, decoy])).T
    better = reranked(query, torch.cat([ring, decoy]), Rerank(3, 1, 0.0))[0]
    assert plain[0, 4] > plain[0, 1]
    assert better[0] >= better[3]


def test_constants_are_read_and_checked():
    assert parse_rerank("50,15,0.3") == Rerank(50, 15, 0.3)
    assert str(Rerank()) == "k-reciprocal 20,6,0.3"
    for text in ("20,6", "a,b,c", "20,6,0.3,1"):
        with pytest.raises(UserError, match=r"write k1,k2,lambda"):
            parse_rerank(text)
    with pytest.raises(UserError, match="lambda=2"):
        Rerank(20, 6, 2)
