"""Frozen networks that judge: image features, and text features in the same space where there is a text tower.

`build_encoder` takes
- a folder with `config.json` and `model.safetensors`, as `reidtrain pretrain-backbone` writes it (a CLIP of open_clip,
  perhaps with a stem of convolutions and a cut-down vocabulary);
- a folder with `open_clip_config.json`, as open_clip saves its models;
- `NAME:FILE` or `NAME:TAG`: an open_clip architecture with a local state dict or one of its published weights;
- `timm:NAME` or `timm:NAME:FILE`: an image network of timm, `timm:inception_v3` for example.

Weights are never random, and code in a checkpoint is never run.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reidsynth.errors import UserError
from reidsynth.weights import checksums, unreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import torch

FORMS = (
    "a folder with config.json and model.safetensors, ARCHITECTURE:FILE of open_clip (ViT-B-16:weights.safetensors), "
    "or timm:NAME:FILE (timm:inception_v3:inception_v3.safetensors)"
)
_BATCH = 64
_CONFIG, _WEIGHTS, _OPEN_CLIP_CONFIG = "config.json", "model.safetensors", "open_clip_config.json"


@dataclass(frozen=True, slots=True)
class Encoder:
    """A frozen network.

    Args:
        name: how cards call it: never a place on somebody's machine.
        size: (height, width) that images are brought to, whatever their proportions.
        mean: of the colour channels of its input.
        std: of the colour channels of its input.
        vision: float (B, 3, H, W) -> (B, D).
        text: texts -> (B, D); None for an image network.
        weights: file -> sha256; {} where the library fetched them by the name.
        device: to run on.
    """

    name: str
    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    vision: Callable[[torch.Tensor], torch.Tensor]
    text: Callable[[Sequence[str]], torch.Tensor] | None = None
    weights: dict[str, str] = field(default_factory=dict)
    device: str = "cpu"

    def images(self, batches: Iterable[Sequence[np.ndarray]]) -> np.ndarray:
        """Features of images.

        Args:
            batches: of uint8 (H, W, 3) arrays of any size.

        Returns:
            float32 (N, D), not normalised.

        Raises:
            UserError: the network gives what is no number.
        """
        import torch

        found = []
        with torch.inference_mode():
            for batch in batches:
                for start in range(0, len(batch), _BATCH):
                    stack = torch.stack([self._input(image) for image in batch[start : start + _BATCH]])
                    found.append(self.vision(stack.to(self.device)).float().cpu().numpy())
        return self._finite(np.concatenate(found))

    def texts(self, captions: Sequence[str]) -> np.ndarray:
        """Features of captions, float32 (N, D), not normalised.

        Raises:
            UserError: the network gives what is no number.
        """
        import torch

        assert self.text is not None, "callers look whether there is a text tower"
        with torch.inference_mode():
            parts = [self.text(captions[start : start + _BATCH]) for start in range(0, len(captions), _BATCH)]
        return self._finite(np.concatenate([part.float().cpu().numpy() for part in parts]))

    def _finite(self, features: np.ndarray) -> np.ndarray:
        broken = int((~np.isfinite(features)).any(axis=1).sum())
        if broken:
            raise UserError(
                f"{self.name} gives features that are no finite numbers for {broken} of {len(features)} rows, and "
                "nothing can be measured with these: give another network, or other weights"
            )
        return features

    def _input(self, image: np.ndarray) -> torch.Tensor:
        import torch
        import torch.nn.functional as F

        pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255.0
        if pixels.shape[2:] != self.size:
            pixels = F.interpolate(pixels, self.size, mode="bilinear", align_corners=False, antialias=True)
        return (pixels[0] - torch.tensor(self.mean)[:, None, None]) / torch.tensor(self.std)[:, None, None]


def build_encoder(name: str, *, option: str, device: str = "cpu") -> Encoder:
    """Build a frozen network with its weights.

    Args:
        name: see the module docstring.
        option: of the command, for messages.
        device: to run on.

    Raises:
        UserError: when the name is none of these, or the weights are not to be had; the message says what to provide.
    """
    folder = Path(name).expanduser()
    if folder.is_dir() and (folder / _OPEN_CLIP_CONFIG).is_file():
        return _open_clip(f"local-dir:{folder.resolve()}", None, folder.resolve().name, option, device)
    if folder.is_dir():
        return _from_folder(folder, option, device)
    kind, _, rest = name.partition(":")
    if kind == "timm" and rest:
        return _timm(*_split(rest), option, device)
    if rest:
        return _open_clip(kind, rest, "", option, device)
    raise UserError(f"{option} {name!r} is neither a folder nor the name of a network with weights: give {FORMS}")


def _split(rest: str) -> tuple[str, str | None]:
    model, _, file = rest.partition(":")
    return model, file or None


def _timm(model: str, file: str | None, option: str, device: str) -> Encoder:
    import timm

    if model not in timm.list_models():
        near = ", ".join(timm.list_models(f"*{model[:6]}*")[:5])
        raise UserError(f"{option}: timm has no network {model!r}{f' (it has {near})' if near else ''}")
    if file is not None and not Path(file).expanduser().is_file():
        raise UserError(f"{option}: the weights {file!r} do not exist: give the path of a local .safetensors or .pth")
    if file is None:
        config = timm.create_model(model, pretrained=False).pretrained_cfg
        _require_weights(f"timm:{model}", config.get("hf_hub_id"), option, f"timm:{model}:FILE")
    try:
        local = {} if file is None else {"pretrained_cfg_overlay": {"file": str(Path(file).expanduser())}}
        network = timm.create_model(model, pretrained=True, num_classes=0, **local).eval().to(device)
    except Exception as error:
        raise _unfit(option, file or model, error) from error
    config = timm.data.resolve_data_config({}, model=network)
    name = f"timm:{model}" + (f":{Path(file).name}" if file else f" ({config_tag(network)})")
    height, width = config["input_size"][1:]
    sums = checksums([Path(file).expanduser()]) if file else {}
    return Encoder(name, (height, width), config["mean"], config["std"], network, None, sums, device)


def config_tag(network: Any) -> str:  # noqa: ANN401 - a network of timm
    """Which of a network's published weights are in use."""
    return str(network.pretrained_cfg.get("tag") or "default")


