"""What cameras, export tools and bad downloads leave behind, in every source: a row with a picture or with a reason."""

from __future__ import annotations

import io
import os
import re
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
from captioned_fixtures import icfg_pedes, rstpreid, sketch_tree
from fixtures import crop, cuhk_pedes, market1501, write_image
from layouts import cuhk03_folders, cuhk03_lists, llcm, llvip, msmt17, randperson, regdb, sysu_mm01
from PIL import Image
from sketch_fixtures import market_sketch_1k, orbench, pku_sketch
from synthetic_fixtures import finegpr, synth_pedes

from reidsynth import listing, rows
from reidsynth.errors import UserError
from reidsynth.ingest import ingest
from reidsynth.report import preview
from reidsynth.sources import SOURCES, build_source
from reidsynth.validate import validate
from reidsynth.verify import verify


def crops(root):
    for name in ("train/7_c1_0.jpg", "train/8_c2_0.jpg", "test/9_c1_0.jpg"):
        write_image(root / name)
    return root


def tri(draw):
    def drawn(root):
        base = draw(root)
        sketch_tree(base / "imgs", base / "imgs-sketch")
        return base

    return drawn


TREES = {
    "cuhk-pedes": (cuhk_pedes, {}),
    "cuhk03-np": (cuhk03_lists, {}),
    "cuhk03-np, folders": (cuhk03_folders, {"boxes": "labelled"}),
    "finegpr": (finegpr, {}),
    "folder": (crops, {"pattern": "{split}/{pid}_c{camid}_{_}", "called": "mine"}),
    "icfg-pedes": (icfg_pedes, {}),
    "llcm": (llcm, {}),
    "llvip": (llvip, {}),
    "market-sketch-1k": (market_sketch_1k, {}),
    "market1501": (market1501, {}),
    "msmt17": (msmt17, {}),
    "orbench": (orbench, {}),
    "pku-sketch": (pku_sketch, {}),
    "randperson": (randperson, {}),
    "regdb": (regdb, {}),
    "rstpreid": (rstpreid, {}),
    "synth-pedes": (synth_pedes, {}),
    "sysu-mm01": (sysu_mm01, {}),
    "tri-cuhk-pedes": (tri(cuhk_pedes), {}),
    "tri-icfg-pedes": (tri(icfg_pedes), {}),
    "tri-rstpreid": (tri(rstpreid), {}),
}
ALL = pytest.mark.parametrize("tree", TREES)


def test_no_source_is_forgotten():
    assert {tree.split(",")[0] for tree in TREES} == SOURCES.keys() - {"demo", "manifest"}


def drawn(tree, tmp_path):
    """Source of a fixture, its first record with a file, and that file."""
    draw, parameters = TREES[tree]
    root = draw(tmp_path / "data")
    source = build_source(tree.split(",")[0], {"root": str(root), **parameters})
    every = (record for split in source.splits() for record in source.records(split))
    record = next(record for record in every if record.source_path and record.modality == "rgb")
    files = [p for p in root.rglob("*") if p.as_posix().endswith(f"/{record.source_path}")]
    (file,) = [p for p in files if "imgs-sketch" not in p.parts]
    return source, record, file


def row_of(source, record):
    """The row that the manifest would hold."""
    read = [(record, source.read(record))]
    batches = rows.source_batches(read, split="s", dataset=source.dataset(), specs=source.tables())
    return batches["rgb"].to_pylist()[0]


