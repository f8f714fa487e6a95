"""The command line: parses, calls one function, prints one summary. Heavy libraries are imported inside commands."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from reidtrain.errors import UserError


class SentenceGroup(TyperGroup):
    """Prints a user's error as one sentence and exits with code 2."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - the library's own signature
        """Run the command."""
        # Threads that wait by spinning take the processor from those that work, as soon as a machine is shared. The
        # variable is read when torch is first imported.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        try:
            return super().invoke(ctx)
        except UserError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(2) from None


app = typer.Typer(
    cls=SentenceGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Train, evaluate and search with multimodal person re-identification models.",
    epilog="Start with: reidtrain fit --manifest data/demo --preset flexireid-demo --out runs/demo",
)

Run = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, or one of its checkpoints.")]
ManifestPath = Annotated[Path, typer.Option("--manifest", help="Folder of the manifest.")]
Preset = Annotated[str, typer.Option("--preset", help="Name of a preset (`reidtrain presets`), or a YAML file.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override, for example optim.lr=3e-4; may be repeated."),
]
Split = Annotated[str, typer.Option("--split", help="Split of the manifest.")]
Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda, cuda:1, ...; cuda if there is one.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]


def _examples(*lines: str) -> str:
    return "Examples:\n\n" + "\n\n".join(f"  {line}" for line in lines)


