"""Losses against slow loops, and at their edges."""

from __future__ import annotations

import math

import pytest
import torch

from reidtrain.losses import (
    cmpm,
    feature_binding,
    identity_ce,
    info_nce,
    masked_attribute_ce,
    routing_entropy,
    sdm,
    soft_margin_triplet,
    unireid,
    unit,
)


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


def test_sdm_weighs_other_images_of_a_person_in_the_precision_of_the_features():
    # Zero features predict 1/2 each; labels are 1 and 0.3 of 1.3. Worked in float64, where float32's 0.3 would show.
    zero, pids, ids = torch.zeros(2, 4, dtype=torch.float64), torch.tensor([7, 7]), torch.tensor([0, 1])
    own, other = 1 / 1.3 + 1e-8, 0.3 / 1.3 + 1e-8
    one_way = math.log(0.5) - (math.log(own) + math.log(other)) / 2
    assert float(sdm(zero, zero, pids, image_ids=ids)) == pytest.approx(2 * one_way, rel=1e-13)


def test_sdm_takes_the_identities_of_both_sides_as_a_pair():
    image, text, pids, others = draw(3), draw(5, 1), torch.tensor([0, 1, 2]), torch.tensor([2, 2, 0, 1, 1])
    assert torch.equal(sdm(image, text, (pids, others)), sdm(image, text, pids, text_pids=others))


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


def test_entropy_reads_nothing_of_masked_tokens():
    probabilities = torch.tensor([[0.5, 0.5], [float("nan"), float("nan")]], requires_grad=True)
    loss = routing_entropy(probabilities, torch.tensor([True, False]))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2))
    assert probabilities.grad[1].tolist() == [0.0, 0.0]


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


def people(rows=6, seed=0, dtype=torch.float64):
    return {name: draw(rows, seed + i, dtype) for i, name in enumerate(("rgb", "sketch", "text", "fused"))}


def slow_unireid(rgb, sketch, text, fused, scale, alpha, gamma, weight):
    def similar(a, b):
        return [[scale * float(torch.cosine_similarity(x, y, dim=0)) for y in b] for x in a]

    pair_t, pair_s = slow_info_nce(text, rgb, scale).tolist(), slow_info_nce(sketch, rgb, scale).tolist()
    out = {"text": 0.0, "sketch": 0.0, "interaction": 0.0, "fused": float(slow_info_nce(fused, rgb, scale).mean())}
    rows = len(rgb)
    for t, s, teacher, student in zip(pair_t, pair_s, similar(text, rgb), similar(sketch, rgb), strict=True):
        p_t, p_s = math.exp(-t), math.exp(-s)
        mean = 2 * p_t * p_s / (p_t + p_s)
        out["text"] += alpha * (1 + p_s * mean) ** gamma * t / rows
        out["sketch"] += alpha * (1 + p_t * mean) ** gamma * s / rows
        total_t, total_s = (sum(math.exp(v) for v in row) for row in (teacher, student))
        for a, b in zip(teacher, student, strict=True):
            out["interaction"] -= math.exp(a) / total_t * (b - math.log(total_s)) / rows
    out["total"] = out["text"] + out["sketch"] + out["fused"] + weight * out["interaction"]
    return out


@pytest.mark.parametrize(("alpha", "gamma", "weight"), [(1.0, 3.5, 1.0), (0.5, 0.0, 0.0), (2.0, 1.0, 0.3)])
def test_unireid_equals_the_loop(alpha, gamma, weight):
    features = people()
    features["sketch"][:3] = features["rgb"][:3] + 0.1
    features["text"][1:4] = features["rgb"][1:4] - 0.2
    got = unireid(**features, scale=5.0, alpha=alpha, gamma=gamma, interaction_weight=weight)
    want = slow_unireid(*features.values(), 5.0, alpha, gamma, weight)
    for name, value in want.items():
        assert float(got[name]) == pytest.approx(value, rel=1e-6), name
    assert got["w_text"].shape == (6,)
    # Confident sketches make captions count more: sample 0 has a good sketch and a random text.
    assert got["w_text"][0] > got["w_sketch"][0]


