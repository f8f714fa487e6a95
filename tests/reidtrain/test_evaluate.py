"""Evaluation of a tiny untrained model on drawn people, and the result's tables."""

import csv
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from reidtrain import features as features_module
from reidtrain.batch import SEVEN_MODES, parse_mode
from reidtrain.checkpoint import LoadedRun, assemble
from reidtrain.data import collate
from reidtrain.errors import UserError
from reidtrain.evaluate import evaluate_loaded, evaluate_run, evaluate_settings, evaluation_data
from reidtrain.features import Features, FrozenEncoder, PartEncoder
from reidtrain.metrics import rank
from reidtrain.protocols import PROTOCOLS, Setting, Sides, plan
from reidtrain.reranking import Rerank
from reidtrain.results import Result, comparison, read_result


class Whole:
    """An encoder that can't encode by parts."""

    def __init__(self, encode):
        self.encode = encode


@pytest.fixture(scope="module")
def loaded(tiny_config):
    config = tiny_config()
    model, backbone = assemble(config)
    return LoadedRun(model.eval(), backbone, config, 7, Path(), {})


@pytest.fixture(scope="module")
def result(loaded, people):
    return evaluate_loaded(loaded, people())


def test_all_modes_are_evaluated_with_their_counts(result):
    assert list(result.modes) == [setting.name for setting in PROTOCOLS["generic"].settings]
    # 12 people, 4 views each, all of them query and gallery; views 1 and 3 have two captions.
    for name, mode in result.modes.items():
        assert mode.queries == (72 if name.startswith("T") else 48)
        assert (mode.gallery, mode.skipped, mode.lacking) == (48, 0, 0)
    # Photographs: two views of a person share each camera, so 2 of 46 remain; others lose their own image only.
    assert result.modes["R->R"].exclude == "same-camera"
    assert result.modes["R->R"].chance == pytest.approx(2 / 46)
    assert result.modes["S->R"].exclude == "source-image"
    assert result.modes["S->R"].chance == pytest.approx(3 / 47)
    assert result.mean("chance") == pytest.approx(3 / 47)
    assert result.mean() == pytest.approx(sum(result.modes[mode.name].R1 for mode in SEVEN_MODES) / 7)
    assert (result.split, result.protocol, result.datasets, result.step) == ("test", "generic", ("people",), 7)
    assert result.tables["sketch"] == {"sketch": 48}


def test_a_mode_equals_one_by_one_encoding(loaded, people, result):
    dataset = evaluation_data(loaded, people(), "test")
    asked = [(row, caption) for row in range(48) for caption in range(dataset.caption_counts[row])]

    def encode(row, caption, modalities):
        with torch.inference_mode():
            return loaded.model.encode(collate([dataset.load(row, modalities, caption=caption)]), modalities)[0]

    query = torch.stack([encode(row, caption, ("text", "sketch")) for row, caption in asked])
    gallery = torch.stack([encode(row, 0, ("rgb",)) for row in range(48)])
    normalise = torch.nn.functional.normalize
    rows = [row for row, _ in asked]
    expected = rank(
        normalise(query) @ normalise(gallery).T,
        [int(dataset.pids[row]) for row in rows],
        dataset.pids.tolist(),
        query_keys=[int(dataset.image_ids[row]) for row in rows],
        gallery_keys=dataset.image_ids.tolist(),
        exclude="source-image",
    )
    mode = result.modes["T+S->R"]
    assert mode.mAP == pytest.approx(expected.mAP, abs=1e-3)
    assert mode.mINP == pytest.approx(expected.mINP, abs=1e-3)
    assert mode.cmc == pytest.approx(expected.cmc.tolist(), abs=2 / 72)


