"""What made tables are worth: numbers worked out by hand, the card that holds them, what goes wrong."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from reidsynth.cli import app
from reidsynth.errors import UserError
from reidsynth.ingest import ingest
from reidsynth.manifest import open_manifest
from reidsynth.measurements import Measurement, Numbers, joined
from reidsynth.page import write_report
from reidsynth.pipeline import run_step
from reidsynth.quality.acceptance import MOST_OF_A_PERSON, Acceptance, few, sample_people, summarised
from reidsynth.quality.distances import measured
from reidsynth.quality.encoders import Encoder
from reidsynth.quality.measuring import Questions, measure, record
from reidsynth.quality.paired import compare
from reidsynth.quality.ranking import rank_scores
from reidsynth.quality.samples import drawn
from reidsynth.selection import Selection, select
from reidsynth.validate import validate

WORLD = {"train": 3, "val": 0, "test": 10, "height": 64, "width": 32}


@pytest.fixture(scope="session")
def drawn_world(tmp_path_factory):
    """Ten people of the drawn world with everything but captions made, to be copied."""
    from reidsynth.engines import LocalEngine
    from reidsynth.jobs import Run

    out, one = tmp_path_factory.mktemp("quality") / "m", Run(LocalEngine(1), progress=False)
    ingest(out, "demo", WORLD, run=one)
    run_step(out, "remove-background", "grabcut", {}, run=one)
    run_step(out, "build-sketch", "lineart-standard", {}, run=one)
    run_step(out, "build-ir", "channel-augmentation", {}, run=one)
    return out


@pytest.fixture
def world(drawn_world, tmp_path):
    return shutil.copytree(drawn_world, tmp_path / "m")


def call(*arguments, code=0):
    result = CliRunner().invoke(app, ["quality", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


# --- pairs ---------------------------------------------------------------------------------------------------------


def test_psnr_ssim_and_iou_by_hand():
    flat = np.full((32, 16), 100.0)
    assert compare(flat, flat) == {"psnr": 100.0, "ssim": pytest.approx(1.0)}
    assert compare(flat + 10, flat)["psnr"] == pytest.approx(20 * np.log10(25.5))
    c = (0.01 * 255) ** 2  # of two flat images only the luminance term of SSIM is left
    assert compare(flat + 10, flat)["ssim"] == pytest.approx((2 * 110 * 100 + c) / (110**2 + 100**2 + c))
    one, other = np.zeros((20, 20)), np.zeros((20, 20))
    one[:10], other[5:15] = 255, 255
    assert compare(one, other, mask=True)["iou"] == pytest.approx(5 / 15)
    assert compare(0 * one, 0 * one, mask=True)["iou"] == 1.0


def test_ssim_equals_windows_one_by_one():
    rng = np.random.default_rng(0)
    made, real = rng.integers(0, 256, (2, 16, 14)).astype(np.float64)
    window = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(window, window) / np.outer(window, window).sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for y in range(6):
        for x in range(4):
            a, b = made[y : y + 11, x : x + 11], real[y : y + 11, x : x + 11]
            ma, mb = (window * a).sum(), (window * b).sum()
            va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
            cov = (window * (a - ma) * (b - mb)).sum()
            values.append((2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2)))
    assert compare(made, real)["ssim"] == pytest.approx(np.mean(values))


def test_pairs_stand_beside_baselines_on_the_same_rows(world):
    found = measure(open_manifest(world), Questions(rows=12), progress=False)
    by_table = {one.table: one for one in found.measurements}
    assert set(by_table) == {"ir-ca", "mask-grabcut", "sketch-lineart-standard"}
    infrared = by_table["ir-ca"]
    assert [part.name for part in infrared.beside] == ["luminance", "inverted luminance", "mean ir image of train"]
    assert {part.n for part in (infrared.found, *infrared.beside)} == {12}
    assert set(by_table["mask-grabcut"].found.values) == {"psnr", "ssim", "iou"}
    assert by_table["sketch-lineart-standard"].beside[0].name == "white page"
    assert [note.split(" were")[0].split(" was")[0] for note in found.notes] == [
        "distances to real images",
        "the acceptance test",
    ]
    again = measure(open_manifest(world), Questions(rows=12), progress=False)
    assert again == found
    assert measure(open_manifest(world), Questions(rows=12, seed=1), progress=False) != found


def test_rows_are_drawn_by_their_names_not_their_order():
    ids = [f"a/{n}" for n in range(50)]
    whole = drawn(np.arange(50), ids, 10, 0)
    turned = drawn(np.arange(50), ids[::-1], 10, 0)
    assert {ids[n] for n in whole} == {ids[::-1][n] for n in turned}
    assert set(drawn(np.arange(50), ids, 5, 0)) <= set(whole)


# --- distances -----------------------------------------------------------------------------------------------------


def test_frechet_distance_of_gaussians_is_known():
    rng = np.random.default_rng(0)
    first = rng.normal(size=(4000, 3))
    first = (first - first.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(first.T)).T)  # covariance one, exactly
    second = first * [1.0, 2.0, 1.0] + [3.0, 0.0, 0.0]
    found = measured("a", first, second, 0)
    assert found.values["frechet"] == pytest.approx(3.0**2 + (2.0 - 1.0) ** 2, abs=1e-3)  # |mean|^2 + (s1 - s2)^2


def test_kernel_distance_is_nought_within_a_distribution_and_repeats():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 300, 8))
    same, other = measured("a", first, second, 0), measured("a", first, second + 1, 0)
    assert abs(same.values["kernel"]) < 3 * same.spread["kernel"]
    assert other.values["kernel"] > 20 * other.spread["kernel"] / np.sqrt(50)
    assert other.values["kernel"] > 10 * abs(same.values["kernel"])
    assert measured("a", first, second, 0) == same


def colours(size=(8, 4)):
    """An encoder without weights: mean colours of the image's quarters."""

    def vision(images):
        import torch.nn.functional as F

        return F.adaptive_avg_pool2d(images, (2, 2)).flatten(1)

    return Encoder("colours", size, (0.0,) * 3, (1.0,) * 3, vision)


