"""Aligned pairs: where they come from, which are held out, and what is told of those that are none."""

from __future__ import annotations

import errno
import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import layouts
import numpy as np
import pytest
from fixtures import write_image
from PIL import Image
from tiny_weights import generator
from translator_fixtures import pair_folders
from typer.testing import CliRunner

from reidsynth.cli import app
from reidsynth.engines import LocalEngine
from reidsynth.errors import UserError
from reidsynth.images import decode
from reidsynth.ingest import ingest
from reidsynth.jobs import Run
from reidsynth.pipeline import run_step
from reidsynth.policy import Policy
from reidsynth.translator import origins, prepared
from reidsynth.translator.origins import FolderPairs, LlvipPairs, ManifestPairs, Stated
from reidsynth.translator.pairs import Pair, collect, hold_out
from reidsynth.translator.prepared import fitted, prepare

NIR = Stated(spectrum="nir")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    run = Run(LocalEngine(1), progress=False)
    return ingest(tmp_path_factory.mktemp("world") / "demo", "demo", {"train": 8, "val": 2, "test": 0}, run=run)


def people(pairs):
    return {pair.name.rpartition("/")[2][:4] for _, pair in pairs}


def test_people_are_held_out_whole_and_the_draw_is_the_seeds(tmp_path):
    photos, targets = pair_folders(tmp_path)
    folders = FolderPairs(photos, targets, target="ir", stated=NIR, pattern="{pid}_c{camid}_{_}", held_out=0.3)
    found = collect([folders], seed=0)
    assert (len(found.learned), len(found.held_out)) == (12, 6)
    assert not people(found.learned) & people(found.held_out)
    assert people(found.held_out) == people(collect([folders], seed=0).held_out)
    draws = {frozenset(people(collect([folders], seed=seed).held_out)) for seed in range(5)}
    assert len(draws) > 1
    assert (found.spectrum, found.background, found.names) == ("nir", "keep", ("visible+infrared",))


def test_without_a_pattern_files_are_held_out(tmp_path):
    photos, targets = pair_folders(tmp_path, people=5, views=2)
    found = collect([FolderPairs(photos, targets, target="ir", stated=NIR)], seed=0)
    assert (len(found.learned), len(found.held_out)) == (9, 1)


def test_one_person_cannot_be_held_out():
    with pytest.raises(UserError, match="shows one person"):
        hold_out([Pair("a", "1", "", None), Pair("b", "1", "", None)], 0.1, 0, "the folder")


def test_files_without_a_partner_are_counted_and_pairs_of_other_shapes_fail(tmp_path):
    photos, targets = pair_folders(tmp_path)
    (targets / "0000_c1_0.bmp").unlink()
    Image.new("L", (24, 24)).save(targets / "0001_c1_0.bmp")
    (photos / "0002_c1_0.png").write_bytes((photos / "0002_c1_0.png").read_bytes()[:200])
    found = collect([FolderPairs(photos, targets, target="ir", stated=NIR)], seed=0)
    assert found.dropped == {"visible+infrared": {"photograph without a partner": 1}}
    with pytest.raises(UserError, match=r"2 of 17 pairs can't be used .*different shapes \(24x48 and 24x24\)"):
        prepare(found, (32, 16), tmp_path / "run", held_out_limit=99, quiet=True)
    assert list((tmp_path / "run").iterdir()) == []


def test_data_with_nothing_to_hold_out_are_told_without_blaming_files(tmp_path):
    photos, targets = pair_folders(tmp_path, people=4, views=1)
    found = collect([FolderPairs(photos, targets, target="ir", stated=NIR)], seed=0)
    with pytest.raises(UserError, match="3 pairs are given, and none of them is one to hold out"):
        prepare(replace(found, held_out=[]), (32, 16), tmp_path / "run", held_out_limit=9, quiet=True)


