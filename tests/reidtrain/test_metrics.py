"""The ranking metrics against a slow reference that sorts plain Python lists."""

import itertools
import math
import random

import pytest
import torch

from reidtrain import metrics
from reidtrain.metrics import Ranking, cosine, rank, rank_features

EXCLUSIONS = ("none", "same-camera", "source-image", "sysu")


def _kept(exclude, query_pid, query_key, gallery_pids, gallery_keys, items):
    if exclude in ("same-camera", "source-image"):
        return [g for g in items if not (gallery_pids[g] == query_pid and gallery_keys[g] == query_key)]
    if exclude == "sysu":
        return [g for g in items if not (query_key == 3 and gallery_keys[g] == 2)]
    return items


def reference(
    scores, query_pids, gallery_pids, query_keys, gallery_keys, exclude="none", unique_identities=False, max_rank=50
):
    """Sort everything, walk down the list, count."""
    cmc, ap, inp, relevant, candidates = [0] * max_rank, [], [], [], []
    for q, row in enumerate(scores):
        order = sorted(range(len(row)), key=lambda g: (-row[g], g))
        order = _kept(exclude, query_pids[q], query_keys[q], gallery_pids, gallery_keys, order)
        hits = [gallery_pids[g] == query_pids[q] for g in order]
        relevant.append(sum(hits))
        candidates.append(len(order))
        if not any(hits):
            ap.append(None)
            inp.append(None)
            continue
        ranks = [position for position, hit in enumerate(hits, 1) if hit]
        ap.append(sum(k / r for k, r in enumerate(ranks, 1)) / len(ranks))
        inp.append(len(ranks) / ranks[-1])
        people = [gallery_pids[g] for g in order]
        if unique_identities:
            people = list(dict.fromkeys(people))
        first = people.index(query_pids[q]) + 1
        for k in range(first, max_rank + 1):
            cmc[k - 1] += 1
    valid = [value for value in ap if value is not None]
    if not valid:
        return None
    hardest = [value for value in inp if value is not None]
    return {
        "cmc": [hit / len(valid) for hit in cmc],
        "mAP": sum(valid) / len(valid),
        "mINP": sum(hardest) / len(hardest),
        "ap": ap,
        "inp": inp,
        "valid": len(valid),
        "skipped": len(ap) - len(valid),
        "relevant": relevant,
        "candidates": candidates,
    }


def assert_equal(found: Ranking, expected):
    assert found.cmc.tolist() == pytest.approx(expected["cmc"], abs=1e-12)
    assert found.mAP == pytest.approx(expected["mAP"], abs=1e-12)
    assert found.mINP == pytest.approx(expected["mINP"], abs=1e-12)
    assert (found.valid_queries, found.skipped_queries) == (expected["valid"], expected["skipped"])
    for values, wanted in ((found.ap, expected["ap"]), (found.inp, expected["inp"])):
        assert [None if math.isnan(v) else v for v in values.tolist()] == pytest.approx(wanted, abs=1e-12)
    assert found.relevant.tolist() == expected["relevant"]
    assert found.candidates.tolist() == expected["candidates"]


def same(one: Ranking, other: Ranking) -> bool:
    """Bit for bit."""
    return (
        one.mAP == other.mAP
        and one.mINP == other.mINP
        and torch.equal(one.cmc, other.cmc)
        and torch.equal(one.first_hit, other.first_hit)
        and torch.equal(one.ap.nan_to_num(-1), other.ap.nan_to_num(-1))
        and torch.equal(one.inp.nan_to_num(-1), other.inp.nan_to_num(-1))
    )


def draw_scores(draw, kind, queries, gallery):
    value = {
        "spread": lambda: draw.uniform(-1, 1),
        "negative": lambda: draw.uniform(-3, -1),
        "tied": lambda: draw.choice([-0.5, 0.0, 0.25]),
        "equal": lambda: 0.0,
        "infinite": lambda: draw.choice([-math.inf, math.inf, -1.0, 0.0, 3.4028234663852886e38]),
        "neighbours": lambda: draw.choice([1.0, 1.0000001192092896, 0.9999999403953552]),
    }[kind]
    # Through float32, so that the reference compares the numbers that the code under test sees.
    return torch.tensor([[value() for _ in range(gallery)] for _ in range(queries)], dtype=torch.float32)


