"""Commands that make tables: sources, steps, ingest, demo, one for each step, build."""

from __future__ import annotations

import json
import math
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reidsynth.cli.shell import (
    Address,
    AllowEgress,
    AsJson,
    EngineName,
    GpusPerWorker,
    ManifestPath,
    MaxCost,
    MaxFailed,
    Out,
    RecipePath,
    Roots,
    Settings,
    Workers,
    app,
    finish,
    parameters,
    running,
    unanswered,
)
from reidsynth.errors import UserError
from reidsynth.steps import STEPS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def _about(cls: type[Any], command: str) -> dict[str, Any]:
    """What a listing tells of a source or a method: its parameters, and a command line that begins with `command`."""
    from reidsynth.registry import described

    told = described(cls)
    needed = [one.name for one in told if one.needed]
    given = "".join(f" --set {name}={name.upper()}" for name in needed if name != "root")
    return {
        "about": (cls.__doc__ or "").strip().split("\n")[0],
        "parameters": [*(one.name for one in told), "gates"],
        "needed": needed,
        "defaults": {one.name: one.default for one in told if one.name not in needed},
        "meanings": {one.name: one.about for one in told} | {"gates": _GATES},
        "example": f"reidsynth {command}{given}",
    }


_GATES = "thresholds, {NAME: NUMBER}; `reidsynth gates` lists them."


def _list(found: Mapping[str, dict[str, Any]], *, as_json: bool, in_full: bool) -> None:
    if as_json:
        typer.echo(json.dumps(found, indent=1, ensure_ascii=False, default=str))
        return
    for name, facts in found.items():
        typer.echo(f"{name}\n    {facts['about']}")
        if not in_full:
            typer.echo(f"    parameters: {', '.join(facts['parameters'])}")
            continue
        for parameter, meaning in facts["meanings"].items():
            default = facts["defaults"].get(parameter)
            shown = parameter if default in (None, "", ()) else f"{parameter} = {_as_set(default)}"
            needed = " (needed)" if parameter in facts["needed"] else ""
            text = f"{shown}{needed}: {meaning}"
            typer.echo(fill(text, 100, initial_indent=" " * 4, subsequent_indent=" " * 8))
        typer.echo(f"    Example: {facts['example']}")


def _as_set(value: object) -> str:
    """A default as `--set` would write it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple | list) else str(value)


@app.command(epilog="Example: reidsynth sources folder\n\nExample: reidsynth sources --json")
def sources(
    name: Annotated[str | None, typer.Argument(help="Tell what each parameter of this source means.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the data sets that can be read, with their parameters."""
    from reidsynth.sources import SOURCES, source_class

    names = sorted(SOURCES) if name is None else [name]
    found = {one: _about(source_class(one), _reading(one)) for one in names}
    _list(found, as_json=as_json, in_full=name is not None)


def _reading(source: str) -> str:
    if source == "demo":
        return "demo --out data/demo"
    given = " --set 'pattern={pid}_c{camid}_{_}'" if source == "folder" else ""
    return f"ingest {source} FOLDER --out data/{source}{given}"


