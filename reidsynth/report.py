"""Shows a manifest: contact sheets of all modalities side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from reidsynth import images
from reidsynth.errors import UserError
from reidsynth.sheets import Cell, Column, Paragraph, Row, draw_sheet
from reidsynth.storage import writing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from reidsynth.manifest import Manifest, TableReader
    from reidsynth.schema import TableSpec

_ORDER = ("rgb", "mask", "sketch", "ir")
_IMAGE_HEIGHT = 208
_MOST_CAPTIONS = 3


def preview(manifest: Manifest, out: Path, *, rows: int = 8, split: str | None = None, seed: int = 0) -> Path:
    """Draw a sheet of some captures: photograph, masks, sketches, infrared images and captions with their verdicts.

    Args:
        manifest: what to show.
        out: PNG file to write; its folder is made.
        rows: captures on the sheet, of different people as far as there are so many.
        split: to take them from; all by default.
        seed: which captures.

    Returns:
        The file.

    Raises:
        UserError: for an unknown split, an extension other than `.png`, or fewer than 1 row.
    """
    if rows < 1:
        raise UserError(f"a sheet has at least 1 row, received {rows}: set --rows to 8 for example")
    if out.suffix.lower() != ".png":
        raise UserError(f"a sheet is a PNG file, received {str(out)!r}: give it the extension .png")
    if split is not None and split not in manifest.splits:
        raise UserError(f"{manifest.path} has no split {split!r}: it holds {', '.join(manifest.splits)}")
    columns, drawn = sheet_rows(manifest, rows=rows, split=split, seed=seed)
    info = manifest.info
    sizes = ", ".join(f"{name} {size.rows:,} of {size.identities:,} people" for name, size in info.splits.items())
    sheet = draw_sheet(info.name, sizes, columns, drawn, height=_IMAGE_HEIGHT)
    with writing(out) as handle:
        sheet.save(handle, "PNG", compress_level=6)
    return out


def sheet_rows(
    manifest: Manifest, *, rows: int, split: str | None = None, seed: int = 0
) -> tuple[list[Column], list[Row]]:
    """Columns and rows of a sheet, of different people as far as there are so many.

    Args:
        manifest: what to show.
        rows: captures.
        split: to take them from; all by default.
        seed: which captures.
    """
    return rows_of(manifest, _chosen(manifest, rows, split, seed))


def rows_of(manifest: Manifest, chosen: Mapping[str, Sequence[int]]) -> tuple[list[Column], list[Row]]:
    """Columns and rows of chosen captures.

    Args:
        manifest: what to show.
        chosen: split -> numbers of rows.
    """
    specs = sorted((table.spec for table in manifest.tables.values()), key=_place)
    shown = [spec for spec in specs if spec.kind == "image"]
    captions = [spec for spec in specs if spec.kind == "text"]
    drawn: list[Row] = []
    for name, numbers in chosen.items():
        readers = {spec.name: manifest.table(spec.name, name) for spec in specs}
        captures = manifest.table("captures", name)
        drawn.extend(_row(captures[number], number, readers, shown, captions) for number in numbers)
    return [Column(spec.modality, spec.name.partition("-")[2], _kind(spec)) for spec in shown], drawn


def _place(spec: TableSpec) -> tuple[int, bool, str]:
    order = _ORDER.index(spec.modality) if spec.modality in _ORDER else len(_ORDER)
    return order, spec.origin != "real", spec.name


def _kind(spec: TableSpec) -> str:
    return f"{spec.origin}, {spec.spectrum}" if spec.spectrum else spec.origin


def _chosen(manifest: Manifest, rows: int, split: str | None, seed: int) -> dict[str, list[int]]:
    """Row numbers by split: one capture of each person, in an order drawn by the seed, then second ones."""
    rng = np.random.default_rng(seed)
    found: list[tuple[int, float, str, int]] = []
    for name in [split] if split else manifest.splits:
        times: dict[int, int] = {}
        pids = manifest.table("captures", name).columns(["pid"]).column("pid").to_pylist()
        draws = rng.random(len(pids))
        for number in np.argsort(draws, kind="stable").tolist():
            turn = times.get(pids[number], 0)
            times[pids[number]] = turn + 1
            found.append((turn, float(draws[number]), name, number))
    chosen: dict[str, list[int]] = {}
    for _, _, name, number in sorted(sorted(found)[:rows], key=lambda item: (item[2], item[3])):
        chosen.setdefault(name, []).append(number)
    return chosen


def _row(
    capture: dict[str, Any],
    number: int,
    readers: dict[str, TableReader],
    shown: list[TableSpec],
    captions: list[TableSpec],
) -> Row:
    camera = "no camera number" if capture["camid"] is None else f"camera {capture['camid']}"
    person = "nobody" if capture["role"] == "distractor" else f"person {capture['pid']}"
    size = f"{capture['width']}x{capture['height']}" if capture["width"] else "no size"
    return Row(
        label=capture["sample_id"],
        facts=f"{person} · {camera} · {', '.join(dict.fromkeys((capture['split'], capture['role'])))} · {size}",
        cells=tuple(_cell(readers[spec.name][number], spec) for spec in shown),
        paragraphs=tuple(_paragraph(readers[spec.name][number], spec) for spec in captions),
    )


def _cell(row: dict[str, Any], spec: TableSpec) -> Cell:
    pixels = None
    if row["image"] is not None:
        try:
            decoded = images.decode(row["image"]["bytes"])
            pixels = decoded[:, :, 0] if spec.modality == "mask" else decoded
        except images.UnreadableImage as error:
            return Cell(None, "error", str(error))
    return Cell(pixels, row["verdict"], row["reason"] or row["draw"] or "")


def _paragraph(row: dict[str, Any], spec: TableSpec) -> Paragraph:
    lines = tuple((row["captions"] or ())[:_MOST_CAPTIONS])
    reason = row["reason"]
    return Paragraph(
        f"{spec.name} ({_kind(spec)})", row["verdict"], (*lines, *((reason,) if reason else ())) or (row["verdict"],)
    )
