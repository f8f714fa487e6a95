"""A delta joined with the user's own copy: whole, renamed, incomplete, changed."""

from __future__ import annotations

import json

import pytest
from fixtures import cuhk_pedes, write_image
from typer.testing import CliRunner

from reidsynth.cli import app
from reidsynth.errors import UserError
from reidsynth.ingest import ingest
from reidsynth.manifest import open_manifest
from reidsynth.merging import merge
from reidsynth.pipeline import run_step
from reidsynth.rehydrate import MISSING, OTHER, rehydrate, roots_of
from reidsynth.release import plan_release, write_generated
from reidsynth.selection import Selection, select
from reidsynth.storage import sha256_file
from reidsynth.validate import validate


@pytest.fixture
def whole(run, tmp_path):
    """CUHK-PEDES of nine photographs with pseudo-infrared images, and where it was read from."""
    root = cuhk_pedes(tmp_path / "publisher")
    ingest(tmp_path / "whole", "cuhk-pedes", {"root": str(root)}, run=run)
    return run_step(tmp_path / "whole", "build-ir", "channel-augmentation", {}, run=run)


@pytest.fixture
def delta(whole, tmp_path):
    """What `push` would send, in a folder."""
    return released(whole, tmp_path)


def released(manifest, tmp_path):
    """What `push` would send of a manifest, in a folder."""
    release, folder = plan_release(manifest), tmp_path / "delta"
    for file in (*release.files(), *write_generated(release, tmp_path / "generated")):
        (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
        (folder / file.path).write_bytes(file.local.read_bytes())
    return open_manifest(folder)


@pytest.fixture
def copy(tmp_path):
    """The user's own copy, read on another day."""
    return cuhk_pedes(tmp_path / "user")


def joined(delta, copy, out, run):
    return rehydrate(delta, roots_of(delta, copy, []), out, run=run)


def test_the_delta_holds_no_photograph_and_no_caption_of_the_owners(delta):
    assert set(delta.tables) == {"ir-ca"}
    assert validate(delta.path) == []


def test_a_whole_copy_gives_the_same_manifest(whole, delta, copy, run, tmp_path):
    result = joined(delta, copy, tmp_path / "out", run)
    assert (result.matched, result.moved, result.unmatched, result.unused) == (9, 0, {}, {})
    assert result.manifest.checksum == whole.checksum
    assert validate(tmp_path / "out") == []
    for split in whole.splits:
        for name in ("rgb", "text", "ir-ca"):
            mine, theirs = result.manifest.table(name, split), whole.table(name, split)
            assert [mine[i] for i in range(len(mine))] == [theirs[i] for i in range(len(theirs))]
    linked = result.manifest.info.captures[0].file
    assert (tmp_path / "out" / linked).samefile(delta.path / linked)


def test_a_step_that_the_publisher_ran_is_not_run_again(delta, copy, run, tmp_path):
    joined(delta, copy, tmp_path / "out", run)
    shard = tmp_path / "out" / delta.tables["ir-ca"].shards[0].file
    before = shard.stat().st_mtime_ns, sha256_file(shard)
    run_step(tmp_path / "out", "build-ir", "channel-augmentation", {}, run=run)
    assert (shard.stat().st_mtime_ns, sha256_file(shard)) == before


def test_a_renamed_file_is_found_by_its_checksum(whole, delta, copy, run, tmp_path):
    (copy / "imgs/CUHK03/1_2.jpg").rename(copy / "imgs/CUHK03/renamed.jpg")
    annotation = copy / "reid_raw.json"
    rows = json.loads(annotation.read_text())
    for row in rows:
        row["file_path"] = row["file_path"].replace("CUHK03/1_2.jpg", "CUHK03/renamed.jpg")
    annotation.write_text(json.dumps(rows))
    result = joined(delta, copy, tmp_path / "out", run)
    assert (result.matched, result.moved, result.unmatched) == (9, 1, {})
    assert result.manifest.table("rgb", "train")[1] == whole.table("rgb", "train")[1]
    assert result.told()[0] == "joined 9 of 9 captures by their checksums (1 of them under another path)"


def listed(copy, change):
    """Change the rows of a copy's annotation."""
    annotation = copy / "reid_raw.json"
    annotation.write_text(json.dumps([change(dict(row)) for row in json.loads(annotation.read_text())]))


def test_files_under_one_anothers_names_are_found_by_their_checksums(whole, delta, copy, run, tmp_path):
    first, second = (copy / f"imgs/CUHK03/1_{number}.jpg" for number in (1, 2))
    bytes_of = first.read_bytes(), second.read_bytes()
    first.write_bytes(bytes_of[1])
    second.write_bytes(bytes_of[0])
    for _ in range(2):  # the second time finds everything there
        result = joined(delta, copy, tmp_path / "out", run)
        assert (result.matched, result.moved, result.unmatched, result.unused) == (9, 2, {}, {})
        for number in range(2):
            made, there = (m.table("rgb", "train")[number] for m in (result.manifest, whole))
            assert made["image"]["bytes"] == there["image"]["bytes"]
            made, there = (m.table("text", "train")[number] for m in (result.manifest, whole))
            assert made["captions"] == there["captions"]
        assert validate(tmp_path / "out") == []


def test_a_file_whose_name_was_given_to_another_is_found(delta, copy, run, tmp_path):
    (copy / "imgs/CUHK03/1_1.jpg").rename(copy / "imgs/CUHK03/old.jpg")
    write_image(copy / "imgs/CUHK03/1_1.jpg", seed=77)
    rows = json.loads((copy / "reid_raw.json").read_text())
    first = next(row for row in rows if row["file_path"] == "CUHK03/1_1.jpg")
    (copy / "reid_raw.json").write_text(json.dumps([*rows, first | {"file_path": "CUHK03/old.jpg"}]))
    result = joined(delta, copy, tmp_path / "out", run)
    assert (result.matched, result.moved, result.unmatched, result.unused) == (9, 1, {}, {"cuhk-pedes": 1})


def test_a_file_that_moved_to_another_split_is_found(delta, copy, run, tmp_path):
    (copy / "imgs/CUHK03/1_2.jpg").rename(copy / "imgs/CUHK03/1_7.jpg")

    def moved(row):
        return row | {"file_path": "CUHK03/1_7.jpg", "split": "test"} if row["file_path"].endswith("1_2.jpg") else row

    listed(copy, moved)
    result = joined(delta, copy, tmp_path / "out", run)
    assert (result.matched, result.moved, result.unmatched, result.unused) == (9, 1, {}, {})


def test_a_file_in_the_folder_of_another_data_set_is_not_taken_for_joined(run, tmp_path):
    parts = []
    for name in ("one", "two"):
        for number in range(3):
            write_image(tmp_path / name / f"{number}_{name}.jpg", seed=number, shirt="red" if name == "one" else "blue")
        parts.append(ingest(tmp_path / f"m-{name}", "folder", folder_of(tmp_path / name), run=run))
    both = merge(parts, tmp_path / "both")
    delta = released(both, tmp_path)
    (tmp_path / "one/1_one.jpg").rename(tmp_path / "two/1_one.jpg")
    roots = {name: tmp_path / name for name in ("one", "two")}
    result = rehydrate(delta, roots, tmp_path / "out", run=run)
    assert (result.matched, result.moved, result.unmatched, result.unused) == (5, 0, {MISSING: 1}, {"two": 1})


def folder_of(root):
    return {"root": str(root), "pattern": "{pid}_{_}", "called": root.name}


def test_what_does_not_match_is_told_and_mended_by_a_second_run(delta, copy, run, tmp_path):
    good = (copy / "imgs/CUHK03/1_1.jpg").read_bytes()
    write_image(copy / "imgs/CUHK03/1_1.jpg", seed=77)
    (copy / "imgs/Market/0013_c5s1_000426_00.jpg").unlink()
    annotation = copy / "reid_raw.json"
    rows = json.loads(annotation.read_text())
    annotation.write_text(json.dumps([row for row in rows if row["split"] != "val"]))
    result = joined(delta, copy, tmp_path / "out", run)
    assert result.unmatched == {MISSING: 3, OTHER: 1}
    row = result.manifest.table("rgb", "train")[0]
    assert (row["image"], row["verdict"], row["reason"]) == (None, "error", OTHER)
    assert result.manifest.table("ir-ca", "train")[0]["verdict"] == "pass"  # what was published stays
    command = ["rehydrate", str(delta.path), str(copy), "--out", str(tmp_path / "out"), "--workers", "1"]
    assert CliRunner().invoke(app, command).exit_code == 2  # more failed rows than --max-failed allows
    called = CliRunner().invoke(app, [*command, "--max-failed", "1"])
    assert called.exit_code == 1
    assert "joined 5 of 9 captures" in called.stdout
    assert f"1 capture {OTHER}" in called.stderr
    (copy / "imgs/CUHK03/1_1.jpg").write_bytes(good)
    write_image(copy / "imgs/Market/0013_c5s1_000426_00.jpg", seed=2, shirt="green")
    annotation.write_text(json.dumps(rows))
    again = joined(delta, copy, tmp_path / "out", run)
    assert again.unmatched == {}
    assert validate(tmp_path / "out") == []


def test_what_was_joined_in_part_can_be_used(whole, delta, copy, run, tmp_path):
    """One file in thousands is missing: nothing has to be made again, and the rows that were joined can be chosen."""
    (copy / "imgs/CUHK03/1_1.jpg").unlink()
    result = joined(delta, copy, tmp_path / "out", run)
    assert result.unmatched == {MISSING: 1}
    assert validate(tmp_path / "out") == []
    assert result.manifest.checksum != whole.checksum
    lacking = {shard.split for shard in result.manifest.tables["rgb"].shards if shard.stands_for is None}
    assert lacking == {"train"}
    chosen = select(result.manifest, Selection(verdicts={"rgb": ["pass"]}), tmp_path / "chosen")
    assert sum(size.rows for size in chosen.info.splits.values()) == 8
    assert validate(tmp_path / "chosen") == []
    run_step(tmp_path / "out", "build-ir", "channel-augmentation", {"seed": 1}, run=run)
    (copy / "imgs/CUHK03/1_1.jpg").write_bytes((tmp_path / "publisher/CUHK-PEDES/imgs/CUHK03/1_1.jpg").read_bytes())
    again = joined(delta, copy, tmp_path / "out", run)
    assert again.manifest.checksum == whole.checksum


def test_tables_that_the_user_made_since_stay(delta, copy, run, tmp_path):
    out = tmp_path / "out"
    joined(delta, copy, out, run)
    mine = run_step(out, "build-sketch", "lineart-standard", {"background": "keep"}, run=run)
    again = joined(delta, copy, out, run).manifest
    assert again.checksum == mine.checksum
    assert set(again.tables) == {"rgb", "text", "ir-ca", "sketch-lineart-standard"}
    write_image(copy / "imgs/CUHK03/1_1.jpg", seed=77)
    assert "ir-ca" in joined(delta, copy, out, run).manifest.tables
    assert validate(out) == []


def test_files_that_the_delta_does_not_speak_of_are_counted(delta, copy, run, tmp_path):
    annotation = copy / "reid_raw.json"
    rows = json.loads(annotation.read_text())
    write_image(copy / "imgs/CUHK03/9_9.jpg", seed=99)
    annotation.write_text(json.dumps([*rows, rows[0] | {"file_path": "CUHK03/9_9.jpg"}]))
    assert joined(delta, copy, tmp_path / "out", run).unused == {"cuhk-pedes": 1}


def test_mistakes_are_told(whole, delta, copy, run, tmp_path):
    with pytest.raises(UserError, match="lacks no table of its data set"):
        joined(whole, copy, tmp_path / "out", run)
    with pytest.raises(UserError, match="where is your copy of cuhk-pedes"):
        roots_of(delta, None, [])
    with pytest.raises(UserError, match="the delta holds nothing of 'market1501': its data sets are cuhk-pedes"):
        roots_of(delta, None, ["market1501=/data"])
    with pytest.raises(UserError, match="is the delta itself"):
        joined(delta, copy, delta.path, run)
    with pytest.raises(UserError, match=r"has no reid_raw\.json"):
        joined(delta, tmp_path, tmp_path / "out", run)
    assert not (tmp_path / "out").exists()


def test_a_drawn_world_is_drawn_again(run, tmp_path):
    parameters = {"train": 2, "val": 0, "test": 0, "observations": 2, "height": 64, "width": 32}
    whole = ingest(tmp_path / "whole", "demo", parameters, run=run)
    run_step(tmp_path / "whole", "build-ir", "channel-augmentation", {}, run=run)
    delta = released(open_manifest(tmp_path / "whole"), tmp_path)
    result = rehydrate(delta, roots_of(delta, None, []), tmp_path / "out", run=run)
    assert result.unmatched == {}
    assert result.manifest.table("sketch", "train")[3] == whole.table("sketch", "train")[3]


def test_a_delta_of_several_data_sets_takes_a_folder_for_each(whole, copy, run, tmp_path):
    from fixtures import market1501

    market = market1501(tmp_path / "m")
    ingest(tmp_path / "market", "market1501", {"root": str(market)}, run=run)
    second = run_step(tmp_path / "market", "build-ir", "channel-augmentation", {}, run=run)
    both = merge([whole, second], tmp_path / "both")
    released(both, tmp_path)
    roots = [f"--root=cuhk-pedes={copy}", f"--root=market1501={market}"]
    command = ["rehydrate", str(tmp_path / "delta"), "--out", str(tmp_path / "out"), "--workers", "1"]
    called = CliRunner().invoke(app, [*command, *roots])
    assert called.exit_code == 0, called.output
    assert "joined 19 of 19 captures" in called.stdout
    assert open_manifest(tmp_path / "out").checksum == both.checksum
    assert validate(tmp_path / "out") == []
    lacking = CliRunner().invoke(app, [*command, roots[0]])
    assert lacking.exit_code == 2
    assert "where is your copy of market1501?" in lacking.stderr
