"""Results of evaluations, and their tables: one run, or several beside chance and the frozen encoder.

Fractions in the objects and in JSON, percent in the tables.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reidtrain.batch import SEVEN_MODES
from reidtrain.errors import UserError
from reidtrain.tables import aligned, percent
from reidtrain.tables import markdown as as_markdown

if TYPE_CHECKING:
    from reidtrain.metrics import Ranking

FORMAT = 1
METRICS = ("R1", "R5", "R10", "mAP", "mINP")
QUERY_COLUMNS = (
    "setting",
    "trial",
    "query",
    "caption",
    "pid",
    "camid",
    "first_hit",
    "ap",
    "inp",
    "relevant",
    "candidates",
)


@dataclass(frozen=True, eq=False)
class QueryRows:
    """The queries of one trial, one by one; not part of a result's JSON.

    Args:
        trial: number of the draw, from 0.
        sample_ids: (Q,) capture that asked.
        captions: (Q,) number of its caption, -1 without text.
        pids: (Q,).
        camids: (Q,) -1 where there is none.
        ranking: how each did.
    """

    trial: int
    sample_ids: np.ndarray
    captions: np.ndarray
    pids: np.ndarray
    camids: np.ndarray
    ranking: Ranking


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
        spread: sample standard deviation of R1, mAP and mINP over the trials; empty for one trial.
        per_query: the queries of each trial; empty in a result that was read from its file.
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
    spread: Mapping[str, float] = field(default_factory=dict)
    per_query: tuple[QueryRows, ...] = field(default=(), repr=False, compare=False)

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

    @property
    def R20(self) -> float:  # noqa: N802 - the metric's own name
        """Share of queries with a match among the first twenty."""
        return self.rank(20)


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
        ranks: of the CMC that the protocol prints.
        rerank: how the order was re-ranked, None where it was not.
        image_size: (height, width) of the encoder's input, None where it is not on record.
        trained_on: data sets of the training split, empty where they are not on record.
        made_by: modality -> what made its tables: `real`, or step and method.
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
    ranks: tuple[int, ...] = (1, 5, 10)
    rerank: str | None = None
    image_size: tuple[int, ...] | None = None
    trained_on: tuple[str, ...] = ()
    made_by: Mapping[str, str] = field(default_factory=dict)

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
        order = f", {self.rerank}" if self.rerank else ""
        where = f"{' + '.join(self.datasets)} {self.split}, protocol {self.protocol}{order}"
        return f"{self.label} on {where}{chosen}{warning}"

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the columns that the protocol prints."""
        return (*(f"R{rank}" for rank in self.ranks), "mAP", "mINP")

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        head = ["mode", *self.metrics, "chance R1", "queries", "skipped", "gallery", "excluded"]
        rows = [
            [
                name,
                *(percent(getattr(mode, metric)) for metric in self.metrics),
                percent(mode.chance),
                str(mode.queries),
                str(mode.skipped),
                str(mode.gallery),
                mode.exclude,
            ]
            for name, mode in self.modes.items()
        ]
        if self.mean() is not None:
            means = [percent(self.mean(metric)) for metric in (*self.metrics, "chance")]
            rows.append(["mean of seven", *means, *[""] * 4])
        return head, rows

    def table(self) -> str:
        """Plain-text table, percent."""
        return "\n".join([self.heading(), "", aligned(*self._cells()), *self._notes()])

    def markdown(self) -> str:
        """Markdown table, percent; the same for the same run and data."""
        return "\n".join([f"**{self.heading()}**", "", as_markdown(*self._cells()), "", *self._notes()]).rstrip() + "\n"

    def _notes(self) -> list[str]:
        lacking = {name: mode.lacking for name, mode in self.modes.items() if mode.lacking}
        notes = [f"{name}: {count} query rows lack a modality and did not ask." for name, count in lacking.items()]
        notes += [
            f"{name}: mean of {mode.trials} trials; standard deviation {spread}."
            for name, mode in self.modes.items()
            if (spread := ", ".join(f"{metric} {percent(value)}" for metric, value in mode.spread.items()))
        ]
        return notes + [f"{name}: not evaluated, {why}." for name, why in self.left_out.items()]

    def as_dict(self) -> dict[str, Any]:
        """JSON values, fractions; R1, R5 and R10 are repeated from the CMC for reading."""
        light = {name: replace(mode, per_query=()) for name, mode in self.modes.items()}
        values = asdict(replace(self, modes=light))
        for name, mode in light.items():
            ranks = {f"R{rank}": mode.rank(rank) for rank in sorted({1, 5, 10, *self.ranks})}
            values["modes"][name] = {**ranks, **values["modes"][name], "cmc": list(mode.cmc)}
            del values["modes"][name]["per_query"]
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
        kept = {**_only(cls, values), "modes": modes}
        for name in ("datasets", "ranks", "image_size", "trained_on"):
            if isinstance(kept.get(name), list):
                kept[name] = tuple(kept[name])
        return cls(**kept)

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

    def save_queries(self, folder: Path, *, name: str | None = None) -> Path:
        """Write one CSV line for each query of each setting and trial.

        Args:
            folder: RUN/results; made if need be.
            name: of the file, without extension; as `save`, with `-queries`.

        Returns:
            The file.
        """
        folder.mkdir(parents=True, exist_ok=True)
        stem = name or (self.split if self.features == "model" else f"{self.split}-frozen")
        path = folder / f"{stem}-queries.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(QUERY_COLUMNS)
            for setting, mode in self.modes.items():
                for rows in mode.per_query:
                    writer.writerows(_query_lines(setting, rows))
        return path


def _query_lines(setting: str, rows: QueryRows) -> list[list[Any]]:
    """Lines of QUERY_COLUMNS; what is not there or not defined is left empty."""
    found = rows.ranking
    lines = []
    for number, sample_id in enumerate(rows.sample_ids):
        caption, camera = int(rows.captions[number]), int(rows.camids[number])
        skipped = int(found.relevant[number]) == 0
        values = [int(found.first_hit[number]), float(found.ap[number]), float(found.inp[number])]
        lines.append(
            [
                setting,
                rows.trial,
                str(sample_id),
                "" if caption < 0 else caption,
                int(rows.pids[number]),
                "" if camera < 0 else camera,
                *([""] * 3 if skipped else values),
                int(found.relevant[number]),
                int(found.candidates[number]),
            ]
        )
    return lines


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
    render = as_markdown if markdown else aligned
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
    return [percent(value) for value in [*values, *([result.mean(metric)] if seven else [])]]
