from __future__ import annotations

import json
import re

import numpy as np
import pytest
from fixtures import SHIRTS, crop, crop_mask
from tiny_weights import parameters as tiny_parameters

from reidsynth.errors import UserError
from reidsynth.gates import judge
from reidsynth.schema import ATTRIBUTE_FIELDS, Sample, Text
from reidsynth.steps import STEPS, build_step, step_class
from reidsynth.steps.captions.colours import clothing_colours

SIZES = [(64, 32), (128, 64), (101, 47), (225, 104), (64, 64)]
ALL = ("rgb", "mask", "mask-grabcut", "text")
REGISTERED = [(step, method) for step, methods in STEPS.items() for method in methods]


def sample(number=0, size=(64, 32), shirt="red", texts=None):
    images = {"rgb": crop(number, size, shirt), "mask-grabcut": crop_mask(size)}
    return Sample(f"drawn/{number:03d}", {}, images, texts or {})


def given(step, made):
    """The sample with what the step reads, as the runner hands it over."""
    names = step.inputs(tuple(made.images))
    return Sample(made.sample_id, made.capture, {name: made.images[name] for name in names}, made.texts)


@pytest.fixture(scope="module")
def built_step(tmp_path_factory):
    """Builds any registered method; those that need weights get tiny ones."""
    folder = tmp_path_factory.mktemp("weights")
    return lambda step, method: build_step(step, method, tiny_parameters(step, method, folder))


def first_party(pairs):
    """Methods of this package; those that ask a model for captions have tests of their own, with a model."""
    own = [pair for pair in pairs if STEPS[pair[0]][pair[1]].startswith("reidsynth.")]
    asking = [pair for pair in own if hasattr(step_class(*pair), "gather")] + [("caption", "transformers")]
    return [pair for pair in own if pair not in asking]


@pytest.mark.parametrize(("step", "method"), first_party(REGISTERED))
def test_every_registered_step_keeps_the_contract(step, method, built_step):
    cls = step_class(step, method)
    assert (cls.name, cls.method) == (step, method)
    built = built_step(step, method)
    json.dumps(built.parameters())
    if not built.weights():
        assert build_step(step, method, json.loads(json.dumps(built.parameters()))) == built
    assert built.output().origin == "synthetic"
    assert set(built.inputs(ALL)) <= set(ALL)
    samples = [given(built, sample(number, size)) for number, size in enumerate(SIZES)]
    before = [{name: image.copy() for name, image in each.images.items()} for each in samples]
    made = built.process(samples)
    assert len(made) == len(samples)
    for each, result in zip(samples, made, strict=True):
        assert result.error is None
        if built.output().kind == "image":
            assert result.image.dtype == np.uint8
            assert result.image.shape == each.images["rgb"].shape[:2]
    for each, images in zip(samples, before, strict=True):
        assert all(np.array_equal(each.images[name], image) for name, image in images.items())


@pytest.mark.parametrize(("step", "method"), first_party(REGISTERED))
def test_output_depends_on_the_sample_alone(step, method, built_step):
    built = built_step(step, method)
    samples = [given(built, sample(number, shirt=list(SHIRTS)[number])) for number in range(4)]
    together = built.process(samples)
    alone = [built.process([each])[0] for each in reversed(samples)][::-1]
    for one, other in zip(together, alone, strict=True):
        assert (one.draw, one.text, dict(one.scores)) == (other.draw, other.text, dict(other.scores))
        assert (one.image is None) or np.array_equal(one.image, other.image)


def test_unknown_names_list_the_valid_ones():
    with pytest.raises(
        UserError, match=r"unknown step 'build-sketches' \(did you mean 'build-sketch'\?\); valid are build-ir"
    ):
        build_step("build-sketches", "lineart-standard", {})
    with pytest.raises(UserError, match="valid are diffusion, gan, hed, lineart"):
        build_step("build-sketch", "pencil", {})


