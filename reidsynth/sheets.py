"""Draws contact sheets: one row for each capture, one column for each table, verdicts marked."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Colour = tuple[int, int, int]

_PAPER: Colour = (250, 249, 246)
_INK: Colour = (34, 36, 40)
_SOFT: Colour = (128, 130, 134)
_LINE: Colour = (222, 220, 214)
_EMPTY: Colour = (240, 238, 233)
_MARKS: dict[str, Colour] = {
    "pass": (62, 142, 84),
    "fail": (200, 62, 48),
    "error": (200, 62, 48),
    "absent": (176, 176, 172),
}
_MARGIN, _GAP, _ROW_GAP = 28, 14, 22
_HEADER, _NOTE = 66, 20
_MOST_NOTE_LINES = 3
_TEXT_WIDTH = 520


@dataclass(frozen=True, slots=True)
class Column:
    """One column of images.

    Args:
        title: modality.
        variant: what made it, "" for a real modality.
        subtitle: origin and spectrum.
    """

    title: str
    variant: str
    subtitle: str


@dataclass(frozen=True, slots=True)
class Cell:
    """One image of a row.

    Args:
        image: uint8 (H, W) or (H, W, 3); None where there is none.
        verdict: of the gate.
        note: why it failed, or what was drawn for it.
    """

    image: np.ndarray | None
    verdict: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Paragraph:
    """One block of text beside a row.

    Args:
        title: table of the captions.
        verdict: of the gate.
        lines: captions, or the reason why there are none.
    """

    title: str
    verdict: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One capture.

    Args:
        label: its sample_id.
        facts: person, camera, role.
        cells: one for each column.
        paragraphs: its captions.
    """

    label: str
    facts: str
    cells: tuple[Cell, ...]
    paragraphs: tuple[Paragraph, ...] = field(default=())


