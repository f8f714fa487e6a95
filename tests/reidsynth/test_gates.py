from __future__ import annotations

import math

import numpy as np
import pytest
from fixtures import crop, crop_mask

from reidsynth import gates
from reidsynth.gates import SCORES, Thresholds, judge
from reidsynth.schema import Text

NOISE = np.random.default_rng(0).integers(0, 256, (64, 32), dtype=np.uint8)
LINES = np.where(np.arange(64)[:, None] % 8 == 0, 0, 255).astype(np.uint8) * np.ones((1, 32), np.uint8)
GOOD = {
    "rgb": crop(),
    "mask": crop_mask(),
    "sketch": LINES,
    "ir": NOISE,
    "text": Text(("A man in a red shirt and black trousers.",)),
}


@pytest.mark.parametrize("modality", SCORES)
def test_good_outputs_pass_with_every_score(modality):
    verdict = judge(modality, GOOD[modality])
    assert (verdict.verdict, verdict.reason) == ("pass", None)
    assert tuple(verdict.scores) == SCORES[modality]


@pytest.mark.parametrize(
    ("modality", "made", "reason"),
    [
        ("rgb", np.full((8, 8, 3), 7, np.uint8), "blank photograph"),
        ("mask", np.zeros((64, 32), np.uint8), "empty mask"),
        ("mask", np.full((64, 32), 255, np.uint8), "mask covers the whole image"),
        ("sketch", np.full((64, 32), 255, np.uint8), "blank sketch"),
        ("sketch", np.zeros((64, 32), np.uint8), "sketch is a black page"),
        ("ir", np.full((64, 32), 90, np.uint8), "blank infrared image"),
        ("ir", np.full((64, 32, 3), 90, np.uint8), "blank infrared image"),
        ("text", Text(()), "empty caption"),
        ("text", Text(("  ",)), "empty caption"),
        ("text", Text(("A man walks by here.", "...")), "empty caption"),
    ],
)
def test_first_gates(modality, made, reason):
    verdict = judge(modality, made)
    assert (verdict.verdict, verdict.reason) == ("fail", reason)
    assert tuple(verdict.scores) == SCORES[modality]


def test_mask_scores():
    mask = np.zeros((10, 10), np.uint8)
    mask[0:5, 0:4] = 255  # 20 pixels at the border
    mask[8, 8] = 255
    scores = judge("mask", mask).scores
    assert scores["area"] == pytest.approx(0.21)
    assert scores["largest"] == pytest.approx(20 / 21)
    assert scores["border"] == pytest.approx((4 + 5) / 40)
    assert scores["confidence"] is None


def test_raw_confidence_of_a_step_is_judged():
    assert judge("mask", crop_mask(), None, {"confidence": 0.05}).reason == "mask is undecided"
    assert judge("mask", crop_mask(), None, {"confidence": 0.7}).scores["confidence"] == 0.7


def test_scores_that_are_no_number_are_none():
    assert judge("mask", crop_mask(), None, {"confidence": math.nan}).scores["confidence"] is None


def test_unknown_extra_scores_do_not_widen_the_column():
    assert tuple(judge("ir", NOISE, None, {"speed": 1.0}).scores) == SCORES["ir"]


def test_size_must_be_the_photographs():
    verdict = judge("sketch", LINES, np.zeros((64, 30, 3), np.uint8))
    assert verdict.reason == "size 32x64 differs from the photograph's 30x64"


def test_thresholds_can_be_set():
    short = Text(("A man.",))
    assert judge("text", short).verdict == "pass"
    assert judge("text", short, None, None, Thresholds(text_words=8)).reason == "caption too short"


def test_counted_percentiles_are_numpys():
    rng = np.random.default_rng(0)
    for size in (1, 2, 3, 7, 100, 101, 8192):
        for _ in range(5):
            grey = rng.integers(0, rng.integers(2, 257), (1, size)).astype(np.uint8)
            assert gates._percentiles(grey, (0.01, 0.5, 0.99)) == pytest.approx(np.percentile(grey, (1, 50, 99)))


def test_grey_of_colour_is_the_mean_of_its_channels():
    photo = np.random.default_rng(0).integers(0, 256, (9, 5, 3)).astype(np.uint8)
    assert np.array_equal(gates._grey(photo), photo.mean(axis=2))
