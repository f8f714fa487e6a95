"""The command line: parses, calls one function, prints one summary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from reidsynth.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from reidsynth.engines import LocalEngine
    from reidsynth.jobs import Run
    from reidsynth.manifest import Manifest


class SentenceGroup(TyperGroup):
    """Prints a user's error as one sentence and exits with code 2."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - the library's own signature
        """Run the command."""
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
    help="Build multimodal person re-identification data sets: read, synthesise, check.",
    epilog="Start with: reidsynth build manifests/demo.yaml --out data/demo",
)

ManifestPath = Annotated[Path, typer.Argument(metavar="MANIFEST", help="Folder of the manifest.")]
Out = Annotated[Path, typer.Option("--out", help="Folder of the manifest; made if needed, resumed if begun.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A parameter; may be repeated. Values are YAML.")
]
Workers = Annotated[int | None, typer.Option("--workers", help="Processes; one for each core by default.")]
MaxFailed = Annotated[
    float, typer.Option("--max-failed", help="Largest share of failed rows in a table; more ends with exit code 1.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]


def _engine(workers: int | None) -> LocalEngine:
    from reidsynth.engines import LocalEngine

    return LocalEngine(workers)


def _run_on(engine: LocalEngine) -> Run:
    from reidsynth.jobs import Run

    return Run(engine)


def _settings(settings: list[str] | None) -> dict[str, Any]:
    from reidsynth.recipe import parse_settings

    return parse_settings(settings or [])


def _table_counts(manifest: Manifest) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for name, table in manifest.tables.items():
        total = dict.fromkeys(("pass", "fail", "absent", "error"), 0)
        for split in table.counts.values():
            for verdict, rows in split.items():
                total[verdict] += rows
        counts[name] = total
    return counts


def _finish(manifest: Manifest, *, max_failed: float, as_json: bool, unmet: list[str] | None = None) -> None:
    """Print one summary; exit with code 1 when too many rows failed or an expectation is not met."""
    counts = _table_counts(manifest)
    complaints = list(unmet or [])
    for name, verdicts in counts.items():
        bad, present = verdicts["fail"] + verdicts["error"], sum(verdicts.values()) - verdicts["absent"]
        if bad > max_failed * present:
            reasons = "; ".join(f"{reason}: {rows}" for reason, rows in manifest.tables[name].reasons.items())
            complaints.append(
                f"{bad} of {present} rows of {name!r} failed ({reasons}), more than --max-failed {max_failed:g} allows"
            )
    if as_json:
        splits = {split: size.model_dump() for split, size in manifest.info.splits.items()}
        summary = {"manifest": str(manifest.path), "splits": splits, "tables": counts, "complaints": complaints}
        typer.echo(json.dumps(summary, indent=1, ensure_ascii=False))
    else:
        typer.echo(_summary(manifest, counts))
        for complaint in complaints:
            typer.echo(f"not as asked: {complaint}", err=True)
    if complaints:
        raise typer.Exit(1)


def _summary(manifest: Manifest, counts: Mapping[str, Mapping[str, int]]) -> str:
    splits = ", ".join(f"{name} {s.rows} of {s.identities} people" for name, s in manifest.info.splits.items())
    lines = [f"{manifest.path}: {splits}"]
    width = max(map(len, counts), default=0)
    for name, verdicts in counts.items():
        shown = ", ".join(f"{rows} {verdict}" for verdict, rows in verdicts.items() if rows)
        lines.append(f"  {name:<{width}}  {shown}")
    for reason, rows in manifest.info.source.dropped.items():
        lines.append(f"  left out by the reader: {rows} {reason}")
    return "\n".join(lines)


def _about(cls: type[Any]) -> dict[str, Any]:
    from reidsynth.registry import parameter_names

    return {"about": (cls.__doc__ or "").strip().split("\n")[0], "parameters": list(parameter_names(cls))}


def _list(found: Mapping[str, dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(found, indent=1, ensure_ascii=False))
        return
    for name, facts in found.items():
        typer.echo(f"{name}\n    {facts['about']}\n    parameters: {', '.join(facts['parameters'])}")


@app.command(epilog="Example: reidsynth sources --json")
def sources(as_json: AsJson = False) -> None:
    """List the data sets that can be read, with their parameters."""
    from reidsynth.sources import SOURCES, source_class

    _list({name: _about(source_class(name)) for name in sorted(SOURCES)}, as_json=as_json)


@app.command(epilog="Example: reidsynth steps --json")
def steps(as_json: AsJson = False) -> None:
    """List the steps and their methods, with their parameters."""
    from reidsynth.steps import STEPS, step_class

    pairs = [(step, method) for step, methods in STEPS.items() for method in methods]
    _list({f"{step} --method {method}": _about(step_class(step, method)) for step, method in pairs}, as_json=as_json)


@app.command(
    epilog="Example: reidsynth ingest market1501 /data/Market-1501-v15.09.15 --out data/market\n\n"
    "Example: reidsynth ingest folder crops --set 'pattern={pid}_c{camid}_{_}.png' --out data/crops"
)
def ingest(
    source: Annotated[str, typer.Argument(help="Name of the source; see `reidsynth sources`.")],
    root: Annotated[Path, typer.Argument(help="The data set's folder, as its owners ship it.")],
    out: Out,
    settings: Settings = None,
    workers: Workers = None,
    max_failed: MaxFailed = 0.05,
    as_json: AsJson = False,
) -> None:
    """Read a data set into a manifest: captures, and the modalities that it holds itself."""
    from reidsynth.ingest import ingest as run_ingest

    with _engine(workers) as engine:
        parameters = {"root": str(root)} | _settings(settings)
        manifest = run_ingest(out, source, parameters, run=_run_on(engine))
    _finish(manifest, max_failed=max_failed, as_json=as_json)


@app.command(epilog="Example: reidsynth demo --out data/demo --set test=50 --set height=256 --set width=128")
def demo(
    out: Out,
    settings: Settings = None,
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Draw a world of pedestrians: photographs, masks, infrared images, sketches and descriptions."""
    from reidsynth.ingest import ingest as run_ingest

    with _engine(workers) as engine:
        manifest = run_ingest(out, "demo", _settings(settings), run=_run_on(engine))
    _finish(manifest, max_failed=0.0, as_json=as_json)


def _step_command(name: str, default: str, about: str, example: str) -> Callable[..., None]:
    """Register the command of one step."""

    def command(
        manifest: ManifestPath,
        method: Annotated[str, typer.Option("--method", help="How; see `reidsynth steps`.")] = default,
        settings: Settings = None,
        workers: Workers = None,
        max_failed: MaxFailed = 0.05,
        as_json: AsJson = False,
    ) -> None:
        from reidsynth.pipeline import run_step

        with _engine(workers) as engine:
            made = run_step(manifest, name, method, _settings(settings), run=_run_on(engine))
        _finish(made, max_failed=max_failed, as_json=as_json)

    return app.command(name, help=about, epilog=example)(command)


remove_background = _step_command(
    "remove-background",
    "grabcut",
    "Segment the person of every photograph into a mask table.",
    "Example: reidsynth remove-background data/market --method grabcut",
)
build_sketch = _step_command(
    "build-sketch",
    "lineart-standard",
    "Draw a sketch of every photograph: black on white, of the photograph's size, background removed.",
    "Example: reidsynth build-sketch data/market --method lineart-standard",
)
build_ir = _step_command(
    "build-ir",
    "channel-augmentation",
    "Make a pseudo-infrared image of every photograph.",
    "Example: reidsynth build-ir data/market --method channel-augmentation --set gray=true",
)
caption = _step_command(
    "caption",
    "template",
    "Describe the person of every photograph in sentences.",
    "Example: reidsynth caption data/market --method template",
)


@app.command(
    epilog="Example: reidsynth build manifests/demo.yaml --out data/demo\n\n"
    "Example: reidsynth build manifests/demo.yaml --out data/small --set train=50 --set seed=1"
)
def build(
    recipe: Annotated[Path, typer.Argument(help="YAML recipe.")],
    out: Out,
    root: Annotated[
        Path | None, typer.Option("--root", help="The data set's folder, where the recipe reads one.")
    ] = None,
    settings: Settings = None,
    workers: Workers = None,
    max_failed: MaxFailed = 0.05,
    as_json: AsJson = False,
) -> None:
    """Build a manifest from a recipe: source, steps, expectations. Run again to resume or to add steps."""
    from reidsynth.recipe import build as run_build
    from reidsynth.recipe import load_recipe, unmet

    loaded = load_recipe(recipe, root=root, overrides=settings or [])
    with _engine(workers) as engine:
        manifest = run_build(loaded, out, run=_run_on(engine))
    _finish(manifest, max_failed=max_failed, as_json=as_json, unmet=[] if settings else unmet(loaded, manifest))


@app.command(epilog="Example: reidsynth validate data/demo")
def validate(manifest: ManifestPath, as_json: AsJson = False) -> None:
    """Check a manifest down to the bytes: checksums, row alignment, order, stale tables; unsound is exit code 1."""
    from reidsynth.validate import validate as find_problems

    problems = find_problems(manifest)
    if as_json:
        typer.echo(json.dumps({"manifest": str(manifest), "problems": problems}, indent=1, ensure_ascii=False))
    else:
        typer.echo("\n".join(problems) or f"{manifest} is sound")
    if problems:
        raise typer.Exit(1)


@app.command(epilog="Example: reidsynth preview data/demo --out sheet.png --rows 8 --seed 3")
def preview(
    manifest: ManifestPath,
    out: Annotated[Path, typer.Option("--out", help="PNG file to write.")] = Path("preview.png"),
    rows: Annotated[int, typer.Option("--rows", help="Captures on the sheet.")] = 8,
    split: Annotated[str | None, typer.Option("--split", help="Split to take them from; all by default.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Which captures.")] = 0,
) -> None:
    """Draw a contact sheet: photograph, masks, sketches, infrared images, captions, with verdicts."""
    from reidsynth.manifest import open_manifest
    from reidsynth.report import preview as draw

    typer.echo(f"wrote {draw(open_manifest(manifest), out, rows=rows, split=split, seed=seed)}")
