"""Narrow photographs on narrow canvases: the same as running the network there, or the letterbox where it can't."""

from __future__ import annotations

import re
from types import SimpleNamespace

import cv2
import numpy as np
import onnx
import pytest
from onnx.external_data_helper import set_external_data
from PIL import Image
from tiny_weights import context, node, save_network

from reidsynth.schema import Sample
from reidsynth.steps import build_step, onnx_sizes
from reidsynth.steps.networks import loaded

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def rembg(path, **more):
    return build_step("remove-background", "rembg", {"model": "u2net_custom", "file": str(path), **more})


def masked(step, *photos):
    return step.process([Sample(f"p/{n}", {}, {"rgb": photo}) for n, photo in enumerate(photos)])


def photo(height, width, seed=0):
    small = np.random.default_rng(seed).integers(0, 256, (6, 4, 3)).astype(np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def by_hand(path, image, canvas):
    """The mask that the file itself gives on a canvas (width, height), one step after the other."""
    import onnxruntime

    height, width = image.shape[:2]
    scale = min(canvas[0] / width, canvas[1] / height)
    across, down = round(width * scale), round(height * scale)
    left, top = (canvas[0] - across) // 2, (canvas[1] - down) // 2
    shown = np.asarray(Image.fromarray(image).resize((across, down), Image.Resampling.LANCZOS))
    around = ((top, canvas[1] - down - top), (left, canvas[0] - across - left), (0, 0))
    given = (np.pad(shown, around, mode="edge") / shown.max() - MEAN) / STD
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options)
    raw = session.run(None, {"x": given.transpose(2, 0, 1)[None].astype(np.float32)})[0][0, 0]
    levels = (raw[top : top + down, left : left + across] * 255).round().astype(np.uint8)
    return np.asarray(Image.fromarray(levels).resize((width, height), Image.Resampling.BILINEAR))


@pytest.mark.parametrize("frozen", [None, 320], ids=["scales", "frozen sizes"])
@pytest.mark.parametrize(
    ("size", "canvas"),
    [
        ((256, 128), (224, 320)),  # height and width; width and height
        ((90, 17), (224, 320)),
        ((40, 80), (320, 224)),
        ((33, 170), (320, 224)),
        ((256, 130), (320, 320)),
        ((320, 320), (320, 320)),
        ((100, 61), (320, 320)),
    ],
)
def test_a_mask_is_what_the_network_says_on_its_canvas(tmp_path, size, canvas, frozen):
    image = photo(*size)
    made = masked(rembg(context(tmp_path / "fixed.onnx", frozen=frozen)), image)[0]
    assert made.image.shape == size
    expected = by_hand(context(tmp_path / "open.onnx", side="s"), image, canvas)
    assert np.abs(made.image.astype(int) - expected).max() <= 1  # rounding of the preparation
    assert made.image.std() > 5


def test_narrow_photographs_alone_leave_the_letterbox(tmp_path):
    path = context(tmp_path / "fixed.onnx")
    narrow, wide = photo(256, 128), photo(100, 61)
    by_default, letterboxed = masked(rembg(path), narrow, wide), masked(rembg(path, fit="letterbox"), narrow, wide)
    assert not np.array_equal(by_default[0].image, letterboxed[0].image)
    assert np.array_equal(by_default[1].image, letterboxed[1].image)


@pytest.mark.parametrize(
    "frozen",
    [{"held": True}, {"held": True, "frozen": 320}, {"frozen": 257}],
    ids=["raises", "raises with frozen sizes", "answers in another shape"],
)
def test_networks_held_to_their_square_keep_to_the_letterbox_and_say_so(tmp_path, capfd, frozen):
    path = context(tmp_path / "frozen.onnx", **frozen)
    images = [photo(256, 128), photo(40, 90), photo(64, 64)]
    made = masked(rembg(path), *images)
    told = capfd.readouterr().err  # nothing of ONNX Runtime's: it is no error
    assert re.fullmatch(r"notice: frozen\.onnx takes no canvas but its own, 320x320: .*fit=letterbox\n", told)
    expected = masked(rembg(path, fit="letterbox"), *images)
    assert capfd.readouterr().err == ""
    for one, other in zip(made, expected, strict=True):
        assert np.array_equal(one.image, other.image)
        assert one.scores == other.scores


def test_files_too_large_for_a_second_copy_keep_to_the_letterbox(tmp_path, monkeypatch, capfd):
    path = context(tmp_path / "large.onnx")
    monkeypatch.setattr(onnx_sizes, "_LARGEST", path.stat().st_size - 1)
    assert loaded(rembg(path)).canvases == ()
    assert "takes no canvas but its own" in capfd.readouterr().err


