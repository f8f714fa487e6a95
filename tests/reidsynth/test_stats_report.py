from __future__ import annotations

import json
import re

import pytest
from typer.testing import CliRunner

from reidsynth.cli import app
from reidsynth.errors import UserError
from reidsynth.ingest import ingest
from reidsynth.page import write_report
from reidsynth.pipeline import run_step
from reidsynth.stats import histogram, stats


@pytest.fixture
def manifest(noise, tmp_path, run):
    """Twenty rows in each of two splits: two people's photographs can't be read, every fifth row has no text."""
    ingest(tmp_path / "m", "noise", {"rows": 20}, run=run)
    run_step(tmp_path / "m", "build-ir", "inverse", {}, run=run)
    return run_step(tmp_path / "m", "build-sketch", "outline", {}, run=run)


def test_counts_are_those_worked_out_by_hand(manifest):
    found = stats(manifest)
    assert {name: (split.rows, split.people, split.cameras) for name, split in found.splits.items()} == {
        "train": (20, 10, 2),
        "test": (20, 10, 2),
    }
    assert found.splits["test"].roles == {"query+gallery": 20}
    assert found.tables["rgb"].verdicts == {"pass": 36, "fail": 0, "absent": 0, "error": 4}  # rows 6 and 13 of each
    assert found.tables["text"].verdicts == {"pass": 32, "fail": 0, "absent": 8, "error": 0}
    assert found.tables["sketch-outline"].reasons["nothing to draw"] == 2  # row 3; row 13 has no photograph
    assert found.tables["sketch-outline"].method == "build-sketch outline"
    captures = {one.of: one for one in found.captures}
    # people 0 to 9 stand in both splits of this source, two rows each
    assert (captures["captures of a person"].labels, captures["captures of a person"].counts) == (["4"], [10])
    assert dict(zip(captures["captures of a camera"].labels, captures["captures of a camera"].counts, strict=True)) == {
        "1": 20,
        "2": 20,
    }
    assert dict(zip(captures["height in pixels"].labels, captures["height in pixels"].counts, strict=True)) == {
        "24": 16 + 4 - 2,  # even rows but the unreadable sixth
        "25": 18,
    }
    assert [(one.of, one.labels, one.counts) for one in found.tables["text"].attributes] == [
        ("gender", ["woman"], [32])
    ]


@pytest.mark.parametrize(
    ("values", "labels", "counts"),
    [
        ([], [], []),
        ([3], ["3"], [1]),
        ([1, 1, 3], ["1", "2", "3"], [2, 0, 1]),
        ([0.5, 0.5], ["0.5-1.5"], [2]),
        ([0, 31], [f"{n}-{n + 1}" for n in range(0, 32, 2)], [1, *[0] * 14, 1]),
        ([0, 100], None, [1, *[0] * 13, 1]),
    ],
)
def test_histograms(values, labels, counts):
    found = histogram("values", values)
    assert found.counts == counts
    assert labels is None or found.labels == labels
    assert sum(found.counts) == len(values)
    assert len(found.labels) == len(found.counts)


def test_report_holds_everything_and_asks_nothing_of_the_net(manifest, tmp_path):
    page = write_report(manifest, tmp_path / "pages" / "report.html", rows=3, rejects=1).read_text()
    assert not re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?(?!data:)[^"'\s>]+""", page)
    assert "http" not in page
    assert page.count("data:image/") > 6
    assert "sketch-outline: nothing to draw" in page
    assert "rgb: " in page
    assert "Some captures" in page


def test_report_shows_captions_as_text_and_not_as_html(manifest, tmp_path, monkeypatch):
    from dataclasses import replace

    from reidsynth import page as page_module

    columns, rows = page_module.sheet_rows(manifest, rows=1)
    hostile = replace(rows[0], label="<script>alert(1)</script>")
    monkeypatch.setattr(page_module, "sheet_rows", lambda *_, **__: (columns, [hostile]))
    written = write_report(manifest, tmp_path / "report.html").read_text()
    assert "<script" not in written
    assert "&lt;script&gt;" in written


def test_report_of_a_sound_manifest_says_so(tmp_path, run):
    made = ingest(tmp_path / "m", "demo", {"train": 1, "val": 0, "test": 0, "observations": 2}, run=run)
    assert "No row failed its gate" in write_report(made, tmp_path / "r.html").read_text()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [("r.pdf", {}, "is an HTML file"), ("r.html", {"rows": -1}, "0 or more, received -1")],
)
def test_mistakes(manifest, tmp_path, name, options, message):
    with pytest.raises(UserError, match=message):
        write_report(manifest, tmp_path / name, **options)


def test_command_lines(manifest, tmp_path):
    told = CliRunner().invoke(app, ["stats", str(manifest.path)])
    assert told.exit_code == 0, told.output
    assert "nothing to draw" in told.output
    as_json = json.loads(CliRunner().invoke(app, ["stats", str(manifest.path), "--json"]).stdout)
    assert as_json["splits"]["train"]["people"] == 10
    out = tmp_path / "report.html"
    result = CliRunner().invoke(app, ["report", str(manifest.path), "--out", str(out), "--rows", "2", "--json"])
    assert json.loads(result.stdout) == {"wrote": str(out)}
    assert out.exists()
