"""The command that writes captions: by templates, by a model on this machine, or by a paid service."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from reidsynth.cli.shell import (
    Address,
    AllowEgress,
    AsJson,
    EngineName,
    GpusPerWorker,
    ManifestPath,
    MaxCost,
    MaxFailed,
    Settings,
    Workers,
    app,
    finish,
    parameters,
    running,
    unanswered,
)
from reidsynth.errors import UserError
from reidsynth.steps import STEPS

if TYPE_CHECKING:
    from reidsynth.spending import Estimate


@app.command(
    epilog="Example: reidsynth caption data/market --method template\n\n"
    "Example: reidsynth caption data/market --method openai --set model=NAME --set base_url=http://127.0.0.1:8000/v1\n\n"
    "Example: reidsynth caption data/crops --method openai --set model=NAME --set mode=batch --set input_price=0.1 "
    "--set output_price=0.4 --max-cost 5 --allow-egress --dry-run"
)
def caption(  # noqa: PLR0913 - one argument for each option
    manifest: ManifestPath,
    method: Annotated[
        str, typer.Option("--method", metavar="|".join(STEPS["caption"]), help="How; `reidsynth steps caption` tells.")
    ] = "template",
    settings: Settings = None,
    workers: Workers = None,
    engine: EngineName = "local",
    address: Address = None,
    gpus_per_worker: GpusPerWorker = 0.0,
    max_failed: MaxFailed = 0.05,
    allow_egress: AllowEgress = False,
    max_cost: MaxCost = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Ask at most so many questions.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would be asked and what it costs.")] = False,
    as_json: AsJson = False,
) -> None:
    """Describe the person of every photograph in sentences."""
    from reidsynth.pipeline import estimate_step, run_step
    from reidsynth.spending import Allowance
    from reidsynth.steps import step_class

    for option, given in (("--limit", limit), ("--max-cost", max_cost)):
        if given is not None and not hasattr(step_class("caption", method), "gather"):
            raise UserError(
                f"{option} counts what a service is asked, and --method {method} asks none: leave it away; "
                "`reidsynth select MANIFEST --captures N --out PART` takes some rows to try"
            )
    if dry_run:
        _tell(estimate_step(manifest, "caption", method, parameters(settings)), max_cost, as_json=as_json)
        return
    allowance = Allowance(egress=allow_egress, max_cost=max_cost, limit=limit)
    with running(workers, allowance, engine=engine, address=address, gpus_per_worker=gpus_per_worker) as run:
        made = run_step(manifest, "caption", method, parameters(settings), run=run)
    finish(made, max_failed=max_failed, as_json=as_json, unmet=unanswered(made, method))


def _tell(estimate: Estimate, max_cost: float | None, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(asdict(estimate), indent=1))
        return
    lines = [
        f"nothing was asked or written; {estimate.rows} captures can be described, {estimate.known} have an answer"
    ]
    if estimate.prompt_tokens is not None:
        lines.append(
            f"  {estimate.questions} questions with {estimate.image_bytes / 1e6:.1f} MB of images, about "
            f"{estimate.prompt_tokens} prompt and {estimate.completion_tokens} answer tokens (from {estimate.basis})"
        )
        if estimate.cost is None:
            lines.append("  their cost is unknown: give --set input_price=... --set output_price=... a million tokens")
        else:
            lines.append(f"  about {estimate.cost:.2f}, on top of {estimate.spent:.2f} that the ledger has spent")
        if max_cost is not None and estimate.cost is not None and estimate.spent + estimate.cost > max_cost:
            lines.append(f"  --max-cost {max_cost:g} would stop it before the end")
    typer.echo("\n".join(lines))
