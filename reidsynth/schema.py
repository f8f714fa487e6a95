"""What a manifest holds: the columns of its tables and the values that pass between sources, steps and the writer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

SCHEMA_VERSION = 1
ROWS_PER_SHARD = 4096
ROWS_PER_GROUP = 100

Modality = Literal["rgb", "ir", "sketch", "text", "mask"]
Origin = Literal["real", "synthetic"]
Spectrum = Literal["nir", "lwir", "pseudo"]

ROLES = ("train", "val", "query", "gallery", "query+gallery", "distractor")
VERDICTS = ("pass", "fail", "absent", "error")

ATTRIBUTE_FIELDS = (
    "gender",
    "build",
    "hair_colour",
    "hair_length",
    "headwear",
    "headwear_colour",
    "glasses",
    "upper_type",
    "upper_colour",
    "upper_pattern",
    "upper_pattern_colour",
    "lower_type",
    "lower_colour",
    "shoes_type",
    "shoes_colour",
    "bag",
    "bag_colour",
)

VISIBLE_REGIONS = ("person", "hair", "headwear", "upper", "lower", "shoes", "carried")
"""Regions that a view shows or hides; `person` stands for gender presentation and build."""

REGION_FIELDS: dict[str, tuple[str, ...]] = {
    "person": ("gender", "build"),
    "hair": ("hair_colour", "hair_length"),
    "headwear": ("headwear", "headwear_colour", "glasses"),
    "upper": ("upper_type", "upper_colour", "upper_pattern", "upper_pattern_colour"),
    "lower": ("lower_type", "lower_colour"),
    "shoes": ("shoes_type", "shoes_colour"),
    "carried": ("bag", "bag_colour"),
}
"""Region -> its fields of ATTRIBUTE_FIELDS."""


@dataclass(frozen=True, slots=True)
class TableSpec:
    """One table of a manifest.

    Args:
        name: folder of the table; a real modality bears its plain name, a variant `<modality>-<maker>`.
        modality: what its rows show.
        origin: `real` where a camera, an artist or an annotator made it, `synthetic` where a step did.
        spectrum: of an infrared table: near (`nir`), thermal (`lwir`) or made from colour (`pseudo`).
        limits: thresholds of its gate that differ from the default; None keeps a gate open.
    """

    name: str
    modality: Modality
    origin: Origin
    spectrum: Spectrum | None = None
    limits: tuple[tuple[str, float | None], ...] = ()

    @property
    def kind(self) -> Literal["image", "text"]:
        """Whether rows hold an image or captions."""
        return "text" if self.modality == "text" else "image"


@dataclass(frozen=True, slots=True)
class Record:
    """One capture as a source lists it: cheap, without pixels.

    Args:
        sample_id: stable and unique: data set + "/" + relative path without extension.
        pid: the data set's own person number.
        camid: the data set's own camera number, None where there is none.
        role: one of ROLES.
        modality: what the camera saw.
        source_path: path relative to the data set's root, "" for drawn captures.
        derived_from: sample_id of the photograph that a paired row came from.
        payload: what `Source.read` needs besides (captions, for example); JSON values only.
    """

    sample_id: str
    pid: int
    camid: int | None
    role: str
    modality: str = "rgb"
    source_path: str = ""
    derived_from: str | None = None
    payload: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Text:
    """Captions of one capture, with the attributes that they tell.

    Args:
        captions: one or more sentences.
        attributes: ATTRIBUTE_FIELDS -> value; None where the view does not show it or nobody knows.
        model: who wrote it, None for people.
        usage: tokens paid for: `prompt_tokens`, `completion_tokens`.
        styles: the style of each caption, parallel to `captions`; () where nobody asked for styles.
        short: a version within CLIP's 77 tokens, None where there is none.
        visible: VISIBLE_REGIONS -> whether the view shows the region; None where nobody told.
    """

    captions: tuple[str, ...]
    attributes: Mapping[str, str | None] | None = None
    model: str | None = None
    usage: Mapping[str, int] | None = None
    styles: tuple[str, ...] = ()
    short: str | None = None
    visible: Mapping[str, bool] | None = None


@dataclass(frozen=True, slots=True)
class Content:
    """What a source reads for one record.

    Args:
        images: table -> encoded bytes, untouched where the file is JPEG or PNG already.
        texts: table -> captions.
        draws: table -> what was drawn at random for the row.
        errors: table -> why the row could not be read; the row stays, with this reason.
        source_sha256: of the photograph's file, None where nothing was read.
    """

    images: Mapping[str, bytes] = field(default_factory=dict)
    texts: Mapping[str, Text] = field(default_factory=dict)
    draws: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    source_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One capture as a step sees it.

    Args:
        sample_id: of the capture.
        capture: its row of the captures table.
        images: table -> uint8 array, (H, W, 3) RGB; masks (H, W).
        texts: table -> captions.
        encoded: table -> the image's bytes as they are stored.
    """

    sample_id: str
    capture: Mapping[str, Any]
    images: Mapping[str, np.ndarray] = field(default_factory=dict)
    texts: Mapping[str, Text] = field(default_factory=dict)
    encoded: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Made:
    """What a step made of one sample.

    Args:
        image: uint8 (H, W) or (H, W, 3), exactly of the photograph's size.
        text: captions.
        draw: what was drawn at random for this row, for example `channel=G`.
        scores: raw scores for the gate, taken before any rescaling.
        error: why nothing could be made.
        absent: why nothing was made, where nothing is wrong with the row (a question not asked yet).
    """

    image: np.ndarray | None = None
    text: Text | None = None
    draw: str | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None
    absent: str | None = None
