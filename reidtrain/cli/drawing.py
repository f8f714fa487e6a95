"""Commands that draw: figures, rank-list, tsne, attention, curves. A file that ends in .html becomes a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from reidtrain.cli.shell import Device, ManifestPath, Run, Split, app, examples, run_folder
from reidtrain.errors import UserError

Outs = Annotated[
    list[Path] | None, typer.Option("--out", help="File to write, .png or .html; may be repeated; else both.")
]
Samples = Annotated[list[str] | None, typer.Option("--sample", help="Sample id of a query to draw; may be repeated.")]
Modes = Annotated[list[str] | None, typer.Option("--modes", help="Query mode or setting; may be repeated.")]
Queries = Annotated[int, typer.Option("--queries", min=1, help="Queries to draw, spread over the split.")]


def _files(run: Path, outs: list[Path] | None, name: str) -> list[Path]:
    for file in outs or ():
        if file.suffix.lower() not in (".png", ".html", ".htm"):
            raise UserError(f"--out {file} ends in neither .png nor .html: give the name of a picture or a page")
    return outs or [run_folder(run) / "figures" / f"{name}{suffix}" for suffix in (".png", ".html")]


def _tell(files: list[Path]) -> None:
    typer.echo("written: " + ", ".join(str(path) for path in files))


def _load(run: Path, device: str | None) -> Any:  # noqa: ANN401 - a LoadedRun, whose module is heavy
    from reidtrain.checkpoint import load_run
    from reidtrain.hardware import choose_device

    return load_run(run, choose_device(device))


@app.command(epilog=examples("reidtrain figures runs/demo --manifest data/demo --queries 4"))
def figures(
    run: Run,
    manifest: ManifestPath,
    queries: Annotated[int, typer.Option("--queries", min=1, help="Queries to draw, one column each.")] = 3,
    top: Annotated[int, typer.Option("--top", min=1, help="Answers of each.")] = 8,
    split: Split = "test",
) -> None:
    """Draw a run's training curves and the rank lists of a few queries into RUN/figures."""
    from reidtrain.figures import curves as draw_curves
    from reidtrain.figures import rank_lists

    folder = run_folder(run) / "figures"
    loaded = _load(run, "cpu")
    files = [draw_curves(run_folder(run), folder / "curves.png")]
    files.append(
        rank_lists(loaded, manifest, folder / f"{split}-rank-lists.png", split=split, queries=queries, top=top)
    )
    _tell(files)


@app.command(
    "rank-list",
    epilog=examples(
        "reidtrain rank-list runs/demo --manifest data/demo --modes T --modes T+S --top 15",
        "reidtrain rank-list runs/demo --manifest data/demo --sample demo/test/000310_c01_00 --out answer.html",
    ),
)
def rank_list(  # noqa: PLR0913 - a command has one argument for each of its options
    run: Run,
    manifest: ManifestPath,
    modes: Modes = None,
    queries: Queries = 3,
    top: Annotated[int, typer.Option("--top", min=1, help="Answers of each.")] = 8,
    samples: Samples = None,
    protocol: Annotated[str | None, typer.Option("--protocol", help="As `reidtrain protocols` lists them.")] = None,
    split: Split = "test",
    out: Outs = None,
    device: Device = None,
) -> None:
    """Draw what queries find in each mode: right and wrong answers framed, missing modalities shown."""
    from reidtrain.figures import rank_lists
    from reidtrain.figures.ranklists import SEVEN_NAMES

    files = _files(run, out, f"{split}-rank-lists")
    loaded = _load(run, device)
    options: dict[str, Any] = {"queries": queries, "top": top, "samples": tuple(samples or ()), "protocol": protocol}
    asked = modes or list(SEVEN_NAMES)
    _tell([rank_lists(loaded, manifest, file, split=split, modes=asked, **options) for file in files])


@app.command(
    epilog=examples(
        "reidtrain tsne runs/demo --manifest data/demo --identities 10",
        "reidtrain tsne runs/demo --manifest data/demo --frozen --out before.png",
    )
)
def tsne(  # noqa: PLR0913 - a command has one argument for each of its options
    run: Run,
    manifest: ManifestPath,
    identities: Annotated[int, typer.Option("--identities", min=2, help="People to draw.")] = 12,
    views: Annotated[int, typer.Option("--views", min=1, help="Captures of each, at most.")] = 6,
    perplexity: Annotated[float, typer.Option("--perplexity", min=1.0, help="Of t-SNE.")] = 20.0,
    frozen: Annotated[bool, typer.Option("--frozen", help="The encoder without training.")] = False,
    split: Split = "test",
    out: Outs = None,
    device: Device = None,
) -> None:
    """Draw the features of all modalities in one plane: markers for modalities, colours for people."""
    from reidtrain.figures import projection

    files = _files(run, out, f"{split}-tsne{'-frozen' if frozen else ''}")
    loaded = _load(run, device)
    options: dict[str, Any] = {"identities": identities, "views": views, "perplexity": perplexity, "frozen": frozen}
    _tell([projection(loaded, manifest, file, split=split, **options) for file in files])


@app.command(
    epilog=examples(
        "reidtrain attention runs/demo --manifest data/demo --queries 4",
        "reidtrain attention runs/demo --manifest data/demo --method rollout --out rollout.html",
    )
)
def attention(
    run: Run,
    manifest: ManifestPath,
    queries: Queries = 4,
    method: Annotated[
        str, typer.Option("--method", help="occlusion (any model) or rollout (CLIP towers).")
    ] = "occlusion",
    samples: Samples = None,
    split: Split = "test",
    out: Outs = None,
    device: Device = None,
) -> None:
    """Draw what matches rest on: maps over photograph, sketch and infrared, and the words."""
    from reidtrain.figures import attention as draw_attention

    files = _files(run, out, f"{split}-attention{'' if method == 'occlusion' else f'-{method}'}")
    loaded = _load(run, device)
    options: dict[str, Any] = {"queries": queries, "method": method, "samples": tuple(samples or ())}
    _tell([draw_attention(loaded, manifest, file, split=split, **options) for file in files])


@app.command(epilog=examples("reidtrain curves runs/demo", "reidtrain curves runs/demo --out curves.html"))
def curves(run: Run, out: Outs = None) -> None:
    """Draw the losses and the selection metric of a run."""
    from reidtrain.figures import curves as draw_curves

    _tell([draw_curves(run_folder(run), file) for file in _files(run, out, "curves")])
