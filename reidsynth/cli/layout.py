"""Tables for terminals."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table: the first column to the left, the others to the right; none without rows.

    Example:
        >>> aligned(("split", "rows"), [("train", "1,200"), ("test", "80")])
        ['  split   rows', '  train  1,200', '  test      80']
    """
    if not rows:
        return []
    every = [header, *rows]
    first, *rest = (max(len(row[column]) for row in every) for column in range(len(header)))
    lines = []
    for row in every:
        others = "  ".join(cell.rjust(width) for cell, width in zip(row[1:], rest, strict=True))
        lines.append(f"  {row[0].ljust(first)}  {others}".rstrip())
    return lines


def bytes_of(count: float) -> str:
    """A number of bytes in a readable unit.

    Example:
        >>> bytes_of(950), bytes_of(1_234_567)
        ('950 B', '1.2 MB')
    """
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} B"


def time_of(seconds: float) -> str:
    """A time in a readable unit.

    Example:
        >>> time_of(0.0042), time_of(75.0), time_of(40_000)
        ('4.2 ms', '75 s', '11.1 h')
    """
    for unit, size in (("days", 172_800), ("h", 7200), ("min", 120)):
        if seconds >= size:
            return f"{seconds / {'days': 86_400, 'h': 3600, 'min': 60}[unit]:.1f} {unit}"
    if seconds >= 10:
        return f"{seconds:.0f} s"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"
