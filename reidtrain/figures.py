"""Pictures: the answer to one query, rank lists of an evaluation, curves of a training.

Right answers are framed green with a tick, wrong ones red with a cross; where the person looked for is not known, the
frames are grey.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from PIL import Image, ImageDraw

from reidtrain.batch import LETTERS, SEVEN_MODES, parse_mode
from reidtrain.errors import UserError
from reidtrain.tiles import (
    FAINT,
    INK,
    PAPER,
    RIGHT,
    UNKNOWN,
    WRONG,
    font,
    framed,
    in_row,
    labelled,
    legend,
    query_text,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from reidtrain.checkpoint import LoadedRun
    from reidtrain.features import Features
    from reidtrain.protocols import Task
    from reidtrain.retrieval import Hit

Picture = np.ndarray | str | Path

SEVEN_NAMES = tuple(mode.name for mode in SEVEN_MODES)
NAMES = {"text": "text", "sketch": "sketch", "ir": "infrared", "rgb": "photograph"}


def rank_strip(
    hits: Sequence[Hit],
    out: str | Path,
    *,
    text: str | None = None,
    sketch: Picture | None = None,
    ir: Picture | None = None,
    rgb: Picture | None = None,
    pid: int | None = None,
) -> Path:
    """Draw a query and its answers in one row.

    Args:
        hits: answers of `reidtrain.retrieval.search`, best first.
        out: PNG file to write.
        text: the query's sentence.
        sketch: the query's sketch, pixels or file; so are the next two.
        ir: infrared.
        rgb: a photograph.
        pid: the person who was looked for, where that is known; else all frames are grey.

    Returns:
        The file.

    Raises:
        UserError: when an image can't be read or the file can't be written.
    """
    from reidtrain.retrieval import read_image

    given = {"sketch": sketch, "ir": ir, "rgb": rgb}
    images = {name: image for name, image in given.items() if image is not None}
    pixels = {n: image if isinstance(image, np.ndarray) else read_image(image, n) for n, image in images.items()}
    tiles = [query_text(text, (190, 224))] if text else []
    tiles += [labelled(image, NAMES[name], (100, 200)) for name, image in pixels.items()]
    answers = [_answer(hit, None if pid is None else hit.pid == pid) for hit in hits]
    gap, margin, divide = 10, 22, 34
    left, right = in_row(tiles, gap), in_row(answers, gap)
    width = max(2 * margin + left.width + divide + right.width, 360)
    height = max(left.height, right.height)
    sheet = Image.new("RGB", (width, height + 104), PAPER)
    draw = ImageDraw.Draw(sheet)
    query = "+".join(LETTERS[name] for name in LETTERS if name in pixels or (name == "text" and text))
    draw.text((margin, 16), f"{query} \u2192 R", INK, font(17, bold=True))
    start = margin + left.width + divide
    draw.text((start, 16), f"the {len(hits)} best photographs", FAINT, font(15))
    sheet.paste(left, (margin, 50))
    sheet.paste(right, (start, 50))
    line = start - divide // 2
    draw.line([(line, 50), (line, 50 + height)], (214, 218, 222), 2)
    legend(draw, (start, 50 + height + 20), (UNKNOWN,) if pid is None else (RIGHT, WRONG))
    return _save(sheet, out)


def rank_lists(
    loaded: LoadedRun,
    manifest: str | Path,
    out: str | Path,
    *,
    split: str = "test",
    modes: Sequence[str] = SEVEN_NAMES,
    queries: int = 3,
    top: int = 8,
) -> Path:
    """Draw the rank lists of a few queries, one row per query mode, one column per query.

    A modality that a query lacks is drawn as an empty box, and the modes that need it say so.

    Args:
        loaded: the model.
        manifest: the manifest's folder.
        out: PNG file to write.
        split: of the manifest.
        modes: query modes, all against photographs.
        queries: how many, spread evenly over the queries of the split.
        top: answers of each.

    Returns:
        The file.

    Raises:
        UserError: when the split has no queries, or the manifest lacks a modality of a mode.
    """
    from reidtrain.evaluate import evaluation_data
    from reidtrain.features import Encoder, Features
    from reidtrain.protocols import NO_CAPTION, QUERY_ROLES, Setting, choose_protocol, choose_settings, plan

    dataset = evaluation_data(loaded, manifest, split, modes)
    settings: Sequence[Setting] = choose_settings(choose_protocol(dataset.datasets.tolist()), modes)
    rows = np.flatnonzero(np.isin(dataset.roles, QUERY_ROLES) & dataset.present["rgb"])
    if not len(rows):
        raise UserError(f"split {split!r} of {manifest} has no query to draw: choose another split")
    rows = rows[np.linspace(0, len(rows) - 1, min(queries, len(rows)) + 2).round().astype(int)[1:-1]]
    device = next(loaded.backbone.parameters()).device
    store = Features(cast(Encoder, loaded.model), dataset, device=device)
    tasks = {setting.name: plan(setting, dataset) for setting in settings}
    for task in tasks.values():
        caption = 0 if "text" in task.setting.mode.query else NO_CAPTION
        asked = {(int(row), caption): {task.setting.mode.query} for row in rows if _place(task, row) is not None}
        store.compute_units({(int(row), NO_CAPTION): {task.setting.mode.gallery} for row in task.gallery_rows})
        store.compute_units(asked)
    columns = []
    for row in rows:
        inputs = {name: _input(store, int(row), name) for name in ("text", "sketch", "ir", "rgb")}
        strips = [_mode_strip(store, task, int(row), top) for task in tasks.values()]
        columns.append((_query_head(inputs, strips[0].width), strips))
    return _save(_grid(list(tasks), columns, f"{loaded.config.model.name}, step {loaded.step}, {split}"), out)


def curves(run: str | Path, out: str | Path) -> Path:
    """Draw the losses and the selection metric of a run.

    Args:
        run: the run folder; its log.jsonl is read.
        out: PNG file to write.

    Returns:
        The file.

    Raises:
        UserError: when the run has no log yet.
    """
    from matplotlib.figure import Figure

    from reidtrain.runlog import read_log

    train, val = read_log(Path(run), "train"), read_log(Path(run), "val")
    if not train:
        raise UserError(f"{run} has no training log to draw: train it with `reidtrain fit`")
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
    path = Path(out)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Software": None})
    except OSError as error:
        raise UserError(f"{path} can't be written ({error.strerror}): give another file") from error
    return path


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


# ------------------------------------------------------------------------------------------------- parts of a rank list


def _place(task: Task, row: int) -> int | None:
    """The first query of a task that a row asks."""
    found = np.flatnonzero(task.query_rows == row)
    return int(found[0]) if len(found) else None


def _input(store: Features, row: int, modality: str) -> np.ndarray | str | None:
    if modality not in store.dataset.present or not store.dataset.present[modality][row]:
        return None
    return store.dataset.captions(row)[0] if modality == "text" else store.dataset.pixels(row, modality)


def _ranked(store: Features, task: Task, query: int, top: int) -> list[tuple[int, bool]]:
    """Rows of the best answers after the exclusion, and whether each is right."""
    from reidtrain.metrics import SYSU_HIDDEN_CAMERA, SYSU_QUERY_CAMERA, cosine

    mode, labels = task.setting.mode, store.dataset.labels
    units = None if task.units is None else (task.units[query],)
    features = store.queries(
        replace(task, query_rows=task.query_rows[[query]], captions=task.captions[[query]], units=units)
    )
    scores = cosine(features, store.of(mode.gallery, task.gallery_rows))[0]
    own = labels[task.gallery_rows] == labels[task.query_rows[query]]
    hidden = np.zeros(len(own), dtype=bool)
    if task.query_keys is not None and task.gallery_keys is not None:
        key = task.query_keys[query]
        if task.exclude == "sysu":
            hidden = (task.gallery_keys == SYSU_HIDDEN_CAMERA) & bool(key == SYSU_QUERY_CAMERA)
        else:
            hidden = own & (task.gallery_keys == key)
    order = [place for place in scores.sort(descending=True, stable=True).indices.tolist() if not hidden[place]]
    return [(int(task.gallery_rows[place]), bool(own[place])) for place in order[:top]]


def _mode_strip(store: Features, task: Task, row: int, top: int) -> Image.Image:
    size, gap = (52, 104), 6
    width = max(top * (size[0] + 8 + gap) - gap, 430)  # the query's inputs stand above
    query = _place(task, row)
    if query is None:
        box = Image.new("RGB", (width, size[1] + 8), PAPER)
        gone = [NAMES[name] for name in task.setting.mode.query if _input(store, row, name) is None]
        ImageDraw.Draw(box).text((4, size[1] // 2 - 4), f"this query has no {' and no '.join(gone)}", FAINT, font(13))
        return box
    found = _ranked(store, task, query, top)
    tiles = [framed(store.dataset.pixels(place, "rgb"), RIGHT if right else WRONG, size) for place, right in found]
    return in_row(tiles, gap, width)


def _query_head(inputs: Mapping[str, np.ndarray | str | None], width: int) -> Image.Image:
    tiles = []
    for name in ("sketch", "ir", "rgb"):
        image = cast("np.ndarray | None", inputs[name])
        label = "person" if name == "rgb" else NAMES[name]
        tiles.append(labelled(image, label, (64, 128)))
    side = in_row(tiles, 8)
    caption = cast("str | None", inputs["text"])
    return in_row([query_text(caption, (width - side.width - 10, side.height)), side], 10, width)


def _grid(names: Sequence[str], columns: Sequence[tuple[Image.Image, list[Image.Image]]], title: str) -> Image.Image:
    margin, label, gap = 22, 100, 40
    head = max(top.height for top, _ in columns)
    step = columns[0][1][0].height + 14
    width = 2 * margin + label + sum(top.width for top, _ in columns) + gap * (len(columns) - 1)
    sheet = Image.new("RGB", (width, 56 + head + 22 + step * len(names) + 40), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((margin, 16), f"Rank lists: {title}", INK, font(17, bold=True))
    for number, name in enumerate(names):
        y = 56 + head + 22 + number * step
        draw.line([(margin, y - 7), (width - margin, y - 7)], (226, 229, 232), 1)
        _chips(draw, (margin, y + step // 2 - 20), name)
    x = margin + label
    for top, strips in columns:
        sheet.paste(top, (x, 56))
        for number, strip in enumerate(strips):
            y = 56 + head + 22 + number * step
            sheet.paste(strip, (x, y))
        x += top.width + gap
    legend(draw, (margin + label, sheet.height - 34), (RIGHT, WRONG))
    return sheet


def _chips(draw: ImageDraw.ImageDraw, at: tuple[int, int], name: str) -> None:
    """The modalities of a mode: given ones filled, missing ones hollow."""
    given = {LETTERS[modality] for modality in parse_mode(name.partition(",")[0]).query}
    letters = [letter for letter in "TSI" if not given <= {"R"}] or ["R"]
    for number, letter in enumerate(letters):
        x, y = at[0] + 27 * number, at[1]
        filled = letter in given
        draw.rounded_rectangle([x, y, x + 22, y + 24], 5, INK if filled else PAPER, None if filled else (190, 195, 200))
        draw.text((x + 11, y + 12), letter, PAPER if filled else (178, 184, 190), font(13, bold=True), anchor="mm")


def _answer(hit: Hit, right: bool | None) -> Image.Image:
    colour = UNKNOWN if right is None else RIGHT if right else WRONG
    photo = framed(hit.image, colour, (96, 192))
    tile = Image.new("RGB", (photo.width, photo.height + 56), PAPER)
    tile.paste(photo, (0, 0))
    draw = ImageDraw.Draw(tile)
    draw.text((2, photo.height + 4), f"{hit.rank}", INK, font(14, bold=True))
    draw.text((tile.width - 2, photo.height + 4), f"{hit.score:.3f}", INK, font(14), anchor="ra")
    draw.text((2, photo.height + 23), f"person {hit.pid}", FAINT, font(11))
    if hit.camid is not None:
        draw.text((2, photo.height + 38), f"camera {hit.camid}", FAINT, font(11))
    return tile


def _save(sheet: Image.Image, out: str | Path) -> Path:
    path = Path(out)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(path, format="PNG", optimize=True)
    except OSError as error:
        raise UserError(f"{path} can't be written ({error.strerror or error}): give another file") from error
    return path
