"""Numbers of a manifest: sizes of its splits, verdicts of its tables, histograms of captures, scores and attributes."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from reidsynth.schema import ATTRIBUTE_FIELDS, VERDICTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reidsynth.manifest import Manifest

MOST_BINS = 16
_MOST_VALUES = 12


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of a quantity.

    Args:
        of: what is counted.
        labels: of the bins: a value, or `from-to` (the last bin holds its upper end).
        counts: of the bins.
        mean: of the values; None for names.
        low: 5th percentile; None for names.
        high: 95th percentile; None for names.
    """

    of: str
    labels: list[str]
    counts: list[int]
    mean: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class SplitStats:
    """Size of one split."""

    rows: int
    people: int
    cameras: int
    roles: dict[str, int]


@dataclass(frozen=True, slots=True)
class TableStats:
    """One table: verdicts over all splits, reasons of what failed, histograms of its scores and attributes."""

    origin: str
    spectrum: str | None
    method: str
    verdicts: dict[str, int]
    reasons: dict[str, int]
    bytes: int
    scores: list[Histogram] = field(default_factory=list)
    attributes: list[Histogram] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Stats:
    """Numbers of a manifest.

    Args:
        name: of the manifest.
        splits: by name.
        tables: by name.
        captures: histograms over all captures.
    """

    name: str
    splits: dict[str, SplitStats]
    tables: dict[str, TableStats]
    captures: list[Histogram]


def stats(manifest: Manifest) -> Stats:
    """Count a manifest; images and captions are not read.

    Raises:
        UserError: when a shard is damaged.
    """
    splits: dict[str, SplitStats] = {}
    people: Counter[tuple[str, int]] = Counter()
    values: dict[str, list[Any]] = {"camera": [], "width": [], "height": [], "modality": []}
    for name in manifest.splits:
        captures = manifest.captures(name)
        columns = {c: captures.column(c).to_pylist() for c in ("dataset", "pid", "camid", "role")}
        rows = zip(columns["dataset"], columns["pid"], columns["role"], strict=True)
        people.update((dataset, pid) for dataset, pid, role in rows if role != "distractor")
        info = manifest.info.splits[name]
        cameras = {camera for camera in columns["camid"] if camera is not None}
        splits[name] = SplitStats(info.rows, info.identities, len(cameras), dict(info.roles))
        values["camera"] += [camera for camera in columns["camid"] if camera is not None]
        for of in ("width", "height", "modality"):
            values[of] += [value for value in captures.column(of).to_pylist() if value is not None]
    made = [
        histogram("captures of a person", list(people.values())),
        _names("captures of a camera", [str(camera) for camera in values["camera"]], by_number=True),
        histogram("width in pixels", values["width"]),
        histogram("height in pixels", values["height"]),
    ]
    if len(set(values["modality"])) > 1:
        made.append(_names("what the camera saw", values["modality"]))
    tables = {name: _table(manifest, name) for name in sorted(manifest.tables, key=lambda n: place(manifest, n))}
    return Stats(manifest.info.name, splits, tables, [one for one in made if one.counts])


def place(manifest: Manifest, table: str) -> tuple[int, bool, str]:
    """Where a table stands among others: photographs, masks, sketches, infrared, captions; real ones first."""
    order = ("rgb", "mask", "sketch", "ir", "text")
    info = manifest.tables[table]
    return order.index(info.modality), info.origin != "real", table


def _table(manifest: Manifest, name: str) -> TableStats:
    table = manifest.tables[name]
    verdicts = dict.fromkeys(VERDICTS, 0)
    for counted in table.counts.values():
        for verdict, rows in counted.items():
            verdicts[verdict] += rows
    scores: dict[str, list[float]] = {}
    attributes: dict[str, Counter[str]] = {}
    columns = ["scores", *(["attributes"] if table.spec.kind == "text" else [])]
    for split in manifest.splits:
        read = manifest.table(name, split).columns(columns)
        for row in read.column("scores").to_pylist():
            for of, score in (row or {}).items():
                if score is not None:
                    scores.setdefault(of, []).append(score)
        for row in read.column("attributes").to_pylist() if len(columns) > 1 else ():
            for of, value in (row or {}).items():
                if value is not None:
                    attributes.setdefault(of, Counter())[value] += 1
    step = table.step
    return TableStats(
        origin=table.origin,
        spectrum=table.spectrum,
        method="" if step is None else f"{step.name} {step.method}",
        verdicts=verdicts,
        reasons=dict(sorted(table.reasons.items(), key=lambda item: -item[1])),
        bytes=sum(shard.bytes for shard in table.shards),
        scores=[histogram(of, found) for of, found in scores.items()],
        attributes=[_counted(of, attributes[of]) for of in ATTRIBUTE_FIELDS if of in attributes],
    )


def histogram(of: str, values: Sequence[float]) -> Histogram:
    """Count numbers: each whole number apart where there are few, else in bins of equal width.

    Example:
        >>> histogram("captures of a person", [4, 4, 2]).labels
        ['2', '3', '4']
    """
    if not values:
        return Histogram(of, [], [])
    found = np.asarray(values, np.float64)
    low, high = float(found.min()), float(found.max())
    told = {"mean": float(found.mean())} | dict(
        zip(("low", "high"), np.percentile(found, (5, 95)).tolist(), strict=True)
    )
    whole = bool((found == np.round(found)).all())
    if whole and high - low < MOST_BINS:
        counts = np.bincount((found - low).astype(int), minlength=int(high - low) + 1)
        return Histogram(of, [str(int(low) + n) for n in range(len(counts))], counts.tolist(), **told)
    width = math.ceil((high - low + 1) / MOST_BINS) if whole else (high - low) / MOST_BINS or 1.0
    edges = low + width * np.arange(MOST_BINS + 1)
    counts = np.histogram(np.minimum(found, edges[-1]), edges)[0]
    if whole:
        labels = [f"{int(edge)}-{int(edge) + width - 1}" for edge in edges[:-1]]
    else:
        labels = [f"{edge:.3g}-{edge + width:.3g}" for edge in edges[:-1]]
    while counts[-1] == 0:  # bins of whole width may reach beyond the largest value
        counts, labels = counts[:-1], labels[:-1]
    return Histogram(of, labels, counts.tolist(), **told)


def _names(of: str, values: Sequence[str], *, by_number: bool = False) -> Histogram:
    counted = Counter(values)
    if by_number and len(counted) <= 2 * MOST_BINS:
        ordered = sorted(counted, key=int)
        return Histogram(of, ordered, [counted[name] for name in ordered])
    return _counted(of, counted)


def _counted(of: str, counted: Counter[str]) -> Histogram:
    """The most frequent names, and how many rows have another."""
    top = counted.most_common(_MOST_VALUES)
    rest = counted.total() - sum(count for _, count in top)
    more = [(f"{len(counted) - len(top)} others", rest)] if rest else []
    return Histogram(of, [name for name, _ in [*top, *more]], [count for _, count in [*top, *more]])
