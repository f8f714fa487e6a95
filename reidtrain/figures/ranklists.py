"""Rank lists: what queries find in each mode, right and wrong framed, missing modalities shown; as PNG or HTML."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from PIL import Image, ImageDraw

from reidtrain.batch import LETTERS, SEVEN_MODES
from reidtrain.errors import UserError
from reidtrain.figures.pages import image_tag, write_page
from reidtrain.figures.tiles import (
    FAINT,
    INK,
    NAMES,
    PAPER,
    RIGHT,
    WRONG,
    font,
    framed,
    in_row,
    labelled,
    legend,
    query_text,
    save,
)

if TYPE_CHECKING:
    from reidtrain.checkpoint import LoadedRun
    from reidtrain.data import ReIDDataset
    from reidtrain.features import Features
    from reidtrain.protocols import Setting, Task

SEVEN_NAMES = tuple(mode.name for mode in SEVEN_MODES)
SHOWN = ("text", "sketch", "ir", "rgb")


@dataclass(frozen=True, slots=True)
class Answer:
    """One gallery image of a rank list."""

    row: int
    right: bool
    score: float


@dataclass(frozen=True)
class Asked:
    """One query with its answers.

    Args:
        row: that asks.
        inputs: modality -> pixels or sentence, None where it is missing.
        answers: setting -> answers, best first; None where the query lacks a modality of it.
    """

    row: int
    inputs: Mapping[str, np.ndarray | str | None]
    answers: Mapping[str, Sequence[Answer] | None]


def rank_lists(  # noqa: PLR0913 - what is drawn, of which data, how much of it
    loaded: LoadedRun,
    manifest: str | Path,
    out: str | Path,
    *,
    split: str = "test",
    modes: Sequence[str] = SEVEN_NAMES,
    queries: int = 3,
    top: int = 8,
    protocol: str | None = None,
    samples: Sequence[str] = (),
) -> Path:
    """Draw the rank lists of a few queries, one row per query mode, one column per query.

    A modality that a query lacks is drawn as an empty box, and the modes that need it say so.

    Args:
        loaded: the model.
        manifest: the manifest's folder.
        out: PNG file to write, or HTML where it ends so; the page tells score, person and camera of each answer.
        split: of the manifest.
        modes: query modes or names of settings.
        queries: how many, spread evenly over the queries of the split.
        top: answers of each.
        protocol: None for the data set's own.
        samples: sample ids of the queries, in place of `queries` spread ones.

    Returns:
        The file.

    Raises:
        UserError: when the split has no queries or not those asked for, or the manifest lacks a modality of a mode.
    """
    from reidtrain.evaluate import evaluation_data
    from reidtrain.protocols import choose_protocol, choose_settings

    dataset = evaluation_data(loaded, manifest, split, modes)
    settings = choose_settings(choose_protocol(dataset.datasets.tolist(), protocol), modes)
    asked = _asked(loaded, dataset, settings, queries=queries, top=top, samples=samples)
    title = f"{loaded.config.model.name}, step {loaded.step}, {split}"
    if Path(out).suffix.lower() in (".html", ".htm"):
        return _page(dataset, asked, settings, title, out)
    columns = []
    for one in asked:
        strips = [_strip(dataset, one, setting, top) for setting in settings]
        columns.append((_query_head(one.inputs, strips[0].width), strips))
    return save(_grid(settings, columns, title), out)


def _asked(
    loaded: LoadedRun,
    dataset: ReIDDataset,
    settings: Sequence[Setting],
    *,
    queries: int,
    top: int,
    samples: Sequence[str],
) -> list[Asked]:
    """Choose queries and rank the gallery for each of them in each setting."""
    from reidtrain.features import Encoder, Features
    from reidtrain.protocols import plan

    tasks = {setting.name: plan(setting, dataset) for setting in settings}
    rows = _chosen(dataset, tasks, queries, samples)
    device = next(loaded.backbone.parameters()).device
    store = Features(cast(Encoder, loaded.model), dataset, device=device)
    places = {(name, int(row)): _place(task, int(row)) for name, task in tasks.items() for row in rows}
    asking = [_only(tasks[name], place) for (name, _), place in places.items() if place is not None]
    store.compute([*asking, *(_only(task, None) for task in tasks.values())])
    store.compute_queries(asking)
    found = []
    for row in rows.tolist():
        answers = {
            name: None if places[name, row] is None else _ranked(store, task, cast(int, places[name, row]), top)
            for name, task in tasks.items()
        }
        found.append(Asked(row, _inputs(dataset, tasks, row), answers))
    return found


def _chosen(dataset: ReIDDataset, tasks: Mapping[str, Task], queries: int, samples: Sequence[str]) -> np.ndarray:
    from reidtrain.protocols import QUERY_ROLES

    able = np.zeros(len(dataset), dtype=bool)
    for task in tasks.values():
        able[task.query_rows] = True
    # Where rows hold photographs, those that lack a modality are shown, too: the page says what they lack.
    able |= np.isin(dataset.roles, QUERY_ROLES) & dataset.present.get("rgb", np.zeros(len(dataset), dtype=bool))
    rows = np.flatnonzero(able)
    if not len(rows):
        raise UserError(f"split {dataset.split!r} of {dataset.paths[0]} has no query to draw: choose another split")
    if not samples:
        spread: np.ndarray = rows[np.linspace(0, len(rows) - 1, min(queries, len(rows)) + 2).round().astype(int)[1:-1]]
        return spread
    numbers = {str(sample): row for row, sample in enumerate(dataset.sample_ids)}
    unknown = [sample for sample in samples if sample not in numbers]
    if unknown:
        first = dataset.sample_ids[rows[0]]
        raise UserError(f"split {dataset.split!r} has no capture {unknown[0]!r}: name queries such as {first}")
    return np.asarray([numbers[sample] for sample in samples], dtype=np.int64)


def _place(task: Task, row: int) -> int | None:
    """The first query of a task that a row asks."""
    found = np.flatnonzero(task.query_rows == row)
    return int(found[0]) if len(found) else None


def _only(task: Task, place: int | None) -> Task:
    """The task with one of its queries and no gallery, or with its gallery and no queries."""
    if place is None:
        nobody = task.query_rows[:0]
        return replace(task, query_rows=nobody, captions=nobody, units=None)
    units = None if task.units is None else (task.units[place],)
    return replace(
        task,
        query_rows=task.query_rows[[place]],
        captions=task.captions[[place]],
        gallery_rows=task.gallery_rows[:0],
        units=units,
    )


def _inputs(dataset: ReIDDataset, tasks: Mapping[str, Task], row: int) -> dict[str, np.ndarray | str | None]:
    """What the row asks with: its own, and what other rows of the person lend it."""
    lent: dict[str, tuple[int, int]] = {}
    for task in tasks.values():
        place = _place(task, row)
        if place is not None and task.units is not None:
            lent.update({modality: (lender, caption) for modality, lender, caption in task.units[place][0]})
    found: dict[str, np.ndarray | str | None] = {}
    for modality in SHOWN:
        lender, caption = lent.get(modality, (row, 0))
        there = modality in dataset.present and bool(dataset.present[modality][lender])
        if not there:
            found[modality] = None
        elif modality == "text":
            found[modality] = dataset.captions(lender)[max(caption, 0)]
        else:
            found[modality] = dataset.pixels(lender, modality)
    return found


def _ranked(store: Features, task: Task, query: int, top: int) -> list[Answer]:
    """The best answers after the exclusion."""
    from reidtrain.metrics import SYSU_HIDDEN_CAMERA, SYSU_QUERY_CAMERA, cosine

    labels = store.dataset.labels
    features = store.queries(_only(task, query))
    scores = cosine(features, store.of(task.setting.mode.gallery, task.gallery_rows))[0]
    own = labels[task.gallery_rows] == labels[task.query_rows[query]]
    hidden = np.zeros(len(own), dtype=bool)
    if task.query_keys is not None and task.gallery_keys is not None:
        key = task.query_keys[query]
        if task.exclude == "sysu":
            hidden = (task.gallery_keys == SYSU_HIDDEN_CAMERA) & bool(key == SYSU_QUERY_CAMERA)
        else:
            hidden = own & (task.gallery_keys == key)
    order = [place for place in scores.sort(descending=True, stable=True).indices.tolist() if not hidden[place]]
    return [Answer(int(task.gallery_rows[at]), bool(own[at]), float(scores[at])) for at in order[:top]]


# ------------------------------------------------------------------------------------------------------------- as PNG


def _pixels(dataset: ReIDDataset, row: int, setting: Setting) -> np.ndarray:
    """What the gallery shows of a row."""
    return dataset.pixels(row, next((modality for modality in setting.mode.gallery if modality != "text"), "rgb"))


def _lacking(one: Asked, setting: Setting) -> str:
    gone = [NAMES[modality] for modality in setting.mode.query if one.inputs[modality] is None]
    return f"this query has no {' and no '.join(gone)}" if gone else "this query does not ask here"


def _strip(dataset: ReIDDataset, one: Asked, setting: Setting, top: int) -> Image.Image:
    size, gap = (52, 104), 6
    width = max(top * (size[0] + 8 + gap) - gap, 430)  # the query's inputs stand above
    answers = one.answers[setting.name]
    if answers is None:
        box = Image.new("RGB", (width, size[1] + 8), PAPER)
        ImageDraw.Draw(box).text((4, size[1] // 2 - 4), _lacking(one, setting), FAINT, font(13))
        return box
    tiles = [
        framed(_pixels(dataset, answer.row, setting), RIGHT if answer.right else WRONG, size) for answer in answers
    ]
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


def _grid(
    settings: Sequence[Setting], columns: Sequence[tuple[Image.Image, list[Image.Image]]], title: str
) -> Image.Image:
    margin, gap = 22, 40
    label = 19 + 27 * max(3, *(len(_letters(setting)) for setting in settings))
    head = max(top.height for top, _ in columns)
    step = columns[0][1][0].height + 14
    width = 2 * margin + label + sum(top.width for top, _ in columns) + gap * (len(columns) - 1)
    sheet = Image.new("RGB", (width, 56 + head + 22 + step * len(settings) + 40), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((margin, 16), f"Rank lists: {title}", INK, font(17, bold=True))
    for number, setting in enumerate(settings):
        y = 56 + head + 22 + number * step
        draw.line([(margin, y - 7), (width - margin, y - 7)], (226, 229, 232), 1)
        _chips(draw, (margin, y + step // 2 - 20), setting)
    x = margin + label
    for top, strips in columns:
        sheet.paste(top, (x, 56))
        for number, strip in enumerate(strips):
            y = 56 + head + 22 + number * step
            sheet.paste(strip, (x, y))
        x += top.width + gap
    legend(draw, (margin + label, sheet.height - 34), (RIGHT, WRONG))
    return sheet


def _letters(setting: Setting) -> str:
    """Of the modalities that a mode's chips stand for: photographs only where they ask."""
    given = {LETTERS[modality] for modality in setting.mode.query}
    return "R" if given == {"R"} else f"TSI{'R' if 'R' in given else ''}"


