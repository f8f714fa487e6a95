"""Pre-training of the small backbone: what it reads, resuming, and that it learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reidtrain import pretrain as pretraining
from reidtrain.backbones import build_backbone
from reidtrain.errors import UserError
from reidtrain.pretrain import Learner, PretrainOptions, contrast, pretrain, start, train
from reidtrain.pretrain_data import ABSENT, Captures, augment, swap_synonyms

COLOURS = {"red": (200, 30, 30), "green": (30, 160, 60), "blue": (40, 60, 200), "white": (230, 230, 230)}
FAST = {"batch": 16, "warmup": 2, "half": False, "lr": 2e-3}


def make_captures(count=32):
    names = sorted(COLOURS)
    colour = torch.arange(count) % 4
    kind = torch.arange(count) // 4 % 2
    rgb = torch.zeros(count, 3, 128, 64, dtype=torch.uint8)
    for row in range(count):
        rgb[row] = torch.tensor(COLOURS[names[int(colour[row])]], dtype=torch.uint8)[:, None, None]
        rgb[row, :, 64 if kind[row] else 96 :] = 20
    ir = rgb.float().mean(dim=1, keepdim=True).to(torch.uint8)
    words = ["trousers", "shorts"]
    captions = [
        [f"A man in {names[int(colour[row])]} {words[int(kind[row])]}.", f"{names[int(colour[row])]} clothes"]
        for row in range(count)
    ]
    labels = {"colour": colour.clone(), "lower": kind.clone()}
    labels["lower"][0] = ABSENT
    present = {name: torch.ones(count, dtype=torch.bool) for name in ("rgb", "ir")}
    present["ir"][3] = False
    return Captures(
        {"rgb": rgb, "ir": ir}, present, captions, torch.arange(count) // 2, labels, {"colour": names, "lower": words}
    )


def test_it_learns_and_exports(tmp_path, monkeypatch):
    captures = make_captures()
    monkeypatch.setattr(pretraining, "read_captures", lambda *_: captures)
    history = []
    folder = pretrain("m", tmp_path / "b", steps=14, report=lambda _, losses: history.append(losses), **FAST)
    assert len(history) == 14
    assert history[-1]["attributes"] < 0.8 * history[0]["attributes"]
    model = build_backbone(str(folder))
    assert model.unknown_words("a man in red pants with a zebra") == ["zebra"]
    assert (folder / "model.safetensors").stat().st_size < 4_200_000
    assert not any(parameter.requires_grad for parameter in model.parameters())


FOUR = PretrainOptions(steps=4, save_seconds=0.0, **FAST)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Four steps that nothing stopped."""
    return train(make_captures(), tmp_path_factory.mktemp("whole"), FOUR)


@pytest.mark.parametrize("stop", [1, 3])
def test_a_stopped_run_goes_on_to_the_same_weights(whole, tmp_path, stop):
    captures = make_captures()

    class Stop(Exception):  # noqa: N818  it is no error
        pass

    def interrupt(step, _):
        if step == stop + 1:
            raise Stop

    with pytest.raises(Stop):
        train(captures, tmp_path, FOUR, report=interrupt)
    again = train(captures, tmp_path, FOUR)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    captures = make_captures()
    train(captures, tmp_path, PretrainOptions(steps=1, **FAST))
    with pytest.raises(UserError, match="other options"):
        train(captures, tmp_path, PretrainOptions(steps=1, **{**FAST, "lr": 1e-4}))
    with pytest.raises(UserError, match="no option colour"):
        pretrain("m", tmp_path, colour=1)


def test_what_is_not_shown_is_not_asked():
    captures = make_captures()
    learner, _ = start(captures, PretrainOptions(**FAST))
    assert isinstance(learner, Learner)
    logits = torch.randn(2, 6, requires_grad=True)
    loss = learner.attribute_loss(
        logits, {"colour": torch.tensor([1, ABSENT]), "lower": torch.tensor([ABSENT, ABSENT])}
    )
    loss.backward()
    assert logits.grad[1].abs().sum() == 0
    assert logits.grad[0, 4:].abs().sum() == 0
    none = learner.attribute_loss(logits, {"colour": torch.tensor([ABSENT] * 2), "lower": torch.tensor([ABSENT] * 2)})
    assert float(none.detach()) == 0.0


def test_contrast_takes_every_feature_of_a_person_as_right():
    features = torch.eye(3)[[0, 0, 1]]
    pids = torch.tensor([7, 7, 8])
    low = contrast(features, features, pids, pids, torch.tensor(50.0))
    assert float(low) == pytest.approx(np.log(2) * 2 / 3, abs=1e-4)


def test_augmentation_is_seeded_and_leaves_its_input():
    pixels = torch.randint(0, 256, (6, 3, 128, 64), dtype=torch.uint8)
    before = pixels.clone()
    options = {"mean": (0.5,) * 3, "std": (0.25,) * 3}
    first = augment(pixels, **options, generator=torch.Generator().manual_seed(1))
    second = augment(pixels, **options, generator=torch.Generator().manual_seed(1))
    assert torch.equal(first, second)
    assert torch.equal(pixels, before)
    assert first.shape == (6, 3, 128, 64)
    assert augment(pixels[:, :1], **options, generator=torch.Generator()).shape == (6, 3, 128, 64)


def test_synonyms():
    text = swap_synonyms("a man in beige trousers", np.random.default_rng(0), 1.0)
    assert text.split()[1] in ("guy", "male", "gentleman", "boy")
    assert "tan" in text
    assert swap_synonyms("a man", np.random.default_rng(0), 0.0) == "a man"
