"""How work runs: what is done stays done, what changed is made again, what fails leaves nothing behind."""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import contextmanager

import pytest
from manifest_files import tree

from reidsynth import storage
from reidsynth.engines import LocalEngine
from reidsynth.errors import UserError
from reidsynth.ingest import ingest
from reidsynth.jobs import Run, stale_shards
from reidsynth.manifest import open_manifest
from reidsynth.pipeline import run_step, run_steps
from reidsynth.steps import STEPS
from reidsynth.validate import validate


@pytest.fixture
def out(noise, run, tmp_path):
    folder = tmp_path / "m"
    ingest(folder, "noise", {"rows": 20}, run=run)
    return folder


def test_a_second_run_writes_no_shard(out, run, monkeypatch):
    run_step(out, "build-ir", "inverse", {}, run=run)
    before = tree(out)
    times = {p: p.stat().st_mtime_ns for p in out.rglob("*.parquet") if "preview" not in str(p)}
    ingest(out, "noise", {"rows": 20}, run=run)
    run_step(out, "build-ir", "inverse", {}, run=run)
    assert tree(out) == before
    assert {p: p.stat().st_mtime_ns for p in times} == times


def test_the_order_of_commands_and_the_batch_do_not_matter(out, run, tmp_path, monkeypatch):
    run_step(out, "build-ir", "inverse", {}, run=run)
    run_step(out, "build-sketch", "outline", {}, run=run)
    monkeypatch.setattr("reidsynth.rows.SAMPLES_PER_BATCH", 3)
    other = tmp_path / "other"
    ingest(other, "noise", {"rows": 20}, run=run)
    run_step(other, "build-ir", "inverse", {}, run=run)
    run_step(other, "build-sketch", "outline", {}, run=run)
    assert tree(other) == tree(out)


def test_errors_of_a_step_stay_in_their_row_and_texts_are_optional(out, run):
    run_step(out, "build-ir", "inverse", {}, run=run)
    manifest = run_step(out, "build-sketch", "outline", {}, run=run)
    rows = manifest.table("sketch-outline", "train").rows(0, 20)
    assert (rows[3]["verdict"], rows[3]["reason"], rows[3]["image"]) == ("error", "nothing to draw", None)
    assert rows[4]["draw"] == ""  # this capture has no text
    assert rows[5]["draw"] == "text"
    assert rows[6]["reason"].startswith("rgb: damaged image")
    assert manifest.tables["sketch-outline"].reasons["nothing to draw"] == 2  # 13 is unreadable


def test_changed_parameters_make_the_table_again_and_what_hangs_on_it_stale(out, run):
    run_step(out, "build-ir", "inverse", {}, run=run)
    run_step(out, "build-sketch", "outline", {}, run=run)
    manifest = run_step(out, "build-ir", "inverse", {"offset": 1}, run=run)
    assert manifest.tables["ir-inverse"].step.parameters == {"offset": 1}
    # the outline's inputs are byte-identical but for the key in the footer, so it counts as made from other inputs
    assert stale_shards(manifest.info, manifest.tables["sketch-outline"])
    assert validate(out) == ["table 'sketch-outline' was made from other inputs than those now there: make it again"]
    run_step(out, "build-sketch", "outline", {}, run=run)
    assert validate(out) == []


def test_a_changed_source_is_read_again_and_old_tables_go(out, run):
    run_step(out, "build-ir", "inverse", {}, run=run)
    manifest = ingest(out, "noise", {"rows": 20, "version_of_files": "edited"}, run=run)
    assert "ir-inverse" not in manifest.tables
    manifest = run_step(out, "build-ir", "inverse", {}, run=run)
    assert validate(out) == []


def test_fewer_rows_leave_no_shards_of_the_old_run(noise, run, tmp_path, monkeypatch):
    monkeypatch.setattr("reidsynth.ingest.ROWS_PER_SHARD", 400)
    ingest(tmp_path / "m", "noise", {"rows": 900}, run=run)
    ingest(tmp_path / "m", "noise", {"rows": 300}, run=run)
    assert [p.name for p in sorted((tmp_path / "m/rgb").glob("train*"))] == ["train-00000-of-00001.parquet"]


