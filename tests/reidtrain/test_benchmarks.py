"""The benchmarks' own rules, on made rows, against readings of the rules that are slow and short."""

import random

import numpy as np
import pytest
import torch
from made_rows import rows_of

from reidtrain.batch import parse_mode
from reidtrain.errors import UserError
from reidtrain.metrics import rank
from reidtrain.protocols import PROTOCOLS, choose_settings, missing, plan
from reidtrain.protocols.query_sets import set_names
from reidtrain.protocols.sketches import PKU_ALL, PKU_TEST, pku_test_people, published_positions, stratified_positions


def setting(protocol, name):
    return next(one for one in PROTOCOLS[protocol].settings if one.name == name)


# ------------------------------------------------------------------------------------------------------- SYSU-MM01

SYSU_IR = (3, 6)


def sysu_files():
    """24 people, 12 images a camera; person 5 lacks cameras 1 and 2, person 9 camera 6, person 12 camera 4."""
    gone = {(1, 5), (2, 5), (6, 9), (4, 12)}
    return {
        (camera, pid): [f"cam{camera}/{pid:04d}/{n:04d}.jpg" for n in range(1, 13 + pid % 3)]
        for camera in range(1, 7)
        for pid in range(3, 27)
        if (camera, pid) not in gone
    }


def sysu_rows(lists=None, **options):
    listed = [
        (path, pid, camera, "ir" if camera in SYSU_IR else "rgb")
        for (camera, pid), paths in sysu_files().items()
        for path in paths
    ]
    return rows_of(listed, role=lambda path, what: "query" if what == "ir" else "gallery", lists=lists, **options)


def agw_gallery(cameras, trial):
    """The common draw, as it is described: reseed, people outside, cameras inside, absent folders skipped."""
    files, chosen = sysu_files(), []
    random.seed(trial)
    for pid in sorted({pid for _, pid in files}):
        for camera in cameras:
            if (camera, pid) in files:
                chosen.append(random.choice(sorted(files[camera, pid])))
    return chosen


@pytest.mark.parametrize(("name", "cameras"), [("I->R, all", (1, 2, 4, 5)), ("I->R, indoor", (1, 2))])
def test_sysu_galleries_are_those_of_agw(name, cameras):
    rows, one = sysu_rows(), setting("sysu-mm01", name)
    assert (one.trials, one.exclude, one.unique_identities) == (10, "sysu", True)
    for trial in range(10):
        task = plan(one, rows, trial)
        assert rows.source_paths[task.gallery_rows].tolist() == agw_gallery(cameras, trial)
        assert len(task.query_rows) == sum(
            len(paths) for (camera, _), paths in sysu_files().items() if camera in SYSU_IR
        )
    assert plan(one, rows, 0).gallery_rows.tolist() != plan(one, rows, 1).gallery_rows.tolist()


def test_sysu_draws_follow_the_files_even_where_one_cannot_be_read():
    rows, one = sysu_rows(), setting("sysu-mm01", "I->R, all")
    drawn = plan(one, rows, 0).gallery_rows
    rows.present["rgb"][drawn[7]] = False
    assert plan(one, rows, 0).gallery_rows.tolist() == np.delete(drawn, 7).tolist()


def test_sysu_multi_shot_takes_ten_of_each_camera():
    rows = sysu_rows()
    gallery = plan(setting("sysu-mm01", "I->R, indoor, multi-shot"), rows, 3).gallery_rows
    pairs = list(zip(rows.pids[gallery].tolist(), rows.camids[gallery].tolist(), strict=True))
    assert set(rows.camids[gallery].tolist()) == {1, 2}
    assert all(pairs.count(pair) == 10 for pair in pairs)
    assert len(set(gallery.tolist())) == len(gallery)


def test_sysu_official_galleries_follow_the_permutations():
    files = sysu_files()
    draw = random.Random(5)

    def permutations(camera, pid):
        count = len(files.get((camera, pid), []))
        return [draw.sample(range(1, count + 1), count) for _ in range(10)] if count else []

    kept = [[permutations(camera, pid) for pid in range(1, 27)] for camera in range(1, 7)]
    rows = sysu_rows({"sysu-mm01": {"rand-perm-cam": kept}})
    for name, cameras, shots in (("I->R, all", (1, 2, 4, 5), 1), ("I->R, indoor, multi-shot", (1, 2), 10)):
        for trial in (0, 9):
            task = plan(setting("sysu-mm01-official", name), rows, trial)
            expected = [
                f"cam{camera}/{pid:04d}/{number:04d}.jpg"
                for pid in range(3, 27)
                for camera in cameras
                if (camera, pid) in files
                for number in kept[camera - 1][pid - 1][trial][:shots]
            ]
            assert rows.source_paths[task.gallery_rows].tolist() == expected
    kept[0][2][0] = kept[0][2][0][:-1]
    with pytest.raises(UserError, match="do not fit person 3 at camera 1 in trial 1"):
        plan(setting("sysu-mm01-official", "I->R, all"), rows, 0)
    assert "keeps no permutations" in missing(setting("sysu-mm01-official", "I->R, all"), sysu_rows())


