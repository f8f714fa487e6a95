"""The drawn world: what is promised about its people, their pictures and their captions."""

from __future__ import annotations

import dataclasses
import itertools
import re

import cv2
import numpy as np
import pytest

from reidsynth.errors import UserError
from reidsynth.schema import ATTRIBUTE_FIELDS
from reidsynth.world import Identity, World, differences, region
from reidsynth.world import world as drawing
from reidsynth.world.cameras import VIEWS
from reidsynth.world.identities import MAX_DIFFERENCES, REGIONS, body, sample_identities
from reidsynth.world.vocabulary import COLOURS

PERSON = {
    "gender": "female", "build": "average", "hair_colour": "brown", "hair_length": "long", "headwear": "none",
    "headwear_colour": None, "glasses": "glasses", "upper_type": "t-shirt", "upper_colour": "blue",
    "upper_pattern": "logo", "upper_pattern_colour": "white", "lower_type": "jeans", "lower_colour": "navy",
    "shoes_type": "sneakers", "shoes_colour": "white", "bag": "backpack", "bag_colour": "red",
}  # fmt: skip


def someone(key="0/test/0", **changes):
    look = {**PERSON, **changes}
    return Identity(key, tuple(look[name] for name in ATTRIBUTE_FIELDS))


@pytest.fixture
def seen_from(monkeypatch):
    """Draw somebody from a chosen view, nothing standing before the person."""

    def draw(identity, view, *, size=(128, 64), observation=0):
        shot = drawing.shot
        with monkeypatch.context() as patch:
            patch.setattr(
                drawing,
                "shot",
                lambda *a: dataclasses.replace(shot(*a), view=view, occluder="", bend=(0.1, 0.1)),
            )
            return World(seed=1, size=size).draw(identity, 0, observation)

    return draw


def captures(count=12, size=(128, 64), seed=3):
    world = World(seed=seed, size=size)
    return [world.draw(person, i % 8, i) for i, person in enumerate(world.identities("train", count))]


# People


def test_identities_do_not_depend_on_how_many_are_taken():
    world = World(seed=4)
    assert world.identities("test", 40)[:10] == world.identities("test", 10)


def test_no_two_identities_of_a_split_share_a_combination():
    people = World(seed=0).identities("train", 400)
    assert len({person.attributes for person in people}) == len(people)


def test_splits_share_no_combination_across_seeds():
    found = {
        split: {person.attributes for seed in range(5) for person in World(seed=seed).identities(split, 120)}
        for split in REGIONS
    }
    for first, second in itertools.combinations(REGIONS, 2):
        assert not found[first] & found[second]
    assert all(region(attributes) == split for split, people in found.items() for attributes in people)


def test_regions_stay_where_they_are():
    # The shipped backbone was trained on the region `pretrain`: moving a border would leak its people into tests.
    assert REGIONS == {"pretrain": (0, 112), "train": (112, 176), "val": (176, 208), "test": (208, 256)}
    assert [region(someone(bag_colour=c).attributes) for c in ("red", "blue", "green", "black")] == [
        "test", "pretrain", "pretrain", "pretrain",
    ]  # fmt: skip


@pytest.mark.parametrize(("hard", "low", "high"), [(0.0, 0.0, 0.1), (0.5, 0.35, 1.0), (1.0, 0.95, 1.0)])
def test_hard_share_differs_in_at_most_three_attributes(hard, low, high):
    people = list(itertools.islice(sample_identities(7, "train", hard=hard), 120))
    near = [
        any(differences(person, other) <= MAX_DIFFERENCES for other in people[:index])
        for index, person in enumerate(people)
    ]
    assert low <= np.mean(near) <= high


def test_colours_and_types_agree():
    for person in World(seed=2).identities("pretrain", 300):
        look = person.look
        assert (look["bag"] == "none") == (look["bag_colour"] is None)
        assert (look["upper_pattern"] == "plain") == (look["upper_pattern_colour"] is None)
        assert look["upper_colour"] != look["upper_pattern_colour"]
        assert (look["upper_type"] == "dress") >= (look["lower_type"] == "bare legs")
        if look["headwear"] == "hood":
            assert look["headwear_colour"] == look["upper_colour"]


def test_identity_survives_json():
    import json

    person = World().identities("train", 1)[0]
    assert Identity.from_payload(json.loads(json.dumps(person.as_payload()))) == person


def test_unknown_split_is_named():
    with pytest.raises(UserError, match=r"'dev'.*pretrain, train, val, test"):
        World().identities("dev", 1)


# Pictures


@pytest.mark.parametrize("size", [(128, 64), (256, 128), (384, 128)])
def test_every_modality_has_the_size_asked_for(size):
    made = captures(1, size)[0]
    assert made.rgb.shape == (*size, 3)
    assert made.mask.shape == made.ir.shape == made.sketch.shape == size
    assert all(image.dtype == np.uint8 for image in (made.rgb, made.mask, made.ir, made.sketch))


