"""Steps made while their rows are read: byte for byte what they make afterwards, with each photograph decoded once."""

from __future__ import annotations

import pytest

from reidsynth import ahead, images
from reidsynth.engines import LocalEngine
from reidsynth.errors import UserError
from reidsynth.ingest import ingest
from reidsynth.jobs import Run
from reidsynth.manifest import open_manifest
from reidsynth.pipeline import run_steps
from reidsynth.steps import build_step
from reidsynth.validate import validate

STEPS = [
    ("remove-background", "grabcut", {}),
    ("build-sketch", "lineart-standard", {}),
    ("build-ir", "channel-augmentation", {}),
    ("caption", "template", {}),
]
PATTERN = "{pid}_c{camid}_{_}"


def tree(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def crops(noise, tmp_path, monkeypatch):
    """Photographs in a folder, one of them damaged, in shards of 12 and blocks of 5 rows."""
    monkeypatch.setattr("reidsynth.ingest.ROWS_PER_SHARD", 12)
    monkeypatch.setattr("reidsynth.ingest.ROWS_PER_BLOCK", 5)
    monkeypatch.setattr("reidsynth.passes.ROWS_PER_BLOCK", 5)
    source = build_world()
    folder = tmp_path / "crops"
    folder.mkdir()
    for number, data in enumerate(source):
        (folder / f"{number // 4:04d}_c{number % 4}_{number:03d}.jpg").write_bytes(data)
    (folder / "0009_c1_900.jpg").write_bytes(source[0][:-200])
    return {"root": str(folder), "pattern": PATTERN}


def build_world():
    from reidsynth.sources import build_source

    world = build_source("demo", {"seed": 3, "train": 7, "val": 0, "test": 0, "height": 64, "width": 32})
    return [world.read(record).images["rgb"] for record in world.records("train")]


def built(out, parameters, run, *, at_once, steps=STEPS):
    ingest(out, "folder", parameters, run=run, ahead=steps if at_once else ())
    return run_steps(out, steps, run=run)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_same_bytes_as_one_after_the_other(crops, run, tmp_path, workers):
    after = built(tmp_path / "after", crops, run, at_once=False)
    with LocalEngine(workers) as engine:
        at_once = built(tmp_path / "at-once", crops, Run(engine, progress=False), at_once=True)
    assert len(after.info.captures) == 3
    counts = after.tables["mask-grabcut"].counts.values()
    assert sum(split.get("absent", 0) for split in counts) == 1  # of the damaged photograph
    assert tree(at_once.path) == tree(after.path)
    assert validate(at_once.path) == []


def test_photographs_are_decoded_once_and_nothing_is_left_to_the_steps(crops, run, tmp_path, monkeypatch):
    decoded = []
    pixels = images._pixels
    monkeypatch.setattr("reidsynth.images._pixels", lambda image: decoded.append(1) or pixels(image))
    monkeypatch.setattr("reidsynth.ingest.commit", lambda *_: None)  # it draws the preview
    monkeypatch.setattr("reidsynth.ingest.open_manifest", lambda *_: None)
    ingest(tmp_path / "m", "folder", crops, run=run, ahead=STEPS)
    assert len(decoded) == 29
    monkeypatch.undo()
    ingest(tmp_path / "m", "folder", crops, run=run, ahead=STEPS)

    def fail(*_):
        raise AssertionError("made again")

    for step in STEPS:
        monkeypatch.setattr(type(build_step(*step)), "process", fail)
    assert set(run_steps(tmp_path / "m", STEPS, run=run).tables) > {"mask-grabcut", "text-template"}


def test_shards_that_are_there_are_left_to_the_steps(crops, run, tmp_path, monkeypatch):
    """A data set that was touched but not changed: it is read anew, and what was made of it stays."""
    out = built(tmp_path / "m", crops, run, at_once=True).path
    before = tree(out)
    name = next(path.name for path in sorted((tmp_path / "crops").iterdir()))
    photo = tmp_path / "crops" / name
    data = photo.read_bytes()
    photo.unlink()
    photo.write_bytes(data)
    asked = []
    make = ahead.read_and_make
    monkeypatch.setattr("reidsynth.ingest.read_and_make", lambda *a, **k: asked.append(1) or make(*a, **k))
    built(out, crops, run, at_once=True)
    assert asked == []
    changed = {path for path, content in tree(out).items() if before.get(path) != content}
    assert before.keys() == tree(out).keys()
    assert validate(out) == []
    assert not any(path.startswith(("mask", "sketch", "ir", "text")) and "00001" in path for path in changed)


def test_what_cannot_go_along_runs_afterwards_and_mistakes_are_told_then(crops, run, tmp_path):
    specs = open_manifest(ingest(tmp_path / "m", "folder", crops, run=run).path).tables
    tables = [table.spec for table in specs.values()]

    def names(steps):
        return [each.made.name for each in ahead.leading(steps, tables)]

    assert names(STEPS) == ["remove-background", "build-sketch", "build-ir", "caption"]
    assert names([STEPS[0], STEPS[3], STEPS[1]]) == ["remove-background", "caption"]  # captions end a pass
    assert names([]) == []
    assert names([("build-sketch", "no-such-method", {})]) == []
    wrong = [("build-ir", "channel-augmentation", {}), ("build-sketch", "lineart-standard", {"mask": "mask-nowhere"})]
    assert names(wrong) == []
    with pytest.raises(UserError, match="mask-nowhere"):
        built(tmp_path / "wrong", crops, run, at_once=True, steps=wrong)
    assert validate(tmp_path / "wrong") == []  # the photographs are read, and no table of a step is half there
