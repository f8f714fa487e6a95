"""The manifest as its readers see it."""

from __future__ import annotations

import hashlib
import json

import pyarrow.parquet as pq
import pytest

import reidsynth
from reidsynth import images, jobs
from reidsynth.errors import UserError
from reidsynth.ingest import ingest
from reidsynth.manifest import MANIFEST_FILE
from reidsynth.pipeline import run_step
from reidsynth.storage import shard_sha256, writing
from reidsynth.validate import validate


@pytest.fixture
def built(noise, run, tmp_path):
    out = tmp_path / "m"
    ingest(out, "noise", {"rows": 30}, run=run)
    run_step(out, "build-ir", "inverse", {}, run=run)
    return out


def test_rows_of_all_tables_are_the_captures_in_order(built):
    manifest = reidsynth.open_manifest(built)
    assert manifest.splits == ("train", "test")
    assert sorted(manifest.tables) == ["ir-inverse", "mask", "rgb", "text"]
    for split in manifest.splits:
        ids = manifest.captures(split).column("sample_id").to_pylist()
        assert ids == [f"noise/{split}/{i:05d}" for i in range(30)]
        for name in manifest.tables:
            reader = manifest.table(name, split)
            assert [reader[i]["sample_id"] for i in range(len(reader))] == ids
    assert validate(built) == []


def test_nothing_is_dropped_the_reason_stays(built):
    manifest = reidsynth.open_manifest(built)
    row = manifest.table("rgb", "train")[6]
    assert row["image"] is None
    assert row["verdict"] == "error"
    assert row["reason"].startswith("damaged image")
    made = manifest.table("ir-inverse", "train")[6]
    assert (made["image"], made["verdict"]) == (None, "absent")
    assert made["reason"].startswith("rgb: damaged image")
    text = manifest.table("text", "train")[4]
    assert (text["captions"], text["verdict"], text["reason"]) == (None, "absent", None)
    assert manifest.tables["rgb"].counts["train"] == {"error": 4, "pass": 26}
    assert manifest.tables["ir-inverse"].counts["test"] == {"absent": 4, "pass": 26}


def test_bytes_of_photographs_are_untouched_and_sizes_kept(built):
    from drawn_source import Noise

    manifest = reidsynth.open_manifest(built)
    source = Noise(rows=30)
    for number in (0, 1, 29):
        record = source.records("test")[number]
        photo = manifest.table("rgb", "test")[number]
        assert photo["image"]["bytes"] == source.read(record).images["rgb"]
        made = manifest.table("ir-inverse", "test")[number]
        assert (made["width"], made["height"]) == (photo["width"], photo["height"]) == (12, 24 + number % 2)
        assert images.decode(made["image"]["bytes"]).shape == (24 + number % 2, 12, 3)
        assert made["spectrum"] == "pseudo"
        assert made["origin"] == "synthetic"


def test_shards_hold_a_fixed_number_of_rows_and_small_row_groups(noise, run, tmp_path, monkeypatch):
    monkeypatch.setattr("reidsynth.ingest.ROWS_PER_SHARD", 300)
    out = tmp_path / "m"
    ingest(out, "noise", {"rows": 750}, run=run)
    manifest = run_step(out, "build-ir", "inverse", {}, run=run)
    files = [shard.file for shard in manifest.tables["ir-inverse"].shards if shard.split == "train"]
    assert files == [f"ir-inverse/train-{i:05d}-of-00003.parquet" for i in range(3)]
    metadata = pq.read_metadata(out / files[2])
    assert metadata.num_rows == 150
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [100, 50]
    reader = manifest.table("ir-inverse", "train")
    assert len(reader) == 750
    assert [reader[i]["sample_id"] for i in (299, 300, 749)] == [f"noise/train/{i:05d}" for i in (299, 300, 749)]
    with pytest.raises(IndexError, match="row 750 of 750"):
        reader[750]


