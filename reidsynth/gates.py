"""Judges what a source read or a step made; a failed row stays, with the verdict, the reason and the scores.

Scores are taken from raw outputs, before anything rescales them, and have a fixed set of names per modality, so that
they fit one column. A score that cannot be known (the confidence of a hand-made mask) is None.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from reidsynth.schema import Text
from reidsynth.strokes import ink_entropy, likeness
from reidsynth.thresholds import DEFAULT, Thresholds

SCORES: dict[str, tuple[str, ...]] = {
    "rgb": ("mean", "std"),
    "mask": ("area", "confidence", "border", "largest", "components"),
    "sketch": ("ink", "std", "entropy", "likeness"),
    "ir": ("range", "std", "grey"),
    "text": (
        "words",
        "longest",
        "captions",
        "tokens",
        "short_tokens",
        "refusals",
        "fragments",
        "contradictions",
        "identities",
    ),
}

VERSION = 3
"""Of scores and default thresholds: part of the content key of all that they judge."""

_PART = 0.01  # of a mask: smaller parts are specks

Scores = dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a gate found.

    Args:
        verdict: `pass` or `fail`.
        reason: why it failed, in a few words; None if it passed.
        scores: SCORES[modality] -> value.
    """

    verdict: str
    reason: str | None = None
    scores: Mapping[str, float | None] = field(default_factory=dict)


def judge(
    modality: str,
    made: np.ndarray | Text,
    photo: np.ndarray | None = None,
    extra_scores: Mapping[str, float] | None = None,
    limits: Thresholds = DEFAULT,
) -> Verdict:
    """Judge one output.

    Args:
        modality: key of SCORES.
        made: uint8 image (H, W) or (H, W, 3), or the captions.
        photo: the photograph (H, W, 3) it was made from; its size must be the output's.
        extra_scores: raw scores that a step measured itself; they win over those measured here.
        limits: where the gates close.

    Returns:
        The verdict with every score of the modality.
    """
    measure, check = _GATES[modality]
    scores: Scores = dict.fromkeys(SCORES[modality])
    scores.update(measure(made))
    if modality == "sketch" and photo is not None and isinstance(made, np.ndarray) and _wrong_size(made, photo) is None:
        scores["likeness"] = likeness(_grey(made), photo)
    scores.update({name: value for name, value in (extra_scores or {}).items() if name in scores})
    scores = {name: value if value is not None and math.isfinite(value) else None for name, value in scores.items()}
    reason = _wrong_size(made, photo) or check(scores, limits)
    return Verdict("fail" if reason else "pass", reason, scores)


def _wrong_size(made: np.ndarray | Text, photo: np.ndarray | None) -> str | None:
    if photo is None or isinstance(made, Text) or made.shape[:2] == photo.shape[:2]:
        return None
    return f"size {made.shape[1]}x{made.shape[0]} differs from the photograph's {photo.shape[1]}x{photo.shape[0]}"


def _grey(image: np.ndarray | Text) -> np.ndarray:
    total, channels = _total(image)
    return total if channels == 1 else total / channels


def _total(image: np.ndarray | Text) -> tuple[np.ndarray, int]:
    """Sum of the channels (H, W), and how many they are."""
    assert isinstance(image, np.ndarray), "image modalities are judged on arrays"
    if image.ndim == 2:
        return image, 1
    total = image[..., 0].astype(np.uint16)  # a mean over the last axis takes numpy five times as long
    for channel in range(1, image.shape[2]):
        total += image[..., channel]
    return total, image.shape[2]


def _measure_rgb(image: np.ndarray | Text) -> Scores:
    total, channels = _total(image)
    mean, std = _mean_std(total)
    return {"mean": mean / channels, "std": std / channels}


