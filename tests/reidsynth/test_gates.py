from __future__ import annotations

import math

import numpy as np
import pytest
from fixtures import crop, crop_mask

from reidsynth import gates
from reidsynth.errors import UserError
from reidsynth.gates import SCORES, judge
from reidsynth.schema import TableSpec, Text
from reidsynth.steps.matte import matte
from reidsynth.thresholds import NEVER, Thresholds, checked, limited_all, limits_of

NOISE = np.random.default_rng(0).integers(0, 256, (64, 32), dtype=np.uint8)
LINES = np.where(np.arange(64)[:, None] % 8 == 0, 0, 255).astype(np.uint8) * np.ones((1, 32), np.uint8)
FIGURE = np.where(crop_mask() > 0, LINES, 255).astype(np.uint8)
GOOD = {
    "rgb": crop(),
    "mask": crop_mask(),
    "sketch": FIGURE,
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


def pieces(count):
    """A mask of so many squares, with specks between them."""
    mask = np.zeros((64, 64), np.uint8)
    for number in range(count):
        y, x = divmod(number, 4)
        mask[y * 16 + 2 : y * 16 + 12, x * 16 + 2 : x * 16 + 12] = 255
    mask[15::16, 15::16] = 255
    return mask


def frame():
    """A mask of the wall around the person."""
    return 255 - crop_mask()


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (frame(), "mask runs along the border"),
        (np.where(np.arange(64)[:, None] == 32, 0, crop_mask()).astype(np.uint8), None),  # a belt was left out
        (pieces(3), "mask is in pieces"),  # a third each
    ],
)
def test_masks_of_walls_and_scraps(mask, reason):
    verdict = judge("mask", mask)
    assert verdict.reason == reason, verdict.scores


def test_what_a_data_set_ships_fails_only_where_it_shows_nothing():
    def found(modality, origin, made):
        return judge(modality, made, limits=limits_of(TableSpec(modality, modality, origin))).reason

    smudge = np.full((64, 32), 255, np.uint8)
    smudge[9:15, 9:15] = 0
    for modality, made in (("mask", pieces(3)), ("mask", frame()), ("sketch", smudge)):
        assert found(modality, "synthetic", made) is not None
        assert found(modality, "real", made) is None
    for modality, made in (("mask", np.zeros((64, 32), np.uint8)), ("sketch", np.full((64, 32), 255, np.uint8))):
        assert found(modality, "real", made) is not None


def test_parts_of_a_mask_are_counted():
    scores = judge("mask", pieces(12)).scores
    assert (scores["components"], scores["largest"]) == (12, pytest.approx(100 / 1215, abs=1e-3))
    many = pieces(12)
    many[:12, :60] = 255  # the upper row grows together: most of the mask is one part, and nine parts are left
    found = judge("mask", many, None, None, Thresholds(mask_largest=0.4))
    assert (found.scores["components"], found.reason) == (9, "mask is in pieces")
    assert judge("mask", many, None, None, Thresholds(mask_largest=0.4, mask_components=9)).verdict == "pass"


def sketch_of(photo):
    """Lines where the photograph changes, black on white."""
    grey = photo.astype(np.float64).mean(axis=2)
    edges = np.hypot(*np.gradient(grey))
    return (255 - 255 * (edges > 45)).astype(np.uint8)


GREY = np.round(crop(size=(128, 64)).astype(np.float64).mean(axis=2))


@pytest.mark.parametrize(
    ("copy", "of"),
    [
        ("in grey", GREY),
        ("inverted", 255 - GREY),
        ("brighter", 255 * (GREY / 255) ** 0.7),
        ("in grey, background erased", matte(crop(size=(128, 64)), crop_mask((128, 64))).mean(axis=2)),
    ],
)
def test_a_copied_photograph_is_no_sketch(copy, of):
    verdict = judge("sketch", of.round().astype(np.uint8), crop(size=(128, 64)), None, Thresholds(sketch_ink_max=0.9))
    assert verdict.reason == "sketch is a copy of the photograph", (copy, verdict.scores)


def test_a_drawn_sketch_passes_beside_its_photograph():
    photo = crop(size=(128, 64))
    verdict = judge("sketch", sketch_of(photo), photo)
    assert verdict.verdict == "pass", verdict
    assert verdict.scores["likeness"] < 0.6
    assert judge("sketch", sketch_of(photo)).scores["likeness"] is None  # drawn by an artist: of no photograph here


def test_a_smudge_and_noise_are_no_sketches():
    smudge = np.full((64, 32), 255, np.uint8)
    smudge[9:15, 9:15] = 0
    assert judge("sketch", smudge).reason == "sketch is one smudge"
    assert judge("sketch", smudge).scores["entropy"] == 0.0  # one cell of eight rows and four columns
    two = smudge.copy()
    two[41:47, 9:15] = 0
    assert judge("sketch", two).scores["entropy"] == pytest.approx(math.log(2) / math.log(32), abs=1e-6)
    assert judge("sketch", np.maximum(NOISE, 60)).reason == "sketch is evenly filled"


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
    assert judge("text", Text(("A man. " * 40,))).scores["tokens"] > 77  # CLIP cuts it; no fault by itself
    assert judge("text", GOOD["text"], None, None, Thresholds(text_tokens=9)).reason == "caption has too many tokens"
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


def test_a_threshold_of_none_keeps_its_gate_open():
    assert judge("sketch", np.zeros((64, 32), np.uint8)).verdict == "fail"
    open_gates = checked("sketch", {"sketch_ink_max": None, "sketch_entropy_max": None})
    assert judge("sketch", np.zeros((64, 32), np.uint8), limits=open_gates).verdict == "pass"
    assert (
        judge("mask", np.zeros((64, 32), np.uint8), limits=Thresholds(mask_area_min=NEVER, mask_largest=0)).reason
        is None
    )


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"mask_area": 0.1}, "'mask_area' is no threshold of mask (valid are mask_area_min, "),
        ({"ir_std": 1}, "'ir_std' is no threshold of mask"),
        ({"mask_area_min": "small"}, "mask_area_min must be a number, or null for never, received 'small'"),
        (
            {"mask_area_min": True, "sketch_ink": 1},
            "'sketch_ink' is no threshold of mask; mask_area_min must be a number",
        ),
    ],
)
def test_wrong_thresholds_are_named_all_at_once(asked, told):
    with pytest.raises(UserError) as caught:
        checked("mask", asked)
    assert told in str(caught.value)


def test_each_table_gets_the_thresholds_of_its_modality():
    specs = (TableSpec("rgb", "rgb", "real"), TableSpec("mask", "mask", "real"))
    rgb, mask = limited_all(specs, {"rgb_std": 2, "mask_area_min": 0.2})
    assert (rgb.limits, mask.limits) == ((("rgb_std", 2),), (("mask_area_min", 0.2),))
    with pytest.raises(UserError, match="'ir_std' is no threshold of mask, rgb"):
        limited_all(specs, {"ir_std": 1})
    with pytest.raises(UserError, match=r"'5' is no .*; 'ir_std' is no threshold of .* \(valid are rgb_std, "):
        limited_all(specs, {"ir_std": 1, "mask_area_min": 0.2, 5: 1})
