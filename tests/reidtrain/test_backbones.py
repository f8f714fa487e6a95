"""The image-text encoder: its features against open_clip's own, freezing, tokenizing, files, and what goes wrong."""

from __future__ import annotations

import json

import open_clip
import pytest
import torch

from reidtrain.backbone_files import Description, build_clip, save_backbone
from reidtrain.backbones import ASSETS, DualEncoder, build_backbone, resize_position_embedding
from reidtrain.errors import UserError
from reidtrain.losses import unit
from reidtrain.tokenizer import Tokenizer, clip_ids

CAPTIONS = ["A man in a red shirt.", "a woman with a blue bag", "red"]


def describe(**changes):
    model = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": [64, 32], "patch_size": 16, "width": 32, "layers": 2, "head_width": 16},
        "text_cfg": {"context_length": 12, "width": 16, "heads": 2, "layers": 2},
    }
    fields = {
        "stem": {"channels": [8, 8, 8, 16, 32], "strides": [2, 2, 2, 2, 1]},
        "vocabulary": clip_ids(CAPTIONS),
    }
    return Description(model, **{**fields, **changes})


def encoder(description=None, **options):
    torch.manual_seed(0)
    clip, tokenizer = build_clip(description or describe())
    return DualEncoder(clip, tokenizer, **options)


@pytest.mark.parametrize("plain", [False, True])
def test_features_equal_open_clips(plain):
    model = encoder(describe(stem=None, vocabulary=None) if plain else None)
    images, ids = torch.randn(3, 3, 64, 32), model.tokenize(CAPTIONS)
    with torch.no_grad():
        image, patches, grid = model.image_tokens(images)
        text, tokens, lengths = model.text_tokens(ids)
        torch.testing.assert_close(image, model.clip.encode_image(images))
        torch.testing.assert_close(text, model.clip.encode_text(ids))
    assert patches.shape == (3, 8, 16)
    assert grid == (4, 2)
    assert lengths.tolist() == [9, 8, 3]
    assert tokens.shape == (3, 9, 16)


def test_text_features_do_not_depend_on_the_batch():
    model = encoder()
    with torch.no_grad():
        together = model.text_tokens(model.tokenize(CAPTIONS))[0]
        alone = torch.cat([model.text_tokens(model.tokenize([text]))[0] for text in CAPTIONS])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)


def test_adapters_are_added_beside_each_ffn():
    model = encoder()
    images, ids = torch.randn(2, 3, 64, 32), model.tokenize(CAPTIONS[:2])
    plain = model.image_tokens(images)[0]
    torch.testing.assert_close(model.image_tokens(images, [lambda x, _: x * 0] * 2)[0], plain)
    assert not torch.allclose(model.image_tokens(images, [lambda x, _: x] * 2)[0], plain)
    masks = []
    model.text_tokens(ids, [lambda x, mask: masks.append(mask) or x * 0] * 2)
    assert masks[0].sum(dim=1).tolist() == [9, 8]
    with pytest.raises(ValueError, match="one adapter per block"):
        model.image_tokens(images, [lambda x, _: x])


def test_frozen_means_frozen():
    model = encoder().train()
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images = torch.randn(4, 3, 64, 32)
    model.image_tokens(images)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    free = encoder(frozen=False).train()
    free.image_tokens(images)
    assert free.clip.visual.conv1.layers[1].batch.num_batches_tracked == 1
    assert all(parameter.requires_grad for parameter in free.parameters())


def test_position_embedding_is_resized_bilinearly():
    embedding = torch.arange(1 + 2 * 2, dtype=torch.float32)[:, None].repeat(1, 3)
    resized = resize_position_embedding(embedding, (2, 2), (4, 2))
    # Rows of the grid are (1, 2) and (3, 4); four rows sample them at -1/4, 1/4, 3/4 and 5/4, clamped at the border.
    assert resized[:, 0].tolist() == [0, 1, 2, 1.5, 2.5, 2.5, 3.5, 3, 4]
    assert resize_position_embedding(embedding, (2, 2), (2, 2)) is embedding
    shrunk = resize_position_embedding(torch.rand(1 + 14 * 14, 8), (14, 14), (24, 8))
    assert shrunk.shape == (193, 8)


def test_another_image_size_works():
    model = encoder(image_size=(96, 32))
    assert model.grid == (6, 2)
    assert model.image_tokens(torch.randn(2, 3, 96, 32))[1].shape == (2, 12, 16)
    with pytest.raises(ValueError, match=r"\(96, 32\)"):
        model.image_tokens(torch.randn(2, 3, 64, 32))
    with pytest.raises(UserError, match="smaller than one patch"):
        encoder(image_size=(8, 32))


def test_the_whole_tokenizer_is_clips():
    texts = [*CAPTIONS, "Ünïcode & numbers 42!", "word " * 100]
    assert torch.equal(Tokenizer()(texts), open_clip.get_tokenizer("ViT-B-16")(texts))
    assert Tokenizer().unknown_words("blorpified zebra") == []


