"""Gradients in parts, recomputed, compiled, in bfloat16: equal to those of the whole batch where they must be."""

from __future__ import annotations

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from reidtrain import train as loop
from reidtrain.backbones import recompute_blocks
from reidtrain.batch import Batch
from reidtrain.checkpoint import assemble, checkpoints, load_run, read_weights
from reidtrain.data import collate
from reidtrain.errors import UserError
from reidtrain.feeding import training_data, training_stages
from reidtrain.gradients import InParts, backward
from reidtrain.objectives import OBJECTIVES
from reidtrain.runlog import read_log
from reidtrain.train import train

MODELS = {
    "flexireid": (),
    "unireid": ("model={name: unireid}", "objective={name: unireid}", "backbone.frozen=false", "data.tables.ir=null"),
    "aio": ("model={name: aio}", "objective={name: aio}"),
    "dmf": (
        "model={name: dmf, options: {width: 16, depth: 1, heads: 2, modality_mix: 1.0}}",
        "objective={name: dmf}",
        "data.tables={ir: null, sketch: null}",
        "sampler={name: groups, batch_size: 8, per_identity: 4}",
    ),
}


@pytest.fixture
def parts_of(tiny_config, people):
    """A model in double precision with a batch in which some rows lack a sketch."""

    def make(name):
        config = tiny_config(*MODELS[name], "select.split=none", manifests=[people(sketchless=3)])
        model, backbone = assemble(config)
        dataset = training_data(config, backbone)
        draws = next(iter(training_stages(config, dataset)[0].sampler))
        batch = collate([dataset[draw] for draw in draws])
        torch.manual_seed(1)
        for parameter in model.parameters():  # adapters and maps that begin at zero would hide a mistake
            if parameter.requires_grad:
                nn.init.normal_(parameter, std=0.1)
        batch.images = {name: image.double() for name, image in batch.images.items()}
        return model.double(), backbone, batch, config.objective

    return make


def gradients(model, whole, batch, objective, *, parts=1):
    model.zero_grad()
    torch.manual_seed(0)
    losses = backward(
        Accelerator(cpu=True),
        whole,
        lambda outputs, piece: OBJECTIVES[objective.name](outputs, piece, objective.options),
        batch,
        parts=parts,
    )
    found = {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}
    return losses["total"].detach(), found


def assert_same(ours, theirs):
    assert torch.allclose(ours[0], theirs[0], rtol=1e-9)
    assert ours[1].keys() == theirs[1].keys()
    for name, value in ours[1].items():
        assert torch.allclose(value, theirs[1][name], rtol=1e-7, atol=1e-10), name


@pytest.mark.parametrize("name", ["flexireid", "unireid", "dmf"])
@pytest.mark.parametrize("parts", [2, 3])
def test_cached_parts_give_the_gradient_of_the_whole_batch(parts_of, name, parts):
    model, _, batch, objective = parts_of(name)
    whole = gradients(model, model, batch, objective)
    assert_same(gradients(model, InParts(model, parts), batch, objective), whole)
    # Small batches of their own don't: a contrastive loss has fewer negatives there.
    small = gradients(model, model, batch, objective, parts=parts)
    assert not torch.allclose(small[0], whole[0], rtol=1e-3)


def test_parts_of_aio_join_and_count_their_statistics_once(parts_of):
    model, _, batch, objective = parts_of("aio")
    norm = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    loss, found = gradients(model, InParts(model, 2), batch, objective)
    assert loss.isfinite()
    assert all(value.isfinite().all() for value in found.values())
    assert int(norm.num_batches_tracked) == 2  # two parts, not four
    seen = norm.running_mean.clone()
    again, _, batch, objective = parts_of("aio")
    with torch.no_grad():
        torch.manual_seed(0)
        for piece in batch.split(2):
            again(piece)
    twin = next(module for module in again.modules() if isinstance(module, nn.BatchNorm2d))
    assert torch.allclose(seen, twin.running_mean)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_recomputed_blocks_change_nothing(parts_of, name):
    model, _, batch, objective = parts_of(name)
    whole = gradients(model, model, batch, objective)
    recompute_blocks(model)
    assert_same(gradients(model, model, batch, objective), whole)


def kept(model, batch):
    """Numbers that a forward pass keeps for the way back."""
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(lambda value: sizes.append(value.numel()) or value, lambda v: v):
        model(batch)
    return sum(sizes)


