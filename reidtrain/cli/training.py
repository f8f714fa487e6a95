"""Commands that train: fit, pretrain-backbone, show-config, presets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from reidtrain.cli.shell import AsJson, ManifestPath, Preset, Settings, app, examples
from reidtrain.errors import UserError


@app.command(
    epilog=examples(
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
    "pretrain-backbone",
    epilog=examples("reidtrain pretrain-backbone --manifest data/demo-pretrain --out backbones/mine --set steps=2000"),
)
def pretrain_backbone(
    manifest: ManifestPath,
    out: Annotated[Path, typer.Option("--out", help="Folder of the backbone; a stopped training goes on.")],
    settings: Settings = None,
    split: Annotated[str, typer.Option("--split", help="Split of the manifest.")] = "pretrain",
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


@app.command("show-config", epilog=examples("reidtrain show-config --preset flexireid-demo --set optim.lr=3e-4"))
def show_config(preset: Preset = "flexireid-demo", settings: Settings = None, as_json: AsJson = False) -> None:
    """Print everything that a preset stands for, overrides applied, after checking it."""
    from reidtrain.config import load_config

    values = load_config(preset, settings or []).dump()
    if as_json:
        typer.echo(json.dumps(values, indent=1))
        return
    import yaml

    typer.echo(yaml.safe_dump(values, sort_keys=False, default_flow_style=None, width=110).rstrip())


@app.command(epilog=examples("reidtrain presets"))
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
