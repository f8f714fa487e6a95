"""The one form of a model's answer: what is visible, attributes, captions in styles, a short version.

`answer_schema` is its strict JSON schema, for servers that hold a model to it; `parse_answer` reads what any model
wrote, mends what can be mended without guessing, and says in a few words what is wrong otherwise.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from reidsynth.schema import ATTRIBUTE_FIELDS, REGION_FIELDS, VISIBLE_REGIONS, Text
from reidsynth.tokens import within_clip

FEWEST_WORDS, MOST_WORDS = 8, 130

STYLES: dict[str, str] = {
    "descriptive": "two or three fluent sentences from head to foot, 25 to 60 words",
    "concise": "one sentence of 12 to 25 words with what tells this person apart",
    "conversational": "as a witness would tell it, in everyday words, 20 to 50 words",
    "clothing-first": "one or two sentences that begin with the clothes, 20 to 50 words",
    "detailed": "everything that is visible, down to prints and fastenings, 60 to 120 words",
}
"""Style of a caption -> how it is asked for."""

Style = Literal["descriptive", "concise", "conversational", "clothing-first", "detailed"]


def each_once(styles: tuple[Style, ...]) -> tuple[Style, ...]:
    """Refuse a style that is named twice: its captions would be the same."""
    if len(set(styles)) < len(styles):
        raise ValueError("names a style twice: name each once")
    return styles


Styles = Annotated[tuple[Style, ...], Field(min_length=1, max_length=5), AfterValidator(each_once)]
"""Parameter of what asks a model: one caption each."""
Variant = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
"""Parameter of what asks a model: the table is `text-<variant>`."""

COLOURS = (
    "black", "white", "grey", "red", "orange", "yellow", "green", "teal", "blue", "navy", "purple", "pink", "brown",
    "beige",
)  # fmt: skip
HAIR_COLOURS = ("black", "brown", "blond", "red", "grey", "white")
VOCABULARY: dict[str, tuple[str, ...]] = {
    "gender": ("male", "female"),
    "build": ("slim", "average", "heavy"),
    "hair_length": ("bald", "short", "medium", "long", "ponytail", "bun"),
    "hair_colour": HAIR_COLOURS,
    "glasses": ("none", "glasses", "sunglasses"),
    "upper_pattern": ("plain", "stripes", "vertical stripes", "checks", "dots", "logo", "two-tone"),
} | {field: COLOURS for field in ATTRIBUTE_FIELDS if field.endswith("_colour") and field != "hair_colour"}
"""Fields with a closed list of values; of the others any short noun phrase is a value."""

_UNKNOWN = {"", "unknown", "unclear", "n/a", "na", "null", "not visible", "invisible", "other", "undetermined"}
_SPELLING = {"gray": "grey", "blonde": "blond", "man": "male", "woman": "female", "glass": "glasses", "no": "none"}
_LONGEST_VALUE = 40


class BadAnswer(ValueError):  # noqa: N818 - names the thing; it never leaves this package
    """An answer that can't be used; the message is a short reason."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model told about one photograph.

    Args:
        captions: one for each style that was asked for.
        styles: the styles.
        short: a version within CLIP's 77 tokens.
        attributes: ATTRIBUTE_FIELDS -> value; None where the region is hidden or nobody knows.
        visible: VISIBLE_REGIONS -> whether the view shows it; None where the model was not asked.
    """

    captions: tuple[str, ...]
    styles: tuple[str, ...]
    short: str
    attributes: dict[str, str | None] | None
    visible: dict[str, bool] | None

    def text(self, model: str, usage: dict[str, int] | None = None) -> Text:
        """The answer as a row's text."""
        return Text(self.captions, self.attributes, model, usage, self.styles, self.short, self.visible)


def answer_schema(styles: Sequence[str]) -> dict[str, Any]:
    """Strict JSON schema of an answer: every key required, none besides, unknown values null.

    Args:
        styles: of the captions, keys of STYLES.
    """
    regions = {
        region: _object({"visible": {"type": "boolean"}} | {field: _value(field) for field in REGION_FIELDS[region]})
        for region in VISIBLE_REGIONS
    }
    captions = _object({style: {"type": "string", "description": STYLES[style]} for style in styles})
    return _object({"regions": _object(regions), "captions": captions, "short": {"type": "string"}})


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    required = list(properties)
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _value(field: str) -> dict[str, Any]:
    if field in VOCABULARY:
        return {"type": ["string", "null"], "enum": [*VOCABULARY[field], None]}
    return {"type": ["string", "null"]}