def _mean_std(grey: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation; OpenCV takes a fifth of numpy's time for them."""
    import cv2

    mean, std = cv2.meanStdDev(np.ascontiguousarray(grey))
    return float(mean[0, 0]), float(std[0, 0])


def _check_rgb(scores: Scores, limits: Thresholds) -> str | None:
    return "blank photograph" if _below(scores["std"], limits.rgb_std) else None


def _measure_mask(image: np.ndarray | Text) -> Scores:
    import cv2

    person = (_grey(image) > 127).view(np.uint8)
    edge = np.concatenate([person[0], person[-1], person[:, 0], person[:, -1]])
    total = cv2.countNonZero(person)
    # OpenCV's other labelling of blocks of 2x2 pixels: the same areas in half of the time.
    _, _, stats, _ = cv2.connectedComponentsWithStatsWithAlgorithm(person, 8, cv2.CV_32S, cv2.CCL_BBDT)
    largest = int(stats[1:, cv2.CC_STAT_AREA].max()) if total else 0
    return {
        "area": total / person.size,
        "confidence": None,
        "border": float(edge.mean()),
        "largest": largest / total if total else 0.0,
        "components": float((stats[1:, cv2.CC_STAT_AREA] >= _PART * total).sum()) if total else 0.0,
    }


def _check_mask(scores: Scores, limits: Thresholds) -> str | None:
    if _below(scores["area"], limits.mask_area_min):
        return "empty mask"
    if _above(scores["area"], limits.mask_area_max):
        return "mask covers the whole image"
    if _below(scores["confidence"], limits.mask_confidence):
        return "mask is undecided"
    if _above(scores["border"], limits.mask_border):
        return "mask runs along the border"
    scraps = _below(scores["largest"], limits.mask_largest) or _above(scores["components"], limits.mask_components)
    return "mask is in pieces" if scraps else None


def _measure_sketch(image: np.ndarray | Text) -> Scores:
    grey = _grey(image)
    mean, std = _mean_std(grey)
    return {"ink": 1.0 - mean / 255.0, "std": std, "entropy": ink_entropy(grey), "likeness": None}


def _check_sketch(scores: Scores, limits: Thresholds) -> str | None:
    if _below(scores["ink"], limits.sketch_ink_min):
        return "blank sketch"
    if _above(scores["ink"], limits.sketch_ink_max):
        return "sketch is a black page"
    if _above(scores["likeness"], limits.sketch_likeness):
        return "sketch is a copy of the photograph"
    if _below(scores["entropy"], limits.sketch_entropy_min):
        return "sketch is one smudge"
    return "sketch is evenly filled" if _above(scores["entropy"], limits.sketch_entropy_max) else None


def _measure_ir(image: np.ndarray | Text) -> Scores:
    grey = _grey(image)
    low, high = _percentiles(grey, (0.01, 0.99))
    return {"range": high - low, "std": _mean_std(grey)[1], "grey": None}


def _percentiles(grey: np.ndarray, shares: tuple[float, ...]) -> list[float]:
    """As numpy's, linear between neighbours; of whole grey levels they are counted, in a tenth of the time."""
    if grey.dtype != np.uint8:
        return [float(value) for value in np.quantile(grey, shares)]
    below = np.bincount(grey.ravel(), minlength=256).cumsum()
    places = [share * (grey.size - 1) for share in shares]
    ends = [(int(place), min(int(place) + 1, grey.size - 1)) for place in places]
    levels = np.searchsorted(below, ends, side="right").tolist()
    return [low + (place % 1.0) * (high - low) for place, (low, high) in zip(places, levels, strict=True)]


def generated_scores(modality: str, made: np.ndarray, photo: np.ndarray) -> dict[str, float]:
    """Raw scores of what a generator made, besides those that every image gets.

    A real infrared image may well look like its photograph in grey, and pseudo-infrared is one of its channels; only
    of what a network generated is it a failure.

    Args:
        modality: of the image.
        made: uint8 (H, W).
        photo: uint8 (H, W, 3).

    Returns:
        For infrared `grey`: the correlation with the photograph's luminance, 0..1, whatever its sign; 0 where either
        is flat.
    """
    if modality != "ir":
        return {}
    ours = made.astype(np.float64) - made.mean()
    grey = photo @ np.array([0.2989, 0.5870, 0.1140])
    theirs = grey - grey.mean()
    size = float(np.sqrt((ours**2).sum() * (theirs**2).sum()))
    return {"grey": abs(float((ours * theirs).sum())) / size if size > 0 else 0.0}


def _check_ir(scores: Scores, limits: Thresholds) -> str | None:
    blank = _below(scores["range"], limits.ir_range) or _below(scores["std"], limits.ir_std)
    if blank:
        return "blank infrared image"
    return "infrared image is just grey" if _above(scores["grey"], limits.ir_grey) else None


_LETTERLESS = re.compile(r"[\W\d_]*")


def _measure_text(text: np.ndarray | Text) -> Scores:
    assert isinstance(text, Text), "captions are judged as Text"
    from reidsynth import language
    from reidsynth.tokens import clip_tokens

    told = dict.fromkeys([*text.captions, *([text.short] if text.short else [])])  # the short one is often one of them
    words = [sum(not _LETTERLESS.fullmatch(word) for word in caption.split()) for caption in text.captions]
    regions = {region for caption in told for region in language.contradictions(caption, text.attributes or {})}
    return {
        "words": float(min(words, default=0)),
        "longest": float(max(words, default=0)),
        "captions": float(len(words)),
        "tokens": float(max(map(clip_tokens, text.captions), default=0)),
        "short_tokens": float(clip_tokens(text.short)) if text.short else None,
        "refusals": float(sum(map(language.is_refusal, told))),
        "fragments": float(sum(map(language.is_fragment, told))),
        "contradictions": float(len(regions)),
        "identities": None,  # known once the whole table is there
    }


def _check_text(scores: Scores, limits: Thresholds) -> str | None:
    if _below(scores["words"], 1.0):
        return "empty caption"
    if _below(scores["words"], limits.text_words):
        return "caption too short"
    if _above(scores["longest"], limits.text_words_most):
        return "caption too long"
    if _above(scores["tokens"], limits.text_tokens):
        return "caption has too many tokens"
    if _above(scores["short_tokens"], limits.text_short_tokens):
        return "short version does not fit CLIP"
    if _above(scores["refusals"], limits.text_refusals):
        return "refusal or boilerplate"
    if _above(scores["fragments"], limits.text_fragments):
        return "code or no language"
    return "contradicts the attributes" if _above(scores["contradictions"], limits.text_contradictions) else None


SHARED_CAPTION = "caption shared by too many people"


def judge_shared(verdict: str, reason: str | None, sharing: int, people: int, limits: Thresholds = DEFAULT) -> Verdict:
    """Judge how many people share a row's caption, on top of the verdict that the row had before.

    Args:
        verdict: of the row.
        reason: of the verdict.
        sharing: people of the split who have one of the row's captions, the row's own person included.
        people: people of the split.
        limits: where the gate closes.
    """
    if reason == SHARED_CAPTION:
        verdict, reason = "pass", None  # found by this gate, on what the table held before
    least, share = limits.text_identities, limits.text_identities_share * people
    # Of a gate that stays open no score is above its threshold; either of the two opens this one.
    if verdict == "pass" and sharing > least and sharing > share:
        return Verdict("fail", SHARED_CAPTION)
    return Verdict(verdict, reason)


def _below(score: float | None, limit: float) -> bool:
    return score is not None and score < limit


def _above(score: float | None, limit: float) -> bool:
    return score is not None and score > limit


_Measure = Callable[[np.ndarray | Text], Scores]
_Check = Callable[[Scores, Thresholds], str | None]
_GATES: dict[str, tuple[_Measure, _Check]] = {
    "rgb": (_measure_rgb, _check_rgb),
    "mask": (_measure_mask, _check_mask),
    "sketch": (_measure_sketch, _check_sketch),
    "ir": (_measure_ir, _check_ir),
    "text": (_measure_text, _check_text),
}
