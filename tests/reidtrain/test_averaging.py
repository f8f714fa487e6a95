"""The moving average of the weights: its numbers, what is kept of it, and going on exactly."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from reidtrain.averaging import WeightAverage
from reidtrain.checkpoint import checkpoints, load_run, read_meta
from reidtrain.train import train

AVERAGED = (
    "train.steps=7",
    "train.save_every=3",
    "train.keep=9",
    "select.split=val",
    "select.every=3",
    "train.ema=0.8",
)


def test_the_average_by_hand():
    weight, count = torch.tensor([1.0]), torch.tensor(3)
    average = WeightAverage({"w": weight, "count": count}, decay=0.75, warmup=2)
    values = [1.0]
    for number, new in enumerate([3.0, -1.0, 5.0, 2.0]):
        weight.fill_(new)
        average.update()
        decay = min(0.75, (1 + number) / (2 + number))  # 1/2, 2/3, 3/4, then the limit
        values.append(decay * values[-1] + (1 - decay) * new)
    with average.in_place():
        assert weight.item() == pytest.approx(values[-1])
    assert (weight.item(), count.item()) == (2.0, 3)


def test_weights_drawn_anew_have_no_past():
    model = torch.nn.ModuleDict({"a": torch.nn.Linear(2, 2), "b": torch.nn.Linear(2, 2)})
    state = {name: value.detach() for name, value in model.state_dict(keep_vars=True).items()}
    average = WeightAverage(state, decay=0.9)
    old = model["a"].weight.detach().clone()
    for module in model.values():
        torch.nn.init.ones_(module.weight)
    average.restart([model["b"].weight])
    with average.in_place():
        assert torch.equal(model["a"].weight, old)
        assert torch.equal(model["b"].weight, torch.ones(2, 2))


def test_an_error_in_between_gives_the_weights_back():
    weight = torch.tensor([1.0])
    average = WeightAverage({"w": weight}, decay=0.5)
    weight.fill_(9.0)
    with pytest.raises(KeyboardInterrupt), average.in_place():
        raise KeyboardInterrupt
    assert weight.item() == 9.0


@pytest.fixture(scope="module")
def averaged(tiny_config, tmp_path_factory):
    return train(tiny_config(*AVERAGED), tmp_path_factory.mktemp("averaged") / "run")


def test_the_average_is_what_is_kept_and_evaluated(averaged, tiny_config, tmp_path, monkeypatch):
    plain = train(tiny_config(*AVERAGED[:-1]), tmp_path / "plain")
    kept, own = (load_file(checkpoints(run)[-1] / "model.safetensors") for run in (averaged, plain))
    training = torch.load(checkpoints(averaged)[-1] / "training.pt", weights_only=True)
    assert training["ema_updates"] == 7
    # What learns learns as without the average, and what is kept is something else.
    assert all(torch.equal(training["weights"][name], own[name]) for name in training["weights"])
    assert not all(torch.equal(kept[name], value) for name, value in own.items())
    # The declared metric is the average's.
    from reidtrain.evaluate import evaluate_run

    found = evaluate_run(
        averaged, json.loads((averaged / "config.json").read_text())["data"]["manifests"][0], split="val"
    )
    meta = read_meta(load_run(averaged).path)
    assert {name: mode.cmc[0] for name, mode in found.modes.items() if name in meta["metrics"]} == {
        name: value for name, value in meta["metrics"].items() if name != "mean"
    }


@pytest.mark.parametrize("stop", [4, 6])
def test_an_interrupted_average_goes_on_exactly(averaged, tiny_config, tmp_path, interrupted, stop):
    with interrupted(stop):
        train(tiny_config(*AVERAGED), tmp_path / "run")
    run = train(tiny_config(*AVERAGED), tmp_path / "run")
    ours, theirs = (
        torch.load(path / "checkpoints/step-000007/training.pt", weights_only=True) for path in (run, averaged)
    )
    assert ours["ema_updates"] == theirs["ema_updates"]
    assert all(torch.equal(value, theirs["weights"][name]) for name, value in ours["weights"].items())
    ours, theirs = (load_file(path / "checkpoints/step-000007/model.safetensors") for path in (run, averaged))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