@app.command(
    epilog=_examples(
        "reidtrain fit --manifest data/demo --preset flexireid-demo --out runs/demo",
        "reidtrain fit --manifest data/demo --preset flexireid-demo --out runs/no-ir --set data.tables.ir=null",
        "reidtrain fit --manifest data/demo --preset flexireid-demo --out runs/b --set model.options.routing=soft",
    )
)
def fit(
    manifest: Annotated[list[Path], typer.Option("--manifest", help="Folder of a manifest; may be repeated.")],
    out: Annotated[Path, typer.Option("--out", help="Run folder; an interrupted run in it is gone on with.")],
    preset: Preset = "flexireid-demo",
    settings: Settings = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of weights, batches and augmentation.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Delete the run that is in --out.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a model; the same command again goes on where a killed run stopped."""
    from reidtrain.config import load_config

    overrides = [*(settings or []), *([] if seed is None else [f"train.seed={seed}"])]
    config = load_config(preset, overrides, manifests=[str(path.absolute()) for path in manifest])
    from reidtrain.checkpoint import read_best
    from reidtrain.train import train

    run = train(config, out, overwrite=overwrite)
    best = read_best(run)
    if as_json:
        typer.echo(json.dumps({"run": str(run), "best": best}, indent=1))
        return
    why = (
        f"{best['metric']} {100 * best['value']:.1f} on {best['split']}" if "value" in best else f"{best.get('reason')}"
    )
    typer.echo(f"{run}: best checkpoint {best.get('checkpoint')} ({why})")


@app.command(
    epilog=_examples(
        "reidtrain evaluate runs/demo --manifest data/demo --frozen",
        "reidtrain evaluate runs/demo --manifest data/demo --modes T --modes T+S --json",
    )
)
def evaluate(
    run: Run,
    manifest: ManifestPath,
    modes: Annotated[
        list[str] | None, typer.Option("--modes", help="Query mode such as T+S or R->R; may be repeated.")
    ] = None,
    split: Split = "test",
    frozen: Annotated[bool, typer.Option("--frozen", help="Also score the frozen encoder without training.")] = False,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Score a run: the seven query modes and R->R beside chance; results are kept in RUN/results."""
    from reidtrain.evaluate import evaluate_run
    from reidtrain.report import comparison

    asked = modes or None
    results = [evaluate_run(run, manifest, split=split, modes=asked, device=device)]
    if frozen:
        results.append(evaluate_run(run, manifest, split=split, modes=asked, frozen=True, device=device))
    folder = _run_folder(run) / "results"
    files = [path for result in results for path in result.save(folder)]
    if as_json:
        typer.echo(json.dumps({result.features: result.as_dict() for result in results}, indent=1))
        return
    typer.echo(results[0].table())
    if frozen:
        files.append(folder / f"{split}-comparison.md")
        files[-1].write_text(comparison(results[::-1]), encoding="utf-8")
        typer.echo(f"\n{comparison(results[::-1], markdown=False)}")
    typer.echo("written: " + ", ".join(str(path) for path in files))


def _run_folder(run: Path) -> Path:
    """The run that a checkpoint belongs to."""
    return run.parent.parent if run.parent.name == "checkpoints" else run


@app.command(epilog=_examples("reidtrain figures runs/demo --manifest data/demo --queries 4"))
def figures(
    run: Run,
    manifest: ManifestPath,
    queries: Annotated[int, typer.Option("--queries", min=1, help="Queries to draw, one column each.")] = 3,
    top: Annotated[int, typer.Option("--top", min=1, help="Answers of each.")] = 8,
    split: Split = "test",
) -> None:
    """Draw a run's training curves and the rank lists of a few queries into RUN/figures."""
    from reidtrain.checkpoint import load_run
    from reidtrain.figures import curves, rank_lists

    folder = _run_folder(run) / "figures"
    loaded = load_run(run)
    files = [curves(_run_folder(run), folder / "curves.png")]
    files.append(
        rank_lists(loaded, manifest, folder / f"{split}-rank-lists.png", split=split, queries=queries, top=top)
    )
    typer.echo("written: " + ", ".join(str(path) for path in files))


@app.command(
    epilog=_examples(
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
    out: Annotated[Path | None, typer.Option("--out", help="Picture of query and answers to write.")] = None,
    split: Split = "test",
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Search a manifest's photographs with any combination of text, sketch, infrared and photograph."""
    from reidtrain.retrieval import search as searched

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


@app.command(
    "pretrain-backbone",
    epilog=_examples("reidtrain pretrain-backbone --manifest data/demo-pretrain --out backbones/mine --set steps=2000"),
)
def pretrain_backbone(
    manifest: ManifestPath,
    out: Annotated[Path, typer.Option("--out", help="Folder of the backbone; a stopped training goes on.")],
    settings: Settings = None,
    split: Split = "pretrain",
) -> None:
    """Train a small image-text encoder on a manifest with attributes (this made the demo backbone)."""
    import yaml
    from tqdm import tqdm

    from reidtrain.pretrain import PretrainOptions, pretrain

    pairs = [setting.partition("=") for setting in settings or []]
    for key, equals, _ in pairs:
        if not equals:
            raise UserError(f"--set {key!r} must be written KEY=VALUE, for example --set steps=2000")
    options: dict[str, Any] = {key: yaml.safe_load(value) for key, _, value in pairs}
    with tqdm(total=options.get("steps", PretrainOptions().steps), unit="step", desc="pretrain") as bar:

        def report(step: int, losses: dict[str, float]) -> None:
            bar.update(step - bar.n)
            bar.set_postfix({name: f"{value:.3f}" for name, value in losses.items()}, refresh=False)

        folder = pretrain(manifest, out, split=split, report=report, **options)
    typer.echo(f"{folder}: use it with --set backbone.name={folder}")


@app.command("show-config", epilog=_examples("reidtrain show-config --preset flexireid-demo --set optim.lr=3e-4"))
def show_config(preset: Preset = "flexireid-demo", settings: Settings = None, as_json: AsJson = False) -> None:
    """Print everything that a preset stands for, overrides applied, after checking it."""
    from reidtrain.config import load_config

    values = load_config(preset, settings or []).dump()
    if as_json:
        typer.echo(json.dumps(values, indent=1))
        return
    import yaml

    typer.echo(yaml.safe_dump(values, sort_keys=False, default_flow_style=None, width=110).rstrip())


@app.command(epilog=_examples("reidtrain presets"))
def presets(as_json: AsJson = False) -> None:
    """List the presets."""
    from reidtrain.config import presets as listed

    found = listed()
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    width = max(map(len, found))
    for name, about in found.items():
        typer.echo(f"{name:<{width}}  {about}")
