"""Samplers: distinct identities, exact lengths, pairing, processes, and positions; over a grid of data sets."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from reidtrain.errors import UserError
from reidtrain.sampler import SAMPLERS, IdentityGroupSampler, IdentityIndex, TupleSampler

ALL = ("rgb", "ir", "sketch", "text")


def index(counts, *, absent=0.0, seed=0, modalities=ALL):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    present = {m: rng.random(len(labels)) >= (absent if m != "rgb" else 0) for m in modalities}
    return IdentityIndex(labels, present, rng.integers(1, 4, len(labels)))


def batches_by_search(counts, size):
    """Slow reference: the most batches of distinct identities, by dealing the fullest identities first."""
    left, made = sorted(counts, reverse=True), 0
    while len([count for count in left if count]) >= size:
        left = sorted([count - 1 for count in left[:size]] + left[size:], reverse=True)
        made += 1
    return made


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("size", [1, 2, 5, 8])
def test_an_epoch_of_tuples_is_as_long_as_it_can_be(seed, size):
    counts = np.random.default_rng(seed).integers(1, 2 + 3 * seed, size + seed)
    data = index(counts, seed=seed)
    sampler = TupleSampler(data, batch_size=size, seed=seed)
    assert len(sampler) == batches_by_search(counts, size)
    for epoch in range(3):
        plan = sampler.plan(epoch)
        assert [len(batch) for batch in plan] == [size] * len(sampler)
        assert all(len(set(data.labels[batch])) == size for batch in plan)
        visits = Counter(np.concatenate(plan).tolist())
        assert max(visits.values()) == 1
        if len(set(counts)) == 1:
            assert len(data.labels) - len(visits) < size


def test_epochs_and_seeds_differ_and_repeat():
    data = index([4] * 20)
    plans = {
        (seed, epoch): np.concatenate(TupleSampler(data, batch_size=8, seed=seed).plan(epoch)).tolist()
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len({tuple(plan) for plan in plans.values()}) == 4
    assert plans[1, 1] == np.concatenate(TupleSampler(data, batch_size=8, seed=1).plan(1)).tolist()


def test_identities_meet_others_in_every_batch():
    # Equal counts must not make the same identities stand together all the time.
    sampler = TupleSampler(index([4] * 64), batch_size=8, seed=3)
    batches = [frozenset(sampler._label_of_row[batch].tolist()) for batch in sampler.plan(0)]
    assert len(set(batches)) == len(batches)
    assert max(len(a & b) for i, a in enumerate(batches) for b in batches[:i]) <= 5


@pytest.mark.parametrize("name", sorted(SAMPLERS))
@pytest.mark.parametrize("pairing", ["capture", "identity"])
def test_rows_belong_to_the_identity_and_hold_the_modality(name, pairing):
    data = index([1, 2, 5, 3, 4, 2, 2, 3], absent=0.4, seed=5)
    options = {"per_identity": 2} if name == "groups" else {}
    sampler = SAMPLERS[name](data, batch_size=4, pairing=pairing, seed=1, **options)
    same = others = 0
    for epoch in range(6):
        sampler.set_position(epoch)
        for batch in sampler:
            assert len(batch) == 4
            for draw in batch:
                assert data.labels[draw.rows["rgb"]] == draw.label
                for modality, row in draw.rows.items():
                    able = np.flatnonzero(data.present[modality] & (data.labels == draw.label))
                    assert (row == -1) == (len(able) == 0)
                    if row >= 0:
                        assert row in able
                    if row >= 0 and data.present[modality][draw.rows["rgb"]] and modality != "rgb":
                        same += row == draw.rows["rgb"]
                        others += row != draw.rows["rgb"]
                if draw.rows["text"] >= 0:
                    assert 0 <= draw.caption < data.caption_counts[draw.rows["text"]]
    assert same > 0
    assert (others == 0) == (pairing == "capture")


def test_crossed_photographs_come_from_another_capture():
    data = index([3, 1, 4, 2, 3, 2])
    sampler = TupleSampler(data, batch_size=4, pairing="cross")
    for epoch in range(5):
        sampler.set_position(epoch)
        for draw in (draw for batch in sampler for draw in batch):
            asked = {draw.rows[modality] for modality in ("ir", "sketch", "text")}
            assert len(asked) == 1
            assert data.labels[draw.rows["rgb"]] == draw.label
            alone = (data.labels == draw.label).sum() == 1
            assert (draw.rows["rgb"] in asked) == alone


def test_captions_are_all_drawn():
    data = index([3] * 8)
    sampler = TupleSampler(data, batch_size=8)
    seen = {}
    for epoch in range(30):
        sampler.set_position(epoch)
        for draw in (draw for batch in sampler for draw in batch):
            seen.setdefault(draw.rows["text"], set()).add(draw.caption)
    assert {row: len(captions) for row, captions in seen.items()} == dict(enumerate(data.caption_counts.tolist()))


@pytest.mark.parametrize("name", sorted(SAMPLERS))
@pytest.mark.parametrize("processes", [2, 4])
def test_processes_share_the_batches_of_one(name, processes):
    data = index([3] * 20, absent=0.3)
    options = {"per_identity": 2} if name == "groups" else {}
    whole = list(SAMPLERS[name](data, batch_size=8, seed=2, **options))
    parts = [
        list(SAMPLERS[name](data, batch_size=8, seed=2, part=(rank, processes), **options)) for rank in range(processes)
    ]
    for number, batch in enumerate(whole):
        shares = [part[number] for part in parts]
        assert [draw for share in shares for draw in share] == batch
        labels = [{draw.label for draw in share} for share in shares]
        assert name == "random" or sum(map(len, labels)) == len(set.union(*labels))


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_a_position_goes_on_where_the_epoch_was_left(name):
    data = index([3] * 20, absent=0.2)
    options = {"per_identity": 2} if name == "groups" else {}
    sampler = SAMPLERS[name](data, batch_size=4, seed=2, **options)
    sampler.set_position(3)
    whole = list(sampler)
    sampler.set_position(3, 2)
    assert list(sampler) == whole[2:]
    assert len(whole) == len(sampler)


def test_groups_hold_k_of_each_identity():
    data = index([1, 2, 7, 4, 4, 4, 9], modalities=("rgb",))
    sampler = IdentityGroupSampler(data, batch_size=12, per_identity=4)
    assert len(sampler) == 2
    seen = set()
    for batch in sampler.plan(0):
        groups = batch.reshape(3, 4)
        labels = data.labels[groups]
        assert (labels == labels[:, :1]).all()
        assert len(set(labels[:, 0])) == 3
        seen |= set(labels[:, 0].tolist())
        for group, label in zip(groups, labels[:, 0], strict=True):
            assert len(set(group)) == min(4, int((data.labels == label).sum()))
    assert len(seen) == 6


def test_identities_without_a_photograph_stand_by_what_they_have():
    labels = np.array([0, 0, 1, 1])
    present = {"rgb": np.array([True, False, False, False]), "ir": np.array([False, True, True, True])}
    draws = [draw for batch in TupleSampler(IdentityIndex(labels, present), batch_size=2) for draw in batch]
    assert {draw.label: draw.rows["rgb"] for draw in draws} == {0: 0, 1: -1}
    assert {draw.label for draw in draws if draw.rows["ir"] in (1, 2, 3)} == {0, 1}


def test_shuffled_labels_pair_queries_with_anybodys_photograph():
    data = index([4] * 50)
    sampler = TupleSampler(data, batch_size=10, shuffle_labels=True)
    draws = [draw for batch in sampler for draw in batch]
    matches = sum(data.labels[draw.rows["rgb"]] == data.labels[draw.rows["text"]] for draw in draws)
    assert matches < 0.1 * len(draws)
    assert all(draw.rows["text"] == draw.rows["sketch"] == draw.rows["ir"] for draw in draws)
    assert len({draw.label for draw in next(iter(sampler))}) == 10
    sampler.set_position(1)
    again = [draw for batch in sampler for draw in batch]
    first = {draw.rows["text"]: draw.rows["rgb"] for draw in draws}
    assert sum(first.get(draw.rows["text"]) == draw.rows["rgb"] for draw in again) < 0.1 * len(again)


@pytest.mark.parametrize(
    ("counts", "options", "message"),
    [
        ([2, 2, 2], {"batch_size": 4}, "batch of 4 distinct identities can't be drawn from 3"),
        ([2] * 9, {"batch_size": 7, "part": (0, 2)}, "batch of 7 can't be divided among 2 processes"),
    ],
)
def test_impossible_batches_are_named(counts, options, message):
    with pytest.raises(UserError, match=message):
        TupleSampler(index(counts), **options)


def test_an_epoch_of_groups_is_as_long_as_one_of_captures():
    """16 x 4 on Market-1501 is about 200 batches an epoch in every paper, not the 46 that see each person once."""
    data = index([11, 11, 4, 9, 2, 6])  # 2 + 2 + 1 + 2 + 1 + 1 visits of 4
    sampler = IdentityGroupSampler(data, batch_size=8, per_identity=4)
    assert len(sampler) == 9 // 2
    seen: dict[int, set[int]] = {}
    for epoch in range(6):
        drawn = [data.labels[batch].reshape(2, 4) for batch in sampler.plan(epoch)]
        assert all(len(set(labels[:, 0].tolist())) == 2 for labels in drawn)
        times = np.bincount(np.concatenate([labels[:, 0] for labels in drawn]), minlength=6)
        assert (times <= [2, 2, 1, 2, 1, 1]).all()
        assert times.sum() == 8
        rows = np.concatenate(sampler.plan(epoch))
        for label in (0, 1, 3):  # two visits of a person bring eight of his captures
            mine = rows[data.labels[rows] == label]
            assert len(set(mine.tolist())) == len(mine)
            seen.setdefault(label, set()).update(mine.tolist())
    assert {label: len(rows) for label, rows in seen.items()} == {0: 11, 1: 11, 3: 9}, "nobody's captures are left out"


def test_impossible_groups_are_named():
    with pytest.raises(UserError, match="4 identities for a batch can't be drawn from 3"):
        IdentityGroupSampler(index([2, 2, 2]), batch_size=8, per_identity=2)
    with pytest.raises(UserError, match="in groups of 4"):
        IdentityGroupSampler(index([2, 2, 2]), batch_size=6, per_identity=4)


def mixed(sizes, shares, *, captures=3, seed=0):
    """Data sets of `sizes` identities with `captures` each, rows in random order."""
    labels = np.repeat(np.arange(sum(sizes)), captures)
    names = np.repeat([f"set{number}" for number in range(len(sizes))], [size * captures for size in sizes])
    order = np.random.default_rng(seed).permutation(len(labels))
    ones = {"rgb": np.ones(len(labels), bool), "text": np.ones(len(labels), bool)}
    return IdentityIndex(
        labels[order],
        ones,
        np.ones(len(labels), dtype=np.int64),
        datasets=names[order],
        shares={f"set{number}": share for number, share in enumerate(shares)},
    )


@pytest.mark.parametrize("name", sorted(SAMPLERS))
@pytest.mark.parametrize("shares", [(1, 1, 1), (6, 1, 3), (0.05, 0.9, 0.05)])
def test_mixed_sets_have_their_shares(name, shares):
    data = mixed([200, 12, 30], shares)
    options = {"per_identity": 2, "batch_size": 16} if name == "groups" else {"batch_size": 8}
    sampler = SAMPLERS[name](data, seed=3, **options)
    assert len(sampler) == len(SAMPLERS[name](replace(data, shares=None), **options))
    wanted = np.array(shares) / sum(shares)
    seen = np.zeros(3)
    for epoch in range(4):
        for anchors in sampler.plan(epoch):
            labels = data.labels[anchors]
            held = np.array([(data.datasets[anchors] == f"set{number}").mean() for number in range(3)])
            assert np.abs(held - wanted).max() <= 2 / 8
            if name != "random":
                assert len(set(labels)) == 8
            if name == "groups":
                assert (labels.reshape(8, 2)[:, 0] == labels.reshape(8, 2)[:, 1]).all()
            seen += held
    assert np.abs(seen / (4 * len(sampler)) - wanted).max() < 0.01


@pytest.mark.parametrize("name", ["tuples", "random"])
def test_a_small_set_comes_round_evenly(name):
    data = mixed([200, 12], (1, 1))
    sampler = SAMPLERS[name](data, batch_size=8)
    visited = Counter(np.concatenate(sampler.plan(0)).tolist())
    rows = np.flatnonzero(data.datasets == "set1")
    times = [visited[row] for row in rows]
    assert max(times) - min(times) <= 1  # captures of a person take turns as people do
    assert sum(times) == pytest.approx(4 * len(sampler), abs=2)
    assert max(visited[row] for row in np.flatnonzero(data.datasets == "set0")) == 1


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_a_mixed_epoch_resumes_and_divides(name):
    data = mixed([40, 12], (1, 2))
    options = {"per_identity": 2} if name == "groups" else {}
    whole = SAMPLERS[name](data, batch_size=8, seed=1, **options)
    whole.set_position(2)
    batches = list(whole)
    whole.set_position(2, 1)
    assert list(whole) == batches[1:]
    assert batches != list(SAMPLERS[name](data, batch_size=8, seed=2, **options))
    parts = [SAMPLERS[name](data, batch_size=8, seed=1, part=(rank, 2), **options) for rank in range(2)]
    for part in parts:
        part.set_position(2)
    assert [first + second for first, second in zip(*parts, strict=True)] == batches


def test_a_set_too_small_for_its_share_is_named():
    with pytest.raises(UserError, match="up to 8 places for set1, which has only 4 to fill them"):
        TupleSampler(mixed([40, 4], (1, 30)), batch_size=8)


def test_real_ones_go_before_synthetic_ones():
    # Person 0: row 0 a photograph with a sketch made of it, row 1 a sketch drawn by hand. Person 1: only made ones.
    labels = np.array([0, 0, 1, 1])
    present = {"rgb": np.array([True, False, True, True]), "sketch": np.ones(4, bool)}
    real = {"rgb": np.ones(4, bool), "sketch": np.array([False, True, False, False])}
    data = IdentityIndex(labels, present, real=real)
    for epoch in range(5):
        sampler = TupleSampler(data, batch_size=2)
        sampler.set_position(epoch)
        for draw in (draw for batch in sampler for draw in batch):
            assert draw.rows["sketch"] == (1 if draw.label == 0 else draw.rows["rgb"])


def test_random_batches_repeat_identities_and_visit_every_capture_once():
    data = index([6] * 8)
    plan = SAMPLERS["random"](data, batch_size=16).plan(0)
    assert sorted(np.concatenate(plan).tolist()) == list(range(48))
    assert any(len(set(data.labels[batch])) < len(batch) for batch in plan)
    with pytest.raises(UserError, match="can't be drawn from 48 captures"):
        SAMPLERS["random"](data, batch_size=64)