@pytest.mark.parametrize("side", [320, "s"], ids=["stated size", "open size"])
def test_batches_of_any_mixture_give_what_single_photographs_give(tmp_path, side):
    images = [photo(*size, seed) for seed, size in enumerate([(60, 30), (30, 80), (50, 50), (80, 20), (44, 43)] * 4)]
    step = rembg(context(tmp_path / "many.onnx", batch="n", side=side))
    together = masked(step, *images)
    assert loaded(step).batch > 1
    assert loaded(step).canvases == ((224, 320), (320, 224))
    one_a_run = rembg(context(tmp_path / "single.onnx", side=side))
    for image, made in zip(images, together, strict=True):
        assert np.array_equal(made.image, masked(step, image)[0].image)
        assert np.array_equal(made.image, masked(one_a_run, image)[0].image)


def test_a_network_smaller_than_what_is_left_out_has_one_canvas(tmp_path, capfd):
    assert loaded(rembg(context(tmp_path / "small.onnx", side=64))).canvases == ()
    assert capfd.readouterr().err == ""


def test_want_of_memory_is_no_property_of_the_file():
    def session(message):
        def run(*_):
            raise RuntimeError(message)

        return SimpleNamespace(get_inputs=lambda: [SimpleNamespace(name="x", type="tensor(float)")], run=run)

    assert not onnx_sizes.takes(session("Non-zero status code returned while running Concat node"), (224, 320))
    with pytest.raises(RuntimeError, match="allocate"):
        onnx_sizes.takes(session("Failed to allocate memory for requested buffer of size 99"), (224, 320))


def test_what_is_no_onnx_file_is_left_alone(tmp_path):
    (tmp_path / "other").write_bytes(b"\xff" * 40)
    assert list(onnx_sizes.freed(tmp_path / "other", "x", (320, 320))) == []
    assert list(onnx_sizes.freed(context(tmp_path / "fixed.onnx"), "y", (320, 320))) == []


def test_a_network_is_read_whatever_the_name_of_its_file(tmp_path):
    named = context(tmp_path / "network.onnx").rename(tmp_path / "network.json")  # the name of another format
    assert len(list(onnx_sizes.freed(named, "x", (320, 320)))) == 1


def test_weights_in_another_file_are_not_looked_for_in_the_working_folder(tmp_path, monkeypatch):
    path = context(tmp_path / "fixed.onnx", frozen=320)
    model = onnx.load(path)
    kernel = next(each for each in model.graph.initializer if each.name == "kernel")
    set_external_data(kernel, "kernel.bin")
    outside = tmp_path / "outside.onnx"
    onnx.save(model, outside)
    assert (tmp_path / "kernel.bin").stat().st_size == 4 * 3 * 3 * 3
    monkeypatch.chdir(tmp_path)  # where they would be found
    assert loaded(rembg(outside)).canvases == ()
    made = masked(rembg(outside), photo(60, 30))[0]
    assert np.array_equal(made.image, masked(rembg(path, fit="letterbox"), photo(60, 30))[0].image)


@pytest.mark.parametrize(("frozen", "models"), [(None, 1), (320, 2), (257, 2)])
def test_freeing_touches_nothing_but_sizes(tmp_path, frozen, models):
    import onnxruntime

    path = context(tmp_path / "fixed.onnx", frozen=frozen)
    square = np.random.default_rng(0).normal(size=(1, 3, 320, 320)).astype(np.float32)
    expected = onnxruntime.InferenceSession(str(path)).run(None, {"x": square})[0]
    found = list(onnx_sizes.freed(path, "x", (320, 320)))
    assert len(found) == models
    for model in found:
        session = onnxruntime.InferenceSession(model)
        (given,), (answer,) = session.get_inputs(), session.get_outputs()
        assert (given.name, answer.name) == ("x", "y")
        assert given.shape[:2] == [1, 3]
        assert not [size for size in given.shape[2:] if isinstance(size, int)]
        assert np.abs(session.run(None, {"x": square})[0] - expected).max() < 1e-6


def test_sizes_are_multiples_of_what_the_network_halves(tmp_path):
    """Six halvings and six doublings: a side of 96 would come back as 64."""
    assert loaded(rembg(halvings(tmp_path / "five.onnx", 5))).canvases == ((224, 320), (320, 224))
    assert loaded(rembg(halvings(tmp_path / "six.onnx", 6))).canvases == ((256, 320), (320, 256))


def halvings(path, count):
    """A network that halves and doubles its map, and adds it to what it was."""
    weights = {"kernel": np.full((1, 3, 1, 1), 0.2), "twice": np.array([1.0, 1.0, 2.0, 2.0])}
    nodes, last = [node("Conv", ["x", "kernel"], "down0")], f"down{count}"
    for level in range(count):
        nodes.append(node("MaxPool", [f"down{level}"], f"down{level + 1}", kernel_shape=[2, 2], strides=[2, 2]))
    for level in range(count, 0, -1):
        nodes.append(node("Resize", [last, "", "twice"], f"up{level}"))
        nodes.append(node("Add", [f"up{level}", f"down{level - 1}"], f"both{level}"))
        last = f"both{level}"
    nodes.append(node("Sigmoid", [last], "y"))
    return save_network(path, nodes, weights, {"x": (1, 3, 320, 320)}, {"y": (1, 1, 320, 320)})