def test_recomputed_blocks_and_cached_parts_keep_less(parts_of):
    model, _, batch, _ = parts_of("unireid")
    before = kept(model, batch)
    assert kept(InParts(model, 4), batch) < 0.5 * before
    recompute_blocks(model)
    assert kept(model, batch) < 0.6 * before


def test_small_batches_equal_the_whole_where_samples_do_not_meet():
    model = nn.Linear(3, 1).double()
    rows = torch.arange(8)
    batch = Batch({"rgb": torch.randn(8, 3, dtype=torch.double)}, None, {}, rows, rows)

    def squares(outputs, piece):
        return {"total": (outputs - piece.labels[:, None]).pow(2).mean()}

    class Reads(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, piece):
            return self.inner(piece.images["rgb"])

    found = []
    for parts in (1, 4):
        model.zero_grad()
        losses = backward(Accelerator(cpu=True), Reads(), squares, batch, parts=parts)
        found.append((losses["total"], model.weight.grad.clone()))
    assert torch.allclose(found[0][0], found[1][0])
    assert torch.allclose(found[0][1], found[1][1])


def test_batches_split_as_equally_as_they_can():
    rows = torch.arange(5)
    batch = Batch({}, rows[:, None], {"text": rows > 1}, rows, rows)
    assert [piece.labels.tolist() for piece in batch.split(3)] == [[0, 1], [2, 3], [4]]
    assert [piece.present["text"].tolist() for piece in batch.split(3)] == [[False, False], [True, True], [True]]
    assert len(batch.split(9)) == 5


def test_uneven_parts_are_refused_with_the_other_mistakes(tiny_config):
    with pytest.raises(UserError, match=r"a batch of 8 can't be divided into train\.accumulation=3 equal parts"):
        tiny_config("train.accumulation=3")


@pytest.mark.parametrize(
    "override", ["train.accumulation=2", "train.gradient_checkpointing=true", "train.precision=bf16"]
)
def test_a_run_comes_near_the_plain_one(tiny_config, tmp_path, override):
    plain = train(tiny_config("select.split=none", "train.precision=fp32"), tmp_path / "plain")
    other = train(tiny_config("select.split=none", "train.precision=fp32", override), tmp_path / "other")
    ours, theirs = ([entry["loss"] for entry in read_log(run, "train")] for run in (other, plain))
    assert ours == pytest.approx(theirs, rel=2e-2 if "bf16" in override else 1e-4)
    assert (ours != theirs) or "checkpointing" in override


def test_small_batches_train_too(tiny_config, tmp_path):
    options = ("select.split=none", "train.accumulation=4", "train.accumulation_loss=part")
    entries = read_log(train(tiny_config(*options), tmp_path / "run"), "train")
    assert [entry["step"] for entry in entries] == [1, 2, 3, 4]
    assert all({"sdm", "ada"} <= entry["losses"].keys() for entry in entries)


def test_a_loss_scaler_changes_nothing_and_goes_on(tiny_config, tmp_path, monkeypatch, interrupted):
    """fp16 needs a GPU, its scaler does not: scales are powers of two, so float32 weights come out bit by bit."""
    config = tiny_config("select.split=none", "train.precision=fp32", "train.steps=6", "train.save_every=3")
    plain = train(config, tmp_path / "plain")
    made = loop._accelerator

    def scaled(config):
        accelerator = made(config)
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**8, growth_interval=2)
        return accelerator

    monkeypatch.setattr(loop, "_accelerator", scaled)
    with interrupted(4):
        train(config, tmp_path / "run")
    run = train(config, tmp_path / "run")
    ours, theirs = (read_weights(checkpoints(path)[-1]) for path in (run, plain))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    state = torch.load(checkpoints(run)[-1] / "training.pt", weights_only=True)["scaler"]
    assert state["scale"] == 2.0**8 * 2**3  # doubled after every second of six steps


@pytest.mark.slow
def test_a_compiled_run_comes_near_the_plain_one(tiny_config, tmp_path):
    options = (*MODELS["dmf"], "select.split=none", "train.precision=fp32", "train.steps=3")
    plain = train(tiny_config(*options), tmp_path / "plain")
    other = train(tiny_config(*options, "train.compile=true"), tmp_path / "other")
    ours, theirs = ([entry["loss"] for entry in read_log(run, "train")] for run in (other, plain))
    assert ours == pytest.approx(theirs, rel=1e-4)
    assert load_run(other).step == 3
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
