"""Features of all modalities in one plane: markers for modalities, colours for identities."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from reidtrain.errors import UserError
from reidtrain.figures.curves import save_plot
from reidtrain.figures.pages import write_page
from reidtrain.figures.tiles import NAMES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from reidtrain.checkpoint import LoadedRun
    from reidtrain.data import ReIDDataset

MARKERS = {"rgb": "o", "ir": "s", "sketch": "^", "text": "X"}


def projection(
    loaded: LoadedRun,
    manifest: str | Path,
    out: str | Path,
    *,
    split: str = "test",
    identities: int = 12,
    views: int = 6,
    perplexity: float = 20.0,
    frozen: bool = False,
) -> Path:
    """Draw a t-SNE of the features of some identities, every modality by itself.

    Args:
        loaded: the model.
        manifest: the manifest's folder.
        out: PNG file to write, or HTML where it ends so; the page tells person and capture of each point.
        split: of the manifest.
        identities: how many, spread evenly over those that have every modality most often.
        views: captures of each, at most; a caption counts as the text of its capture.
        perplexity: of t-SNE.
        frozen: features of the encoder without training.

    Returns:
        The file.

    Raises:
        UserError: when the split holds fewer than two identities or four points.
    """
    from reidtrain.evaluate import evaluation_data

    dataset = evaluation_data(loaded, manifest, split)
    chosen = _chosen(dataset, identities, views)
    if len(chosen) < 2:
        raise UserError(f"split {split!r} of {manifest} has fewer than two identities to draw: choose another split")
    points = _features(loaded, dataset, chosen, frozen=frozen)
    if len(points) < 4:
        raise UserError(f"split {split!r} of {manifest} has {len(points)} points to draw, and four are needed")
    from reidtrain.embedding import tsne

    plane = tsne(torch.stack([feature for _, _, feature in points]), perplexity=perplexity).numpy()
    what = "frozen encoder" if frozen else f"{loaded.config.model.name}, step {loaded.step}"
    title = f"t-SNE of {what}, {split}: {len(chosen)} people"
    drawn = [(modality, row) for modality, row, _ in points]
    colours = _colours([int(dataset.labels[rows[0]]) for rows in chosen])
    if Path(out).suffix.lower() in (".html", ".htm"):
        return _page(dataset, drawn, plane, colours, title, out)
    return save_plot(_plot(dataset, drawn, plane, colours, title), out, title)


def _chosen(dataset: ReIDDataset, identities: int, views: int) -> list[list[int]]:
    """Rows of each identity drawn: those with most modalities first."""
    richness = np.sum([present for present in dataset.present.values()], axis=0)
    groups: dict[int, list[int]] = {}
    for row in np.argsort(-richness, kind="stable").tolist():
        if richness[row]:
            groups.setdefault(int(dataset.labels[row]), []).append(row)
    fullest = max((sum(int(richness[row]) for row in rows[:views]) for rows in groups.values()), default=0)
    able = [label for label, rows in sorted(groups.items()) if sum(int(richness[r]) for r in rows[:views]) == fullest]
    able = able if len(able) >= identities else sorted(groups)
    if not able:
        return []
    places = np.linspace(0, len(able) - 1, min(identities, len(able))).round().astype(int)
    return [groups[able[place]][:views] for place in places]


def _features(
    loaded: LoadedRun, dataset: ReIDDataset, chosen: Sequence[Sequence[int]], *, frozen: bool
) -> list[tuple[str, int, torch.Tensor]]:
    """(modality, row, normalised feature) of everything that is there."""
    from reidtrain.features import Encoder, Features, FrozenEncoder
    from reidtrain.protocols import NO_CAPTION

    device = next(loaded.backbone.parameters()).device
    encoder = FrozenEncoder(loaded.backbone) if frozen else cast(Encoder, loaded.model)
    store = Features(encoder, dataset, device=device)
    rows = sorted(row for group in chosen for row in group)
    found = []
    for modality in dataset.modalities:
        having = np.asarray([row for row in rows if dataset.present[modality][row]], dtype=np.int64)
        captions = np.full(len(having), 0 if modality == "text" else NO_CAPTION)
        if len(having):
            units = zip(having.tolist(), captions.tolist(), strict=True)
            store.compute_units({unit: {(modality,)} for unit in units})
            features = torch.nn.functional.normalize(store.of((modality,), having, captions), dim=1)
            found += list(zip([modality] * len(having), having.tolist(), features, strict=True))
    return found


def _colours(labels: Sequence[int]) -> dict[int, tuple[float, float, float]]:
    """Colours that stay apart: hues around the circle, alternately dark and light."""
    import colorsys

    count = len(labels)
    return {
        label: colorsys.hls_to_rgb(number / count, 0.42 if number % 2 else 0.58, 0.62)
        for number, label in enumerate(labels)
    }


Drawn = Sequence[tuple[str, int]]


def _plot(dataset: ReIDDataset, drawn: Drawn, plane: np.ndarray, colours: Mapping[int, Any], title: str) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    figure = Figure(figsize=(9.2, 6.6), dpi=130, layout="constrained")
    axes = figure.subplots()
    for modality, marker in MARKERS.items():
        places = [place for place, (name, _) in enumerate(drawn) if name == modality]
        paint = [colours[int(dataset.labels[drawn[place][1]])] for place in places]
        x, y = plane[places, 0], plane[places, 1]
        axes.scatter(x, y, c=paint, marker=marker, s=46, edgecolors="white", linewidths=0.6, alpha=0.92)
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color("#d6dade")
    present = [modality for modality in MARKERS if any(name == modality for name, _ in drawn)]
    shapes: dict[str, Any] = {"linestyle": "none", "color": "#747a82", "markersize": 8}
    keys = [Line2D([], [], marker=MARKERS[modality], label=NAMES[modality], **shapes) for modality in present]
    figure.legend(handles=keys, loc="outside right upper", frameon=False, title="modality")
    people = {int(dataset.labels[row]): int(dataset.pids[row]) for _, row in drawn}
    dots = [Line2D([], [], marker="o", linestyle="none", color=colours[n], label=str(people[n])) for n in colours]
    figure.legend(handles=dots[:24], loc="outside right lower", frameon=False, title="person", fontsize=8)
    return figure


_SHAPES = {
    "rgb": '<circle cx="0" cy="0" r="6"/>',
    "ir": '<rect x="-5.5" y="-5.5" width="11" height="11"/>',
    "sketch": '<path d="M0,-7 L6.5,5.5 L-6.5,5.5 Z"/>',
    "text": '<path d="M-6,-3 L-3,-6 L0,-3 L3,-6 L6,-3 L3,0 L6,3 L3,6 L0,3 L-3,6 L-6,3 L-3,0 Z"/>',
}


def _page(
    dataset: ReIDDataset, drawn: Drawn, plane: np.ndarray, colours: Mapping[int, Any], title: str, out: str | Path
) -> Path:
    size, margin = (940, 640), 24
    low, high = plane.min(0), plane.max(0)
    scaled = (plane - low) / np.maximum(high - low, 1e-9) * (np.asarray(size) - 2 * margin) + margin
    marks = []
    for (modality, row), (x, y) in zip(drawn, scaled.tolist(), strict=True):
        red, green, blue = (round(255 * part) for part in colours[int(dataset.labels[row])])
        told = f"{NAMES[modality]} of person {dataset.pids[row]}: {dataset.sample_ids[row]}"
        if modality == "text":
            told += f"\n{dataset.captions(row)[0]}"
        marks.append(
            f'<g transform="translate({x:.1f},{size[1] - y:.1f})" fill="rgb({red},{green},{blue})" stroke="white">'
            f"<title>{html.escape(told)}</title>{_SHAPES[modality]}</g>"
        )
    present = [modality for modality in MARKERS if any(name == modality for name, _ in drawn)]
    keys = "".join(
        f'<svg width="18" height="18" viewBox="-9 -9 18 18" fill="#747a82">{_SHAPES[m]}</svg> {NAMES[m]}&emsp;'
        for m in present
    )
    box = f'<svg viewBox="0 0 {size[0]} {size[1]}" style="border:1px solid var(--line)">{"".join(marks)}</svg>'
    note = '<p class="note">Colours are people; point at a mark to see which.</p>'
    return write_page(out, title, f"<h1>{html.escape(title)}</h1><p>{keys}</p>{box}{note}")
