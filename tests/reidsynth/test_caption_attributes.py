"""Template captions in the shared form, and attributes of photographs from a small network."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from fixtures import crop, crop_mask
from tiny_weights import attribute_network, colour_network

from reidsynth.card import write_card
from reidsynth.errors import UserError
from reidsynth.gates import judge
from reidsynth.manifest import open_manifest
from reidsynth.pipeline import run_step
from reidsynth.schema import ATTRIBUTE_FIELDS, Sample, Text
from reidsynth.steps import build_step
from reidsynth.steps.captions.answers import STYLES
from reidsynth.steps.captions.attribute_model import _attributes
from reidsynth.tokens import clip_tokens

KNOWN = {"gender": "female", "upper_type": "coat", "upper_colour": "red", "bag": "none", "shoes_type": "boots"}
DATA = Path(__file__).parents[3] / "shared/data"


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return str(attribute_network(tmp_path_factory.mktemp("network") / "people.onnx"))


def caption(sample, **parameters):
    return build_step("caption", "template", parameters).process([sample])[0]


def photographed(image, mask=None, modality="rgb"):
    images = {"rgb": image} | ({} if mask is None else {"mask-grabcut": mask})
    return Sample("a", {"modality": modality}, images)


def described(attributes):
    return Sample("a", {}, {}, {"text": Text(("Someone.",), dict.fromkeys(ATTRIBUTE_FIELDS) | attributes)})


def test_captions_carry_short_version_and_visibility():
    text = caption(described(KNOWN)).text
    assert clip_tokens(text.short) <= 77
    assert text.short in text.captions
    assert text.visible == {
        "person": True,
        "hair": False,
        "headwear": False,
        "upper": True,
        "lower": False,
        "shoes": True,
        "carried": True,  # nothing is carried, and the view shows that
    }


@pytest.mark.parametrize("attributes", [KNOWN, {"upper_colour": "blue"}, {"gender": "male"}, {"shoes_type": "boots"}])
def test_styles_are_written_in_order_and_pass_the_gate(attributes):
    styles = list(STYLES)[::-1]
    for seed in range(5):
        text = caption(described(attributes), styles=styles, seed=seed).text
        assert text.styles == tuple(styles)
        assert len(set(text.captions)) == len(styles)
        assert all(8 <= len(told.split()) <= 130 for told in text.captions), text.captions
        assert judge("text", text).verdict == "pass"
    if "upper_type" in attributes:
        assert all("red coat" in told for told in text.captions)


def test_the_network_tells_what_it_is_sure_of_and_masks_the_colours(network):
    red = crop(size=(128, 64))
    red[:, :, 0], red[:, :, 1:] = 250, red[:, :, 1:] // 4
    made = caption(photographed(red, crop_mask((128, 64))), attribute_model=network)
    assert made.draw == "attributes=model+colours"
    told = made.text.attributes
    assert (told["gender"], told["hair_length"]) == ("male", "long")
    assert (told["lower_type"], told["bag"]) == ("trousers", "backpack")
    assert told["upper_colour"] == "red"
    blue = np.ascontiguousarray(red[:, :, ::-1])  # the network takes BGR: blue must not look red to it
    told = caption(photographed(blue, crop_mask((128, 64))), attribute_model=network).text.attributes
    assert (told["gender"], told["headwear"], told["bag"]) == ("female", "none", "none")


def test_without_masks_colours_are_picked_at_the_networks_points(network):
    photo = np.full((160, 80, 3), 128, np.uint8)
    photo[48:64, 32:48] = (178, 38, 42)  # sigmoid(-.62) is .35 of the height
    photo[96:112, 32:48] = (52, 104, 178)
    step = build_step("caption", "template", {"attribute_model": network})
    assert step.inputs(("rgb",)) == ("rgb",)
    made = step.process([photographed(photo)])[0]
    assert made.draw == "attributes=model"
    assert (made.text.attributes["upper_colour"], made.text.attributes["lower_colour"]) == ("red", "blue")


def test_rows_with_attributes_of_their_own_need_no_network(network):
    sample = described(KNOWN)
    made = caption(Sample("a", {}, {"rgb": crop()}, sample.texts), attribute_model=network)
    assert made.draw == "attributes=text"
    assert made.text.attributes["upper_type"] == "coat"


def test_certainty_decides_what_is_told():
    probabilities = np.array([0.75, 0.3, 0.1, 0.15, 0.99, 0.85, 0.5, 0.1])
    assert _attributes(probabilities, 0.8) == {"headwear": "none", "lower_type": "trousers"}
    assert _attributes(probabilities, 0.7)["gender"] == "male"
    assert _attributes(probabilities, 0.7)["bag"] == "none"


def test_infrared_images_are_never_described(network):
    for parameters in ({}, {"attribute_model": network}):
        made = caption(photographed(crop(), crop_mask(), modality="ir"), **parameters)
        assert (made.text, made.error) == (None, None)
        assert made.absent == "captions are never made from infrared images"


def test_files_that_are_no_such_network_are_one_sentence(tmp_path, network):
    sample = photographed(crop())
    with pytest.raises(UserError, match=r"'nowhere\.onnx' does not exist: give the path of an ONNX file"):
        caption(sample, attribute_model="nowhere.onnx")
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(UserError, match=r"attribute_model='text\.onnx' is no ONNX model"):
        caption(sample, attribute_model=str(tmp_path / "text.onnx"))
    with pytest.raises(UserError, match=r"must take \(3, 160, 80\)"):
        caption(sample, attribute_model=str(colour_network(tmp_path / "mask.onnx")))


def test_the_card_tells_where_attributes_come_from(ingested, tmp_path, run, noise, network):
    import shutil

    shutil.copytree(ingested, tmp_path / "m")
    made = run_step(tmp_path / "m", "caption", "template", {"attribute_model": network}, run=run)
    card = (made.path / "README.md").read_text()
    assert "attributes are those of the table `text` where a row has them, else the network people.onnx" in card
    assert str(Path(network).parent) not in card + (made.path / "manifest.json").read_text()
    draws = [row["draw"] for row in made.table("text-template", "train").rows(0, 12)]
    assert set(draws) >= {"attributes=text", "attributes=model+colours"}
    write_card(made.path, open_manifest(made.path).info)
    assert (made.path / "README.md").read_text() == card


@pytest.mark.real_data
def test_the_crossroad_network_on_real_crops():
    file = DATA / "weights/attr0230.onnx"
    if not file.exists():
        pytest.skip(f"{file} is absent")
    read = lambda name: cv2.imread(str(DATA / "crops" / name))[:, :, ::-1]  # noqa: E731 - used twice, right here
    suit = caption(photographed(read("personx_0017.png")), attribute_model=str(file)).text.attributes
    assert (suit["gender"], suit["lower_type"], suit["hair_length"]) == ("male", "trousers", "short")
    dress = caption(photographed(read("personx_0002.png")), attribute_model=str(file)).text.attributes
    assert (dress["gender"], dress["lower_type"], dress["upper_colour"]) == ("female", None, "yellow")
