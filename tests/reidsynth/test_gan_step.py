"""Steps by a trained generator: sizes, spectrum, terms, what is refused, and tables that are made again or not."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures import crop, crop_mask
from tiny_weights import generator
from typer.testing import CliRunner

from reidsynth.cli import app
from reidsynth.engines import LocalEngine
from reidsynth.errors import UserError
from reidsynth.gates import generated_scores, judge
from reidsynth.ingest import ingest
from reidsynth.jobs import Run
from reidsynth.manifest import open_manifest
from reidsynth.pipeline import run_step
from reidsynth.schema import Sample
from reidsynth.steps import build_step, note, terms
from reidsynth.steps.matte import matte
from reidsynth.translator.pixels import levels, scaled
from reidsynth.translator.weights import GENERATOR, load_generator

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def infrared(tmp_path_factory):
    return generator(tmp_path_factory.mktemp("weights") / "lwir", spectrum="lwir")


def step(folder, name="build-ir", **more):
    return build_step(name, "gan", {"model": str(folder), "device": "cpu", **more})


def photo(number, size):
    return Sample(f"p/{number}", {}, {"rgb": crop(number, size)})


def test_at_the_working_size_the_output_is_the_networks(infrared):
    sample = photo(0, (64, 32))
    made = step(infrared).process([sample])[0].image
    with torch.no_grad():
        given = scaled(torch.from_numpy(sample.images["rgb"]).permute(2, 0, 1)[None])
        theirs = levels(load_generator(infrared / GENERATOR)(given))[0, 0].numpy()
    assert np.array_equal(made, theirs)
    assert made.std() > 3


def test_other_sizes_come_back_exactly_and_nothing_depends_on_the_batch(infrared):
    samples = [photo(n, size) for n, size in enumerate([(64, 32), (128, 64), (101, 47), (30, 90), (64, 32), (64, 32)])]
    together = step(infrared).process(samples)
    for sample, made in zip(samples, together, strict=True):
        assert made.image.shape == sample.images["rgb"].shape[:2]
        assert np.array_equal(made.image, step(infrared).process([sample])[0].image)
    two = step(infrared, threads=2)
    assert np.array_equal(two.process(samples)[4].image, two.process(samples[4:5])[0].image)


def test_the_generator_tells_spectrum_terms_and_what_it_learned_from(infrared):
    built = step(infrared)
    table = built.output()
    assert (table.name, table.modality, table.origin, table.spectrum) == ("ir-gan", "ir", "synthetic", "lwir")
    digest = hashlib.sha256((infrared / GENERATOR).read_bytes()).hexdigest()
    assert built.weights() == {GENERATOR: digest}
    assert terms(built)["licence"] == "CC-BY-NC-4.0"
    assert "90 pairs of drawn for 3 epochs" in note(built)
    assert "mean training image 18.25 dB / 0.500" in note(built)
    assert built.parameters()["model"] == infrared.name


def test_a_generator_for_something_else_is_refused(infrared, tmp_path):
    sketches = generator(tmp_path / "sketches", "sketch")
    with pytest.raises(UserError, match=r"makes ir, not sketch: use it with `reidsynth build-ir"):
        step(infrared, "build-sketch").output()
    with pytest.raises(UserError, match=r"makes sketch, not ir: use it with `reidsynth build-sketch"):
        step(sketches).weights()
    table = step(sketches, "build-sketch").output()
    assert (table.name, table.spectrum) == ("sketch-gan", None)
    assert note(step(sketches, "build-sketch")).startswith("sketches by an InfraGAN generator")


def test_what_is_no_generator_is_told(infrared, tmp_path):
    with pytest.raises(UserError, match=r"no file or folder here and no hub name"):
        step(tmp_path / "nowhere").output()
    (tmp_path / "empty/checkpoints").mkdir(parents=True)
    with pytest.raises(UserError, match="holds no checkpoint yet"):
        step(tmp_path / "empty").output()
    foreign = tmp_path / "foreign.safetensors"
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, foreign)
    with pytest.raises(UserError, match="says nothing of a translator"):
        step(foreign).output()
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes((infrared / GENERATOR).read_bytes()[:5000])
    with pytest.raises(UserError, match="is no generator of"):
        step(cut).output()
    other = generator(tmp_path / "other", channels=2)
    with pytest.raises(UserError, match="does not hold the generator that it names"):
        step(other).process([photo(0, (64, 32))])


def test_a_run_gives_its_last_checkpoint(tmp_path):
    for number in (5, 40):
        generator(tmp_path / f"run/checkpoints/step-{number:08d}", step=number)
    (tmp_path / "run/checkpoints/step-00000080").mkdir()  # of which only the name is left
    built = step(tmp_path / "run")
    assert "(40 steps)" in note(built)
    assert built.parameters()["model"] == "run"
    generator(tmp_path / "run/checkpoints/step-00000120", step=120)  # trained on while a table is being made
    assert "(40 steps)" in note(built)
    fields = {"model": built.model, "device": "cpu"}  # as workers get them
    assert "(40 steps)" in note(build_step("build-ir", "gan", fields))
    assert "(120 steps)" in note(step(tmp_path / "run"))


def test_the_background_is_erased_as_it_was_in_training(tmp_path):
    erased = generator(tmp_path / "erased", "sketch", background="remove")
    built = step(erased, "build-sketch")
    assert built.inputs(("rgb", "mask-grabcut", "mask")) == ("rgb", "mask-grabcut")
    with pytest.raises(UserError, match="run `reidsynth remove-background"):
        built.inputs(("rgb",))
    mask = crop_mask((64, 32))
    with_mask = Sample("a", {}, {"rgb": crop(0), "mask": mask})
    plain = Sample("a", {}, {"rgb": matte(crop(0), mask)})
    keeping = step(erased, "build-sketch", background="keep")
    assert keeping.inputs(("rgb",)) == ("rgb",)
    assert np.array_equal(built.process([with_mask])[0].image, keeping.process([plain])[0].image)


def test_generated_infrared_that_is_just_grey_fails_and_real_infrared_may_be():
    image = crop(0, (64, 32), "blue")
    grey = (image @ np.array([0.2989, 0.5870, 0.1140])).round().astype(np.uint8)
    for made in (grey, 255 - grey, (grey * 0.5 + 60).astype(np.uint8)):
        verdict = judge("ir", made, image, generated_scores("ir", made, image))
        assert (verdict.verdict, verdict.reason) == ("fail", "infrared image is just grey")
        assert judge("ir", made, image).verdict == "pass"  # a camera's, or one channel of the photograph
    warm = np.where(crop_mask((64, 32)) > 0, 220, 40).astype(np.uint8)
    scores = generated_scores("ir", warm, image)
    assert scores["grey"] < 0.9
    assert judge("ir", warm, image, scores).verdict == "pass"
    flat = np.full((64, 32), 90, np.uint8)
    assert generated_scores("ir", flat, image) == {"grey": 0.0}
    assert judge("ir", flat, image, generated_scores("ir", flat, image)).reason == "blank infrared image"
    assert generated_scores("sketch", grey, image) == {}


def test_tables_are_made_again_for_other_weights_only(noise, run, tmp_path):
    made = ingest(tmp_path / "m", "noise", {"rows": 6}, run=run)
    weights = generator(tmp_path / "lwir", spectrum="lwir")
    table = run_step(made.path, "build-ir", "gan", {"model": str(weights)}, run=run).tables["ir-gan"]
    assert {row["spectrum"] for row in (open_manifest(made.path).table("ir-gan", "train")[i] for i in range(6))} == {
        "lwir"
    }
    before = (made.path / table.shards[0].file).stat().st_mtime_ns
    moved = weights.rename(tmp_path / "elsewhere").rename(tmp_path / "sub").rename(tmp_path / "lwir")
    run_step(made.path, "build-ir", "gan", {"model": str(moved)}, run=run)
    assert (made.path / table.shards[0].file).stat().st_mtime_ns == before
    near = generator(tmp_path / "other/lwir", spectrum="nir")  # same name, same tensors, other facts
    manifest = run_step(made.path, "build-ir", "gan", {"model": str(near)}, run=run)
    assert (manifest.path / manifest.tables["ir-gan"].shards[0].file).stat().st_mtime_ns > before
    assert manifest.tables["ir-gan"].spectrum == "nir"
    run_step(made.path, "build-ir", "channel-augmentation", {}, run=run)
    assert {name: info.spectrum for name, info in open_manifest(made.path).tables.items() if info.modality == "ir"} == {
        "ir-ca": "pseudo",
        "ir-gan": "nir",
    }
    card = (made.path / "README.md").read_text()
    assert "90 pairs of drawn" in card
    assert "trained on data under: CC-BY-NC-4.0" in card


def test_the_command_refuses_in_one_sentence(noise, run, tmp_path):
    made = ingest(tmp_path / "m", "noise", {"rows": 2}, run=run)
    told = CliRunner().invoke(app, ["build-ir", str(made.path), "--method", "gan"])
    assert (told.exit_code, "parameter 'model' is missing" in told.stderr) == (2, True)
    sketches = generator(tmp_path / "sketches", "sketch")
    told = CliRunner().invoke(app, ["build-ir", str(made.path), "--method", "gan", "--set", f"model={sketches}"])
    assert (told.exit_code, "makes sketch, not ir" in told.stderr) == (2, True)
    assert not (made.path / "ir-gan").exists()


@pytest.mark.slow
def test_a_killed_build_goes_on_with_other_workers_and_ends_alike(tmp_path):
    weights = generator(tmp_path / "nir")
    with LocalEngine(1) as engine:
        run = Run(engine, progress=False)
        given = {"train": 300, "val": 40, "test": 1}
        whole, killed = (ingest(tmp_path / name, "demo", given, run=run).path for name in ("whole", "killed"))
        run_step(whole, "build-ir", "gan", {"model": str(weights)}, run=run)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = ["-m", "reidsynth", "build-ir", str(killed), "--method", "gan", "--set", f"model={weights}"]
    with subprocess.Popen(
        [sys.executable, *command, "--workers", "1"], env=environment, stderr=subprocess.DEVNULL
    ) as process:
        while not list((killed / "ir-gan").glob(".writing-*")) and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, "it was done before it could be killed"
    with LocalEngine(2) as engine:
        run_step(killed, "build-ir", "gan", {"model": str(weights)}, run=Run(engine, progress=False))
    for shard in open_manifest(whole).tables["ir-gan"].shards:
        assert (killed / shard.file).read_bytes() == (whole / shard.file).read_bytes()
