"""The source `demo`: rows, roles, bytes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import defaultdict

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from reidsynth.schema import ATTRIBUTE_FIELDS, ROLES
from reidsynth.sources.demo import Demo

SMALL = Demo(seed=3, train=3, val=2, test=4)

DIGEST = """
import hashlib
from reidsynth.sources.demo import Demo
source, digest = Demo(seed=3, train=3, val=2, test=4), hashlib.sha256()
for split in source.splits():
    for row in source.records(split):
        content = source.read(row)
        digest.update(b"".join(content.images[name] for name in sorted(content.images)))
        digest.update(repr(content.texts["text"].captions).encode())
print(digest.hexdigest())
"""


def test_rows_are_sorted_unique_and_counted():
    for split, people in (("train", 3), ("val", 2), ("test", 4)):
        rows = list(SMALL.records(split))
        names = [row.sample_id for row in rows]
        assert names == sorted(set(names))
        assert len(rows) == people * 4
        assert all(
            row.role in ROLES and name.startswith(f"demo/{split}/") for row, name in zip(rows, names, strict=True)
        )


def test_order_holds_beyond_ten_thousand_people():
    # Numbers have a fixed width; one digit more would sort before one digit less.
    rows = iter(Demo(pretrain=999_999, train=0, val=0, test=0).records("pretrain"))
    assert len(next(rows).sample_id) == len("demo/pretrain/3000000_c00_00")


def test_person_numbers_are_unique_across_splits():
    seen = [{row.pid for row in SMALL.records(split)} for split in SMALL.splits()]
    assert sum(map(len, seen)) == len(set().union(*seen)) == 9


def test_queries_come_from_other_cameras_than_the_gallery():
    for observations, cameras in ((4, 8), (9, 3), (2, 2)):
        source = Demo(test=12, train=0, val=0, observations=observations, cameras=cameras)
        used = defaultdict(lambda: defaultdict(set))
        for row in source.records("test"):
            used[row.pid][row.role].add(row.camid)
        for roles in used.values():
            assert set(roles) == {"gallery", "query"}
            assert not roles["gallery"] & roles["query"]


def test_empty_splits_are_left_out():
    assert Demo(val=0).splits() == ("train", "test")
    assert Demo(train=0, val=0, test=0, pretrain=2).splits() == ("pretrain",)


def test_content_decodes_to_the_tables_that_are_announced():
    row = next(iter(SMALL.records("test")))
    content = SMALL.read(row)
    assert set(content.images) == {t.name for t in SMALL.tables() if t.kind == "image"}
    assert set(content.texts) == {"text"}
    assert all(table.origin == "real" for table in SMALL.tables())
    for name, data in content.images.items():
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        assert image.shape == ((128, 64, 3) if name == "rgb" else (128, 64))
    assert content.images["rgb"][:2] == b"\xff\xd8"
    assert content.images["mask"][:4] == content.images["sketch"][:4] == b"\x89PNG"
    assert content.source_sha256 == hashlib.sha256(content.images["rgb"]).hexdigest()
    assert tuple(content.texts["text"].attributes) == ATTRIBUTE_FIELDS
    assert len(content.texts["text"].captions) == 2


def test_a_row_is_drawn_from_its_record_alone():
    rows = list(SMALL.records("test"))
    alone = Demo(seed=3, train=3, val=2, test=4).read(rows[-1])
    in_order = [SMALL.read(row) for row in rows][-1]
    assert alone == in_order


def test_another_process_draws_the_same_bytes():
    runs = [
        subprocess.run(  # our own snippet
            [sys.executable, "-c", DIGEST],
            env={**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, threads in (("1", "1"), ("2", "2"))
    ]
    assert runs[0] == runs[1]


def test_mask_survives_encoding():
    content = SMALL.read(next(iter(SMALL.records("train"))))
    mask = cv2.imdecode(np.frombuffer(content.images["mask"], np.uint8), cv2.IMREAD_UNCHANGED)
    assert set(np.unique(mask)) == {0, 255}


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"train": 0, "val": 0, "test": 0}, "0 identities"),
        ({"height": 64, "width": 128}, "height 64 and width 128"),
        ({"hard": 1.5}, "hard"),
        ({"cameras": 1}, "cameras"),
        ({"observations": 0}, "observations"),
        ({"people": 3}, "people"),
    ],
)
def test_wrong_values_are_named(values, named):
    with pytest.raises(ValidationError, match=named):
        Demo(**values)


def test_terms_allow_everything():
    assert Demo.policy.egress
    assert Demo.policy.release_of("rgb") == "public"


def test_it_is_registered():
    from reidsynth.sources import SOURCES

    assert SOURCES["demo"] == "reidsynth.sources.demo:Demo"


@pytest.mark.slow
def test_a_reader_of_all_visible_attributes_reaches_a_high_ceiling():
    source = Demo(train=0, val=0, test=200)
    rows = list(source.records("test"))
    seen = [source.read(row).texts["text"].attributes for row in rows]
    table = np.array([[seen_row[name] or "" for name in ATTRIBUTE_FIELDS] for seen_row in seen])
    query = np.array([row.role == "query" for row in rows])
    pids = np.array([row.pid for row in rows])
    known = (table[query][:, None] != "") & (table[~query][None] != "")
    same = table[query][:, None] == table[~query][None]
    score = (known & same).sum(2) - 4.0 * (known & ~same).sum(2)
    right = pids[~query][score.argmax(1)] == pids[query]
    assert right.mean() > 0.9


def test_detail_changes_what_captions_tell_and_nothing_else():
    full, terse = Demo(seed=3, test=6), Demo(seed=3, test=6, detail=0.0)
    for row in full.records("test"):
        told, short = full.read(row), terse.read(row)
        assert told.images == short.images
        assert told.texts["text"].attributes == short.texts["text"].attributes
        for caption in short.texts["text"].captions:
            assert not {"hair", "sunglasses", "glasses", "backpack", "sneakers", "boots", "hat"} & set(caption.split())
    words = [
        sum(len(caption.split()) for row in world.records("test") for caption in world.read(row).texts["text"].captions)
        for world in (full, Demo(seed=3, test=6, detail=0.6), terse)
    ]
    assert words[0] > words[1] > words[2]
