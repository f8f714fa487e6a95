"""Transforms: shapes, values by hand, draws that depend on the generator alone, inputs left as they were."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reidtrain.transforms import Augment, ImageTransform, augment_channels, erase_box, pad_crop, resize

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.5)


def rng(seed=0):
    return np.random.default_rng(seed)


def image(height=12, width=8, seed=0):
    return rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_normalise_by_hand():
    pixels = image()
    out = ImageTransform((12, 8), MEAN, STD)(pixels, modality="rgb")
    expected = (pixels / 255 - np.array(MEAN)) / np.array(STD)
    assert out.shape == (3, 12, 8)
    assert out.dtype == torch.float32
    np.testing.assert_allclose(out.numpy().transpose(1, 2, 0), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(12, 8), (24, 8), (6, 4), (5, 16)])
def test_resize_gives_the_size_and_keeps_the_mean(size):
    pixels = image(40, 20)
    out = resize(pixels, size)
    assert out.shape == (*size, 3)
    assert abs(float(out.mean()) - float(pixels.mean())) < 6
    assert resize(out, size) is out


def test_resize_averages_where_it_shrinks():
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[::2] = 200  # every second row: without averaging one would get 0 or 200
    assert np.unique(resize(pixels, (4, 8))).tolist() == [100]


def test_pad_crop_shows_every_offset_and_nothing_else():
    pixels = image(4, 3) | 1  # never zero, so that padding can be told
    padded = np.pad(pixels, ((2, 2), (2, 2), (0, 0)))
    crops = [padded[y : y + 4, x : x + 3].tobytes() for y in range(5) for x in range(5)]
    drawn = {pad_crop(pixels, rng(seed), pad=2).tobytes() for seed in range(300)}
    assert drawn == set(crops)


def test_pad_crop_continues_the_edge():
    pixels = image(4, 3)
    padded = np.pad(pixels, ((2, 2), (2, 2), (0, 0)), mode="edge")
    crops = {padded[y : y + 4, x : x + 3].tobytes() for y in range(5) for x in range(5)}
    assert {pad_crop(pixels, rng(seed), pad=2, fill="edge").tobytes() for seed in range(300)} == crops


def test_erase_box_stays_inside_and_has_the_area():
    for seed in range(300):
        top, left, height, width = erase_box((64, 32), rng(seed), area=(0.1, 0.2))
        assert top >= 0 <= left
        assert top + height <= 64
        assert left + width <= 32
        assert 0.07 < height * width / (64 * 32) < 0.25


@pytest.mark.parametrize(
    ("kind", "shares"),
    [
        ("replicate", {"R": 1 / 3, "G": 1 / 3, "B": 1 / 3}),
        ("replicate-gray", {"R": 0.25, "G": 0.25, "B": 0.25, "gray": 0.25}),
        ("adap-gray", {"R": 0.25, "G": 0.25, "B": 0.25, "gray": 0.2, "none": 0.05}),
        ("none", {"none": 1.0}),
    ],
)
def test_channels_are_drawn_as_often_as_they_should(kind, shares):
    generator, tensor = rng(), torch.rand(3, 2, 2)
    drawn = [augment_channels(tensor, generator, kind=kind, gray=0.8)[1] for _ in range(4000)]
    for outcome in ("R", "G", "B", "gray", "none"):
        assert abs(drawn.count(outcome) / 4000 - shares.get(outcome, 0)) < 0.03


def test_channels_by_hand():
    tensor = torch.tensor([[[1.0]], [[2.0]], [[3.0]]])
    seen = {}
    for seed in range(50):
        out, what = augment_channels(tensor, rng(seed), kind="adap-gray", gray=0.5)
        seen[what] = out.flatten().tolist()
    assert seen["R"] == [1.0] * 3
    assert seen["B"] == [3.0] * 3
    assert seen["none"] == [1.0, 2.0, 3.0]
    assert seen["gray"] == pytest.approx([0.2989 + 2 * 0.5870 + 3 * 0.1140] * 3)


@pytest.mark.parametrize("channel", ["none", "replicate", "replicate-gray", "adap-gray"])
def test_the_generator_alone_decides_and_the_input_stays(channel):
    pixels = image(20, 10)
    before = pixels.copy()
    recipe = Augment(pad=2, erase=0.7, channel=channel, channel_erase=0.4)
    transform = ImageTransform((20, 10), MEAN, STD, {"rgb": recipe})
    first = [transform(pixels, modality="rgb", rng=rng(seed)) for seed in range(20)]
    again = [transform(pixels, modality="rgb", rng=rng(seed)) for seed in reversed(range(20))][::-1]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert len({tuple(out.flatten().tolist()) for out in first}) > 15
    np.testing.assert_array_equal(pixels, before)


def test_modalities_without_a_recipe_are_not_augmented():
    pixels = image()
    transform = ImageTransform((12, 8), MEAN, STD, {"rgb": Augment()})
    assert torch.equal(transform(pixels, modality="ir", rng=rng()), transform(pixels, modality="ir"))


def test_infrared_from_colour_needs_a_generator():
    transform = ImageTransform((12, 8), MEAN, STD)
    out = transform(image(), modality="ir", rng=rng(), channel="replicate")
    assert torch.equal(out[0], out[1])
    assert torch.equal(out[0], out[2])
    with pytest.raises(ValueError, match="generator"):
        transform(image(), modality="ir", channel="replicate")
