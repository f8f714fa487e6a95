"""Weights of CLIP models in other projects' formats, brought into open_clip's names and configuration.

Read are OpenAI's archives and state dicts, and CLIP models of transformers (a folder with config.json, or a hub name).
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch

from reidtrain.errors import UserError

State = dict[str, torch.Tensor]
OPENAI_ENTRIES = ("input_resolution", "context_length", "vocab_size")
_LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}


def is_archive(path: Path) -> bool:
    """Whether a file is a TorchScript archive, as OpenAI ships its models."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("constants.pkl") for name in archive.namelist())


def read_archive(path: Path) -> State:
    """Read the state dict of a TorchScript archive.

    Raises:
        UserError: if it is damaged.
    """
    try:
        module = torch.jit.load(str(path), map_location="cpu")
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"archive {path} cannot be read ({reason}): download it again") from error
    return cast(State, module.state_dict())


def is_openai(state: Mapping[str, torch.Tensor]) -> bool:
    """Whether a state dict was written by OpenAI's code: its models use QuickGELU."""
    return all(name in state for name in OPENAI_ENTRIES)


def openai_config(state: Mapping[str, torch.Tensor], origin: object) -> dict[str, Any]:
    """Read open_clip's model configuration off the shapes of an OpenAI state dict.

    Raises:
        UserError: if it is not that of a CLIP with a ViT.
    """
    wanted = ("visual.proj", "visual.conv1.weight", "visual.positional_embedding", "text_projection", "ln_final.weight")
    if lacking := [name for name in (*wanted, "token_embedding.weight", "positional_embedding") if name not in state]:
        raise UserError(
            f"{origin} holds no CLIP with a ViT (it lacks {lacking[0]}): give an archive such as ViT-B-16.pt, or write "
            "ARCHITECTURE:FILE for a state dict of another model"
        )
    patch = state["visual.conv1.weight"].shape[-1]
    side = round((state["visual.positional_embedding"].shape[0] - 1) ** 0.5)
    vision_width, text_width = state["visual.conv1.weight"].shape[0], state["ln_final.weight"].shape[0]
    return {
        "embed_dim": state["text_projection"].shape[1],
        "quick_gelu": True,
        "vision_cfg": {
            "image_size": patch * side,
            "patch_size": patch,
            "width": vision_width,
            "layers": _layers(state, "visual.transformer.resblocks."),
        },
        "text_cfg": {
            "context_length": state["positional_embedding"].shape[0],
            "vocab_size": state["token_embedding.weight"].shape[0],
            "width": text_width,
            "heads": max(1, text_width // 64),
            "layers": _layers(state, "transformer.resblocks."),
        },
    }


def _layers(state: Mapping[str, torch.Tensor], prefix: str) -> int:
    return len({name.removeprefix(prefix).split(".")[0] for name in state if name.startswith(prefix)})


def is_transformers_clip(folder: Path) -> bool:
    """Whether a folder holds a CLIP of transformers."""
    try:
        description = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(description, dict) and description.get("model_type") == "clip"


def read_transformers(name_or_folder: str) -> tuple[dict[str, Any], State]:
    """Read a CLIP of transformers.

    Args:
        name_or_folder: a folder as `save_pretrained` writes it, or a hub name.

    Returns:
        open_clip's model configuration and state dict.

    Raises:
        UserError: if it can't be had, or is no CLIP.
    """
    from transformers import CLIPModel

    try:
        model = CLIPModel.from_pretrained(name_or_folder)
    except (OSError, ValueError) as error:
        raise UserError(
            f"the CLIP model {name_or_folder} cannot be had ({type(error).__name__}): download its config.json and "
            "model.safetensors into a folder and write transformers:/path/to/folder"
        ) from error
    vision, text = model.config.vision_config, model.config.text_config
    if vision.hidden_act != text.hidden_act or vision.hidden_act not in ("quick_gelu", "gelu"):
        raise UserError(f"{name_or_folder} uses the activations {vision.hidden_act} and {text.hidden_act}: unsupported")
    config = {
        "embed_dim": model.config.projection_dim,
        "quick_gelu": vision.hidden_act == "quick_gelu",
        "vision_cfg": {
            "image_size": vision.image_size,
            "patch_size": vision.patch_size,
            "width": vision.hidden_size,
            "layers": vision.num_hidden_layers,
            "head_width": vision.hidden_size // vision.num_attention_heads,
            "mlp_ratio": vision.intermediate_size / vision.hidden_size,
        },
        "text_cfg": {
            "context_length": text.max_position_embeddings,
            "vocab_size": text.vocab_size,
            "width": text.hidden_size,
            "heads": text.num_attention_heads,
            "layers": text.num_hidden_layers,
            "mlp_ratio": text.intermediate_size / text.hidden_size,
        },
    }
    return config, _renamed(model.state_dict())


def _renamed(theirs: Mapping[str, torch.Tensor]) -> State:
    state: State = {
        "logit_scale": theirs["logit_scale"],
        "text_projection": theirs["text_projection.weight"].T.contiguous(),
        "visual.proj": theirs["visual_projection.weight"].T.contiguous(),
        "token_embedding.weight": theirs["text_model.embeddings.token_embedding.weight"],
        "positional_embedding": theirs["text_model.embeddings.position_embedding.weight"],
        "visual.class_embedding": theirs["vision_model.embeddings.class_embedding"],
        "visual.conv1.weight": theirs["vision_model.embeddings.patch_embedding.weight"],
        "visual.positional_embedding": theirs["vision_model.embeddings.position_embedding.weight"],
    }
    norms = {
        "text_model.final_layer_norm": "ln_final",
        "vision_model.pre_layrnorm": "visual.ln_pre",
        "vision_model.post_layernorm": "visual.ln_post",
    }
    towers = {
        "text_model.encoder.layers.": "transformer.resblocks.",
        "vision_model.encoder.layers.": "visual.transformer.resblocks.",
    }
    for kind in ("weight", "bias"):
        state.update({f"{ours}.{kind}": theirs[f"{their}.{kind}"] for their, ours in norms.items()})
        for their, ours in towers.items():
            for layer in sorted({name[len(their) :].split(".")[0] for name in theirs if name.startswith(their)}):
                parts = [theirs[f"{their}{layer}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
                state[f"{ours}{layer}.attn.in_proj_{kind}"] = torch.cat(parts)
                for old, new in _LAYER.items():
                    state[f"{ours}{layer}.{new}.{kind}"] = theirs[f"{their}{layer}.{old}.{kind}"]
    return state
