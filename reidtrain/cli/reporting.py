"""Commands that put runs side by side: report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from reidtrain.cli.shell import AsJson, app, examples


@app.command(epilog=examples("reidtrain report runs/flexireid", "reidtrain report runs/* --all --out report.md"))
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders, or JSON files of results.")],
    published: Annotated[Path | None, typer.Option("--published", help="Folder of the papers' tables.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Also the papers' baselines and ablations.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Markdown file to write.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print runs beside the papers' tables, with every difference of data, weights and protocol, and overlaps."""
    from reidtrain.published import read_published
    from reidtrain.report import beside, results_of

    papers = read_published(published)
    found = [
        beside(f"{run} ({file.stem})" if run != file else str(file), result, papers, every_method=every)
        for run in runs
        for file, result in results_of(run)
    ]
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text("\n".join(one.text(as_markdown=True) for one in found), encoding="utf-8")
    if as_json:
        typer.echo(json.dumps([one.as_dict() for one in found], indent=1))
        return
    typer.echo("\n".join(one.text() for one in found).rstrip())
    if out is not None:
        typer.echo(f"written: {out}")