def parse_answer(content: str, styles: Sequence[str]) -> Answer:
    """Read an answer.

    Args:
        content: what the model wrote: the JSON object, perhaps in a fence or among words, perhaps with trailing commas.
        styles: that were asked for.

    Raises:
        BadAnswer: no such object, a caption is missing, too short or too long, or two captions are the same.
    """
    values = _json_object(content)
    captions = tuple(_caption(values.get("captions"), style, number) for number, style in enumerate(styles))
    if len(set(captions)) < len(captions):
        raise BadAnswer("two captions are the same")
    regions = values.get("regions")
    if not isinstance(regions, dict):
        raise BadAnswer("'regions' is missing")
    visible, attributes = {}, dict.fromkeys(ATTRIBUTE_FIELDS)
    for region in VISIBLE_REGIONS:
        told = regions.get(region)
        told = told if isinstance(told, dict) else {}
        visible[region] = bool(told.get("visible", any(told.get(field) for field in REGION_FIELDS[region])))
        if visible[region]:
            attributes |= {field: _known(field, told.get(field)) for field in REGION_FIELDS[region]}
    return Answer(captions, tuple(styles), _short(values.get("short"), captions), attributes, visible)


def written_answer(text: Text) -> str:
    """The answer that a row was made from, in the form that `parse_answer` reads; the row comes out of it again.

    Args:
        text: of a row; it has styles.
    """
    attributes, visible = text.attributes or {}, text.visible or {}
    regions = {
        region: {"visible": visible.get(region, False)} | {field: attributes.get(field) for field in fields}
        for region, fields in REGION_FIELDS.items()
    }
    captions = dict(zip(text.styles, text.captions, strict=True))
    return json.dumps({"regions": regions, "captions": captions, "short": text.short}, ensure_ascii=False)


def plain_answer(contents: Sequence[str], styles: Sequence[str]) -> Answer:
    """The answer of a model that writes sentences only: one text for each style.

    Raises:
        BadAnswer: a text is too short or too long.
    """
    captions = tuple(_checked(content, style) for content, style in zip(contents, styles, strict=True))
    return Answer(captions, tuple(styles), _short(None, captions), None, None)


def _json_object(content: str) -> dict[str, Any]:
    from pydantic_core import from_json

    first, last = content.find("{"), content.rfind("}")
    if first < 0 or last < first:
        raise BadAnswer("holds no JSON object")
    text = content[first : last + 1]
    for candidate in (text, re.sub(r",(\s*[}\]])", r"\1", text)):
        try:
            values = from_json(candidate)
        except ValueError:
            continue
        if isinstance(values, dict):
            return values
    raise BadAnswer("is no valid JSON")


def _caption(captions: Any, style: str, number: int) -> str:  # noqa: ANN401 - whatever the model wrote
    """The caption of a style; servers without schemas bring lists of texts, or of objects with the style, as well."""
    found: Any = None
    if isinstance(captions, dict):
        found = captions.get(style)
    elif isinstance(captions, list):
        texts = [item.get("text") or item.get("caption") if isinstance(item, dict) else item for item in captions]
        named = [item.get("style") if isinstance(item, dict) else None for item in captions]
        at = named.index(style) if style in named else number
        found = texts[at] if at < len(texts) else None
    if not isinstance(found, str):
        raise BadAnswer(f"the caption {style!r} is missing")
    return _checked(found, style)


def _checked(caption: str, style: str) -> str:
    caption = " ".join(caption.split())
    words = sum(any(letter.isalpha() for letter in word) for word in caption.split())
    if not FEWEST_WORDS <= words <= MOST_WORDS:
        raise BadAnswer(f"the caption {style!r} has {words} words and needs {FEWEST_WORDS} to {MOST_WORDS}")
    return caption


def _short(told: Any, captions: Sequence[str]) -> str:  # noqa: ANN401 - whatever the model wrote
    short = " ".join(told.split()) if isinstance(told, str) and told.strip() else min(captions, key=len)
    return within_clip(short)


def _known(field: str, value: Any) -> str | None:  # noqa: ANN401 - whatever the model wrote
    if not isinstance(value, str):
        return None
    text = " ".join(value.lower().split()).strip(" .")
    text = " ".join(_SPELLING.get(word, word) for word in text.split())
    if text in _UNKNOWN or len(text) > _LONGEST_VALUE:
        return None
    return text if field not in ("gender", "glasses") or text in VOCABULARY[field] else None
