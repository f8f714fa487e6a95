"""What a model is asked, and the hash that answers are kept under."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from reidsynth.schema import REGION_FIELDS
from reidsynth.steps.captions.answers import STYLES, VOCABULARY, answer_schema
from reidsynth.storage import content_key

PROMPT_VERSION = 1
IN_COLOUR = "captions are made from photographs in colour only: ingest a source that holds some"

_TASK = """\
The image is a crop of one pedestrian from a camera. Describe this person for a search by text among many pedestrians.
Tell only what this crop shows. Never guess: a part of the person that is hidden, cut off or too blurred is not \
visible, and what you cannot tell is null. Say nothing of the background, of names, of ethnicity, of age beyond child, \
adult or elderly, or of the quality of the image. "gender" is how the person presents. "carried" is a bag or what is \
held. Where a region is visible and nothing is there, the value is "none".

Answer with one JSON object and nothing else, with these keys:
"regions": for each region an object with "visible" (true or false) and these values (a string or null):
{regions}
"captions": an object with one text for each style, every text of 8 to 130 words, all differently worded:
{captions}
"short": the most telling facts in one or two sentences of at most 40 words."""

CORRECTION = (
    "That answer can't be used: it {problem}. Answer again with the whole JSON object as described, and nothing else."
)


def prompt_text(styles: Sequence[str]) -> str:
    """The question about one photograph.

    Args:
        styles: of the captions, keys of STYLES.
    """
    regions = "\n".join(
        f'- "{region}": ' + ", ".join(_field(field) for field in fields) for region, fields in REGION_FIELDS.items()
    )
    captions = "\n".join(f'- "{style}": {STYLES[style]}' for style in styles)
    return _TASK.format(regions=regions, captions=captions)


def _field(field: str) -> str:
    return f'"{field}"' + (f" (one of {', '.join(VOCABULARY[field])})" if field in VOCABULARY else "")


def plain_prompt(style: str) -> str:
    """The question to a model that writes sentences only."""
    return (
        "Describe the clothes, hair, shoes and bags of the pedestrian in this image, and nothing of the background: "
        f"{STYLES[style]}."
    )


def prompt_hash(styles: Sequence[str], sampling: Mapping[str, Any]) -> str:
    """Hash of all that decides an answer besides the image and the model.

    Args:
        styles: of the captions.
        sampling: temperature and the like.
    """
    return content_key(PROMPT_VERSION, prompt_text(styles), answer_schema(styles), dict(sampling))


def data_url(image: bytes) -> str:
    """A JPEG or PNG file as a data URL."""
    kind = "jpeg" if image.startswith(b"\xff\xd8") else "png"
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


def messages(image: bytes, styles: Sequence[str], *, detail: str, rejected: tuple[str, str] | None = None) -> list[Any]:
    """The conversation that asks for an answer.

    Args:
        image: encoded JPEG or PNG, sent as it is stored.
        styles: of the captions.
        detail: of the image: `auto`, `low` or `high`.
        rejected: an earlier answer and what is wrong with it.
    """
    image_part = {"type": "image_url", "image_url": {"url": data_url(image), "detail": detail}}
    talk: list[Any] = [{"role": "user", "content": [{"type": "text", "text": prompt_text(styles)}, image_part]}]
    if rejected is not None:
        content, problem = rejected
        talk.append({"role": "assistant", "content": content or "(no answer)"})
        talk.append({"role": "user", "content": CORRECTION.format(problem=problem)})
    return talk


def response_format(structured: str, styles: Sequence[str]) -> dict[str, Any] | None:
    """How a server is told to hold the model to the form.

    Args:
        structured: `schema`, `json` or `prompt` (by words alone).
        styles: of the captions.
    """
    if structured == "schema":
        schema = {"name": "pedestrian", "strict": True, "schema": answer_schema(styles)}
        return {"type": "json_schema", "json_schema": schema}
    return {"type": "json_object"} if structured == "json" else None


def text_size(styles: Sequence[str]) -> int:
    """Characters of a question without its image, schema included: what a first guess of its tokens rests on."""
    return len(prompt_text(styles)) + len(json.dumps(answer_schema(styles)))