def test_sysu_indoor_drops_queries_whose_room_is_hidden():
    rows, one = sysu_rows(), setting("sysu-mm01", "I->R, indoor")
    task = plan(one, rows, 0)
    scores = torch.zeros(len(task.query_rows), len(task.gallery_rows))
    pids = torch.tensor(rows.labels[task.query_rows]), torch.tensor(rows.labels[task.gallery_rows])
    keys = {"query_keys": torch.tensor(task.query_keys), "gallery_keys": torch.tensor(task.gallery_keys)}
    found = rank(scores, *pids, **keys, exclude=task.exclude)
    skipped = {int(pid) for pid in rows.pids[task.query_rows][(found.relevant == 0).numpy()]}
    assert skipped == {5}, "the person without cameras 1 and 2"
    hidden = found.candidates[torch.tensor(rows.camids[task.query_rows]) == 3]
    assert set(hidden.tolist()) == {int((rows.camids[task.gallery_rows] == 1).sum())}


def test_text_and_sketches_of_sysu_never_come_from_the_trial_gallery():
    rows = sysu_rows(also=lambda path, what: ("sketch", "text") if what == "rgb" else ())
    for trial in range(3):
        alone = plan(setting("sysu-mm01", "T+S->R, indoor"), rows, trial)
        assert not set(alone.query_rows.tolist()) & set(alone.gallery_rows.tolist())
        assert len(alone.query_rows) == 2 * (int((rows.captured == "rgb").sum()) - len(alone.gallery_rows))
        joined = plan(setting("sysu-mm01", "T+S+I->R, all"), rows, trial)
        assert set(rows.captured[joined.query_rows].tolist()) == {"ir"}
        for row, caption, ((text, sketch, infrared),) in zip(
            joined.query_rows.tolist(), joined.captions.tolist(), joined.units, strict=True
        ):
            assert infrared == ("ir", row, -1)
            assert text == ("text", sketch[1], caption)
            assert rows.labels[sketch[1]] == rows.labels[row]
            assert sketch[1] not in joined.gallery_rows
    assert plan(setting("sysu-mm01", "T+S+I->R, all"), rows, 2).units == joined.units


# ------------------------------------------------------------------------------------------------------------ LLCM


def llcm_rows():
    listed = [
        (f"test_{sensor}/cam{camera}/{pid:04d}/{pid:04d}_c{camera:02d}_s1_f{n}_{sensor}.jpg", pid, camera, what)
        for sensor, what, cameras in (("vis", "rgb", range(1, 10)), ("nir", "ir", (1, 2, 4, 5, 6, 7, 8, 9)))
        for camera in cameras
        for pid in (7, 21, 300)
        for n in (8, 9, 10, 11)
        if (pid + camera) % 4
    ]
    return rows_of(listed, role=lambda path, what: "query+gallery")


def llcm_draw(rows, what, trial):
    random.seed(trial)
    chosen = []
    for pid in sorted(set(rows.pids.tolist())):
        for camera in range(1, 10):
            at = (rows.pids == pid) & (rows.camids == camera) & (rows.captured == what)
            if at.any():
                chosen.append(random.choice(sorted(rows.source_paths[at].tolist())))
    return chosen


def test_llcm_asks_in_both_directions_and_hides_the_own_camera_number():
    rows = llcm_rows()
    there, back = PROTOCOLS["llcm"].settings
    assert (there.name, back.name) == ("I->R", "R->I")
    for one, asking, answering in ((there, "ir", "rgb"), (back, "rgb", "ir")):
        assert (one.exclude, one.unique_identities, one.trials) == ("same-camera", True, 10)
        for trial in (0, 4):
            task = plan(one, rows, trial)
            assert rows.source_paths[task.gallery_rows].tolist() == llcm_draw(rows, answering, trial)
            assert task.query_rows.tolist() == np.flatnonzero(rows.captured == asking).tolist()
            assert task.query_keys.tolist() == rows.camids[task.query_rows].tolist()