def _open_clip(model: str, weights: str | None, label: str, option: str, device: str) -> Encoder:
    import open_clip

    quick = False
    if weights is not None:
        if model not in open_clip.list_models():
            raise UserError(f"{option}: open_clip has no architecture {model!r}: give {FORMS}")
        local = Path(weights).expanduser().is_file()
        tags = open_clip.list_pretrained_tags_by_model(model)
        if not local and weights not in tags:
            told = ", ".join(tags) or "none"
            raise UserError(f"{option}: {weights!r} is neither a file nor weights published of {model} ({told})")
        if not local:
            published = open_clip.get_pretrained_cfg(model, weights)
            quick = bool(published.get("quick_gelu", False))
            hub = str(published.get("hf_hub") or "").rstrip("/")
            _require_weights(f"{model}:{weights}", hub or None, option, f"{model}:FILE")
    path = None if weights is None else Path(weights).expanduser()
    try:
        given = str(path) if path is not None and path.is_file() else weights
        network = open_clip.create_model(model, pretrained=given, force_quick_gelu=quick).eval().to(device)
        tokenize = open_clip.get_tokenizer(model)
    except Exception as error:
        raise _unfit(option, weights or label, error) from error
    shape = open_clip.get_model_preprocess_cfg(network)
    size = shape["size"] if isinstance(shape["size"], tuple | list) else (shape["size"],) * 2
    files = [path] if path is not None and path.is_file() else []
    if weights is None:
        files = sorted(Path(model.removeprefix("local-dir:")).glob("open_clip*model*"))
    name = label or f"{model}:{Path(weights or '').name}"
    return Encoder(
        name,
        (int(size[0]), int(size[1])),
        tuple(shape["mean"]),
        tuple(shape["std"]),
        network.encode_image,
        lambda texts: network.encode_text(tokenize(list(texts)).to(device)),
        checksums(files),
        device,
    )


def _require_weights(what: str, repository: str | None, option: str, form: str) -> None:
    """Refuse to fetch from a hub that does not answer, unless the weights are in its cache.

    Raises:
        UserError: naming what to provide.
    """
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        if repository and any(one.repo_id == repository for one in scan_cache_dir().repos):
            return
    except CacheNotFound:
        pass
    reason = unreachable()
    if reason is not None:
        raise UserError(
            f"{option}: the weights of {what} are not on this machine and can't be fetched ({reason}): fetch them "
            f"elsewhere and give {form}, or another network: {FORMS}"
        )


