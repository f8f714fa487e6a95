"""Commands that use a trained run: evaluate, protocols, search."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from reidtrain.cli.shell import AsJson, Device, ManifestPath, Run, Split, app, examples, run_folder
from reidtrain.errors import UserError


@app.command(
    epilog=examples(
        "reidtrain evaluate runs/demo --manifest data/demo --frozen",
        "reidtrain evaluate runs/demo --manifest data/demo --modes T --modes T+S --json",
        "reidtrain evaluate runs/cirs --manifest data/sysu-mm01 --protocol sysu-mm01-official --modes I",
        "reidtrain evaluate runs/dmf --manifest data/market1501 --rerank 20,6,0.3 --per-query",
    )
)
def evaluate(  # noqa: PLR0913 - a command has one argument for each of its options
    run: Run,
    manifest: ManifestPath,
    modes: Annotated[
        list[str] | None,
        typer.Option("--modes", help="Query mode such as T+S or R->R, or name of a setting; may be repeated."),
    ] = None,
    split: Split = "test",
    protocol: Annotated[
        str | None, typer.Option("--protocol", help="As `reidtrain protocols` lists them; else the data set's own.")
    ] = None,
    rerank: Annotated[
        str | None, typer.Option("--rerank", metavar="K1,K2,LAMBDA", help="k-reciprocal re-ranking, usually 20,6,0.3.")
    ] = None,
    per_query: Annotated[bool, typer.Option("--per-query", help="Also write a CSV line for each query.")] = False,
    frozen: Annotated[bool, typer.Option("--frozen", help="Also score the frozen encoder without training.")] = False,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Score a run: the seven query modes and R->R beside chance; results are kept in RUN/results."""
    from reidtrain.evaluate import evaluate_run
    from reidtrain.reranking import parse_rerank
    from reidtrain.results import comparison

    options: dict[str, Any] = {
        "split": split,
        "modes": modes or None,
        "device": device,
        "protocol": protocol,
        "rerank": None if rerank is None else parse_rerank(rerank),
    }
    results = [evaluate_run(run, manifest, **options)]
    if frozen:
        results.append(evaluate_run(run, manifest, frozen=True, **options))
    folder = run_folder(run) / "results"
    # What was asked for beyond the plain evaluation (a protocol, an order, some of the modes) has files of its own.
    asked = (protocol, "reranked" if rerank else None, _modes_in_name(modes))
    suffix = "".join(f"-{part}" for part in asked if part)
    names = [f"{split}{suffix}{'' if result.features == 'model' else '-frozen'}" for result in results]
    files = [path for result, name in zip(results, names, strict=True) for path in result.save(folder, name=name)]
    if per_query:
        files += [result.save_queries(folder, name=name) for result, name in zip(results, names, strict=True)]
    if as_json:
        typer.echo(json.dumps({result.features: result.as_dict() for result in results}, indent=1))
        return
    typer.echo(results[0].table())
    if frozen:
        files.append(folder / f"{split}{suffix}-comparison.md")
        files[-1].write_text(comparison(results[::-1]), encoding="utf-8")
        typer.echo(f"\n{comparison(results[::-1], markdown=False)}")
    typer.echo("written: " + ", ".join(str(path) for path in files))


def _modes_in_name(modes: list[str] | None) -> str:
    """A subset of the modes as part of a file name, whatever their order: `only-S,T+S`.

    Example:
        >>> _modes_in_name(["T+S->R", "S"]), _modes_in_name(None)
        ('only-S,T+S', '')
    """
    kept = sorted({re.sub(r"[^\w+.,=-]+", "-", mode.removesuffix("->R")) for mode in modes or ()})
    return f"only-{','.join(kept)}" if kept else ""


@app.command(epilog=examples("reidtrain protocols", "reidtrain protocols sysu-mm01"))
def protocols(
    name: Annotated[str | None, typer.Argument(metavar="[PROTOCOL]", help="Show the settings of this one.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the evaluation protocols, or the settings of one: what is excluded, how many trials are averaged."""
    from reidtrain.protocols import PROTOCOLS, choose_protocol
    from reidtrain.tables import aligned

    if name is None:
        found = {protocol.name: protocol.about for protocol in PROTOCOLS.values()}
        width = max(map(len, found))
        lines = [f"{protocol:<{width}}  {about}" for protocol, about in found.items()]
        typer.echo(json.dumps(found, indent=1) if as_json else "\n".join(lines))
        return
    chosen = choose_protocol([], name)
    head = ("setting", "mode", "excluded", "CMC over", "trials")
    rows = [
        (one.name, one.mode.name, one.exclude, "identities" if one.unique_identities else "images", str(one.trials))
        for one in chosen.settings
    ]
    if as_json:
        typer.echo(json.dumps([dict(zip(head, row, strict=True)) for row in rows], indent=1))
        return
    typer.echo(f"{chosen.name}: {chosen.about}\n\n{aligned(head, rows)}")


@app.command(
    epilog=examples(
        'reidtrain search runs/demo --manifest data/demo --text "a woman in a red coat" --top 10 --out strip.png',
        'reidtrain search runs/demo --manifest data/demo --text "a man with a bag" --sketch s.png --ir i.png',
    )
)
def search(  # noqa: PLR0913 - a command has one argument for each of its options
    run: Run,
    manifest: ManifestPath,
    text: Annotated[str | None, typer.Option("--text", help="A sentence.")] = None,
    sketch: Annotated[Path | None, typer.Option("--sketch", help="An image file.")] = None,
    ir: Annotated[Path | None, typer.Option("--ir", help="An image file.")] = None,
    rgb: Annotated[Path | None, typer.Option("--rgb", help="An image file.")] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="How many to show.")] = 10,
    out: Annotated[Path | None, typer.Option("--out", help="Picture of query and answers to write, .png.")] = None,
    split: Split = "test",
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Search a manifest's photographs with any combination of text, sketch, infrared and photograph."""
    from reidtrain.retrieval import search as searched

    if out is not None and out.suffix.lower() != ".png":
        raise UserError(f"--out {out} does not end in .png: give the name of a picture")
    given: dict[str, Any] = {"text": text, "sketch": sketch, "ir": ir, "rgb": rgb}
    hits = searched(run, manifest, **given, top=top, split=split, device=device, note=_note)
    if out is not None:
        from reidtrain.figures import rank_strip

        rank_strip(hits, out, **given)
    if as_json:
        typer.echo(json.dumps([hit.as_dict() for hit in hits], indent=1))
        return
    for hit in hits:
        typer.echo(f"{hit.rank:>4}  {hit.score:.4f}  person {hit.pid}  {hit.sample_id}")
    if out is not None:
        typer.echo(f"written: {out}")


def _note(text: str) -> None:
    typer.echo(f"note: {text}", err=True)