def test_distances_stand_beside_bounds_and_name_few_images(world, monkeypatch):
    monkeypatch.setattr("reidsynth.quality.encoders.build_encoder", lambda *_, **__: colours())
    asked = Questions(features="colours", tables=("ir-ca",))
    (found,) = [one for one in measure(open_manifest(world), asked, progress=False).measurements if one.network]
    assert (found.kind, found.against, found.found.n) == ("distance", "ir", 40)
    halves, photographs = found.beside
    assert halves.n == 20
    assert halves.values["frechet"] < found.found.values["frechet"]
    assert photographs.name == "photographs as they are"
    assert found.warnings[0].startswith("40 images: the Frechet distance is biased upward on few")


def test_a_network_that_gives_no_numbers_is_one_sentence(world, monkeypatch):
    broken = replace(colours(), vision=lambda images: images.flatten(1) * float("nan"))
    monkeypatch.setattr("reidsynth.quality.encoders.build_encoder", lambda *_, **__: broken)
    told = call(world, "--features", "broken", "--table", "ir-ca", code=2).output
    assert "colours gives features that are no finite numbers for 40 of 40 rows" in told
    assert open_manifest(world).info.quality == ()


def test_a_reference_in_another_manifest(world, tmp_path, run, monkeypatch):
    monkeypatch.setattr("reidsynth.quality.encoders.build_encoder", lambda *_, **__: colours())
    ingest(tmp_path / "other", "demo", WORLD | {"seed": 7, "train": 6, "test": 0}, run=run, title="others")
    asked = Questions(features="colours", references=(f"{tmp_path / 'other'}:ir",), tables=("ir-ca",))
    (found,) = [o for o in measure(open_manifest(world), asked, progress=False).measurements if o.kind == "distance"]
    assert (found.against, found.found.about.split(";")[0]) == ("others:ir", "against 24")
    assert set(found.made_from) == {"captures", "ir-ca"}
    others = tuple(f"{tmp_path / 'other'}:{table}" for table in ("mask", "sketch"))
    notes = measure(open_manifest(world), replace(asked, references=others), progress=False).notes
    assert "the reference others:mask was not used: masks have no distances" in notes
    assert "the reference others:sketch was not used: no made table of sketch was measured" in notes
    assert found.beside[0].n == 12  # no more than half of the reference; never more than the table has


# --- acceptance ----------------------------------------------------------------------------------------------------