def test_every_feature_is_computed_once(loaded, people, result, monkeypatch):
    monkeypatch.setattr(features_module, "BATCH", 7)
    dataset = evaluation_data(loaded, people(), "test")
    seen = []

    def encode(batch, modalities):
        assert all(bool(batch.present[name].all()) for name in modalities)
        seen.extend((tuple(modalities), int(image)) for image in batch.image_ids)
        return loaded.model.encode(batch, modalities)

    found, unmatched = evaluate_settings(Whole(encode), dataset, PROTOCOLS["generic"].settings)
    assert not unmatched
    assert len(found) == 8
    images = [("rgb",), ("sketch",), ("ir",), ("sketch", "ir")]
    assert len(seen) == 4 * 72 + 4 * 48, "text sets per caption, others per image, R->R shares the gallery's"
    assert all(seen.count((modalities, image)) == 1 for modalities in images for image in range(48))
    for name, mode in found.items():
        assert mode.mAP == pytest.approx(result.modes[name].mAP, abs=1e-3)


def test_a_model_that_encodes_by_parts_runs_each_tower_once(loaded, people, monkeypatch):
    monkeypatch.setattr(features_module, "BATCH", 7)
    frozen, seen = FrozenEncoder(loaded.backbone), []
    assert isinstance(frozen, PartEncoder)
    part = FrozenEncoder.encode_part

    def encode_part(self, batch, modality):
        seen.extend((modality, int(image)) for image in batch.image_ids)
        return part(self, batch, modality)

    monkeypatch.setattr(FrozenEncoder, "encode_part", encode_part)
    dataset = evaluation_data(loaded, people(), "test")
    by_parts, _ = evaluate_settings(frozen, dataset, PROTOCOLS["generic"].settings)
    assert all(seen.count((modality, image)) == 1 for modality in ("rgb", "sketch", "ir") for image in range(48))
    assert len(seen) == 3 * 48 + 72
    whole, _ = evaluate_settings(Whole(frozen.encode), dataset, PROTOCOLS["generic"].settings)
    for name, mode in by_parts.items():
        assert mode.mAP == pytest.approx(whole[name].mAP, abs=1e-3)


def test_every_model_that_offers_parts_joins_them_to_its_own_encoding(loaded, people):
    if not isinstance(loaded.model, PartEncoder):
        pytest.skip("this model encodes its modalities together")
    dataset = evaluation_data(loaded, people(), "test")
    for mode in (*SEVEN_MODES, parse_mode("R->R")):
        batch = collate([dataset.load(row, mode.query) for row in range(5)])
        with torch.inference_mode():
            joined = loaded.model.join_parts({name: loaded.model.encode_part(batch, name) for name in mode.query})
            assert torch.allclose(joined, loaded.model.encode(batch, mode.query), atol=1e-5)


def test_batches_do_not_change_the_table(loaded, people, result, monkeypatch):
    monkeypatch.setattr(features_module, "BATCH", 5)
    again = evaluate_loaded(loaded, people(), modes=["S", "T+S+I"])
    for name in ("S->R", "T+S+I->R"):
        assert again.modes[name].mAP == pytest.approx(result.modes[name].mAP, abs=1e-3)


def test_inputs_of_several_rows_are_encoded_as_if_they_stood_in_one(loaded, people):
    dataset = evaluation_data(loaded, people(), "test")
    text, sketch = ("text", 5, 1), ("sketch", 9, -1)
    expected = []
    for encoder in (loaded.model, FrozenEncoder(loaded.backbone)):
        batch = collate([dataset.load(row, ("text", "sketch"), caption=1) for row in (5, 9)])
        batch.images["sketch"][0] = batch.images["sketch"][1]
        with torch.inference_mode():
            expected.append(encoder.encode(batch, ("text", "sketch"))[0])
    for encoder, wanted in (
        (Whole(loaded.model.encode), expected[0]),
        (loaded.model, expected[0]),
        (FrozenEncoder(loaded.backbone), expected[1]),
    ):
        store = Features(encoder, dataset)
        store.compute_composed({(text, sketch), (text,), (sketch,)})
        task = plan(Setting(parse_mode("S")), dataset)
        one = replace(task, units=(((text, sketch),),))
        assert torch.allclose(store.queries(one)[0], wanted, atol=1e-4)
        both = store.queries(replace(task, units=(((text,), (sketch,)),)))[0]
        parts = [store.queries(replace(task, units=(((part,),),)))[0] for part in (text, sketch)]
        assert torch.allclose(both, sum(part / part.norm() for part in parts), atol=1e-5)


