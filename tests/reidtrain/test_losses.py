"""Losses against slow loops, and at their edges."""

from __future__ import annotations

import math

import pytest
import torch

from reidtrain.losses import info_nce, routing_entropy, sdm, unit


def slow_info_nce(query, gallery, scale):
    out = []
    for i in range(len(query)):
        forth = [scale * float(torch.cosine_similarity(query[i], g, dim=0)) for g in gallery]
        back = [scale * float(torch.cosine_similarity(q, gallery[i], dim=0)) for q in query]
        out.append(sum(math.log(sum(math.exp(v - row[i]) for v in row)) for row in (forth, back)) / 2)
    return torch.tensor(out, dtype=torch.float64)


def slow_sdm(image, text, pids, text_pids, scale, eps=1e-8):
    def one_way(a, b, pa, pb):
        rows = []
        for i in range(len(a)):
            logits = [scale * float(torch.cosine_similarity(a[i], g, dim=0)) for g in b]
            total = math.log(sum(math.exp(v) for v in logits))
            labels = [float(pa[i] == p) for p in pb]
            if sum(labels) == 0:
                continue
            rows.append(
                sum(
                    math.exp(v - total) * (v - total - math.log(label / sum(labels) + eps))
                    for v, label in zip(logits, labels, strict=True)
                )
            )
        return sum(rows) / len(rows)

    return one_way(image, text, pids, text_pids) + one_way(text, image, text_pids, pids)


def draw(rows, seed=0, dtype=torch.float64):
    return torch.randn(rows, 16, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("scale", [1.0, 14.3, 50.0])
def test_info_nce_equals_the_loop(scale):
    query, gallery = draw(7), draw(7, 1)
    torch.testing.assert_close(info_nce(query, gallery, scale=scale), slow_info_nce(query, gallery, scale))


@pytest.mark.parametrize("scale", [1.0, 50.0])
@pytest.mark.parametrize("text_pids", [[0, 0, 1, 2, 3], [0, 0, 1, 9], [3]])
def test_sdm_equals_the_loop(scale, text_pids):
    image, text = draw(5), draw(len(text_pids), 1)
    pids, others = torch.tensor([0, 0, 1, 2, 3]), torch.tensor(text_pids)
    got = sdm(image, text, pids, scale=scale, text_pids=others)
    assert float(got) == pytest.approx(slow_sdm(image, text, pids, others, scale), rel=1e-9)


def test_sdm_with_source_images_prefers_the_same_image():
    pids, ids = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 2])
    features = torch.eye(3)
    swapped = features[[1, 0, 2]]
    right = sdm(features, features, pids, image_ids=ids)
    wrong = sdm(features, swapped, pids, image_ids=ids)
    assert right < wrong
    both = sdm(features, swapped, pids, image_ids=(ids, ids[[1, 0, 2]]))
    assert float(both) == pytest.approx(float(right), abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("case", ["zero", "one-identity", "one-row", "tiny", "identical"])
def test_losses_and_gradients_stay_finite(dtype, case):
    rows = 1 if case == "one-row" else 4
    image, text = draw(rows, dtype=torch.float64).to(dtype), draw(rows, 1).to(dtype)
    pids = torch.zeros(rows, dtype=torch.long) if case == "one-identity" else torch.arange(rows)
    if case == "zero":
        image[0] = 0
        text[1:] = 0
    if case == "tiny":
        image = image * 1e-30
    if case == "identical":
        image = text = torch.ones_like(image)
    image, text = image.clone().requires_grad_(), text.clone().requires_grad_()
    loss = sdm(image, text, pids) + info_nce(image, text, scale=50.0).mean()
    loss.backward()
    assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert torch.isfinite(loss)
    assert torch.isfinite(image.grad).all()
    assert torch.isfinite(text.grad).all()


def test_gradients_agree_with_finite_differences():
    image, text = draw(4).requires_grad_(), draw(4, 1).requires_grad_()
    pids = torch.tensor([0, 0, 1, 2])
    assert torch.autograd.gradcheck(lambda a, b: sdm(a, b, pids, scale=5.0), (image, text))
    assert torch.autograd.gradcheck(lambda a, b: info_nce(a, b, scale=5.0), (image, text))


def test_unit_leaves_zero_alone():
    vectors = torch.tensor([[3.0, 4.0], [0.0, 0.0]], requires_grad=True)
    out = unit(vectors)
    out.sum().backward()
    torch.testing.assert_close(out, torch.tensor([[0.6, 0.8], [0.0, 0.0]]))
    assert vectors.grad[1].tolist() == [0.0, 0.0]


def test_entropy_by_hand():
    probabilities = torch.tensor([[0.25] * 4, [1.0, 0, 0, 0], [0.5, 0.5, 0, 0]], requires_grad=True)
    loss = routing_entropy(probabilities)
    loss.backward()
    assert loss.item() == pytest.approx((math.log(4) + math.log(2)) / 3)
    assert torch.isfinite(probabilities.grad).all()
    assert float(routing_entropy(probabilities.detach(), torch.tensor([True, False, False]))) == pytest.approx(
        math.log(4)
    )
    assert float(routing_entropy(probabilities.detach(), torch.zeros(3, dtype=torch.bool))) == 0.0
    assert torch.isfinite(routing_entropy(probabilities.detach().half()))


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"\(3, 16\) and \(4, 8\)"):
        sdm(draw(3), torch.zeros(4, 8), torch.arange(3))
    with pytest.raises(ValueError, match="one identity per feature"):
        sdm(draw(3), draw(4), torch.arange(3))
    with pytest.raises(ValueError, match="nothing to match"):
        sdm(draw(2), draw(2), torch.tensor([0, 1]), text_pids=torch.tensor([2, 3]))
    with pytest.raises(ValueError, match="as many queries"):
        info_nce(draw(2), draw(3), scale=1.0)
    with pytest.raises(ValueError, match="at least one"):
        info_nce(draw(0), draw(0), scale=1.0)
    with pytest.raises(ValueError, match="mask must be"):
        routing_entropy(torch.full((2, 3, 4), 0.25), torch.ones(2, dtype=torch.bool))