def test_a_missing_input_is_named_before_the_first_row(out, run):
    before = tree(out)
    with pytest.raises(UserError, match=r"'build-sketch' needs table 'ir-inverse'.*tables there: mask, rgb, text"):
        run_step(out, "build-sketch", "outline", {}, run=run)
    assert tree(out) == before


def test_a_step_never_replaces_a_table_of_the_data_set(out, run, monkeypatch):
    import drawn_source

    from reidsynth.schema import TableSpec

    monkeypatch.setattr(drawn_source.Inverse, "output", lambda self: TableSpec("mask", "mask", "synthetic"))
    with pytest.raises(UserError, match="got its table 'mask' from the data set"):
        run_step(out, "build-ir", "inverse", {}, run=run)


def test_damaged_input_stops_the_step(out, run):
    path = out / "rgb/test-00000-of-00001.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"test-00000-of-00001\.parquet is damaged"):
        run_step(out, "build-ir", "inverse", {}, run=run)
    assert "ir-inverse" not in open_manifest(out).tables


def test_disk_full_in_the_middle_of_a_shard_leaves_nothing_half_written(out, run, monkeypatch):
    before = tree(out)
    real, calls = os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(storage.os, "fsync", full)
    with pytest.raises(UserError, match=r"no space is left to write .*nothing half-written was kept"):
        run_step(out, "build-ir", "inverse", {}, run=run)
    assert tree(out) == before
    monkeypatch.undo()


def test_a_run_killed_while_it_opens_its_first_files_goes_on(noise, run, tmp_path, monkeypatch):
    opened = []

    @contextmanager
    def killed(path, *_, **__):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(f"{storage.TEMPORARY}1-{path.name}").write_bytes(b"half")
        opened.append(path.parent.name)
        raise SystemExit
        yield

    with monkeypatch.context() as patch:
        patch.setattr("reidsynth.jobs.shard_writer", killed)
        with pytest.raises(SystemExit):
            ingest(tmp_path / "m", "noise", {"rows": 12}, run=run)
    assert opened == ["text"]  # of which alone nobody knows that it is a table
    ingest(tmp_path / "m", "noise", {"rows": 12}, run=run)
    assert validate(tmp_path / "m") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_disk_that_is_really_full(tmp_path):
    import subprocess

    from typer.testing import CliRunner

    from reidsynth.cli import app

    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", disk], check=False)
    if mounted.returncode != 0:
        pytest.skip("mounting is not permitted here")
    try:
        command = ["demo", "--out", str(disk / "m"), "--workers", "1"]
        done = CliRunner().invoke(app, [*command, "--set", "train=12", "--set", "test=0", "--set", "val=0"])
        assert done.exit_code == 2, done.output
        assert "no space is left to write" in done.stderr
        assert [p for p in (disk / "m").rglob("*") if p.is_file()] == []
    finally:
        subprocess.run(["umount", disk], check=True)


