"""Select and merge: rows, order, links, content keys, terms, and what must be refused."""

from __future__ import annotations

import pytest
from drawn_source import Noise
from fixtures import market1501
from typer.testing import CliRunner

from reidsynth.cli import app
from reidsynth.errors import UserError
from reidsynth.ingest import ingest
from reidsynth.manifest import Manifest
from reidsynth.merging import merge
from reidsynth.pipeline import run_step
from reidsynth.policy import Policy
from reidsynth.selection import Selection, select
from reidsynth.validate import validate


class Other(Noise):
    """The same noise under another name and other terms."""

    name = "other"
    policy = Policy("MIT", default_release="public")

    def dataset(self):
        return "other"

    def records(self, split):
        from dataclasses import replace

        return [replace(r, sample_id=r.sample_id.replace("noise/", "other/")) for r in super().records(split)]


@pytest.fixture
def other(noise, monkeypatch):
    import drawn_source

    from reidsynth.sources import SOURCES

    monkeypatch.setattr(drawn_source, "Other", Other, raising=False)
    monkeypatch.setitem(SOURCES, "other", "drawn_source:Other")


@pytest.fixture
def small_shards(monkeypatch):
    """Shards of 100 rows in whatever writes them."""
    for module in ("ingest", "selection", "merging"):
        monkeypatch.setattr(f"reidsynth.{module}.ROWS_PER_SHARD", 100)


def made(folder, run, rows=30, source="noise", steps=("inverse",), **parameters):
    manifest = ingest(folder, source, {"rows": rows, **parameters}, run=run)
    for method in steps:
        manifest = run_step(folder, "build-sketch" if method == "outline" else "build-ir", method, {}, run=run)
    return manifest


def ids(manifest, split="train"):
    return manifest.captures(split).column("sample_id").to_pylist()


def rows_of(manifest, name, split="train"):
    reader = manifest.table(name, split)
    return {row["sample_id"]: row for row in reader.rows(0, len(reader))}


def test_rows_by_condition_keep_their_values_in_every_table(noise, run, tmp_path):
    whole = made(tmp_path / "m", run, steps=("inverse", "outline"))
    part = select(whole, Selection(where="camid == 2 and pid < 7"), tmp_path / "s")
    assert ids(part) == [f"noise/train/{i:05d}" for i in (1, 3, 5, 7, 9, 11, 13)]
    for name in ("captures", *whole.tables):
        before = rows_of(whole, name)
        assert rows_of(part, name) == {key: before[key] for key in ids(part)}
    assert part.info.splits["train"].identities == 7
    assert part.tables["rgb"].counts["train"] == {"error": 1, "pass": 6}  # row 13 is one of the unreadable ones
    assert validate(tmp_path / "s") == []
    assert "Rows selected by: where camid == 2 and pid < 7." in (tmp_path / "s/README.md").read_text()


def test_selected_shards_follow_row_groups_and_shard_borders(noise, run, tmp_path, small_shards):
    whole = made(tmp_path / "m", run, rows=250, steps=())
    part = select(whole, Selection(where="camid == 1"), tmp_path / "s")
    assert [shard.rows for shard in part.info.captures if shard.split == "train"] == [100, 25]
    assert ids(part) == ids(whole)[::2]
    before = rows_of(whole, "rgb")
    assert rows_of(part, "rgb") == {key: before[key] for key in ids(part)}


def test_a_step_that_was_run_is_not_run_again_on_a_selection(noise, run, tmp_path):
    part = select(made(tmp_path / "m", run), Selection(where="camid == 2"), tmp_path / "s")
    shard = tmp_path / "s" / part.tables["ir-inverse"].shards[0].file
    before = shard.stat().st_mtime_ns, shard.stat().st_ino
    run_step(tmp_path / "s", "build-ir", "inverse", {}, run=run)
    assert (shard.stat().st_mtime_ns, shard.stat().st_ino) == before
    run_step(tmp_path / "s", "build-ir", "inverse", {"offset": 1}, run=run)
    assert shard.stat().st_ino != before[1]


