from __future__ import annotations

import os

import pytest
from fixtures import write_image

from reidsynth.errors import UserError
from reidsynth.naming import compile_pattern
from reidsynth.sources import SOURCES, build_source, dropped, pid_names, source_class


def folder(root, **parameters):
    return build_source("folder", {"root": str(root), "called": "mine", **parameters})


@pytest.fixture
def crops(tmp_path):
    for name in ("7_c1_0.jpg", "7_c2_1.png", "12_c1_0.jpg"):
        write_image(tmp_path / name)
    return tmp_path


def test_every_registered_source_exists_and_declares_itself():
    for name in SOURCES:
        cls = source_class(name)
        assert cls.name == name
        assert cls.version >= 1
        assert cls.policy.licence
        assert cls.__doc__


def test_unknown_source_names_the_nearest():
    with pytest.raises(UserError, match=r"unknown source 'market'.*market1501"):
        build_source("market", {})


def test_all_parameter_mistakes_at_once(tmp_path):
    with pytest.raises(UserError) as caught:
        build_source("folder", {"pattern": "{x}", "seed": "many", "colour": 1})
    for part in ("'root' is missing", "unknown part {x}", "'seed'", "'many'", "unknown parameter 'colour'"):
        assert part in str(caught.value)


def test_pattern_gives_people_and_cameras(crops):
    records = folder(crops, pattern="{pid}_c{camid}_{_}").records("train")
    assert [(r.sample_id, r.pid, r.camid, r.role) for r in records] == [
        ("mine/12_c1_0", 12, 1, "train"),
        ("mine/7_c1_0", 7, 1, "train"),
        ("mine/7_c2_1", 7, 2, "train"),
    ]


def test_regular_expression_works_as_well(crops):
    records = folder(crops, pattern=r"(?P<pid>\d+)_c(?P<camid>\d)_\d").records("train")
    assert {r.pid for r in records} == {7, 12}


def test_folders_as_splits_and_names_as_people(tmp_path):
    for path in ("train/bob/1.jpg", "train/anna/1.jpg", "query/carl/1.jpg", "gallery/carl/2.jpg", "val/dora/1.jpg"):
        write_image(tmp_path / path)
    source = folder(tmp_path, pattern="{split}/{pid}/{_}")
    assert source.splits() == ("train", "test", "val")
    assert pid_names(source) == {0: "anna", 1: "bob", 2: "carl", 3: "dora"}
    assert [(r.pid, r.role) for r in source.records("test")] == [(2, "gallery"), (2, "query")]
    assert source.records("val")[0].role == "query+gallery"


def test_numbers_keep_their_value_and_need_no_names(crops):
    assert pid_names(folder(crops, pattern="{pid}_{_}")) == {}


def test_files_that_do_not_fit_are_counted(crops):
    (crops / "LICENSE").write_text("terms")
    write_image(crops / "cover.png")
    assert dropped(folder(crops, pattern="{pid}_c{camid}_{_}")) == {
        "image whose name the pattern does not match": 1,
        "no image file (by its extension)": 1,
    }


def test_shares_split_people_by_seed(tmp_path):
    for pid in range(20):
        write_image(tmp_path / f"{pid}_0.jpg")
        write_image(tmp_path / f"{pid}_1.jpg")
    sources = [
        folder(tmp_path, pattern="{pid}_{_}", shares={"train": 0.5, "test": 0.5}, seed=seed) for seed in (0, 0, 1)
    ]
    people = [{split: {r.pid for r in source.records(split)} for split in source.splits()} for source in sources]
    assert people[0] == people[1] != people[2]
    assert len(people[0]["train"]) == len(people[0]["test"]) == 10
    assert not people[0]["train"] & people[0]["test"]


def test_shares_mean_the_same_in_whatever_order_they_are_written(tmp_path):
    """A description has them sorted; whoever reads the folder by it must find the same splits."""
    for pid in range(12):
        write_image(tmp_path / f"{pid}_0.jpg")
    shares = {"val": 0.25, "test": 0.5, "train": 0.25}
    first, *others = (
        {split: [r.sample_id for r in source.records(split)] for split in source.splits()}
        for names in (("train", "val", "test"), ("test", "train", "val"), sorted(shares))
        for source in [folder(tmp_path, pattern="{pid}_{_}", shares={name: shares[name] for name in names})]
    )
    assert others == [first, first]


def test_shares_and_given_splits_exclude_each_other(tmp_path):
    write_image(tmp_path / "train" / "1_0.jpg")
    with pytest.raises(UserError, match="already has the split 'train'"):
        folder(tmp_path, pattern="{split}/{pid}_{_}", shares={"train": 1.0}).splits()