def test_datasets_reads_every_table_without_our_code(built, tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    cache = str(tmp_path / "cache")
    manifest = reidsynth.open_manifest(built)
    for name in ("captures", *manifest.tables):
        table = datasets.load_dataset(str(built), name, split="train", cache_dir=cache)
        assert table.num_rows == 30
        assert table[7]["sample_id"] == "noise/train/00007"
    row = datasets.load_dataset(str(built), "ir-inverse", split="test", cache_dir=cache)[1]
    assert row["image"].size == (12, 25)
    streamed = datasets.load_dataset(str(built), "rgb", split="train", streaming=True)
    first = next(iter(streamed))
    assert first["image"].size == (12, 24)
    assert isinstance(streamed.features["image"], datasets.Image)
    assert streamed.features["scores"]["std"].dtype == "float64"
    texts = datasets.load_dataset(str(built), "text", split="train", cache_dir=cache)
    assert texts[0]["captions"] == ["person 0"]
    assert texts[0]["attributes"]["gender"] == "woman"
    assert texts[4]["captions"] is None
    default = datasets.load_dataset(str(built), cache_dir=cache)  # the preview, all modalities side by side
    assert default["preview"][0]["rgb"].size == (12, 24)
    assert set(default["preview"].column_names) >= {"sample_id", "rgb", "mask", "text", "ir-inverse"}


def test_another_schema_version_is_refused(built):
    file = built / MANIFEST_FILE
    values = json.loads(file.read_text())
    file.write_text(json.dumps(values | {"schema_version": 99}))
    with pytest.raises(UserError, match="schema version 99, and this program reads version 1"):
        reidsynth.open_manifest(built)


def test_a_folder_that_is_no_manifest(tmp_path):
    with pytest.raises(UserError, match="does not exist, so it is no manifest"):
        reidsynth.open_manifest(tmp_path / "nowhere")
    with pytest.raises(UserError, match=f"holds no {MANIFEST_FILE}"):
        reidsynth.open_manifest(tmp_path)


@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_damaged_shard_is_named(built, damage):
    manifest = reidsynth.open_manifest(built)
    shard = next(s for s in manifest.tables["rgb"].shards if s.split == "train")
    path = built / shard.file
    content = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 3] ^= 0xFF
        path.write_bytes(content)
        found = validate(built)
        assert len(found) == 1
        assert shard.file in found[0]
        reader = reidsynth.open_manifest(built).table("rgb", "train")
        with pytest.raises(UserError, match=r"train-00000-of-00001.parquet is damaged"):
            [reader[i] for i in range(len(reader))]
        return
    with pytest.raises(UserError, match=r"rgb/train-00000-of-00001\.parquet is (damaged|missing)"):
        reidsynth.open_manifest(built)


def test_validate_finds_rows_out_of_line(built, run):
    import pyarrow as pa

    from reidsynth.manifest import read_info, write_info
    from reidsynth.storage import sha256_file

    path = built / "mask/train-00000-of-00001.parquet"
    table = pq.read_table(path)
    pq.write_table(pa.concat_tables([table.slice(1), table.slice(0, 1)]), path)
    info = read_info(built)
    mask = info.tables["mask"]
    shards = tuple(
        s.model_copy(update={"sha256": sha256_file(path), "bytes": path.stat().st_size}) if s.split == "train" else s
        for s in mask.shards
    )
    tables = info.tables | {"mask": mask.model_copy(update={"shards": shards})}
    write_info(built, info.model_copy(update={"tables": tables}))
    assert validate(built) == ["table 'mask' of split 'train' is not row-aligned with its captures"]


def test_validate_finds_captures_out_of_order(built):
    import pyarrow as pa

    from reidsynth.manifest import read_info, write_info
    from reidsynth.storage import sha256_file

    info = read_info(built)
    replaced = {}
    for shard in (shard for shard in info.captures if shard.split == "train"):
        path = built / shard.file
        table = pq.read_table(path)
        pq.write_table(pa.concat_tables([table.slice(0, 1), table.slice(0, 1), table.slice(2)]), path)
        replaced[shard.file] = {"sha256": sha256_file(path), "bytes": path.stat().st_size}
    captures = tuple(shard.model_copy(update=replaced.get(shard.file, {})) for shard in info.captures)
    write_info(built, info.model_copy(update={"captures": captures}))
    assert "captures of split 'train' are not in ascending order of unique sample ids" in validate(built)


def test_a_description_with_a_mistake_is_one_sentence(built):
    values = json.loads((built / "manifest.json").read_text())
    values["tables"]["mask"]["shards"][0]["file"] = "../../etc/passwd"
    (built / "manifest.json").write_text(json.dumps(values))
    with pytest.raises(UserError) as caught:
        reidsynth.open_manifest(built)
    assert "(tables.mask.shards.0.file: '../../etc/passwd' is no path inside the manifest)" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_tables_and_splits_list_what_is_there(built):
    manifest = reidsynth.open_manifest(built)
    with pytest.raises(UserError, match="no table 'sketch': it holds ir-inverse, mask, rgb, text"):
        manifest.table("sketch", "train")
    with pytest.raises(UserError, match="no split 'val': it holds train, test"):
        manifest.table("rgb", "val")


def test_the_card_says_where_everything_comes_from(built):
    card = (built / "README.md").read_text()
    assert card.startswith("---\n")
    assert "config_name: ir-inverse" in card
    assert "build-ir inverse version 1 from `rgb` (offset=0)" in card
    assert "Intended use and privacy" in card
    assert "| ir-inverse | synthetic (pseudo) | train | 26 | 0 | 4 | 0 |" in card


def test_checksum_follows_the_data(noise, run, tmp_path):
    first = ingest(tmp_path / "a", "noise", {"rows": 8}, run=run)
    again = ingest(tmp_path / "b", "noise", {"rows": 8}, run=run)
    other = ingest(tmp_path / "c", "noise", {"rows": 8, "seed": 1}, run=run)
    assert first.checksum == again.checksum != other.checksum
    assert jobs.ROWS_PER_BLOCK % 100 == 0


def test_the_checksum_of_a_shard_that_was_replaced_is_the_new_one(tmp_path):
    for content in (b"first", b"other", b"third"):  # as long as one another
        with writing(tmp_path / "shard.parquet") as handle:
            handle.write(content)
        for _ in range(2):
            assert shard_sha256(tmp_path / "shard.parquet") == hashlib.sha256(content).hexdigest()
