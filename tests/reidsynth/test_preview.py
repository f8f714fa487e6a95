from __future__ import annotations

import json

import numpy as np
import pytest
from fixtures import crop, crop_mask, market1501
from PIL import Image
from typer.testing import CliRunner

from reidsynth import open_manifest
from reidsynth.cli import app
from reidsynth.errors import UserError
from reidsynth.ingest import ingest
from reidsynth.pipeline import run_step
from reidsynth.report import preview
from reidsynth.sheets import Cell, Column, Paragraph, Row, draw_sheet, wrapped


@pytest.fixture
def manifest(tmp_path, run):
    base = market1501(tmp_path / "data")
    broken = base / "bounding_box_train" / "0002_c1s1_000451_03.jpg"
    broken.write_bytes(broken.read_bytes()[:-200])
    out = tmp_path / "manifest"
    ingest(out, "market1501", {"root": str(base)}, run=run)
    run_step(out, "remove-background", "grabcut", {}, run=run)
    return run_step(out, "build-ir", "channel-augmentation", {}, run=run)


def test_sheet_is_the_same_for_the_same_seed(manifest, tmp_path):
    first = preview(manifest, tmp_path / "a" / "sheet.png", rows=5, seed=1)
    second = preview(open_manifest(manifest.path), tmp_path / "b.png", rows=5, seed=1)
    assert first.read_bytes() == second.read_bytes()
    assert Image.open(first).width > 600


def test_failed_rows_are_marked(manifest, tmp_path):
    sheet = np.asarray(Image.open(preview(manifest, tmp_path / "s.png", rows=20, split="train")))
    assert (sheet == (200, 62, 48)).all(axis=2).sum() > 100


def test_more_rows_make_a_taller_sheet(manifest, tmp_path):
    heights = [Image.open(preview(manifest, tmp_path / f"{rows}.png", rows=rows)).height for rows in (1, 3, 100)]
    assert heights[0] < heights[1] < heights[2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": 0}, "at least 1 row, received 0"),
        ({"split": "dev"}, "no split 'dev': it holds test, train|no split 'dev': it holds train, test"),
    ],
)
def test_mistakes(manifest, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        preview(manifest, tmp_path / "s.png", **options)


def test_only_png(manifest, tmp_path):
    with pytest.raises(UserError, match="is a PNG file"):
        preview(manifest, tmp_path / "sheet.pdf")


def test_command_line(manifest, tmp_path):
    out = tmp_path / "sheet.png"
    result = CliRunner().invoke(app, ["preview", str(manifest.path), "--out", str(out), "--rows", "2"])
    assert result.exit_code == 0, result.output
    assert out.exists()
    told = CliRunner().invoke(app, ["preview", str(manifest.path), "--out", str(out), "--rows", "2", "--json"])
    assert json.loads(told.stdout) == {"wrote": str(out)}


def test_sheets_take_odd_shapes_and_long_words():
    cells = (
        Cell(crop(0, (30, 90)), "pass"),
        Cell(crop_mask((300, 20)), "fail", "a long reason " * 9),
        Cell(None, "absent"),
    )
    row = Row("data/" + "x" * 200, "person 1", cells, (Paragraph("text", "fail", ("word " * 80, "w" * 300)),))
    columns = [Column("mask", "a-very-long-method-name-indeed", "synthetic")] * 3
    sheet = draw_sheet("title", "subtitle", columns, [row], height=100)
    assert sheet.height > 400


def test_long_reasons_stay_in_their_row():
    """Between the rows of a sheet lies a line over its whole width, and no letter crosses it."""
    reason = "sketch is evenly filled and more than that"
    rows = [Row("a", "person 1", (Cell(crop(0, (64, 32)), "fail", reason),)), Row("b", "", (Cell(None, "absent"),))]
    sheet = np.asarray(draw_sheet("", "", [Column("sketch", "", "")], rows, height=100).convert("RGB"))
    lines = [row for row in sheet[:, 40:-40] if len(np.unique(row, axis=0)) == 1 and (row[0] != sheet[0, 0]).any()]
    assert len(lines) == 2  # above each row
    one = draw_sheet("", "", [Column("sketch", "", "")], [*rows[1:], *rows[1:]], height=100)
    assert sheet.shape[0] == one.height + 2 * 15


def test_wrapped_lines_fit():
    lines = wrapped("a pedestrian in a red coat " * 10, 200, 14)
    assert len(lines) > 5
    assert " ".join(lines) == ("a pedestrian in a red coat " * 10).strip()


def test_letters_and_dashes_outside_ascii_are_drawn():
    """Two captions with different letters look different; both would be one and the same box."""
    sheets = [
        draw_sheet(
            text, "", [Column("rgb", "", "")], [Row(text, "", (), (Paragraph("text", "pass", (text,)),))], height=100
        )
        for text in ("a café — there", "a cafè — there")
    ]
    first, second = (np.asarray(sheet.convert("L")) for sheet in sheets)
    assert first.shape == second.shape
    lines = np.flatnonzero((first != second).any(axis=1))
    assert np.ptp(lines) > 60  # in the title, the label and the caption
