"""The command that measures what steps made: quality."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reidsynth.cli.layout import aligned
from reidsynth.cli.shell import AsJson, ManifestPath, app

if TYPE_CHECKING:
    from reidsynth.quality.measuring import Quality


@app.command(
    epilog="Example: reidsynth quality data/demo --encoder reidtrain/assets/demo-backbone --features "
    "reidtrain/assets/demo-backbone\n\n"
    "Example: reidsynth quality data/cirs --encoder ViT-B-16:weights/open_clip_model.safetensors --features "
    "timm:inception_v3:weights/inception_v3.safetensors --reference data/llvip:ir --people 300\n\n"
    "Example: reidsynth quality data/demo --table ir-ca --split val --no-card --json"
)
def quality(  # noqa: PLR0913 - one argument for each option
    manifest: ManifestPath,
    split: Annotated[str | None, typer.Option("--split", help="Split to measure; test, else the last.")] = None,
    table: Annotated[
        list[str] | None, typer.Option("--table", help="Made table; may be repeated. All by default.")
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(
            "--reference",
            metavar="MANIFEST:TABLE",
            help="Real images to measure distances to, in place of the manifest's own of that modality.",
        ),
    ] = None,
    features: Annotated[
        str | None,
        typer.Option(
            "--features",
            metavar="NETWORK",
            help="Network of the distances: timm:NAME[:FILE], ARCHITECTURE:FILE of open_clip, or a folder.",
        ),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            "--encoder",
            metavar="NETWORK",
            help="Frozen encoder of the acceptance test: ARCHITECTURE:FILE or :TAG of open_clip, or a folder.",
        ),
    ] = None,
    rows: Annotated[int, typer.Option("--rows", help="Images of a table, drawn, for pairs and distances.")] = 2000,
    people: Annotated[int, typer.Option("--people", help="People, drawn, for the acceptance test.")] = 200,
    seed: Annotated[int, typer.Option("--seed", help="Of all draws.")] = 0,
    device: Annotated[str, typer.Option("--device", help="Of the networks: auto, cpu or cuda.")] = "auto",
    card: Annotated[bool, typer.Option("--card/--no-card", help="Write the numbers into the manifest's card.")] = True,
    as_json: AsJson = False,
) -> None:
    """Measure what steps made: against the real modality, as a whole, and by searching with it.

    Pairs: PSNR and SSIM (and IoU of masks) where a capture has the real modality too, beside baselines that cost
    nothing. Distances: Frechet and kernel distance of a network's features to real images. Acceptance: R1 and mAP of a
    search for photographs with a frozen encoder, beside the real modality, photographs and chance. Without --features
    and --encoder only pairs are measured.
    """
    from reidsynth.manifest import open_manifest
    from reidsynth.quality.measuring import Questions, measure, record

    asked = Questions(
        split=split,
        tables=tuple(table or ()),
        references=tuple(reference or ()),
        features=features,
        encoder=encoder,
        rows=rows,
        people=people,
        seed=seed,
        device=device,
    )
    found = measure(open_manifest(manifest), asked)
    if card and found.measurements:
        record(Path(manifest), found.measurements)
    if as_json:
        values = {
            "manifest": found.manifest,
            "split": found.split,
            "measurements": [one.model_dump(mode="json") for one in found.measurements],
            "notes": list(found.notes),
        }
        typer.echo(json.dumps(values, indent=1, ensure_ascii=False))
        return
    typer.echo(_as_text(found))
    if card and found.measurements:
        typer.echo(f"written into {manifest / 'README.md'} and {manifest / 'manifest.json'}")


def _as_text(found: Quality) -> str:
    from reidsynth.measurements import KINDS
    from reidsynth.qualitycard import METRICS, TITLES, table_rows

    lines = [f"{found.manifest}, split {found.split}"]
    for kind in KINDS:
        some = [one for one in found.measurements if one.kind == kind]
        if not some:
            continue
        names = [name for name in METRICS[kind] if any(name in one.found.values for one in some)]
        network = some[0].network
        head = (TITLES[kind] + (f" ({network})" if network else ""), "n", *(METRICS[kind][name] for name in names))
        rows: list[tuple[str, ...]] = []
        for one in some:
            first, *rest = table_rows(one, names)
            rows.append((f"{first[0]} {'to' if kind == 'distance' else 'against'} {one.against}", *first[1:]))
            rows += [(f"    {cells[0]}", *cells[1:]) for cells in rest]
        lines += ["", *aligned(head, rows)]
        lines += [f"  {one.table}: {warning}" for one in some for warning in one.warnings]
    return "\n".join([*lines, *([""] if found.notes else []), *(f"note: {note}" for note in found.notes)])
