from __future__ import annotations

import json

import pytest
from fixtures import cuhk_pedes, cuhk_pedes_rows

from reidsynth import images
from reidsynth.errors import UserError
from reidsynth.sources import build_source


@pytest.fixture
def root(tmp_path):
    return cuhk_pedes(tmp_path)


def source(root):
    return build_source("cuhk-pedes", {"root": str(root)})


def rewrite(root, change):
    rows = cuhk_pedes_rows()
    change(rows)
    (root / "reid_raw.json").write_text(json.dumps(rows))


def test_splits_people_and_roles_come_from_the_annotation(root):
    pedes = source(root)
    assert pedes.splits() == ("train", "val", "test")
    assert {r.pid for r in pedes.records("train")} == {1, 2, 3}
    assert {(r.pid, r.role) for r in pedes.records("val")} == {(11004, "query+gallery")}
    test = pedes.records("test")
    assert [r.source_path for r in test] == ["test_query/p2733_s3580.jpg", "train_query/p8130_s10932.jpg"]
    assert all(r.role == "query+gallery" and r.camid is None for r in test)


def test_captions_stay_as_many_as_they_are(root):
    pedes = source(root)
    counts = {r.source_path: len(pedes.read(r).texts["text"].captions) for r in pedes.records("train")}
    assert counts["CUHK03/1_2.jpg"] == 3
    assert counts["CUHK03/1_1.jpg"] == 2


def test_bmp_becomes_png_and_jpeg_passes_through(root):
    pedes = source(root)
    bmp = pedes.read(pedes.records("val")[0]).images["rgb"]
    assert images.probe(bmp)[2] == "png"
    record = pedes.records("train")[0]
    assert pedes.read(record).images["rgb"] == (root / "imgs" / record.source_path).read_bytes()


def test_parent_folder_is_accepted(root):
    assert source(root.parent).records("test") == source(root).records("test")


def test_missing_image_keeps_row_reason_and_captions(root):
    pedes = source(root)
    record = pedes.records("test")[0]
    (root / "imgs" / record.source_path).unlink()
    content = pedes.read(record)
    assert content.errors == {"rgb": "file is missing"}
    assert len(content.texts["text"].captions) == 2


def test_link_out_of_the_data_set_is_refused(root, tmp_path):
    pedes = source(root)
    record = pedes.records("test")[0]
    path = root / "imgs" / record.source_path
    outside = tmp_path / "outside.jpg"
    outside.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(outside)
    assert pedes.read(record).errors == {"rgb": "link leaves the data set's folder"}


def test_split_is_compared_in_lower_case(root):
    rewrite(root, lambda rows: rows[0].update(split="Train"))
    assert len(source(root).records("train")) == 5


def test_old_annotation_alone_is_explained(root):
    (root / "reid_raw.json").unlink()
    with pytest.raises(UserError, match=r"caption_all\.json, which has no splits .* not splits"):
        source(root).records("train")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[0].update(id="7"), r"row 0: 'id' must be a whole number, received '7'"),
        (lambda rows: rows[0].update(id=True), r"row 0: 'id' must be a whole number"),
        (lambda rows: rows[1].update(captions="one"), r"row 1: 'captions' must be a list of sentences"),
        (lambda rows: rows[2].update(file_path="/etc/passwd"), r"row 2: 'file_path' must be a path below imgs"),
        (lambda rows: rows[2].update(file_path="../a.jpg"), r"row 2: 'file_path' must be a path below imgs"),
        (lambda rows: rows[2].update(file_path="C:\\a.jpg"), r"row 2: 'file_path' must be a path below imgs"),
        (lambda rows: rows[3].pop("split"), r"row 3: 'split' is missing"),
        (lambda rows: rows[3].update(split="dev"), r"'split' must be train, val or test, received 'dev'"),
        (lambda rows: rows.append(7), r"row 9: expected an object, received int"),
        (lambda rows: rows.append(dict(rows[0])), r"two rows with sample id 'cuhk-pedes/CUHK03/1_1' \(rows 0 and 9\)"),
    ],
)
def test_hostile_rows_are_named(root, change, message):
    rewrite(root, change)
    with pytest.raises(UserError, match=message):
        source(root).records("train")


def test_many_mistakes_are_counted(root):
    rewrite(root, lambda rows: [row.update(id=None) for row in rows])
    with pytest.raises(UserError, match=r"has 9 mistakes: .* and 6 more"):
        source(root).splits()


def test_damaged_json(root):
    (root / "reid_raw.json").write_text("[{")
    with pytest.raises(UserError, match="no readable JSON"):
        source(root).splits()


def test_annotation_that_is_no_list(root):
    (root / "reid_raw.json").write_text("{}")
    with pytest.raises(UserError, match="not a list of rows"):
        source(root).splits()
