"""The command that looks for what manifests and splits share: audit."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reidsynth.cli.layout import aligned
from reidsynth.cli.shell import AsJson, Workers, app, running

if TYPE_CHECKING:
    from reidsynth.audit import Audit, Overlap, Part
    from reidsynth.matches import Match


@app.command(
    epilog="Example: reidsynth audit data/cuhk-pedes data/market\n\n"
    "Example: reidsynth audit data/tri --json --strict\n\n"
    "Example: reidsynth audit data/aio-train data/sysu --table rgb --table ir --out audit.json --examples 999"
)
def audit(
    manifests: Annotated[list[Path], typer.Argument(metavar="MANIFEST...", help="Folders of the manifests.")],
    table: Annotated[
        list[str] | None,
        typer.Option("--table", help="Image table to compare; may be repeated. By default all real ones but masks."),
    ] = None,
    distance: Annotated[
        int, typer.Option("--distance", help="Bits of 256, 0 to 15, within which two hashes count as near.")
    ] = 15,
    examples: Annotated[int, typer.Option("--examples", min=0, help="Pairs to name for each overlap.")] = 3,
    out: Annotated[Path | None, typer.Option("--out", help="Write the report as JSON, too.")] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with code 1 when training and evaluation share people or images.")
    ] = False,
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Find what splits and manifests share: people, equal files, near-equal photographs; and duplicates within each.

    Near means a perceptual hash within --distance bits: copies at another size, quality or brightness. Mirrored and
    cropped copies are not found. Frames of one person a moment apart may be near, too: look at them before you remove
    any. What data sets hold of each other by their owners' word is told besides.
    """
    from reidsynth.audit import audit as run_audit
    from reidsynth.manifest import open_manifest
    from reidsynth.storage import write_json

    opened = [open_manifest(path) for path in manifests]
    with running(workers) as run:
        found = run_audit(opened, run=run, distance=distance, tables=table, examples=examples)
    values = asdict(found) | {"leaks": [[leak.first, leak.second] for leak in found.leaks]}
    if out is not None:
        write_json(out, values)
    typer.echo(json.dumps(values, indent=1, ensure_ascii=False) if as_json else _as_text(found))
    if strict and found.leaks:
        raise typer.Exit(1)


def _as_text(found: Audit) -> str:
    header = ("split", "captures", "people", "images", "equal", "near", "flat", "unreadable")
    rows = [tuple([part.name, *(f"{n:,}" for n in _counts(part))]) for part in found.parts]
    lines = aligned(header, rows)
    told = [overlap for overlap in found.overlaps if not overlap.empty]
    if told:
        lines += ["", *aligned(("between", "people", "people shown", "equal", "near", ""), [_row(one) for one in told])]
    lines.append("")
    lines += [sentence for part in found.parts for sentence in _about_part(part)]
    lines += [sentence for overlap in told for sentence in _about_overlap(overlap)]
    leaks = len(found.leaks)
    lines.append(
        f"{leaks} of the pairs above {'is a leak' if leaks == 1 else 'are leaks'} from training into evaluation"
        if leaks
        else "training and evaluation share no people and no images that could be found"
    )
    return "\n".join(lines)


def _counts(part: Part) -> tuple[int, ...]:
    return part.captures, part.people, part.images, part.equal, part.near, part.flat, part.unread


def _row(overlap: Overlap) -> tuple[str, ...]:
    return (
        f"{overlap.first} + {overlap.second}",
        f"{overlap.people:,}",
        _both(overlap.people_shown),
        _both(overlap.equal),
        _both(overlap.near),
        "leak" if overlap.leak else "",
    )


def _both(pair: tuple[int, int]) -> str:
    return f"{pair[0]:,}" if pair[0] == pair[1] else f"{pair[0]:,} / {pair[1]:,}"


def _about_part(part: Part) -> list[str]:
    told = []
    if part.asked_and_searched:
        told.append(f"{part.name}: {part.asked_and_searched:,} queries stand in the gallery as other captures")
    if part.two_people:
        told.append(f"{part.name}: {part.two_people:,} photographs bear the numbers of several people")
    return told + [f"{part.name}: {_match(match)}" for match in part.examples]


def _about_overlap(overlap: Overlap) -> list[str]:
    name = f"{overlap.first} + {overlap.second}"
    told = []
    if overlap.on_record:
        told.append(f"{name}: both hold photographs of {' and '.join(overlap.on_record)} by their owners' word")
    return told + [f"{name}: {_match(match)}" for match in overlap.examples]


def _match(match: Match) -> str:
    how = "equal files" if match.distance is None else f"{match.distance} of 256 bits differ"
    who = "" if match.people[0] == match.people[1] else f", labelled {match.people[0]} and {match.people[1]}"
    return f"{match.first} = {match.second} ({how}{who})"
