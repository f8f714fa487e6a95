"""The command that trains what makes infrared images and sketches: train-ir-gan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from reidsynth.cli.layout import aligned
from reidsynth.cli.shell import AsJson, Settings, app, parameters
from reidsynth.errors import UserError

if TYPE_CHECKING:
    from reidsynth.translator.pairs import PairSet
    from reidsynth.translator.train import Trained


@app.command(
    "train-ir-gan",
    epilog="Example: reidsynth train-ir-gan --llvip /data/LLVIP --out runs/lwir\n\n"
    "Example: reidsynth train-ir-gan --photos pairs/visible --images pairs/infrared --spectrum nir --out runs/nir "
    "--set height=384\n\n"
    "Example: reidsynth train-ir-gan --target sketch --manifest data/demo --out runs/sketch "
    "--set channels=16 --set discriminator_channels=16 --set epochs=5 --set decay_epochs=5\n\n"
    "Several GPUs: torchrun --nproc-per-node 4 -m reidsynth train-ir-gan --llvip /data/LLVIP --out runs/lwir\n\n"
    "Then: reidsynth build-ir data/market --method gan --set model=runs/lwir",
)
def train_ir_gan(  # noqa: PLR0913 - one argument for each option
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", help="Run folder; made if needed, resumed if begun.")],
    target: Annotated[str, typer.Option("--target", help="What to make of photographs: ir or sketch.")] = "ir",
    manifest: Annotated[
        list[Path] | None, typer.Option("--manifest", help="Manifest whose captures hold both; may be repeated.")
    ] = None,
    llvip: Annotated[Path | None, typer.Option("--llvip", help="Folder of LLVIP.")] = None,
    view: Annotated[str, typer.Option("--view", help="Of LLVIP: crops (its boxes of people) or pairs (whole).")] = (
        "crops"
    ),
    photos: Annotated[Path | None, typer.Option("--photos", help="Folder of photographs, with --images.")] = None,
    images: Annotated[
        Path | None, typer.Option("--images", help="Folder of the targets; files of one name are a pair.")
    ] = None,
    spectrum: Annotated[
        str | None, typer.Option("--spectrum", help="Of infrared in --images: nir, lwir or pseudo.")
    ] = None,
    pattern: Annotated[
        str | None, typer.Option("--pattern", help="Of names in --photos, '{pid}_{_}' for example: who is on them.")
    ] = None,
    called: Annotated[str, typer.Option("--called", help="Name of --photos and --images, for cards.")] = "",
    licence: Annotated[str, typer.Option("--licence", help="Of --photos and --images; the generator bears it.")] = "",
    release: Annotated[
        str, typer.Option("--release", help="How what is made may be published: public, gated, private or never.")
    ] = "private",
    table: Annotated[str | None, typer.Option("--table", help="Table of the targets in --manifest.")] = None,
    split: Annotated[str, typer.Option("--split", help="Split of --manifest to learn from.")] = "train",
    background: Annotated[
        str | None,
        typer.Option(
            "--background",
            help="Of the photographs in --manifest: keep (default for ir) or remove (default for sketch).",
        ),
    ] = None,
    mask: Annotated[str | None, typer.Option("--mask", help="Table of the masks, for --background remove.")] = None,
    held_out: Annotated[
        str | None, typer.Option("--held-out", help="Share of the people to hold out (0.1), or a split's name.")
    ] = None,
    settings: Settings = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Delete a run in --out first.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a generator of infrared images or sketches on aligned pairs (InfraGAN).

    Whole people, scenes or files are held out and scored after every epoch, beside three baselines that learn nothing:
    luminance, inverted luminance, and the mean training image. A run that was killed goes on where it was. Options for
    --set: height, width, downs, channels, discriminator_channels, dropout, batch_size, epochs, decay_epochs, lr,
    discriminator_lr, beta1, l1_weight, ssim_weight, ssim_offset, flip, seed, precision, held_out_limit, sheet_rows,
    log_every, save_every, keep, threads.
    """
    choice("--target", target, ("ir", "sketch"))
    choice("--view", view, ("crops", "pairs"))
    choice("--release", release, ("public", "gated", "private", "never"))
    background = background or ("remove" if target == "sketch" and llvip is None and photos is None else "keep")
    choice("--background", background, ("keep", "remove"))
    if (photos is None) != (images is None):
        raise UserError("--photos and --images go together: one holds the photographs, the other their partners")
    if background == "remove" and (llvip is not None or photos is not None):
        raise UserError("--background remove needs masks, which only a manifest holds: ingest the pairs, or keep it")
    _refuse_idle(context, target, background)

    from reidsynth.translator.options import parse_options
    from reidsynth.translator.origins import FolderPairs, LlvipPairs, ManifestPairs, Stated
    from reidsynth.translator.pairs import held_out_share
    from reidsynth.translator.train import train

    options = parse_options(parameters(settings))
    wanted = cast("Literal['ir', 'sketch']", target)
    share = held_out_share(held_out)
    sets: list[PairSet] = [
        ManifestPairs(
            path,
            target=wanted,
            table=table,
            split=split,
            held_out=share,
            background=cast("Any", background),
            mask=mask,
        )
        for path in manifest or []
    ]
    if llvip is not None:
        if target != "ir":
            raise UserError("LLVIP holds infrared images, no sketches: use it with --target ir")
        if held_out is not None and not manifest and photos is None:
            raise UserError(f"--held-out {held_out}: of LLVIP its split test is held out (other scenes); leave it away")
        sets.append(LlvipPairs(llvip, cast("Any", view)))
    if photos is not None and images is not None:
        if isinstance(share, str):
            raise UserError(f"--held-out {share!r}: pairs of files have no splits; give a share such as 0.1")
        stated = Stated(spectrum=spectrum, called=called, licence=licence, release=cast("Any", release))
        sets.append(FolderPairs(photos, images, target=wanted, stated=stated, pattern=pattern, held_out=share))
    trained = train(sets, wanted, out, options=options, overwrite=overwrite)
    if trained.main:
        typer.echo(json.dumps(_as_values(trained), indent=1, ensure_ascii=False) if as_json else _as_text(trained))


