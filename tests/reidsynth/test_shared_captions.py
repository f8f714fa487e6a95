"""The gate over a whole text table: captions that many people share."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
from drawn_source import Noise

from reidsynth import shared_captions
from reidsynth.ingest import ingest
from reidsynth.merging import merge
from reidsynth.pipeline import run_step
from reidsynth.steps import STEPS


@pytest.fixture
def manifest(tmp_path, run, noise, monkeypatch):
    monkeypatch.setitem(STEPS, "caption", {**STEPS["caption"], "same": "drawn_source:Same"})
    return ingest(tmp_path / "m", "noise", {"rows": 60}, run=run)


def rows(manifest, split="train"):
    reader = manifest.table("text-same", split)
    return [row for row in reader.rows(0, len(reader)) if row["captions"]]


def test_a_caption_of_many_people_fails_with_the_number(manifest, run):
    made = run_step(manifest.path, "caption", "same", {"below": 20}, run=run)  # 30 people a split, two rows each
    for row in rows(made):
        number = int(row["sample_id"][-5:]) // 2
        assert row["scores"]["identities"] == (20.0 if number < 20 else 1.0)
        assert row["verdict"] == ("fail" if number < 20 else "pass")
        assert row["reason"] == (shared_captions.gates.SHARED_CAPTION if number < 20 else None)
    assert not (made.path / shared_captions.DRAFTS).exists()


def test_a_caption_of_a_few_people_passes(manifest, run):
    made = run_step(manifest.path, "caption", "same", {"below": 10}, run=run)
    assert {row["verdict"] for row in rows(made)} == {"pass"}
    assert max(row["scores"]["identities"] for row in rows(made)) == 10.0


def test_the_limit_is_set_with_the_step(manifest, run):
    asked = {"below": 10, "gates": {"text_identities": 9}}
    made = run_step(manifest.path, "caption", "same", asked, run=run)
    assert {row["verdict"] for row in rows(made) if int(row["sample_id"][-5:]) < 20} == {"fail"}
    assert made.tables["text-same"].step.gates == {"text_identities": 9}
    below = asked | {"gates": {"text_identities": 2, "text_identities_share": 0.4}}  # of 30 people: 12 may share one
    assert {row["verdict"] for row in rows(run_step(manifest.path, "caption", "same", below, run=run))} == {"pass"}
    never = {"below": 60, "gates": {"text_identities": None}}
    assert {row["verdict"] for row in rows(run_step(manifest.path, "caption", "same", never, run=run))} == {"pass"}


def test_killed_between_drafts_and_the_gate_nothing_changes(manifest, run, monkeypatch, tmp_path):
    shutil.copytree(manifest.path, tmp_path / "undisturbed")
    expected = run_step(tmp_path / "undisturbed", "caption", "same", {"below": 20}, run=run)
    judged = []

    def killed(*arguments):
        if judged:
            raise KeyboardInterrupt
        judged.append(settle_shard(*arguments))

    settle_shard = shared_captions._settle_shard
    with monkeypatch.context() as patched:
        patched.setattr(shared_captions, "_settle_shard", killed)
        with pytest.raises(KeyboardInterrupt):
            run_step(manifest.path, "caption", "same", {"below": 20}, run=run)
    assert len(list((manifest.path / "text-same").glob("*.parquet"))) == 1  # a shard is there once it is judged
    made = run_step(manifest.path, "caption", "same", {"below": 20}, run=run)
    assert made.checksum == expected.checksum
    assert not (made.path / shared_captions.DRAFTS).exists()


def test_equal_numbers_of_different_data_sets_are_different_people(manifest, run, monkeypatch, tmp_path):
    records = Noise.records

    def renamed(source, split):
        return [replace(one, sample_id=one.sample_id.replace("noise", "hum")) for one in records(source, split)]

    monkeypatch.setattr(Noise, "dataset", lambda source: "hum")
    monkeypatch.setattr(Noise, "records", renamed)
    other = ingest(tmp_path / "other", "noise", {"rows": 60, "seed": 1}, run=run)
    both = merge([manifest, other], tmp_path / "both")
    made = run_step(both.path, "caption", "same", {"below": 10, "gates": {"text_identities": 19}}, run=run)
    found = {row["sample_id"]: row for row in rows(made)}
    assert {row["scores"]["identities"] for name, row in found.items() if int(name[-5:]) < 20} == {20.0}
    assert {row["scores"]["identities"] for name, row in found.items() if int(name[-5:]) >= 20} == {2.0}
    assert {row["verdict"] for name, row in found.items() if int(name[-5:]) < 20} == {"fail"}