def test_whole_splits_and_dropped_tables_are_linked(noise, run, tmp_path):
    whole = made(tmp_path / "m", run, steps=("inverse", "outline"))
    part = select(whole, Selection(splits=["test"], tables=["rgb", "sketch-outline"]), tmp_path / "s")
    assert part.splits == ("test",)
    assert set(part.tables) == {"rgb", "sketch-outline"}
    for name in ("captures", "rgb", "sketch-outline"):
        file = f"{name}/test-00000-of-00001.parquet"
        assert (tmp_path / "s" / file).samefile(tmp_path / "m" / file)
    assert set(part.info.withheld) == {"ir-inverse", "text"}  # what the sketch was made from
    assert validate(tmp_path / "s") == []


def test_by_verdict_and_by_score(noise, run, tmp_path):
    whole = made(tmp_path / "m", run)
    part = select(whole, Selection(verdicts={"rgb": ["pass"], "text": ["pass"]}), tmp_path / "s")
    assert len(ids(part)) == len([i for i in range(30) if i % 7 != 6 and i % 5 != 4])
    assert set(part.tables["rgb"].counts["train"]) == {"pass"}
    scored = select(whole, Selection(where="`ir-inverse.std` > 0 and `rgb.verdict` == 'pass'"), tmp_path / "t")
    assert len(ids(scored)) == len([i for i in range(30) if i % 7 != 6])
    bare = select(whole, Selection(where="ir-inverse.std > 0 and rgb.verdict == 'pass'"), tmp_path / "u")
    assert ids(bare) == ids(scored)
    assert ids(select(whole, Selection(where="rgb.verdict != 'rgb.verdict'"), tmp_path / "v")) == ids(whole)


def test_draws_of_people_and_captures_are_seeded_and_nested(noise, run, tmp_path):
    whole = made(tmp_path / "m", run, rows=60, steps=())
    few = select(whole, Selection(identities=5, seed=3), tmp_path / "a")
    many = select(whole, Selection(identities=9, seed=3), tmp_path / "b")
    assert few.info.splits["train"].identities == 5
    assert few.info.splits["train"].rows == 10
    assert set(ids(few)) < set(ids(many))
    assert set(ids(few)) != set(ids(select(whole, Selection(identities=5, seed=4), tmp_path / "c")))
    share = select(whole, Selection(captures=0.25, seed=3), tmp_path / "d")
    assert [size.rows for size in share.info.splits.values()] == [15, 15]
    assert ids(share) == sorted(ids(share))
    pids = select(whole, Selection(pids=[2, 4], captures=3), tmp_path / "e")
    assert len(ids(pids)) == 3
    assert {int(sample_id[-5:]) // 2 for sample_id in ids(pids)} <= {2, 4}


def test_distractors_are_nobody(run, tmp_path):
    market = ingest(tmp_path / "m", "market1501", {"root": str(market1501(tmp_path))}, run=run)
    assert market.info.splits["test"].roles["distractor"] == 1
    assert market.info.splits["test"].identities == 2
    for seed in range(4):  # however many people are asked for, they are people
        part = select(market, Selection(splits=["test"], identities=2, seed=seed), tmp_path / f"s{seed}")
        assert {row["pid"] for row in part.captures("test").to_pylist()} == {1, 3}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--where", "camera == 2"], "columns are sample_id, dataset, pid, camid"),
        (["--where", "camid =="], "--where 'camid ==' can't be read"),
        (["--where", "camid == 9"], "no row of"),
        (["--where", "rgb.no > 1"], "can't be read (name between backticks is not defined): write a condition like"),
        (["--where", "`mask-no.area` > 1"], "has no table 'mask-no', which --where names: it holds mask, rgb, text"),
        (["--split", "val"], "has no split 'val': it holds train, test"),
        (["--table", "sketch"], "has no table 'sketch': it holds"),
        (["--verdict", "rgb=good"], "verdict 'good' of rgb is not known: it is one of pass, fail, absent, error"),
        (["--verdict", "rgb"], "write TABLE=VERDICT"),
        (["--identities", "0"], "--identities is 0: it must be more than 0"),
        (["--captures", "1.5"], "--captures is 1.5: write a whole number of them, or a share below 1"),
        (["--captures", "nan"], "--captures is nan: write a whole number of them"),
        (["--pids", "1,x"], "--pids holds 'x', which is no whole number"),
    ],
)
def test_mistakes_of_a_selection_are_one_sentence(noise, run, tmp_path, options, said):
    made(tmp_path / "m", run, rows=6, steps=())
    result = CliRunner().invoke(app, ["select", str(tmp_path / "m"), "--out", str(tmp_path / "s"), *options])
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert not (tmp_path / "s").exists()


