"""Backbones in other projects' formats: their features against those projects' own, and what is said without them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from reidtrain import other_backbones
from reidtrain.backbones import build_backbone
from reidtrain.errors import UserError
from reidtrain.models import build_model
from reidtrain.objectives import OBJECTIVES

from .test_flexireid import make_batch


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_a_clip_of_transformers(tmp_path, activation):
    from transformers import CLIPConfig, CLIPModel

    shape = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 2}
    shape |= {"hidden_act": activation}
    torch.manual_seed(0)
    config = CLIPConfig(
        vision_config={**shape, "image_size": 32, "patch_size": 8},
        text_config={**shape, "max_position_embeddings": 16, "eos_token_id": 49407},
        projection_dim=24,
    )
    theirs = CLIPModel(config).eval()
    theirs.save_pretrained(tmp_path)
    ours = build_backbone(str(tmp_path))
    images, ids = torch.randn(2, 3, 32, 32), ours.tokenize(["a red shirt", "blue"])
    with torch.no_grad():
        image = theirs.visual_projection(theirs.vision_model(images).pooler_output)
        text = theirs.text_projection(theirs.text_model(ids).pooler_output)
        torch.testing.assert_close(ours.image_tokens(images)[0], image, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ours.text_tokens(ids)[0], text, rtol=1e-4, atol=1e-5)


def openai_clip():
    from open_clip.model import CLIP

    torch.manual_seed(0)
    vision = {"image_size": 32, "patch_size": 16, "width": 64, "layers": 1}
    text = {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}
    clip = CLIP(32, vision, text, quick_gelu=True).eval()
    for name, value in {"input_resolution": 32, "context_length": 16, "vocab_size": 49408}.items():
        if hasattr(clip, name):
            delattr(clip, name)
        clip.register_buffer(name, torch.tensor(value))
    return clip


@pytest.mark.parametrize("kind", ["state", "archive"])
def test_openai_files(tmp_path, kind):
    clip, path, images = openai_clip(), tmp_path / "tiny.pt", torch.randn(2, 3, 32, 32)
    if kind == "state":
        torch.save(clip.state_dict(), path)
    else:
        torch.jit.save(torch.jit.trace_module(clip, {"encode_image": images}), path)
    model = build_backbone(str(path))
    with torch.no_grad():
        torch.testing.assert_close(model.image_tokens(images)[0], clip.encode_image(images))
    assert model.tokenize(["a"]).shape == (1, 16)


def test_a_vit_of_timm(tmp_path):
    import timm

    torch.manual_seed(0)
    theirs = timm.create_model("vit_tiny_patch16_224", pretrained=False, num_classes=3).eval()
    torch.save(theirs.state_dict(), tmp_path / "vit.bin")
    ours = build_backbone(f"timm:vit_tiny_patch16_224:{tmp_path / 'vit.bin'}")
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(
            ours.image_tokens(images)[0], theirs.forward_features(images)[:, 0], rtol=1e-3, atol=1e-4
        )
    small = build_backbone(f"timm:vit_tiny_patch16_224:{tmp_path / 'vit.bin'}", image_size=(64, 32))
    model = build_model("aio", small)
    batch = make_batch(rows=2)
    batch.tokens = small.tokenize(["a man in a red shirt"] * 2)
    OBJECTIVES["aio"](model(batch), batch, {})["total"].backward()
    assert model.words.weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in small.parameters())
    with pytest.raises(UserError, match="flexireid needs both towers"):
        build_model("flexireid", small)
    with pytest.raises(UserError, match="no text tower"):
        small.text_tokens(batch.tokens)


def test_meta_transformer(tmp_path, monkeypatch):
    from timm.models.vision_transformer import Block

    monkeypatch.setattr(other_backbones, "META_WIDTH", 16)
    monkeypatch.setattr(other_backbones, "META_DEPTH", 2)
    monkeypatch.setattr(other_backbones, "META_HEADS", 2)
    torch.manual_seed(0)
    theirs = nn.Sequential(*(Block(16, 2, qkv_bias=True) for _ in range(2))).eval()
    torch.save(theirs.state_dict(), tmp_path / "meta.pth")
    ours = build_backbone(f"meta-transformer:{tmp_path / 'meta.pth'}", image_size=(64, 32))
    tokens = torch.randn(2, 7, 16)
    mask = torch.ones(2, 7, dtype=torch.bool)
    mask[1, 4:] = False
    with torch.no_grad():
        torch.testing.assert_close(ours.trunk()(tokens), theirs(tokens))
        torch.testing.assert_close(ours.trunk()(tokens, mask)[1:, :4], theirs(tokens[1:, :4]))
    assert build_model("aio", ours).encode(make_batch(), ("rgb",)).shape == (4, 16)
    with pytest.raises(UserError, match="use image_tokenizer=ibn"):
        build_model("aio", ours, image_tokenizer="trunk")


def test_a_trunk_without_words_borrows_those_of_a_clip(tmp_path, monkeypatch):
    """AIO's text tokenizer is CLIP's whatever the trunk: Meta-Transformer has no words of its own."""
    for name, value in {"META_WIDTH": 16, "META_DEPTH": 1, "META_HEADS": 2}.items():
        monkeypatch.setattr(other_backbones, name, value)
    from timm.models.vision_transformer import Block

    torch.save(nn.Sequential(Block(16, 2, qkv_bias=True)).state_dict(), tmp_path / "meta.pth")
    torch.save(openai_clip().state_dict(), tmp_path / "clip.pt")
    trunk = build_backbone(f"meta-transformer:{tmp_path}/meta.pth", image_size=(64, 32))
    model = build_model("aio", trunk, words=str(tmp_path / "clip.pt"))
    torch.testing.assert_close(model.words.weight, openai_clip().token_embedding.weight)
    assert model.words.weight.requires_grad
    batch = make_batch()
    batch.tokens = trunk.tokenize(["a red shirt", "blue", "a man", "x"])
    assert model.encode(batch, ("rgb", "text")).shape == (4, 16)
    with pytest.raises(UserError, match=r"words=demo has \d+ pieces and that of the trunk 49408"):
        build_model("aio", trunk, words="demo")


def test_a_pair_of_data2vec_feeds_dmf(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        Data2VecTextConfig,
        Data2VecTextModel,
        Data2VecVisionConfig,
        Data2VecVisionModel,
        PreTrainedTokenizerFast,
    )

    shape = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 1}
    torch.manual_seed(0)
    vision = Data2VecVisionModel(Data2VecVisionConfig(**shape, image_size=32, patch_size=16))
    vision.save_pretrained(tmp_path / "vision")
    Data2VecTextModel(Data2VecTextConfig(**shape, vocab_size=8, pad_token_id=1)).save_pretrained(tmp_path / "text")
    words = {word: number for number, word in enumerate(["<s>", "<pad>", "</s>", "<unk>", "red", "shirt", "man", "a"])}
    inner = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", unk_token="<unk>").save_pretrained(
        tmp_path / "text"
    )
    pair = build_backbone(f"data2vec:{tmp_path / 'vision'}+{tmp_path / 'text'}", image_size=(64, 32))
    batch = make_batch(rows=8)
    batch.tokens = pair.tokenize(["red shirt man", "red"] * 4)
    batch.labels = batch.labels % 4
    alone = pair.text_tokens(batch.tokens[1:2])
    torch.testing.assert_close(pair.text_tokens(batch.tokens)[0][1:2], alone[0], rtol=1e-4, atol=1e-5)
    model = build_model("dmf", pair, classes=4, width=16, depth=1, heads=2)
    told = ["A tall man: red shirt, nothing else.", "man red shirt"]
    assert torch.equal(*pair.tokenize(told)), "only attribute words are left, as the paper's text samples are"
    whole = build_backbone(f"data2vec:{tmp_path / 'vision'}+{tmp_path / 'text'}", image_size=(64, 32))
    build_model("dmf", whole, width=16, depth=1, heads=2, key_words=False)
    assert not torch.equal(*whole.tokenize(told))
    OBJECTIVES["dmf"](model(batch), batch, {})["total"].backward()
    assert model.image.projection.weight.grad is not None
    assert model.text.projection.weight.grad is not None
    with pytest.raises(UserError, match="no trunk"):
        build_model("dmf", pair, transformer="backbone")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("transformers:nobody/nothing", r"config\.json and model\.safetensors into a folder"),
        ("timm:vit_tiny_patch16_224.augreg_in21k", r"timm:vit_tiny_patch16_224\.augreg_in21k:/path/to/model"),
        ("timm:vit_of_mine", "timm knows no model"),
        ("meta-transformer:/none.pth", r"/none\.pth does not exist"),
        ("data2vec:a", r"data2vec:VISION\+TEXT"),
        ("data2vec:nobody/a+nobody/b", r"write data2vec:/path/to/vision\+/path/to/text"),
    ],
)
def test_what_cannot_be_had_names_the_file_to_give(name, message):
    with pytest.raises(UserError, match=message):
        build_backbone(name)


def test_files_that_are_no_clip(tmp_path):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(UserError, match="holds no CLIP with a ViT"):
        build_backbone(str(tmp_path / "other.pt"))


def test_tags_trained_with_quick_gelu_get_it(monkeypatch):
    import open_clip

    seen = {}

    def create(name, **options):
        seen[name, options["pretrained"]] = options.get("force_quick_gelu")
        raise OSError

    monkeypatch.setattr(open_clip, "create_model", create)
    for tag in ("openai", "laion2b_s34b_b88k"):
        with pytest.raises(UserError):
            build_backbone(f"ViT-B-16:{tag}")
    assert seen == {("ViT-B-16", "openai"): True, ("ViT-B-16", "laion2b_s34b_b88k"): False}
