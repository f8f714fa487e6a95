"""Which part of an image, or which word, a match rests on.

Two ways:

- `occlusion` (M. Zeiler and R. Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014): a window of
  the image is painted over with the image's mean colour, or a word is left out, and the drop of the cosine similarity
  to the other side is its relevance. It asks the model and nothing of its inside, so it holds for every model and every
  modality, and says what this match rests on.
- `rollout` (S. Abnar and W. Zuidema, "Quantifying Attention Flow in Transformers", ACL 2020): attention of the class
  (or end) token to the patches (or words) through all layers of a CLIP tower, residual paths counted as half; heads are
  averaged. It says where the tower looks, whatever the other side is. A ViT is known to park what it gathers in patches
  of the background, and on the demo encoder the maps show just that, so `occlusion` is the default.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from reidtrain.errors import UserError
from reidtrain.items import Item, collate

if TYPE_CHECKING:
    from reidtrain.backbones import DualEncoder
    from reidtrain.features import Encoder

Tokenize = Callable[[list[str]], Tensor]

_BATCH = 64
WINDOW = (6, 3)
"""An image is covered by windows of a sixth of its height and a third of its width, moved by half of that."""


@dataclass(frozen=True, slots=True)
class WordRelevance:
    """One word of a sentence.

    Args:
        word: with its punctuation.
        value: relevance, or share of the attention.
    """

    word: str
    value: float


@torch.inference_mode()
def occlude_image(
    encoder: Encoder, item: Item, modality: str, target: Tensor, *, modalities: tuple[str, ...] | None = None
) -> np.ndarray:
    """Relevance of the pixels of one image for a match.

    Args:
        encoder: of the image.
        item: holds the image, and whatever else is encoded with it.
        modality: of the image.
        target: (D,) feature that it is compared with.
        modalities: encoded together; the image alone by default.

    Returns:
        (H, W) float32: mean drop of the similarity over the windows that cover a pixel.
    """
    together = modalities or (modality,)
    image = item.images[modality]
    _, height, width = image.shape
    tall, wide = max(1, height // WINDOW[0]), max(1, width // WINDOW[1])
    tops = sorted({*range(0, max(1, height - tall), max(1, tall // 2)), height - tall})
    lefts = sorted({*range(0, max(1, width - wide), max(1, wide // 2)), width - wide})
    windows = [(top, left) for top in tops for left in lefts]
    mean = image.mean(dim=(1, 2), keepdim=True)
    covered = []
    for top, left in windows:
        painted = image.clone()
        painted[:, top : top + tall, left : left + wide] = mean
        covered.append(replace(item, images={**item.images, modality: painted}))
    scores = _scores(encoder, [item, *covered], together, target)
    drop = np.zeros((height, width), dtype=np.float64)
    count = np.zeros((height, width), dtype=np.float64)
    for (top, left), score in zip(windows, scores[1:].tolist(), strict=True):
        drop[top : top + tall, left : left + wide] += float(scores[0]) - score
        count[top : top + tall, left : left + wide] += 1
    relevance: np.ndarray = (drop / count.clip(min=1)).astype(np.float32)
    return relevance


@torch.inference_mode()
def occlude_words(encoder: Encoder, tokenize: Tokenize, sentence: str, target: Tensor) -> list[WordRelevance]:
    """Relevance of the words of a sentence for a match: the drop of the similarity when a word is left out.

    Args:
        encoder: of the sentence.
        tokenize: texts to (N, L) token ids.
        sentence: split at blanks.
        target: (D,) feature that it is compared with.

    Returns:
        The words in order.
    """
    words = sentence.split()
    versions = [sentence, *(" ".join(words[:n] + words[n + 1 :]) for n in range(len(words)))]
    scores = _scores(encoder, [_told(ids) for ids in tokenize(versions)], ("text",), target)
    return [WordRelevance(word, float(scores[0] - score)) for word, score in zip(words, scores[1:], strict=True)]


def _told(ids: Tensor) -> Item:
    return Item({}, ids, {"text": True}, 0, 0)


def _scores(encoder: Encoder, items: Sequence[Item], modalities: tuple[str, ...], target: Tensor) -> Tensor:
    found = []
    for start in range(0, len(items), _BATCH):
        batch = collate(items[start : start + _BATCH]).to(target.device)
        features = F.normalize(encoder.encode(batch, modalities).float(), dim=1)
        found.append(features @ F.normalize(target.float(), dim=0))
    return torch.cat(found).cpu()


@torch.inference_mode()
def rollout_image(encoder: Encoder, backbone: DualEncoder, item: Item, modality: str) -> np.ndarray:
    """Attention of the class token to the patches, through all layers.

    Args:
        encoder: of the image.
        backbone: whose vision tower the encoder walks.
        item: holds the image.
        modality: of the image.

    Returns:
        (rows, columns) of the patch grid, sum 1.

    Raises:
        UserError: when the encoder does not walk the tower.
    """
    device = next(backbone.parameters()).device
    with _attention(backbone.clip.visual.transformer.resblocks) as layers:
        encoder.encode(collate([item]).to(device), (modality,))
    flow = _rolled(layers)[0, 1:]
    rows, columns = backbone.grid
    if len(flow) != rows * columns:
        raise UserError(f"the tower saw {len(flow)} patches, not {rows} x {columns}: take the method occlusion")
    return (flow / flow.sum()).reshape(rows, columns).numpy()


@torch.inference_mode()
def rollout_words(encoder: Encoder, backbone: DualEncoder, sentence: str) -> list[WordRelevance]:
    """Attention of the end token to the words, through all layers; a word is the sum of its tokens."""
    device = next(backbone.parameters()).device
    tokens = backbone.tokenize([sentence])[0]
    with _attention(backbone.clip.transformer.resblocks) as layers:
        encoder.encode(collate([_told(tokens)]).to(device), ("text",))
    end = int(tokens.argmax())
    flow = _rolled(layers)[end, 1:end]
    words = sentence.split()
    lengths = [int(ids.argmax()) - 1 for ids in backbone.tokenize(words)]
    if sum(lengths) != len(flow):  # the sentence was cut, or the tokenizer joins across words: spread it evenly
        lengths = _fitted(lengths, len(flow))
    starts = np.cumsum([0, *lengths])
    shares = [float(flow[start:stop].sum()) for start, stop in pairwise(starts.tolist())]
    total = sum(shares) or 1.0
    return [WordRelevance(word, share / total) for word, share in zip(words, shares, strict=True)]


def _fitted(lengths: list[int], room: int) -> list[int]:
    fitted = []
    for length in lengths:
        fitted.append(min(length, room))
        room -= fitted[-1]
    return fitted


@contextmanager
def _attention(blocks: Any) -> Iterator[list[Tensor]]:  # noqa: ANN401 - an open_clip module list
    """Collect the attention of each block, (L, L), heads averaged, of the first sample."""
    layers: list[Tensor] = []

    def collect(module: Any, inputs: tuple[Any, ...], given: dict[str, Any]) -> None:  # noqa: ANN401 - torch's own
        query, key = inputs[0], inputs[1] if len(inputs) > 1 else inputs[0]
        mask = given.get("attn_mask")
        layers.append(_weights(module, query, key, mask))

    hooks = [block.attn.register_forward_pre_hook(collect, with_kwargs=True) for block in blocks]
    try:
        yield layers
    finally:
        for hook in hooks:
            hook.remove()


def _weights(module: Any, query: Tensor, key: Tensor, mask: Tensor | None) -> Tensor:  # noqa: ANN401 - MultiheadAttention
    if not module.batch_first:
        query, key = query.transpose(0, 1), key.transpose(0, 1)
    width, heads = module.embed_dim, module.num_heads
    weight, bias = module.in_proj_weight, module.in_proj_bias
    asking = F.linear(query[:1], weight[:width], bias[:width]).view(1, -1, heads, width // heads).transpose(1, 2)
    offered = F.linear(key[:1], weight[width : 2 * width], bias[width : 2 * width])
    offered = offered.view(1, -1, heads, width // heads).transpose(1, 2)
    logits = asking @ offered.transpose(-1, -2) / (width // heads) ** 0.5
    if mask is not None:
        logits = logits + (mask if mask.is_floating_point() else torch.zeros_like(logits).masked_fill(mask, -1e9))
    weights: Tensor = logits.float().softmax(-1)[0].mean(0).cpu()
    return weights


def _rolled(layers: Sequence[Tensor]) -> Tensor:
    if not layers:
        raise UserError("this model does not pass through its CLIP tower's attention: take the method occlusion")
    flow = torch.eye(len(layers[0]))
    for layer in layers:
        mixed = layer + torch.eye(len(layer))
        flow = (mixed / mixed.sum(-1, keepdim=True)) @ flow
    return flow