@pytest.mark.parametrize("kind", ["spread", "negative", "tied", "equal", "infinite", "neighbours"])
@pytest.mark.parametrize("exclude", EXCLUSIONS)
@pytest.mark.parametrize("unique_identities", [False, True])
def test_rank_equals_the_slow_reference(kind, exclude, unique_identities, monkeypatch):
    draw = random.Random(f"{kind}{exclude}{unique_identities}")
    compared = 0
    for queries, gallery, people in itertools.product((1, 7), (1, 3, 17), (1, 2, 5)):
        query_pids = [draw.randrange(people + 1) - 1 for _ in range(queries)]
        gallery_pids = [draw.randrange(people) - 1 for _ in range(gallery)]
        query_keys = [draw.randrange(1, 4) for _ in range(queries)]
        gallery_keys = [draw.randrange(1, 4) for _ in range(gallery)]
        scores = draw_scores(draw, kind, queries, gallery)
        max_rank = draw.choice([1, 3, 50])
        options = {"exclude": exclude, "unique_identities": unique_identities, "max_rank": max_rank}
        labels = (query_pids, gallery_pids)
        expected = reference(scores.tolist(), *labels, query_keys, gallery_keys, **options)
        monkeypatch.setattr(metrics, "_ITEMS_PER_PASS", draw.choice([1, 20, 1000]))
        keys = {"query_keys": query_keys, "gallery_keys": gallery_keys}
        if expected is None:
            with pytest.raises(ValueError, match="has a relevant gallery item left"):
                rank(scores, *labels, **keys, **options)
            continue
        compared += 1
        assert_equal(rank(scores, *labels, **keys, **options), expected)
        assert same(rank(scores, *labels, **keys, **options), rank(scores.double(), *labels, **keys, **options))
    assert compared > 5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64, torch.uint8])
def test_rank_compares_other_number_types_without_loss(dtype):
    scores = torch.tensor([[3, 7, 7, 1], [2, 2, 0, 9]]).to(dtype)
    expected = reference(scores.tolist(), [1, 2], [1, 2, 1, 2], [0, 0], [0, 0, 0, 0])
    assert_equal(rank(scores, [1, 2], [1, 2, 1, 2]), expected)


