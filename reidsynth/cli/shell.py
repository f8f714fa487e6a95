"""The app, its options, and the summary that commands end with."""

from __future__ import annotations

import errno
import json
import re
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from reidsynth.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from reidsynth.jobs import Run
    from reidsynth.manifest import Manifest
    from reidsynth.spending import Allowance


_PATH_ERRORS = (errno.ENAMETOOLONG, errno.ELOOP, errno.EACCES, errno.EPERM)  # what a given path causes


class SentenceGroup(TyperGroup):
    """Prints a user's error as one sentence and exits with code 2; 130 when interrupted."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - the library's own signature
        """Run the command."""
        try:
            return super().invoke(ctx)
        except UserError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(2) from None
        except OSError as error:
            if error.errno not in _PATH_ERRORS or error.filename is None:
                raise
            path, why = str(error.filename), (error.strerror or "").lower()
            typer.echo(f"error: {path[:80]}{'...' if len(path) > 80 else ''}: {why}: give another path", err=True)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            typer.echo("interrupted: finished shards are kept, run the same command again to go on", err=True)
            raise typer.Exit(130) from None


app = typer.Typer(
    cls=SentenceGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Build multimodal person re-identification data sets: read, synthesise, check.",
    epilog="Start with: reidsynth build manifests/demo.yaml --out data/demo\n\n"
    "Exit codes: 0 done; 1 done, and not as asked or published (expectations, --max-cost, verify, validate, audit "
    "--strict, what did not match); 2 not done: one sentence says what to mend, or more rows failed than --max-failed.",
)

RecipePath = Annotated[Path, typer.Argument(help="YAML recipe, or the name of one that comes with the package.")]
Roots = Annotated[
    list[str] | None,
    typer.Option("--root", metavar="[SOURCE=]FOLDER", help="The data set's folder; one for each of several."),
]
ManifestPath = Annotated[Path, typer.Argument(metavar="MANIFEST", help="Folder of the manifest.")]


def no_address(out: Path) -> Path:
    """Refuse `s3://bucket/x` and the like, which would become a folder of that name here."""
    if re.fullmatch(r"[A-Za-z][\w+.-]+:", out.parts[0] if out.parts else ""):
        raise UserError(
            f"--out {str(out)!r} is an address: give a folder of this machine (`reidsynth push` publishes it)"
        )
    return out


Out = Annotated[
    Path,
    typer.Option("--out", callback=no_address, help="Folder of the manifest; made if needed, resumed if begun."),
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A parameter; may be repeated. Values are YAML.")
]
Workers = Annotated[int | None, typer.Option("--workers", help="Processes; one for each core by default.")]
EngineName = Annotated[
    Literal["local", "ray"], typer.Option("--engine", help="Where to work: processes here, or a Ray cluster.")
]
Address = Annotated[
    str | None,
    typer.Option("--address", help="Of the Ray cluster, host:port or ray://host:port; one of this machine by default."),
]
GpusPerWorker = Annotated[
    float, typer.Option("--gpus-per-worker", min=0, help="GPUs that each worker of a Ray cluster holds; 0.25 is usual.")
]


def _share(value: float) -> float:
    if not 0 <= value <= 1:
        raise UserError(f"--max-failed is {value:g}: it is a share of the rows from 0 to 1, 0.05 for example")
    return value


MaxFailed = Annotated[
    float,
    typer.Option(
        "--max-failed", callback=_share, help="Largest share of failed rows in a table; more ends with exit code 2."
    ),
]
AllowEgress = Annotated[
    bool, typer.Option("--allow-egress", help="Let images leave this machine, where the data set's terms permit it.")
]
MaxCost = Annotated[
    float | None,
    typer.Option("--max-cost", min=0, help="Stop before the ledger has spent more than this; needs prices."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]


@contextmanager
def running(
    workers: int | None,
    allowance: Allowance | None = None,
    *,
    engine: str = "local",
    address: str | None = None,
    gpus_per_worker: float = 0.0,
) -> Iterator[Run]:
    """An engine for the time of one command.

    Args:
        workers: processes, None for one a core.
        allowance: what steps may spend and send out; None allows nothing.
        engine: `local` or `ray`.
        address: of a Ray cluster.
        gpus_per_worker: share of a GPU of each worker on a Ray cluster.
    """
    from reidsynth.engines import engine_of
    from reidsynth.jobs import Run
    from reidsynth.spending import Allowance

    with engine_of(engine, workers, address=address, gpus_per_worker=gpus_per_worker) as opened:
        yield Run(opened, allowance=allowance or Allowance())


def parameters(settings: list[str] | None) -> dict[str, Any]:
    """What `--set` gives."""
    from reidsynth.recipe import parse_settings

    return parse_settings(settings or [])


def table_counts(manifest: Manifest) -> dict[str, dict[str, int]]:
    """Rows of every table by verdict, over all splits."""
    counts: dict[str, dict[str, int]] = {}
    for name, table in manifest.tables.items():
        total = dict.fromkeys(("pass", "fail", "absent", "error"), 0)
        for split in table.counts.values():
            for verdict, rows in split.items():
                total[verdict] += rows
        counts[name] = total
    return counts


def finish(manifest: Manifest, *, max_failed: float, as_json: bool, unmet: list[str] | None = None) -> None:
    """Print one summary; exit with code 2 when too many rows failed, with 1 when something else is not as asked."""
    counts = table_counts(manifest)
    failed = [told for name in counts if (told := _too_many(manifest, name, counts[name], max_failed))]
    complaints = [*(unmet or []), *_stopped_by_cost(manifest), *failed]
    if as_json:
        splits = {split: size.model_dump() for split, size in manifest.info.splits.items()}
        summary = {"manifest": str(manifest.path), "splits": splits, "tables": counts, "complaints": complaints}
        typer.echo(json.dumps(summary, indent=1, ensure_ascii=False))
    else:
        typer.echo(_summary(manifest, counts))
        for complaint in complaints:
            typer.echo(f"not as asked: {complaint}", err=True)
    for name in _out_of_date(manifest):
        typer.echo(f"note: table {name!r} was made from other inputs than those now there: make it again", err=True)
    if complaints:
        raise typer.Exit(2 if failed else 1)


def _out_of_date(manifest: Manifest) -> list[str]:
    from reidsynth.jobs import stale_shards

    return [name for name, table in manifest.tables.items() if stale_shards(manifest.info, table)]


def _too_many(manifest: Manifest, name: str, verdicts: Mapping[str, int], max_failed: float) -> str:
    """One sentence about a table in which too many rows failed; "" for one in which they did not."""
    bad, present = verdicts["fail"] + verdicts["error"], sum(verdicts.values()) - verdicts["absent"]
    if bad <= max_failed * present:
        return ""
    first, reasons = _failed(manifest, name)
    told = "; ".join(f"{reason}: {rows}" for reason, rows in sorted(reasons.items()))
    return (
        f"{bad} of {present} rows of {name!r} failed ({told}; the first is {first!r}), more "
        f"than --max-failed {max_failed:g} allows: mend or remove them and run again, or allow more"
    )


def _stopped_by_cost(manifest: Manifest) -> list[str]:
    """One sentence for each table that `--max-cost` left unfinished."""
    over = {
        name: sum(rows for reason, rows in table.reasons.items() if "--max-cost" in reason)
        for name, table in manifest.tables.items()
    }
    return [
        f"{n} rows of {name!r} were not asked about, because --max-cost is reached" for name, n in over.items() if n
    ]


def unanswered(manifest: Manifest, method: str | None = None) -> list[str]:
    """One sentence for each table with questions that a service was asked and did not answer; batches are awaited."""
    found = []
    for name, table in manifest.tables.items():
        why = {reason: rows for reason, rows in table.reasons.items() if reason.startswith("not answered: ")}
        why.pop("not answered: in a batch on its way", None)
        asked = method is None or (table.step is not None and table.step.method == method)
        if why and asked:
            most = max(why, key=lambda reason: why[reason]).partition(": ")[2]
            found.append(f"{sum(why.values())} rows of {name!r} were not answered ({most}): run the same command again")
    return found


def _failed(manifest: Manifest, name: str) -> tuple[str, Counter[str]]:
    """The first failed row of a table, and why rows of it failed; those that are absent have reasons, too."""
    first, reasons = "", Counter[str]()
    for split in manifest.splits:
        columns = manifest.table(name, split).columns(["sample_id", "verdict", "reason"]).to_pydict()
        rows = zip(columns["sample_id"], columns["verdict"], columns["reason"], strict=True)
        for sample_id, verdict, reason in rows:
            if verdict in ("fail", "error"):
                first = first or str(sample_id)
                reasons[reason] += 1
    return first, reasons


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
