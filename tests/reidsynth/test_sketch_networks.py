"""Sketches by networks, against controlnet_aux's own calls, on randomly initialised weights."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from fixtures import crop, crop_mask
from tiny_weights import annotators

from reidsynth import weights
from reidsynth.errors import UserError
from reidsynth.pipeline import run_step
from reidsynth.schema import Sample
from reidsynth.steps import build_step
from reidsynth.steps.matte import matte
from reidsynth.steps.networks import in_batches, loaded

PIDINET = Path(__file__).parents[3] / "shared" / "data" / "weights" / "pidinet"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return annotators(tmp_path_factory.mktemp("annotators"))


def sketches(method, model, *samples, **more):
    return build_step("build-sketch", method, {"model": str(model), **more}).process(samples)


def photo_sample(number=0, size=(128, 64)):
    return Sample(f"p/{number}", {}, {"rgb": crop(number, size)})


def their_call(method, folder, photo):
    """controlnet_aux's own call at the photograph's size; white lines on black."""
    import controlnet_aux

    if method.startswith("lineart"):
        detector = controlnet_aux.LineartDetector.from_pretrained(str(folder))
        return detector(photo, coarse=method == "lineart-coarse", detect_resolution=64, image_resolution=64)
    if method == "teed":
        detector = controlnet_aux.TEEDdetector.from_pretrained(str(folder), filename="5_model.pth")
        return detector(photo, detect_resolution=64, safe_steps=0)
    kind = {"hed": controlnet_aux.HEDdetector, "pidinet": controlnet_aux.PidiNetDetector}[method]
    return kind.from_pretrained(str(folder))(photo, detect_resolution=64, image_resolution=64)


@pytest.mark.parametrize("method", ["lineart", "lineart-coarse", "teed", "pidinet", "hed"])
def test_batches_at_native_size_equal_the_detectors_own_call(method, folder):
    samples = [photo_sample(number) for number in range(3)]
    made = sketches(method, folder, *samples, background="keep", scale=1)
    for result, sample in zip(made, samples, strict=True):
        theirs = np.asarray(their_call(method, folder, sample.images["rgb"]))[:, :, 0]
        assert np.abs(result.image.astype(int) - (255 - theirs.astype(int))).max() <= 1  # they cut, this rounds


def test_sides_that_the_network_cannot_take_are_padded_not_scaled(folder):
    photo = crop(0, (127, 63))
    grown = np.pad(photo, ((0, 1), (0, 1), (0, 0)), mode="edge")
    odd, even = sketches(
        "lineart",
        folder,
        Sample("odd", {}, {"rgb": photo}),
        Sample("even", {}, {"rgb": grown}),
        background="keep",
    )
    assert np.array_equal(odd.image, even.image[:127, :63])


def test_the_background_is_erased_before_drawing(folder):
    mask = crop_mask((64, 32))
    erased = matte(crop(0), mask)
    removed = sketches("lineart", folder, Sample("a", {}, {"rgb": crop(0), "mask": mask}))[0]
    plain = sketches("lineart", folder, Sample("a", {}, {"rgb": erased}), background="keep")[0]
    assert np.array_equal(removed.image, plain.image)
    assert not np.array_equal(removed.image, sketches("lineart", folder, photo_sample(0, (64, 32)), background="keep"))


def test_matte_takes_doubt_for_background_and_leaves_the_photograph_alone():
    photo = np.full((40, 40, 3), 60, np.uint8)
    mask = np.zeros((40, 40), np.uint8)
    mask[:, 20:] = 250
    mask[:, :10] = 60  # a quarter person: a network's doubt
    for ground, value in (("white", 255), ("grey", 128), ("black", 0)):
        erased = matte(photo, mask, ground)
        assert (erased[:, :17] == value).all()
        assert (erased[:, 24:] == 60).all()
    assert (photo == 60).all()


def test_mixed_precision_stays_close_to_float32(folder):
    import torch

    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        with pytest.raises(UserError, match="which this CPU lacks"):
            sketches("lineart", folder, photo_sample(), background="keep", precision="bfloat16")
        return
    for method in ("lineart", "pidinet", "teed", "hed"):
        exact = sketches(method, folder, photo_sample(), background="keep", device="cpu")[0].image
        rough = sketches(method, folder, photo_sample(), background="keep", device="cpu", precision="bfloat16")[0].image
        assert np.abs(exact.astype(int) - rough.astype(int)).mean() < 2.5


def test_half_precision_on_a_cpu_is_refused(folder):
    with pytest.raises(UserError, match="'float16' needs CUDA"):
        sketches("lineart", folder, photo_sample(), background="keep", device="cpu", precision="float16")


def test_weights_are_told_by_checksum_and_never_by_place(folder):
    step = build_step("build-sketch", "lineart", {"model": str(folder)})
    assert step.weights() == {"sk_model.pth": hashlib.sha256((folder / "sk_model.pth").read_bytes()).hexdigest()}
    assert step.parameters()["model"] == folder.name
    assert build_step("build-sketch", "lineart", {}).parameters()["model"] == "lllyasviel/Annotators"


def test_a_manifest_is_not_made_again_when_its_weights_move(tmp_path, noise, run, folder):
    from reidsynth.ingest import ingest

    ingest(tmp_path / "m", "noise", {}, run=run)
    first, second = tmp_path / "here" / "w", tmp_path / "there" / "w"
    for place in (first, second):
        place.mkdir(parents=True)
        (place / "5_model.pth").write_bytes((folder / "5_model.pth").read_bytes())
    parameters = {"background": "keep", "scale": 1}
    made = run_step(tmp_path / "m", "build-sketch", "teed", {"model": str(first), **parameters}, run=run)
    shards = {shard.file: (made.path / shard.file).stat().st_ino for shard in made.tables["sketch-teed"].shards}
    again = run_step(tmp_path / "m", "build-sketch", "teed", {"model": str(second), **parameters}, run=run)
    assert {file: (again.path / file).stat().st_ino for file in shards} == shards
    assert str(tmp_path) not in (again.path / "manifest.json").read_text()


def test_weights_of_another_network_are_refused_in_a_sentence(tmp_path, folder):
    (tmp_path / "sk_model.pth").write_bytes((folder / "5_model.pth").read_bytes())
    with pytest.raises(UserError, match=r"sk_model\.pth does not hold the weights of lineart"):
        sketches("lineart", tmp_path, photo_sample(), background="keep")
    (tmp_path / "sk_model.pth").write_bytes(b"no weights")
    with pytest.raises(UserError, match=r"sk_model\.pth does not hold the weights of lineart"):
        sketches("lineart", tmp_path, photo_sample(), background="keep")


def test_missing_files_are_named(tmp_path, monkeypatch):
    from huggingface_hub import constants

    with pytest.raises(UserError, match=r"--method lineart needs the file sk_model\.pth in .* which holds nothing"):
        build_step("build-sketch", "lineart", {"model": str(tmp_path)}).weights()
    with pytest.raises(UserError, match=r"needs sk_model\.pth, and model='no-such-place' is no file or folder here"):
        build_step("build-sketch", "lineart", {"model": "no-such-place"}).weights()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UserError, match=r"needs 5_model\.pth of 'fal-ai/teed'.*HF_HUB_OFFLINE.*--set model=FOLDER"):
        build_step("build-sketch", "teed", {}).weights()


@pytest.mark.parametrize("method", ["lineart", "pidinet", "teed", "hed"])
def test_threads_of_the_process_change_nothing(method, folder):
    import torch

    sample = Sample("a", {}, {"rgb": crop(0, (217, 84))})
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(sketches(method, folder, sample, background="keep", scale=1, device="cpu")[0].image)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(*found)


def test_one_model_is_held_at_a_time(folder):
    first = build_step("build-sketch", "lineart", {"model": str(folder)})
    second = build_step("build-sketch", "teed", {"model": str(folder)})
    held = loaded(first)
    assert loaded(first) is held
    loaded(second)
    assert loaded(first) is not held


def test_stacks_hold_one_size_and_come_back_in_order():
    rng = np.random.default_rng(0)
    shapes = [(4, 6, 3), (8, 2, 3), (4, 6, 3), (30, 30, 3), (4, 6, 3), (8, 2, 3)]
    arrays = [rng.integers(0, 255, shape).astype(np.uint8) for shape in shapes]
    stacks = []

    def run(stack):
        stacks.append(stack.shape)
        return stack.sum((1, 2, 3))

    assert [int(found) for found in in_batches(arrays, run, pixels=50)] == [int(array.sum()) for array in arrays]
    assert stacks == [(2, 4, 6, 3), (1, 4, 6, 3), (2, 8, 2, 3), (1, 30, 30, 3)]


def test_folders_of_pipelines_are_told_by_every_deciding_file(tmp_path):
    (tmp_path / "unet").mkdir()
    for name in ("model_index.json", "unet/config.json", "unet/model.safetensors", "README.md"):
        (tmp_path / name).write_text(name)
    assert sorted(weights.folder_checksums(tmp_path)) == [
        "model_index.json",
        "unet/config.json",
        "unet/model.safetensors",
    ]


@pytest.mark.real_data
@pytest.mark.skipif(not PIDINET.exists(), reason="the weights are no part of the repository")
def test_pidinet_draws_the_outline_of_a_person():
    mask = crop_mask((128, 64))
    sample = Sample("a", {}, {"rgb": crop(0, (128, 64)), "mask": mask})
    drawn = 255 - sketches("pidinet", PIDINET, sample)[0].image.astype(int)
    edge = (mask[:, 1:] != mask[:, :-1]).any(1)
    assert drawn[edge].max(1).min() > 60
    assert drawn[:, :4].max() < 60
