from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from reidsynth import open_manifest
from reidsynth.audit import audit
from reidsynth.cli import app
from reidsynth.containment import CONTAINS
from reidsynth.errors import UserError
from reidsynth.fingerprints import distances, near_pairs, perceptual_hash
from reidsynth.images import decode, encode
from reidsynth.ingest import ingest
from reidsynth.sources import build_source


@pytest.fixture(scope="module")
def people():
    """Six drawn people, two photographs each: (person, observation) -> JPEG bytes."""
    source = build_source("demo", {"train": 6, "val": 0, "test": 0, "observations": 2})
    records = source.records("train")
    return {(number // 2, number % 2): source.read(record).images["rgb"] for number, record in enumerate(records)}


def again(data, quality=None, scale=1.0):
    """The same photograph encoded anew: as JPEG of another quality, or at another size as PNG."""
    image = Image.fromarray(decode(data))
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG" if quality else "PNG", **({"quality": quality} if quality else {}))
    return buffer.getvalue()


@pytest.fixture
def made(tmp_path, run):
    """Ingest files (split/pid_camera_number.ext -> bytes) as the data set of a name."""

    def make(called, files, folder=""):
        root = tmp_path / "raw" / (folder or called)
        for name, data in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        options = {"root": str(root), "pattern": r"(?P<split>\w+)/(?P<pid>\d+)_c(?P<camid>\d+)_.*", "called": called}
        return ingest(tmp_path / "manifests" / (folder or called), "folder", options, run=run)

    return make


def overlap_of(found, first, second):
    return next(one for one in found.overlaps if {one.first, one.second} == {first, second})


def test_photograph_encoded_at_another_quality_is_found_and_strangers_are_not(made, people, run):
    manifest = made(
        "crops",
        {
            "train/1_c1_a.jpg": people[0, 0],
            "train/2_c1_a.jpg": people[1, 0],
            "train/3_c1_a.jpg": people[2, 0],
            "test/7_c1_a.jpg": people[3, 0],
            "test/8_c2_a.jpg": again(people[0, 0], quality=50),  # under another person's number
            "test/9_c2_a.png": again(people[1, 0], scale=0.5),
        },
    )
    found = audit([manifest], run=run)
    overlap = overlap_of(found, "crops:train", "crops:test")
    assert (overlap.equal, overlap.near, overlap.people_shown, overlap.people) == ((0, 0), (2, 2), (2, 2), 0)
    assert overlap.leak
    pairs = {(match.first, match.second) for match in overlap.examples}
    assert len(pairs) == 2
    assert {tuple(sorted(pair)) for pair in pairs} == {
        ("crops/test/8_c2_a", "crops/train/1_c1_a"),
        ("crops/test/9_c2_a", "crops/train/2_c1_a"),
    }
    assert all(0 <= match.distance <= 15 for match in overlap.examples)
    assert [(part.near, part.equal) for part in found.parts] == [(0, 0), (0, 0)]


def test_equal_files_are_equal_and_not_near_as_well(made, people, run):
    first = made("one", {"train/1_c1_a.jpg": people[0, 0], "train/1_c2_b.jpg": people[0, 1]})
    second = made("two", {"test/5_c1_x.jpg": people[0, 0], "test/6_c1_y.jpg": people[4, 0]})
    overlap = overlap_of(audit([first, second], run=run), "one:train", "two:test")
    assert (overlap.equal, overlap.near, overlap.people, overlap.leak) == ((1, 1), (0, 0), 0, True)
    assert overlap.examples[0].distance is None
    assert overlap.examples[0].people == ("one:1", "two:5")


def test_person_in_training_and_test_of_one_data_set_is_a_leak(made, people, run):
    manifest = made("crops", {"train/4_c1_a.jpg": people[0, 0], "test/4_c2_a.jpg": people[1, 1]})
    overlap = audit([manifest], run=run).overlaps[0]
    assert (overlap.people, overlap.equal, overlap.near, overlap.leak) == (1, (0, 0), (0, 0), True)


def test_same_number_in_different_data_sets_is_nobody(made, people, run):
    first = made("one", {"train/4_c1_a.jpg": people[0, 0]})
    second = made("two", {"test/4_c2_a.jpg": people[1, 1]})
    overlap = audit([first, second], run=run).overlaps[0]
    assert (overlap.people, overlap.leak, overlap.empty) == (0, False, True)


def test_numbers_that_start_anew_in_the_test_are_nobody(made, people, run):
    # MSMT17 counts the people of its test from 0 again; those of train and val are the same on purpose
    files = {f"{split}/0_c1_a.jpg": people[number, 0] for number, split in enumerate(("train", "val", "test"))}
    found = audit([made("msmt17", files)], run=run)
    assert [overlap.people for overlap in found.overlaps] == [0, 0, 0]
    assert [overlap.people for overlap in audit([made("mine", files)], run=run).overlaps] == [1, 1, 1]


def test_contained_data_sets_are_named_though_no_image_is_shared(made, people, run):
    first = made("cuhk-pedes", {"train/1_c1_a.jpg": people[0, 0]})
    second = made("market1501", {"test/1_c1_a.jpg": people[1, 0]})
    third = made("market-sketch-1k", {"train/1_c1_a.jpg": people[2, 0]})
    found = audit([first, second, third], run=run)
    assert [overlap.on_record for overlap in found.overlaps] == [["market1501"]] * 3
    assert not found.leaks


def test_duplicates_labels_and_queries_within_a_split(made, people, run):
    manifest = made(
        "crops",
        {
            "query/1_c1_a.jpg": people[0, 0],
            "gallery/1_c2_a.jpg": people[0, 0],  # the query itself waits in the gallery
            "gallery/2_c1_a.jpg": people[1, 0],
            "gallery/3_c1_a.jpg": people[1, 0],  # one photograph, two people
            "gallery/4_c1_a.jpg": people[2, 0],
            "gallery/4_c2_a.jpg": again(people[2, 0], quality=60),
            "gallery/5_c2_a.jpg": people[3, 0],
        },
    )
    part = audit([manifest], run=run).parts[0]
    assert (part.images, part.equal, part.near, part.asked_and_searched, part.two_people) == (7, 2, 2, 1, 1)


def test_blank_and_broken_images_are_counted_and_match_nothing_by_hash(made, people, run):
    blank = [encode(np.full((64, 32, 3), value, np.uint8)) for value in (200, 201)]
    manifest = made(
        "crops",
        {
            "train/1_c1_a.png": blank[0],
            "train/2_c1_a.png": blank[1],
            "test/3_c1_a.png": blank[0],
            "test/4_c1_a.jpg": people[0, 0],
            "test/5_c1_a.jpg": people[0, 0][:200],
        },
    )
    found = audit([manifest], run=run)
    assert [(part.name, part.images, part.flat, part.near) for part in found.parts] == [
        ("crops:train", 2, 2, 0),
        ("crops:test", 2, 1, 0),
    ]
    assert found.overlaps[0].equal == (1, 1)


def test_two_workers_find_the_same(made, people, run):
    from reidsynth.engines import LocalEngine
    from reidsynth.jobs import Run

    manifest = made("crops", {f"train/{a}_c{b}_a.jpg": people[a, b] for a, b in people})
    with LocalEngine(2) as engine:
        assert audit([manifest], run=Run(engine, progress=False)) == audit([manifest], run=run)


def test_near_pairs_agree_with_comparing_all():
    rng = np.random.default_rng(3)
    hashes = rng.integers(0, 2**63, (120, 4), dtype=np.uint64)
    for number in range(60):  # copies with 1 to 20 bits flipped
        copy = hashes[number].copy()
        for bit in rng.choice(256, 1 + number % 20, replace=False).tolist():
            copy[bit // 64] ^= np.uint64(1) << np.uint64(bit % 64)
        hashes = np.concatenate([hashes, copy[None]])
    first, second = np.triu_indices(len(hashes), 1)
    for most in (0, 7, 15):
        near = distances(hashes[first], hashes[second]) <= most
        expected = np.stack([first[near], second[near]], axis=1)
        assert near_pairs(hashes, most).tolist() == expected.tolist()
    with pytest.raises(ValueError, match="0 to 15"):
        near_pairs(hashes, 16)


def test_hash_knows_a_copy_and_not_a_mirror(people):
    photo = decode(people[0, 0])
    copy, mirror = decode(again(people[0, 0], quality=75)), np.ascontiguousarray(photo[:, ::-1])

    def bits(a, b):
        return int(distances(perceptual_hash(a)[None], perceptual_hash(b)[None])[0])

    assert bits(photo, copy) <= 10
    assert bits(photo, mirror) > 15
    assert bits(photo, decode(people[1, 0])) > 30
    assert perceptual_hash(np.full((64, 32), 128, np.uint8)) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [({"distance": 16}, "--distance 16 is out of range"), ({"tables": ["ir"]}, "no manifest has an image table 'ir'")],
)
def test_mistakes(made, people, run, options, message):
    with pytest.raises(UserError, match=message):
        audit([made("crops", {"train/1_c1_a.jpg": people[0, 0]})], run=run, **options)


def test_same_manifest_twice(made, people, run):
    manifest = made("crops", {"train/1_c1_a.jpg": people[0, 0]})
    with pytest.raises(UserError, match="named twice"):
        audit([manifest, open_manifest(manifest.path)], run=run)


def test_withheld_photographs_are_compared_by_the_owners_checksums(made, people, run):
    files = {"test/1_c1_a.jpg": people[0, 0], "test/2_c1_a.jpg": people[1, 0]}
    whole = made("whole", {"train/1_c1_a.jpg": people[0, 0]})
    delta = made("delta", files)
    delta.info.tables.clear()
    overlap = overlap_of(audit([whole, delta], run=run), "whole:train", "delta:test")
    assert (overlap.equal, overlap.leak) == ((1, 1), True)


def test_command_line(made, people, tmp_path):
    manifest = made("crops", {"train/4_c1_a.jpg": people[0, 0], "test/4_c2_a.jpg": again(people[0, 0], quality=70)})
    out = tmp_path / "audit.json"
    arguments = ["audit", str(manifest.path), "--workers", "1", "--out", str(out)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "crops:train" in result.output
    assert "1 of the pairs above is a leak" in result.output
    assert json.loads(out.read_text())["leaks"] == [["crops:train", "crops:test"]]
    strict = CliRunner().invoke(app, [*arguments, "--strict", "--json"])
    assert strict.exit_code == 1
    assert json.loads(strict.stdout)["overlaps"][0]["near"] == [1, 1]


def test_results_are_judged_by_the_same_map_of_contained_data_sets():
    from reidtrain.overlap import overlaps

    assert overlaps(["tri-cuhk-pedes"], ["market1501", "llcm", "tri-cuhk-pedes"]) == [
        "tri-cuhk-pedes (trained on) and market1501 (evaluated) share photographs of market1501"
    ]
    for dataset, inner in CONTAINS.items():
        assert len(overlaps([dataset], inner)) == len(set(inner))