class TestByHand:
    def test_hits_at_two_and_four(self):
        found = rank(torch.tensor([[4.0, 3.0, 2.0, 1.0]]), [1], [0, 1, 2, 1], max_rank=4)
        assert found.cmc.tolist() == [0, 1, 1, 1]
        assert (found.mAP, found.mINP) == (0.5, 0.5)

    def test_distinct_identities(self):
        scores = torch.tensor([[4.0, 3.0, 2.0, 1.0]])
        assert rank(scores, [5], [7, 7, 7, 5]).first_hit.tolist() == [4]
        found = rank(scores, [5], [7, 7, 7, 5], unique_identities=True)
        assert found.first_hit.tolist() == [2]
        assert (found.mAP, found.mINP) == (0.25, 0.25)

    @pytest.mark.parametrize(("gallery_pids", "first"), [([5, 7], 1), ([7, 5], 2)])
    def test_a_tie_goes_to_the_first_in_the_gallery(self, gallery_pids, first):
        assert rank(torch.tensor([[-0.5, -0.5]]), [5], gallery_pids).first_hit.tolist() == [first]

    def test_sysu_camera_three_never_sees_camera_two(self):
        scores = torch.tensor([[2.0, 1.0]])
        keys = {"query_keys": [3], "gallery_keys": [2, 1]}
        assert rank(scores, [1], [9, 1], exclude="sysu", **keys).first_hit.tolist() == [1]
        keys["query_keys"] = [6]
        assert rank(scores, [1], [9, 1], exclude="sysu", **keys).first_hit.tolist() == [2]

    def test_llcm_removes_only_the_same_person_in_the_same_camera(self):
        scores = torch.tensor([[3.0, 2.0, 1.0]])
        found = rank(scores, [1], [1, 2, 1], query_keys=[4], gallery_keys=[4, 4, 5], exclude="same-camera")
        assert found.first_hit.tolist() == [2]

    def test_source_image_removes_only_that_image(self):
        scores = torch.tensor([[2.0, 1.0], [2.0, 1.0]])
        found = rank(scores, [1, 1], [1, 1], query_keys=[3, 3], gallery_keys=[3, 4], exclude="source-image")
        assert found.first_hit.tolist() == [1, 1]
        with pytest.raises(ValueError, match="none of the 1 queries"):
            rank(scores[:1, :1], [1], [1], query_keys=[3], gallery_keys=[3], exclude="source-image")

    def test_a_query_without_a_relevant_item_is_counted_and_in_no_mean(self):
        found = rank(torch.tensor([[2.0, 1.0], [2.0, 1.0]]), [1, 8], [1, 2])
        assert (found.valid_queries, found.skipped_queries, found.mAP) == (1, 1, 1.0)
        assert math.isnan(found.ap[1])
        assert math.isnan(found.inp[1])
        assert found.first_hit.tolist() == [1, 0]

    def test_cmc_beyond_the_gallery_repeats_its_last_value(self):
        found = rank(torch.tensor([[1.0, 2.0]]), [1], [1, 2], max_rank=5)
        assert found.cmc.tolist() == [0, 1, 1, 1, 1]

    def test_no_number_is_special_as_an_identity(self):
        found = rank(torch.tensor([[1.0, 2.0], [1.0, 2.0]]), [-1, 0], [-1, 0])
        assert found.first_hit.tolist() == [2, 1]

    def test_chance_is_the_mean_share_of_relevant_items(self):
        found = rank(torch.rand(2, 4), [1, 2], [1, 1, 2, 3])
        assert found.chance == pytest.approx((2 / 4 + 1 / 4) / 2)


def _world(seed, queries=23, gallery=61, width=19, people=6):
    torch.manual_seed(seed)
    # Few distinct rows: equal features must stay exact ties wherever they stand in a block.
    base = torch.randn(11, width)
    query = base[torch.randint(11, (queries,))] * torch.tensor([1.0, 2.0])[torch.randint(2, (queries, 1))]
    items = base[torch.randint(11, (gallery,))] + (torch.rand(gallery, 1) > 0.7) * torch.randn(gallery, width)
    return query, items, torch.randint(people, (queries,)), torch.randint(people, (gallery,))


@pytest.mark.parametrize("seed", range(4))
def test_features_rank_the_same_for_any_chunk_block_and_thread_count(seed, monkeypatch):
    query, gallery, query_pids, gallery_pids = _world(seed)
    keys = {"query_keys": query_pids * 0 + 1, "gallery_keys": torch.arange(61) % 3, "exclude": "same-camera"}
    threads = torch.get_num_threads()
    first = rank_features(query, gallery, query_pids, gallery_pids, **keys)
    try:
        for chunk_size, block, count in ((1, 4096, 1), (2, 1, 2), (5, 7, 1), (23, 16, 2), (1000, 60, 1)):
            monkeypatch.setattr(metrics, "_ROWS_PER_PRODUCT", block)
            torch.set_num_threads(count)
            again = rank_features(query, gallery, query_pids, gallery_pids, chunk_size=chunk_size, **keys)
            assert same(first, again)
    finally:
        torch.set_num_threads(threads)
    scores = cosine(query, gallery).tolist()
    expected = reference(
        scores, query_pids.tolist(), gallery_pids.tolist(), [1] * 23, keys["gallery_keys"].tolist(), "same-camera"
    )
    assert_equal(first, expected)


