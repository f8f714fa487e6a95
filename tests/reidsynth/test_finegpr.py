from __future__ import annotations

import json

import pytest
from fixtures import write_image
from manifest_rows import captures, row, verdicts
from synthetic_fixtures import finegpr, finegpr_subset

from reidsynth.errors import UserError
from reidsynth.ingest import ingest
from reidsynth.sources import build_source


def source(root, **parameters):
    return build_source("finegpr", {"root": str(root), **parameters})


def test_rows(tmp_path, run):
    finegpr(tmp_path)
    manifest = ingest(tmp_path / "m", "finegpr", {"root": str(tmp_path)}, run=run)
    assert captures(manifest, "train", "sample_id", "pid", "camid", "role") == [
        ("finegpr/0001/0001_c01_w01_l01_p01", 1, 1, "train"),
        ("finegpr/0001/0001_c10_w02_l03_p04", 1, 10, "train"),
        ("finegpr/0001/0001_c36_w07_l07_p09", 1, 36, "train"),
        ("finegpr/0002/0002_c01_w01_l01_p01", 2, 1, "train"),
        ("finegpr/0002/0002_c28_w05_l01_p02", 2, 28, "train"),
    ]
    assert list(manifest.tables) == ["rgb"]
    assert set(verdicts(manifest, "rgb", "train").values()) == {("pass", None)}


def test_flat_subset(tmp_path):
    records = source(finegpr_subset(tmp_path).parent).records("train")
    assert [(r.source_path, r.pid, r.camid) for r in records][3:5] == [
        ("0001_c28_w01_l02_p03.jpg", 1, 28),
        ("1150_c01_w01_l02_p03.jpg", 1150, 1),
    ]


def test_slices_across_folders(tmp_path):
    records = source(finegpr(tmp_path)).records("train")
    everything = list(records)
    for start in range(6):
        for stop in range(start, 7):
            assert records[start:stop] == everything[start:stop]
    assert records[::2] == everything[::2]
    assert records[-1] == everything[4]


def test_draw_of_some_images_per_identity(tmp_path):
    base = finegpr(tmp_path)
    for camera in range(2, 36):
        write_image(base / f"0001/0001_c{camera:02d}_w03_l03_p05.jpg", camera)
    drawn = source(base, per_identity=11)
    assert [record.pid for record in drawn.records("train")] == [1] * 11 + [2] * 2
    again, other = source(base, per_identity=11), source(base, per_identity=11, seed=1)
    assert list(drawn.records("train")) == list(again.records("train"))
    assert list(drawn.records("train")) != list(other.records("train"))
    assert drawn.dropped() == {"image that the draw of per_identity left": 26}
    # The draw does not depend on what else is there.
    (base / "0002/0002_c01_w01_l01_p01.jpg").unlink()
    assert list(source(base, per_identity=11).records("train"))[:11] == list(drawn.records("train"))[:11]


ONE, TWO = "0001_c01_w01_l01_p01", "0001_c36_w07_l07_p09"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.json", json.dumps({ONE: ["A man.", "He walks."], f"{TWO}.jpg": "A man runs.", "2": "A woman."})),
        (
            "c.json",
            json.dumps(
                [
                    {"file_path": f"0001/{ONE}.jpg", "captions": ["A man.", "He walks."]},
                    {"image": TWO, "caption": "A man runs."},
                    {"id": 2, "caption": "A woman."},
                ]
            ),
        ),
        ("c.csv", f"path,caption\n0001/{ONE}.jpg,A man.\n0001/{ONE}.jpg,He walks.\n{TWO},A man runs.\n0002,A woman.\n"),
    ],
)
def test_captions_in_every_form(tmp_path, run, name, text):
    base = finegpr(tmp_path)
    (base / name).write_text(text)
    manifest = ingest(tmp_path / "m", "finegpr", {"root": str(base), "captions": name}, run=run)
    told = {s: row(manifest, "text", "train", s)["captions"] for (s,) in captures(manifest, "train", "sample_id")}
    assert told == {
        f"finegpr/0001/{ONE}": ["A man.", "He walks."],
        "finegpr/0001/0001_c10_w02_l03_p04": None,
        f"finegpr/0001/{TWO}": ["A man runs."],
        "finegpr/0002/0002_c01_w01_l01_p01": ["A woman."],
        "finegpr/0002/0002_c28_w05_l01_p02": ["A woman."],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"cat.jpg": "A cat."}', "row 0 .'cat.jpg'.: is no image name like"),
        ('[{"caption": "A man."}]', "row 0 .'None'.: names neither an image nor a person"),
        (f'{{"{ONE}": []}}', f"row 0 .'{ONE}'.: no caption"),
        ('{"0777": "A man."}', "describes 777 and 0 more, and none of them is among the images"),
        ("7", "neither an object nor a list"),
        ("[", "no readable JSON"),
        ("{}", "have no rows"),
    ],
)
def test_captions_with_mistakes(tmp_path, text, message):
    base = finegpr(tmp_path)
    (base / "c.json").write_text(text)
    with pytest.raises(UserError, match=message):
        source(base, captions="c.json").records("train")


def test_captions_outside_the_root_are_refused(tmp_path):
    with pytest.raises(UserError, match="relative to the root"):
        source(tmp_path, captions="../c.json")


def test_other_files_are_counted(tmp_path):
    base = finegpr(tmp_path)
    write_image(base / "0002/mask.png")
    (base / "0002/more").mkdir()
    (base / "0003").symlink_to(base / "0002")
    assert source(base).dropped() == {
        "file or folder with a name outside the data set's grammar": 2,
        "linked folder, not entered": 1,
    }


def test_a_folder_without_images(tmp_path):
    (tmp_path / "0001").mkdir()
    with pytest.raises(UserError, match="holds no image named like 0001/0001_c01"):
        source(tmp_path).records("train")


@pytest.mark.parametrize(
    ("draw", "parameters", "images"),
    [(finegpr, {}, 2_028_600), (finegpr, {"per_identity": 11}, 12_650), (finegpr_subset, {}, 4600)],
)
def test_published_sizes(tmp_path, draw, parameters, images):
    (count,) = source(draw(tmp_path), **parameters).published().counts
    assert (count.captures, count.identities) == (images, 1150)
