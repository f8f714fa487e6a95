"""The card's section about what was measured: numbers beside what they are worth, marked where tables changed since."""

from __future__ import annotations

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
_SPREAD: dict[Kind, str] = {
    "paired": "mean and standard deviation over images that passed their gates, on grey values",
    "distance": "kernel distance with its standard deviation over subsets; lower is nearer",
    "acceptance": "with the standard error over people; the photograph that a row came from is not searched",
}


def quality_section(info: ManifestInfo) -> str:
    """The section of a manifest's card; "" where nothing was measured of the tables that it holds."""
    held = [one for one in info.quality if one.table in info.tables]
    lines = ["## Quality", "", "Measured by `reidsynth quality`."] if held else []
    for kind in KINDS:
        some = [one for one in held if one.kind == kind]
        if not some:
            continue
        lines += ["", f"### {TITLES[kind]}", "", f"{_SPREAD[kind][:1].upper()}{_SPREAD[kind][1:]}."]
        for one in some:
            names = [name for name in METRICS[kind] if name in one.found.values]
            head = ("", "n", *(METRICS[kind][name] for name in names))
            lines += ["", f"`{one.table}` {_circumstances(one)}:", ""]
            lines += [_line(head), _line(["---"] * len(head))]
            lines += [_line(cells) for cells in table_rows(one, names)]
            notes = [*one.warnings, *_told_stale(info, one)]
            lines += ["", *(f"- {note}" for note in notes)] if notes else []
    return "\n".join(lines)


def _circumstances(one: Measurement) -> str:
    against = {"paired": f"against `{one.against}`", "distance": f"to `{one.against}`", "acceptance": "asks"}[one.kind]
    network = f", network `{one.network}`" if one.network else ""
    about = f" ({one.found.about})" if one.found.about else ""
    return f"{against}, split `{one.split}`, seed {one.seed}{network}{about}"


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
    names = ", ".join(f"`{name}`" for name in changed)
    return [f"**stale**: {names} changed since; measure it again with `reidsynth quality`"]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