def test_llcm_as_released_asks_with_drawn_infrared_against_all_photographs():
    rows = llcm_rows()
    there, back = PROTOCOLS["llcm-released-code"].settings
    assert there == PROTOCOLS["llcm"].settings[0]
    task = plan(back, rows, 2)
    assert rows.source_paths[task.query_rows].tolist() == llcm_draw(rows, "ir", 2)
    assert task.gallery_rows.tolist() == np.flatnonzero(rows.captured == "rgb").tolist()


# ----------------------------------------------------------------------------------------------------------- RegDB


def test_regdb_ignores_infrared_that_was_made_from_photographs():
    listed = [
        (f"{folder}/{pid}/{n}.bmp", pid, camera, what)
        for folder, camera, what in (("Visible", 1, "rgb"), ("Thermal", 2, "ir"))
        for pid in (1, 2)
        for n in range(10)
    ]
    rows = rows_of(listed, role=lambda path, what: "query+gallery", also=lambda path, what: ("ir",))
    for name, asking in (("R->I", "rgb"), ("I->R", "ir")):
        task = plan(setting("regdb", name), rows)
        assert (len(task.query_rows), len(task.gallery_rows), task.exclude) == (20, 20, "none")
        assert set(rows.captured[task.query_rows].tolist()) == {asking}
        assert not set(task.query_rows.tolist()) & set(task.gallery_rows.tolist())


# ------------------------------------------------------------------------------------------------------ PKU-Sketch


def pku_artists():
    people = list(range(1, 201))
    random.Random(1).shuffle(people)
    found, start = {}, 0
    for artist, count in PKU_ALL.items():
        found[artist] = people[start : start + count]
        start += count
    return found


def pku_rows(**options):
    photos = [(f"photo/{pid}_0{camera}_3.jpg", pid, camera, "rgb") for pid in range(1, 201) for camera in (1, 5)]
    sketches = [(f"sketch/{pid}.jpg", pid, 0, "sketch") for pid in range(1, 201)]
    lists = {"pku-sketch": {"artists": pku_artists()}}
    return rows_of([*photos, *sketches], role=lambda path, what: "query+gallery", lists=lists, **options)


def test_pku_splits_are_published_stratified_and_those_of_the_seed():
    assert published_positions() == stratified_positions(10, seed=0)
    artists = pku_artists()
    splits = [pku_test_people(artists, trial) for trial in range(10)]
    assert len({tuple(split) for split in splits}) == 10
    for split in splits:
        assert len(set(split)) == 50
        assert {artist: len(set(split) & set(people)) for artist, people in artists.items()} == PKU_TEST
    with pytest.raises(UserError, match="the splits are made for"):
        pku_test_people({"a": [1, 2]}, 0)


def test_pku_sketches_ask_a_hundred_photographs():
    rows = pku_rows(also=lambda path, what: ("text", "ir") if what == "rgb" else ())
    for trial in (0, 9):
        task = plan(setting("pku-sketch", "S->R"), rows, trial)
        assert (len(task.query_rows), len(task.gallery_rows), task.exclude) == (50, 100, "none")
        people = pku_test_people(pku_artists(), trial)
        assert sorted(rows.pids[task.query_rows].tolist()) == people
        assert set(rows.captured[task.query_rows].tolist()) == {"sketch"}
    both = plan(setting("pku-sketch", "T+S->R"), rows, 0)
    assert len(both.query_rows) == 100, "one query for each of two captions"
    assert all(rows.pids[text[1]] == rows.pids[sketch[1]] for ((text, sketch),) in both.units)
    four = choose_settings(PROTOCOLS["pku-sketch"], ["R+I+S+T"])[0]
    task = plan(four, rows, 0)
    assert task.exclude == "source-image"
    photos = [dict((part[0], part[1]) for part in unit)["rgb"] for (unit,) in task.units]
    assert task.query_keys.tolist() == rows.image_ids[photos].tolist()
    assert "keeps no artists" in missing(setting("pku-sketch", "S->R"), rows_of([("a.jpg", 1, 1, "rgb")], role=max))


def test_pku_takes_given_lists_too():
    rows = pku_rows()
    rows.lists["pku-sketch"]["splits"] = [{"train": [], "test": [3, 4]}] * 10
    assert plan(setting("pku-sketch-given", "S->R"), rows, 9).query_rows.size == 2
    rows.lists["pku-sketch"]["splits"] = []
    with pytest.raises(UserError, match="keeps 0 splits"):
        plan(setting("pku-sketch-given", "S->R"), rows, 0)


