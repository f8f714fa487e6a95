"""Networks that judge give the features that their own libraries, and the trainer, give."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from reidsynth.errors import UserError
from reidsynth.quality.encoders import build_encoder

CROPS = np.random.default_rng(0).integers(0, 256, (5, 128, 64, 3), dtype=np.uint8)
ASSETS = Path(__file__).parents[1] / "reidtrain" / "assets" / "demo-backbone"
CAPTIONS = ["A man in a red shirt.", "the woman with an unfathomable bag", ""]


def test_the_shipped_encoder_is_the_trainers():
    from reidtrain.backbones import build_backbone

    encoder, backbone = build_encoder(str(ASSETS), option="--encoder"), build_backbone("demo")
    pixels = torch.from_numpy(CROPS).permute(0, 3, 1, 2).float() / 255.0
    mean, std = (torch.tensor(values)[:, None, None] for values in (backbone.mean, backbone.std))
    with torch.inference_mode():
        images = backbone.image_tokens((pixels - mean) / std)[0].numpy()
        texts = backbone.text_tokens(backbone.tokenize(CAPTIONS))[0].numpy()
    np.testing.assert_allclose(encoder.images([CROPS[:3], CROPS[3:]]), images, atol=1e-4)
    np.testing.assert_allclose(encoder.texts(CAPTIONS), texts, atol=1e-4)
    assert encoder.name == "demo-backbone"
    assert set(encoder.weights) == {"config.json", "model.safetensors"}


@pytest.mark.parametrize("lacking", ["model", "mean"])
def test_a_folder_without_all_that_is_needed_is_one_sentence(tmp_path, lacking):
    described = json.loads((ASSETS / "config.json").read_text())
    del described[lacking]
    (tmp_path / "config.json").write_text(json.dumps(described))
    (tmp_path / "model.safetensors").symlink_to(ASSETS / "model.safetensors")
    with pytest.raises(UserError, match=rf"can't be loaded \(its config.json lacks '{lacking}'"):
        build_encoder(str(tmp_path), option="--encoder")


def test_a_local_file_of_timm(tmp_path):
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(0)
    network = timm.create_model("test_resnet", pretrained=False).eval()
    save_file(network.state_dict(), tmp_path / "resnet.safetensors")
    encoder = build_encoder(f"timm:test_resnet:{tmp_path / 'resnet.safetensors'}", option="--features")
    assert encoder.name == "timm:test_resnet:resnet.safetensors"
    found = encoder.images([list(CROPS)])
    stack = torch.stack([encoder._input(crop) for crop in CROPS])
    with torch.inference_mode():
        expected = network.forward_head(network.forward_features(stack), pre_logits=True)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)
    assert encoder.text is None


@pytest.mark.parametrize("form", ["file", "folder"])
def test_a_local_model_of_open_clip(tmp_path, form):
    import open_clip

    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 32, "layers": 1, "head_width": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    (tmp_path / "tiny-clip.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "tiny-clip.json")
    torch.manual_seed(0)
    network = open_clip.create_model("tiny-clip").eval()
    if form == "file":
        torch.save(network.state_dict(), tmp_path / "tiny.bin")
        name = f"tiny-clip:{tmp_path / 'tiny.bin'}"
    else:
        folder = tmp_path / "tiny"
        folder.mkdir()
        described = {"model_cfg": config, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}
        (folder / "open_clip_config.json").write_text(json.dumps(described))
        torch.save(network.state_dict(), folder / "open_clip_pytorch_model.bin")
        name = str(folder)
    encoder = build_encoder(name, option="--encoder")
    assert encoder.size == (32, 32)
    assert len(encoder.weights) == 1
    stack = torch.stack([encoder._input(crop) for crop in CROPS])
    with torch.inference_mode():
        np.testing.assert_allclose(encoder.images([CROPS]), network.encode_image(stack).numpy(), atol=1e-4)
        ids = open_clip.get_tokenizer("tiny-clip")(CAPTIONS)
        np.testing.assert_allclose(encoder.texts(CAPTIONS), network.encode_text(ids).numpy(), atol=1e-4)
