"""Which photograph a row comes from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def source_images(sample_ids: Sequence[str], derived_from: Sequence[str | None]) -> np.ndarray:
    """Number the photographs that rows come from, following chains of derivation to their start.

    Args:
        sample_ids: of the rows.
        derived_from: sample id of the photograph that a row was made from, None where it is one itself.

    Returns:
        (N,) int64; rows that come from one photograph share a number.

    Example:
        >>> source_images(["a", "b", "c"], [None, "a", None]).tolist()
        [0, 0, 1]
    """
    parents = {sample: parent for sample, parent in zip(sample_ids, derived_from, strict=True) if parent}
    numbers: dict[str, int] = {}
    out = np.empty(len(sample_ids), dtype=np.int64)
    for row, sample in enumerate(sample_ids):
        seen = {sample}
        while (parent := parents.get(sample)) and parent not in seen:
            seen.add(parent)
            sample = parent
        out[row] = numbers.setdefault(sample, len(numbers))
    return out