# ------------------------------------------------------------------------------------------------ Market-Sketch-1K


def test_market_sketch_asks_by_style_and_with_all_sketches_of_a_person():
    sketches = [
        (f"sketch/{style}/query/{pid:04d}_{style}.jpg", pid, 0, "sketch")
        for style in "ABCDEF"
        for pid in (2, 5)
        if (style, pid) != ("F", 5)
    ]
    photos = [(f"photo/query/{pid:04d}_c{camera}.jpg", pid, camera, "rgb") for pid in (2, 5) for camera in (1, 2)]
    rows = rows_of([*sketches, *photos], role=lambda path, what: "query" if what == "sketch" else "gallery")
    styles = {style: [path[:-4] for path, *_ in sketches if f"/{style}/" in path] for style in "ABCDEF"}
    rows.lists = {"market-sketch-1k": {"styles": styles}}
    assert len(plan(setting("market-sketch-1k", "S->R"), rows).query_rows) == 11
    alone = plan(setting("market-sketch-1k", "S->R, style F"), rows)
    assert (rows.pids[alone.query_rows].tolist(), len(alone.gallery_rows)) == ([2], 4)
    together = plan(setting("market-sketch-1k", "S->R, multi-query"), rows)
    assert [len(units) for units in together.units] == [6, 5]
    assert rows.pids[together.query_rows].tolist() == [2, 5]
    some, pair = choose_settings(PROTOCOLS["market-sketch-1k"], ["S->R, styles FA", "S->R, multi-query AF"])
    assert rows.sample_ids[plan(some, rows).query_rows].tolist() == [
        "sketch/A/query/0002_A",
        "sketch/A/query/0005_A",
        "sketch/F/query/0002_F",
    ]
    assert [len(units) for units in plan(pair, rows).units] == [2, 1]
    with pytest.raises(UserError, match="has not: choose among ABCDEF"):
        choose_settings(PROTOCOLS["market-sketch-1k"], ["S->R, styles AX"])
    rows.lists = {}
    assert "keeps no styles" in missing(setting("market-sketch-1k", "S->R"), rows)


# --------------------------------------------------------------------------------------------------------- ORBench


def test_orbench_names_its_32_sets_and_asks_as_they_list():
    names = set_names()
    assert len(names) == len(set(names)) == 32
    assert names[:4] == ["NIR", "CP", "SK", "TEXT"]
    assert {"CP+NIR+SK+TEXT", "TEXT+NIR+CP+SK", "SK+CP+TEXT"} <= set(names)
    listed = [("vis/0001/a.jpg", 1, 0, "rgb"), ("vis/0002/b.jpg", 2, 0, "rgb"), ("nir/0001/n.jpg", 1, 0, "ir")]
    listed += [("cp/0001/c.jpg", 1, 0, "sketch"), ("sk/0001/s.jpg", 1, 0, "sketch"), ("text/0001/t.txt", 1, 0, "text")]
    rows = rows_of(listed, role=lambda path, what: "gallery" if what == "rgb" else "query")
    sets = {"CP+NIR+SK+TEXT": [["cp/0001/c", "nir/0001/n", "sk/0001/s", "text/0001/t"]], "NIR": [["nir/0001/n"]]}
    rows.lists = {"orbench": {"query-sets": sets, "gallery": ["vis/0002/b", "vis/0001/a"]}}
    task = plan(setting("orbench", "CP+NIR+SK+TEXT"), rows)
    paths = rows.source_paths
    assert paths[task.gallery_rows].tolist() == ["vis/0002/b.jpg", "vis/0001/a.jpg"]
    assert paths[task.query_rows].tolist() == ["cp/0001/c.jpg"]
    (units,) = task.units
    assert [[(kind, str(paths[row])) for kind, row, _ in unit] for unit in units] == [
        [("text", "text/0001/t.txt"), ("sketch", f"{kind}.jpg"), ("ir", "nir/0001/n.jpg")]
        for kind in ("cp/0001/c", "sk/0001/s")
    ]
    assert setting("orbench", "CP+NIR+SK+TEXT").mode == parse_mode("T+S+I")
    assert "keeps no query set 'SK'" in missing(setting("orbench", "SK"), rows)
    sets["NIR"] = [["nir/0009/x"]]
    assert "list 'nir/0009/x'" in missing(setting("orbench", "NIR"), rows)
