"""Pictures are drawn, whatever is missing; what they show is checked by colour."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from reidtrain.batch import SEVEN_MODES, parse_mode
from reidtrain.errors import UserError
from reidtrain.figures import attention, curves, projection, rank_lists, rank_strip, tiles
from reidtrain.figures.ranklists import _letters as chips_of
from reidtrain.protocols import Setting
from reidtrain.retrieval import Hit

PHOTO = np.full((40, 20, 3), (90, 110, 200), np.uint8)
LONG = "a tall man in a long green coat with grey stripes, black trousers, brown shoes and a red rucksack " * 8


def hits(*pids, camid=3):
    return [Hit(n, 1 - n / 10, f"d/{pid}_{n}", pid, camid, PHOTO) for n, pid in enumerate(pids, 1)]


def pixels(path, colour):
    """How many pixels of a picture have exactly this colour."""
    return int((np.asarray(Image.open(path).convert("RGB")) == colour).all(axis=2).sum())


def test_a_strip_frames_right_and_wrong_answers(tmp_path):
    path = rank_strip(hits(7, 8, 8), tmp_path / "new" / "strip.png", text="a man", sketch=PHOTO, pid=7)
    right, wrong, unknown = (pixels(path, colour) for colour in (tiles.RIGHT, tiles.WRONG, tiles.UNKNOWN))
    assert 1.5 < wrong / right < 2.2
    assert unknown == 0


def test_a_strip_without_a_known_person_is_grey(tmp_path):
    path = rank_strip(hits(7, 8, camid=None), tmp_path / "strip.png", ir=PHOTO)
    assert pixels(path, tiles.RIGHT) == pixels(path, tiles.WRONG) == 0
    assert pixels(path, tiles.UNKNOWN) > 1000


def test_a_strip_takes_files_of_any_shape_and_long_text(tmp_path):
    Image.fromarray(PHOTO).resize((300, 50)).save(tmp_path / "wide.jpg")
    path = rank_strip(hits(7), tmp_path / "strip.png", text=LONG, rgb=tmp_path / "wide.jpg")
    assert Image.open(path).height < 400
    with pytest.raises(UserError, match=r"sketch image .* can't be read"):
        rank_strip(hits(7), tmp_path / "strip.png", sketch=tmp_path / "none.png")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="can't be written"):
        rank_strip(hits(7), tmp_path / "file" / "strip.png", text="a man")


def test_pictures_are_the_same_every_time(tmp_path):
    first, second = (rank_strip(hits(7, 8), tmp_path / name, text="a man", pid=8) for name in ("a.png", "b.png"))
    assert first.read_bytes() == second.read_bytes()


def test_rank_lists_show_all_modes_and_what_is_missing(loaded_run, people, tmp_path):
    whole = rank_lists(loaded_run, people(), tmp_path / "whole.png", queries=2, top=3)
    partly = rank_lists(loaded_run, people(sketchless=1), tmp_path / "partly.png", modes=["T", "I"], queries=2, top=3)
    assert pixels(whole, tiles.WRONG) > 5000
    assert Image.open(whole).height > Image.open(partly).height
    halves = rank_lists(loaded_run, people(sketchless=2), tmp_path / "half.png", modes=["S", "T+S"], queries=20, top=3)
    assert pixels(halves, tiles.WRONG) > 0
    with pytest.raises(UserError, match="lacks the modality text"):
        rank_lists(loaded_run, people(text=False), tmp_path / "none.png", modes=["T"])


def test_curves_are_drawn_from_the_log(tmp_path):
    with pytest.raises(UserError, match="has no training log"):
        curves(tmp_path, tmp_path / "curves.png")
    entries = [
        {"step": step, "kind": "train", "loss": 3 / step, "losses": {"T->R": 2 / step, "routing": 1 / step}}
        for step in (10, 20)
    ]
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    narrow = Image.open(curves(tmp_path, tmp_path / "figures" / "curves.png")).width
    entries.append({"step": 20, "kind": "val", "mean": 0.2, "R1": {mode.name: 0.2 for mode in SEVEN_MODES}})
    entries[0]["losses"]["routing"] = -1.0
    log.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    assert Image.open(curves(tmp_path, tmp_path / "figures" / "curves.png")).width > narrow


def test_rank_lists_as_a_page_tell_who_was_found(loaded_run, people, tmp_path):
    page = rank_lists(loaded_run, people(sketchless=2), tmp_path / "lists.html", modes=["T", "S"], queries=8, top=3)
    text = page.read_text()
    assert text.count('<figure class="right"') + text.count('<figure class="wrong"') == 8 * 3 + 4 * 3
    assert text.count("this query has no sketch") == 4
    assert "camera 1, score" in text
    assert "http" not in text.replace("http-equiv", ""), "a page asks nothing of the net"


def test_a_gallery_of_infrared_is_shown_as_infrared(loaded_run, people, tmp_path):
    """Before, a row that holds both was shown as a photograph, whatever answered."""
    pages = [
        rank_lists(loaded_run, people(), tmp_path / f"{n}.html", modes=[mode], queries=1, top=3).read_text()
        for n, mode in enumerate(["R->R", "R->I"])
    ]
    shown = [set(re.findall(r'base64,([^"]+)"', page.partition('class="answers"')[2])) for page in pages]
    assert shown[0]
    assert not shown[0] & shown[1]


@pytest.mark.parametrize(("mode", "letters"), [("T", "TSI"), ("T+R", "TSIR"), ("R", "R"), ("R->I", "R")])
def test_photographs_that_ask_with_others_have_a_chip(mode, letters):
    assert chips_of(Setting(parse_mode(mode))) == letters


def test_rank_lists_of_named_queries(loaded_run, people, tmp_path):
    one = "people/test/000203_1"
    page = rank_lists(loaded_run, people(), tmp_path / "one.html", modes=["S"], samples=[one], top=2)
    assert page.read_text().count("<h2>") == page.read_text().count(f"<h2>{one}") == 1
    with pytest.raises(UserError, match="has no capture 'nobody': name queries such as people/test"):
        rank_lists(loaded_run, people(), tmp_path / "one.html", samples=["nobody"])


def test_features_of_all_modalities_stand_in_one_plane(loaded_run, people, tmp_path):
    page = projection(loaded_run, people(), tmp_path / "plane.html", identities=5, views=2)
    text = page.read_text()
    assert text.count("<title>photograph of person") == text.count("<title>text of person") == 10
    assert len(set(re.findall(r'<g transform="[^"]+" fill="([^"]+)"', text))) == 5
    picture = projection(loaded_run, people(), tmp_path / "plane.png", identities=5, views=2, frozen=True)
    assert Image.open(picture).width > 800
    without = projection(loaded_run, people(text=False, sketchless=1), tmp_path / "less.html", identities=3, views=2)
    assert "text of person" not in without.read_text()


def test_attention_is_drawn_with_what_a_query_has(loaded_run, people, tmp_path):
    page = attention(loaded_run, people(sketchless=2), tmp_path / "maps.html", queries=2)
    text = page.read_text()
    assert text.count("its map") >= 2 * 2 * 2
    assert "no sketch" in text
    assert text.count('<span style="background:rgb') > 10
    wide = Image.open(attention(loaded_run, people(), tmp_path / "maps.png", queries=2, method="rollout"))
    assert wide.width > 800
    with pytest.raises(UserError, match="method 'gaze' is unknown"):
        attention(loaded_run, people(), tmp_path / "maps.png", method="gaze")
    with pytest.raises(UserError, match="'x' is no query to draw here"):
        attention(loaded_run, people(), tmp_path / "maps.png", samples=["x"])


def test_curves_go_into_a_page(tmp_path):
    entry = {"step": 1, "kind": "train", "loss": 1.0, "losses": {"T->R": 1.0}}
    (tmp_path / "log.jsonl").write_text(json.dumps(entry) + "\n")
    assert "<svg" in curves(tmp_path, tmp_path / "curves.html").read_text()


@pytest.fixture(scope="module")
def loaded_run(tiny_config):
    from pathlib import Path

    from reidtrain.checkpoint import LoadedRun, assemble

    config = tiny_config()
    model, backbone = assemble(config)
    return LoadedRun(model.eval(), backbone, config, 3, Path(), {})
