"""Commands that put runs side by side: report, ablate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from reidtrain.cli.shell import AsJson, Device, Settings, Split, app, examples
from reidtrain.errors import UserError


@app.command(
    epilog=examples(
        "reidtrain report runs/flexireid", "reidtrain report runs/* --all --audit audit.json --out report.md"
    )
)
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders, or JSON files of results.")],
    published: Annotated[Path | None, typer.Option("--published", help="Folder of the papers' tables.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Also the papers' baselines and ablations.")] = False,
    audit: Annotated[
        Path | None, typer.Option("--audit", help="Report of `reidsynth audit --out`, for overlaps found by content.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Markdown file to write.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print runs beside the papers' tables, with every difference of data, weights and protocol, and overlaps."""
    from reidtrain.overlap import read_audit
    from reidtrain.published import read_published
    from reidtrain.report import beside, results_of

    papers = read_published(published)
    seen = read_audit(audit) if audit is not None else None
    found = [
        beside(f"{run} ({file.stem})" if run != file else str(file), result, papers, every_method=every, audit=seen)
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


@app.command(
    epilog=examples(
        "reidtrain ablate flexireid-demo:all --manifest data/demo --seeds 0,1,2 --out runs/ablation",
        "reidtrain ablate flexireid-demo flexireid-demo:soft mine.yaml --manifest data/demo --out runs/ablation",
        "reidtrain ablate flexireid-demo --manifest 'data/demo-{seed}' --seeds 101,102,103 --out runs/worlds --frozen",
        "reidtrain ablate my-regdb.yaml --manifest 'data/regdb-{seed}' --seeds 1,2,3,4,5,6,7,8,9,10 --out runs/regdb",
    )
)
def ablate(  # noqa: PLR0913 - a command has one argument for each of its options
    presets: Annotated[
        list[str], typer.Argument(metavar="PRESET...", help="PRESET, PRESET:ROW, PRESET:all or a file.")
    ],
    manifest: Annotated[
        list[str], typer.Option("--manifest", help="Folder of a manifest; {seed} stands for the seed; may be repeated.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the runs; what is finished in it is kept.")],
    seeds: Annotated[str, typer.Option("--seeds", metavar="N,N,...", help="One run of each row for each.")] = "0,1,2",
    settings: Settings = None,
    modes: Annotated[list[str] | None, typer.Option("--modes", help="Query mode or setting; may be repeated.")] = None,
    protocol: Annotated[str | None, typer.Option("--protocol", help="As `reidtrain protocols` lists them.")] = None,
    split: Split = "test",
    frozen: Annotated[bool, typer.Option("--frozen", help="Also a row of the encoder without training.")] = False,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Train and evaluate presets with several seeds; print mean and spread. Run it again to go on."""
    from reidtrain.ablation import Plan, expand
    from reidtrain.ablation import ablate as run_all

    if not all(part.strip().lstrip("-").isdigit() for part in seeds.split(",")):
        raise UserError(f"seeds {seeds!r} can't be read: write whole numbers joined by commas, for example 0,1,2")
    plan = Plan(
        presets=expand(presets),
        manifests=tuple(manifest),
        seeds=tuple(int(part) for part in seeds.split(",")),
        settings=tuple(settings or ()),
        modes=tuple(modes) if modes else None,
        split=split,
        protocol=protocol,
        frozen=frozen,
    )
    found = run_all(plan, out, device=device, note=lambda text: typer.echo(text, err=True))
    if as_json:
        typer.echo(json.dumps(found.as_dict(), indent=1))
        return
    typer.echo(
        f"{found.table('R1')}\n\n{found.table('mAP')}\n\nwritten: {out / 'ablation.md'}, {out / 'ablation.json'}"
    )
