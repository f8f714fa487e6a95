"""t-SNE: perplexity, gradient, and what it is for."""

import math

import pytest
import torch

from reidtrain.embedding import conditional_probabilities, divergence, gradient, joint_probabilities, tsne


def clusters(count=4, each=15, width=10, spread=0.3):
    noise = torch.Generator().manual_seed(0)
    centres = 4 * torch.randn(count, width, generator=noise, dtype=torch.float64)
    points = centres.repeat_interleave(each, 0)
    return points + spread * torch.randn(points.shape, generator=noise, dtype=torch.float64)


@pytest.mark.parametrize("perplexity", [2.0, 10.0, 30.0])
def test_every_row_has_the_wanted_perplexity(perplexity):
    rows = conditional_probabilities(clusters(), perplexity)
    entropy = -(rows * rows.clamp(min=1e-300).log()).sum(1)
    assert torch.allclose(entropy.exp(), torch.full_like(entropy, perplexity), rtol=1e-6)
    assert torch.allclose(rows.sum(1), torch.ones(len(rows), dtype=rows.dtype))
    assert float(rows.diagonal().abs().max()) == 0
    joint = joint_probabilities(clusters(), perplexity)
    assert torch.allclose(joint, joint.T)
    assert math.isclose(float(joint.sum()), 1.0, rel_tol=1e-9)


def test_the_gradient_is_that_of_the_divergence():
    points = clusters(3, 6)
    similar = joint_probabilities(points, 5.0)
    plane = torch.randn(18, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)
    divergence(plane, similar).backward()
    assert torch.allclose(gradient(plane.detach(), similar), plane.grad, atol=1e-10)


def test_clusters_stay_apart_and_the_divergence_falls():
    points = clusters()
    plane = tsne(points, perplexity=10)
    similar = joint_probabilities(points - points.mean(0), 10)
    assert float(divergence(plane, similar)) < 0.6
    distance = torch.cdist(plane, plane) + 1e9 * torch.eye(len(plane), dtype=torch.float64)
    nearest = distance.argmin(1)
    assert bool((nearest // 15 == torch.arange(60) // 15).all())
    assert torch.equal(plane, tsne(points, perplexity=10)), "the same features give the same picture"


def test_equal_points_and_few_of_them_are_laid_out():
    plane = tsne(torch.ones(6, 3), steps=50)
    assert bool(plane.isfinite().all())
    assert tsne(torch.randn(4, 1), steps=50).shape == (4, 2)
    with pytest.raises(ValueError, match="at least four points"):
        tsne(torch.ones(3, 2))
    with pytest.raises(ValueError, match="at least four points"):
        tsne(torch.full((5, 2), math.nan))
