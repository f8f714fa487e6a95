"""The command that tells what a recipe would take: plan."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from reidsynth.cli.building import roots_of
from reidsynth.cli.layout import aligned
from reidsynth.cli.shell import Address, AsJson, EngineName, GpusPerWorker, RecipePath, Roots, Settings, Workers, app
from reidsynth.units import bytes_of, time_of

if TYPE_CHECKING:
    from reidsynth.plan import Plan, StepPlan


@app.command(
    epilog="Example: reidsynth plan manifests/demo.yaml\n\n"
    "Example: reidsynth plan manifests/cuhk-pedes.yaml --root /data/CUHK-PEDES --workers 8 --json\n\n"
    "Example: reidsynth plan manifests/demo.yaml --engine ray --address 10.0.0.1:6379 --gpus-per-worker 0.25"
)
def plan(  # noqa: PLR0913 - one argument for each option
    recipe: RecipePath,
    root: Roots = None,
    settings: Settings = None,
    workers: Workers = None,
    engine: EngineName = "local",
    address: Address = None,
    gpus_per_worker: GpusPerWorker = 0.0,
    probe: Annotated[int, typer.Option("--probe", help="Rows to try.")] = 64,
    seconds: Annotated[float, typer.Option("--seconds", min=0, help="Cut a step's probe short after so long.")] = 60.0,
    as_json: AsJson = False,
) -> None:
    """Tell what a build would take, before it does: rows, time, disk, tokens and money of every step.

    Some rows are read and processed as a build would, in a temporary folder, and what they took is scaled. Nothing is
    asked of a service, and nothing is written to a manifest.
    """
    from reidsynth.engines import engine_of
    from reidsynth.plan import plan as run_plan
    from reidsynth.recipe import load_recipe

    loaded = load_recipe(recipe, root=roots_of(root or []), overrides=settings or [])
    with engine_of(engine, workers, address=address, gpus_per_worker=gpus_per_worker) as asked:
        count = asked.workers  # a cluster is asked for its room, and given back before the probe
    made = run_plan(loaded, workers=count, probe=probe, seconds=seconds)
    if as_json:
        total = {"rows": made.rows, "seconds": made.seconds, "bytes": made.bytes, "cost": made.cost}
        typer.echo(json.dumps(asdict(made) | {"total": total}, indent=1, ensure_ascii=False))
    else:
        typer.echo(_as_text(made))


def _as_text(made: Plan) -> str:
    splits = ", ".join(f"{split} {captures:,}" for split, captures in made.splits.items())
    asks = any(step.questions for step in made.steps)
    header = ("step", "captures", "probed", "start", "each", "time", "disk", *(("tokens", "money") if asks else ()))
    rows = [_row(step, asks=asks) for step in made.steps]
    money = ("", _money(made.cost)) if asks else ()
    rows.append(("preview", "", "", "", "", "", bytes_of(made.preview), *(("", "") if asks else ())))
    rows.append(("all", f"{made.rows:,}", "", "", "", time_of(made.seconds), bytes_of(made.bytes), *money))
    workers = "1 worker" if made.workers == 1 else f"{made.workers} workers"
    lines = [f"{made.recipe}: {splits} captures; time with {workers}", *aligned(header, rows)]
    return "\n".join(lines + [f"{step.name}: {step.note}" for step in made.steps if step.note])


def _row(step: StepPlan, *, asks: bool) -> tuple[str, ...]:
    known = step.seconds_per_row is not None
    cells = (
        step.name,
        f"{step.rows:,}",
        str(step.probed),
        time_of(step.start) if known else "",
        time_of(step.seconds_per_row) if step.seconds_per_row is not None else "",
        time_of(step.seconds) if step.seconds is not None else "",
        bytes_of(step.bytes),
    )
    if not asks:
        return cells
    tokens = f"{step.prompt_tokens:,} + {step.completion_tokens:,}" if step.questions else ""
    return (*cells, tokens, _money(step.cost) if step.questions else "")


def _money(cost: float | None) -> str:
    return "no price" if cost is None else f"{cost:,.2f}"