def test_missing_folder(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        folder(tmp_path / "none", pattern="{pid}_{_}").splits()


def test_empty_folder(tmp_path):
    with pytest.raises(UserError, match="holds no images"):
        folder(tmp_path, pattern="{pid}_{_}").splits()


def test_pattern_that_matches_nothing_shows_two_names(crops):
    with pytest.raises(UserError, match=r"matches none of the 3 images .*'12_c1_0\.jpg' and '7_c1_0\.jpg'"):
        folder(crops, pattern="{pid}-{camid}").splits()


def test_duplicated_sample_ids_name_both_files(crops):
    write_image(crops / "7_c1_0.png")
    with pytest.raises(UserError, match=r"'7_c1_0\.jpg' and '7_c1_0\.png' have the same sample id 'mine/7_c1_0'"):
        folder(crops, pattern="{pid}_{_}").splits()


def test_links_out_of_the_folder_keep_row_and_reason(crops, tmp_path_factory):
    outside = write_image(tmp_path_factory.mktemp("outside") / "9_c1_0.jpg")
    (crops / "9_c1_0.jpg").symlink_to(outside)
    (crops / "more").symlink_to(outside.parent)
    source = folder(crops, pattern="{pid}_c{camid}_{_}")
    record = next(r for r in source.records("train") if r.pid == 9)
    assert source.read(record).errors == {"rgb": "link leaves the data set's folder"}
    assert dropped(source) == {"linked folder, not entered": 1}


def test_unreadable_image_keeps_row_and_reason(crops):
    (crops / "8_c1_0.jpg").write_bytes(b"nothing of the kind")
    source = folder(crops, pattern="{pid}_c{camid}_{_}")
    record = next(r for r in source.records("train") if r.pid == 8)
    assert source.read(record).errors == {"rgb": "not an image"}


def test_neither_or_both_descriptions(crops):
    for parameters in ({}, {"pattern": "{pid}_{_}", "csv": "rows.csv"}):
        with pytest.raises(UserError, match="give either 'pattern'"):
            folder(crops, **parameters)


def test_bad_split_name(tmp_path):
    write_image(tmp_path / "my split" / "1_0.jpg")
    with pytest.raises(UserError, match="split 'my split' must be made of"):
        folder(tmp_path, pattern="{split}/{pid}_{_}").splits()


def rows(crops, text):
    (crops / "rows.csv").write_text(text, encoding="utf-8-sig")
    return folder(crops, csv="rows.csv")


def test_csv_joins_captions_of_one_path(crops):
    source = rows(
        crops,
        "path,pid,camid,split,caption\n7_c1_0.jpg,anna,1,test,First.\n12_c1_0.jpg,bob,2,train,Second.\n"
        '7_c1_0.jpg,anna,1,test,"Third, with a comma."\n',
    )
    assert [spec.name for spec in source.tables()] == ["rgb", "text"]
    (record,) = source.records("test")
    assert (record.pid, record.camid, record.role) == (0, 1, "query+gallery")
    assert source.read(record).texts["text"].captions == ("First.", "Third, with a comma.")
    assert pid_names(source) == {0: "anna", 1: "bob"}


def test_csv_without_captions_has_no_text_table(crops):
    source = rows(crops, "path,pid\n7_c1_0.jpg,7\n")
    assert [spec.name for spec in source.tables()] == ["rgb"]
    assert source.records("train")[0].camid is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,person\na.jpg,1\n", r"lacks the column 'pid' \(columns there: path, person\)"),
        ("", r"lacks the column 'path' and 'pid' \(columns there: none\)"),
        ("path,pid\n", "has no rows"),
        ("path,pid\nno.jpg,1\n", r"line 2: 'no\.jpg': file is missing"),
        ("path,pid\n/etc/passwd,1\n", r"line 2: path '/etc/passwd' is absolute"),
        ("path,pid\n../x.jpg,1\n", r"line 2: path '\.\./x\.jpg' leaves the data set's folder"),
        ("path,pid\n7_c1_0.jpg,\n", r"line 2: no pid for '7_c1_0\.jpg'"),
        ("path,pid\n7_c1_0.jpg,1\n7_c1_0.jpg,2\n", "line 3: .* has another pid"),
        ("path,pid,camid\n7_c1_0.jpg,1,left\n", "has the camera 'left': camid must be a whole number"),
        ("path,pid,role\n7_c1_0.jpg,1,boss\n", "has the role 'boss': valid are train, val, query"),
    ],
)
def test_csv_mistakes_are_named(crops, text, message):
    with pytest.raises(UserError, match=message):
        rows(crops, text).splits()


def test_missing_csv(crops):
    with pytest.raises(UserError, match=r"none\.csv' does not exist"):
        folder(crops, csv="none.csv").tables()


def test_absolute_csv_is_refused(crops):
    with pytest.raises(UserError, match="must be relative to the root"):
        folder(crops, csv=str(crops / "rows.csv"))


def test_csv_that_is_not_utf8(crops):
    (crops / "rows.csv").write_bytes("path,pid,é\n".encode("latin-1"))
    with pytest.raises(UserError, match="save it as UTF-8"):
        folder(crops, csv="rows.csv").tables()


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("{_}.jpg", "names no {pid}"),
        ("{person}", "unknown part {person}"),
        ("(?P<pid>", "no valid regular expression"),
        ("(?P<pid>x)(?P<who>y)", "unknown parts who"),
    ],
)
def test_pattern_mistakes(pattern, message):
    with pytest.raises(ValueError, match=message):
        compile_pattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("{pid}_s{_}_c{camid}_f{_}", "subset/000003_s02_c04_f000123.jpg", {"pid": "000003", "camid": "04"}),
        ("{pid}/{_}.png", "anna/5.png", {"pid": "anna"}),
        ("{pid}/{_}.png", "anna/5.jpg", None),
        ("{pid}/{pid}_{_}", "0001/0001_c1.jpg", {"pid": "0001"}),
        ("{pid}/{pid}_{_}", "0001/0002_c1.jpg", None),
        ("{**}/{split}/{pid}_{_}", "a/b/test/3_1.jpg", {"split": "test", "pid": "3"}),
    ],
)
def test_pattern_matches(pattern, path, expected):
    assert compile_pattern(pattern).match(path) == expected


def test_listing_does_not_depend_on_the_disk(crops, monkeypatch):
    expected = folder(crops, pattern="{pid}_{_}").records("train")
    scan = os.scandir

    class Backwards:
        def __init__(self, path):
            self.entries = sorted(scan(path), key=lambda entry: entry.name, reverse=True)

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(os, "scandir", Backwards)
    assert folder(crops, pattern="{pid}_{_}").records("train") == expected
