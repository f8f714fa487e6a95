"""Ablations: rows (presets) x seeds, each a run folder of its own; mean and spread over the seeds.

```
OUT/<preset>/seed-<n>/          a run, as `reidtrain fit` makes it, with its results
OUT/ablation.json  ablation.md  the table
```

A run that is finished is not trained again, one that was interrupted goes on, and a result is only made anew where its
checkpoint is another one. So the same command after a kill, or with more rows or seeds, does only what is missing.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reidtrain.checkpoint import find_checkpoint, read_meta
from reidtrain.config import RunConfig, load_config
from reidtrain.errors import UserError
from reidtrain.preset_files import row_names
from reidtrain.results import Result, read_result
from reidtrain.tables import aligned, markdown

FROZEN = "frozen encoder"


@dataclass(frozen=True)
class Plan:
    """What an ablation runs.

    Args:
        presets: its rows (names or files, `PRESET:ROW` too), in the order of the table; all are compared with the
            first.
        manifests: of every run; `{seed}` in a path stands for the seed, so that each may have data of its own.
        seeds: of weights, batches and augmentation.
        settings: overrides of every row, `a.b=value`.
        modes: query modes or settings to evaluate, None for all.
        split: to evaluate.
        protocol: None for the data set's own.
        frozen: also evaluate the first row's encoder without training, as a row of its own.
    """

    presets: tuple[str, ...]
    manifests: tuple[str, ...]
    seeds: tuple[int, ...]
    settings: tuple[str, ...] = ()
    modes: tuple[str, ...] | None = None
    split: str = "test"
    protocol: str | None = None
    frozen: bool = False

    def configs(self) -> dict[tuple[str, int], RunConfig]:
        """The configuration of each (row, seed).

        Raises:
            UserError: for repeated rows or seeds, and one message with the mistakes of all rows.
        """
        names = [Path(preset).stem for preset in self.presets]
        for what, values in (("preset", names), ("seed", self.seeds)):
            twice = sorted({str(value) for value in values if list(values).count(value) > 1})
            if twice or not values:
                raise UserError(f"an ablation needs each {what} once, received {what}s {list(values)}: name each once")
        found: dict[tuple[str, int], RunConfig] = {}
        mistakes = []
        for preset, name in zip(self.presets, names, strict=True):
            try:
                for seed in self.seeds:
                    settings = [*self.settings, f"train.seed={seed}"]
                    found[name, seed] = load_config(preset, settings, manifests=self.data(seed))
            except UserError as error:
                mistakes.append(str(error))
        if mistakes:
            raise UserError("\n".join(mistakes))
        return found

    def data(self, seed: int) -> list[str]:
        """Manifests of a seed."""
        return [str(Path(path.replace("{seed}", str(seed))).absolute()) for path in self.manifests]


def expand(presets: Sequence[str]) -> tuple[str, ...]:
    """Write out `PRESET:all`: the preset itself, then every row of its ablation.

    Raises:
        UserError: when a preset does not exist.
    """
    named: list[str] = []
    for preset in presets:
        name, _, row = preset.partition(":")
        named += [name, *row_names(name)] if row == "all" else [preset]
    return tuple(dict.fromkeys(named))


@dataclass(frozen=True)
class Ablation:
    """Results by row and seed.

    Args:
        results: row -> seed -> result.
    """

    results: Mapping[str, Mapping[int, Result]]

    def columns(self) -> list[str]:
        """Settings that every result has, then `mean of seven` where they all have the seven.

        Else, where several ask with something else than a photograph alone, the mean of these: `mean of 3`.
        """
        every = [result for seeds in self.results.values() for result in seeds.values()]
        shared = [name for name in every[0].modes if all(name in result.modes for result in every)]
        if all(result.mean() is not None for result in every):
            return [*shared, "mean of seven"]
        asked = _asked(shared)
        return [*shared, f"mean of {len(asked)}"] if len(asked) > 1 else shared

    def values(self, row: str, column: str, metric: str) -> list[float]:
        """Percent, by seed."""
        return [100 * self._value(result, column, metric) for _, result in sorted(self.results[row].items())]

    def _value(self, result: Result, column: str, metric: str) -> float:
        if column == "mean of seven":
            value = result.mean(metric)
            return float("nan") if value is None else value
        names = [column] if column in result.modes else _asked(self.columns()[:-1])
        return statistics.fmean(getattr(result.modes[name], metric) for name in names)

    def as_dict(self) -> dict[str, Any]:
        """JSON values, percent: row -> column -> metric -> mean, spread (sample standard deviation) and values."""
        rows: dict[str, Any] = {}
        for row in self.results:
            rows[row] = {
                column: {metric: _summary(self.values(row, column, metric)) for metric in ("R1", "mAP", "mINP")}
                for column in self.columns()
            }
        return {"seeds": sorted({seed for seeds in self.results.values() for seed in seeds}), "rows": rows}

    def table(self, metric: str = "R1", *, as_markdown: bool = False) -> str:
        """Mean and spread of a metric, rows as rows, settings as columns; the last column is the step to the first row.

        That step is the mean over the seeds of the difference between a row and the first row with the same seed, with
        the standard deviation of these differences.
        """
        columns, rows = self.columns(), list(self.results)
        body = []
        for row in rows:
            cells = [_cell(self.values(row, column, metric)) for column in columns]
            body.append([row, *cells, "" if row == rows[0] else self._step(row, rows[0], columns[-1], metric)])
        head = [f"{metric} (%)", *(name.removesuffix("->R") for name in columns), f"{columns[-1]}, over {rows[0]}"]
        return (markdown if as_markdown else aligned)(head, body)

    def _step(self, row: str, first: str, column: str, metric: str) -> str:
        pairs = zip(self.values(row, column, metric), self.values(first, column, metric), strict=True)
        return _cell([ours - theirs for ours, theirs in pairs], sign="+")


def _asked(columns: Sequence[str]) -> list[str]:
    """Query modes that hold more than a photograph; none where one stands in several settings (`I->R, indoor`)."""
    return [] if any("," in name for name in columns) else [name for name in columns if not name.startswith("R->")]


def _summary(values: Sequence[float]) -> dict[str, Any]:
    spread = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "spread": spread, "values": list(values)}


def _cell(values: Sequence[float], sign: str = "") -> str:
    mean = format(statistics.fmean(values), f"{sign}.1f")
    return f"{mean} \u00b1 {statistics.stdev(values):.1f}" if len(values) > 1 else mean


def ablate(plan: Plan, out: str | Path, *, device: str | None = None, note: Callable[[str], None] = print) -> Ablation:
    """Train and evaluate what is missing, and write the table.

    Args:
        plan: what to run.
        out: folder of the runs.
        device: where models are evaluated; None takes a GPU where there is one.
        note: told in a line what is being done.

    Returns:
        The results.

    Raises:
        UserError: for wrong presets, settings or data; what was done until then is kept.
    """
    from reidtrain.train import train

    folder = Path(out)
    configs = plan.configs()
    results: dict[str, dict[int, Result]] = {FROZEN: {}} if plan.frozen else {}
    for number, ((row, seed), config) in enumerate(configs.items(), 1):
        run = folder / row / f"seed-{seed}"
        note(f"[{number}/{len(configs)}] {row}, seed {seed}: {run}")
        train(config, run)
        results.setdefault(row, {})[seed] = _evaluated(run, plan, seed, device)
        if plan.frozen and seed not in results[FROZEN]:
            results[FROZEN][seed] = _evaluated(run, plan, seed, device, frozen=True)
    found = Ablation(results)
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(found.as_dict(), indent=1) + "\n"
    (folder / "ablation.json").write_text(text, encoding="utf-8")
    tables = [found.table(metric, as_markdown=True) for metric in ("R1", "mAP")]
    (folder / "ablation.md").write_text("\n\n".join(tables) + "\n", encoding="utf-8")
    return found


def _evaluated(run: Path, plan: Plan, seed: int, device: str | None, *, frozen: bool = False) -> Result:
    """The run's result, from its file where that is of this checkpoint and question."""
    from reidtrain.evaluate import evaluate_run

    name = f"{plan.split}{f'-{plan.protocol}' if plan.protocol else ''}{'-frozen' if frozen else ''}"
    file = run / "results" / f"{name}.json"
    if file.exists():
        kept = read_result(file)
        step = 0 if frozen else int(read_meta(find_checkpoint(run))["step"])
        if kept.step == step and (plan.modes is None or set(plan.modes) <= kept.modes.keys()):
            return kept
    found = evaluate_run(
        run,
        plan.data(seed)[0],
        split=plan.split,
        modes=plan.modes,
        frozen=frozen,
        device=device,
        protocol=plan.protocol,
    )
    found.save(run / "results", name=name)
    return found
