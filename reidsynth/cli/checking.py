"""Commands that look at a manifest: validate, preview."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from reidsynth.cli.shell import AsJson, ManifestPath, app


@app.command(epilog="Example: reidsynth validate data/demo")
def validate(manifest: ManifestPath, as_json: AsJson = False) -> None:
    """Check a manifest down to the bytes: checksums, row alignment, order, stale tables; unsound is exit code 1."""
    from reidsynth.validate import validate as find_problems

    problems = find_problems(manifest)
    if as_json:
        typer.echo(json.dumps({"manifest": str(manifest), "problems": problems}, indent=1, ensure_ascii=False))
    else:
        typer.echo("\n".join(problems) or f"{manifest} is sound")
    if problems:
        raise typer.Exit(1)


@app.command(epilog="Example: reidsynth preview data/demo --out sheet.png --rows 8 --seed 3")
def preview(
    manifest: ManifestPath,
    out: Annotated[Path, typer.Option("--out", help="PNG file to write.")] = Path("preview.png"),
    rows: Annotated[int, typer.Option("--rows", help="Captures on the sheet.")] = 8,
    split: Annotated[str | None, typer.Option("--split", help="Split to take them from; all by default.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Which captures.")] = 0,
) -> None:
    """Draw a contact sheet: photograph, masks, sketches, infrared images, captions, with verdicts."""
    from reidsynth.manifest import open_manifest
    from reidsynth.report import preview as draw

    typer.echo(f"wrote {draw(open_manifest(manifest), out, rows=rows, split=split, seed=seed)}")
