"""Diffusion steps, on randomly initialised pipelines that diffusers saved and loads."""

from __future__ import annotations

import numpy as np
import pytest
from fixtures import crop, crop_mask
from tiny_pipelines import controlnet_pipeline, instruct_pipeline

from reidsynth.errors import UserError
from reidsynth.schema import Sample
from reidsynth.steps import build_step


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipelines")
    controlnet_pipeline(folder / "whole")
    controlnet_pipeline(folder / "parts", with_controlnet=False)
    instruct_pipeline(folder / "instruct")
    return folder


def drawn(pipelines, number=0, model="whole", *, method="build-sketch", **more):
    parameters = {"model": str(pipelines / model), "steps": 2, "drawn_at": 32, "background": "keep", **more}
    photo = crop(number, (65, 33))
    images = {"rgb": photo, "sketch-lineart": np.where(photo < 60, 0, 255).astype(np.uint8)}
    images |= {"mask": crop_mask((65, 33))} if parameters["background"] == "remove" else {}
    return build_step(method, "diffusion", parameters).process([Sample(f"d/{number}", {}, images)])[0]


def test_sketch_follows_seed_sample_and_control(pipelines):
    first = drawn(pipelines)
    assert first.image.shape == (65, 33)
    assert np.array_equal(first.image, drawn(pipelines).image)
    assert not np.array_equal(first.image, drawn(pipelines, seed=1).image)
    assert not np.array_equal(first.image, drawn(pipelines, prompt="b").image)


def test_the_background_is_erased_first(pipelines):
    kept, removed = drawn(pipelines), drawn(pipelines, background="remove")
    assert not np.array_equal(kept.image, removed.image)


def test_a_controlnet_beside_the_pipeline_is_used(pipelines):
    with pytest.raises(UserError, match="brings no ControlNet: name one as --set controlnet="):
        drawn(pipelines, model="parts")
    made = drawn(pipelines, model="parts", controlnet=str(pipelines / "parts-controlnet"))
    assert made.image.shape == (65, 33)
    step = build_step(
        "build-sketch",
        "diffusion",
        {"model": str(pipelines / "parts"), "controlnet": str(pipelines / "parts-controlnet")},
    )
    assert {"parts-controlnet/config.json", "unet/diffusion_pytorch_model.safetensors"} <= set(step.weights())
    assert str(pipelines) not in str(step.parameters())


def test_control_by_another_sketch_hands_over_white_lines_on_black(pipelines):
    step = build_step("build-sketch", "diffusion", {"model": str(pipelines / "whole"), "control": "sketch-lineart"})
    assert step.inputs(("rgb", "mask", "sketch-lineart")) == ("rgb", "mask", "sketch-lineart")
    with pytest.raises(UserError, match=r"needs the sketch table 'sketch-lineart'.*control=canny"):
        step.inputs(("rgb", "mask"))
    lines = np.full((64, 32), 255, np.uint8)
    lines[:, 16] = 0
    control = step._control(Sample("a", {}, {"sketch-lineart": lines}), np.zeros((1024, 512, 3), np.uint8))
    assert control.shape == (1024, 512)
    assert control[:, 264].min() > 200
    assert control[:, :200].max() == 0


def test_infrared_comes_from_an_instruction_and_is_told_to_be_made_from_colour(pipelines):
    step = build_step("build-ir", "diffusion", {"model": str(pipelines / "instruct")})
    assert (step.output().name, step.output().spectrum) == ("ir-diffusion", "pseudo")
    made = drawn(pipelines, model="instruct", method="build-ir")
    assert made.image.shape == (65, 33)
    with pytest.raises(UserError, match="needs one of the InstructPix2Pix kind"):
        drawn(pipelines, model="whole", method="build-ir")


def test_folders_that_hold_no_pipeline_are_refused_in_a_sentence(tmp_path, monkeypatch):
    from huggingface_hub import constants

    with pytest.raises(UserError, match=r"needs a folder saved by diffusers \(with model_index\.json\)"):
        build_step("build-sketch", "diffusion", {"model": str(tmp_path)}).weights()
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    with pytest.raises(UserError, match=r"can't be opened as a pipeline for build-sketch --method diffusion"):
        drawn(tmp_path, model=".")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UserError, match=r"of 'timbrooks/instruct-pix2pix', which is not on this machine"):
        build_step("build-ir", "diffusion", {}).weights()
