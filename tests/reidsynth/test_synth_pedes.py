from __future__ import annotations

import pytest
from manifest_rows import captures, row, verdicts
from synthetic_fixtures import synth_pedes, synth_pedes_rows

from reidsynth import ingest as ingest_module
from reidsynth.errors import UserError
from reidsynth.ingest import ingest
from reidsynth.sources import build_source
from reidsynth.sources.synth_pedes import _SortedRows
from reidsynth.validate import validate


def source(root):
    return build_source("synth-pedes", {"root": str(root)})


def test_rows(tmp_path, run):
    synth_pedes(tmp_path)
    manifest = ingest(tmp_path / "m", "synth-pedes", {"root": str(tmp_path)}, run=run)
    assert manifest.splits == ("train",)
    assert captures(manifest, "train", "sample_id", "pid", "camid", "role") == [
        ("synth-pedes/Part1/10/1", 10, None, "train"),
        ("synth-pedes/Part1/7/1", 7, None, "train"),
        ("synth-pedes/Part1/7/2", 7, None, "train"),
        ("synth-pedes/Part11/312320/1", 312320, None, "train"),
        ("synth-pedes/Part2/31000/1", 31000, None, "train"),
    ]
    spac = row(manifest, "text-spac", "train", "synth-pedes/Part1/7/2")
    assert spac["captions"] == [f"Description {n} of person 7, café." for n in range(3)]
    assert (spac["origin"], spac["model"]) == ("synthetic", "SPAC")
    prompt = row(manifest, "text-prompt", "train", "synth-pedes/Part1/7/2")
    assert prompt["captions"] == ["A person 7 with attributes."]
    assert set(verdicts(manifest, "rgb", "train").values()) == {("pass", None)}
    assert validate(manifest.path) == []


def test_attributes_by_field(tmp_path):
    synth = source(synth_pedes(tmp_path))
    told = {
        record.source_path: {k: v for k, v in (synth.read(record).texts["text-spac"].attributes or {}).items() if v}
        for record in synth.records("train")
    }
    man = {"gender": "man", "hair_colour": "black", "upper_type": "shirt", "upper_colour": "black"}
    man |= {"lower_type": "shorts", "lower_colour": "pink", "shoes_type": "shoes", "shoes_colour": "black"}
    assert told == {
        "Part1/7/1.jpg": man,
        "Part1/7/2.jpg": man | {"bag": "backpack", "bag_colour": "red"},
        "Part1/10/1.jpg": {
            "gender": "woman",
            "hair_colour": "brown",
            "hair_length": "long",
            "upper_type": "t-shirt",
            "upper_colour": "white",
            "upper_pattern": "striped",
            "headwear": "cap",
            "headwear_colour": "black",
        },
        "Part11/312320/1.jpg": {"glasses": "sunglasses"},
        "Part2/31000/1.jpg": {},
    }


def test_slices_and_rows_agree(tmp_path):
    records = source(synth_pedes(tmp_path)).records("train")
    everything = list(records)
    assert len(records) == 5
    assert records[1:4] == everything[1:4]
    assert records[-1] == everything[-1]
    assert records[3:3] == []
    assert [record.sample_id for record in everything] == sorted(record.sample_id for record in everything)


def test_shards_of_a_lazy_listing_are_those_of_a_list(tmp_path, run, monkeypatch):
    """Borders of shards inside the listing, and a second run that finds everything done."""
    root = synth_pedes(tmp_path)
    whole = ingest(tmp_path / "whole", "synth-pedes", {"root": str(root)}, run=run)
    monkeypatch.setattr(ingest_module, "ROWS_PER_SHARD", 2)
    parts = ingest(tmp_path / "parts", "synth-pedes", {"root": str(root)}, run=run)
    assert [shard.rows for shard in parts.info.captures] == [2, 2, 1]
    for table in ("captures", "rgb", "text-spac"):
        names = ["sample_id"] if table != "captures" else ["sample_id", "pid", "source_sha256"]
        assert parts.table(table, "train").columns(names) == whole.table(table, "train").columns(names)
    assert parts.table("rgb", "train")[3] == whole.table("rgb", "train")[3]
    before = parts.checksum
    assert ingest(tmp_path / "parts", "synth-pedes", {"root": str(root)}, run=run).checksum == before


