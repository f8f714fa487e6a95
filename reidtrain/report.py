"""Results of evaluations, and their tables: one run, or several beside chance and the frozen encoder.

Fractions in the objects and in JSON, percent in the tables.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from reidtrain.batch import SEVEN_MODES
from reidtrain.errors import UserError

FORMAT = 1
METRICS = ("R1", "R5", "R10", "mAP", "mINP")


@dataclass(frozen=True)
class ModeResult:
    """One row of a result: how one query mode did. All values are fractions.

    Args:
        cmc: share of valid queries with a hit at rank k or better, k from 1.
        mAP: mean average precision.
        mINP: mean inverse negative penalty.
        chance: rank 1 that a random order is expected to reach.
        queries: how many were asked.
        valid: of these, how many had a match left in the gallery; the means are over them.
        skipped: the others.
        lacking: rows in the role of a query that lack a modality of the query, and did not ask.
        gallery: number of gallery items.
        exclude: what a query did not see.
        unique_identities: whether CMC counts distinct identities.
        trials: draws of the gallery that were averaged.
        seconds: spent on ranking.
    """

    cmc: tuple[float, ...]
    mAP: float  # noqa: N815 - the metric's own name
    mINP: float  # noqa: N815 - the metric's own name
    chance: float
    queries: int
    valid: int
    skipped: int
    lacking: int
    gallery: int
    exclude: str
    unique_identities: bool
    trials: int
    seconds: float

    def __post_init__(self) -> None:
        if self.valid + self.skipped != self.queries or not self.valid:
            raise ValueError(f"{self.valid} valid and {self.skipped} skipped are not {self.queries} queries")
        shares = (*self.cmc, self.mAP, self.mINP, self.chance)
        if not self.cmc or not all(0 <= share <= 1 for share in shares):
            raise ValueError("cmc, mAP, mINP and chance must be fractions")

    def rank(self, k: int) -> float:
        """CMC at rank k; beyond the stored ranks the last value."""
        return self.cmc[min(k, len(self.cmc)) - 1]

    @property
    def R1(self) -> float:  # noqa: N802 - the metric's own name
        """Share of queries whose first item is a match."""
        return self.rank(1)

    @property
    def R5(self) -> float:  # noqa: N802 - the metric's own name
        """Share of queries with a match among the first five."""
        return self.rank(5)

    @property
    def R10(self) -> float:  # noqa: N802 - the metric's own name
        """Share of queries with a match among the first ten."""
        return self.rank(10)


@dataclass(frozen=True)
class Result:
    """An evaluation, with all that is needed to tell it from another one.

    Args:
        features: `model`, or `frozen` for its encoder before training.
        model: registered name.
        backbone: name of the encoder.
        preset: of the run.
        step: of the checkpoint, 0 for the frozen encoder.
        protocol: name of the protocol.
        datasets: data sets that the manifest holds.
        split: that was evaluated.
        selected_on: split by which the checkpoint was chosen, None where nothing was chosen.
        data: checksum of the rows and tables read.
        tables: modality -> table -> rows.
        modes: setting -> how it did, in the order of the protocol.
        left_out: setting -> why it could not be evaluated.
        seconds: of the whole evaluation.
    """

    features: str
    model: str
    backbone: str
    preset: str
    step: int
    protocol: str
    datasets: tuple[str, ...]
    split: str
    selected_on: str | None
    data: str
    tables: Mapping[str, Mapping[str, int]]
    modes: Mapping[str, ModeResult]
    left_out: Mapping[str, str]
    seconds: float

    def __post_init__(self) -> None:
        if self.features not in ("model", "frozen"):
            raise ValueError(f"features is {self.features!r}; it must be model or frozen")
        if not self.modes:
            raise ValueError("a result needs a mode")

    @property
    def label(self) -> str:
        """Name of the result's row in a comparison."""
        return (
            f"{self.model}, step {self.step}"
            if self.features == "model"
            else f"frozen encoder ({Path(self.backbone).name})"
        )

    def mean(self, metric: str = "R1") -> float | None:
        """Mean of a metric, or of `chance`, over the seven query modes; None where one of them was not evaluated."""
        found = [self.modes[mode.name] for mode in SEVEN_MODES if mode.name in self.modes]
        return sum(getattr(mode, metric) for mode in found) / len(found) if len(found) == len(SEVEN_MODES) else None

    def heading(self) -> str:
        """What was evaluated, in one line."""
        chosen = f", checkpoint chosen on {self.selected_on}" if self.selected_on else ""
        warning = " (the evaluated split itself)" if self.selected_on == self.split else ""
        return f"{self.label} on {' + '.join(self.datasets)} {self.split}, protocol {self.protocol}{chosen}{warning}"

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        head = ["mode", *METRICS, "chance R1", "queries", "skipped", "gallery", "excluded"]
        rows = [
            [
                name,
                *(_percent(getattr(mode, metric)) for metric in METRICS),
                _percent(mode.chance),
                str(mode.queries),
                str(mode.skipped),
                str(mode.gallery),
                mode.exclude,
            ]
            for name, mode in self.modes.items()
        ]
        if self.mean() is not None:
            means = [_percent(self.mean(metric)) for metric in (*METRICS, "chance")]
            rows.append(["mean of seven", *means, *[""] * 4])
        return head, rows

    def table(self) -> str:
        """Plain-text table, percent."""
        return "\n".join([self.heading(), "", _aligned(*self._cells()), *self._notes()])

    def markdown(self) -> str:
        """Markdown table, percent; the same for the same run and data."""
        return "\n".join([f"**{self.heading()}**", "", _markdown(*self._cells()), "", *self._notes()]).rstrip() + "\n"

    def _notes(self) -> list[str]:
        lacking = {name: mode.lacking for name, mode in self.modes.items() if mode.lacking}
        notes = [f"{name}: {count} query rows lack a modality and did not ask." for name, count in lacking.items()]
        return notes + [f"{name}: not evaluated, {why}." for name, why in self.left_out.items()]

    def as_dict(self) -> dict[str, Any]:
        """JSON values, fractions; R1, R5 and R10 are repeated from the CMC for reading."""
        values = asdict(self)
        for name, mode in self.modes.items():
            ranks = {rank: getattr(mode, rank) for rank in ("R1", "R5", "R10")}
            values["modes"][name] = {**ranks, **values["modes"][name], "cmc": list(mode.cmc)}
        values["datasets"] = list(self.datasets)
        means = {metric: self.mean(metric) for metric in (*METRICS, "chance")}
        return {"format": FORMAT, **values, "mean": means}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Result:
        """Read what `as_dict` gave.

        Raises:
            UserError: for another format.
        """
        if values.get("format") != FORMAT:
            raise UserError(f"a result of format {values.get('format')!r} can't be read: this release reads {FORMAT}")
        modes = {name: ModeResult(**_only(ModeResult, mode)) for name, mode in values["modes"].items()}
        return cls(**{**_only(cls, values), "modes": modes, "datasets": tuple(values["datasets"])})

    def save(self, folder: Path, *, name: str | None = None) -> tuple[Path, Path]:
        """Write the result as JSON and as a Markdown table.

        Args:
            folder: RUN/results; made if need be.
            name: of the files, without extension; the split by default, with `-frozen` for the frozen encoder.

        Returns:
            The two paths.
        """
        folder.mkdir(parents=True, exist_ok=True)
        name = name or (self.split if self.features == "model" else f"{self.split}-frozen")
        paths = folder / f"{name}.json", folder / f"{name}.md"
        paths[0].write_text(json.dumps(self.as_dict(), indent=1) + "\n", encoding="utf-8")
        paths[1].write_text(self.markdown(), encoding="utf-8")
        return paths


