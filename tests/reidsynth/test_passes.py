"""Steps that share a pass make, byte for byte, what they make one by one, whatever is there already."""

from __future__ import annotations

import pytest
from manifest_files import linked, tree, unchanged

from reidsynth.engines import LocalEngine
from reidsynth.ingest import ingest
from reidsynth.jobs import Run
from reidsynth.manifest import open_manifest
from reidsynth.pipeline import run_step, run_steps
from reidsynth.validate import validate

ALONE = Run(LocalEngine(1), progress=False)
STEPS = [
    ("remove-background", "grabcut", {}),
    ("build-sketch", "lineart-standard", {}),
    ("build-ir", "channel-augmentation", {}),
    ("caption", "template", {}),
]


@pytest.fixture(autouse=True, scope="module")
def _small():
    """Shards of 16 and blocks of 10 rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reidsynth.ingest.ROWS_PER_SHARD", 16)
        patch.setattr("reidsynth.passes.ROWS_PER_BLOCK", 10)
        yield


@pytest.fixture(scope="module")
def drawn(_small, tmp_path_factory):
    """A small drawn world, to be copied."""
    out = tmp_path_factory.mktemp("drawn") / "m"
    ingest(out, "demo", {"train": 6, "val": 2, "test": 2}, run=ALONE)
    with unchanged(out):
        yield out


@pytest.fixture(scope="module")
def one_by_one(drawn, tmp_path_factory):
    """The world with every step run by itself, to be compared with."""
    out = linked(drawn, tmp_path_factory.mktemp("one-by-one") / "m")
    for step in STEPS:
        run_step(out, *step, run=ALONE)
    with unchanged(out):
        yield out


@pytest.fixture(scope="module")
def together(drawn, tmp_path_factory):
    """The world with all steps run in one go, to be compared with or copied."""
    out = linked(drawn, tmp_path_factory.mktemp("together") / "m")
    run_steps(out, STEPS, run=ALONE)
    with unchanged(out):
        yield out


def test_together_as_one_by_one(one_by_one, together):
    assert len(open_manifest(one_by_one).info.captures) > len(open_manifest(one_by_one).splits)  # several shards
    assert tree(together) == tree(one_by_one)
    assert validate(one_by_one) == []


def test_a_photograph_is_decoded_once(drawn, run, monkeypatch, tmp_path):
    from reidsynth import images

    out = linked(drawn, tmp_path / "m")
    decoded = []
    decode = images.decode
    monkeypatch.setattr("reidsynth.images.decode", lambda data: decoded.append(data) or decode(data))
    monkeypatch.setattr("reidsynth.pipeline.commit", lambda *_: None)  # it draws the preview
    run_steps(out, STEPS[:3], run=run)
    rows = sum(split.rows for split in open_manifest(out).info.splits.values())
    assert len(decoded) == rows


@pytest.mark.parametrize("lost", [(0, 2), (1, 3)])
def test_whatever_was_there_the_end_is_the_same(together, one_by_one, run, lost, tmp_path):
    """As after a kill: some shards of some tables are missing, and the description tells nothing of their tables."""
    out = linked(together, tmp_path / "m")
    tables = ["mask-grabcut", "sketch-lineart-standard", "ir-ca", "text-template"]
    info = open_manifest(out).info
    for number in lost:
        (out / info.tables[tables[number]].shards[number % 2].file).unlink()
    kept = {name: table for name, table in info.tables.items() if name not in {tables[number] for number in lost}}
    from reidsynth.manifest import write_info

    write_info(out, info.model_copy(update={"tables": kept}))
    run_steps(out, STEPS, run=run)
    assert tree(out) == tree(one_by_one)


def test_finished_shards_are_not_made_again(drawn, run, monkeypatch, tmp_path):
    out = linked(drawn, tmp_path / "m")
    run_steps(out, STEPS[:2], run=run)

    def fail(*_):
        raise AssertionError("made again")

    monkeypatch.setattr("reidsynth.steps.background.GrabCut.process", fail)
    monkeypatch.setattr("reidsynth.steps.lineart.LineartStandard.process", fail)
    run_steps(out, STEPS, run=run)
    assert "text-template" in open_manifest(out).tables


def test_changed_parameters_reach_what_hangs_on_them(drawn, together, run, tmp_path):
    changed = [("remove-background", "grabcut", {"iterations": 2}), *STEPS[1:]]
    once = linked(drawn, tmp_path / "once")
    run_steps(once, changed, run=run)
    twice = linked(together, tmp_path / "twice")
    run_steps(twice, changed, run=run)
    assert tree(twice) == tree(once)
    assert validate(twice) == []


def test_neighbours_share_unless_something_parts_them(noise):
    from reidsynth.grouping import Entry, together
    from reidsynth.steps import build_step

    def names(steps, weights=None):
        built = [build_step(*step) for step in steps]
        entries = [Entry(step, step.output(), (weights or {}).get(step.name, {})) for step in built]
        return [[entry.step.name for entry in group] for group in together(entries)]

    mask, sketch, ir, caption = STEPS
    assert names(STEPS) == [["remove-background", "build-sketch", "build-ir", "caption"]]
    assert names([mask, caption, sketch, ir]) == [["remove-background", "caption"], ["build-sketch", "build-ir"]]
    assert names([mask, mask]) == [["remove-background"], ["remove-background"]]
    assert names(STEPS, {"build-sketch": {"net": "0"}}) == [
        ["remove-background"],
        ["build-sketch"],
        ["build-ir", "caption"],
    ]
