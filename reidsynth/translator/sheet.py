"""The sample sheet of an epoch: photograph, what the generator makes of it, and the truth, side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_PAPER, _INK, _SOFT, _LINE = (250, 249, 246), (34, 36, 40), (128, 130, 134), (222, 220, 214)
_MARGIN, _GAP, _BETWEEN, _NOTE, _TITLE = 24, 6, 26, 22, 86
_ACROSS = 4
_TALLEST = 256


def draw_sheet(
    title: str, subtitle: str, photos: np.ndarray, made: np.ndarray, true: np.ndarray, notes: Sequence[str]
) -> Image.Image:
    """Draw triples, four across.

    Args:
        title: top line.
        subtitle: second line.
        photos: uint8 (N, H, W, 3).
        made: uint8 (N, H, W), generated.
        true: uint8 (N, H, W).
        notes: under each triple.
    """
    rows, height, width = photos.shape[:3]
    scale = _TALLEST / height if height > _TALLEST else float(_TALLEST // height)
    cell = max(1, round(width * scale)), max(1, round(height * scale))
    triple = 3 * cell[0] + 2 * _GAP
    across = min(_ACROSS, rows)
    down = -(-rows // across)
    size = (
        2 * _MARGIN + max(across * triple + (across - 1) * _BETWEEN, 560),
        _MARGIN + _TITLE + down * (cell[1] + _NOTE + _GAP) + _MARGIN,
    )
    sheet = Image.new("RGB", size, _PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((_MARGIN, _MARGIN - 6), title, font=ImageFont.load_default(22), fill=_INK)
    pen.text((_MARGIN, _MARGIN + 24), subtitle, font=ImageFont.load_default(13), fill=_SOFT)
    for number in range(rows):
        left = _MARGIN + number % across * (triple + _BETWEEN)
        top = _MARGIN + _TITLE + number // across * (cell[1] + _NOTE + _GAP)
        for place, image in enumerate((photos[number], made[number], true[number])):
            shown = Image.fromarray(np.ascontiguousarray(image)).convert("RGB")
            kind = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.LANCZOS
            spot = left + place * (cell[0] + _GAP), top
            sheet.paste(shown.resize(cell, kind), spot)
            pen.rectangle((spot[0] - 1, top - 1, spot[0] + cell[0], top + cell[1]), outline=_LINE)
            if number < across:
                name = ("photo", "generated", "true")[place]
                pen.text((spot[0], top - 18), name, font=ImageFont.load_default(12 if cell[0] >= 60 else 9), fill=_INK)
        pen.text((left, top + cell[1] + 3), notes[number], font=ImageFont.load_default(11), fill=_SOFT)
    return sheet