def test_a_small_vocabulary_leaves_unknown_words_out():
    tokenizer = Tokenizer(12, clip_ids(CAPTIONS))
    known, mixed = tokenizer(["a red bag", "a red zebra bag"])
    assert torch.equal(known, mixed)
    assert tokenizer.unknown_words("A zebra, red, and a ZEBRA") == ["zebra", ",", "and"]
    assert known.max() == tokenizer.size - 1
    assert known.argmax() == 4
    assert known[5:].tolist() == [0] * 7
    long = tokenizer(["red bag " * 20])[0]
    assert long[-1] == tokenizer.size - 1


def test_files_round_trip(tmp_path):
    description = describe(provenance={"seed": 3})
    model = encoder(description, frozen=False)
    save_backbone(model.clip, description, tmp_path / "b")
    again = build_backbone(str(tmp_path / "b"), frozen=False)
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == ["config.json", "model.safetensors"]
    for name, value in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=2e-3, atol=1e-5)
    assert torch.equal(again.tokenize(CAPTIONS), model.tokenize(CAPTIONS))
    assert again.image_size == (64, 32)


@pytest.mark.parametrize("suffix", ["bin", "safetensors"])
def test_local_weights_of_an_open_clip_architecture(tmp_path, suffix, monkeypatch):
    from safetensors.torch import save_file

    for name, width in (("narrow-clip", 32), ("wider-clip", 64)):
        vision = {"image_size": 64, "patch_size": 32, "width": width, "layers": 1, "head_width": 16}
        text = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
        config = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, name, config)
    torch.manual_seed(0)
    clip = open_clip.create_model("narrow-clip")
    path = tmp_path / f"weights.{suffix}"
    state = {name: value.contiguous().half() for name, value in clip.state_dict().items()}
    if suffix == "bin":
        torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, path)
    else:
        save_file(state, path)
    model = build_backbone(f"narrow-clip:{path}", image_size=(96, 64))
    assert model.grid == (3, 2)
    torch.testing.assert_close(model.clip.text_projection.data, clip.text_projection.data, rtol=2e-3, atol=1e-4)
    with pytest.raises(UserError, match="do not fit"):
        build_backbone(f"wider-clip:{path}")


def test_a_residual_network_is_refused():
    vision = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None}
    with pytest.raises(UserError, match="not a plain CLIP"):
        encoder(Description({**describe().model, "vision_cfg": vision}, vocabulary=clip_ids(CAPTIONS)))


def test_what_goes_wrong_is_said(tmp_path):
    with pytest.raises(UserError, match="neither 'demo', nor a folder"):
        build_backbone("resnet-of-mine")
    with pytest.raises(UserError, match=r"write ViT-B-16:TAG .*laion2b_s34b_b88k"):
        build_backbone("ViT-B-16")
    with pytest.raises(UserError, match=r"none\.safetensors does not exist"):
        build_backbone(f"ViT-M-32-alt:{tmp_path / 'none.safetensors'}")
    with pytest.raises(UserError, match=r"none\.bin does not exist"):
        build_backbone(f"RN50:{tmp_path / 'none.bin'}")
    with pytest.raises(UserError, match=r"has no config\.json"):
        build_backbone(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"colour": 1}))
    with pytest.raises(UserError, match="no backbone description"):
        build_backbone(str(tmp_path))
    torch.save({"weights": [1, 2]}, tmp_path / "odd.bin")
    with pytest.raises(UserError, match="not a state dict"):
        build_backbone(f"ViT-M-32-alt:{tmp_path / 'odd.bin'}")
    (tmp_path / "torn.safetensors").write_bytes(b"123")
    with pytest.raises(UserError, match="cannot be read"):
        build_backbone(f"ViT-M-32-alt:{tmp_path / 'torn.safetensors'}")


def test_unreachable_published_weights_name_the_file_to_give(monkeypatch):
    def refuse(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(open_clip, "create_model", refuse)
    with pytest.raises(UserError, match=r"ViT-B-16:/path/to/open_clip_model\.safetensors"):
        build_backbone("ViT-B-16:laion2b_s34b_b88k")


def test_the_demo_backbone_knows_the_drawn_world():
    from reidsynth.world import World

    model = build_backbone("demo")
    assert (ASSETS / "demo-backbone" / "model.safetensors").stat().st_size < 4_000_000
    assert model.image_size == (128, 64)
    assert model.unknown_words("A man in a red jacket, blue jeans and a rucksack.") == []
    assert model.unknown_words("a quantum jacket") == ["quantum"]
    world = World(seed=103)
    shots = [world.draw(person, 0, 0) for person in world.identities("val", 24)]
    pixels = torch.stack([torch.from_numpy(shot.rgb).permute(2, 0, 1) for shot in shots]).float() / 255
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (model.mean, model.std))
    with torch.no_grad():
        images = unit(model.image_tokens((pixels - mean) / std)[0])
        texts = unit(model.text_tokens(model.tokenize([shot.captions[0] for shot in shots]))[0])
    hits = (texts @ images.T).argmax(dim=1) == torch.arange(len(shots))
    assert float(hits.float().mean()) > 0.6
