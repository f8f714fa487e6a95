"""Rows of a manifest as plain values, for comparison with what was worked out by hand."""

from __future__ import annotations

from typing import Any


def captures(manifest, split: str, *columns: str) -> list[tuple[Any, ...]]:
    """The named columns of a split's captures."""
    table = manifest.captures(split)
    return list(zip(*(table.column(name).to_pylist() for name in columns), strict=True))


def verdicts(manifest, table: str, split: str) -> dict[str, tuple[str, str | None]]:
    """sample_id -> verdict and reason."""
    rows = manifest.table(table, split).columns(["sample_id", "verdict", "reason"]).to_pylist()
    return {row["sample_id"]: (row["verdict"], row["reason"]) for row in rows}


def row(manifest, table: str, split: str, sample_id: str) -> dict[str, Any]:
    """One row of a table."""
    reader = manifest.table(table, split)
    ids = reader.columns(["sample_id"]).column(0).to_pylist()
    return reader[ids.index(sample_id)]