def test_cosine_is_exact_for_any_order_of_summation():
    torch.manual_seed(0)
    query, gallery = torch.randn(5, 700), torch.randn(9, 700)
    order = torch.randperm(700)
    assert torch.equal(cosine(query, gallery), cosine(query[:, order], gallery[:, order]))
    truth = torch.nn.functional.normalize(query.double()) @ torch.nn.functional.normalize(gallery.double()).T
    assert (cosine(query, gallery) - truth).abs().max() < 4e-8
    assert torch.equal(cosine(torch.zeros(1, 4), torch.ones(2, 4)), torch.zeros(1, 2))


def test_half_precision_features_are_cast_before_they_are_normalised():
    torch.manual_seed(0)
    query, gallery = torch.randn(4, 64).half() * 300, torch.randn(8, 64).half()
    assert torch.equal(cosine(query, gallery), cosine(query.float(), gallery.float()))


def test_max_rank_and_numbers_may_be_tensors_or_lists():
    scores = torch.rand(3, 5, requires_grad=True)
    one = rank(scores, [1, 2, 3], [1, 2, 3, 1, 2], max_rank=2)
    two = rank(scores, torch.tensor([1, 2, 3], dtype=torch.int32), torch.tensor([1, 2, 3, 1, 2]), max_rank=2)
    assert same(one, two)
    assert len(one.cmc) == 2
    # A view in column order is the same matrix.
    assert same(one, rank(scores.T.contiguous().T, [1, 2, 3], [1, 2, 3, 1, 2], max_rank=2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"similarity": torch.tensor([[1.0, math.nan], [0.0, 0.0]])}, "holds NaN"),
        ({"similarity": torch.zeros(2)}, r"shape \(2,\)"),
        ({"similarity": torch.zeros(0, 2), "query_pids": []}, "0 queries"),
        ({"query_pids": [1]}, r"query_pids has shape \(1,\)"),
        ({"gallery_pids": torch.tensor([1.0, 2.0])}, "whole numbers"),
        ({"exclude": "camera"}, "exclude is 'camera'"),
        ({"exclude": "same-camera"}, "query_keys is missing"),
        ({"exclude": "same-camera", "query_keys": [1, 2], "gallery_keys": [1]}, "gallery_keys has shape"),
        ({"max_rank": 0}, "max_rank is 0"),
        ({"query_pids": [8, 9]}, "none of the 2 queries"),
    ],
)
def test_wrong_input_is_refused_with_a_sentence(change, message):
    arguments = {"similarity": torch.zeros(2, 2), "query_pids": [1, 2], "gallery_pids": [1, 2]} | change
    with pytest.raises(ValueError, match=message):
        rank(**arguments)


def test_wrong_features_are_refused_with_a_sentence():
    good = torch.ones(2, 3)
    with pytest.raises(ValueError, match="gallery features are not finite"):
        rank_features(good, good * math.inf, [1, 2], [1, 2])
    with pytest.raises(ValueError, match="query features are not finite"):
        rank_features(good * math.nan, good, [1, 2], [1, 2])
    with pytest.raises(ValueError, match="widths differ: 3"):
        rank_features(good, torch.ones(2, 4), [1, 2], [1, 2])
    with pytest.raises(ValueError, match="chunk_size is 0"):
        rank_features(good, good, [1, 2], [1, 2], chunk_size=0)


def test_a_ranking_checks_itself():
    good = rank(torch.rand(2, 3), [1, 2], [1, 2, 3])
    parts = {name: getattr(good, name) for name in good.__dataclass_fields__}
    for change in ({"valid_queries": 0}, {"skipped_queries": 1}, {"cmc": good.cmc.flip(0) - 1}, {"ap": good.ap * 2}):
        with pytest.raises(ValueError, match=r"must|needs"):
            Ranking(**(parts | change))


@pytest.mark.gpu
def test_features_rank_the_same_on_a_gpu():
    query, gallery, query_pids, gallery_pids = _world(5)
    there = rank_features(query.cuda(), gallery.cuda(), query_pids, gallery_pids)
    assert same(rank_features(query, gallery, query_pids, gallery_pids), there)