def test_two_writers_are_kept_apart(out, run):
    descriptor = os.open(out, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        with pytest.raises(UserError, match="another process is writing"):
            run_step(out, "build-ir", "inverse", {}, run=run)
    finally:
        os.close(descriptor)


def test_duplicated_sample_ids_are_named(noise, run, tmp_path, monkeypatch):
    import drawn_source

    from reidsynth.schema import Record

    twice = [Record("noise/a", 1, None, "train", source_path="a.jpg"), Record("noise/a", 1, None, "train")]
    monkeypatch.setattr(drawn_source.Noise, "records", lambda self, split: twice)
    with pytest.raises(UserError, match=r"sample id 'noise/a' \('a.jpg' and ''\)"):
        ingest(tmp_path / "m", "noise", {}, run=run)
    assert not (tmp_path / "m").exists()


def test_a_folder_with_other_files_is_not_touched(noise, run, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"holds other files \('thesis.tex'\)"):
        ingest(tmp_path, "noise", {}, run=run)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_engine_keeps_order_and_looks_ahead_only_a_little():
    drawn = []

    def tasks():
        for i in range(40):
            drawn.append(i)
            yield i

    with LocalEngine(2) as engine:
        results = engine.imap(abs, tasks())
        first = [next(results) for _ in range(3)]
        assert first == [0, 1, 2]
        assert len(drawn) <= 3 + 3 * 2 + 1
        assert list(results) == list(range(3, 40))


def test_workers_below_one_are_refused():
    with pytest.raises(UserError, match="--workers is 0"):
        Run(LocalEngine(0))


def test_thresholds_come_with_the_step_and_are_kept(out, run):
    made = run_step(out, "build-ir", "inverse", {}, run=run)
    before = made.tables["ir-inverse"]
    assert before.reasons == {} or "blank infrared image" not in before.reasons
    strict = run_step(out, "build-ir", "inverse", {"gates": {"ir_range": 300}}, run=run)
    assert strict.tables["ir-inverse"].reasons["blank infrared image"] == 36
    assert strict.tables["ir-inverse"].step.gates == {"ir_range": 300}
    assert validate(out) == []
    again = run_step(out, "build-ir", "inverse", {}, run=run)
    assert again.tables["ir-inverse"].counts == before.counts
    with pytest.raises(UserError, match=r"gates: 'mask_area_min' is no threshold of ir \(valid are ir_range"):
        run_step(out, "build-ir", "inverse", {"gates": {"mask_area_min": 0.1}}, run=run)


def test_thresholds_come_with_the_source(noise, run, tmp_path):
    strict = ingest(tmp_path / "m", "noise", {"rows": 20, "gates": {"rgb_std": 200, "text_words": 9}}, run=run)
    assert strict.tables["rgb"].reasons["blank photograph"] == 36
    assert strict.tables["text"].reasons == {"caption too short": 32}
    assert strict.info.source.gates == {"rgb_std": 200, "text_words": 9}
    assert ingest(tmp_path / "m", "noise", {"rows": 20}, run=run).tables["text"].reasons == {}
    with pytest.raises(UserError, match="'ir_std' is no threshold of mask, rgb, text"):
        ingest(tmp_path / "m", "noise", {"gates": {"ir_std": 1}}, run=run)


@pytest.mark.parametrize("harm", ["missing", "short", "flipped"])
def test_a_step_makes_its_own_lost_shards_again(out, run, harm):
    run_step(out, "build-ir", "inverse", {}, run=run)
    run_step(out, "build-sketch", "outline", {}, run=run)
    before = tree(out)
    lost = [next((out / table).glob("train-*.parquet")) for table in ("ir-inverse", "sketch-outline")]
    for path in lost:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 255
        path.write_bytes({"missing": b"", "short": data[:-20], "flipped": data}[harm])
        if harm == "missing":
            path.unlink()
    if harm != "flipped":  # that only shows in the bytes themselves
        with pytest.raises(UserError, match="is missing" if harm == "missing" else "is damaged"):
            open_manifest(out)
    with pytest.raises(UserError, match=r"ir-inverse.*(is missing|is damaged)"):  # an input is not this step's to make
        run_step(out, "build-sketch", "outline", {}, run=run)
    run_steps(out, [("build-ir", "inverse", {}), ("build-sketch", "outline", {})], run=run)
    assert tree(out) == before
    assert validate(out) == []


def test_a_recipe_makes_lost_shards_again(out, run):
    run_step(out, "build-ir", "inverse", {}, run=run)
    run_step(out, "build-sketch", "outline", {}, run=run)
    before = tree(out)
    for path in [*(out / "sketch-outline").glob("test-*"), *(out / "rgb").glob("train-*")]:
        path.unlink()
    ingest(out, "noise", {"rows": 20}, run=run)
    run_steps(out, [("build-ir", "inverse", {}), ("build-sketch", "outline", {})], run=run)
    assert tree(out) == before


def test_worker_refuses_other_weights_than_the_command_began_with(out, run, monkeypatch):
    monkeypatch.setitem(STEPS, "build-ir", {**STEPS["build-ir"], "shifting": "drawn_source:Shifting"})
    before = tree(out)
    with pytest.raises(UserError, match="the weights of step 'build-ir', method 'shifting', differ"):
        run_step(out, "build-ir", "shifting", {}, run=run)
    assert tree(out) == before