def test_unireid_gradients():
    features = {name: value.requires_grad_() for name, value in people(4).items()}
    scale = torch.tensor(5.0, dtype=torch.float64, requires_grad=True)

    def total(rgb, sketch, text, fused, scale):
        return unireid(rgb, sketch, text, fused, scale=scale, interaction_weight=0.0)["total"]

    assert torch.autograd.gradcheck(total, (*features.values(), scale))
    rgb, sketch, text, fused = people(4).values()
    text.requires_grad_()
    only = unireid(rgb, sketch, text, fused, scale=5.0)["interaction"]
    assert not only.requires_grad, "the teacher of the interaction gets no gradient"
    held = unireid(rgb, sketch, text, fused, scale=5.0, detach_weights=True)
    (w,) = torch.autograd.grad(held["sketch"].sum() + held["text"].sum(), text)
    assert not held["w_text"].requires_grad
    assert torch.isfinite(w).all()


def slow_binding(rgb, others, pids, tau, present):
    cos = torch.cosine_similarity
    terms = []
    for i in range(len(rgb)):
        mine = [float(cos(rgb[i], z[i], dim=0)) / tau for m, z in others.items() if present[m][i]]
        far = [math.exp(float(cos(rgb[i], rgb[j], dim=0)) / tau) for j in range(len(rgb)) if pids[j] != pids[i]]
        if mine and far:
            terms.append(math.log(sum(far)) - sum(mine) / len(mine))
    return sum(terms) / len(terms)


def test_feature_binding_equals_the_loop():
    rgb, pids = draw(6), torch.tensor([0, 0, 1, 2, 2, 3])
    others = {"ir": draw(6, 1), "text": draw(6, 2), "fused": draw(6, 3)}
    generator = torch.Generator().manual_seed(5)
    for _ in range(4):
        present = {m: torch.rand(6, generator=generator) > 0.5 for m in others}
        present["fused"][0] = True
        got = feature_binding(rgb, others, pids, tau=0.3, present=present)
        assert float(got) == pytest.approx(slow_binding(rgb, others, pids, 0.3, present), rel=1e-9)
    everywhere = {m: torch.ones(6, dtype=torch.bool) for m in others}
    assert float(feature_binding(rgb, others, pids)) == pytest.approx(
        slow_binding(rgb, others, pids, 0.05, everywhere), rel=1e-9
    )


def test_feature_binding_reads_nothing_that_is_absent():
    rgb, other, pids = draw(4), draw(4, 1), torch.arange(4)
    has, photo = torch.tensor([True, True, False, True]), torch.tensor([True, True, True, False])
    clean = feature_binding(rgb[:3], {"ir": other[:3]}, pids[:3], present={"ir": has[:3]})
    other[2], rgb[3] = float("nan"), float("inf")
    rgb, other = rgb.requires_grad_(), other.requires_grad_()
    got = feature_binding(rgb, {"ir": other}, pids, present={"ir": has, "rgb": photo})
    got.backward()
    assert float(got.detach()) == pytest.approx(float(clean))
    assert torch.isfinite(rgb.grad).all()
    assert torch.isfinite(other.grad).all()


@pytest.mark.parametrize("case", ["one-identity", "nobody", "no-others", "one-row"])
def test_feature_binding_without_an_anchor_is_zero(case):
    rows = 1 if case == "one-row" else 4
    rgb, other = draw(rows).requires_grad_(), draw(rows, 1).requires_grad_()
    pids = torch.zeros(rows, dtype=torch.long) if case == "one-identity" else torch.arange(rows)
    present = {"ir": torch.zeros(rows, dtype=torch.bool)} if case == "nobody" else None
    loss = feature_binding(rgb, {} if case == "no-others" else {"ir": other}, pids, present=present)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert not rgb.grad.any()