def test_sketches_that_ask_together_are_evaluated_as_one_query(loaded, people):
    dataset = evaluation_data(loaded, people(), "test")

    @dataclass(frozen=True)
    class Together:
        draws = False

        def __call__(self, mode, rows, trial):
            members = tuple(tuple(range(first, first + 4)) for first in range(0, 48, 4))
            return Sides(np.arange(0, 48, 4), np.arange(48), members=members)

    alone = Setting(parse_mode("S"), exclude="none")
    together = Setting(parse_mode("S"), name="together", exclude="none", select=Together())
    found, _ = evaluate_settings(loaded.model, dataset, [alone, together])
    assert (found["S->R"].queries, found["together"].queries) == (48, 12)
    store = Features(loaded.model, dataset)
    store.compute([plan(alone, dataset)])
    each = torch.nn.functional.normalize(store.of(("sketch",), np.arange(48)), dim=1)
    photos = torch.nn.functional.normalize(store.of(("rgb",), np.arange(48)), dim=1)
    expected = rank(each.view(12, 4, -1).sum(1) @ photos.T, range(12), [row // 4 for row in range(48)])
    assert found["together"].mAP == pytest.approx(expected.mAP, abs=1e-3)


def test_trials_are_averaged_with_their_spread(loaded, people):
    dataset = evaluation_data(loaded, people(), "test")

    @dataclass(frozen=True)
    class Drawn:
        draws = True

        def __call__(self, mode, rows, trial):
            return Sides(np.arange(48), np.arange(trial, 48, 2))

    one = Setting(parse_mode("S"), exclude="none", select=Drawn(), trials=2)
    found, _ = evaluate_settings(loaded.model, dataset, [one])
    values = [
        evaluate_settings(loaded.model, dataset, [replace(one, select=Fixed(start), trials=1)])[0]["S->R"].mAP
        for start in (0, 1)
    ]
    assert found["S->R"].mAP == pytest.approx(sum(values) / 2)
    assert found["S->R"].spread["mAP"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    assert [rows.trial for rows in found["S->R"].per_query] == [0, 1]


@dataclass(frozen=True)
class Fixed:
    start: int
    draws = False

    def __call__(self, mode, rows, trial):
        return Sides(np.arange(48), np.arange(self.start, 48, 2))


def test_reranking_changes_the_order_and_is_told(loaded, people, result):
    found = evaluate_loaded(loaded, people(), modes=["S"], rerank=Rerank(5, 2, 0.3))
    assert found.rerank == "k-reciprocal 5,2,0.3"
    assert "k-reciprocal 5,2,0.3" in found.heading()
    assert found.modes["S->R"].valid == result.modes["S->R"].valid
    own = evaluate_loaded(loaded, people(), modes=["S"], rerank=Rerank(5, 2, 1.0))
    assert own.modes["S->R"].mAP == pytest.approx(result.modes["S->R"].mAP, abs=1e-3)


def test_queries_are_written_one_by_one(loaded, people, tmp_path):
    found = evaluate_loaded(loaded, people(sketchless=2), modes=["T", "S"])
    lines = list(csv.DictReader(found.save_queries(tmp_path).open()))
    assert len(lines) == 72 + 24
    sketches = [line for line in lines if line["setting"] == "S->R"]
    assert {line["caption"] for line in sketches} == {""}
    assert sum(float(line["ap"]) for line in sketches) / 24 == pytest.approx(found.modes["S->R"].mAP)
    assert sum(line["first_hit"] == "1" for line in sketches) / 24 == pytest.approx(found.modes["S->R"].R1)


def test_a_result_names_its_protocol_columns_and_its_training_data(loaded, people):
    found = evaluate_loaded(loaded, people(dataset_name="market-sketch-1k"), modes=["S"], protocol="generic")
    assert found.trained_on == ("people",)
    assert found.made_by["sketch"] == "real"
    assert found.image_size == (32, 16)
    ranked = replace(found, ranks=(1, 10, 20))
    assert ranked.table().splitlines()[2].split()[:6] == ["mode", "R1", "R10", "R20", "mAP", "mINP"]
    assert json.loads(json.dumps(ranked.as_dict()))["modes"]["S->R"]["R20"] == found.modes["S->R"].R20


def test_a_table_that_serves_no_row_has_made_nothing(loaded, people):
    """Before, a report told of synthetic sketches in a result for which only drawn ones had asked."""
    data = loaded.config.data
    tables = data.tables.model_copy(update={"sketch": ("sketch", "sketch-late")})
    config = loaded.config.model_copy(update={"data": data.model_copy(update={"tables": tables})})
    found = evaluate_loaded(replace(loaded, config=config), people(), modes=["S"])
    assert found.tables["sketch"] == {"sketch": 48, "sketch-late": 0}
    assert found.made_by["sketch"] == "real"


def test_the_frozen_encoder_is_the_sum_of_normalised_features(loaded, people):
    dataset = evaluation_data(loaded, people(), "test")
    batch = collate([dataset.load(row, ("text", "sketch")) for row in range(3)])
    with torch.inference_mode():
        found = FrozenEncoder(loaded.backbone).encode(batch, ("text", "sketch"))
        text = loaded.backbone.text_tokens(batch.tokens)[0]
        sketch = loaded.backbone.image_tokens(batch.images["sketch"])[0]
    parts = [torch.nn.functional.normalize(part, dim=1) for part in (text, sketch)]
    assert torch.allclose(found, parts[0] + parts[1])
    frozen = evaluate_loaded(loaded, people(), frozen=True, modes=["T+S"])
    assert (frozen.features, frozen.step) == ("frozen", 0)


def test_what_is_missing_is_left_out_or_refused(loaded, people):
    manifest = people(text=False, sketchless=1)
    found = evaluate_loaded(loaded, manifest)
    assert list(found.modes) == ["I->R", "R->R"]
    assert found.left_out["T+S->R"] == "no query row has text and sketch"
    assert found.mean() is None
    assert "T->R: not evaluated, no query row has text." in found.markdown()
    with pytest.raises(UserError, match="lacks the modality text"):
        evaluate_loaded(loaded, manifest, modes=["T->R"])
    with pytest.raises(UserError, match=r"S->R: no query row has sketch\): choose among I->R"):
        evaluate_loaded(loaded, manifest, modes=["S", "I"])
    with pytest.raises(UserError, match="no split 'dev': it has train, val, test"):
        evaluate_loaded(loaded, manifest, split="dev")
    with pytest.raises(UserError, match="query mode 'Q' is not valid"):
        evaluate_loaded(loaded, manifest, modes=["Q"])
    partly = evaluate_loaded(loaded, people(sketchless=2), modes=["S"])
    assert partly.modes["S->R"].lacking == 24
    assert "S->R: 24 query rows lack a modality and did not ask." in partly.table()


def test_the_protocol_of_the_data_set_is_taken(loaded, people):
    market = evaluate_loaded(loaded, people(dataset_name="market1501"))
    assert (market.protocol, next(iter(market.modes))) == ("market1501", "R->R")
    assert market.modes["R->R"].exclude == "same-camera"
    pedes = evaluate_loaded(loaded, people(dataset_name="cuhk-pedes"), modes=["T->R", "T->R, source removed", "S"])
    assert pedes.protocol == "cuhk-pedes"
    assert {name: mode.exclude for name, mode in pedes.modes.items()} == {
        "T->R": "none",
        "T->R, source removed": "source-image",
        "S->R": "source-image",
    }
    assert pedes.modes["T->R"].R1 >= pedes.modes["T->R, source removed"].R1
    generic = evaluate_loaded(loaded, people(dataset_name="cuhk-pedes"), modes=["T"], protocol="generic")
    assert generic.modes["T->R"].exclude == "source-image"


def test_a_person_seen_once_has_nothing_to_find(loaded, people):
    single = people(captures=1)
    with pytest.raises(UserError, match=r"no query of T->R .* has a match left"):
        evaluate_loaded(loaded, single, modes=["T"])
    with pytest.raises(UserError, match="has a match left in the gallery: each queried person needs a second image"):
        evaluate_loaded(loaded, single)


def test_features_that_are_not_finite_stop_the_evaluation(loaded, people):
    dataset = evaluation_data(loaded, people(), "test")
    broken = Features(Whole(lambda batch, _: torch.full((len(batch), 4), math.nan)), dataset)
    with pytest.raises(UserError, match="features of sketch are not finite"):
        broken.compute_units({(0, -1): {("sketch",)}})


def test_a_result_survives_its_files(result, tmp_path):
    paths = result.save(tmp_path / "results")
    assert [path.name for path in paths] == ["test.json", "test.md"]
    again = read_result(paths[0])
    assert again == result
    assert json.loads(paths[0].read_text())["modes"]["T->R"]["R1"] == result.modes["T->R"].R1
    assert paths[1].read_text() == again.markdown()
    paths[0].write_text("{")
    with pytest.raises(UserError, match=r"test.json is no result"):
        read_result(paths[0])
    with pytest.raises(UserError, match="format 9 can't be read"):
        Result.from_json({"format": 9})


def test_tables_print_percent_beside_chance(result):
    lines = result.table().splitlines()
    assert lines[0] == "flexireid, step 7 on people test, protocol generic"
    assert lines[2].split()[:3] == ["mode", "R1", "R5"]
    assert f"{100 * result.modes['T->R'].R1:.1f}" in lines[4].split()
    assert lines[-1].startswith("mean of seven")
    rows = [line.split(" | ") for line in result.markdown().splitlines() if line.startswith("| ")]
    assert len({len(row) for row in rows}) == 1


def test_a_comparison_shows_chance_frozen_and_model(loaded, people, result):
    frozen = evaluate_loaded(loaded, people(), frozen=True)
    lines = comparison([frozen, result], metrics=["R1"]).splitlines()
    assert lines[0].startswith("| R1 (%) | T | S | I | T+S | T+I | S+I | T+S+I | R | mean of seven |")
    assert [line.split(" | ")[0] for line in lines[2:]] == [
        "| chance",
        f"| frozen encoder ({Path(loaded.config.backbone.name).name})",
        "| flexireid, step 7",
    ]
    assert lines[2].count("6.4") == 8
    other = evaluate_loaded(loaded, people(captures=3), modes=["S"])
    with pytest.raises(UserError, match="their data differs"):
        comparison([result, other])


def test_a_run_is_evaluated_from_its_folder(tiny_config, people, tmp_path):
    from reidtrain.train import train

    run = train(tiny_config("train.steps=1"), tmp_path / "run")
    found = evaluate_run(run, people(), modes=["T+S+I"], device="cpu")
    assert (found.step, found.preset) == (1, "flexireid-demo")
    assert found.modes["T+S+I->R"].valid == 72
    assert (
        evaluate_run(run, people(), modes=["T+S+I"], device="cpu").modes["T+S+I->R"].cmc == found.modes["T+S+I->R"].cmc
    )
    with pytest.raises(UserError, match="so it is no run"):
        evaluate_run(tmp_path / "nothing", people())