def test_people_are_drawn_by_role_and_number(world):
    manifest = open_manifest(world)
    sample = sample_people(manifest, "test", people=4, seed=0)
    captures = manifest.captures("test").to_pydict()
    assert sample.count == 4
    assert len({captures["pid"][row] for row in sample.asking}) == 4
    assert {captures["role"][row] for row in sample.asking} == {"query"}
    assert {captures["role"][row] for row in sample.searched} == {"gallery"}
    larger = sample_people(manifest, "test", people=7, seed=0)
    assert set(sample.asking) < set(larger.asking)
    train = sample_people(manifest, "train", people=9, seed=0)  # everybody asks and is searched
    assert (train.count, train.asking.tolist()) == (3, train.searched.tolist())
    assert len(train.asking) <= 3 * MOST_OF_A_PERSON


def test_a_search_with_the_photographs_themselves_leaves_the_source_out(world):
    manifest = open_manifest(world)
    searches = Acceptance(manifest, "train", colours(), people=9, seed=0, progress=False)
    found, chance = searches.found("rgb")
    assert found.n == 12  # 3 people with 4 photographs each: every one asks, 3 of its person are left
    assert chance.values["R1"] == pytest.approx(3 / 11)  # not 4 / 12: the photograph that asks is not searched
    assert 0 < found.values["mAP"] < 1


def test_an_encoder_that_knows_the_person_finds_everybody(world):
    manifest = open_manifest(world)

    class Told(Acceptance):
        def _seen(self, table, rows):
            return np.eye(10)[self.sample.people[rows]]

    found, chance = Told(manifest, "test", colours(), people=10, seed=0, progress=False).found("ir-ca")
    assert (found.values, found.about) == ({"R1": 1.0, "mAP": 1.0}, "of 10 people")
    assert chance.values["R1"] == pytest.approx(0.1)


def test_standard_error_counts_people_not_queries():
    hits = np.eye(4, dtype=bool)[[0, 0, 1, 1]]
    scores = np.array([[1.0, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]])
    ranked = rank_scores(scores, hits, np.zeros_like(hits))
    found, _ = summarised("t", ranked, np.array([0, 0, 1, 1]))
    assert found.values["R1"] == 0.5
    assert found.spread["R1"] == pytest.approx(0.5)  # of two people, one found and one not: sqrt(.5 / 2)
    assert summarised("t", ranked, np.zeros(4, int))[0].spread == {}  # one person: nobody knows
    assert few(found, 2) == ("2 people with 4 queries are few: another sample may give quite other numbers",)
    assert few(found, 50) == ()
    apart, _ = summarised("t", ranked, np.arange(4))
    assert apart.spread["R1"] == pytest.approx(np.sqrt(0.25 / 3))


# --- the card ------------------------------------------------------------------------------------------------------


def test_the_card_keeps_numbers_and_marks_them_when_a_table_changes(world, run):
    told = call(world, "--rows", 9).output
    assert "PSNR (dB)" in told
    assert "note: the acceptance test was not run: name a frozen encoder with --encoder" in told
    card = (world / "README.md").read_text()
    assert "## Quality" in card
    assert "| luminance | 9 |" in card
    assert validate(world) == []
    run_step(world, "caption", "template", {}, run=run)
    ingest(world, "demo", WORLD, run=run)
    assert len(open_manifest(world).info.quality) == 3
    assert "stale" not in (world / "README.md").read_text()
    run_step(world, "build-ir", "channel-augmentation", {"seed": 5}, run=run)
    changed = (world / "README.md").read_text()
    assert changed.count("stale: ir-ca changed since") == 1
    assert validate(world) == []
    page = write_report(open_manifest(world), world.parent / "report.html", rows=0, rejects=0).read_text()
    assert "Against the real modality of the same captures" in page
    assert page.count("stale: ir-ca changed since") == 1
    call(world, "--rows", 9, "--table", "ir-ca")
    assert "stale" not in (world / "README.md").read_text()
    assert len(open_manifest(world).info.quality) == 3


def test_numbers_of_other_rows_do_not_go_with_a_selection(world, tmp_path):
    call(world, "--rows", 4)
    whole = select(open_manifest(world), Selection(tables=["rgb", "ir", "ir-ca"]), tmp_path / "whole")
    assert {one.table for one in whole.info.quality} == {"ir-ca"}
    assert "stale" not in (whole.path / "README.md").read_text()
    some = select(open_manifest(world), Selection(identities=3), tmp_path / "some")
    assert some.info.quality == ()


