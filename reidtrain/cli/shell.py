"""The app and the options that commands share."""

from __future__ import annotations

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


def examples(*lines: str) -> str:
    """The worked examples under a command's help."""
    return "Examples:\n\n" + "\n\n".join(f"  {line}" for line in lines)


def run_folder(run: Path) -> Path:
    """The run that a checkpoint belongs to; a run folder itself."""
    return run.parent.parent if run.parent.name == "checkpoints" else run
