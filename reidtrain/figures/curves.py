"""Curves of a training."""

from __future__ import annotations

import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from reidtrain.errors import UserError
from reidtrain.figures.pages import write_page

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def curves(run: str | Path, out: str | Path) -> Path:
    """Draw the losses and the selection metric of a run.

    Args:
        run: the run folder; its log.jsonl is read.
        out: PNG file to write, or HTML where it ends so.

    Returns:
        The file.

    Raises:
        UserError: when the run has no log yet, or the file can't be written.
    """
    from reidtrain.runlog import read_log

    train, val = read_log(Path(run), "train"), read_log(Path(run), "val")
    if not train:
        raise UserError(f"{run} has no training log to draw: train it with `reidtrain fit`")
    return save_plot(_drawn(train, val), out, f"Training of {Path(run).name}")


def save_plot(figure: Figure, out: str | Path, title: str) -> Path:
    """Write a plot as PNG, or inside an HTML page where the file ends so.

    Raises:
        UserError: when the file can't be written.
    """
    path = Path(out)
    if path.suffix.lower() in (".html", ".htm"):
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
        drawing = buffer.getvalue()
        return write_page(path, title, f"<h1>{html.escape(title)}</h1>\n{drawing[drawing.index('<svg') :]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Software": None})
    except OSError as error:
        raise UserError(f"{path} can't be written ({error.strerror}): give another file") from error
    return path


def _drawn(train: Sequence[Mapping], val: Sequence[Mapping]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11 if val else 6.5, 4.2), dpi=130, layout="constrained")
    axes = figure.subplots(1, 2 if val else 1, squeeze=False)[0]
    _lines(axes[0], train, "losses", "loss", ("total", "loss"))
    if all(value > 0 for entry in train for value in (entry["loss"], *entry["losses"].values())):
        axes[0].set_yscale("log")  # a sum of many losses would press its parts flat
    axes[0].set_title("training losses (mean since the last report)", loc="left", fontsize=10)
    if val:
        metric = next(name for name, value in val[0].items() if isinstance(value, Mapping))
        percent = [{**entry, "mean": 100 * entry["mean"], metric: _percent(entry[metric])} for entry in val]
        _lines(axes[1], percent, metric, f"{metric} (%)", ("mean", "mean"))
        axes[1].set_ylim(bottom=0)
        axes[1].set_title(f"{metric} on the selection split, by query mode", loc="left", fontsize=10)
    return figure


def _percent(values: Mapping[str, float]) -> dict[str, float]:
    return {name: 100 * value for name, value in values.items()}


def _lines(axes: Axes, entries: Sequence[Mapping], parts: str, label: str, whole: tuple[str, str]) -> None:
    """Draw thin lines for the parts of a value and a thick one for the whole (its name, its key)."""
    steps = [entry["step"] for entry in entries]
    marker = "o" if len(steps) < 12 else ""
    for number, name in enumerate(entries[0][parts]):
        values = [entry[parts].get(name, float("nan")) for entry in entries]
        axes.plot(steps, values, color=f"C{number}", lw=1.2, marker=marker, ms=3, label=name.removesuffix("->R"))
    axes.plot(steps, [entry[whole[1]] for entry in entries], color="black", lw=2.4, marker=marker, ms=4, label=whole[0])
    axes.set_xlabel("step")
    axes.set_ylabel(label)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
