"""Weights & Biases and MLflow, which are not installed: modules that record what accelerate's trackers call."""

from __future__ import annotations

import importlib.machinery
import json
import sys
import types

import pytest

from reidtrain.errors import UserError
from reidtrain.runlog import read_log
from reidtrain.train import train

SHORT = ("train.steps=4", "train.save_every=2", "select.split=val", "select.every=4")


def module(name, **entries):
    made = types.ModuleType(name)
    made.__spec__ = importlib.machinery.ModuleSpec(name, None)
    made.__dict__.update(entries)
    return made


@pytest.fixture
def wandb(monkeypatch):
    calls = {"init": [], "log": [], "config": {}, "finished": 0}

    class Run:
        def __init__(self, known):
            self.id = known or "drawn-1"

        def log(self, values, step=None):
            calls["log"].append((step, values))

        def finish(self):
            calls["finished"] += 1

    def init(**options):
        calls["init"].append(options)
        return Run(options.get("id"))

    config = types.SimpleNamespace(update=lambda values, allow_val_change: calls["config"].update(values))
    monkeypatch.setitem(sys.modules, "wandb", module("wandb", init=init, config=config))
    return calls


@pytest.fixture
def mlflow(monkeypatch):
    calls = {"runs": [], "params": {}, "metrics": [], "ended": 0}

    def start_run(**options):
        calls["runs"].append(options)
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id=options["run_id"] or "drawn-2"))

    def end_run():
        calls["ended"] += 1

    limits = types.SimpleNamespace(MAX_PARAM_VAL_LENGTH=500, MAX_PARAMS_TAGS_PER_BATCH=20)
    made = module(
        "mlflow",
        search_experiments=lambda filter_string: [],
        create_experiment=lambda name, artifact_location, tags: f"experiment {name}",
        start_run=start_run,
        end_run=end_run,
        log_params=calls["params"].update,
        log_metrics=lambda metrics, step: calls["metrics"].append((step, metrics)),
        utils=types.SimpleNamespace(validation=limits),
    )
    monkeypatch.setitem(sys.modules, "mlflow", made)
    return calls


def test_everything_that_is_logged_arrives(tiny_config, tmp_path, wandb, mlflow):
    run = train(tiny_config(*SHORT, "loggers=[wandb, mlflow]", "project=people"), tmp_path / "run")
    (begun,) = wandb["init"]
    assert (begun["project"], begun["name"], begun["dir"]) == ("people", "run", str(run))
    assert "id" not in begun
    assert mlflow["runs"][0]["experiment_id"] == "experiment people"
    for history in (wandb["log"], mlflow["metrics"]):
        trained = [(step, values["train/loss"]) for step, values in history if "train/loss" in values]
        assert trained == [(entry["step"], entry["loss"]) for entry in read_log(run, "train")]
        assert any("val/mean" in values and "val/R1/T->R" in values for _, values in history)
    assert wandb["config"]["optim.lr"] == mlflow["params"]["optim.lr"] == 3e-3
    assert (wandb["finished"], mlflow["ended"]) == (1, 1)
    assert not (run / "tb").exists()


def test_a_resumed_run_is_the_same_run_there(tiny_config, tmp_path, wandb, mlflow, interrupted):
    config = tiny_config(*SHORT, "loggers=[tensorboard, wandb, mlflow]")
    with interrupted(3):
        train(config, tmp_path / "run")
    assert wandb["finished"] == 1
    run = train(config, tmp_path / "run")
    assert json.loads((run / "trackers.json").read_text()) == {"wandb": "drawn-1", "mlflow": "drawn-2"}
    assert [begun.get("id") for begun in wandb["init"]] == [None, "drawn-1"]
    assert wandb["init"][1]["resume"] == "allow"
    assert [begun["run_id"] for begun in mlflow["runs"]] == [None, "drawn-2"]
    assert {step for step, _ in wandb["log"]} == {0, 1, 2, 3, 4}
    assert list((run / "tb").iterdir())
    # Loggers may change between the two halves of a run: they change nothing that is trained.
    train(tiny_config(*SHORT, "loggers=[jsonl]"), run)


def test_a_service_that_is_not_installed(tiny_config, tmp_path, monkeypatch):
    for name, service in (("wandb", "Weights & Biases"), ("mlflow", "MLflow")):
        monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
        with pytest.raises(UserError) as caught:
            train(tiny_config(*SHORT, f"loggers=[{name}]"), tmp_path / "run")
        assert str(caught.value) == (
            f"loggers names {name}, and the package {name} is not installed: install it to log to {service} "
            f"(pip install {name}), or leave {name} out of loggers"
        )
    assert not (tmp_path / "run").exists()


def test_a_service_that_refuses(tiny_config, tmp_path, monkeypatch):
    def init(**options):
        raise RuntimeError("api_key not configured")

    monkeypatch.setitem(sys.modules, "wandb", module("wandb", init=init))
    with pytest.raises(UserError, match=r"Weights & Biases can't begin \(RuntimeError: api_key not configured\)"):
        train(tiny_config(*SHORT, "loggers=[wandb]"), tmp_path / "run")


def test_an_unknown_logger_is_a_mistake_of_the_configuration(tiny_config):
    with pytest.raises(UserError, match=r"loggers.0: input should be 'jsonl', 'tensorboard', 'wandb' or 'mlflow'"):
        tiny_config("loggers=[comet]")