def _chips(draw: ImageDraw.ImageDraw, at: tuple[int, int], setting: Setting) -> None:
    """The modalities of a mode: given ones filled, missing ones hollow; below them the rest of the setting's name."""
    given = {LETTERS[modality] for modality in setting.mode.query}
    for number, letter in enumerate(_letters(setting)):
        x, y = at[0] + 27 * number, at[1]
        filled = letter in given
        draw.rounded_rectangle([x, y, x + 22, y + 24], 5, INK if filled else PAPER, None if filled else (190, 195, 200))
        draw.text((x + 11, y + 12), letter, PAPER if filled else (178, 184, 190), font(13, bold=True), anchor="mm")
    more = setting.name.removeprefix(setting.mode.name).strip(" ,")
    if setting.mode.gallery != ("rgb",):
        more = f"\u2192 {'+'.join(LETTERS[modality] for modality in setting.mode.gallery)} {more}".strip()
    draw.text((at[0], at[1] + 30), more, FAINT, font(10))


# ------------------------------------------------------------------------------------------------------------ as HTML


def _page(
    dataset: ReIDDataset, asked: Sequence[Asked], settings: Sequence[Setting], title: str, out: str | Path
) -> Path:
    parts = [f"<h1>Rank lists: {html.escape(title)}</h1>"]
    parts.append('<p><span class="key right"></span> right person <span class="key wrong"></span> another person</p>')
    for one in asked:
        parts.append(f"<section><h2>{html.escape(str(dataset.sample_ids[one.row]))}, {_who(dataset, one.row)}</h2>")
        parts.append(f'<div class="query">{"".join(_given(one, name) for name in SHOWN)}</div>')
        for setting in settings:
            parts.append(f'<div class="mode"><b>{html.escape(setting.name)}</b><div class="answers">')
            answers = one.answers[setting.name]
            if answers is None:
                parts.append(f'<p class="none">{_lacking(one, setting)}</p>')
            for rank, answer in enumerate(answers or (), 1):
                parts.append(_figure(dataset, rank, answer, setting))
            parts.append("</div></div>")
        parts.append("</section>")
    return write_page(out, f"Rank lists: {title}", "\n".join(parts))


def _who(dataset: ReIDDataset, row: int) -> str:
    camera = int(dataset.camids[row])
    return f"person {dataset.pids[row]}" + ("" if camera < 0 else f", camera {camera}")


def _given(one: Asked, name: str) -> str:
    value = one.inputs[name]
    label = "person" if name == "rgb" else NAMES[name]
    if value is None:
        return f'<figure class="gone"><div></div><figcaption>no {label}</figcaption></figure>'
    if isinstance(value, str):
        return f"<blockquote>{html.escape(value)}</blockquote>"
    return f"<figure>{image_tag(value, 128, label)}<figcaption>{label}</figcaption></figure>"


def _figure(dataset: ReIDDataset, rank: int, answer: Answer, setting: Setting) -> str:
    told = f"{rank}: {dataset.sample_ids[answer.row]}, {_who(dataset, answer.row)}, score {answer.score:.4f}"
    picture = image_tag(
        _pixels(dataset, answer.row, setting), 112, "right person" if answer.right else "another person"
    )
    kind = "right" if answer.right else "wrong"
    caption = f"<figcaption>{rank} &middot; {answer.score:.3f}</figcaption>"
    return f'<figure class="{kind}" title="{html.escape(told)}">{picture}{caption}</figure>'
