"""The loop: it learns, it goes on exactly where it was killed, and it refuses what it can't train."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from reidtrain import train as loop
from reidtrain.checkpoint import assemble, checkpoints, fingerprint, load_run, read_best
from reidtrain.config import SelectConfig
from reidtrain.errors import UserError
from reidtrain.runlog import read_log
from reidtrain.runs import held, mark_best
from reidtrain.train import train

ELEVEN = ("train.steps=11", "train.save_every=4", "select.split=none", "train.keep=9")


def weights(run, step):
    return load_file(run / f"checkpoints/step-{step:06d}/model.safetensors")


def assert_same_end(run, other, step):
    ours, theirs = weights(run, step), weights(other, step)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    states = [
        torch.load(path / f"checkpoints/step-{step:06d}/training.pt", weights_only=True)["optimizer"]["state"]
        for path in (run, other)
    ]
    for number, moments in states[0].items():
        assert all(torch.equal(value, states[1][number][name]) for name, value in moments.items())


@pytest.fixture(scope="module")
def undisturbed(tiny_config, tmp_path_factory):
    """Eleven steps over two epochs of six batches."""
    return train(tiny_config(*ELEVEN), tmp_path_factory.mktemp("undisturbed") / "run")


def losses(run):
    return [(entry["step"], entry["loss"], entry["losses"], entry["lr"]) for entry in read_log(run, "train")]


def test_a_run_leaves_its_files(undisturbed):
    assert [path.name for path in checkpoints(undisturbed)] == ["step-000004", "step-000008", "step-000011"]
    assert [entry["step"] for entry in read_log(undisturbed, "train")] == list(range(1, 12))
    assert list((undisturbed / "tb").iterdir())
    assert "no split 'none' to choose on" in read_best(undisturbed)["reason"]
    entry = read_log(undisturbed, "train")[-1]
    assert entry["epoch"] == 1
    assert {"sdm", "ada", "sdm/T+S+I->R"} <= entry["losses"].keys()
    assert load_run(undisturbed).step == 11


def test_a_run_of_epochs_is_kept_and_judged_at_the_end_of_each(tiny_config, tmp_path):
    """The papers' presets name no interval: without this a killed run of 60 epochs would begin anew."""
    modes = "select={split: val, modes: [T->R], every: null}"
    run = train(tiny_config("train.steps=null", "train.epochs=2", "train.keep=9", modes), tmp_path / "run")
    assert [path.name for path in checkpoints(run)] == ["step-000006", "step-000012"]
    assert [entry["step"] for entry in read_log(run, "val")] == [6, 12]
    assert read_best(run)["split"] == "val"


def test_a_run_shorter_than_its_interval_says_why_nothing_chose(tmp_path):
    mark_best(tmp_path, 4, {}, SelectConfig(every=75), last=True, chosen_on="val")
    assert read_best(tmp_path)["reason"] == "the last step: the run has 4, and select.every is 75"
    (tmp_path / "b").mkdir()
    mark_best(tmp_path / "b", 4, {}, SelectConfig(every=75), last=True, chosen_on=None)
    assert "no split 'val'" in read_best(tmp_path / "b")["reason"]


def test_the_same_configuration_gives_the_same_weights(undisturbed, tiny_config, tmp_path):
    assert_same_end(undisturbed, train(tiny_config(*ELEVEN), tmp_path / "again"), 11)
    other = train(tiny_config(*ELEVEN, "train.seed=1"), tmp_path / "other")
    assert not all(torch.equal(weights(undisturbed, 11)[name], value) for name, value in weights(other, 11).items())


def test_workers_and_cache_change_nothing(undisturbed, tiny_config, tmp_path):
    run = train(tiny_config(*ELEVEN, "data.workers=2", "data.cache=false"), tmp_path / "run")
    assert_same_end(undisturbed, run, 11)


@pytest.mark.parametrize("stop", [2, 5, 9, 10])
def test_an_interrupted_run_goes_on_exactly(undisturbed, tiny_config, tmp_path, interrupted, stop):
    with interrupted(stop):
        train(tiny_config(*ELEVEN), tmp_path / "run")
    run = train(tiny_config(*ELEVEN), tmp_path / "run")
    assert_same_end(undisturbed, run, 11)
    assert losses(run) == losses(undisturbed)