def test_same_values_draw_the_same_and_others_do_not():
    world = World(seed=5)
    person = world.identities("val", 1)[0]
    first, again, other = world.draw(person, 2, 0), world.draw(person, 2, 0), world.draw(person, 2, 1)
    for name in ("rgb", "mask", "ir", "sketch"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
        assert not np.array_equal(getattr(first, name), getattr(other, name))
    assert first.captions == again.captions
    assert not np.array_equal(first.rgb, World(seed=6).draw(person, 2, 0).rgb)


def test_number_of_threads_changes_nothing():
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        alone = captures(3, (256, 128))
        cv2.setNumThreads(4)
        together = captures(3, (256, 128))
    finally:
        cv2.setNumThreads(before)
    for first, second in zip(alone, together, strict=True):
        assert np.array_equal(first.rgb, second.rgb)
        assert np.array_equal(first.ir, second.ir)
        assert np.array_equal(first.sketch, second.sketch)


def test_person_fills_most_of_the_height():
    for made in captures(20, seed=8):
        rows = np.flatnonzero(made.mask.any(axis=1))
        assert 0.8 <= (rows[-1] - rows[0] + 1) / 128 <= 1.0
    assert set(np.unique(made.mask)) == {0, 255}


def test_mask_is_where_the_person_is(seen_from):
    # Without pattern, trousers and t-shirt of one strong colour: the mask covers the red pixels and few others.
    red = someone(upper_colour="red", upper_pattern="plain", upper_pattern_colour=None, bag="none", bag_colour=None)
    blue = dataclasses.replace(red, attributes=tuple("blue" if v == "red" else v for v in red.attributes))
    one, two = seen_from(red, "front"), seen_from(blue, "front")
    changed = np.abs(one.rgb.astype(int) - two.rgb).max(axis=2) > 60
    assert changed.sum() > 400
    assert (one.mask[changed] == 255).mean() > 0.97
    assert np.array_equal(one.mask, two.mask)


def test_infrared_knows_no_visible_colour(seen_from):
    colours = {"upper_colour": "red", "upper_pattern_colour": "black", "lower_colour": "grey", "bag_colour": "green"}
    for view in VIEWS:
        first = seen_from(someone(), view)
        second = seen_from(someone(**colours, shoes_colour="red", hair_colour="blond"), view)
        assert np.array_equal(first.ir, second.ir)
        assert not np.array_equal(first.rgb, second.rgb)


def test_infrared_shows_pattern_and_material(seen_from):
    plain = seen_from(someone(upper_pattern="plain", upper_pattern_colour=None), "front")
    striped = seen_from(someone(upper_pattern="stripes"), "front")
    inside = plain.mask == 255
    assert np.abs(plain.ir.astype(int) - striped.ir)[inside].mean() > 4
    levels = {}
    for number in range(60):
        person = someone(
            f"0/test/{number}", upper_pattern="plain", upper_pattern_colour=None, bag="none", bag_colour=None
        )
        chest = seen_from(person, "back").ir[45:60, 26:38]
        levels.setdefault(body(person).materials["upper"], []).append(chest.mean())
    assert np.mean(levels["nylon"]) > np.mean(levels["cotton"]) + 25


def test_sketch_is_black_on_white():
    for made in captures(8):
        assert np.median(made.sketch) > 240
        assert made.sketch.min() < 110
        assert 0.03 < (made.sketch < 128).mean() < 0.6
        outside = cv2.dilate(made.mask, np.ones((5, 5), np.uint8)) == 0
        assert (made.sketch[outside] > 200).mean() > 0.97


def test_artists_differ():
    world = World(seed=0)
    person = world.identities("train", 1)[0]
    ink = [(world.draw(person, 0, n).sketch < 128).mean() for n in range(12)]
    assert max(ink) > 1.25 * min(ink)


# Captions


def test_back_view_tells_neither_glasses_nor_print(seen_from):
    for number in range(12):
        made = seen_from(someone(f"0/test/{number}"), "back")
        assert made.attributes["glasses"] is None
        assert made.attributes["upper_pattern"] is None
        assert made.attributes["upper_pattern_colour"] is None
        assert not re.search("glasses|spectacles|logo|print|plain|white (logo|print)", " ".join(made.captions))


def test_front_view_tells_both(seen_from):
    made = seen_from(someone(), "front")
    assert made.attributes["glasses"] == "glasses"
    assert made.attributes["upper_pattern"] == "logo"


def test_bag_on_the_far_side_is_told_only_if_seen(seen_from):
    told = set()
    for number in range(30):
        made = seen_from(someone(f"0/test/{number}", bag="shoulder bag"), "left", observation=number)
        mentioned = "bag" in " ".join(made.captions)
        assert not mentioned or made.attributes["bag"] == "shoulder bag"
        told.add(made.attributes["bag_colour"])
    assert told == {"red", None}


def test_captions_name_only_visible_colours():
    words = {"gray": "grey", "tan": "beige", "violet": "purple", "blonde": "blond"}
    for made in captures(60, seed=9):
        shown = {value for name, value in made.attributes.items() if name.endswith("colour") and value}
        for caption in made.captions:
            text = caption.lower().replace("dark blue", "navy")
            named = {words.get(w, w) for w in re.findall("[a-z]+", text)} & (set(COLOURS) | set(words.values()))
            assert named <= shown, (caption, shown)


def test_captions_vary_and_keep_their_length():
    texts = [caption for made in captures(150, seed=10) for caption in made.captions]
    lengths = [len(text.split()) for text in texts]
    assert min(lengths) >= 8
    assert max(lengths) <= 40
    assert 20 <= np.mean(lengths) <= 35
    assert len(set(texts)) > 0.97 * len(texts)
    assert all(text[0].isupper() and text.endswith(".") and "  " not in text and "None" not in text for text in texts)


def test_attributes_are_the_schema_fields():
    for made in captures(3):
        assert tuple(made.attributes) == ATTRIBUTE_FIELDS
