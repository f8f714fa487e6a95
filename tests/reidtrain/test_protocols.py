"""Protocols resolved on hand-made rows."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from reidtrain.batch import SEVEN_MODES, parse_mode
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


@dataclass
class FakeRows:
    """Six rows: two people, three views each; every modality unless a test says otherwise."""

    roles: np.ndarray = field(default_factory=lambda: np.array(["query", "gallery", "gallery"] * 2, dtype="<U13"))
    labels: np.ndarray = field(default_factory=lambda: np.repeat([0, 1], 3))
    camids: np.ndarray = field(default_factory=lambda: np.array([1, 2, 3, 1, 2, 3]))
    image_ids: np.ndarray = field(default_factory=lambda: np.arange(6))
    datasets: np.ndarray = field(default_factory=lambda: np.array(["demo"] * 6))
    present: dict = field(default_factory=lambda: {m: np.ones(6, bool) for m in ("rgb", "ir", "sketch", "text")})
    origin: dict = field(
        default_factory=lambda: {m: np.array(["real"] * 6, dtype="<U9") for m in ("rgb", "ir", "sketch", "text")}
    )
    caption_counts: np.ndarray = field(default_factory=lambda: np.array([2, 1, 1, 1, 1, 1]))


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


def test_a_gallery_of_one_per_camera_is_drawn_again_in_each_trial():
    rows = FakeRows(roles=np.array(["query"] + ["gallery"] * 5), camids=np.array([1, 2, 2, 2, 2, 3]))
    rule = setting("I", gallery="one-per-camera", trials=10)
    draws = [tuple(plan(rule, rows, trial).gallery_rows.tolist()) for trial in range(10)]
    assert set(draws) == {(1, 3, 5), (1, 4, 5), (2, 3, 5), (2, 4, 5)}
    assert draws == [tuple(plan(rule, rows, trial).gallery_rows.tolist()) for trial in range(10)]
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
    assert [one.exclude for one in found] == ["source-image", "none", "source-image", "as-needed"]
    with pytest.raises(UserError, match="query mode 'X' is not valid"):
        choose_settings(protocol, ["X"])


def test_the_protocol_follows_from_the_data_set():
    assert choose_protocol(["market1501", "market1501"]).name == "market1501"
    assert choose_protocol(["market1501", "demo"]).name == "generic"
    assert choose_protocol(["market1501"], "generic").name == "generic"
    with pytest.raises(UserError, match="protocol 'sysu' is unknown: choose one of generic"):
        choose_protocol(["demo"], "sysu")


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_names_itself_and_its_settings_once(name):
    protocol = PROTOCOLS[name]
    assert protocol.name == name
    assert len({one.name for one in protocol.settings}) == len(protocol.settings)
    assert {mode.name for mode in SEVEN_MODES} <= {one.name for one in protocol.settings}
    for one in protocol.settings:
        assert missing(one, FakeRows()) is None
        assert len(plan(one, FakeRows()).query_rows)