def test_a_killed_run_goes_on_exactly(undisturbed, tiny_config, tmp_path):
    script = (
        "import json, sys, time\n"
        "from reidtrain import train as loop\n"
        "from reidtrain.config import parse_config\n"
        "seeded = loop._seed\n"
        "loop._seed = lambda *parts: (time.sleep(0.2), seeded(*parts))\n"
        "loop.train(parse_config(json.load(open(sys.argv[1])), 'config'), sys.argv[2])\n"
    )
    (tmp_path / "config.json").write_text(json.dumps(tiny_config(*ELEVEN).dump()))
    run, log = tmp_path / "run", tmp_path / "run/log.jsonl"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "config.json"), str(run)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.DEVNULL,
    ) as process:
        deadline = time.monotonic() + 120
        while not (log.exists() and '"step": 9' in log.read_text()):  # in the middle of the second epoch
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert checkpoints(run)[-1].name == "step-000008"
    train(tiny_config(*ELEVEN), run)
    assert_same_end(undisturbed, run, 11)
    assert losses(run) == losses(undisturbed)


def test_two_trainings_in_one_folder(undisturbed, tiny_config, tmp_path):
    run = tmp_path / "run"
    with held(run):
        for overwrite in (False, True):
            with pytest.raises(UserError, match=f"another process is training in {run}: wait for it, or choose"):
                train(tiny_config(*ELEVEN), run, overwrite=overwrite)
        assert not list(run.iterdir())
    train(tiny_config(*ELEVEN), run)  # free again
    assert_same_end(undisturbed, run, 11)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"notes\.txt is a file: choose another folder"):
        train(tiny_config(*ELEVEN), tmp_path / "notes.txt", overwrite=True)


def test_a_finished_run_is_left_as_it_is(undisturbed, tiny_config):
    before = {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*.safetensors")}
    train(tiny_config(*ELEVEN), undisturbed)
    assert {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*.safetensors")} == before


def test_the_loss_falls_and_the_backbone_stays(tiny_config, tmp_path):
    config = tiny_config("train.steps=100", "optim.lr=2e-2", "select.split=none", "train.log_every=10")
    run = train(config, tmp_path / "run")
    entries = read_log(run, "train")
    assert entries[-1]["loss"] < 0.9 * entries[0]["loss"]
    assert entries[0]["lr"] > entries[-1]["lr"]
    load_run(run)  # compares the backbone's checksum


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("model={name: aio, options: {token_budget: 4}}", "objective={name: aio}", "train.ema=0.9"),
        ("model={name: dmf, options: {width: 16, depth: 1, heads: 2}}", "objective={name: dmf}"),
    ],
    ids=["flexireid", "aio", "dmf"],
)
def test_a_frozen_backbone_is_frozen(tiny_config, tmp_path, monkeypatch, options):
    """Not what is stored of it, which is nothing: the tensors that trained."""
    built = {}

    def assembled(config):
        model, backbone = assemble(config)
        built.update(model=model, backbone=backbone, before=fingerprint(backbone))
        return model, backbone

    monkeypatch.setattr(loop, "assemble", assembled)
    monkeypatch.setattr(torch.optim.Optimizer, "zero_grad", lambda self, set_to_none: None)  # gradients stay to be seen
    train(tiny_config("train.steps=3", "select.split=none", "optim.weight_decay=0.1", *options), tmp_path / "run")
    model, backbone = built["model"], built["backbone"]
    assert fingerprint(backbone) == built["before"]
    assert fingerprint(backbone) == fingerprint(assemble(tiny_config())[1])
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in backbone.parameters())
    assert model.training
    assert not any(module.training for module in backbone.modules())
    assert sum(parameter.grad is not None for parameter in model.parameters()) > 5


def test_learning_rates_follow_warm_up_and_groups(tiny_config, tmp_path):
    group = "optim.groups=[{match: fusion, lr_scale: 0.1, weight_decay: 0.5}]"
    config = tiny_config("train.steps=4", "optim.warmup=0.5", "optim.lr=0.1", "select.split=none", group)
    run = train(config, tmp_path / "run")
    assert [entry["lr"] for entry in read_log(run, "train")] == pytest.approx([0.01, 0.055, 0.1, 0.05])
    state = torch.load(run / "checkpoints/step-000004/training.pt", weights_only=True)["optimizer"]
    assert [entry["lr"] for entry in state["param_groups"]] == pytest.approx([0.005, 0.05])
    assert [entry["weight_decay"] for entry in state["param_groups"]] == [0.5, 0.0]


