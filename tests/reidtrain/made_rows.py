"""Rows of a data set that exist only as arrays."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

FOUR = ("rgb", "ir", "sketch", "text")


@dataclass
class FakeRows:
    """Six rows: two people, three views each; every modality unless a test says otherwise."""

    roles: np.ndarray = field(default_factory=lambda: np.array(["query", "gallery", "gallery"] * 2, dtype="<U13"))
    labels: np.ndarray = field(default_factory=lambda: np.repeat([0, 1], 3))
    camids: np.ndarray = field(default_factory=lambda: np.array([1, 2, 3, 1, 2, 3]))
    image_ids: np.ndarray = field(default_factory=lambda: np.arange(6))
    datasets: np.ndarray = field(default_factory=lambda: np.array(["demo"] * 6))
    present: dict = field(default_factory=lambda: {m: np.ones(6, bool) for m in FOUR})
    origin: dict = field(default_factory=lambda: {m: np.array(["real"] * 6, dtype="<U9") for m in FOUR})
    caption_counts: np.ndarray = field(default_factory=lambda: np.array([2, 1, 1, 1, 1, 1]))
    sample_ids: np.ndarray = field(default_factory=lambda: np.array([f"demo/{n}" for n in range(6)]))
    pids: np.ndarray = field(default_factory=lambda: np.repeat([0, 1], 3))
    captured: np.ndarray = field(default_factory=lambda: np.array(["rgb"] * 6))
    source_paths: np.ndarray = field(default_factory=lambda: np.array([f"{n}.png" for n in range(6)]))
    lists: dict = field(default_factory=dict)

    def captions(self, row):
        return [f"caption {number} of row {row}" for number in range(self.caption_counts[row])]


def rows_of(files, *, role, also=None, lists=None):
    """Rows from (path, pid, camid, captured); `role` gives a row's role, `also` modalities beside the captured one."""
    files = sorted(files)
    paths, pids, cameras, captured = (np.array(column) for column in zip(*files, strict=True))
    also = also or (lambda path, what: ())
    has = {m: np.array([m == what or m in also(path, what) for path, _, _, what in files]) for m in FOUR}
    return FakeRows(
        roles=np.array([role(path, what) for path, _, _, what in files]),
        labels=np.unique(pids, return_inverse=True)[1],
        camids=cameras,
        image_ids=np.arange(len(files)),
        datasets=np.array(["any"] * len(files)),
        present=has,
        origin={m: np.where(has[m], "real", "").astype("<U9") for m in FOUR},
        caption_counts=2 * has["text"].astype(int),
        sample_ids=np.array([path.rsplit(".", 1)[0] for path in paths]),
        pids=pids,
        captured=captured,
        source_paths=paths,
        lists=lists or {},
    )