def test_all_parameter_mistakes_at_once():
    with pytest.raises(UserError) as caught:
        build_step("build-sketch", "lineart-standard", {"sigma": -1, "background": "blur", "ink": 3})
    for part in ("'sigma'", "-1", "'background'", "'blur'", "unknown parameter 'ink'", "parameters are: background"):
        assert part in str(caught.value)
    with pytest.raises(UserError) as caught:
        build_step("caption", "openai", {"model": "m", "styles": ["short"]})
    assert "'styles.0'" in str(caught.value)
    assert "'styles':" not in str(caught.value)  # nothing is wrong with it but what it holds


@pytest.mark.parametrize(
    ("step", "method", "tables", "message"),
    [
        (
            "remove-background",
            "grabcut",
            ("ir",),
            r"needs the table 'rgb', which this manifest lacks \(tables there: ir\)",
        ),
        ("build-ir", "channel-augmentation", (), r"needs the table 'rgb'.*tables there: none"),
        ("build-sketch", "lineart-standard", ("rgb",), r"needs a mask table.*run `reidsynth remove-background"),
        ("caption", "template", ("rgb",), "needs a mask table"),
    ],
)
def test_missing_tables_are_named_with_step_and_what_is_there(step, method, tables, message):
    with pytest.raises(UserError, match=message):
        build_step(step, method, {}).inputs(tables)


def test_named_mask_must_exist():
    with pytest.raises(UserError, match="needs the mask table 'mask-u2net'"):
        build_step("build-sketch", "lineart-standard", {"mask": "mask-u2net"}).inputs(ALL)


def test_of_several_made_masks_one_must_be_named():
    several = (*ALL, "mask-u2net-human-seg")
    for step, method in (("build-sketch", "lineart-standard"), ("build-sketch", "hed")):
        with pytest.raises(UserError, match=r"holds mask-grabcut, mask-u2net-human-seg: name the one to use"):
            build_step(step, method, {}).inputs(several)
        named = build_step(step, method, {"mask": "mask-u2net-human-seg"})
        assert named.inputs(several) == ("rgb", "mask-u2net-human-seg")
        assert build_step(step, method, {"mask": "mask"}).inputs(several) == ("rgb", "mask")
    assert build_step("caption", "template", {"use": "colours"}).inputs(several) == ("rgb", "mask")  # the real one


def test_tables_that_steps_choose():
    lineart = build_step("build-sketch", "lineart-standard", {})
    assert lineart.inputs(ALL) == ("rgb", "mask-grabcut")
    assert lineart.inputs(("rgb", "mask")) == ("rgb", "mask")
    assert build_step("build-sketch", "lineart-standard", {"background": "keep"}).inputs(("rgb",)) == ("rgb",)
    assert build_step("caption", "template", {}).inputs(ALL) == ("rgb", "mask", "text")
    assert build_step("caption", "template", {}).inputs(("rgb", "text")) == ("text",)
    assert build_step("caption", "template", {"use": "attributes"}).inputs(ALL) == ("text",)
    assert build_step("caption", "template", {"use": "colours"}).inputs(ALL) == ("rgb", "mask")


# remove-background


@pytest.mark.parametrize("size", SIZES)
def test_grabcut_finds_a_figure_on_a_plain_wall(size):
    step = build_step("remove-background", "grabcut", {})
    made = step.process([given(step, sample(3, size))])[0]
    found, truth = made.image > 0, crop_mask(size) > 0
    assert set(np.unique(made.image)) <= {0, 255}
    assert (found & truth).sum() / (found | truth).sum() > (0.75 if size[0] > size[1] else 0.5)
    assert 0.2 < made.scores["confidence"] <= 1.0


def test_grabcut_of_a_blank_photograph_is_judged_not_raised():
    step = build_step("remove-background", "grabcut", {})
    for value in (0, 128, 255):
        made = step.process([Sample("x", {}, {"rgb": np.full((64, 32, 3), value, np.uint8)})])[0]
        assert made.image.shape == (64, 32)


def test_grabcut_says_when_a_photograph_is_too_small():
    step = build_step("remove-background", "grabcut", {})
    made = step.process([Sample("x", {}, {"rgb": crop(0, (10, 6))})])[0]
    assert made.error == "6x10 pixels are too few to find a person in"


# build-sketch


