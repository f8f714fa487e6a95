"""Runs beside the papers' tables, with everything named that sets them apart.

A figure of a run and one of a paper say something about two models only as far as data, weights and protocol are the
same. So each published row is followed by what differs, and a run whose training data hold photographs of the evaluated
set carries a warning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reidtrain.errors import UserError
from reidtrain.overlap import audited, overlaps
from reidtrain.protocols import PROTOCOLS
from reidtrain.published import METRICS, PublishedEntry, PublishedPaper, PublishedTable
from reidtrain.results import ModeResult, Result, read_result
from reidtrain.tables import aligned, markdown

OFFICIAL_SIZES: dict[tuple[str, str], tuple[int, int]] = {
    ("market1501", "R->R"): (3368, 15913),
    ("msmt17", "R->R"): (11659, 82161),
    ("cuhk-pedes", "T->R"): (6156, 3074),
    ("cuhk-pedes", "S->R"): (3074, 3074),
    ("icfg-pedes", "T->R"): (19848, 19848),
    ("icfg-pedes", "S->R"): (19848, 19848),
    ("rstpreid", "T->R"): (2000, 1000),
    ("rstpreid", "S->R"): (1000, 1000),
    ("sysu-mm01", "I->R, all"): (3803, 301),
    ("sysu-mm01", "I->R, indoor"): (3803, 112),
    ("regdb", "R->I"): (2060, 2060),
    ("regdb", "I->R"): (2060, 2060),
    ("pku-sketch", "S->R"): (50, 100),
}
"""(data set, setting) -> queries and gallery of a complete copy."""


@dataclass(frozen=True)
class Beside:
    """One published row beside a run's.

    Args:
        paper: short name.
        table: number of the table.
        method: as printed.
        data: data set of the row.
        setting: of the row.
        values: metric -> percent.
        differences: what sets the run apart, one sentence each.
    """

    paper: str
    table: int
    method: str
    data: str
    setting: str
    values: dict[str, float]
    differences: tuple[str, ...]


@dataclass(frozen=True)
class Line:
    """One setting of a result with the published rows beside it; `values` in percent."""

    setting: str
    values: dict[str, float]
    published: tuple[Beside, ...] = ()


@dataclass(frozen=True)
class RunReport:
    """A result beside the papers."""

    run: str
    heading: str
    lines: tuple[Line, ...]
    warnings: tuple[str, ...]
    metrics: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)

    def text(self, *, as_markdown: bool = False) -> str:
        """A table of all rows, then the differences by number, then the warnings."""
        told: dict[str, int] = {}
        rows = []
        indent = "&nbsp;&nbsp;" if as_markdown else "  "
        for line in self.lines:
            rows.append([line.setting, *_cells(self.metrics, line.values), ""])
            for row in line.published:
                numbers = sorted(told.setdefault(difference, len(told) + 1) for difference in row.differences)
                where = f", {row.setting}" if row.setting != line.setting else ""
                method = "" if row.method == row.paper else f": {row.method}"
                name = f"{indent}{row.paper}, table {row.table}{method} ({row.data}{where})"
                rows.append([name, *_cells(self.metrics, row.values), " ".join(map(str, numbers))])
        head = ["this run, and the papers", *self.metrics, "differs by"]
        render = markdown if as_markdown else aligned
        parts = [f"**{self.run}: {self.heading}**" if as_markdown else f"{self.run}: {self.heading}", ""]
        parts += [render(head, rows), ""]
        parts += [f"{number}. {difference}" for difference, number in told.items()]
        parts += [f"{'**WARNING** ' if as_markdown else 'WARNING: '}{warning}" for warning in self.warnings]
        return "\n".join(parts).rstrip() + "\n"


def _cells(metrics: Sequence[str], values: dict[str, float]) -> list[str]:
    return [f"{values[name]:.1f}" if name in values else "-" for name in metrics]


def results_of(run: str | Path) -> list[tuple[Path, Result]]:
    """Results of a run folder, or one result's file; of the folder, subsets of the modes only if there is nothing else.

    Raises:
        UserError: when there is none.
    """
    path = Path(run)
    files = [path] if path.suffix == ".json" else sorted((path / "results").glob("*.json"))
    files = [file for file in files if "-only-" not in file.name] or files
    if not files:
        raise UserError(f"{path} holds no results: make them with `reidtrain evaluate {path} --manifest M`")
    return [(file, read_result(file)) for file in files]


def beside(
    name: str,
    result: Result,
    papers: Sequence[PublishedPaper],
    *,
    every_method: bool = False,
    audit: Mapping[str, Any] | None = None,
) -> RunReport:
    """Put a result beside the papers' rows of the same setting.

    Args:
        name: of the run, as printed.
        result: of an evaluation.
        papers: from `reidtrain.published.read_published`.
        every_method: also the methods that the papers compare with and the rows of their ablations.
        audit: what `reidsynth audit` found in the manifests, from `reidtrain.overlap.read_audit`.

    Returns:
        The report. Rows of the same data set come first in question; where no paper has any, those of the run's own
        paper stand in, on the data set with which its tables begin.
    """
    offered = [
        (paper, table, entry)
        for paper in papers
        for table in paper.tables
        for entry in table.results()
        if every_method or entry.own
    ]
    known = any(entry.data in result.datasets for _, _, entry in offered)
    lines = []
    for setting, mode in result.modes.items():
        rows = [one for one in offered if known and one[2].data in result.datasets and one[2].setting == setting]
        rows = rows if known else _stand_ins(setting, result, offered)
        chosen = rows if every_method else _fullest(rows)
        lines.append(
            Line(setting, _percent(mode, result), tuple(_beside(*one, setting, mode, result) for one in chosen))
        )
    mean = result.mean()
    if mean is not None:
        rows = [one for one in offered if one[2].setting == "mean of seven" and one[0].model == result.model]
        rows = [one for one in rows if not known or one[2].data in result.datasets]
        some = tuple(_beside(*one, "mean of seven", None, result) for one in (rows if every_method else _fullest(rows)))
        lines.append(Line("mean of seven", {"R1": 100 * mean}, some))
    return RunReport(name, result.heading(), tuple(lines), tuple(_warnings(result, audit)), result.metrics)


_Offered = tuple[PublishedPaper, PublishedTable, PublishedEntry]


def _stand_ins(setting: str, result: Result, offered: Sequence[_Offered]) -> list[_Offered]:
    """Rows of the run's own paper on its first data set with this mode."""
    mode = setting.partition(",")[0]
    own = [one for one in offered if one[0].model == result.model and one[2].setting.partition(",")[0] == mode]
    return [one for one in own if one[2].data == own[0][2].data and one[2].setting == own[0][2].setting]


