"""Boxes in Pascal VOC's XML."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:
    from pathlib import Path

_LARGEST_FILE = 10_000_000  # bytes; a thousand boxes take 300,000
_EDGES = ("xmin", "ymin", "xmax", "ymax")

Box = tuple[int, int, int, int]


class BadBoxes(ValueError):  # noqa: N818 - names the thing, and never leaves a reader
    """A file of boxes that can't be used; the message is a short reason."""


def read_boxes(path: Path, label: str) -> list[Box]:
    """Read the boxes of one class.

    Args:
        path: the XML file.
        label: class of the objects wanted.

    Returns:
        (left, top, right, bottom) in pixels as they stand there, in the file's order; right and bottom are outside.

    Raises:
        BadBoxes: no readable XML, one that declares entities (which could swell without end), a box without four whole
            numbers, or one without an area.
    """
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise BadBoxes(f"is larger than {_LARGEST_FILE // 1_000_000} MB")
        data = path.read_bytes()
        if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
            raise BadBoxes("declares a document type or entities, which a file of boxes does not need")
        tree = ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise BadBoxes(f"is no readable XML ({error})") from None
    except (OSError, ValueError, LookupError) as error:
        raise error if isinstance(error, BadBoxes) else BadBoxes(f"can't be read ({error})") from None
    boxes = []
    for number, thing in enumerate(tree.iter("object"), start=1):
        if (thing.findtext("name") or "").strip() == label:
            boxes.append(_box(thing, number))
    return boxes


def _box(thing: ElementTree.Element, number: int) -> Box:
    edges = []
    for edge in _EDGES:
        told = (thing.findtext(f"bndbox/{edge}") or "").strip()
        try:
            edges.append(round(float(told)))
        except (ValueError, OverflowError):
            raise BadBoxes(f"object {number} has {edge} {told[:20]!r}, which is no number") from None
    left, top, right, bottom = edges
    if right <= left or bottom <= top:
        raise BadBoxes(f"object {number} has a box without an area ({left}, {top}, {right}, {bottom})")
    return left, top, right, bottom
