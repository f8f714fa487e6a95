"""What worker processes bring along."""

from __future__ import annotations

from reidsynth.engines import LocalEngine


def rows_made(number):
    """Lay out rows as a block's are, then use pandas as somebody's step might."""
    import sys

    import pyarrow as pa

    batch = pa.RecordBatch.from_pylist([{"sample_id": str(number), "image": {"bytes": b"x", "path": None}}])
    loaded = "pandas" in sys.modules
    import pandas as pd

    return batch.to_pylist()[0]["sample_id"], loaded, int(pd.Series([number, number]).sum())


def test_pandas_costs_a_worker_nothing_until_it_is_used():
    with LocalEngine(2) as engine:
        assert list(engine.imap(rows_made, [3])) == [("3", False, 6)]
