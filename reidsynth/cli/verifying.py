"""The command that compares a copy of a data set with what its owners ship."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reidsynth.cli.layout import aligned
from reidsynth.cli.shell import AsJson, Settings, Workers, app, parameters, running

if TYPE_CHECKING:
    from reidsynth.verification import Part, Verification


@app.command(
    epilog="Example: reidsynth verify market1501 /data/Market-1501-v15.09.15\n\n"
    "Example: reidsynth verify cuhk03-np /data/cuhk03-np --set boxes=labelled --json"
)
def verify(
    source: Annotated[str, typer.Argument(help="Name of the source; `reidsynth sources NAME` tells its parameters.")],
    root: Annotated[Path, typer.Argument(help="The data set's folder, as its owners ship it.")],
    settings: Settings = None,
    decode: Annotated[
        bool,
        typer.Option(
            "--decode/--no-decode",
            help="Decode every file, or only look whether it is there (captions are not counted then).",
        ),
    ] = True,
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Compare a copy of a data set with what is published: layout, counts, files, captions, splits; exit code 1 if not.

    Layout, sizes by split and sub-folder, strict decoding of every file, missing files and halves of pairs, captions,
    and that no person is in two splits.
    """
    from reidsynth.verify import verify as run_verify

    with running(workers) as run:
        found = run_verify(source, {"root": str(root)} | parameters(settings), run=run, decode=decode)
    typer.echo(json.dumps(_as_values(found), indent=1, ensure_ascii=False) if as_json else _as_text(found))
    if not found.good:
        raise typer.Exit(1)


def _as_values(found: Verification) -> dict[str, object]:
    return {"good": found.good} | asdict(found)


def _as_text(found: Verification) -> str:
    verdict = "as published" if found.comparisons else "nothing wrong found"
    lines = [f"{found.source} in {found.root}: {verdict if found.good else 'not as published'}"]
    lines += aligned(
        ("", "published", "found", ""),
        [
            (f"{one.rows}: {one.what}", f"{one.published:,}", f"{one.found:,}", _mark(one.agrees, sure=one.sure))
            for one in found.comparisons
        ],
    )
    lines += _parts("split", found.splits) + _parts("sub-folder", found.folders)
    lines += [f"  left out by the reader: {count:,} {reason}" for reason, count in found.left_out.items()]
    lines += [f"not as published ({problem.check}): {problem.says}" for problem in found.problems]
    lines += [f"note: {note}" for note in found.notes]
    return "\n".join(lines)


def _mark(agrees: bool, *, sure: bool) -> str:
    return "" if agrees else "differs" if sure else "differs (unconfirmed number)"


def _parts(title: str, parts: dict[str, Part]) -> list[str]:
    rows = [
        (name, f"{part.listed:,}", f"{part.missing:,}", f"{part.unreadable:,}") for name, part in sorted(parts.items())
    ]
    return aligned((title, "rows", "missing", "unreadable"), rows)
