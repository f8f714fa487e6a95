"""One query and its answers in a row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from reidtrain.batch import LETTERS
from reidtrain.figures.tiles import (
    FAINT,
    INK,
    NAMES,
    PAPER,
    RIGHT,
    UNKNOWN,
    WRONG,
    font,
    framed,
    in_row,
    labelled,
    legend,
    query_text,
    save,
)

if TYPE_CHECKING:
    from reidtrain.retrieval import Hit

Picture = np.ndarray | str | Path


def rank_strip(
    hits: Sequence[Hit],
    out: str | Path,
    *,
    text: str | None = None,
    sketch: Picture | None = None,
    ir: Picture | None = None,
    rgb: Picture | None = None,
    pid: int | None = None,
) -> Path:
    """Draw a query and its answers in one row.

    Args:
        hits: answers of `reidtrain.retrieval.search`, best first.
        out: PNG file to write.
        text: the query's sentence.
        sketch: the query's sketch, pixels or file; so are the next two.
        ir: infrared.
        rgb: a photograph.
        pid: the person who was looked for, where that is known; else all frames are grey.

    Returns:
        The file.

    Raises:
        UserError: when an image can't be read or the file can't be written.
    """
    from reidtrain.retrieval import read_image

    given = {"sketch": sketch, "ir": ir, "rgb": rgb}
    images = {name: image for name, image in given.items() if image is not None}
    pixels = {n: image if isinstance(image, np.ndarray) else read_image(image, n) for n, image in images.items()}
    tiles = [query_text(text, (190, 224))] if text else []
    tiles += [labelled(image, NAMES[name], (100, 200)) for name, image in pixels.items()]
    answers = [_answer(hit, None if pid is None else hit.pid == pid) for hit in hits]
    gap, margin, divide = 10, 22, 34
    left, right = in_row(tiles, gap), in_row(answers, gap)
    width = max(2 * margin + left.width + divide + right.width, 360)
    height = max(left.height, right.height)
    sheet = Image.new("RGB", (width, height + 104), PAPER)
    draw = ImageDraw.Draw(sheet)
    query = "+".join(LETTERS[name] for name in LETTERS if name in pixels or (name == "text" and text))
    draw.text((margin, 16), f"{query} \u2192 R", INK, font(17, bold=True))
    start = margin + left.width + divide
    draw.text((start, 16), f"the {len(hits)} best photographs", FAINT, font(15))
    sheet.paste(left, (margin, 50))
    sheet.paste(right, (start, 50))
    line = start - divide // 2
    draw.line([(line, 50), (line, 50 + height)], (214, 218, 222), 2)
    legend(draw, (start, 50 + height + 20), (UNKNOWN,) if pid is None else (RIGHT, WRONG))
    return save(sheet, out)


def _answer(hit: Hit, right: bool | None) -> Image.Image:
    colour = UNKNOWN if right is None else RIGHT if right else WRONG
    photo = framed(hit.image, colour, (96, 192))
    tile = Image.new("RGB", (photo.width, photo.height + 56), PAPER)
    tile.paste(photo, (0, 0))
    draw = ImageDraw.Draw(tile)
    draw.text((2, photo.height + 4), f"{hit.rank}", INK, font(14, bold=True))
    draw.text((tile.width - 2, photo.height + 4), f"{hit.score:.3f}", INK, font(14), anchor="ra")
    draw.text((2, photo.height + 23), f"person {hit.pid}", FAINT, font(11))
    if hit.camid is not None:
        draw.text((2, photo.height + 38), f"camera {hit.camid}", FAINT, font(11))
    return tile
