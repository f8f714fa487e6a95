"""Masks by rembg's networks, on ONNX files that judge each pixel by its colour alone."""

from __future__ import annotations

import hashlib
import re

import numpy as np
import pytest
from PIL import Image
from tiny_weights import RED, colour_network, context, node, save_network

from reidsynth.errors import UserError
from reidsynth.schema import Sample
from reidsynth.steps import build_step
from reidsynth.steps.networks import loaded

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """rembg's folder, empty."""
    monkeypatch.setenv("U2NET_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def rembg(path, **more):
    return build_step("remove-background", "rembg", {"model": "u2net_custom", "file": str(path), **more})


def masked(step, *photos):
    return step.process([Sample(f"p/{n}", {}, {"rgb": photo}) for n, photo in enumerate(photos)])


def halves(size=(64, 32)):
    """Red above, grey below."""
    photo = np.full((*size, 3), 128, np.uint8)
    photo[: size[0] // 2] = (255, 20, 20)
    return photo


def probability(colour, largest):
    """What the network says of an even colour, by hand."""
    given = (np.array(colour) / largest - MEAN) / STD
    return 1 / (1 + np.exp(-(np.dot(given, RED[0]) + RED[1])))


@pytest.mark.parametrize("fit", ["square", "letterbox", "narrow"])
@pytest.mark.parametrize("size", [(64, 32), (40, 90), (101, 47)])
def test_mask_holds_the_raw_probabilities_in_their_place(tmp_path, fit, size):
    photo = halves(size)
    made = masked(rembg(colour_network(tmp_path / "red.onnx"), fit=fit), photo)[0]
    above, below = probability((255, 20, 20), 255), probability((128, 128, 128), 255)
    assert made.image.shape == size
    middle = size[0] // 2
    assert np.abs(made.image[: middle - 4] / 255 - above).max() < 0.01
    assert np.abs(made.image[middle + 4 :] / 255 - below).max() < 0.01
    certain = (abs(2 * above - 1) * middle + abs(2 * below - 1) * (size[0] - middle)) / size[0]
    assert made.scores["confidence"] == pytest.approx(certain, abs=0.02)


def test_an_empty_prediction_stays_empty(tmp_path):
    # rembg's own call divides by the spread of the mask, which is nothing here.
    step = rembg(colour_network(tmp_path / "even.onnx", weights=(0, 0, 0), bias=-3.0))
    made = masked(step, halves())[0]
    assert (made.image == round(255 / (1 + np.exp(3.0)))).all()


def test_photographs_are_prepared_as_rembg_does_it(tmp_path):
    from reidsynth.steps.rembg_models import _session_class

    network = loaded(rembg(colour_network(tmp_path / "red.onnx")))
    photo = np.random.default_rng(0).integers(0, 200, (320, 320, 3)).astype(np.uint8)
    session = _session_class("u2net_custom").__new__(_session_class("u2net_custom"))
    session.inner_session = network.session
    theirs = session.normalize(Image.fromarray(photo), tuple(MEAN), tuple(STD), (320, 320))["x"][0]
    assert np.array_equal(network.prepared(photo), theirs)


def test_models_that_take_one_photograph_at_a_time_give_the_same(tmp_path):
    photos = [np.random.default_rng(n).integers(0, 256, (50, 30, 3)).astype(np.uint8) for n in range(11)]
    many = masked(rembg(colour_network(tmp_path / "many.onnx")), *photos)
    single = masked(rembg(colour_network(tmp_path / "single.onnx", batch=1)), *photos)
    assert loaded(rembg(tmp_path / "single.onnx")).batch == 1
    for one, other in zip(many, single, strict=True):
        assert np.array_equal(one.image, other.image)
        assert one.scores == other.scores


def test_logits_are_told_apart_and_taken_when_asked(tmp_path):
    raw = colour_network(tmp_path / "raw.onnx", sigmoid=False)
    assert "set logits=true" in masked(rembg(raw), halves())[0].error
    asked = masked(rembg(raw, logits=True), halves())[0]
    assert np.array_equal(asked.image, masked(rembg(colour_network(tmp_path / "red.onnx")), halves())[0].image)


def test_registered_models_use_their_own_size_and_range(home, monkeypatch):
    monkeypatch.setenv("MODEL_CHECKSUM_DISABLED", "1")
    colour_network(home / "models" / "isnet-general-use" / "isnet-general-use.onnx", side=1024)
    step = build_step("remove-background", "rembg", {"model": "isnet-general-use"})
    network = loaded(step)
    assert (network.size, network.mean, network.std, network.logits) == (
        (1024, 1024),
        (0.5, 0.5, 0.5),
        (1.0, 1.0, 1.0),
        False,
    )
    assert step.output().name == "mask-isnet-general-use"
    colour_network(home / "models" / "birefnet-portrait" / "birefnet-portrait.onnx", side=1024, sigmoid=False)
    assert loaded(build_step("remove-background", "rembg", {"model": "birefnet-portrait"})).logits


def test_weights_are_told_by_checksum_and_never_by_place(tmp_path):
    path = colour_network(tmp_path / "somebody" / "red.onnx")
    step = rembg(path)
    assert step.weights() == {"red.onnx": hashlib.sha256(path.read_bytes()).hexdigest()}
    assert str(tmp_path) not in str(step.parameters())


def test_a_file_under_rembgs_name_is_compared_with_its_registry(home):
    colour_network(home / "models" / "u2net_human_seg" / "u2net_human_seg.onnx")
    step = build_step("remove-background", "rembg", {"model": "u2net_human_seg"})
    with pytest.raises(UserError, match=r"not the model that rembg publishes \(its md5 is .*delete it"):
        step.weights()


def test_a_model_that_cannot_be_fetched_is_named_with_its_place(home, monkeypatch):
    import pooch

    def offline(*_, **__):
        raise OSError("Name or service not known")

    monkeypatch.setattr(pooch, "retrieve", offline)
    step = build_step("remove-background", "rembg", {"model": "u2net_human_seg"})
    with pytest.raises(UserError) as caught:
        step.weights()
    for part in ("Name or service", "u2net_human_seg.onnx", str(home / "models"), "--set file=PATH"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "parameter 'model' is missing"),
        ({"model": "atlascloud"}, "sends images to a remote service"),
        ({"model": "u2nett"}, "no model of that name is offered; there are u2net, "),
        ({"model": "bria-rmbg"}, "no model of that name is offered"),
        ({"model": "u2net_custom"}, "needs the parameter 'file'"),
    ],
)
def test_models_are_named_and_local(parameters, message):
    with pytest.raises(UserError, match=message):
        build_step("remove-background", "rembg", parameters)