def _only(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    kept = {field.name: values[field.name] for field in fields(kind) if field.name in values}
    return {**kept, "cmc": tuple(kept["cmc"])} if "cmc" in kept else kept


def read_result(path: Path) -> Result:
    """Read a result from its JSON file.

    Raises:
        UserError: when the file is missing or no result.
    """
    try:
        return Result.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no result ({error}): make one with `reidtrain evaluate`") from error


def comparison(results: Sequence[Result], *, metrics: Sequence[str] = ("R1", "mAP"), markdown: bool = True) -> str:
    """Put results side by side, modes as columns, chance in the first row.

    Args:
        results: of the same split and protocol; the first one gives the columns and the chance level.
        metrics: one table each; chance is known for R1 only.
        markdown: Markdown or plain text.

    Returns:
        The tables, percent.

    Raises:
        ValueError: without results.
        UserError: when the results are of different data, splits or protocols.
    """
    if not results:
        raise ValueError("a comparison needs a result")
    first = results[0]
    for other in results[1:]:
        for name in ("data", "split", "protocol"):
            if getattr(other, name) != getattr(first, name):
                raise UserError(
                    f"{other.label} and {first.label} can't stand in one table: their {name} differs "
                    f"({getattr(other, name)} and {getattr(first, name)}); evaluate both on the same manifest"
                )
    render = _markdown if markdown else _aligned
    names = list(first.modes)
    seven = first.mean() is not None
    tables = []
    for metric in metrics:
        head = [f"{metric} (%)", *(name.removesuffix("->R") for name in names), *(["mean of seven"] if seven else [])]
        rows = [["chance", *_row(first, names, "chance", seven)]] if metric == "R1" else []
        rows += [[result.label, *_row(result, names, metric, seven)] for result in results]
        tables.append(render(head, rows))
    return "\n\n".join(tables) + "\n"


def _row(result: Result, names: Sequence[str], metric: str, seven: bool) -> list[str]:
    values = [getattr(result.modes[name], metric) if name in result.modes else None for name in names]
    return [_percent(value) for value in [*values, *([result.mean(metric)] if seven else [])]]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]

    def line(row: Sequence[str]) -> str:
        cells = [
            cell.ljust(width) if n == 0 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    return "\n".join([line(head), "  ".join("-" * width for width in widths), *(line(row) for row in rows)])


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))
