"""Protocols resolved on hand-made rows."""

import numpy as np
import pytest
from made_rows import FakeRows

from reidtrain.batch import parse_mode
from reidtrain.errors import UserError
from reidtrain.protocols import (
    NO_CAPTION,
    PROTOCOLS,
    Setting,
    choose_protocol,
    choose_settings,
    missing,
    plan,
)


def setting(mode, **options):
    return Setting(parse_mode(mode), **options)


def test_text_asks_per_caption_and_images_ask_per_image():
    rows = FakeRows()
    for mode in ("T", "T+S", "T+S+I"):
        task = plan(setting(mode), rows)
        assert task.query_rows.tolist() == [0, 0, 3]
        assert task.captions.tolist() == [0, 1, 0]
    for mode in ("S", "S+I", "R"):
        task = plan(setting(mode), rows)
        assert task.query_rows.tolist() == [0, 3]
        assert task.captions.tolist() == [NO_CAPTION, NO_CAPTION]
        assert task.gallery_rows.tolist() == [1, 2, 4, 5]


def test_a_row_without_a_modality_does_not_ask_and_is_counted():
    rows = FakeRows()
    rows.present["sketch"][0] = False
    rows.present["rgb"][1] = False
    task = plan(setting("T+S"), rows)
    assert task.query_rows.tolist() == [3]
    assert task.lacking == 1
    assert task.gallery_rows.tolist() == [2, 4, 5]


def test_the_source_image_is_excluded_only_where_it_could_be_found():
    rows = FakeRows()
    assert plan(setting("S"), rows).exclude == "none"
    rows.origin["sketch"][3] = "synthetic"
    task = plan(setting("S"), rows)
    assert task.exclude == "source-image"
    assert task.query_keys.tolist() == [0, 3]
    assert task.gallery_keys.tolist() == [1, 2, 4, 5]
    assert plan(setting("T"), rows).exclude == "none"
    rows.roles[3] = "query+gallery"
    assert plan(setting("T"), rows).exclude == "source-image"


def test_photographs_exclude_their_camera_or_else_their_image():
    rows = FakeRows()
    task = plan(setting("R"), rows)
    assert task.exclude == "same-camera"
    assert task.query_keys.tolist() == [1, 1]
    rows.camids[:] = [-1, -1, 3, 1, -1, 3]
    keys = plan(setting("R"), rows)
    assert keys.query_keys.tolist() == [-2, 1]
    assert len({*keys.gallery_keys.tolist(), -2}) == 4, "unknown cameras are never the same"
    rows.camids[:] = -1
    assert plan(setting("R"), rows).exclude == "source-image"


@pytest.mark.parametrize("role", ["train", "val", "query+gallery"])
def test_rows_of_a_training_split_are_query_and_gallery(role):
    rows = FakeRows(roles=np.array([role] * 6))
    task = plan(setting("I"), rows)
    assert task.query_rows.tolist() == task.gallery_rows.tolist() == list(range(6))
    assert task.exclude == "source-image"


def test_distractors_answer_and_never_ask():
    rows = FakeRows(roles=np.array(["query", "gallery", "distractor"] * 2))
    task = plan(setting("R"), rows)
    assert task.query_rows.tolist() == [0, 3]
    assert task.gallery_rows.tolist() == [1, 2, 4, 5]


def test_only_what_is_drawn_has_trials():
    with pytest.raises(ValueError, match="trials is 10"):
        setting("I", trials=10)


def test_what_is_missing_is_said():
    rows = FakeRows()
    del rows.present["ir"]
    rows.present["sketch"][[0, 3]] = False
    assert missing(setting("T"), rows) is None
    assert missing(setting("T+I"), rows) == "no query row has ir"
    assert missing(setting("S+I"), rows) == "no query row has sketch and ir"
    assert missing(setting("R->I"), rows) == "no gallery row has ir"
    rows.present["sketch"][0], rows.present["text"][0] = True, False
    assert missing(setting("T+S"), rows) == "no query row has text and sketch at once"
    rows.roles[:] = "gallery"
    assert missing(setting("T"), rows) == "no row has the role of a query (the roles are gallery)"


def test_settings_are_chosen_by_name_or_mode():
    protocol = PROTOCOLS["cuhk-pedes"]
    assert choose_settings(protocol, None) == protocol.settings
    found = choose_settings(protocol, ["S+T", "T->R", "T->R, source removed", "R+T->R"])
    assert [one.name for one in found] == ["T+S->R", "T->R", "T->R, source removed", "T+R->R"]
    assert [one.exclude for one in found] == ["source-image", "none", "source-image", "source-image"]
    with pytest.raises(UserError, match="query mode 'X' is not valid"):
        choose_settings(protocol, ["X"])


def test_the_protocol_follows_from_the_data_set():
    assert choose_protocol(["market1501", "market1501"]).name == "market1501"
    assert choose_protocol(["market1501", "demo"]).name == "generic"
    assert choose_protocol(["market1501"], "generic").name == "generic"
    with pytest.raises(UserError, match="protocol 'sysu' is unknown: choose one of generic"):
        choose_protocol(["demo"], "sysu")


def test_a_mode_stands_for_all_settings_of_that_mode():
    sysu = PROTOCOLS["sysu-mm01"]
    names = [one.name for one in choose_settings(sysu, ["I"])]
    assert names == ["I->R, all", "I->R, all, multi-shot", "I->R, indoor", "I->R, indoor, multi-shot"]
    new = choose_settings(PROTOCOLS["pku-sketch"], ["R+T+S"])[0]
    assert (new.name, new.exclude, new.trials) == ("T+S+R->R", "as-needed", 10)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_names_itself_and_its_settings_once(name):
    protocol = PROTOCOLS[name]
    assert protocol.name == name
    assert len({one.name for one in protocol.settings}) == len(protocol.settings)


@pytest.mark.parametrize("name", ["generic", "market1501", "msmt17", "cuhk03-np", "cuhk-pedes", "tri-rstpreid"])
def test_protocols_by_role_run_on_any_rows(name):
    for one in PROTOCOLS[name].settings:
        assert missing(one, FakeRows()) is None
        assert len(plan(one, FakeRows()).query_rows)


def test_tri_prints_the_four_rows_of_unireid():
    rows = FakeRows()
    tasks = {one.name: plan(one, rows) for one in PROTOCOLS["tri-cuhk-pedes"].settings}
    assert list(tasks) == ["T->R", "T->R, source removed", "S->R", "T+S->R"]
    assert [task.exclude for task in tasks.values()] == ["none", *["source-image"] * 3]
    assert [len(task.query_rows) for task in tasks.values()] == [3, 3, 2, 3]