def _fullest(rows: Sequence[_Offered]) -> list[_Offered]:
    """Of each paper the row with most metrics, the first of equals, for each training set."""
    best: dict[tuple[str, tuple[str, ...]], _Offered] = {}
    for one in rows:
        key = one[0].name, one[0].training_data(one[1], one[2])
        if key not in best or len(one[2].values()) > len(best[key][2].values()):
            best[key] = one
    return list(best.values())


def _percent(mode: ModeResult, result: Result) -> dict[str, float]:
    return {name: 100 * getattr(mode, name) for name in METRICS if name in result.metrics}


def _beside(
    paper: PublishedPaper,
    table: PublishedTable,
    entry: PublishedEntry,
    setting: str,
    mode: ModeResult | None,
    result: Result,
) -> Beside:
    found = [*_data(paper, table, entry, result), *_weights(paper, table, entry, result)]
    found += _protocol(entry, setting, mode, result)
    if table.note:
        found.append(f"{paper.name}, table {table.table}: {table.note}")
    if entry.doubt:
        found.append(f"{paper.name}, table {table.table}, {entry.method}: {entry.doubt}")
    if entry.run_by:
        found.append(f"{paper.name}, table {table.table}: {entry.method} was run by {entry.run_by}")
    return Beside(paper.name, table.table, entry.method, entry.data, entry.setting, entry.values(), tuple(found))


def _data(paper: PublishedPaper, table: PublishedTable, entry: PublishedEntry, result: Result) -> list[str]:
    found = []
    if result.datasets != (entry.data,):
        found.append(f"data: {' and '.join(result.datasets)} here, {entry.data} in {paper.name}")
    if result.split != "test":
        found.append(f"data: split {result.split!r} here, test in {paper.name}")
    used = {modality for modality, letter in _LETTERS.items() if letter in entry.setting.partition("->")[0].split("+")}
    makers = paper.makers(table)
    for modality in sorted(used & result.made_by.keys()):
        theirs = makers.get(modality, "the data set's own")
        ours = result.made_by[modality]
        if not (modality not in makers and ours == "real"):
            found.append(f"data: {modality} made by {ours} here, by {theirs} in {paper.name}")
    return found