def _unfit(option: str, weights: str, error: Exception) -> UserError:
    said = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    return UserError(f"{option}: the weights {weights!r} can't be loaded ({said}): give {FORMS}")


def _from_folder(folder: Path, option: str, device: str) -> Encoder:
    from open_clip.model import CLIP
    from safetensors.torch import load_file

    missing = [name for name in (_CONFIG, _WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise UserError(f"{option}: the folder {str(folder)!r} lacks {' and '.join(missing)}: give {FORMS}")
    try:
        described = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
        model, vocabulary = described["model"], described.get("vocabulary")
        words = _Words(int(model["text_cfg"]["context_length"]), vocabulary)
        model["text_cfg"]["vocab_size"] = words.size
        network = CLIP(**model)
        if described.get("stem"):
            network.visual.conv1 = _stem(described["stem"]["channels"], described["stem"]["strides"])
        state = {name: value.float() for name, value in load_file(folder / _WEIGHTS).items()}
        network.load_state_dict(state)
        size = network.visual.image_size
        mean, std = (tuple(float(value) for value in described[name]) for name in ("mean", "std"))
    except KeyError as error:
        problem = ValueError(f"its {_CONFIG} lacks {error}, as `reidtrain pretrain-backbone` writes it")
        raise _unfit(option, str(folder), problem) from error
    except Exception as error:
        raise _unfit(option, str(folder), error) from error
    network = network.eval().to(device)
    return Encoder(
        folder.resolve().name,
        (int(size[0]), int(size[1])),
        mean,
        std,
        network.encode_image,
        lambda texts: network.encode_text(words(texts).to(device)),
        checksums([folder / _CONFIG, folder / _WEIGHTS]),
        device,
    )


class _Words:
    """CLIP's tokens, renumbered from 1 where a small text tower knows only some; words with others are left out."""

    def __init__(self, context: int, vocabulary: Sequence[int] | None) -> None:
        from open_clip.tokenizer import SimpleTokenizer

        self.context = context
        self._clip = SimpleTokenizer()
        ends = [self._clip.sot_token_id, self._clip.eot_token_id]
        known = [*sorted(vocabulary), *ends] if vocabulary is not None else []
        self._number = {token: number for number, token in enumerate(known, start=1)}
        self._start, self._end = self._numbers(ends)
        self.size = len(known) + 1 if known else self._end + 1

    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        import torch

        rows = torch.zeros(len(texts), self.context, dtype=torch.long)
        for row, text in zip(rows, texts, strict=True):
            words = self._clip.pat.findall(self._clip.clean_fn(text))
            tokens = [token for word in words for token in self._numbers(self._clip.encode(word))]
            tokens = [self._start, *tokens[: self.context - 2], self._end]
            row[: len(tokens)] = torch.tensor(tokens)
        return rows

    def _numbers(self, tokens: Sequence[int]) -> list[int]:
        if not self._number:
            return list(tokens)
        return [self._number[token] for token in tokens] if all(token in self._number for token in tokens) else []


def _stem(channels: Sequence[int], strides: Sequence[int]) -> torch.nn.Module:
    """Convolutions in place of a ViT's patch embedding, named as in a `stem` of such a folder's weights.

    Each is followed by InstanceNorm on the first half of its channels, BatchNorm on the rest, and ReLU; the last is
    plain (X. Pan et al., "Two at Once", ECCV 2018).
    """
    from collections import OrderedDict

    import torch
    from torch import nn

    class Halves(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.instance = nn.InstanceNorm2d(width // 2, affine=True)
            self.batch = nn.BatchNorm2d(width - width // 2)

        def forward(self, maps: torch.Tensor) -> torch.Tensor:
            first, second = maps.tensor_split([self.instance.num_features], dim=1)
            return torch.cat([self.instance(first), self.batch(second)], dim=1)

    layers: list[nn.Module] = []
    for before, width, stride in zip([3, *channels], channels, strides, strict=False):
        last = len(layers) == 3 * (len(channels) - 1)
        layers.append(nn.Conv2d(before, width, 3, stride, padding=1, bias=last))
        layers += [] if last else [Halves(width), nn.ReLU(inplace=True)]
    return nn.Sequential(OrderedDict(layers=nn.Sequential(*layers)))
