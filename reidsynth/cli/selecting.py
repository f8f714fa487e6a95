"""Commands that make manifests from manifests: select, merge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reidsynth.cli.shell import AsJson, ManifestPath, Out, app, finish
from reidsynth.errors import UserError

Kept = Annotated[
    list[str] | None, typer.Option("--table", help="Keep only this table, besides the captures; may be repeated.")
]
Name = Annotated[str, typer.Option("--name", help="Name of the new manifest.")]


@app.command(
    epilog="Example: reidsynth select data/tri --where \"role == 'train' and camid != 3\" --out data/part\n\n"
    'Example: reidsynth select data/tri --where "mask-grabcut.area > 0.2" --out data/large\n\n'
    "Example: reidsynth select data/tri --verdict mask-grabcut=pass --identities 100 --seed 1 --out data/small"
)
def select(  # noqa: PLR0913 - one argument for each option
    manifest: ManifestPath,
    out: Out,
    where: Annotated[
        str, typer.Option("--where", help="Condition over the captures' columns and `TABLE.verdict`, `TABLE.SCORE`.")
    ] = "",
    verdict: Annotated[
        list[str] | None, typer.Option("--verdict", metavar="TABLE=VERDICT", help="Keep such rows; may be repeated.")
    ] = None,
    split: Annotated[list[str] | None, typer.Option("--split", help="Keep this split; may be repeated.")] = None,
    pids: Annotated[
        str, typer.Option("--pids", help="Keep these people: 1,2,3, or a file with one number on each line.")
    ] = "",
    identities: Annotated[int | None, typer.Option("--identities", help="Draw so many people of each split.")] = None,
    captures: Annotated[
        float | None, typer.Option("--captures", help="Draw so many captures of each split; below 1 a share.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the draws; a smaller draw lies within a larger one.")] = 0,
    table: Kept = None,
    name: Name = "",
    as_json: AsJson = False,
) -> None:
    """Make a manifest of some of another's rows and tables; whole splits are linked, not copied."""
    from reidsynth.manifest import open_manifest
    from reidsynth.selection import Selection
    from reidsynth.selection import select as run_select

    selection = Selection(
        where=where,
        verdicts=_verdicts(verdict or []),
        splits=split,
        pids=_pids(pids),
        identities=identities,
        captures=captures,
        seed=seed,
        tables=table,
    )
    finish(run_select(open_manifest(manifest), selection, out, name=name), max_failed=1.0, as_json=as_json)


def _verdicts(settings: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for setting in settings:
        table, equals, verdict = setting.partition("=")
        if not equals:
            raise UserError(f"--verdict {setting!r} is not valid: write TABLE=VERDICT, for example mask-grabcut=pass")
        found.setdefault(table, []).append(verdict)
    return found


def _pids(text: str) -> frozenset[int] | None:
    if not text:
        return None
    path = Path(text)
    words = path.read_text(encoding="utf-8").split() if path.is_file() else text.split(",")
    wrong = [word for word in words if not word.strip().lstrip("-").isdigit()]
    if wrong:
        raise UserError(
            f"--pids holds {wrong[0]!r}, which is no whole number: write 1,2,3, or name a file with one on each line"
        )
    return frozenset(int(word) for word in words)


@app.command(epilog="Example: reidsynth merge data/synth-pedes data/llcm data/mask1k --out data/aio --name aio-train")
def merge(
    manifests: Annotated[list[Path], typer.Argument(metavar="MANIFEST...", help="Folders of the manifests.")],
    out: Out,
    table: Kept = None,
    name: Name = "",
    as_json: AsJson = False,
) -> None:
    """Make one manifest from several; shards are linked, and tables that a part lacks get empty rows."""
    from reidsynth.manifest import open_manifest
    from reidsynth.merging import merge as run_merge

    merged = run_merge([open_manifest(path) for path in manifests], out, name=name, tables=table)
    finish(merged, max_failed=1.0, as_json=as_json)
