"""Ablations on drawn people: rows, seeds, resuming, the table."""

import dataclasses
import importlib.util
import json
import shutil
import statistics
import sys
from pathlib import Path

import pytest

from reidtrain import train as train_module
from reidtrain.ablation import FROZEN, Ablation, Plan, ablate, expand
from reidtrain.config import differences
from reidtrain.errors import UserError
from reidtrain.results import read_result

ROWS = ("soft",)
SMALL = (
    "model.options.local_tokens=2",
    "model.options.experts=2",
    "model.options.adapter_width=4",
    "model.options.fusion_heads=2",
    "sampler.batch_size=8",
    "train.threads=1",
    "train.steps=1",
    "select.every=100",
)


@pytest.fixture(scope="module")
def plan(people, tiny_backbone, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    for routing in ROWS:
        options = f"extends: flexireid-demo\nmodel: {{options: {{routing: {routing}}}}}\n"
        (folder / f"{routing}.yaml").write_text(options)
    rows = tuple(str(folder / f"{routing}.yaml") for routing in ROWS)
    settings = (*SMALL, f"backbone.name={tiny_backbone}")
    return Plan(rows, (str(people()),), (3, 4), settings, modes=("T->R", "S->R"), frozen=True)


@pytest.fixture(scope="module")
def done(plan, tmp_path_factory):
    out = tmp_path_factory.mktemp("ablation")
    return out, ablate(plan, out, device="cpu", note=lambda _: None)


def test_every_row_and_seed_is_a_run_with_its_result(done):
    out, found = done
    assert list(found.results) == [FROZEN, "soft"]
    for row in ROWS:
        for seed in (3, 4):
            kept = read_result(out / row / f"seed-{seed}" / "results" / "test.json")
            assert kept == found.results[row][seed]
            assert list(kept.modes) == ["T->R", "S->R"]
            assert json.loads((out / row / f"seed-{seed}" / "config.json").read_text())["train"]["seed"] == seed
    assert found.results[FROZEN][3].features == "frozen"


def test_the_same_command_again_does_only_what_is_missing(done, plan, monkeypatch, tmp_path):
    kept, found = done
    out, said = shutil.copytree(kept, tmp_path / "out"), []
    (out / "soft" / "seed-4" / "results" / "test.json").unlink()
    steps = []
    monkeypatch.setattr(train_module.RunLog, "count", lambda self, *a, **k: steps.append(1))
    again = ablate(plan, out, device="cpu", note=said.append)
    assert steps == [], "nothing is trained twice"
    assert len(said) == 2
    assert again.as_dict() == found.as_dict()


def test_mean_and_spread_are_over_the_seeds(done):
    _, found = done
    kept = found.as_dict()["rows"]["soft"]["S->R"]["mAP"]
    values = [100 * found.results["soft"][seed].modes["S->R"].mAP for seed in (3, 4)]
    assert kept == {"mean": statistics.fmean(values), "spread": statistics.stdev(values), "values": values}


def test_the_table_compares_rows_seed_by_seed(done):
    _, found = done
    ours = {}
    for row, shares in (("base", (0.50, 0.60)), ("better", (0.52, 0.61))):
        ours[row] = {}
        for seed, share in enumerate(shares):
            one = found.results["soft"][3]
            modes = {name: dataclasses.replace(mode, cmc=(share,)) for name, mode in one.modes.items()}
            ours[row][seed] = dataclasses.replace(one, modes=modes)
    lines = Ablation(ours).table("R1").splitlines()
    assert "55.0 \u00b1 7.1" in lines[2]
    assert lines[3].split("  ")[-1].strip() == "+1.5 \u00b1 0.7"


def test_fewer_than_seven_modes_have_a_mean_of_their_own(done):
    _, found = done
    assert found.columns() == ["T->R", "S->R", "mean of 2"]
    for metric in ("R1", "mAP"):
        both = zip(*(found.values("soft", column, metric) for column in ("T->R", "S->R")), strict=True)
        assert found.values("soft", "mean of 2", metric) == pytest.approx([sum(pair) / 2 for pair in both])
    one = found.results["soft"][3]
    photographs = dataclasses.replace(one, modes={**one.modes, "R->R": one.modes["S->R"]})
    assert Ablation({"a": {0: photographs}}).columns() == ["T->R", "S->R", "R->R", "mean of 2"]
    drawn = dataclasses.replace(one, modes={f"{name}, {part}": one.modes[name] for name in one.modes for part in "ab"})
    assert not [column for column in Ablation({"a": {0: drawn}}).columns() if column.startswith("mean")]


def test_mistakes_of_all_rows_are_told_before_anything_runs(plan, tmp_path):
    wrong = dataclasses.replace(plan, presets=(*plan.presets, "flexireid-demo"), settings=("optim.lr=-1",))
    with pytest.raises(UserError) as error:
        ablate(wrong, tmp_path / "out", note=lambda _: None)
    assert str(error.value).count("optim.lr") == 2
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="each preset once"):
        ablate(dataclasses.replace(plan, presets=plan.presets[:1] * 2), tmp_path / "out", note=lambda _: None)
    with pytest.raises(UserError, match="each seed once"):
        ablate(dataclasses.replace(plan, seeds=()), tmp_path / "out", note=lambda _: None)


def test_all_stands_for_a_preset_and_its_rows(plan):
    found = expand(["flexireid-demo:all", "flexireid-demo:soft"])
    assert found[0] == "flexireid-demo"
    assert "flexireid-demo:soft" in found
    assert len(set(found)) == len(found) > 5
    assert expand(["a.yaml", "b"]) == ("a.yaml", "b")
    names = {row for row, _ in dataclasses.replace(plan, presets=found, settings=()).configs()}
    assert names == set(found)


def test_each_seed_may_have_data_of_its_own():
    assert Plan(("a",), ("/data/world-{seed}", "/data/more"), (7,)).data(7) == ["/data/world-7", "/data/more"]


def test_rows_of_the_benchmark_differ_from_the_model_they_are_compared_with():
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "ablations.py"
    spec = importlib.util.spec_from_file_location("ablations", path)
    benchmark = importlib.util.module_from_spec(spec)
    sys.modules["ablations"] = benchmark  # dataclasses look their module up
    spec.loader.exec_module(benchmark)
    for table in benchmark.TABLES.values():
        configs = Plan(table.rows, ("nowhere",), (0,), table.settings).configs()
        first, *others = configs.values()
        assert all(differences(first, other) for other in others)
