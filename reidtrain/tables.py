"""Tables of text: aligned for a terminal, or Markdown."""

from __future__ import annotations

from collections.abc import Sequence


def percent(value: float | None) -> str:
    """A fraction as percent with one decimal, `-` where there is none."""
    return "-" if value is None else f"{100 * value:.1f}"


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Plain-text table: the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]

    def line(row: Sequence[str]) -> str:
        cells = [
            cell.ljust(width) if n == 0 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    return "\n".join([line(head), "  ".join("-" * width for width in widths), *(line(row) for row in rows)])


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown table: the first column to the left, the others to the right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))
