"""JSON arrays too large for memory, read element by element.

The file is scanned in chunks with the standard library's own decoder. Offsets are counted in bytes, so a row can be
read again by itself: in Latin-1 every byte is one character, and all of JSON's own characters are ASCII.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from reidsynth.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHUNK = 1 << 20
LONGEST_ROW = 16 << 20
"""Bytes; what doesn't end within as much is a damaged file, not a row."""

_BOM = "\xef\xbb\xbf"
_SPACE = " \t\r\n"
_ENDS = _SPACE + ",]"


def stream_array(path: Path, label: str) -> Iterator[tuple[int, int, Any]]:
    """Read the elements of a JSON array in order, with progress and remaining time on a terminal.

    Args:
        path: UTF-8 file whose outermost value is an array.
        label: of the progress bar.

    Yields:
        Offset and length of an element in bytes, and the element.

    Raises:
        UserError: the file can't be read, is no array, is damaged (with the number of the row) or ends too early.
    """
    try:
        with (
            path.open("rb") as handle,
            tqdm(
                total=path.stat().st_size, desc=label, unit="B", unit_scale=True, disable=None, delay=1, leave=False
            ) as bar,
        ):
            scanner = _Scanner(handle, bar, path)
            yield from scanner.elements()
    except OSError as error:
        raise UserError(f"{str(path)!r} can't be read ({error.strerror}): copy it again") from None


class _Scanner:
    """The text that is being looked at, and where it begins in the file."""

    def __init__(self, handle: Any, bar: Any, path: Path) -> None:  # noqa: ANN401 - an open file and a tqdm bar
        self._handle, self._bar, self._path = handle, bar, path
        self._text, self._place, self._start = "", 0, 0  # text, place in it, offset of its first byte
        self._decoder = json.JSONDecoder()

    def elements(self) -> Iterator[tuple[int, int, Any]]:
        """Elements with their places in the file."""
        while len(self._text) < len(_BOM) and self._more():
            pass
        if self._text.startswith(_BOM):
            self._place += len(_BOM)
        if self._peek() != "[":
            raise UserError(f"{str(self._path)!r} is not a list of rows: take the official file")
        self._place += 1
        number = 0
        if self._peek() == "]":
            return
        while True:
            if self._peek() == "":
                raise self._ended(number)
            value, end = self._value(number)
            yield self._start + self._place, end - self._place, self._decoded(value, end, number)
            self._place, number = end, number + 1
            mark = self._peek()
            if mark == "]":
                return
            if mark != ",":
                raise self._ended(number) if mark == "" else self._damaged(number, f"',' expected, {mark!r} found")
            self._place += 1

    def _value(self, number: int) -> tuple[Any, int]:
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._place)
            except (ValueError, RecursionError) as error:
                if len(self._text) - self._place <= LONGEST_ROW and self._more():
                    continue
                raise self._damaged(number, getattr(error, "msg", str(error))) from None
            if end < len(self._text) and self._text[end] in _ENDS:
                return value, end
            # A number may go on in the next chunk.
            if len(self._text) - self._place > LONGEST_ROW or not self._more():
                return value, end

    def _decoded(self, value: Any, end: int, number: int) -> Any:  # noqa: ANN401 - any JSON value
        text = self._text[self._place : end]
        if text.isascii():
            return value
        try:
            return json.loads(text.encode("latin-1"))
        except ValueError as error:
            raise self._damaged(number, str(error)) from None

    def _peek(self) -> str:
        """The next character that is no white space; "" at the end."""
        while True:
            while self._place < len(self._text) and self._text[self._place] in _SPACE:
                self._place += 1
            if self._place < len(self._text):
                return self._text[self._place]
            if not self._more():
                return ""

    def _more(self) -> bool:
        data = self._handle.read(max(CHUNK, len(self._text) - self._place))
        if not data:
            return False
        self._bar.update(len(data))
        self._start += self._place
        self._text, self._place = self._text[self._place :] + data.decode("latin-1"), 0
        return True

    def _ended(self, number: int) -> UserError:
        return UserError(f"{str(self._path)!r} ends after row {number - 1} without ']': it is cut off, copy it again")

    def _damaged(self, number: int, reason: str) -> UserError:
        return UserError(f"{str(self._path)!r} is damaged in row {number} ({reason}): copy it again")