def encoded(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def header_of(width, height):
    """A PNG that says that it is this large."""
    data = bytearray(encoded(Image.new("L", (8, 8)), "PNG"))
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


def rotated():
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(Image.fromarray(crop()), "JPEG", exif=exif)


def animated(format):
    frames = [Image.fromarray(crop(shirt=shirt)) for shirt in ("red", "blue")]
    return encoded(frames[0], format, save_all=True, append_images=frames[1:])


PHOTO = Image.fromarray(crop())
SHOWN = {  # what a viewer would show: width, height
    "cmyk": (encoded(PHOTO.convert("CMYK"), "JPEG"), (32, 64)),
    "sixteen bits": (encoded(Image.fromarray(crop()[..., 0].astype(np.uint16) * 257), "PNG"), (32, 64)),
    "palette": (encoded(PHOTO.convert("P"), "PNG", transparency=3), (32, 64)),
    "grey with alpha": (encoded(PHOTO.convert("LA"), "PNG"), (32, 64)),
    "bilevel": (encoded(PHOTO.convert("1"), "TIFF"), (32, 64)),
    "turned by EXIF": (rotated(), (64, 32)),
    "animated GIF": (animated("GIF"), (32, 64)),
    "animated PNG": (animated("PNG"), (32, 64)),
    "of one pixel": (encoded(Image.new("RGB", (1, 1)), "PNG"), (1, 1)),
}
REFUSED = {
    "empty": (b"", "empty file"),
    "a web page": (b"<html>404 Not Found</html>", "not an image"),
    "truncated": (encoded(PHOTO, "JPEG")[:-300], "damaged image: .*truncated"),
    "40,000 pixels square": (header_of(40_000, 40_000), "more than 64 megapixels"),
    "40,000 pixels wide": (header_of(40_000, 64), "40000x64 pixels: a side exceeds 16,384"),
    "100 megapixels": (header_of(10_000, 10_000), "exceed 64 megapixels"),
}


@ALL
def test_pictures_of_any_kind_are_shown_and_bad_ones_keep_their_row_with_the_reason(tree, tmp_path):
    source, record, file = drawn(tree, tmp_path)
    for kind, (data, size) in SHOWN.items():
        file.write_bytes(data)
        row = row_of(source, record)
        assert (kind, row["width"], row["height"], row["image"] is not None) == (kind, *size, True)
        assert row["verdict"] == "pass" or kind == "of one pixel"
    for kind, (data, reason) in REFUSED.items():
        file.write_bytes(data)
        row = row_of(source, record)
        assert (kind, row["verdict"], row["image"]) == (kind, "error", None)
        assert re.search(reason, row["reason"]), kind


@ALL
def test_what_is_not_a_file_of_the_data_set_is_never_opened(tree, tmp_path):
    source, record, file = drawn(tree, tmp_path)
    outside = tmp_path / "outside.jpg"
    file.rename(outside)
    assert row_of(source, record)["reason"] == "file is missing"
    file.symlink_to(outside)
    assert row_of(source, record)["reason"] == "link leaves the data set's folder"
    file.unlink()
    file.symlink_to(file)
    assert row_of(source, record)["reason"] == "file is missing"
    file.unlink()
    os.mkfifo(file)
    assert row_of(source, record)["reason"] == "is no file"
    file.unlink()
    file.mkdir()
    assert row_of(source, record)["reason"] == "is no file"


@ALL
def test_links_inside_the_data_set_are_followed(tree, tmp_path):
    source, record, file = drawn(tree, tmp_path)
    kept = file.with_name(f"kept{file.suffix}")
    file.rename(kept)
    file.symlink_to(kept)
    assert row_of(source, record)["verdict"] == "pass"


@ALL
def test_two_files_of_one_sample_id_are_named_or_one_is_in_no_list(tree, tmp_path, run):
    source, _, file = drawn(tree, tmp_path)
    before = sum(1 for split in source.splits() for _ in source.records(split))
    twin = file.with_suffix(".webp")
    twin.write_bytes(encoded(PHOTO, "WEBP"))
    told = ""
    try:
        manifest = ingest(tmp_path / "m", source.name, {"root": str(source.root), **TREES[tree][1]}, run=run)
    except UserError as error:
        told = str(error)
    else:
        assert sum(size.rows for size in manifest.info.splits.values()) == before
    assert not told or ("sample id" in told and twin.name in told)


@ALL
def test_verify_names_the_bad_file(tree, tmp_path, run):
    source, record, file = drawn(tree, tmp_path)
    file.write_bytes(b"<html>")
    _, parameters = TREES[tree]
    found = verify(tree.split(",")[0], {"root": str(source.root), **parameters}, run=run)
    (problem,) = (p for p in found.problems if p.check == "files")
    assert problem.says == f"1 file can't be read (not an image): {record.source_path}"
    assert "layout" not in {p.check for p in found.problems}
    assert found.splits


def test_names_that_no_table_can_hold_are_counted(tmp_path):
    write_image(tmp_path / "good.jpg")
    bad = os.fsencode(tmp_path) + b"/\xff\xfe.jpg"
    shutil.copy(tmp_path / "good.jpg", bad)
    (tmp_path / "folder").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")).mkdir()
    listed = listing.image_files(tmp_path)
    assert listed.files == ("good.jpg",)
    assert listed.skipped == {
        "folder whose name is not UTF-8, not entered": 1,
        "image whose name is not UTF-8": 1,
    }


def test_links_in_a_circle_end(tmp_path):
    write_image(tmp_path / "a" / "good.jpg")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a" / "self")
    listed = listing.image_files(tmp_path)
    assert listed.files == ("a/good.jpg",)
    assert listed.skipped == {"linked folder, not entered": 1, "no image file (by its extension)": 1}


@pytest.mark.parametrize(
    "path", ["\ud800.jpg", "a\x00b.jpg", "C:\\a.jpg", "\\\\server\\a.jpg", "..\\a.jpg", " ", ".", "./"]
)
def test_paths_that_are_none(path):
    assert listing.relative_problem(path) is not None


def test_a_manifest_and_its_sheet_of_nothing_but_odd_pictures(tmp_path, run):
    """Names with line breaks, pictures of every kind: all on one sheet."""
    root = tmp_path / "data"
    root.mkdir()
    kinds = {**{kind: data for kind, (data, _) in SHOWN.items()}, **{kind: data for kind, (data, _) in REFUSED.items()}}
    kinds["a strip"] = encoded(Image.new("RGB", (16_000, 3), "green"), "PNG")
    lines = ["path,pid,caption"]
    for pid, (kind, data) in enumerate(kinds.items()):
        name = f"{pid}_{kind.replace(' ', '-').replace(',', '')}.jpg"
        (root / name).write_bytes(data)
        lines.append(f'{name},{pid},"{"w" * 300} \t\x07 émigré 人 {kind}"')
    (root / "with\nbreak.jpg").write_bytes(SHOWN["cmyk"][0])
    lines.append('"with\nbreak.jpg",99,"A line\nand another."')
    (root / "rows.csv").write_text("\n".join(lines), encoding="utf-8")
    manifest = ingest(tmp_path / "m", "folder", {"root": str(root), "csv": "rows.csv", "called": "odd"}, run=run)
    assert validate(tmp_path / "m") == []
    assert manifest.tables["rgb"].counts["train"]["pass"] >= len(SHOWN)
    sheet = preview(manifest, tmp_path / "sheet.png", rows=len(kinds) + 1, split=None, seed=0)
    with Image.open(sheet) as drawn_sheet:
        assert drawn_sheet.width < 3000
        right = np.asarray(drawn_sheet.convert("RGB"))[:, -20:]
    assert (right == right[0, 0]).all()  # nothing runs over the edge, not even a word of 300 letters
