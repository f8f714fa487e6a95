from __future__ import annotations

import pickle
import random
import shutil

import pytest

from reidsynth import ingest as ingest_module
from reidsynth import open_manifest, reader
from reidsynth.errors import UserError
from reidsynth.ingest import ingest


@pytest.fixture
def shards(tmp_path, noise, run, monkeypatch):
    """A manifest of eight shards of three rows in each split, the last of two."""
    monkeypatch.setattr(ingest_module, "ROWS_PER_SHARD", 3)
    return ingest(tmp_path / "m", "noise", {"rows": 23}, run=run)


def test_rows_of_many_shards_with_few_open(shards, monkeypatch):
    monkeypatch.setattr(reader, "OPEN_FILES", 2)
    monkeypatch.setattr(reader, "CACHED_GROUPS", 1)
    table = shards.table("rgb", "train")
    assert len(table) == 23
    order = list(range(23))
    random.Random(0).shuffle(order)
    assert [table[row]["sample_id"] for row in order] == [f"noise/train/{row:05d}" for row in order]
    assert len(table._files) == 2
    assert table.columns(["sample_id"]).column(0).to_pylist() == [f"noise/train/{row:05d}" for row in range(23)]
    assert [row["sample_id"] for row in table.rows(2, 5)] == [f"noise/train/{row:05d}" for row in (2, 3, 4)]


def test_nothing_is_opened_before_a_row_is_asked_for(shards):
    table = shards.table("rgb", "train")
    assert not table._files
    assert table[22]["sample_id"] == "noise/train/00022"
    assert list(table._files) == [7]
    again = pickle.loads(pickle.dumps(table))
    assert len(again) == 23
    assert again[4] == table[4]


@pytest.mark.parametrize("row", [-1, 23])
def test_rows_outside(shards, row):
    with pytest.raises(IndexError):
        shards.table("rgb", "train")[row]


def test_a_shard_in_another_ones_place(shards):
    """Whole and readable, but not the shard on record: it has another number of rows."""
    files = [shard.file for shard in shards.tables["rgb"].shards if shard.split == "train"]
    shutil.copy(shards.path / files[7], shards.path / files[0])
    with pytest.raises(UserError, match="is damaged"):
        shards.table("rgb", "train")[0]
    with pytest.raises(UserError, match="is damaged"):
        open_manifest(shards.path)
