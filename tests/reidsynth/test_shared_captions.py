"""The gate over a whole text table: captions that many people share."""

from __future__ import annotations

from typing import ClassVar

import drawn_source
import pytest
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from reidsynth import shared_captions
from reidsynth.ingest import ingest
from reidsynth.pipeline import run_step
from reidsynth.schema import Made, Sample, TableSpec, Text
from reidsynth.steps import STEPS


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Same(drawn_source.Inverse):
    """The same sentence for everybody below a person number; the others have their own."""

    below: int = 40
    name: ClassVar[str] = "caption"
    method: ClassVar[str] = "same"

    def output(self) -> TableSpec:
        return TableSpec("text-same", "text", "synthetic")

    def parameters(self):
        return {"below": self.below, "offset": 0}

    def process(self, samples: list[Sample]) -> list[Made]:
        pids = [sample.capture["pid"] for sample in samples]
        return [Made(text=Text((f"A person, number {0 if pid < self.below else pid}.",))) for pid in pids]


@pytest.fixture
def manifest(tmp_path, run, noise, monkeypatch):
    monkeypatch.setitem(STEPS, "caption", {**STEPS["caption"], "same": f"{__name__}:Same"})
    monkeypatch.setattr("reidsynth.registry.locate", lambda target, found=None: _located(target))
    return ingest(tmp_path / "m", "noise", {"rows": 60}, run=run)


def _located(target):
    module, _, name = target.partition(":")
    if module == __name__:
        return Same
    import importlib

    return getattr(importlib.import_module(module), name)


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


def test_killed_between_drafts_and_the_gate_nothing_changes(manifest, run, monkeypatch):
    made = run_step(manifest.path, "caption", "same", {"below": 20}, run=run)
    files = sorted((made.path / "text-same").glob("*.parquet"))
    expected = [file.read_bytes() for file in files]
    files[0].unlink()

    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shared_captions, "_settle_shard", killed)
        with pytest.raises(KeyboardInterrupt):
            run_step(manifest.path, "caption", "same", {"below": 20}, run=run)
    assert not files[0].exists()  # a shard is there once it is judged
    run_step(manifest.path, "caption", "same", {"below": 20}, run=run)
    assert [file.read_bytes() for file in files] == expected