def test_files_that_are_no_model_are_refused_in_a_sentence(tmp_path):
    with pytest.raises(UserError, match=r"missing\.onnx' for the model 'u2net_custom' does not exist"):
        rembg(tmp_path / "missing.onnx").weights()
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(UserError, match=r"text\.onnx can't be opened as an ONNX model"):
        masked(rembg(tmp_path / "text.onnx"), halves())
    with pytest.raises(UserError, match=r"takes inputs of shape \[\[4, 3, 320, 320\]\]"):
        masked(rembg(colour_network(tmp_path / "four.onnx", batch=4)), halves())


def reshaped(path):
    nodes = [node("Conv", ["x", "w"], "raw"), node("Reshape", ["raw", "size"], "y")]
    weights = {"w": np.ones((1, 3, 1, 1)), "size": np.array([1, 1, 64, 64])}
    return save_network(path, nodes, weights, {"x": ("n", 3, 64, 64)}, {"y": ("m", 1, 64, 64)})


def pooled(path):
    nodes = [node("GlobalAveragePool", ["x"], "mean"), node("Flatten", ["mean"], "y")]
    return save_network(path, nodes, {}, {"x": ("n", 3, 64, 64)}, {"y": ("n", 3)})


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (lambda path: context(path, batch="n", frozen=257), "answers 2 photographs with an array of shape (1, 1, 257,"),
        (reshaped, "can't take 2 photographs of shape (3, 64, 64) at once ("),
        (pooled, "answers 2 photographs with an array of shape (2, 3), which is not (photographs, 1, height, width)"),
    ],
    ids=["one answer for all", "raises", "no map"],
)
def test_networks_that_make_no_masks_are_refused_in_a_sentence(tmp_path, network, message):
    step = build_step(
        "remove-background", "rembg", {"model": "u2net_custom", "file": str(network(tmp_path / "n.onnx"))}
    )
    photos = [Sample(f"p/{n}", {}, {"rgb": np.full((60, 50, 3), 9, np.uint8)}) for n in range(2)]
    with pytest.raises(UserError, match=rf"^n\.onnx {re.escape(message)}"):
        step.process(photos)


def test_cuda_is_refused_where_onnx_runtime_has_none(tmp_path):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(UserError, match="install onnxruntime-gpu"):
        masked(rembg(colour_network(tmp_path / "red.onnx"), device="cuda"), halves())
