"""What matches rest on: maps over photograph, sketch and infrared, and the words; as PNG or HTML."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
import torch
from PIL import Image, ImageDraw

from reidtrain.errors import UserError
from reidtrain.figures.pages import image_tag, write_page
from reidtrain.figures.tiles import FAINT, INK, NAMES, PAPER, SHADE, font, in_row, labelled, save
from reidtrain.relevance import WordRelevance, occlude_image, occlude_words, rollout_image, rollout_words

if TYPE_CHECKING:
    from reidtrain.checkpoint import LoadedRun
    from reidtrain.data import ReIDDataset
    from reidtrain.features import Encoder

Method = Literal["occlusion", "rollout"]
FOR, AGAINST = (214, 64, 32), (40, 96, 200)
_SIZE = (96, 192)
_CELLS = (9, 18)


@dataclass(frozen=True)
class Maps:
    """What is drawn of one query.

    Args:
        row: that asks.
        photo: row of the photograph that it is compared with.
        score: cosine similarity of query and photograph.
        images: modality -> (pixels, pixels under their map), None where the query lacks it; `rgb` is the photograph.
        words: of the sentence, empty without one.
    """

    row: int
    photo: int
    score: float
    images: Mapping[str, tuple[np.ndarray, np.ndarray] | None]
    words: Sequence[WordRelevance]


def attention(
    loaded: LoadedRun,
    manifest: str | Path,
    out: str | Path,
    *,
    split: str = "test",
    queries: int = 4,
    method: Method = "occlusion",
    samples: Sequence[str] = (),
) -> Path:
    """Draw for a few queries what the match with a photograph of the person rests on.

    Sketch, infrared and words are held against that photograph, each by itself; the photograph against all that the
    query has. It is the best-matching photograph of the person that is not the query's own, where there is one.

    Args:
        loaded: the model.
        manifest: the manifest's folder.
        out: PNG file to write, or HTML where it ends so.
        split: of the manifest.
        queries: how many, spread evenly.
        method: see `reidtrain.relevance`.
        samples: sample ids of the queries, in place of `queries` spread ones.

    Returns:
        The file.

    Raises:
        UserError: when there is nothing to draw, or the method does not go with the model.
    """
    from reidtrain.evaluate import evaluation_data

    if method not in ("occlusion", "rollout"):
        raise UserError(f"method {method!r} is unknown: choose occlusion or rollout")
    dataset = evaluation_data(loaded, manifest, split)
    rows = _rows(dataset, queries, samples)
    drawn = [_maps(loaded, dataset, row, method) for row in rows]
    title = f"Attention ({method}) of {loaded.config.model.name}, step {loaded.step}, {split}"
    if Path(out).suffix.lower() in (".html", ".htm"):
        return _page(dataset, drawn, title, method, out)
    return save(_sheet(dataset, drawn, title, method), out)


def _rows(dataset: ReIDDataset, queries: int, samples: Sequence[str]) -> list[int]:
    nobody = np.zeros(len(dataset), dtype=bool)
    able = np.any([dataset.present.get(name, nobody) for name in ("sketch", "ir", "text")], axis=0)
    photos = set(dataset.labels[dataset.present.get("rgb", nobody)].tolist())
    rows = [row for row in np.flatnonzero(able).tolist() if int(dataset.labels[row]) in photos]
    if not rows:
        raise UserError(
            f"split {dataset.split!r} of {dataset.paths[0]} has no query with sketch, infrared or text whose person "
            "has a photograph: choose another split"
        )
    if not samples:
        places = np.linspace(0, len(rows) - 1, min(queries, len(rows)) + 2).round().astype(int)[1:-1]
        return [rows[place] for place in places]
    numbers = {str(dataset.sample_ids[row]): row for row in rows}
    unknown = [sample for sample in samples if sample not in numbers]
    if unknown:
        raise UserError(f"{unknown[0]!r} is no query to draw here: name queries such as {dataset.sample_ids[rows[0]]}")
    return [numbers[sample] for sample in samples]


def _maps(loaded: LoadedRun, dataset: ReIDDataset, row: int, method: Method) -> Maps:
    from reidtrain.features import Encoder, Features
    from reidtrain.protocols import NO_CAPTION

    encoder = cast(Encoder, loaded.model)
    device = next(loaded.backbone.parameters()).device
    store = Features(encoder, dataset, device=device)
    offered: tuple[str, ...] = ("text", "sketch", "ir")
    having = tuple(m for m in offered if m in dataset.present and dataset.present[m][row])
    caption = 0 if "text" in having else NO_CAPTION
    same = np.flatnonzero((dataset.labels == dataset.labels[row]) & dataset.present["rgb"])
    others = same[dataset.image_ids[same] != dataset.image_ids[row]]
    photos = others if len(others) else same
    store.compute_units({(row, caption): {having}})
    store.compute_units({(int(photo), NO_CAPTION): {("rgb",)} for photo in photos})
    query = store.of(having, np.asarray([row]), np.asarray([caption]))[0]
    answers = store.of(("rgb",), photos)
    scores = torch.nn.functional.normalize(answers, dim=1) @ torch.nn.functional.normalize(query, dim=0)
    best = int(scores.argmax())
    photo, target = int(photos[best]), answers[best].to(device)
    images: dict[str, tuple[np.ndarray, np.ndarray] | None] = {}
    for modality in ("sketch", "ir"):
        there = modality in having
        images[modality] = _seen(loaded, dataset, row, modality, target, method) if there else None
    images["rgb"] = _seen(loaded, dataset, photo, "rgb", query.to(device), method)
    words: list[WordRelevance] = []
    if "text" in having:
        sentence = dataset.captions(row)[0]
        words = (
            occlude_words(encoder, loaded.backbone.tokenize, sentence, target)
            if method == "occlusion"
            else rollout_words(encoder, loaded.backbone, sentence)
        )
    return Maps(row, photo, float(scores[best]), images, words)


def _seen(
    loaded: LoadedRun, dataset: ReIDDataset, row: int, modality: str, target: torch.Tensor, method: Method
) -> tuple[np.ndarray, np.ndarray]:
    encoder = cast("Encoder", loaded.model)
    item = dataset.load(row, (modality,))
    if method == "occlusion":
        values = occlude_image(encoder, item, modality, target)
    else:
        values = rollout_image(encoder, loaded.backbone, item, modality)
    pixels = dataset.pixels(row, modality)
    return pixels, painted(pixels, values)


def painted(pixels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """An image under its map: what speaks for the match turns red, what speaks against it blue.

    Args:
        pixels: uint8 (H, W, 3).
        values: (h, w), stretched over the image; the largest size of a value is the full colour.

    Returns:
        uint8 (H, W, 3).
    """
    height, width = pixels.shape[:2]
    cells = Image.fromarray(values.astype(np.float32))
    if cells.height > 2 * _CELLS[1]:  # steps between windows are no finding: smooth them
        cells = cells.resize(_CELLS, Image.Resampling.BOX)
    stretched = np.asarray(cells.resize((width, height), Image.Resampling.BICUBIC))
    if float(values.min()) >= 0:
        stretched = np.clip(stretched - np.median(stretched), 0, None)  # shares of attention: what stands out
    strength = np.clip(stretched / max(float(np.abs(stretched).max()), 1e-12), -1, 1)[:, :, None]
    grey = pixels.mean(axis=2, keepdims=True) * 0.55 + 255 * 0.4
    colour = np.where(strength >= 0, np.asarray(FOR, dtype=np.float64), np.asarray(AGAINST, dtype=np.float64))
    share = 0.85 * np.abs(strength)
    mixed: np.ndarray = np.clip(grey * (1 - share) + colour * share, 0, 255).round().astype(np.uint8)
    return mixed


def _shade(words: Sequence[WordRelevance], word: WordRelevance) -> tuple[int, int, int]:
    """Background of a word."""
    largest = max((abs(one.value) for one in words), default=0.0) or 1.0
    share = 0.75 * min(1.0, abs(word.value) / largest)
    colour = FOR if word.value >= 0 else AGAINST
    red, green, blue = (round(255 * (1 - share) + part * share) for part in colour)
    return red, green, blue


# ------------------------------------------------------------------------------------------------------------- as PNG


def _sheet(dataset: ReIDDataset, drawn: Sequence[Maps], title: str, method: Method) -> Image.Image:
    rows = [_row(dataset, one) for one in drawn]
    margin, step = 22, max(row.height for row in rows) + 22
    sheet = Image.new("RGB", (2 * margin + max(row.width for row in rows), 60 + step * len(rows) + 26), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((margin, 16), title, INK, font(17, bold=True))
    for number, row in enumerate(rows):
        y = 58 + number * step
        draw.line([(margin, y - 8), (sheet.width - margin, y - 8)], (226, 229, 232), 1)
        sheet.paste(row, (margin, y))
    x = margin
    for colour, name in _legend(method):
        draw.rectangle([x, sheet.height - 30, x + 14, sheet.height - 16], colour)
        draw.text((x + 22, sheet.height - 31), name, FAINT, font(12))
        x += 46 + int(font(12).getlength(name))
    return sheet


def _legend(method: Method) -> list[tuple[tuple[int, int, int], str]]:
    if method == "rollout":
        return [(FOR, "more attention than the median of the image")]
    return [(FOR, "the match rests on it"), (AGAINST, "it speaks against the match")]


def _row(dataset: ReIDDataset, one: Maps) -> Image.Image:
    tiles = [_words((300, _SIZE[1] + 24), one)]
    for modality in ("sketch", "ir", "rgb"):
        pair = one.images[modality]
        label = "photo found" if modality == "rgb" else NAMES[modality]
        tiles += [labelled(None, label, _SIZE)] if pair is None else [labelled(pair[0], label, _SIZE)]
        tiles += [] if pair is None else [labelled(pair[1], "its map", _SIZE)]
    row = in_row(tiles, 12)
    told = f"{dataset.sample_ids[one.row]} against {dataset.sample_ids[one.photo]}, similarity {one.score:.3f}"
    whole = Image.new("RGB", (row.width, row.height + 24), PAPER)
    ImageDraw.Draw(whole).text((0, 0), told, FAINT, font(12))
    whole.paste(row, (0, 24))
    return whole


def _words(size: tuple[int, int], one: Maps) -> Image.Image:
    tile = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(tile)
    draw.text((size[0] // 2, size[1] - 18), "text" if one.words else "no text", FAINT, font(11), anchor="ma")
    if not one.words:
        draw.rectangle([0, 0, size[0] - 1, size[1] - 25], SHADE, (200, 205, 210))
        return tile
    for points in (17, 15, 13, 11):
        if _set(None, one.words, points, size[0]) <= size[1] - 30:
            break
    _set(draw, one.words, points, size[0])
    return tile


def _set(draw: ImageDraw.ImageDraw | None, words: Sequence[WordRelevance], points: int, width: int) -> int:
    """Set words with their backgrounds; returns the height needed (nothing is drawn without `draw`)."""
    face, x, y, line = font(points), 0, 0, points + 11
    for word in words:
        wide = int(face.getlength(word.word)) + 8
        if x and x + wide > width:
            x, y = 0, y + line
        if draw is not None:
            draw.rounded_rectangle([x, y, x + wide, y + points + 7], 4, _shade(words, word))
            draw.text((x + 4, y + 2), word.word, INK, face)
        x += wide + 3
    return y + line


# ------------------------------------------------------------------------------------------------------------ as HTML


def _page(dataset: ReIDDataset, drawn: Sequence[Maps], title: str, method: Method, out: str | Path) -> Path:
    keys = " ".join(
        f'<span class="key" style="background:rgb{colour}"></span> {name}' for colour, name in _legend(method)
    )
    parts = [f"<h1>{html.escape(title)}</h1><p>{keys}</p>"]
    for one in drawn:
        told = f"{dataset.sample_ids[one.row]} against {dataset.sample_ids[one.photo]}, similarity {one.score:.3f}"
        parts.append(f'<section><h2>{html.escape(told)}</h2><div class="query">')
        spans = " ".join(
            f'<span style="background:rgb{_shade(one.words, word)}" title="{word.value:+.4f}">{html.escape(word.word)}'
            "</span>"
            for word in one.words
        )
        parts.append(f'<blockquote class="words">{spans or "no text"}</blockquote>')
        for modality in ("sketch", "ir", "rgb"):
            pair = one.images[modality]
            label = "photo found" if modality == "rgb" else NAMES[modality]
            if pair is None:
                parts.append(f'<figure class="gone"><div></div><figcaption>no {label}</figcaption></figure>')
                continue
            for image, name in zip(pair, (label, "its map"), strict=True):
                parts.append(f"<figure>{image_tag(image, 192, name)}<figcaption>{name}</figcaption></figure>")
        parts.append("</div></section>")
    return write_page(out, title, "\n".join(parts))