def _weights(paper: PublishedPaper, table: PublishedTable, entry: PublishedEntry, result: Result) -> list[str]:
    found = []
    if result.features == "frozen":
        found.append("weights: a frozen encoder without training here")
    elif result.model != paper.model and entry.own:
        found.append(f"weights: model {result.model} here, {paper.name} there")
    if entry.own and result.backbone != paper.backbone:
        found.append(f"weights: backbone {Path(result.backbone).name} here, {paper.backbone} in {paper.name}")
    if entry.own and result.image_size and tuple(result.image_size) != paper.image_size:
        ours, theirs = ("x".join(map(str, size)) for size in (result.image_size, paper.image_size))
        found.append(f"weights: input {ours} here, {theirs} in {paper.name}")
    trained = paper.training_data(table, entry)
    if entry.own and set(result.trained_on) != set(trained):
        here = " and ".join(result.trained_on) or "data that are not on record"
        found.append(f"weights: trained on {here} here, on {' and '.join(trained)} in {paper.name}")
    if entry.own and result.selected_on != paper.selected_on:
        here = f"on {result.selected_on}" if result.selected_on else "by nothing (last step)"
        there = "it is not told how" if paper.selected_on == "not told" else f"on {paper.selected_on}"
        found.append(f"weights: checkpoint chosen {here} here; in {paper.name} {there}")
    return found


def _protocol(entry: PublishedEntry, setting: str, mode: ModeResult | None, result: Result) -> list[str]:
    found = []
    if result.protocol != entry.protocol and not _same_rules(result.protocol, entry.protocol):
        found.append(f"protocol: {result.protocol} here, {entry.protocol} there")
    if setting != entry.setting:
        found.append(f"protocol: setting {setting!r} here, {entry.setting!r} there")
    if result.rerank:
        found.append(f"protocol: {result.rerank} here, no re-ranking there")
    if mode is None:
        return found
    rule = next((one for one in PROTOCOLS[entry.protocol].settings if one.name == entry.setting), None)
    if rule is not None and rule.exclude not in ("as-needed", mode.exclude):
        found.append(f"protocol: {_HIDDEN[mode.exclude]} here, {_HIDDEN[rule.exclude]} there")
    if rule is not None and rule.trials != mode.trials:
        found.append(f"protocol: {mode.trials} trials here, mean of {rule.trials} there")
    complete = OFFICIAL_SIZES.get((entry.data, setting))
    if complete and entry.data in result.datasets and complete != (mode.queries, mode.gallery):
        found.append(
            f"data: {mode.queries} queries and {mode.gallery} gallery images here, {complete[0]} and {complete[1]} in "
            "a complete copy"
        )
    if mode.lacking:
        found.append(f"data: {mode.lacking} query rows lack a modality here and did not ask")
    return found


def _same_rules(ours: str, theirs: str) -> bool:
    """Tri-* rows are rows of the base set's protocol, too."""
    return ours.removeprefix("tri-") == theirs.removeprefix("tri-")


def _warnings(result: Result, audit: Mapping[str, Any] | None) -> list[str]:
    found = [f"overlap: {sentence}" for sentence in overlaps(result.trained_on, result.datasets)]
    if audit is not None:
        shared = audited(audit, result.trained_on, result.datasets, result.split)
        found += [f"overlap by content: {sentence}" for sentence in shared]
    if result.features == "model" and not result.trained_on:
        found.append("the training data are not on record (the run's manifests are gone), so overlap is unknown")
    if result.selected_on == result.split:
        found.append(f"the checkpoint was chosen on {result.split}, the split that is reported")
    return found


_HIDDEN = {
    "none": "nothing is hidden",
    "same-camera": "the query's own camera is hidden",
    "source-image": "the source image is removed",
    "sysu": "camera 2 is hidden from camera 3",
}
_LETTERS = {"text": "T", "sketch": "S", "ir": "I"}
