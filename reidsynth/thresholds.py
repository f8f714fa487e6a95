"""Where gates close: the defaults, and what a recipe sets instead."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any

from reidsynth.errors import UserError
from reidsynth.schema import TableSpec


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Where a gate closes; shares are fractions of the image.

    Args:
        rgb_std: a photograph whose grey values vary less shows nothing.
        mask_area_min: a mask that covers less is empty.
        mask_area_max: a mask that covers more kept the background.
        mask_confidence: mean certainty |2 p - 1| of the raw probabilities, 0 (undecided) to 1.
        mask_border: a mask that takes more of the image's border is of something larger than a person in it.
        mask_largest: share of the mask that its largest part must have.
        mask_components: parts with at least a hundredth of the mask each; more are scraps.
        sketch_ink_min: mean darkness below which a sketch is blank.
        sketch_ink_max: mean darkness above which it is a black page.
        sketch_entropy_min: evenness of the ink over the page below which it is one smudge.
        sketch_entropy_max: evenness above which it is noise or a pattern.
        sketch_likeness: correlation of the ink with the photograph, above which that was copied instead of drawn.
        ir_range: spread of the grey values between the 1st and 99th percentile, of 255.
        ir_std: standard deviation of the grey values, of 255.
        ir_grey: correlation of a generated infrared image with the photograph's luminance, of either sign, above which
            it tells no more than the photograph in grey.
        text_words: words of the shortest caption.
        text_words_most: words of the longest caption.
        text_tokens: CLIP tokens of the longest caption; what does not fit CLIP is cut by it, and is no fault by itself.
        text_short_tokens: CLIP tokens of the version that is meant to fit CLIP, start and end included.
        text_refusals: captions that may refuse or talk to whoever asked.
        text_fragments: captions that may hold code, loops or another script.
        text_contradictions: regions of which captions may say something else than the attributes.
        text_identities: largest number of people of one split who may share a caption; judged once the table is whole.
        text_identities_share: the same as a share of the split's people; the larger of the two counts.
    """

    rgb_std: float = 1.0
    mask_area_min: float = 0.03
    mask_area_max: float = 0.97
    mask_confidence: float = 0.2
    mask_border: float = 0.5
    mask_largest: float = 0.4
    mask_components: float = 8.0
    sketch_ink_min: float = 0.002
    sketch_ink_max: float = 0.6
    sketch_entropy_min: float = 0.35
    sketch_entropy_max: float = 0.995
    sketch_likeness: float = 0.9
    ir_range: float = 8.0
    ir_std: float = 2.0
    ir_grey: float = 0.97
    text_words: float = 1.0
    text_words_most: float = 130.0
    text_tokens: float = math.inf
    text_short_tokens: float = 77.0
    text_refusals: float = 0.0
    text_fragments: float = 0.0
    text_contradictions: float = 0.0
    text_identities: float = 10.0
    text_identities_share: float = 0.01


DEFAULT = Thresholds()
NEVER = math.nan
"""A threshold that no score is below or above: the gate stays open."""
AS_SHIPPED = Thresholds(
    mask_border=math.inf,
    mask_largest=0.0,
    mask_components=math.inf,
    sketch_entropy_min=0.0,
    sketch_entropy_max=math.inf,
    text_words_most=math.inf,
    text_refusals=math.inf,
    text_fragments=math.inf,
    text_contradictions=math.inf,
)
"""For what came with a data set: scored like all other rows, but only what shows or says nothing fails, so that the
numbers of captions stay the published ones, and people behind a post may have a mask of two parts."""


def checked(modality: str, asked: Mapping[str, Any], base: Thresholds = DEFAULT) -> Thresholds:
    """Thresholds of one modality, some of them as asked for.

    Args:
        modality: key of SCORES.
        asked: threshold -> number, or None to keep the gate open.
        base: the others.

    Raises:
        UserError: naming every threshold that this modality does not have, or whose value is no number.

    Example:
        >>> checked("mask", {"mask_area_min": 0.05}).mask_area_min
        0.05
    """
    valid = [each.name for each in fields(Thresholds) if each.name.startswith(f"{modality}_")]
    wrong = [f"{name!r} is no threshold of {modality}" for name in asked if name not in valid]
    for name, value in asked.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if name in valid and value is not None and not number:
            wrong.append(f"{name} must be a number, or null for never, received {value!r}")
    if wrong:
        raise UserError(f"gates: {'; '.join(wrong)} (valid are {', '.join(valid)})")
    return replace(base, **{name: NEVER if value is None else float(value) for name, value in asked.items()})


def limited(spec: TableSpec, asked: Mapping[str, Any] | None) -> TableSpec:
    """A table with thresholds of its own.

    Args:
        spec: the table.
        asked: threshold -> number or None; of its modality only.

    Raises:
        UserError: for what is no threshold of that modality, or no number.
    """
    if asked is not None and not isinstance(asked, Mapping):
        raise UserError(f"gates must be a mapping of thresholds to numbers, received {asked!r}")
    checked(spec.modality, asked or {})
    return replace(spec, limits=tuple(sorted((asked or {}).items())))


def limited_all(specs: Sequence[TableSpec], asked: Mapping[str, Any] | None) -> tuple[TableSpec, ...]:
    """Several tables, each with those thresholds that are of its modality.

    Raises:
        UserError: naming every threshold of no table's modality.
    """
    if asked is not None and not isinstance(asked, Mapping):
        raise UserError(f"gates must be a mapping of thresholds to numbers, received {asked!r}")
    modalities = {spec.modality for spec in specs}
    foreign = sorted(str(name) for name in asked or {} if str(name).partition("_")[0] not in modalities)
    if foreign:
        valid = [each.name for each in fields(Thresholds) if each.name.partition("_")[0] in modalities]
        wrong = "; ".join(f"{name!r} is no threshold of {', '.join(sorted(modalities))}" for name in foreign)
        raise UserError(f"gates: {wrong} (valid are {', '.join(valid)})")
    own = {kind: {n: v for n, v in (asked or {}).items() if n.partition("_")[0] == kind} for kind in modalities}
    return tuple(limited(spec, own[spec.modality]) for spec in specs)


@lru_cache(maxsize=256)
def limits_of(spec: TableSpec) -> Thresholds:
    """Where the gate of a table closes."""
    return checked(spec.modality, dict(spec.limits), AS_SHIPPED if spec.origin == "real" else DEFAULT)


def described() -> dict[str, tuple[float, str]]:
    """Threshold -> its default and what it is, from the documentation of `Thresholds`.

    Example:
        >>> described()["ir_std"]
        (2.0, 'standard deviation of the grey values, of 255')
    """
    told: dict[str, str] = {}
    name = ""
    for line in inspect.cleandoc(Thresholds.__doc__ or "").partition("Args:\n")[2].splitlines():
        start = re.match(r" {4}(\w+): (.*)", line)
        if start:
            name, told[start[1]] = start[1], start[2]
        elif name:
            told[name] += f" {line.strip()}"
    return {each.name: (getattr(DEFAULT, each.name), told[each.name].rstrip(".")) for each in fields(Thresholds)}