def test_cross_entropies_by_hand():
    logits = torch.tensor([[0.0, math.log(3.0)], [math.log(3.0), 0.0], [5.0, 7.0]], requires_grad=True)
    labels, mask = torch.tensor([1, 1, 9]), torch.tensor([True, True, False])
    loss = identity_ce(logits, labels, mask=mask)
    loss.backward()
    assert float(loss) == pytest.approx((math.log(4 / 3) + math.log(4)) / 2)
    assert logits.grad[2].tolist() == [0.0, 0.0]
    nothing = masked_attribute_ce(logits, labels, mask=torch.zeros(3, dtype=torch.bool))
    nothing.backward()
    assert float(nothing.detach()) == 0.0
    with pytest.raises(ValueError, match="target 9 is no class"):
        identity_ce(logits, labels)
    with pytest.raises(ValueError, match=r"received \(3, 2\) and \(2,\)"):
        masked_attribute_ce(logits, labels[:2])


@pytest.mark.parametrize("squared", [False, True])
def test_triplet_equals_the_loop(squared):
    features, pids = draw(7), [0, 0, 0, 1, 1, 2, 2]
    distance = torch.cdist(features, features) ** (2 if squared else 1)
    terms = []
    for i, pid in enumerate(pids):
        far = max(float(distance[i, j]) for j in range(7) if pids[j] == pid and j != i)
        near = min(float(distance[i, j]) for j in range(7) if pids[j] != pid)
        terms.append(math.log1p(math.exp(far - near)))
    got = soft_margin_triplet(features, torch.tensor(pids), squared=squared)
    assert float(got) == pytest.approx(sum(terms) / 7, rel=1e-9)


@pytest.mark.parametrize("pids", [[0, 0, 0, 0], [0, 1, 2, 3], [0, 0, 1, 1]])
def test_triplet_is_finite_where_rows_coincide(pids):
    features = torch.zeros(4, 3, requires_grad=True)
    loss = soft_margin_triplet(features, torch.tensor(pids))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(features.grad).all()
    assert float(loss.detach()) == pytest.approx(math.log(2) if pids == [0, 0, 1, 1] else 0.0)


def test_cmpm_equals_the_loop():
    image, text, pids = draw(5), draw(5, 1), [0, 0, 1, 2, 2]

    def one_way(a, b):
        rows = []
        for i in range(5):
            logits = [float(a[i] @ (x / x.norm())) for x in b]
            total = math.log(sum(math.exp(v) for v in logits))
            labels = [float(pids[i] == pid) for pid in pids]
            rows.append(
                sum(
                    math.exp(v - total) * (v - total - math.log(label / sum(labels) + 1e-8))
                    for v, label in zip(logits, labels, strict=True)
                )
            )
        return sum(rows) / 5

    got = cmpm(image, text, torch.tensor(pids))
    assert float(got) == pytest.approx(one_way(image, text) + one_way(text, image), rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_the_other_losses_stay_finite_for_zero_features(dtype):
    rgb, sketch, text, fused = (value.to(dtype) for value in people(4).values())
    for one in (rgb, sketch, text, fused):
        one[0] = 0
        one.requires_grad_()
    pids = torch.tensor([0, 0, 1, 2])
    losses = unireid(rgb, sketch, text, fused, scale=1 / 0.07)
    total = losses["total"] + cmpm(rgb, text, pids) + soft_margin_triplet(sketch, pids)
    total = total + feature_binding(rgb, {"text": text, "sketch": sketch}, pids)
    total.backward()
    assert total.dtype == torch.float32
    for one in (rgb, sketch, text, fused):
        assert torch.isfinite(one.grad).all()


def test_wrong_shapes_of_the_other_losses_are_named():
    with pytest.raises(ValueError, match=r"\(4, 16\), \{'ir': \(3, 16\)\}"):
        feature_binding(draw(4), {"ir": draw(3)}, torch.arange(4))
    with pytest.raises(ValueError, match="present names sketch"):
        feature_binding(draw(4), {"ir": draw(4)}, torch.arange(4), present={"sketch": torch.ones(4) > 0})
    with pytest.raises(ValueError, match="as many queries"):
        unireid(draw(4), draw(3), draw(4), draw(4), scale=1.0)
    with pytest.raises(ValueError, match="B pids"):
        soft_margin_triplet(draw(4), torch.arange(3))
    with pytest.raises(ValueError, match="one text and one identity"):
        cmpm(draw(4), draw(3), torch.arange(4))
