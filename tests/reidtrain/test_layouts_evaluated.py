"""From the layout that owners ship to the numbers of a result: readers, protocol files and protocols together."""

from pathlib import Path

import layouts
import pytest
import sketch_fixtures

from reidtrain.checkpoint import LoadedRun, assemble
from reidtrain.errors import UserError
from reidtrain.evaluate import evaluate_loaded, evaluation_data
from reidtrain.protocols import PROTOCOLS, plan


@pytest.fixture(scope="module")
def loaded(tiny_config):
    config = tiny_config()
    model, backbone = assemble(config)
    return LoadedRun(model.eval(), backbone, config, 7, Path(), {})


@pytest.fixture
def read(tmp_path):
    """A function that ingests a tree."""
    from reidsynth.engines import LocalEngine
    from reidsynth.ingest import ingest
    from reidsynth.jobs import Run

    def build(source, root, **parameters):
        return ingest(
            tmp_path / "m", source, {"root": str(root), **parameters}, run=Run(LocalEngine(1), progress=False)
        ).path

    return build


def counts(found):
    return {name: (mode.queries, mode.valid, mode.gallery, mode.trials) for name, mode in found.modes.items()}


def test_sysu(loaded, read, tmp_path):
    manifest = read("sysu-mm01", layouts.sysu_mm01(tmp_path))
    found = evaluate_loaded(loaded, manifest)
    assert (found.protocol, found.ranks) == ("sysu-mm01", (1, 10, 20))
    # Test people: 2 (cameras 3 to 6) and 10 (cameras 1 to 5), two images each; indoors 2 has nothing to find.
    assert counts(found) == {
        "I->R, all": (6, 6, 6, 10),
        "I->R, all, multi-shot": (6, 6, 12, 10),
        "I->R, indoor": (6, 2, 2, 10),
        "I->R, indoor, multi-shot": (6, 2, 4, 10),
    }
    assert "S->R, all" in found.left_out
    assert found.modes["I->R, indoor"].skipped == 4
    with pytest.raises(UserError, match="keeps no permutations"):
        evaluate_loaded(loaded, manifest, protocol="sysu-mm01-official")


def test_llcm(loaded, read, tmp_path):
    manifest = read("llcm", layouts.llcm(tmp_path))
    # 20 is seen by cameras 1 and 3 (infrared: 1 only), 21 by 2 and 4; each camera's own number is hidden.
    assert counts(evaluate_loaded(loaded, manifest)) == {"I->R": (3, 3, 4, 10), "R->I": (4, 3, 3, 10)}
    released = evaluate_loaded(loaded, manifest, protocol="llcm-released-code")
    assert counts(released)["I->R, released as R->I"] == (3, 3, 4, 10)


@pytest.mark.slow
def test_regdb(loaded, read, tmp_path):
    found = evaluate_loaded(loaded, read("regdb", layouts.regdb(tmp_path), trial=2))
    assert counts(found) == {"R->I": (4, 4, 4, 1), "I->R": (4, 4, 4, 1)}


def test_market_sketch(loaded, read, tmp_path):
    found = evaluate_loaded(loaded, read("market-sketch-1k", sketch_fixtures.market_sketch_1k(tmp_path)))
    assert counts(found)["S->R"] == (11, 11, 3, 1)
    assert counts(found)["S->R, style F"] == (1, 1, 3, 1)
    assert counts(found)["S->R, multi-query"] == (2, 2, 3, 1)


@pytest.mark.slow
def test_pku_with_given_lists(loaded, read, tmp_path):
    base = sketch_fixtures.pku_sketch(tmp_path)
    sketch_fixtures.pku_lists(base)
    manifest = read("pku-sketch", base, lists="idx")
    assert counts(evaluate_loaded(loaded, manifest, protocol="pku-sketch-given")) == {"S->R": (2, 2, 4, 10)}
    with pytest.raises(UserError, match="the splits are made for"):
        evaluate_loaded(loaded, manifest)


def test_orbench(loaded, read, tmp_path):
    manifest = read("orbench", sketch_fixtures.orbench(tmp_path))
    found = evaluate_loaded(loaded, manifest)
    assert {name: (mode.queries, mode.gallery) for name, mode in found.modes.items()} == {
        "NIR": (2, 3),
        "CP": (2, 3),
        "SK": (2, 3),
        "TEXT": (2, 3),
        "NIR+CP": (1, 3),
        "TEXT+SK": (2, 3),
        "SK+NIR+CP+TEXT": (1, 3),
    }
    assert "keeps no query set 'CP+NIR'" in found.left_out["CP+NIR"]
    dataset = evaluation_data(loaded, manifest, "test")
    setting = next(one for one in PROTOCOLS["orbench"].settings if one.name == "TEXT+SK")
    task = plan(setting, dataset)
    for row, ((text, sketch),) in zip(task.query_rows.tolist(), task.units, strict=True):
        assert dataset.pids[text[1]] == dataset.pids[sketch[1]] == dataset.pids[row]
    assert {dataset.captions(text[1])[text[2]] for ((text, _),) in task.units} == {
        sketch_fixtures.TEXT_7,
        sketch_fixtures.TEXT_8,
    }


@pytest.mark.slow
def test_cuhk03(loaded, read, tmp_path):
    found = evaluate_loaded(loaded, read("cuhk03-np", layouts.cuhk03_lists(tmp_path)))
    assert (found.protocol, counts(found)) == ("cuhk03-np", {"R->R": (2, 2, 2, 1)})


@pytest.mark.slow
def test_msmt17(loaded, read, tmp_path):
    found = evaluate_loaded(loaded, read("msmt17", layouts.msmt17(tmp_path)))
    assert (found.protocol, counts(found)) == ("msmt17", {"R->R": (1, 1, 2, 1)})