def test_lineart_is_black_on_white_and_empty_outside_the_mask():
    step = build_step("build-sketch", "lineart-standard", {})
    sketch = step.process([given(step, sample(0, (128, 64)))])[0].image
    grown = np.pad(crop_mask((128, 64)), 4)
    near = np.max([np.roll(grown, (dy, dx), (0, 1)) for dy in range(-4, 5) for dx in range(-4, 5)], axis=0)[4:-4, 4:-4]
    assert sketch[near == 0].min() > 240
    assert sketch[crop_mask((128, 64)) > 0].min() < 100
    assert judge("sketch", sketch).verdict == "pass"


def test_lineart_with_the_background_kept_draws_it():
    step = build_step("build-sketch", "lineart-standard", {"background": "keep"})
    photo = np.full((64, 32, 3), 200, np.uint8)
    photo[:, 4:6] = 20
    assert step.process([Sample("x", {}, {"rgb": photo})])[0].image[:, 4:6].mean() < 160


def test_lineart_of_nothing_is_blank_and_fails_its_gate():
    step = build_step("build-sketch", "lineart-standard", {"background": "keep"})
    sketch = step.process([Sample("x", {}, {"rgb": np.full((64, 32, 3), 200, np.uint8)})])[0].image
    assert judge("sketch", sketch).reason == "blank sketch"


# build-ir


def test_channel_augmentation_takes_one_channel_and_says_which():
    step = build_step("build-ir", "channel-augmentation", {})
    seen = set()
    for number in range(30):
        each = given(step, sample(number))
        made = step.process([each])[0]
        seen.add(made.draw)
        assert np.array_equal(made.image, each.images["rgb"][:, :, "RGB".index(made.draw[-1])])
    assert seen == {"channel=R", "channel=G", "channel=B"}


def test_channel_augmentation_grey_is_a_fourth_outcome():
    step = build_step("build-ir", "channel-augmentation", {"gray": True})
    photo = crop()
    made = step.process([Sample(f"s{number}", {}, {"rgb": photo}) for number in range(400)])
    counts = {draw: sum(each.draw == draw for each in made) for draw in sorted({each.draw for each in made})}
    assert set(counts) == {"channel=R", "channel=G", "channel=B", "channel=gray"}
    assert all(70 <= count <= 130 for count in counts.values())
    grey = next(each.image for each in made if each.draw == "channel=gray")
    expected = 0.2989 * photo[..., 0] + 0.5870 * photo[..., 1] + 0.1140 * photo[..., 2]
    assert np.abs(grey - expected).max() <= 0.5


def test_draws_follow_the_seed():
    draws = [
        [
            made.draw
            for made in build_step("build-ir", "channel-augmentation", {"seed": seed}).process(
                [sample(n) for n in range(20)]
            )
        ]
        for seed in (0, 0, 1)
    ]
    assert draws[0] == draws[1] != draws[2]


# caption

KNOWN = {
    "gender": "female",
    "build": "slim",
    "hair_length": "ponytail",
    "hair_colour": "orange",
    "headwear": "none",
    "glasses": "sunglasses",
    "upper_type": "coat",
    "upper_colour": "orange",
    "upper_pattern": "stripes",
    "upper_pattern_colour": "white",
    "lower_type": "jeans",
    "lower_colour": "blue",
    "shoes_type": "boots",
    "shoes_colour": "black",
    "bag": "shoulder bag",
    "bag_colour": "red",
}


def captioned(attributes, number=0, **parameters):
    step = build_step("caption", "template", {"use": "attributes", **parameters})
    text = Text(("Someone.",), attributes=dict.fromkeys(ATTRIBUTE_FIELDS) | attributes)
    return step.process([Sample(f"s{number}", {}, {}, {"text": text})])[0]


def test_captions_tell_the_attributes_in_different_sentences():
    texts = [captioned(KNOWN, number, captions=5).text for number in range(20)]
    for text in texts:
        assert len(set(text.captions)) == 5
        assert text.attributes["glasses"] == "sunglasses"
        for caption in text.captions:
            assert all(
                word in caption
                for word in ("orange", "coat", "blue jeans", "black boots", "sunglasses", "red shoulder bag")
            )
            assert 8 <= len(caption.split()) <= 130
    assert len({caption for text in texts for caption in text.captions}) > 60


