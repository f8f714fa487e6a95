"""Relevance: the part that a match rests on is found, and attention is that of torch."""

import numpy as np
import pytest
import torch

from reidtrain.errors import UserError
from reidtrain.figures.attention import painted
from reidtrain.items import Item
from reidtrain.relevance import occlude_image, occlude_words, rollout_image, rollout_words


class Corner:
    """Features are the mean red of the upper left quarter, and a constant."""

    def encode(self, batch, modalities):
        image = batch.images[modalities[0]]
        quarter = image[:, 0, :12, :6].mean(dim=(1, 2))
        return torch.stack([quarter, torch.full_like(quarter, 0.5)], dim=1)


def item(image):
    return Item({"rgb": image}, None, {"rgb": True}, 0, 0)


def test_occlusion_finds_what_the_match_rests_on():
    image = torch.zeros(3, 24, 12)
    image[0, :12, :6] = 3.0
    values = occlude_image(Corner(), item(image), "rgb", torch.tensor([1.0, 0.0]))
    assert values.shape == (24, 12)
    assert values[2:10, 1:5].min() > 10 * abs(values[14:, 7:]).max()
    against = occlude_image(Corner(), item(image), "rgb", torch.tensor([-1.0, 0.0]))
    assert against[2:10, 1:5].max() < 0
    assert float(image[0, :12, :6].min()) == 3.0, "the image itself stays as it is"


class Bag:
    """Counts two words."""

    def encode(self, batch, modalities):
        return torch.stack([(batch.tokens == 1).sum(1), (batch.tokens == 2).sum(1) + 0.1], dim=1).float()


def test_a_word_that_carries_the_match_is_told_from_one_that_hinders_it():
    codes = {"red": 1, "blue": 2}

    def tokenize(texts):
        rows = [[codes.get(word, 3) for word in text.split()] for text in texts]
        return torch.tensor([row + [0] * (6 - len(row)) for row in rows])

    found = occlude_words(Bag(), tokenize, "a red and blue coat", torch.tensor([1.0, 0.0]))
    assert [one.word for one in found] == ["a", "red", "and", "blue", "coat"]
    values = {one.word: one.value for one in found}
    assert values["red"] > 0.3
    assert values["blue"] < -0.1
    assert values["coat"] == pytest.approx(0.0, abs=1e-6)


def test_rollout_multiplies_the_attention_that_torch_reports(tiny_backbone):
    from reidtrain.backbones import build_backbone
    from reidtrain.features import FrozenEncoder

    backbone = build_backbone(str(tiny_backbone))
    image = torch.randn(3, 32, 16, generator=torch.Generator().manual_seed(0))
    found = rollout_image(FrozenEncoder(backbone), backbone, item(image), "rgb")
    assert found.shape == backbone.grid
    assert found.sum() == pytest.approx(1.0, abs=1e-5)
    seen, flow = [], None
    for block in backbone.clip.visual.transformer.resblocks:
        block.attn.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    with torch.inference_mode():
        backbone.image_tokens(image[None])
    for block, tokens in zip(backbone.clip.visual.transformer.resblocks, list(seen), strict=True):
        weights = block.attn(tokens, tokens, tokens, need_weights=True)[1][0].detach()
        mixed = (weights + torch.eye(len(weights))) / 2
        flow = mixed if flow is None else mixed @ flow
    expected = flow[0, 1:] / flow[0, 1:].sum()
    np.testing.assert_allclose(found.ravel(), expected.numpy(), atol=1e-5)


def test_rollout_gives_every_word_its_tokens(tiny_backbone):
    from reidtrain.backbones import build_backbone
    from reidtrain.features import FrozenEncoder

    backbone = build_backbone(str(tiny_backbone))
    found = rollout_words(FrozenEncoder(backbone), backbone, "a person in red shirt")
    assert [one.word for one in found] == ["a", "person", "in", "red", "shirt"]
    assert sum(one.value for one in found) == pytest.approx(1.0)
    assert all(one.value > 0 for one in found)
    long = rollout_words(FrozenEncoder(backbone), backbone, "red shirt " * 30)
    assert sum(one.value for one in long) == pytest.approx(1.0)


def test_a_model_that_bypasses_the_tower_is_told_so(tiny_backbone):
    from reidtrain.backbones import build_backbone

    with pytest.raises(UserError, match="take the method occlusion"):
        rollout_image(Corner(), build_backbone(str(tiny_backbone)), item(torch.zeros(3, 32, 16)), "rgb")


def test_maps_are_red_where_they_speak_for_and_blue_where_against():
    values = np.zeros((40, 20), np.float32)
    values[:20], values[20:] = 1.0, -1.0
    picture = painted(np.full((40, 20, 3), 128, np.uint8), values).astype(int)
    assert (picture[:15, :, 0] > picture[:15, :, 2] + 50).all()
    assert (picture[25:, :, 2] > picture[25:, :, 0] + 50).all()
