from __future__ import annotations

import hashlib
import shutil

import pytest
from fixtures import market1501

from reidsynth.errors import UserError
from reidsynth.sources import build_source, dropped


@pytest.fixture
def root(tmp_path):
    return market1501(tmp_path)


def source(root):
    return build_source("market1501", {"root": str(root)})


def test_official_splits_roles_people_and_cameras(root):
    market = source(root)
    train, test = market.records("train"), market.records("test")
    assert market.splits() == ("train", "test")
    assert [(r.pid, r.camid, r.role) for r in train] == [
        (2, 1, "train"),
        (2, 2, "train"),
        (7, 1, "train"),
        (7, 3, "train"),
    ]
    roles = {r.source_path: (r.pid, r.camid, r.role) for r in test}
    assert roles["query/0003_c4s6_015641_00.jpg"] == (3, 4, "query")
    assert roles["bounding_box_test/0003_c4s6_015642_01.jpg"] == (3, 4, "gallery")
    assert roles["bounding_box_test/0000_c1s1_000151_01.jpg"] == (0, 1, "distractor")
    assert len(test) == 6


def test_junk_is_left_out_and_counted(root):
    market = source(root)
    assert all(record.pid >= 0 for record in market.records("test"))
    assert dropped(market) == {"junk box (person -1)": 2, "no image file (by its extension)": 1}


def test_ids_are_sorted_unique_and_without_extension(root):
    ids = [record.sample_id for record in source(root).records("test")]
    assert ids == sorted(set(ids))
    assert "market1501/query/0001_c1s1_001051_00" in ids


def test_parent_folder_and_folder_itself_read_the_same(root):
    assert source(root).records("test") == source(root.parent).records("test")


def test_bytes_pass_through_untouched(root):
    market = source(root)
    record = market.records("train")[0]
    content = market.read(record)
    data = (root / record.source_path).read_bytes()
    assert content.images["rgb"] == data
    assert content.source_sha256 == hashlib.sha256(data).hexdigest()


def test_truncated_and_vanished_files_keep_their_rows(root):
    market = source(root)
    first, second = market.records("train")[:2]
    (root / first.source_path).write_bytes((root / first.source_path).read_bytes()[:-200])
    (root / second.source_path).unlink()
    assert "truncated" in market.read(first).errors["rgb"]
    assert market.read(second).errors == {"rgb": "file is missing"}


def test_stamp_changes_with_the_file(root):
    market = source(root)
    record = market.records("train")[0]
    before = market.stamp(record)
    (root / record.source_path).write_bytes(b"other")
    assert market.stamp(record) != before


def test_missing_folder_is_named_with_what_is_there(root):
    shutil.rmtree(root / "query")
    with pytest.raises(UserError, match=r"lacks query and holds bounding_box_test"):
        source(root).records("train")


def test_wrong_root(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        source(tmp_path / "nothing").records("train")


def test_nothing_may_be_published(root):
    policy = source(root).policy
    assert policy.release_of("rgb") == "never"
    assert not policy.egress