def test_a_full_disk_keeps_no_pairs(tmp_path, monkeypatch):
    photos, targets = pair_folders(tmp_path, people=4, views=1)
    found = collect([FolderPairs(photos, targets, target="ir", stated=NIR)], seed=0)

    def full(*_arguments, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(prepared, "_fitted_pair", full)  # runs while the file is open
    with pytest.raises(UserError, match=r"no space is left to write .*learned\.bin"):
        prepare(found, (32, 16), tmp_path / "run", held_out_limit=9, quiet=True)
    assert list((tmp_path / "run").iterdir()) == []


def test_pairs_are_prepared_once_and_again_when_a_file_changes(tmp_path):
    photos, targets = pair_folders(tmp_path, people=4, views=1)
    folders = FolderPairs(photos, targets, target="ir", stated=NIR)
    made = prepare(collect([folders], 0), (32, 16), tmp_path / "run", held_out_limit=9, quiet=True)
    assert made.learned.shape == (3, 4, 32, 16)
    assert made.held_out.shape == (1, 4, 32, 16)
    one = collect([folders], 0).learned[1]
    photo, target = one[0].read(one[1])
    assert np.array_equal(made.learned[1, :3], fitted(photo, (32, 16)).transpose(2, 0, 1))
    assert np.array_equal(made.learned[1, 3], fitted(target, (32, 16)))
    file = tmp_path / "run/pairs/learned.bin"
    written = file.stat().st_mtime_ns
    again = prepare(collect([folders], 0), (32, 16), tmp_path / "run", held_out_limit=9, quiet=True)
    assert (again.key, file.stat().st_mtime_ns) == (made.key, written)
    write_image(photos / "0000_c1_0.png", seed=77)
    Image.open(photos / "0000_c1_0.png").resize((24, 48)).save(photos / "0000_c1_0.png")
    other = prepare(collect([folders], 0), (32, 16), tmp_path / "run", held_out_limit=9, quiet=True)
    assert other.key != made.key


def test_pairs_that_a_kill_left_half_prepared_are_made_again(tmp_path):
    photos, targets = pair_folders(tmp_path, people=4, views=1)
    found = collect([FolderPairs(photos, targets, target="ir", stated=NIR)], 0)
    whole = prepare(found, (32, 16), tmp_path / "whole", held_out_limit=9, quiet=True)
    (tmp_path / "killed/pairs").mkdir(parents=True)
    (tmp_path / "killed/pairs/learned.bin").write_bytes(b"half a pair")
    made = prepare(found, (32, 16), tmp_path / "killed", held_out_limit=9, quiet=True)
    assert np.array_equal(made.learned, whole.learned)
    assert np.array_equal(made.held_out, whole.held_out)


def test_llvip_learns_from_its_crops_and_holds_out_other_scenes(tmp_path):
    root = layouts.llvip(tmp_path)
    found = collect([LlvipPairs(root)], seed=0)
    assert (len(found.learned), len(found.held_out)) == (4, 1)  # one image shows two people
    assert not {pair.group for _, pair in found.learned} & {pair.group for _, pair in found.held_out}
    assert (found.spectrum, found.terms.egress) == ("lwir", False)
    assert "non-commercial" in found.terms.licence
    photo, target = found.learned[0][0].read(found.learned[0][1])
    assert photo.shape == (*target.shape, 3) == (56, 10, 3)
    assert len(collect([LlvipPairs(root, "pairs")], seed=0).learned) == 3


def test_a_manifest_gives_pairs_of_one_row_with_its_terms(demo):
    found = collect([ManifestPairs(demo.path, target="ir", held_out=0.25)], seed=0)
    assert (len(found.learned), len(found.held_out)) == (24, 8)
    groups = [{pair.group for _, pair in side} for side in (found.learned, found.held_out)]
    assert not groups[0] & groups[1]
    assert len(groups[1]) == 2
    assert (found.spectrum, found.terms.licence) == ("nir", "Apache-2.0")
    one, pair = found.learned[5]
    photo, target = one.read(pair)
    split, row = pair.key
    assert demo.table("captures", split)[row]["sample_id"] == pair.name
    assert np.array_equal(photo, decode(demo.table("rgb", split)[row]["image"]["bytes"]))
    assert np.array_equal(target, decode(demo.table("ir", split)[row]["image"]["bytes"])[..., 0])
    val = collect([ManifestPairs(demo.path, target="ir", held_out="val")], seed=0)
    assert (len(val.learned), len(val.held_out)) == (32, 8)


def test_sketches_are_learned_from_photographs_without_background(demo):
    kept = collect([ManifestPairs(demo.path, target="sketch")], seed=0)
    erased = collect([ManifestPairs(demo.path, target="sketch", background="remove")], seed=0)
    assert (kept.spectrum, kept.background, erased.background) == (None, "keep", "remove")
    one, pair = erased.learned[0]
    photo = one.read(pair)[0]
    assert (photo[:3] == 255).all()  # above the head
    assert not (kept.learned[0][0].read(pair)[0][:3] == 255).all()
    sets = [ManifestPairs(demo.path, target="sketch", background=background) for background in ("keep", "remove")]
    with pytest.raises(UserError, match=r"erased in some pairs only \(demo: keep, demo: remove\)"):
        collect(sets, seed=0)


def test_of_several_made_masks_one_is_named(demo):
    made = {f"mask-{name}": SimpleNamespace(modality="mask", step="made") for name in ("grabcut", "u2net")}
    tables = {**demo.tables, **made}
    several = SimpleNamespace(path=demo.path, tables=tables)
    with pytest.raises(UserError, match="holds several mask tables: mask-grabcut, mask-u2net; name one with --mask"):
        origins._mask(several, None)
    assert origins._mask(several, "mask-u2net") == "mask-u2net"
    assert origins._mask(demo, None) == "mask"


def test_terms_of_a_step_that_made_the_targets_go_along(demo, run, tmp_path):
    copy = shutil.copytree(demo.path, tmp_path / "copy")
    made = run_step(copy, "build-ir", "gan", {"model": str(generator(tmp_path / "gan"))}, run=run)
    found = collect([ManifestPairs(made.path, target="ir", table="ir-gan")], seed=0)
    assert found.terms.licence == "Apache-2.0; CC-BY-NC-4.0"
    assert found.terms.release_of("ir", "synthetic") == "gated"


def test_several_sets_must_be_of_one_spectrum(demo, tmp_path):
    photos, targets = pair_folders(tmp_path / "a", people=3)
    nir = FolderPairs(photos, targets, target="ir", stated=Stated("nir", "a", "CC-BY-4.0", "public"))
    both = collect([ManifestPairs(demo.path, target="ir"), nir], seed=0)
    assert both.names == ("demo", "a")
    assert both.terms.licence == "Apache-2.0; CC-BY-4.0"
    lwir = FolderPairs(photos, targets, target="ir", stated=Stated("lwir", "a"))
    with pytest.raises(UserError, match=r"several spectra \(demo: nir, a: lwir\)"):
        collect([ManifestPairs(demo.path, target="ir"), lwir], seed=0)
    assert Policy.from_dict(both.terms.as_dict()) == both.terms


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--manifest", "{demo}", "--split", "nowhere"], "has no split 'nowhere': it holds train, val"),
        (["--manifest", "{demo}", "--table", "ir-gan"], "has no ir table 'ir-gan': it holds ir"),
        (["--manifest", "{demo}", "--held-out", "train"], "'train' is the split to learn from"),
        (["--llvip", "{empty}", "--held-out", "0.2"], "of LLVIP its split test is held out"),
        (["--manifest", "{demo}", "--held-out", "1.5"], "--held-out 1.5 is no share"),
        (["--manifest", "{demo}", "--set", "height=100"], "must be multiples of 2^downs = 128"),
        (["--manifest", "{demo}", "--set", "seed=-1"], "parameter 'seed': input should be greater than or equal to 0"),
        (["--manifest", "{demo}", "--set", "channel=3"], "unknown parameter 'channel'"),
        (["--manifest", "{demo}", "--set", "batch_size=999"], "don't fill a batch of 999"),
        (["--manifest", "{demo}", "--target", "text"], "--target 'text' is not known: it is one of ir, sketch"),
        (["--photos", "{photos}"], "--photos and --images go together"),
        (["--photos", "{photos}", "--images", "{images}"], "--spectrum is missing: say nir"),
        (["--photos", "{photos}", "--images", "{images}", "--spectrum", "uv"], "--spectrum 'uv' is not known"),
        (["--photos", "{photos}", "--images", "{empty}", "--spectrum", "nir"], "holds no images"),
        (["--photos", "{photos}", "--images", "{other}", "--spectrum", "nir"], "has a partner of the same name"),
        (["--photos", "{photos}", "--images", "{images}", "--spectrum", "nir", "--pattern", "x"], "names no {pid}"),
        (["--photos", "{photos}", "--images", "{empty}/no", "--spectrum", "nir"], "does not exist"),
        (["--llvip", "{empty}"], "is not LLVIP"),
        (["--llvip", "{empty}", "--target", "sketch"], "LLVIP holds infrared images, no sketches"),
        (["--llvip", "{empty}", "--background", "remove"], "needs masks, which only a manifest holds"),
        (["--llvip", "{empty}", "--table", "ir"], "--table tells of pairs from --manifest, which is not given"),
        (["--manifest", "{demo}", "--view", "pairs"], "--view tells of pairs from --llvip, which is not given"),
        (
            ["--manifest", "{demo}", "--spectrum", "nir", "--licence", "CC0"],
            "--spectrum, --licence tells of pairs from --photos, which is not given",
        ),
        (["--manifest", "{demo}", "--target", "sketch", "--spectrum", "nir"], "--spectrum is of infrared images"),
        (["--manifest", "{demo}", "--mask", "mask"], "--mask is read to erase the background only"),
        ([], "no pairs are given"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_stays(arguments, told, demo, tmp_path):
    photos, images = pair_folders(tmp_path, people=3)
    (tmp_path / "empty").mkdir()
    write_image(tmp_path / "other/z.png")
    places = {"demo": demo.path, "photos": photos, "images": images, "empty": tmp_path / "empty"}
    places["other"] = tmp_path / "other"
    given = [argument.format(**places) for argument in arguments]
    result = CliRunner().invoke(app, ["train-ir-gan", *given, "--out", str(tmp_path / "run")])
    assert result.exit_code == 2, result.output
    assert told in result.stderr
    assert result.stderr.startswith("error: ")
    assert not (tmp_path / "run").exists()


def test_images_of_one_person_in_two_rows_are_no_pair(run, tmp_path):
    made = ingest(tmp_path / "m", "sysu-mm01", {"root": str(layouts.sysu_mm01(tmp_path / "t"))}, run=run)
    with pytest.raises(UserError, match="images of one person from two cameras are none"):
        collect([ManifestPairs(made.path, target="ir")], seed=0)


def test_people_seen_once_are_held_out_by_camera(run, tmp_path):
    made = ingest(tmp_path / "m", "llvip", {"root": str(layouts.llvip(tmp_path / "t")), "view": "crops"}, run=run)
    found = collect([ManifestPairs(made.path, target="ir", held_out=0.5)], seed=0)
    groups = [{pair.group for _, pair in side} for side in (found.learned, found.held_out)]
    assert sorted(map(len, groups)) == [1, 1]
    assert all("camera" in group for side in groups for group in side)
    assert json.dumps(found.terms.as_dict())
