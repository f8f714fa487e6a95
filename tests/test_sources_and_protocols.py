"""What readers keep of a data set's lists is what the evaluation's protocols look for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "reidsynth"))

from captioned_fixtures import sketch_tree
from fixtures import cuhk_pedes
from sketch_fixtures import market_sketch_1k, orbench, pku_lists, pku_sketch

from reidsynth.engines import LocalEngine
from reidsynth.ingest import ingest
from reidsynth.jobs import Run
from reidtrain.data import DEFAULT_TABLES, ReIDDataset
from reidtrain.protocols import PROTOCOLS, plan


def planned(tmp_path, source, parameters, protocol):
    """Setting -> queries and gallery as sample ids, of the settings that find their lists."""
    manifest = ingest(tmp_path / "m", source, parameters, run=Run(LocalEngine(1), progress=False))
    tables = {name: there for name, there in DEFAULT_TABLES.items() if set(there) & set(manifest.tables)}
    rows = ReIDDataset(
        manifest.path,
        "test",
        tables=tables,
        transform=None,
        tokenize=lambda captions: torch.zeros((len(captions), 4), dtype=torch.long),
    )
    return rows, {setting.name: setting for setting in PROTOCOLS[protocol].settings}


def names(rows, numbers):
    return [rows.sample_ids[number] for number in numbers]


def test_market_sketch_1k(tmp_path):
    rows, settings = planned(
        tmp_path, "market-sketch-1k", {"root": str(market_sketch_1k(tmp_path))}, "market-sketch-1k"
    )
    task = plan(settings["S->R, style F"], rows)
    assert names(rows, task.query_rows) == ["market-sketch-1k/sketch/F/query/0001"]
    assert len(task.gallery_rows) == 3  # two people and a distractor
    assert len(plan(settings["S->R"], rows).query_rows) == 11
    assert len(plan(settings["S->R, multi-query"], rows).query_rows) == 2


def test_pku_sketch_with_given_splits(tmp_path):
    root = pku_sketch(tmp_path)
    pku_lists(root)
    (root / "TriReID.txt").write_text("1/a.jpg@A man.\n1/b.jpg@He walks.\n2/a.jpg@A woman.\n2/b.jpg@She walks.\n")
    parameters = {"root": str(root), "lists": "idx", "captions": "TriReID.txt"}
    rows, settings = planned(tmp_path, "pku-sketch", parameters, "pku-sketch-given")
    first, second = (plan(settings["S->R"], rows, trial=trial) for trial in (0, 1))
    assert names(rows, first.query_rows) == ["pku-sketch/sketch/1", "pku-sketch/sketch/2"]
    assert sorted(names(rows, second.query_rows)) == ["pku-sketch/sketch/10", "pku-sketch/sketch/3"]
    assert {rows.pids[row] for row in first.gallery_rows} == {1, 2}
    assert len(first.gallery_rows) == 4
    assert len(plan(settings["T+S->R"], rows, trial=0).query_rows) == 4  # two captions of two people


@pytest.mark.parametrize(
    ("name", "leads"),
    [("NIR", "nir"), ("CP", "cp"), ("SK", "sk"), ("TEXT", "text"), ("TEXT+SK", "text"), ("SK+NIR+CP+TEXT", "sk")],
)
def test_orbench(tmp_path, name, leads):
    rows, settings = planned(tmp_path, "orbench", {"root": str(orbench(tmp_path))}, "orbench")
    task = plan(settings[name], rows)
    assert task.lacking == 0
    assert {sample.split("/")[1] for sample in names(rows, task.query_rows)} == {leads}
    assert len(task.gallery_rows) == 3


def test_tri_cuhk_pedes(tmp_path):
    """The sketch of a photograph never finds that photograph; captions ask twice, sketches once."""
    root = cuhk_pedes(tmp_path)
    sketch_tree(root / "imgs", root / "imgs-sketch2")
    rows, settings = planned(tmp_path, "tri-cuhk-pedes", {"root": str(root)}, "cuhk-pedes")
    sketches, captions = plan(settings["S->R"], rows), plan(settings["T->R"], rows)
    assert (len(sketches.query_rows), len(captions.query_rows)) == (2, 4)
    assert (sketches.exclude, captions.exclude) == ("source-image", "none")
    assert sketches.query_keys.tolist() == sketches.gallery_keys.tolist()  # row by row the same photograph
    assert len(set(sketches.gallery_keys.tolist())) == 2
