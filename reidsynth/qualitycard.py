"""The card's section about what was measured: numbers beside what they are worth, marked where tables changed since."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from reidsynth.measurements import KINDS, Kind, Measurement, Numbers, stale

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reidsynth.manifest import ManifestInfo

TITLES: dict[Kind, str] = {
    "paired": "Against the real modality of the same captures",
    "distance": "Distance to real images as a whole",
    "acceptance": "Acceptance: searching photographs with a frozen encoder",
}
METRICS: dict[Kind, dict[str, str]] = {
    "paired": {"psnr": "PSNR (dB)", "ssim": "SSIM", "iou": "IoU"},
    "distance": {"frechet": "Frechet", "kernel": "kernel"},
    "acceptance": {"R1": "R1 (%)", "mAP": "mAP (%)"},
}
_DIGITS = {"psnr": 2, "ssim": 3, "iou": 3, "frechet": 3, "kernel": 4, "R1": 1, "mAP": 1}
_ABOUT: dict[Kind, str] = {
    "paired": "Mean and standard deviation over images that passed their gates, on grey values.",
    "distance": "Kernel distance with its standard deviation over subsets; lower is nearer.",
    "acceptance": "With the standard error over people; the photograph that a row came from is not searched.",
}


@dataclass(frozen=True, slots=True)
class Shown:
    """One measurement, as cards and reports show it.

    Args:
        kind: heads a section.
        table: that was judged.
        circumstances: against what, on what, by what.
        head: names of the columns.
        rows: cells; the table itself comes first.
        notes: warnings, and whether the numbers are stale.
    """

    kind: Kind
    table: str
    circumstances: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]
    notes: list[str]

    @property
    def title(self) -> str:
        """Of the section."""
        return TITLES[self.kind]

    @property
    def about(self) -> str:
        """What the numbers of the section are."""
        return _ABOUT[self.kind]


def shown(info: ManifestInfo) -> list[Shown]:
    """What was measured of the tables that a manifest holds, by kind."""
    found = []
    for one in (one for kind in KINDS for one in info.quality if one.kind == kind and one.table in info.tables):
        names = [name for name in METRICS[one.kind] if name in one.found.values]
        head = ("", "n", *(METRICS[one.kind][name] for name in names))
        notes = [*one.warnings, *_told_stale(info, one)]
        found.append(Shown(one.kind, one.table, _circumstances(one), head, table_rows(one, names), notes))
    return found


def quality_section(info: ManifestInfo) -> str:
    """The section of a manifest's card; "" where nothing was measured of the tables that it holds."""
    found = shown(info)
    lines = ["## Quality", "", "Measured by `reidsynth quality`."] if found else []
    for kind, some in groupby(found, key=lambda one: one.kind):
        lines += ["", f"### {TITLES[kind]}", "", _ABOUT[kind]]
        for one in some:
            lines += ["", f"`{one.table}` {one.circumstances}:", ""]
            lines += [line(one.head), line(["---"] * len(one.head)), *map(line, one.rows)]
            lines += ["", *(f"- {note}" for note in one.notes)] if one.notes else []
    return "\n".join(lines)


def _circumstances(one: Measurement) -> str:
    against = {"paired": f"against {one.against}", "distance": f"to {one.against}", "acceptance": "asks"}[one.kind]
    network = f", network {one.network}" if one.network else ""
    about = f" ({one.found.about})" if one.found.about else ""
    return f"{against}, split {one.split}, seed {one.seed}{network}{about}"


def table_rows(one: Measurement, names: Sequence[str]) -> list[tuple[str, ...]]:
    """Cells of one measurement: the table first, then what stands beside it.

    Args:
        one: the measurement.
        names: of the metrics, in order.
    """
    return [(part.name, str(part.n), *(cell(part, name) for name in names)) for part in (one.found, *one.beside)]


def cell(numbers: Numbers, metric: str) -> str:
    """One value with its spread.

    Example:
        >>> cell(Numbers(name="ir-ca", n=9, values={"R1": 0.412}, spread={"R1": 0.03}), "R1")
        '41.2 ± 3.0'
    """
    if metric not in numbers.values:
        return "-"
    factor, digits = (100.0 if metric in METRICS["acceptance"] else 1.0), _DIGITS[metric]
    value = f"{factor * numbers.values[metric]:.{digits}f}"
    spread = numbers.spread.get(metric)
    return value if spread is None else f"{value} ± {factor * spread:.{digits}f}"


def _told_stale(info: ManifestInfo, one: Measurement) -> list[str]:
    changed = stale(info, one)
    if not changed:
        return []
    return [f"stale: {', '.join(changed)} changed since; measure it again with `reidsynth quality`"]


def line(cells: Sequence[str]) -> str:
    r"""One row of a Markdown table, whatever characters stand in its cells.

    Example:
        >>> print(line(["rgb", "MIT | Apache-2.0\nor both"]))
        | rgb | MIT \| Apache-2.0 or both |
    """
    return f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in cells)} |"
