"""DMF: which samples a batch mixes, key words, stages, the two losses."""

from __future__ import annotations

import pytest
import torch

from reidtrain.errors import UserError
from reidtrain.losses import identity_ce, soft_margin_triplet, unit
from reidtrain.models import build_model
from reidtrain.objectives import OBJECTIVES

from .test_backbones import encoder
from .test_flexireid import make_batch

SMALL = {"width": 16, "depth": 1, "heads": 2}


def make(**options):
    torch.manual_seed(1)
    return build_model("dmf", encoder(), **{**SMALL, **options})


def test_a_batch_mixes_photographs_and_words():
    model, batch = make(classes=4).eval(), make_batch(rows=40)
    batch.labels = batch.labels % 4
    torch.manual_seed(0)
    outputs = model(batch)
    assert 5 < int(outputs.is_text.sum()) < 35
    with torch.no_grad():
        image, text = model.encode(batch, ("rgb",)), model.encode(batch, ("text",))
    expected = torch.where(outputs.is_text[:, None], text, image)
    torch.testing.assert_close(outputs.features, expected, rtol=1e-4, atol=1e-5)
    losses = OBJECTIVES["dmf"](outputs, batch, {"squared": True})
    triplet = soft_margin_triplet(outputs.features, batch.labels, squared=True)
    torch.testing.assert_close(losses["triplet"], triplet)
    torch.testing.assert_close(losses["total"], triplet + identity_ce(outputs.logits, batch.labels))


def test_stages_change_the_mix():
    model, batch = make(modality_mix=0.0), make_batch()
    assert model(batch).is_text.all()
    model.begin_stage(modality_mix=1.0)
    batch.tokens, batch.present = None, {"rgb": batch.present["rgb"]}
    outputs = model(batch)
    assert not outputs.is_text.any()
    assert outputs.valid.all()
    model.begin_stage()
    assert not model(batch).valid.any(), "words were drawn, and there are none"
    with pytest.raises(UserError, match="modality_mix is 2"):
        model.begin_stage(modality_mix=2)


def test_text_samples_are_key_words():
    backbone = encoder()
    model = build_model("dmf", backbone, **SMALL).eval()
    full, words = backbone.tokenize(["A man in a red shirt."]), backbone.tokenize(["man red shirt"])
    assert torch.equal(model._key_words(full), words)
    batch = make_batch(rows=1, texts=["A man in a red shirt."])
    short = make_batch(rows=1, texts=["man red shirt"])
    with torch.no_grad():
        torch.testing.assert_close(model.encode(batch, ("text",)), model.encode(short, ("text",)))


def test_starts_of_the_transformer():
    copied = make(transformer="backbone")
    tower = copied.backbone.clip.visual.transformer.resblocks[0]
    own = copied.transformer.blocks[0]
    assert torch.equal(own.attn.in_proj_weight, tower.attn.in_proj_weight)
    assert own.attn.in_proj_weight.requires_grad
    assert not tower.attn.in_proj_weight.requires_grad
    model, batch = make(residual_global=True).eval(), make_batch()
    with torch.no_grad():
        torch.testing.assert_close(
            model.encode(batch, ("rgb",)), unit(model.backbone.image_tokens(batch.images["rgb"])[0])
        )


def test_with_a_residual_the_transformer_sees_the_frozen_feature(monkeypatch):
    model, batch = make(residual_global=True).eval(), make_batch()
    torch.nn.init.normal_(model.out.weight)
    plain, tokens, grid = model.backbone.image_tokens(batch.images["rgb"])
    tokens = tokens[:1].expand_as(tokens)  # people whose patches look the same
    monkeypatch.setattr(model.backbone, "image_tokens", lambda images: (plain, tokens, grid))
    with torch.no_grad():
        added = model.encode(batch, ("rgb",)) - unit(plain)
    assert not torch.allclose(added[0], added[1], atol=1e-3)


def test_what_is_refused():
    with pytest.raises(UserError, match=r"modality_mix is 3.*; .*heads is 3"):
        make(modality_mix=3, heads=3)
    with pytest.raises(UserError, match="no option colour"):
        make(colour=1)
    with pytest.raises(UserError, match=r"cannot encode text\+rgb"):
        make().encode(make_batch(), ("text", "rgb"))