def test_a_changed_image_remakes_its_shard_only(tmp_path, run, monkeypatch):
    root = synth_pedes(tmp_path)
    monkeypatch.setattr(ingest_module, "ROWS_PER_SHARD", 2)
    before = ingest(tmp_path / "m", "synth-pedes", {"root": str(root)}, run=run).info.captures
    (root / "Part11/312320/1.jpg").unlink()
    manifest = ingest(tmp_path / "m", "synth-pedes", {"root": str(root)}, run=run)
    assert [old.key == new.key for old, new in zip(before, manifest.info.captures, strict=True)] == [True, False, True]
    assert verdicts(manifest, "rgb", "train")["synth-pedes/Part11/312320/1"] == ("error", "file is missing")
    assert verdicts(manifest, "text-spac", "train")["synth-pedes/Part11/312320/1"] == ("pass", None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[1].update(id="7"), "row 1: 'id' must be a whole number, received '7'"),
        (lambda rows: rows[0].update(file_path="/etc/passwd"), "row 0: 'file_path' must be a path below"),
        (lambda rows: rows[0].update(file_path="Part1/../../x.jpg"), "row 0: 'file_path' must be a path below"),
        (lambda rows: rows[0].update(captions=[]), "row 0: 'captions' must be a list of sentences"),
        (lambda rows: rows[0].update(attributes=[7]), "row 0: 'attributes' must be a list of texts"),
        (lambda rows: rows.append(None), "row 5: expected an object, received NoneType"),
        (lambda rows: rows.clear(), "has no rows"),
    ],
)
def test_hostile_rows_are_named(tmp_path, change, message):
    rows = synth_pedes_rows()
    change(rows)
    with pytest.raises(UserError, match=message):
        source(synth_pedes(tmp_path, rows)).records("train")


def test_many_mistakes_end_the_reading(tmp_path):
    rows = [{**row, "id": None} for row in synth_pedes_rows() * 10]
    with pytest.raises(UserError, match=r"at least 20 mistakes: row 0: .* and 17 more"):
        source(synth_pedes(tmp_path, rows)).records("train")


def test_an_image_listed_twice(tmp_path, run):
    root = synth_pedes(tmp_path, [*synth_pedes_rows(), synth_pedes_rows()[0]])
    with pytest.raises(UserError, match="two captures of synth-pedes have the sample id 'synth-pedes/Part1/7/1'"):
        ingest(tmp_path / "m", "synth-pedes", {"root": str(root)}, run=run)


def test_cut_off_annotation(tmp_path):
    root = synth_pedes(tmp_path)
    text = (root / "synthpedes_dataset.json").read_text()
    (root / "synthpedes_dataset.json").write_text(text[: len(text) // 2])
    with pytest.raises(UserError, match=r"damaged in row \d|cut off"):
        source(root).records("train")


def test_missing_annotation(tmp_path):
    root = synth_pedes(tmp_path)
    (root / "synthpedes_dataset.json").unlink()
    with pytest.raises(
        UserError, match=r"is not SYNTH-PEDES: it lacks synthpedes_dataset.json and holds Part1, Part11"
    ):
        source(root).records("train")


def test_attributes_as_plain_text_are_read_too(tmp_path):
    rows = synth_pedes_rows()
    rows[0]["attributes"] = rows[0]["attributes"][0]
    del rows[0]["prompt_caption"]
    synth = source(synth_pedes(tmp_path, rows))
    content = synth.read(synth.records("train")[1])
    assert content.texts["text-spac"].attributes["gender"] == "man"
    assert "text-prompt" not in content.texts


def test_some_parts_only(tmp_path):
    root = synth_pedes(tmp_path)
    some = build_source("synth-pedes", {"root": str(root), "parts": [1, 2]})
    assert {record.source_path.split("/")[0] for record in some.records("train")} == {"Part1", "Part2"}  # not Part11
    assert some.dropped() == {"row of a part that was not asked for": 1}
    assert some.published().counts == ()
    assert source(root).published().rows == 4_791_711
    with pytest.raises(UserError, match="has no rows of Part7/"):
        build_source("synth-pedes", {"root": str(root), "parts": [7]}).records("train")


def test_no_more_than_a_shard_is_listed_at_a_time(tmp_path, run, monkeypatch):
    root = synth_pedes(tmp_path)
    monkeypatch.setattr(ingest_module, "ROWS_PER_SHARD", 2)
    asked = []
    plain = _SortedRows.__getitem__

    def watched(self, index):
        found = plain(self, index)
        asked.append(len(found) if isinstance(index, slice) else 1)
        return found

    monkeypatch.setattr(_SortedRows, "__getitem__", watched)
    ingest(tmp_path / "m", "synth-pedes", {"root": str(root)}, run=run)
    assert asked == [2, 2, 1] * 2  # once for the keys, once for the work
