"""Tiles of pictures: framed photographs, captions, labels; and how a picture is saved.

Text is set in DejaVu Sans, which comes with matplotlib, so a picture is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from reidtrain.errors import UserError

Colour = tuple[int, int, int]

RIGHT, WRONG, UNKNOWN = (30, 140, 84), (205, 58, 48), (158, 164, 172)
NAMES = {"text": "text", "sketch": "sketch", "ir": "infrared", "rgb": "photograph"}
INK, FAINT, SHADE, PAPER = (30, 34, 40), (116, 122, 130), (241, 243, 245), (255, 255, 255)


@cache
def font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans of a size in pixels."""
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)


def _fitted(image: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """Scale into a box, the rest of it shaded."""
    photo = Image.fromarray(image)
    scale = min(size[0] / photo.width, size[1] / photo.height)
    shape = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    box = Image.new("RGB", size, SHADE)
    photo = photo.resize(shape, Image.Resampling.LANCZOS)
    box.paste(photo, ((size[0] - shape[0]) // 2, (size[1] - shape[1]) // 2))
    return box


def framed(image: np.ndarray, colour: Colour, size: tuple[int, int]) -> Image.Image:
    """An image in a frame of 4 pixels, a tick or a cross in its corner."""
    tile = Image.new("RGB", (size[0] + 8, size[1] + 8), colour)
    tile.paste(_fitted(image, size), (4, 4))
    radius = 9 if size[0] > 80 else 7
    _badge(ImageDraw.Draw(tile), (tile.width - radius - 1, radius + 1), colour, radius)
    return tile


def _badge(draw: ImageDraw.ImageDraw, at: tuple[int, int], colour: Colour, radius: int) -> None:
    x, y = at
    if colour == UNKNOWN:
        return
    arm = radius * 0.45
    draw.ellipse([x - radius, y - radius, x + radius, y + radius], colour)
    if colour == RIGHT:
        draw.line([(x - arm, y), (x - arm / 4, y + arm), (x + arm, y - arm)], PAPER, 2, joint="curve")
    else:
        draw.line([(x - arm, y - arm), (x + arm, y + arm)], PAPER, 2)
        draw.line([(x - arm, y + arm), (x + arm, y - arm)], PAPER, 2)


def labelled(image: np.ndarray | None, label: str, size: tuple[int, int]) -> Image.Image:
    """An image with its name below; an empty, crossed-out box where it is missing."""
    tile = Image.new("RGB", (size[0], size[1] + 24), PAPER)
    draw = ImageDraw.Draw(tile)
    if image is None:
        draw.rectangle([0, 0, size[0] - 1, size[1] - 1], SHADE, (200, 205, 210))
        draw.line([(0, size[1]), (size[0], 0)], (210, 214, 218), 1)
        label = f"no {label}"
    else:
        tile.paste(_fitted(image, size), (0, 0))
        draw.rectangle([0, 0, size[0] - 1, size[1] - 1], None, (214, 218, 222))
    draw.text((size[0] // 2, size[1] + 6), label, FAINT, font(11), anchor="ma")
    return tile


def query_text(text: str | None, size: tuple[int, int]) -> Image.Image:
    """A caption, wrapped; set smaller where it is long, and cut with an ellipsis where it is too long even so."""
    tile = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(tile)
    draw.rounded_rectangle([0, 0, size[0] - 1, size[1] - 25], 8, SHADE)
    draw.text((size[0] // 2, size[1] - 18), "text" if text else "no text", FAINT, font(11), anchor="ma")
    inner = (size[0] - 20, size[1] - 44)
    for points in (15, 14, 13, 12, 11):
        lines = _wrapped(f"\u201c{text}\u201d" if text else "", inner[0], font(points))
        room = inner[1] // (points + 5)
        if len(lines) <= room:
            break
    else:
        lines = [*lines[: room - 1], lines[room - 1].rstrip(" .,") + "\u2026"]
    for number, line in enumerate(lines):
        draw.text((10, 10 + number * (points + 5)), line, INK, font(points))
    return tile


def _wrapped(text: str, width: int, face: ImageFont.FreeTypeFont) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and face.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def in_row(tiles: Sequence[Image.Image], gap: int, width: int = 0) -> Image.Image:
    """Tiles side by side, at least `width` wide."""
    wide = sum(tile.width for tile in tiles) + gap * (len(tiles) - 1)
    strip = Image.new("RGB", (max(wide, width, 1), max((tile.height for tile in tiles), default=1)), PAPER)
    x = 0
    for tile in tiles:
        strip.paste(tile, (x, 0))
        x += tile.width + gap
    return strip


def legend(draw: ImageDraw.ImageDraw, at: tuple[int, int], colours: Sequence[Colour]) -> None:
    """What the colours of frames mean, in one line from `at`."""
    x, y = at
    for colour in colours:
        name = {RIGHT: "right person", WRONG: "another person", UNKNOWN: "person not known"}[colour]
        draw.rectangle([x, y, x + 14, y + 14], colour)
        draw.text((x + 22, y - 1), name, FAINT, font(12))
        x += 40 + int(font(12).getlength(name))


def save(sheet: Image.Image, out: str | Path) -> Path:
    """Write a picture as PNG.

    Raises:
        UserError: when the file can't be written.
    """
    path = Path(out)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(path, format="PNG", optimize=True)
    except OSError as error:
        raise UserError(f"{path} can't be written ({error.strerror or error}): give another file") from error
    return path