def test_different_data_sets_are_linked_and_filled_up(other, run, tmp_path, small_shards):
    first = made(tmp_path / "a", run, rows=125, steps=("inverse",))
    second = made(tmp_path / "b", run, rows=110, source="other", steps=())
    both = merge([second, first], tmp_path / "c", name="both")
    assert ids(both) == [*ids(first), *ids(second)]
    assert [shard.rows for shard in both.info.captures if shard.split == "train"] == [100, 25, 100, 10]
    assert (tmp_path / "c/rgb/train-00002-of-00004.parquet").samefile(tmp_path / "b/rgb/train-00000-of-00002.parquet")
    assert both.info.splits["train"].identities == 63 + 55  # equal numbers, different people
    filled = rows_of(both, "ir-inverse")
    assert filled["noise/train/00001"]["verdict"] == "pass"
    assert filled["other/train/00001"] | {"verdict": "absent", "image": None} == filled["other/train/00001"]
    assert validate(tmp_path / "c") == []
    row = both.table("rgb", "train")[232]
    assert row["sample_id"] == "other/train/00107"
    assert row["image"]["bytes"] == second.table("rgb", "train")[107]["image"]["bytes"]


def test_a_step_completes_what_a_part_lacked_and_leaves_the_rest(other, run, tmp_path, small_shards):
    first = made(tmp_path / "a", run, rows=125)
    second = made(tmp_path / "b", run, rows=110, source="other", steps=())
    merge([first, second], tmp_path / "c")
    whole = run_step(tmp_path / "c", "build-ir", "inverse", {}, run=run)
    shards = [f"ir-inverse/train-{i:05d}-of-00004.parquet" for i in range(4)]
    assert (tmp_path / "c" / shards[0]).samefile(tmp_path / "a/ir-inverse/train-00000-of-00002.parquet")
    assert rows_of(whole, "ir-inverse")["other/train/00109"]["verdict"] == "pass"
    assert validate(tmp_path / "c") == []
    again = merge([whole], tmp_path / "d")  # of one part: a copy in links
    assert again.checksum == whole.checksum


def test_a_photograph_that_lacks_its_mask_tells_why_nothing_was_made(noise, run, tmp_path):
    market = ingest(tmp_path / "market", "market1501", {"root": str(market1501(tmp_path))}, run=run)
    both = merge([made(tmp_path / "a", run, 6, steps=()), market], tmp_path / "both")
    manifest = run_step(both.path, "caption", "template", {"use": "colours"}, run=run)
    captures = manifest.captures("train").column("dataset").to_pylist()
    reasons = manifest.table("text-template", "train").columns(["reason"]).column("reason").to_pylist()
    assert {why for dataset, why in zip(captures, reasons, strict=True) if dataset == "market1501"} == {"mask: absent"}


def test_terms_of_the_merged_are_the_strictest(other, run, tmp_path):
    both = merge(
        [made(tmp_path / "a", run, 6, steps=()), made(tmp_path / "b", run, 6, "other", steps=())], tmp_path / "c"
    )
    assert [source.dataset for source in both.info.sources] == ["noise", "other"]
    assert both.info.source.policy["default_release"] == "never"
    card = (tmp_path / "c/README.md").read_text()
    assert "Source: `noise`" in card
    assert "Source: `other`" in card
    assert "Merged from `noise`, `other`." in card


def described(manifest, **source):
    """The same rows, told about differently."""
    about = source.pop("about")
    info = manifest.info.model_copy(update={"about": about, "source": manifest.info.source.model_copy(update=source)})
    return Manifest(manifest.path, info)