_OF = {
    "--manifest": ("table", "split", "mask"),
    "--llvip": ("view",),
    "--photos": ("spectrum", "pattern", "called", "licence", "release"),
}


def _refuse_idle(context: typer.Context, target: str, background: str) -> None:
    """Refuse options that would do nothing.

    Raises:
        UserError: one tells of pairs that are not given, of masks that are not read, or of another target.
    """
    told = {name for name in context.params if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"}
    if "spectrum" in told and target != "ir":
        raise UserError(f"--spectrum is of infrared images, and --target is {target}: drop it")
    for origin, options in _OF.items():
        idle = [f"--{name}" for name in options if name in told]
        if idle and origin.removeprefix("--") not in told:
            raise UserError(f"{', '.join(idle)} tells of pairs from {origin}, which is not given: add it, or drop that")
    if "mask" in told and background != "remove":
        raise UserError("--mask is read to erase the background only: add --background remove, or drop it")


def choice(option: str, value: str, valid: tuple[str, ...]) -> None:
    """Check a choice.

    Raises:
        UserError: it is none of the valid ones.
    """
    if value not in valid:
        raise UserError(f"{option} {value!r} is not known: it is one of {', '.join(valid)}")


def _as_values(trained: Trained) -> dict[str, object]:
    files = {"run": str(trained.run), "generator": str(trained.generator)}
    facts = trained.facts.model_dump(mode="json")
    return {**files, **facts, "beats_mean_image": not trained.verdict, "verdict": trained.verdict}


def _as_text(trained: Trained) -> str:
    facts = trained.facts
    rows = [(name, f"{one['psnr']:.2f}", f"{one['ssim']:.4f}") for name, one in facts.scores.items()]
    lines = [
        f"{trained.generator}: {facts.epoch} epochs, {facts.step:,} steps on {facts.pairs:,} pairs of "
        f"{', '.join(facts.data)}",
        *aligned((f"{facts.held_out:,} held-out pairs at {facts.height}x{facts.width}", "PSNR (dB)", "SSIM"), rows),
    ]
    if trained.verdict:
        lines.append(trained.verdict)
    method = "build-ir" if facts.target == "ir" else "build-sketch"
    lines.append(f"use it: reidsynth {method} MANIFEST --method gan --set model={trained.run}")
    return "\n".join(lines)
