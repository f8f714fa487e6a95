"""Commands that publish and fetch: push, pull, rehydrate."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reidsynth.cli.shell import AsJson, ManifestPath, MaxFailed, Out, Settings, Workers, app, finish, running

if TYPE_CHECKING:
    from reidsynth.hub import Report

Tables = Annotated[
    list[str] | None, typer.Option("--table", help="Only this table, besides the captures; may be repeated.")
]
Repository = Annotated[str, typer.Argument(help="owner/name on the Hub.")]


def size(count: int) -> str:
    """Bytes for people.

    Example:
        >>> size(999), size(1_500_000)
        ('999 B', '1.5 MB')
    """
    value, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


@app.command(
    epilog="Example: reidsynth push data/tri my-lab/tri-cuhk-pedes --dry-run\n\n"
    "Example: reidsynth push data/demo my-lab/drawn-pedestrians --visibility public --full"
)
def push(  # noqa: PLR0913 - one argument for each option
    manifest: ManifestPath,
    repository: Repository,
    visibility: Annotated[
        str, typer.Option("--visibility", help="private, gated (who asks is let in by you) or public.")
    ] = "private",
    full: Annotated[
        bool, typer.Option("--full", help="Send the data set's own tables too, if its terms allow.")
    ] = False,
    table: Tables = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Delete what the repository holds and this manifest does not.")
    ] = False,
    forget: Annotated[bool, typer.Option("--forget", help="Drop the repository's history, for a take-down.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Send nothing: list what would go, and why not.")] = False,
    contact: Annotated[str, typer.Option("--contact", help="For the card: where people ask for a take-down.")] = "",
    as_json: AsJson = False,
) -> None:
    """Publish what the terms allow: by default captures and synthetic tables, into a private repository.

    The repository's privacy is read back before the first byte. Run again to resume, or after a new table: only what is
    missing is sent.
    """
    from reidsynth.hub import push as run_push
    from reidsynth.manifest import open_manifest
    from reidsynth.policy import visibility as checked
    from reidsynth.release import plan_release

    release = plan_release(
        open_manifest(manifest), visibility=checked(visibility), full=full, tables=table, contact=contact
    )
    report = run_push(release, repository, replace=replace, forget=forget, dry_run=dry_run)
    if as_json:
        typer.echo(json.dumps(asdict(report) | {"dry_run": dry_run}, indent=1, ensure_ascii=False))
    else:
        typer.echo(_told(report, dry_run=dry_run))
    if report.obstacle:
        typer.echo(f"not as asked: {report.obstacle}", err=True)
        raise typer.Exit(1)


def _told(report: Report, *, dry_run: bool) -> str:
    total = size(sum(report.sent.values()))
    done = "would send" if dry_run else "sent"
    state = f"{'new, ' if report.new else ''}{report.visibility}"
    lines = [f"{report.repository} ({state}): {done} {len(report.sent)} files, {total}; {report.kept} were there"]
    width = max(map(len, (*report.tables, *report.refused)))
    for table in report.tables:
        sizes = [bytes_ for path, bytes_ in report.sent.items() if path.partition("/")[0] == table]
        lines.append(f"  {table:<{width}}  {f'{len(sizes)} files, {size(sum(sizes))}' if sizes else 'nothing new'}")
    lines += [f"  {table:<{width}}  stays: {why}" for table, why in report.refused.items()]
    lines += [f"  {'would be deleted' if dry_run else 'deleted'}: {path}" for path in report.deleted]
    return "\n".join(lines)


@app.command(epilog="Example: reidsynth pull my-lab/tri-cuhk-pedes --out data/tri --table sketch-lineart")
def pull(
    repository: Annotated[str, typer.Argument(help="owner/name or owner/name@revision on the Hub.")],
    out: Out,
    table: Tables = None,
    as_json: AsJson = False,
) -> None:
    """Download a manifest, or some of its tables, and check it down to the bytes. Run again to resume."""
    from reidsynth.hub import pull as run_pull

    finish(run_pull(repository, out, tables=table), max_failed=1.0, as_json=as_json)


@app.command(
    epilog="Example: reidsynth rehydrate my-lab/tri-cuhk-pedes /data/CUHK-PEDES --out data/tri\n\n"
    "Example: reidsynth rehydrate delta --root cuhk-pedes=/data/CUHK-PEDES --root sysu-mm01=/data/SYSU --out all"
)
def rehydrate(
    delta: Annotated[str, typer.Argument(help="Folder of a delta release, or owner/name on the Hub.")],
    out: Out,
    folder: Annotated[Path | None, typer.Argument(help="Your copy of the data set, as its owners ship it.")] = None,
    root: Annotated[
        list[str] | None, typer.Option("--root", metavar="DATASET=FOLDER", help="One for each of several data sets.")
    ] = None,
    settings: Settings = None,
    workers: Workers = None,
    max_failed: MaxFailed = 0.05,
    as_json: AsJson = False,
) -> None:
    """Join a delta release with your own copy of the data set by checksums; say what did not match."""
    from reidsynth import open_manifest
    from reidsynth.recipe import parse_settings
    from reidsynth.rehydrate import rehydrate as run_rehydrate
    from reidsynth.rehydrate import roots_of

    manifest = open_manifest(delta)
    roots = roots_of(manifest, folder, root or [])
    with running(workers) as run:
        joined = run_rehydrate(manifest, roots, out, settings=parse_settings(settings or []), run=run)
    if not as_json:
        typer.echo("\n".join(joined.told()))
    finish(joined.manifest, max_failed=max_failed, as_json=as_json, unmet=joined.complaints())