def test_no_card_leaves_the_manifest_as_it_is(world):
    before = {path.name: path.read_bytes() for path in (world / "README.md", world / "manifest.json")}
    values = json.loads(call(world, "--rows", 5, "--no-card", "--json").stdout)
    assert {one["table"] for one in values["measurements"]} == {"ir-ca", "mask-grabcut", "sketch-lineart-standard"}
    assert before == {name: (world / name).read_bytes() for name in before}


def test_numbers_of_tables_that_changed_meanwhile_are_not_written(world, run):
    found = measure(open_manifest(world), Questions(rows=4, tables=("ir-ca",)), progress=False)
    run_step(world, "build-ir", "channel-augmentation", {"seed": 5}, run=run)
    with pytest.raises(UserError, match="was changed while it was measured"):
        record(world, found.measurements)
    assert open_manifest(world).info.quality == ()


def test_a_new_answer_takes_the_place_of_the_old_one():
    def one(kind, table, value):
        return Measurement(
            kind=kind, table=table, against="ir", split="test", found=Numbers(name=table, n=1, values={"psnr": value})
        )

    old = (one("paired", "ir-ca", 1.0), one("distance", "ir-ca", 2.0))
    assert [m.found.values["psnr"] for m in joined(old, (one("paired", "ir-ca", 3.0),))] == [3.0, 2.0]


# --- what goes wrong -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--split", "nowhere"), "has no split 'nowhere': it holds train, test"),
        (("--table", "ir"), "has no made table 'ir': made by steps are ir-ca"),
        (("--rows", "1"), "--rows is 1: it must be at least 2"),
        (("--seed", "-1"), "--seed is -1: it must be at least 0"),
        (("--seed", str(2**70)), "it must be at least 0 and less than 2^63"),
        (("--features", "inception"), "--features 'inception' is neither a folder nor the name of a network"),
        (("--features", "timm:nonesuch"), "timm has no network 'nonesuch'"),
        (("--features", "timm:inception_v3:no.safetensors"), "the weights 'no.safetensors' do not exist"),
        (("--encoder", "ViT-B-16:nothing"), "is neither a file nor weights published of ViT-B-16"),
        (("--encoder", "ViT-Q:file.bin"), "open_clip has no architecture 'ViT-Q'"),
        (
            ("--features", "timm:test_vit", "--device", "tpu"),
            "--device 'tpu' is not known: it is one of auto, cpu, cuda",
        ),
        (("--reference", "ir"), "--reference 'ir' is not valid: write MANIFEST:table"),
        (("--reference", "{world}:ir", "--reference", "{world}:ir"), "is the second one of ir: give one for each"),
        (("--reference", "{world}:ir-ca"), "table 'ir-ca' of {world} is synthetic ir: name real images"),
        (("--reference", "{world}:ir-gan"), "{world} has no table 'ir-gan': it holds ir, ir-ca, mask"),
    ],
)
def test_one_sentence_for_each_mistake(world, arguments, told):
    output = call(world, *(argument.format(world=world) for argument in arguments), code=2).output
    assert told.format(world=world) in output
    assert "Traceback" not in output
    assert open_manifest(world).info.quality == ()


def test_weights_that_are_not_there_are_asked_for(world, monkeypatch, tmp_path):
    monkeypatch.setattr("reidsynth.quality.encoders.unreachable", lambda: "no connection to the hub")
    for option, name in (("--features", "timm:inception_v3"), ("--encoder", "ViT-B-16:laion2b_s34b_b88k")):
        output = call(world, option, name, code=2).output
        assert f"the weights of {name} are not on this machine and can't be fetched (no connection" in output
        assert f"{name.split(':')[0]}:" in output.partition("elsewhere")[2]
    (tmp_path / "empty").mkdir()
    assert "lacks config.json and model.safetensors" in call(world, "--encoder", tmp_path / "empty", code=2).output
    (tmp_path / "empty" / "config.json").write_text("{}")
    (tmp_path / "empty" / "model.safetensors").write_bytes(b"no tensors")
    assert "can't be loaded" in call(world, "--encoder", tmp_path / "empty", code=2).output


def test_a_manifest_without_made_tables(tmp_path, run):
    ingest(tmp_path / "m", "demo", WORLD | {"test": 2, "train": 0}, run=run)
    assert "has no made table to measure" in call(tmp_path / "m", code=2).output
