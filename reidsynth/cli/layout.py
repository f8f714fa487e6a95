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


def bars(labels: Sequence[str], counts: Sequence[int], width: int = 40) -> list[str]:
    """Lines of a histogram.

    Example:
        >>> bars(["2", "3"], [10, 5], width=4)
        ['  2  ████  10', '  3  ██    5']
    """
    longest = max(map(len, labels), default=0)
    most = max(counts, default=0) or 1
    drawn = [("█" * round(width * count / most)).ljust(width) for count in counts]
    return [
        f"  {label.rjust(longest)}  {bar}  {count:,}" for label, bar, count in zip(labels, drawn, counts, strict=True)
    ]
