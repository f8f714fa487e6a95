"""AIO: step 0 against the trunk, 15 modes, padding, what is masked, pooled, drawn and frozen."""

from __future__ import annotations

import itertools

import pytest
import torch

from reidtrain.backbones import build_backbone
from reidtrain.batch import MODALITIES
from reidtrain.errors import UserError
from reidtrain.losses import feature_binding, unit
from reidtrain.models import build_model
from reidtrain.models.tokenizers import AttributeFinder, ImageTokenizer, attribute_words, pool_tokens
from reidtrain.objectives import OBJECTIVES
from reidtrain.tokenizer import Tokenizer

from .test_backbones import encoder
from .test_flexireid import make_batch

MODES = [m for size in range(1, 5) for m in itertools.combinations(MODALITIES, size)]


def make(**options):
    torch.manual_seed(1)
    return build_model("aio", encoder(), **options)


def test_a_copied_tokenizer_gives_the_trunks_own_feature():
    model, batch = make(image_tokenizer="trunk").eval(), make_batch()
    with torch.no_grad():
        expected, _, _ = model.backbone.image_tokens(batch.images["rgb"])
        got = model.encode(batch, ("rgb",)) @ model.backbone.clip.visual.proj
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_copied_tokenizers_give_in_training_what_the_trunk_knows():
    backbone = build_backbone("demo")  # its stem has BatchNorm
    images = torch.randn(4, 3, *backbone.image_size)
    expected = backbone.patch_embedding(images)
    model = build_model("aio", backbone, image_tokenizer="trunk").train()
    for _ in range(2):
        torch.testing.assert_close(model.image_tokenizers["rgb"](images), expected)
    assert all(tokenizer.training for tokenizer in build_model("aio", backbone).train().image_tokenizers.values())


def test_step_zero_of_the_residual_is_the_frozen_encoder():
    model, batch = make(residual_global=True).eval(), make_batch()
    with torch.no_grad():
        parts = [
            unit(model.backbone.image_tokens(batch.images["ir"])[0]),
            unit(model.backbone.text_tokens(batch.tokens)[0]),
        ]
        torch.testing.assert_close(model.encode(batch, ("ir", "text")), sum(parts))


@pytest.mark.parametrize("options", [{}, {"residual_global": True}, {"token_budget": 6}], ids=str)
def test_fifteen_modes_and_no_row_reads_another(options):
    model, batch = make(classes=4, **options).eval(), make_batch()
    if "residual_global" in options:
        torch.nn.init.normal_(model.out.weight)
    single = make_batch()
    single.images = {name: value[2:3] for name, value in single.images.items()}
    single.tokens, single.present = single.tokens[2:3], {name: value[2:3] for name, value in single.present.items()}
    with torch.no_grad():
        features = {modalities: model.encode(batch, modalities) for modalities in MODES}
        for modalities, feature in features.items():
            # Row 2 has the shortest caption: in the batch it is padded, alone it is not.
            torch.testing.assert_close(feature[2:3], model.encode(single, modalities), rtol=1e-4, atol=1e-5)
    stacked = torch.stack(list(features.values()))
    assert stacked.shape[0] == 15
    assert float(torch.pdist(stacked.flatten(1)).min()) > 1e-3


def test_an_absent_modality_is_missing_from_the_sequence():
    model, batch = make().eval(), make_batch()
    batch.present["ir"][1] = False
    batch.images["ir"][1] = float("nan")
    with torch.no_grad():
        both, text = model.encode(batch, ("ir", "text")), model.encode(batch, ("text",))
        torch.testing.assert_close(both[1], text[1], rtol=1e-4, atol=1e-5)
        with pytest.raises(UserError, match="a sample holds no ir"):
            model.encode(batch, ("ir",))


def test_training_reads_what_is_there():
    model, batch = make(classes=4).train(), make_batch()
    batch.present["sketch"][:] = False
    del batch.images["sketch"]
    batch.present["text"][1:] = False
    batch.present["ir"][0] = False
    outputs = model(batch)
    assert sorted(outputs.features) == ["fused", "ir", "rgb", "text"]
    assert outputs.present["text"].tolist() == [True, False, False, False]
    assert not outputs.features["text"][1:].any()
    # 4 photographs, 3 infrared images, 1 caption, 4 unions of two modalities.
    assert sorted(outputs.rows.tolist()) == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    words = [attribute_words()[n] for n in outputs.targets.tolist()]
    assert words == ["man", "red", "shirt"]
    losses = OBJECTIVES["aio"](outputs, batch, {})
    held = {name: outputs.present[name] for name in ("rgb", "ir", "text")}
    others = {name: outputs.features[name] for name in ("ir", "text")}
    expected = feature_binding(outputs.features["rgb"], others, batch.labels, present=held)
    torch.testing.assert_close(losses["fb"], expected)
    torch.testing.assert_close(losses["total"], losses["ce"] + 0.3 * losses["va"] + losses["fb"])
    only = OBJECTIVES["aio"](outputs, batch, {"ce_weight": 0, "fb_weight": 0})
    torch.testing.assert_close(only["total"], 0.3 * losses["va"])