def test_a_part_speaks_for_no_other_and_what_was_left_out_is_added_up(other, run, tmp_path):
    first, second = made(tmp_path / "a", run, 6, steps=()), made(tmp_path / "b", run, 6, "other", steps=())
    left = {"junk box": 2}
    silent = merge([described(first, about="Noise.", dropped=left), second], tmp_path / "silent")
    assert silent.info.about == ""
    assert silent.info.source.dropped == {"noise: junk box": 2}
    # the same data set read in another way, as the two kinds of boxes of CUHK03-NP are
    again = described(second, about="More.", dataset="noise", dropped={"junk box": 3})
    both = merge([described(first, about="Noise.", dropped=left), again], tmp_path / "both")
    assert both.info.about == "Noise. More."
    assert both.info.source.dropped == {"noise: junk box": 5}


def test_interleaving_parts_of_one_data_set_come_back_together(noise, run, tmp_path, small_shards):
    whole = made(tmp_path / "m", run, rows=230)
    odd = select(whole, Selection(where="camid == 2"), tmp_path / "odd")
    even = select(whole, Selection(where="camid == 1"), tmp_path / "even")
    both = merge([odd, even], tmp_path / "both")
    assert ids(both) == ids(whole)
    assert both.info.merged == ()  # one source, once
    for name in ("rgb", "ir-inverse", "text"):
        assert rows_of(both, name) == rows_of(whole, name)
    assert validate(tmp_path / "both") == []
    shard = tmp_path / "both" / both.tables["ir-inverse"].shards[0].file
    before = shard.stat().st_ino
    run_step(tmp_path / "both", "build-ir", "inverse", {}, run=run)
    assert shard.stat().st_ino == before
    with pytest.raises(UserError, match=r"both hold 'noise/train/00000': a manifest holds each capture once"):
        merge([whole, even], tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_tables_of_one_name_made_in_two_ways_are_refused(other, run, tmp_path):
    first = made(tmp_path / "a", run, 6)
    made(tmp_path / "b", run, 6, "other", steps=())
    second = run_step(tmp_path / "b", "build-ir", "inverse", {"offset": 3}, run=run)
    with pytest.raises(UserError, match=r"table 'ir-inverse' is build-ir inverse version 1 \(pseudo\) \(offset=3\) in"):
        merge([first, second], tmp_path / "c")
    kept = merge([first, second], tmp_path / "c", tables=["rgb", "text"])
    assert set(kept.tables) == {"rgb", "text"}
    with pytest.raises(UserError, match="no part has a table 'mask-grabcut'"):
        merge([first, second], tmp_path / "d", tables=["mask-grabcut"])


def test_tables_that_differ_in_their_gates_alone_are_told_apart(other, run, tmp_path, monkeypatch):
    new = made(tmp_path / "b", run, source="other")
    monkeypatch.setattr("reidsynth.gates.VERSION", 2)
    with pytest.raises(UserError) as caught:
        merge([made(tmp_path / "a", run), new], tmp_path / "c")
    for version in (2, new.tables["ir-inverse"].step.gate):
        assert f"judged by gates version {version}, from rgb in" in str(caught.value)


def test_select_and_merge_again_change_nothing(noise, run, tmp_path):
    whole = made(tmp_path / "m", run)
    first = select(whole, Selection(identities=5), tmp_path / "s")
    files = sorted((tmp_path / "s").rglob("*.parquet"))
    before = [(path.stat().st_ino, path.read_bytes()) for path in files if "preview" not in str(path)]
    again = select(whole, Selection(identities=5), tmp_path / "s")
    after = [(path.stat().st_ino, path.read_bytes()) for path in files if "preview" not in str(path)]
    assert before == after
    assert again.checksum == first.checksum


def test_commands(other, run, tmp_path):
    made(tmp_path / "a", run, 6)
    made(tmp_path / "b", run, 6, "other", steps=())
    merged = CliRunner().invoke(
        app, ["merge", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "c"), "--name", "both"]
    )
    assert merged.exit_code == 0, merged.output
    assert "train 12 of 6 people" in merged.stdout
    chosen = CliRunner().invoke(
        app, ["select", str(tmp_path / "c"), "--where", "dataset == 'other'", "--out", str(tmp_path / "d"), "--json"]
    )
    assert chosen.exit_code == 0, chosen.output
    assert '"rows": 6' in chosen.stdout
