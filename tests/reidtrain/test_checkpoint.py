"""Checkpoints: whole or absent, small where the backbone is frozen, refused where they don't fit."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from reidtrain import checkpoint as checkpoints_module
from reidtrain.checkpoint import (
    assemble,
    backbone_record,
    checkpoints,
    fingerprint,
    load_run,
    prune,
    save_checkpoint,
    stored_state,
    write_json,
)
from reidtrain.errors import UserError


@pytest.fixture
def saved(tiny_config, tmp_path):
    """A run folder with one checkpoint, and its model."""
    config = tiny_config()
    model, backbone = assemble(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)
    run = tmp_path / "run"
    run.mkdir()
    write_json(run / "config.json", config.dump())
    meta = {"config": config.dump(), "backbone": backbone_record(config, backbone)}
    save_checkpoint(run, 3, state=stored_state(model, backbone), training={}, meta=meta)
    return run, model, backbone


def edit_meta(run, change):
    path = run / "checkpoints/step-000003/meta.json"
    meta = json.loads(path.read_text())
    change(meta)
    path.write_text(json.dumps(meta))


def test_what_was_saved_is_loaded(saved):
    run, model, _ = saved
    loaded = load_run(run)
    assert (loaded.step, loaded.path.name) == (3, "step-000003")
    assert not loaded.model.training
    assert fingerprint(loaded.model) == fingerprint(model)
    assert fingerprint(load_run(loaded.path).model) == fingerprint(model)


def test_a_frozen_backbone_is_named_and_not_stored(saved, tiny_config):
    run, _, backbone = saved
    names = load_file(run / "checkpoints/step-000003/model.safetensors").keys()
    assert names
    assert not [name for name in names if name.startswith("backbone.")]
    meta = load_run(run).meta
    assert meta["backbone"] == {
        "name": load_run(run).config.backbone.name,
        "stored": False,
        "sha256": fingerprint(backbone),
    }
    config = tiny_config("backbone.frozen=false")
    model, trained = assemble(config)
    assert stored_state(model, trained).keys() == model.state_dict().keys()
    assert backbone_record(config, trained)["stored"]


def test_building_twice_gives_the_same_model_and_leaves_the_random_state(tiny_config):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = assemble(tiny_config())[0]
    assert torch.equal(torch.rand(3), expected)
    assert fingerprint(first) == fingerprint(assemble(tiny_config())[0])
    assert fingerprint(first) != fingerprint(assemble(tiny_config("train.seed=1"))[0])


def test_a_checkpoint_for_another_model_is_refused(saved):
    run, _, _ = saved
    edit_meta(run, lambda meta: meta["config"]["model"]["options"].update(experts=3))
    with pytest.raises(UserError, match=r"not the 'flexireid' asked for \(\d+ tensors don't fit"):
        load_run(run)


def test_another_backbone_under_the_same_name_is_refused(saved):
    run, _, _ = saved
    edit_meta(run, lambda meta: meta["backbone"].update(sha256="0" * 64))
    with pytest.raises(UserError, match=r"was trained on a backbone .* with checksum 000000000000"):
        load_run(run)


def test_a_missing_backbone_is_one_sentence(saved):
    run, _, _ = saved
    edit_meta(run, lambda meta: meta["config"]["backbone"].update(name="gone/folder"))
    with pytest.raises(UserError, match="gone/folder"):
        load_run(run)


def test_what_is_no_run_is_told(saved, tmp_path):
    run, _, _ = saved
    with pytest.raises(UserError, match="does not exist, so it is no run"):
        load_run(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"holds no config.json"):
        load_run(tmp_path / "empty")
    damaged = run / "checkpoints/step-000003/model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:50])
    with pytest.raises(UserError, match="can't be read"):
        load_run(run)
    edit_meta(run, lambda meta: meta.update(format=7))
    with pytest.raises(UserError, match="checkpoint format 7"):
        load_run(run)
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(UserError, match="holds no checkpoint yet"):
        load_run(run)


def test_a_full_disk_leaves_nothing_half_written(saved, monkeypatch):
    run, model, backbone = saved

    def full(*_arguments, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints_module.torch, "save", full)
    with pytest.raises(UserError, match="No space left on device"):
        save_checkpoint(run, 9, state=stored_state(model, backbone), training={}, meta={})
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-000003"]


def test_the_last_ones_and_the_best_are_kept(saved):
    run, _, _ = saved
    for step in (5, 10, 200, 1000000):
        shutil.copytree(run / "checkpoints/step-000003", run / f"checkpoints/step-{step:06d}")
    (run / "checkpoints/.step-000007.writing-1").mkdir()
    write_json(run / "best.json", {"checkpoint": "step-000005"})
    prune(run, 2)
    assert [path.name for path in checkpoints(run)] == ["step-000005", "step-000200", "step-1000000"]
    assert not list((run / "checkpoints").glob(".*"))
    assert load_run(run).path.name == "step-000005"


def test_fingerprints_see_names_shapes_and_values(tmp_path):
    layers = [torch.nn.Linear(2, 3), torch.nn.Linear(3, 2), torch.nn.Linear(2, 3, bias=False)]
    prints = [fingerprint(layer) for layer in layers]
    assert len(set(prints)) == 3
    save_file(layers[0].state_dict(), tmp_path / "a")
    layers[1] = torch.nn.Linear(2, 3)
    layers[1].load_state_dict(load_file(tmp_path / "a"))
    assert fingerprint(layers[1]) == prints[0]