def test_the_drawn_union_has_two_to_four_modalities():
    model = make()
    torch.manual_seed(0)
    everything = {name: torch.ones(400, dtype=torch.bool) for name in MODALITIES}
    everything["ir"][:200] = everything["sketch"][:100] = everything["text"][:50] = False
    drawn = model._draw(everything)
    held = torch.stack(list(everything.values()), dim=1)
    assert not (drawn & ~held).any()
    assert drawn[:50].sum() == 0  # a photograph alone is no union
    assert set(drawn[50:100].sum(dim=1).tolist()) == {2}
    assert set(drawn[100:200].sum(dim=1).tolist()) == {2, 3}
    assert set(drawn[200:].sum(dim=1).tolist()) == {2, 3, 4}
    assert not drawn[200:, 0].all(), "the photograph may be left out"


def test_masked_words_depend_on_the_photograph_alone():
    model, batch = make().eval(), make_batch(rows=2, texts=["a man in a red shirt", "a man in a blue shirt"])
    batch.images["rgb"][1] = batch.images["rgb"][0]
    outputs = model(batch)
    # Both captions look alike once colour, garment and gender are hidden.
    torch.testing.assert_close(outputs.words[:3], outputs.words[3:], rtol=1e-4, atol=1e-5)
    share = make(mask_share=1e-6).train()(batch)
    assert len(share.targets) == 2, "at least one word of each caption is masked"


def test_attribute_words_are_whole_words():
    tokenizer = Tokenizer()
    finder = AttributeFinder(tokenizer.word_ids, tokenizer.word_ends(), words=["bag", "red", "rucksack", "spectacles"])
    lengths = {word: len(tokenizer.word_ids(word)) for word in finder.words}
    assert max(lengths.values()) > 1, "one of these words has several pieces"
    ids = tokenizer(["A red handbag, zzbag bag", "rucksack and spectacles", "nothing"])
    classes, covered = finder(ids)
    assert [[finder.words[c] for c in row[row >= 0].tolist()] for row in classes] == [
        ["red", "bag"],
        ["rucksack", "spectacles"],
        [],
    ]
    assert covered.sum(dim=1).tolist() == [2, lengths["rucksack"] + lengths["spectacles"], 0]


def test_the_image_tokenizer_is_the_papers():
    tokens = ImageTokenizer(32)(torch.randn(2, 3, 384, 192))
    assert tokens.shape == (2, 32, 24, 12)


def test_pooling_keeps_the_budget_and_the_mean():
    tokens = torch.randn(2, 24 * 12, 5)
    for most in (1, 2, 7, 72, 100, 287):
        pooled = pool_tokens(tokens, (24, 12), most)
        assert 1 <= pooled.shape[1] <= most
    torch.testing.assert_close(pool_tokens(tokens, (24, 12), 72).mean(dim=1), tokens.mean(dim=1))
    assert pool_tokens(tokens, (24, 12), 288) is tokens


def test_the_budget_bounds_the_multimodal_sequence_alone(monkeypatch):
    model, batch = make(token_budget=6).eval(), make_batch()
    lengths, walk = [], model._walk
    monkeypatch.setattr(model, "_walk", lambda tokens, mask: lengths.append(tokens.shape[1]) or walk(tokens, mask))
    whole = model.backbone.grid[0] * model.backbone.grid[1]
    with torch.no_grad():
        for modalities in (("rgb",), ("rgb", "ir"), ("rgb", "ir", "sketch"), ("text",), ("rgb", "text")):
            model.encode(batch, modalities)
    text = lengths[3]
    assert lengths[0] == whole > 6
    assert max(lengths[1], lengths[2], lengths[4] - text) <= 6
    assert min(lengths[1], lengths[2]) >= 3


def test_what_is_refused():
    with pytest.raises(UserError, match="no option colour"):
        make(colour=1)
    with pytest.raises(UserError, match=r"mask_share is 0.*; .*fewest and most are 3 and 2"):
        make(mask_share=0, fewest=3, most=2)
    with pytest.raises(UserError, match=r"backbone\.frozen=true"):
        build_model("aio", encoder(frozen=False))
    with pytest.raises(UserError, match="cannot encode depth"):
        make().encode(make_batch(), ("depth",))
