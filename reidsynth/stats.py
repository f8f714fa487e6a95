"""Numbers of a manifest: sizes of its splits, verdicts of its tables, histograms of captures, scores and attributes."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc

from reidsynth.schema import ATTRIBUTE_FIELDS, VERDICTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

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
    cameras, modalities = Counter[str](), Counter[str]()
    sizes: dict[str, list[np.ndarray]] = {"width": [], "height": []}
    for name in manifest.splits:
        captures = manifest.captures(name)
        known = captures.filter(pc.not_equal(captures["role"], "distractor")).group_by(["dataset", "pid"])
        for row in known.aggregate([([], "count_all")]).to_pylist():
            people[row["dataset"], row["pid"]] += row["count_all"]
        seen = _tally(captures["camid"])
        cameras.update({str(camera): count for camera, count in seen.items()})
        modalities.update(_tally(captures["modality"]))
        for of, values in sizes.items():
            values.append(captures[of].drop_null().to_numpy())
        info = manifest.info.splits[name]
        splits[name] = SplitStats(info.rows, info.identities, len(seen), dict(info.roles))
    made = [
        histogram("captures of a person", list(people.values())),
        _names("captures of a camera", cameras),
        histogram("width in pixels", np.concatenate(sizes["width"])),
        histogram("height in pixels", np.concatenate(sizes["height"])),
    ]
    if len(modalities) > 1:
        made.append(_counted("what the camera saw", modalities))
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
    scores: dict[str, list[np.ndarray]] = {}
    attributes: dict[str, Counter[str]] = {}
    columns = ["scores", *(["attributes"] if table.spec.kind == "text" else [])]
    for split in manifest.splits:
        read = manifest.table(name, split).columns(columns)
        for of, column in _fields(read["scores"]):
            scores.setdefault(of, []).append(column.drop_null().to_numpy())
        for of, column in _fields(read["attributes"]) if len(columns) > 1 else ():
            attributes.setdefault(of, Counter()).update(_tally(column))
    step = table.step
    return TableStats(
        origin=table.origin,
        spectrum=table.spectrum,
        method="" if step is None else f"{step.name} {step.method}",
        verdicts=verdicts,
        reasons=dict(sorted(table.reasons.items(), key=lambda item: -item[1])),
        bytes=sum(shard.bytes for shard in table.shards),
        scores=[one for of, found in scores.items() if (one := histogram(of, np.concatenate(found))).counts],
        attributes=[_counted(of, attributes[of]) for of in ATTRIBUTE_FIELDS if attributes.get(of)],
    )


def _fields(column: pa.ChunkedArray) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """Fields of a column of structs; where the struct is null, so are they."""
    names = [column.type.field(number).name for number in range(column.type.num_fields)]
    yield from zip(names, column.flatten(), strict=True)


def _tally(column: pa.ChunkedArray) -> dict[Any, int]:
    """Value -> rows; nulls apart."""
    counted = column.drop_null().value_counts()
    return {row["values"]: row["counts"] for row in counted.to_pylist()}


def histogram(of: str, values: Sequence[float] | np.ndarray) -> Histogram:
    """Count numbers: each whole number apart where there are few, else in bins of equal width.

    Example:
        >>> histogram("captures of a person", [4, 4, 2]).labels
        ['2', '3', '4']
    """
    if not len(values):
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


def _names(of: str, counted: Counter[str]) -> Histogram:
    """Names that are numbers, in their order where they are few."""
    if len(counted) > 2 * MOST_BINS:
        return _counted(of, counted)
    ordered = sorted(counted, key=int)
    return Histogram(of, ordered, [counted[name] for name in ordered])


def _counted(of: str, counted: Counter[str]) -> Histogram:
    """The most frequent names, and how many rows have another."""
    top = counted.most_common(_MOST_VALUES)
    rest = counted.total() - sum(count for _, count in top)
    more = [(f"{len(counted) - len(top)} others", rest)] if rest else []
    return Histogram(of, [name for name, _ in [*top, *more]], [count for _, count in [*top, *more]])