def draw_sheet(
    title: str, subtitle: str, columns: Sequence[Column], rows: Sequence[Row], *, height: int
) -> Image.Image:
    """Draw a sheet.

    Args:
        title: top line.
        subtitle: second line.
        columns: of images, left to right.
        rows: top to bottom.
        height: of every image in pixels; widths follow the images.
    """
    width = _cell_width(rows, height, columns)
    text_left = _MARGIN + len(columns) * (width + _GAP) + _GAP
    heights = [max(height + _note_height(row, width), _text_height(row)) + _ROW_GAP for row in rows]
    top = _MARGIN + 62 + _HEADER
    sheet = Image.new("RGB", (text_left + _TEXT_WIDTH + _MARGIN, top + sum(heights) + 34 + _MARGIN), _PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((_MARGIN, _MARGIN - 4), title, font=_font(26, title), fill=_INK)
    pen.text((_MARGIN, _MARGIN + 32), subtitle, font=_font(15, subtitle), fill=_SOFT)
    for number, column in enumerate(columns):
        left = _MARGIN + number * (width + _GAP)
        _fitted(pen, (left, top - _HEADER), column.title, width + _GAP - 4, 17, _INK)
        _fitted(pen, (left, top - _HEADER + 22), column.variant, width + _GAP - 4, 13, _INK)
        _fitted(pen, (left, top - _HEADER + 38), column.subtitle, width + _GAP - 4, 12, _SOFT)
    pen.text((text_left, top - _HEADER), "captions", font=_font(17), fill=_INK)
    for row, tall in zip(rows, heights, strict=True):
        pen.line((_MARGIN, top - 6, sheet.width - _MARGIN, top - 6), fill=_LINE)
        for number, cell in enumerate(row.cells):
            _cell(sheet, pen, cell, (_MARGIN + number * (width + _GAP), top + 4, width, height))
        _texts(pen, row, (text_left, top + 2))
        top += tall
    _legend(pen, (_MARGIN, top + 8))
    return sheet


def _font(size: float, text: str = "") -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font; for a text with letters or dashes that it lacks the one that comes with Matplotlib."""
    return _wide_font(size) if any(_lacking(letter) for letter in set(text)) else ImageFont.load_default(size)


@lru_cache(maxsize=4096)
def _lacking(letter: str) -> bool:
    if letter.isascii():
        return False
    font = ImageFont.load_default(16)
    return bytes(font.getmask(letter)) == bytes(font.getmask("\uffff"))


@lru_cache(maxsize=64)
def _wide_font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    found = find_spec("matplotlib")  # only its place: importing it takes longer than drawing a sheet
    folders = found.submodule_search_locations if found is not None else None
    files = [Path(folder) / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf" for folder in folders or ()]
    file = next((file for file in files if file.is_file()), None)
    return ImageFont.load_default(size) if file is None else ImageFont.truetype(file, size)


def _cell_width(rows: Sequence[Row], height: int, columns: Sequence[Column]) -> int:
    shapes = [cell.image.shape for row in rows for cell in row.cells if cell.image is not None]
    widest = max((shape[1] / shape[0] for shape in shapes), default=0.5)
    names = max((_font(13).getlength(column.variant) for column in columns), default=0.0)
    return max(round(height * min(widest, 1.6)), min(round(names), height // 2), 72)


def _cell(sheet: Image.Image, pen: ImageDraw.ImageDraw, cell: Cell, place: tuple[int, int, int, int]) -> None:
    left, top, width, height = place
    colour = _MARKS[cell.verdict]
    if cell.image is None:
        shown = (round(height / 2), height)
        pen.rectangle((left, top, left + shown[0] - 1, top + height - 1), fill=_EMPTY)
        told = f"{cell.verdict}: {cell.note}" if cell.note else cell.verdict
        _lines(pen, (left + 8, top + 8), wrapped(told, shown[0] - 12, 12)[: height // 16], colour)
    else:
        pixels = Image.fromarray(cell.image).convert("RGB")
        scale = min(height / pixels.height, width / pixels.width)
        shown = (max(1, round(pixels.width * scale)), max(1, round(pixels.height * scale)))
        sheet.paste(pixels.resize(shown, Image.Resampling.LANCZOS), (left, top))
    good = cell.verdict == "pass"
    frame = (left - 1, top - 1, left + shown[0], top + shown[1])
    pen.rectangle(frame, outline=_LINE if good or cell.verdict == "absent" else colour, width=1 if good else 2)
    under = top + shown[1] + 5
    pen.ellipse((left, under + 3, left + 7, under + 10), fill=colour)
    if cell.image is not None:
        _lines(pen, (left + 12, under), _note_lines(cell, width), _SOFT if good else colour)


def _note_lines(cell: Cell, width: int) -> list[str]:
    """What stands under an image; without one, it stands in its place."""
    return wrapped(cell.note, width - 12, 12)[:_MOST_NOTE_LINES] if cell.image is not None else []


def _note_height(row: Row, width: int) -> int:
    return _NOTE + 15 * max((len(_note_lines(cell, width)) - 1 for cell in row.cells if cell.note), default=0)


def _texts(pen: ImageDraw.ImageDraw, row: Row, place: tuple[int, int]) -> None:
    left, top = place
    _fitted(pen, (left, top), row.label, _TEXT_WIDTH, 15, _INK)
    pen.text((left, top + 20), row.facts, font=_font(12), fill=_SOFT)
    top += 42
    for paragraph in row.paragraphs:
        colour = _MARKS[paragraph.verdict]
        pen.ellipse((left, top + 4, left + 7, top + 11), fill=colour)
        pen.text((left + 12, top), paragraph.title, font=_font(12), fill=_SOFT)
        top += 17
        for line in paragraph.lines:
            for piece in wrapped(line, _TEXT_WIDTH, 14):
                pen.text((left, top), piece, font=_font(14, line), fill=_INK if paragraph.verdict == "pass" else colour)
                top += 18
            top += 4
        top += 5


def _text_height(row: Row) -> int:
    lines = [len(wrapped(line, _TEXT_WIDTH, 14)) for paragraph in row.paragraphs for line in paragraph.lines]
    return 46 + 18 * sum(lines) + 4 * len(lines) + 22 * len(row.paragraphs)


def _legend(pen: ImageDraw.ImageDraw, place: tuple[int, int]) -> None:
    left, top = place
    for verdict, says in (("pass", "passed its gate"), ("fail", "failed, kept with its reason"), ("absent", "absent")):
        pen.ellipse((left, top + 4, left + 8, top + 12), fill=_MARKS[verdict])
        pen.text((left + 14, top), says, font=_font(13), fill=_SOFT)
        left += 14 + round(_font(13).getlength(says)) + 26


def _lines(pen: ImageDraw.ImageDraw, place: tuple[int, int], lines: Sequence[str], colour: Colour) -> None:
    for number, line in enumerate(lines):
        pen.text((place[0], place[1] + 15 * number), line, font=_font(12, line), fill=colour)


def _fitted(pen: ImageDraw.ImageDraw, place: tuple[int, int], text: str, width: int, size: int, colour: Colour) -> None:
    """Write one line; a longer text is made smaller a little, then cut. Line breaks become spaces."""
    text = " ".join(text.split())
    while size > 10 and _font(size, text).getlength(text) > width:
        size -= 1
    font = _font(size, text)
    if font.getlength(text) > width:
        while text and font.getlength(f"{text}…") > width:
            text = text[:-1]
        text = f"{text}…"
    pen.text(place, text, font=font, fill=colour)


def _pieces(word: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> Iterator[str]:
    """Cut a word that is wider than a line."""
    while len(word) > 1 and font.getlength(word) > width:
        cut = max(1, int(len(word) * width / font.getlength(word)))
        yield word[:cut]
        word = word[cut:]
    yield word


def wrapped(text: str, width: int, size: int) -> list[str]:
    """Break a text into lines of at most `width` pixels."""
    font, lines, line = _font(size, text), [], ""
    for word in (piece for whole in text.split() for piece in _pieces(whole, width, font)):
        longer = f"{line} {word}".strip()
        if line and font.getlength(longer) > width:
            lines.append(line)
            line = word
        else:
            line = longer
    return [*lines, line] if line else lines