@app.command(
    epilog="Example: reidsynth steps build-sketch\n\nExample: reidsynth steps caption openai\n\n"
    "Example: reidsynth steps --json"
)
def steps(
    step: Annotated[str | None, typer.Argument(help="Tell what each parameter of this step's methods means.")] = None,
    method: Annotated[str | None, typer.Argument(help="Only of this method.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the steps and their methods, with their parameters."""
    from reidsynth.steps import STEPS, methods_of, step_class

    chosen = [step] if step is not None else list(STEPS)
    pairs = [(one, each) for one in chosen for each in ([method] if method is not None else methods_of(one))]
    found = {
        f"{one} --method {each}": _about(step_class(one, each), f"{one} data/market --method {each}")
        for one, each in pairs
    }
    _list(found, as_json=as_json, in_full=step is not None)


@app.command(
    epilog="Example: reidsynth gates\n\n"
    "Example: reidsynth build-sketch data/market --method hed --set 'gates={sketch_ink_max: 0.5}'"
)
def gates(as_json: AsJson = False) -> None:
    """List the thresholds of the gates; each source and step of a recipe takes others as `gates: {NAME: NUMBER}`."""
    from reidsynth.thresholds import described

    found = described()
    if as_json:
        told = {
            name: {"default": None if math.isinf(value) else value, "about": about}
            for name, (value, about) in found.items()
        }
        typer.echo(json.dumps(told, indent=1, ensure_ascii=False))
        return
    for name, (value, about) in found.items():
        typer.echo(f"{name} = {'never' if math.isinf(value) else f'{value:g}'}\n    {about}")


@app.command(
    epilog="Example: reidsynth ingest market1501 /data/Market-1501-v15.09.15 --out data/market\n\n"
    "Example: reidsynth ingest folder crops --set 'pattern={pid}_c{camid}_{_}.png' --out data/crops"
)
def ingest(  # noqa: PLR0913 - one argument for each option
    source: Annotated[str, typer.Argument(help="Name of the source; `reidsynth sources NAME` tells its parameters.")],
    root: Annotated[Path, typer.Argument(help="The data set's folder, as its owners ship it.")],
    out: Out,
    settings: Settings = None,
    workers: Workers = None,
    engine: EngineName = "local",
    address: Address = None,
    gpus_per_worker: GpusPerWorker = 0.0,
    max_failed: MaxFailed = 0.05,
    as_json: AsJson = False,
) -> None:
    """Read a data set into a manifest: captures, and the modalities that it holds itself."""
    from reidsynth.ingest import ingest as run_ingest

    with running(workers, engine=engine, address=address, gpus_per_worker=gpus_per_worker) as run:
        manifest = run_ingest(out, source, {"root": str(root)} | parameters(settings), run=run)
    finish(manifest, max_failed=max_failed, as_json=as_json)


@app.command(epilog="Example: reidsynth demo --out data/demo --set test=50 --set height=256 --set width=128")
def demo(
    out: Out,
    settings: Settings = None,
    workers: Workers = None,
    engine: EngineName = "local",
    address: Address = None,
    gpus_per_worker: GpusPerWorker = 0.0,
    as_json: AsJson = False,
) -> None:
    """Draw a world of pedestrians: photographs, masks, infrared images, sketches and descriptions."""
    from reidsynth.ingest import ingest as run_ingest

    with running(workers, engine=engine, address=address, gpus_per_worker=gpus_per_worker) as run:
        manifest = run_ingest(out, "demo", parameters(settings), run=run)
    finish(manifest, max_failed=0.0, as_json=as_json)


def _step_command(name: str, default: str, about: str, example: str) -> Callable[..., None]:
    """Register the command of one step."""
    methods = "|".join(STEPS[name])
    how = typer.Option(default, "--method", metavar=methods, help=f"How; `reidsynth steps {name}` tells.")

    def command(  # noqa: PLR0913 - one argument for each option
        manifest: ManifestPath,
        method: str = how,
        settings: Settings = None,
        workers: Workers = None,
        engine: EngineName = "local",
        address: Address = None,
        gpus_per_worker: GpusPerWorker = 0.0,
        max_failed: MaxFailed = 0.05,
        as_json: AsJson = False,
    ) -> None:
        from reidsynth.pipeline import run_step

        with running(workers, engine=engine, address=address, gpus_per_worker=gpus_per_worker) as run:
            made = run_step(manifest, name, method, parameters(settings), run=run)
        finish(made, max_failed=max_failed, as_json=as_json)

    return app.command(name, help=about, epilog=example)(command)


remove_background = _step_command(
    "remove-background",
    "grabcut",
    "Segment the person of every photograph into a mask table.",
    "Example: reidsynth remove-background data/market --method grabcut\n\n"
    "Example: reidsynth remove-background data/market --method rembg --set model=u2net_human_seg",
)
build_sketch = _step_command(
    "build-sketch",
    "lineart-standard",
    "Draw a sketch of every photograph: black on white, of the photograph's size, background removed.",
    "Example: reidsynth build-sketch data/market --method lineart-standard\n\n"
    "Example: reidsynth build-sketch data/market --method lineart --set model=FOLDER --set mask=mask-u2net-human-seg",
)
build_ir = _step_command(
    "build-ir",
    "channel-augmentation",
    "Make an infrared image of every photograph.",
    "Example: reidsynth build-ir data/market --method channel-augmentation --set gray=true\n\n"
    "Example: reidsynth build-ir data/market --method gan --set model=runs/lwir",
)


def roots_of(given: list[str]) -> Path | dict[str, Path] | None:
    """One folder, or source -> folder."""
    from reidsynth.sources import SOURCES

    named = {
        text.partition("=")[0]: Path(text.partition("=")[2]) for text in given if text.partition("=")[0] in SOURCES
    }
    if len(given) == 1 and not named:
        return Path(given[0])
    wrong = [text for text in given if text.partition("=")[0] not in SOURCES]
    if wrong:
        raise UserError(f"--root {wrong[0]!r} names no source: write SOURCE=FOLDER, for example llcm=/data/LLCM")
    return named or None


@app.command(
    epilog="Example: reidsynth build manifests/demo.yaml --out data/demo\n\n"
    "Example: reidsynth build manifests/demo.yaml --out data/small --set train=50 --set seed=1\n\n"
    "Example: reidsynth build manifests/cirs-cuhk-pedes.yaml --root /data/CUHK-PEDES --out data/cirs "
    "--set build-ir.model=runs/lwir\n\n"
    "Example: reidsynth build manifests/aio-train.yaml --root synth-pedes=/data/SYNTH-PEDES --root llcm=/data/LLCM "
    "--root market-sketch-1k=/data/MaSk1K --out data/aio\n\n"
    "Example: reidsynth build manifests/demo.yaml --out data/demo --engine ray --address 10.0.0.1:6379 "
    "--gpus-per-worker 0.25"
)
def build(  # noqa: PLR0913 - one argument for each option
    recipe: RecipePath,
    out: Out,
    root: Roots = None,
    settings: Settings = None,
    workers: Workers = None,
    engine: EngineName = "local",
    address: Address = None,
    gpus_per_worker: GpusPerWorker = 0.0,
    max_failed: MaxFailed = 0.05,
    allow_egress: AllowEgress = False,
    max_cost: MaxCost = None,
    as_json: AsJson = False,
) -> None:
    """Build a manifest from a recipe: source, steps, expectations. Run again to resume or to add steps."""
    from reidsynth.recipe import about_sources, load_recipe, unmet
    from reidsynth.recipe import build as run_build
    from reidsynth.spending import Allowance

    loaded = load_recipe(recipe, root=roots_of(root or []), overrides=settings or [])
    allowance = Allowance(egress=allow_egress, max_cost=max_cost)
    with running(workers, allowance, engine=engine, address=address, gpus_per_worker=gpus_per_worker) as run:
        manifest = run_build(loaded, out, run=run)
    expected = not about_sources(loaded, settings or [])  # else its sizes are no longer the published ones
    complaints = [*(unmet(loaded, manifest) if expected else []), *unanswered(manifest)]
    finish(manifest, max_failed=max_failed, as_json=as_json, unmet=complaints)
