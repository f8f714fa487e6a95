"""Commands that look at a manifest: validate, preview, stats, report."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reidsynth.cli.layout import aligned, bars
from reidsynth.cli.shell import AsJson, ManifestPath, app
from reidsynth.units import bytes_of

if TYPE_CHECKING:
    from reidsynth.stats import Stats


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
    as_json: AsJson = False,
) -> None:
    """Draw a contact sheet: photograph, masks, sketches, infrared images, captions, with verdicts."""
    from reidsynth.manifest import open_manifest
    from reidsynth.report import preview as draw

    _wrote(draw(open_manifest(manifest), out, rows=rows, split=split, seed=seed), as_json=as_json)


@app.command(epilog="Example: reidsynth stats data/demo\n\nExample: reidsynth stats data/demo --json")
def stats(manifest: ManifestPath, as_json: AsJson = False) -> None:
    """Count a manifest: splits, verdicts and reasons of every table, histograms of captures, scores and attributes."""
    from reidsynth.manifest import open_manifest
    from reidsynth.stats import stats as count

    found = count(open_manifest(manifest))
    typer.echo(json.dumps(asdict(found), indent=1, ensure_ascii=False) if as_json else _stats_text(found))


@app.command(epilog="Example: reidsynth report data/demo --out report.html --rows 20")
def report(
    manifest: ManifestPath,
    out: Annotated[Path, typer.Option("--out", help="HTML file to write.")] = Path("report.html"),
    rows: Annotated[int, typer.Option("--rows", help="Captures to show.")] = 12,
    rejects: Annotated[int, typer.Option("--rejects", help="Captures to show for each reason of a reject.")] = 4,
    seed: Annotated[int, typer.Option("--seed", help="Which captures.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Write one HTML file that asks nothing of the net: counts, histograms, captures, rejects with their reasons."""
    from reidsynth.manifest import open_manifest
    from reidsynth.page import write_report

    _wrote(write_report(open_manifest(manifest), out, rows=rows, rejects=rejects, seed=seed), as_json=as_json)


def _wrote(path: Path, *, as_json: bool) -> None:
    typer.echo(json.dumps({"wrote": str(path)}, ensure_ascii=False) if as_json else f"wrote {path}")


def _stats_text(found: Stats) -> str:
    splits = [
        (name, f"{split.rows:,}", f"{split.people:,}", f"{split.cameras:,}", ", ".join(map(_pair, split.roles.items())))
        for name, split in found.splits.items()
    ]
    lines = [found.name, *aligned(("split", "captures", "people", "cameras", "roles"), splits), ""]
    verdicts = ("pass", "fail", "absent", "error")
    tables = [
        (name, *(f"{table.verdicts[verdict]:,}" for verdict in verdicts), bytes_of(table.bytes))
        for name, table in found.tables.items()
    ]
    lines += aligned(("table", *verdicts, "disk"), tables)
    for name, table in found.tables.items():
        lines += [f"  {name}: {rows:,} {reason}" for reason, rows in table.reasons.items()]
    for one in found.captures:
        lines += ["", one.of, *bars(one.labels, one.counts)]
    for name, table in found.tables.items():
        scores = [
            (one.of, *(f"{value:.4g}" for value in (one.low, one.mean, one.high) if value is not None))
            for one in table.scores
            if one.counts
        ]
        lines += ["", *aligned((f"scores of {name}", "5 %", "mean", "95 %"), scores)] if scores else []
        for one in table.attributes:
            told = ", ".join(map(_pair, zip(one.labels, one.counts, strict=True)))
            lines.append(f"  {name}, {one.of}: {told}")
    return "\n".join(lines)


def _pair(item: tuple[str, int]) -> str:
    return f"{item[0]} {item[1]:,}"