def test_existing_folders(undisturbed, tiny_config, tmp_path):
    with pytest.raises(UserError, match=r"another configuration \(optim.lr is 0.003 there and 0.5 here\)"):
        train(tiny_config(*ELEVEN, "optim.lr=0.5"), undisturbed)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty and holds no run"):
        train(tiny_config(*ELEVEN), tmp_path / "full", overwrite=True)
    assert (tmp_path / "full/thesis.txt").read_text() == "mine"
    (tmp_path / "model").mkdir()
    # Of a model of transformers, of nobody, damaged; of the translator in reidsynth.
    for text in ('{"model_type": "clip"}', "[]", "{", '{"target": "ir", "options": {}, "data": "0"}'):
        (tmp_path / "model/config.json").write_text(text)
        for overwrite in (False, True):
            with pytest.raises(UserError, match="is not empty and holds no run"):
                train(tiny_config(*ELEVEN), tmp_path / "model", overwrite=overwrite)
        assert (tmp_path / "model/config.json").read_text() == text
        if text == "{":
            (tmp_path / "model/checkpoints/step-00000100").mkdir(parents=True)
    run = train(tiny_config("train.steps=1", "select.split=none"), tmp_path / "run")
    train(tiny_config("train.steps=2", "select.split=none"), run, overwrite=True)
    assert [path.name for path in checkpoints(run)] == ["step-000002"]


def test_a_mistake_before_the_first_checkpoint_does_not_bind(tiny_config, tmp_path):
    with pytest.raises(UserError, match="distinct identities"):
        train(tiny_config("sampler.batch_size=64", "select.split=none"), tmp_path / "run")
    train(tiny_config("train.steps=1", "select.split=none"), tmp_path / "run")
    assert load_run(tmp_path / "run").step == 1


def test_changed_data_is_refused(people, tiny_config, tmp_path, undisturbed):
    with pytest.raises(UserError, match=r"the data of .* changed since its checkpoint at step 11"):
        train(tiny_config(*ELEVEN, manifests=[people(blank=2)]), undisturbed)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("objective.name=sdm2", "objective 'sdm2' is unknown: choose one of aio, dmf, flexireid"),
        ("model.name=flexi", "model 'flexi' is unknown"),
        ("model.options.exprts=3", "no option exprts"),
        ("optim.groups=[{match: vision_exprts}]", "pattern 'vision_exprts' matches no trainable parameter"),
        ("sampler.batch_size=64", "batch of 64 distinct identities can't be drawn from 12"),
        ("data.split=dev", "no split 'dev'"),
        ("train.precision=fp16", "there is no CUDA device"),
        ("optim.lr=1e30", "the loss became"),
    ],
)
def test_what_can_not_be_trained_is_one_sentence(tiny_config, tmp_path, override, message):
    if "fp16" in override and torch.cuda.is_available():
        pytest.skip("fp16 is possible here")
    with pytest.raises(UserError, match=message):
        train(tiny_config("select.split=none", override), tmp_path / "run")


def test_missing_manifests_and_modalities(people, tiny_config, tmp_path):
    with pytest.raises(UserError, match="lacks the modality text"):
        train(tiny_config(manifests=[people(text=False)]), tmp_path / "run")
    config = tiny_config("data.tables.text=null", "select.split=none", manifests=[people(text=False)])
    run = train(config, tmp_path / "three")
    assert "sdm/S+I->R" in read_log(run, "train")[0]["losses"]
    assert "sdm/T->R" not in read_log(run, "train")[0]["losses"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [(), ("train.accumulation=2", "train.gradient_checkpointing=true", "train.ema=0.9")]
)
def test_two_processes_train_one_model(tiny_config, tmp_path, options):
    script = (
        "import json, sys\n"
        "from reidtrain.config import parse_config\n"
        "from reidtrain.train import train\n"
        "train(parse_config(json.load(open(sys.argv[1])), 'config'), sys.argv[2])\n"
    )
    (tmp_path / "script.py").write_text(script)
    config = tiny_config("train.steps=3", "select.every=2", "data.tables.text=null", "train.precision=fp32", *options)
    (tmp_path / "config.json").write_text(json.dumps(config.dump()))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=29517"]
    done = subprocess.run(
        [*command, str(tmp_path / "script.py"), str(tmp_path / "config.json"), str(tmp_path / "run")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[:3000]
    assert [entry["step"] for entry in read_log(tmp_path / "run", "train")] == [1, 2, 3]
    assert [path.name for path in checkpoints(tmp_path / "run")] == ["step-000002", "step-000003"]
    # As one process does: both see the loss of the whole batch, and have the same gradients.
    alone = train(config, tmp_path / "alone")
    sums = [[entry["losses"]["sdm"] for entry in read_log(path, "train")] for path in (tmp_path / "run", alone)]
    assert sums[0] == pytest.approx(sums[1], rel=1e-5)
    ours, theirs = weights(tmp_path / "run", 3), weights(alone, 3)
    assert all(torch.allclose(value, theirs[name], atol=1e-4) for name, value in ours.items())
