"""Stages: where they begin, what they draw, their learning rates, what they draw anew; killed and resumed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from reidtrain.checkpoint import assemble, checkpoints, read_weights
from reidtrain.errors import UserError
from reidtrain.feeding import training_data, training_stages
from reidtrain.stages import begin, stage_at
from reidtrain.train import train

FINE = "{name: fine, modalities: [rgb], model: {modality_mix: 1.0}, restart: ['^classifier$'], own_schedule: true}"
STAGES = f"stages=[{{name: pre, share: 2.0, datasets: [people]}}, {FINE}]"
DMF = (
    "model={name: dmf, options: {width: 16, depth: 1, heads: 2}}",
    "objective={name: dmf}",
    "sampler={name: groups, batch_size: 8, per_identity: 4}",
    "data.tables={ir: null, sketch: null}",
    'select={split: val, modes: ["R->R"], every: 100}',
)


def build(tiny_config, *overrides, manifests=None):
    config = tiny_config(*DMF, "train.steps=6", *overrides, manifests=manifests)
    _, backbone = assemble(config)
    dataset = training_data(config, backbone)
    return config, dataset


def test_stages_are_laid_end_to_end(tiny_config, people):
    both = [people(), people(dataset_name="others")]
    config, dataset = build(tiny_config, STAGES, manifests=both)
    first, second = training_stages(config, dataset)
    assert (first.start, first.stop, second.start, second.stop) == (0, 4, 4, 6)
    assert (first.rates, second.rates) == ((0, 4), (4, 6))
    assert stage_at([first, second], 3) is first
    assert stage_at([first, second], 4) is second
    drawn = [draw for batch in first.sampler for draw in batch]
    assert {str(dataset.datasets[draw.rows["rgb"]]) for draw in drawn} == {"people"}
    assert {modality for draw in drawn for modality in draw.rows} == {"rgb", "text"}
    drawn = [draw for batch in second.sampler for draw in batch]
    assert {str(dataset.datasets[draw.rows["rgb"]]) for draw in drawn} == {"people", "others"}
    assert {modality for draw in drawn for modality in draw.rows} == {"rgb"}
    shared = training_stages(*build(tiny_config, "stages=[{name: a}, {name: b}]"))
    assert [stage.rates for stage in shared] == [(0, 6), (0, 6)]
    epochs = build(tiny_config, "train={epochs: 3}", STAGES, manifests=both)
    assert [stage.stop for stage in training_stages(*epochs)] == [2 * 6, 2 * 6 + 12]


def test_a_stage_draws_the_classifier_anew(tiny_config):
    config, dataset = build(tiny_config, STAGES)
    stage = training_stages(config, dataset)[1]
    model, _ = assemble(tiny_config(*DMF, "model.options.classes=12"))
    before, projection = model.classifier.weight.clone(), model.image.projection.weight.clone()
    assert begin(stage, model, 0, fresh=False) == []
    assert torch.equal(model.classifier.weight, before)
    assert model.modality_mix == 1.0
    (restarted,) = begin(stage, model, 0, fresh=True)
    assert restarted is model.classifier.weight
    assert not torch.equal(model.classifier.weight, before)
    assert torch.equal(model.image.projection.weight, projection)


def test_a_run_killed_in_its_second_stage_ends_alike(tiny_config, tmp_path, monkeypatch):
    config = tiny_config(*DMF, "train.steps=6", STAGES, "train.save_every=1", "train.keep=10")
    whole = train(config, tmp_path / "whole")

    import reidtrain.train as module

    def dying(run, step, **kept):
        saved = save(run, step, **kept)
        if step in (4, 5):
            raise KeyboardInterrupt
        return saved

    save = module.save_checkpoint
    monkeypatch.setattr(module, "save_checkpoint", dying)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "killed")
    monkeypatch.setattr(module, "save_checkpoint", save)
    resumed = train(config, tmp_path / "killed")
    ours, theirs = (read_weights(checkpoints(run)[-1]) for run in (resumed, whole))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert ours["classifier.weight"].shape == (12, 16)


def test_weights_say_how_often_a_data_set_is_drawn(tiny_config, people):
    both = [people(), people(dataset_name="others"), people(dataset_name="left")]
    stages = "stages=[{name: a}, {name: b, mix: {left: 0, others: 3}}, {name: c, datasets: [left]}]"
    first, second, third = training_stages(*build(tiny_config, "data.mix={people: 2}", stages, manifests=both))

    def shares(stage):
        _, dataset = build(tiny_config, manifests=both)
        drawn = [str(dataset.datasets[draw.rows["rgb"]]) for batch in stage.sampler for draw in batch]
        return {name: drawn.count(name) / len(drawn) for name in sorted(set(drawn))}

    assert shares(first) == pytest.approx({"people": 0.5, "others": 0.25, "left": 0.25}, abs=0.05)
    assert shares(second) == pytest.approx({"people": 0.25, "others": 0.75}, abs=0.05)
    assert shares(third) == {"left": 1.0}


def test_stages_that_cannot_be(tiny_config):
    for stages, message in {
        "stages=[{name: a, datasets: [market]}]": "draws from market",
        "stages=[{name: a, modalities: [ir]}]": "draws ir, but the data has rgb, text",
        "stages=[{name: a, share: 0.01}, {name: b}]": "stages a get no step",
        "stages=[{name: a, mix: {market: 2}}]": "data.mix weighs market, but the data holds people",
        "data.mix={people: 0}": "gives no weight to any of people",
    }.items():
        with pytest.raises(UserError, match=message):
            training_stages(*build(tiny_config, stages))
    stage = training_stages(*build(tiny_config, "stages=[{name: a, restart: [nothing]}]"))[0]
    changed = replace(stage, config=stage.config.model_copy(update={"model": {"colour": 1}}))
    model, _ = assemble(tiny_config())
    with pytest.raises(UserError, match="takes no changes"):
        begin(changed, model, 0, fresh=True)
