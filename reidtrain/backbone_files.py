"""The files of a backbone: its description (config.json) and its weights; building, reading and writing them."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from reidtrain.errors import UserError
from reidtrain.stem import ConvStem
from reidtrain.tokenizer import Tokenizer

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"


@dataclass(frozen=True, slots=True)
class Description:
    """What a backbone's config.json holds besides weights.

    Args:
        model: open_clip's model_cfg: embed_dim, vision_cfg, text_cfg, quick_gelu.
        stem: {"channels": [...], "strides": [...]} of a ConvStem, None for the plain patch embedding.
        vocabulary: CLIP token ids that the text tower knows, None for all.
        mean: of the three colour channels, subtracted from images in [0, 1].
        std: of the three colour channels.
        provenance: how it was trained; kept as it is.
    """

    model: Mapping[str, Any]
    stem: Mapping[str, Any] | None = None
    vocabulary: Sequence[int] | None = None
    mean: Sequence[float] = CLIP_MEAN
    std: Sequence[float] = CLIP_STD
    provenance: Mapping[str, Any] | None = None


def build_clip(description: Description) -> tuple[nn.Module, Tokenizer]:
    """Build an untrained CLIP and its tokenizer from a description; the process's random state decides its weights."""
    from open_clip.model import CLIP

    model = copy.deepcopy(dict(description.model))
    tokenizer = Tokenizer(int(model["text_cfg"]["context_length"]), description.vocabulary)
    model["text_cfg"]["vocab_size"] = tokenizer.size
    clip: nn.Module = CLIP(**model)
    if description.stem is not None:
        cast(Any, clip).visual.conv1 = ConvStem(description.stem["channels"], description.stem["strides"])
    return clip, tokenizer


def save_backbone(clip: nn.Module, description: Description, folder: Path) -> None:
    """Write `model.safetensors` (float16) and `config.json` into a folder, each under its final name only when whole.

    Args:
        clip: the open_clip model to write.
        description: what it was built from; its provenance is written too.
        folder: made if missing.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    state = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in clip.state_dict().items()
    }
    save_file(state, folder / f"{WEIGHTS_FILE}.part", metadata={"format": "pt"})
    (folder / f"{WEIGHTS_FILE}.part").chmod(0o644)  # safetensors writes for the owner alone
    (folder / f"{WEIGHTS_FILE}.part").replace(folder / WEIGHTS_FILE)
    config = {
        "model": dict(description.model),
        "stem": description.stem,
        "vocabulary": description.vocabulary,
        "mean": list(description.mean),
        "std": list(description.std),
        "provenance": description.provenance,
    }
    (folder / f"{CONFIG_FILE}.part").write_text(json.dumps(config, indent=1) + "\n")
    (folder / f"{CONFIG_FILE}.part").replace(folder / CONFIG_FILE)


def read_description(folder: Path) -> Description:
    """Read the config.json of a backbone folder.

    Raises:
        UserError: if it is missing or not a backbone's.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise UserError(f"backbone folder {folder} has no {CONFIG_FILE}: give a folder written by pretrain-backbone")
    try:
        return Description(**json.loads(path.read_text()))
    except (json.JSONDecodeError, TypeError) as error:
        raise UserError(f"{path} is no backbone description ({error}): write it with pretrain-backbone") from error


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read a state dict from a local file, without ever running code from it.

    Args:
        path: `.safetensors`, or what `torch.save` wrote (`.bin`, `.pt`).

    Returns:
        Names to tensors on the CPU; a `state_dict` entry is unwrapped and a `module.` prefix removed.

    Raises:
        UserError: if the file is missing or is not a state dict.
    """
    if not path.is_file():
        raise UserError(f"weights file {path} does not exist: give a local .safetensors, .bin or .pt state dict")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            loaded: Any = load_file(path)
        else:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(f"weights file {path} cannot be read as a state dict ({error})") from error
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise UserError(f"weights file {path} holds {type(loaded).__name__}, not a state dict: save one of the model")
    return {name.removeprefix("module."): value for name, value in state.items()}


def load_weights(clip: nn.Module, state: Mapping[str, torch.Tensor], origin: object) -> None:
    """Load a state dict; float16 is widened.

    Args:
        clip: the model.
        state: its weights.
        origin: where they came from, for the message.

    Raises:
        UserError: if they do not fit.
    """
    # CLIP checkpoints of older open_clip releases carry these derived entries.
    derived = {"attn_mask", "input_resolution", "context_length", "vocab_size"}
    wanted = {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    wanted = {name: value for name, value in wanted.items() if name not in derived}
    try:
        clip.load_state_dict(wanted)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if len(str(error).splitlines()) > 1 else str(error)
        raise UserError(f"the weights in {origin} do not fit the architecture ({first}): check its name") from error