def test_captions_are_grammatical():
    seen = [caption for number in range(60) for caption in captioned(KNOWN, number, captions=5).text.captions]
    for caption in seen:
        assert caption[0].isupper()
        assert caption.endswith(".")
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]|  | ,|,\.|\ba \w+ jeans|None|none|unknown|\{", caption), (
            caption
        )


@pytest.mark.parametrize("field", [field for field in KNOWN if KNOWN[field] != "none"])
def test_every_attribute_may_be_missing(field):
    for number in range(6):
        for caption in captioned(KNOWN | {field: None}, number, captions=5).text.captions:
            assert not re.search(r"\ba [aeiou]|\ban [^aeiou]|  | ,|,\.|None|\{", caption), caption
            assert 8 <= len(caption.split()) <= 130


@pytest.mark.parametrize("field", ["gender", "upper_colour", "shoes_colour", "bag", "hair_colour", "headwear"])
def test_one_attribute_is_enough_for_a_sentence(field):
    value = {"headwear": "hood"}.get(field, KNOWN[field])
    for number in range(10):
        for caption in captioned({field: value}, number, captions=5).text.captions:
            assert len(caption.split()) >= 8, caption


def test_what_is_not_shown_is_not_told():
    caption = " ".join(captioned(KNOWN | {"glasses": None, "bag": "none"}, captions=5).text.captions)
    assert "glasses" not in caption
    assert "bag" not in caption


def test_without_attributes_colours_of_the_masked_clothes_are_told():
    step = build_step("caption", "template", {})
    for number, shirt in enumerate(SHIRTS):
        text = step.process([given(step, sample(number, (128, 64), shirt))])[0].text
        assert text.attributes["upper_colour"] == shirt
        assert text.attributes["lower_colour"] == "black"
        assert text.attributes["gender"] is None
        assert all(shirt in caption and "black" in caption for caption in text.captions)


def test_rows_without_attributes_fall_back_on_colours():
    step = build_step("caption", "template", {})
    text = Text(("A real caption.",), attributes=None)
    made = step.process([sample(0, (128, 64), "blue", {"text": text})])[0]
    assert made.text.attributes["upper_colour"] == "blue"


def test_nothing_to_tell_is_an_error_of_the_row():
    step = build_step("caption", "template", {})
    blank = {"rgb": crop(), "mask-grabcut": np.zeros((64, 32), np.uint8)}
    assert "neither attributes nor clothes" in step.process([Sample("x", {}, blank)])[0].error


def test_two_colours_are_told_where_both_are_large():
    photo, mask = crop(0, (128, 64), "red"), crop_mask((128, 64))
    photo[40:55] = (240, 240, 240)
    assert set(clothing_colours(photo, mask)["upper_colour"]) == {"red", "white"}


def test_line_art_is_what_the_library_draws():
    """Bit by bit, on noise, on soft and on empty images of odd sizes."""
    import warnings

    import cv2

    from reidsynth.steps.lineart import _detect

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from controlnet_aux import LineartStandardDetector

        rng = np.random.default_rng(0)
        for height, width, sigma, threshold in [
            (128, 64, 2.0, 8),
            (100, 37, 3.3, 8),
            (64, 64, 0.7, 30),
            (90, 17, 8.0, 0),
        ]:
            for blur in (0, 1, 5, None):
                photo = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
                photo = np.full_like(photo, 7) if blur is None else photo
                photo = cv2.GaussianBlur(photo, (0, 0), blur) if blur else photo
                padded = cv2.copyMakeBorder(photo, 0, -height % 64, 0, -width % 64, cv2.BORDER_REPLICATE)
                lines = LineartStandardDetector()(
                    padded,
                    guassian_sigma=sigma,
                    intensity_threshold=threshold,
                    detect_resolution=min(padded.shape[:2]),
                    output_type="np",
                )
                assert np.array_equal(_detect(photo, sigma, threshold), lines[:height, :width, 0])
