"""Backbones that are no CLIP: image transformers alone (timm, Meta-Transformer), and data2vec's pair of encoders."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, cast

import torch
from torch import nn

from reidtrain.backbone_files import read_weights
from reidtrain.backbones import Adapter, DualEncoder, resize_position_embedding
from reidtrain.errors import UserError
from reidtrain.tokenizer import Tokenizer
from reidtrain.trunks import Trunk

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
META_WIDTH, META_DEPTH, META_HEADS, META_PATCH = 768, 12, 12, 16
META_SIZE = (224, 224)
TEXT_LENGTH = 77
_WORD = re.compile("[a-z]+")


class TrunkEncoder(DualEncoder):
    """An image transformer without a text tower: a trunk for tokens of any kind.

    What it lacks beside a CLIP is drawn from a fixed seed: word embeddings, and for Meta-Transformer class token,
    positions and patch embedding.

    Args:
        blocks: timm `Block`s.
        width: W.
        first: norm before the blocks, or none.
        last: norm behind them, or none.
        parts: `start` (W,), `positions` (N, W) on `grid`, `patch` module, as far as there are any.
        patch_size: pixels of a patch.
        grid: (rows, columns) of `positions`.
        image_size: (height, width) of images.
        frozen: see `DualEncoder`.
    """

    def __init__(  # noqa: PLR0913  what the parts of the two kinds are
        self,
        blocks: Iterable[nn.Module],
        *,
        width: int,
        first: nn.Module | None,
        last: nn.Module | None,
        parts: Mapping[str, Any],
        patch_size: int,
        grid: tuple[int, int],
        image_size: tuple[int, int],
        frozen: bool,
    ) -> None:
        nn.Module.__init__(self)
        self.blocks = nn.ModuleList(blocks)
        self.first, self.last = first or nn.Identity(), last or nn.Identity()
        self.patch = parts.get("patch")
        self.patch_size, self.image_size = (patch_size, patch_size), image_size
        self.grid = (image_size[0] // patch_size, image_size[1] // patch_size)
        self.tokenizer, self.mean, self.std = Tokenizer(TEXT_LENGTH), IMAGENET_MEAN, IMAGENET_STD
        self.embed_dim = self.vision_width = self.text_width = width
        self.vision_layers, self.text_layers = len(self.blocks), 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            start = torch.randn(width) * 0.02
            positions = torch.randn(grid[0] * grid[1], width) * 0.02
            words = torch.randn(self.tokenizer.size, width) * 0.02
        table = torch.cat([parts.get("start", start)[None], parts.get("positions", positions)])
        self.register_buffer("table", resize_position_embedding(table, grid, self.grid))
        self.register_buffer("words", words)
        self.frozen = frozen
        self.requires_grad_(not frozen)
        self.train(not frozen)

    @property
    def patch_embedding(self) -> nn.Module:
        """Turns (B, 3, H, W) into (B, width, rows, columns)."""
        if self.patch is None:
            raise UserError("this backbone has no patch embedding: use image_tokenizer=ibn")
        return cast(nn.Module, self.patch)

    @property
    def word_table(self) -> torch.Tensor:
        """(V, W) word embeddings, drawn at random."""
        return self.get_buffer("words")

    def start_token(self) -> torch.Tensor:
        """(W,) class token with its position."""
        return self.get_buffer("table")[0]

    def positions(self) -> torch.Tensor:
        """(rows * columns, W) position embedding of the patches."""
        return self.get_buffer("table")[1:]

    def trunk(self) -> Trunk:
        """The transformer; its own modules, not copies."""
        return Trunk(self.blocks, self.first, self.last, recompute=self.recompute)

    def image_tokens(
        self, images: torch.Tensor, adapters: Sequence[Adapter] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, tuple[int, int]]:
        """Encode images; see `DualEncoder.image_tokens`. Adapters have no place here."""
        if adapters is not None:
            raise UserError("this backbone takes no adapters: use a CLIP such as ViT-B-16:openai")
        patches = self.patch_embedding(images).flatten(2).transpose(1, 2) + self.positions()
        start = self.start_token().expand(len(images), 1, -1)
        encoded = self.trunk()(torch.cat([start, patches], dim=1))
        return encoded[:, 0], encoded[:, 1:], self.grid

    def text_tokens(
        self, ids: torch.Tensor, adapters: Sequence[Adapter] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Refuse: there is no text tower."""
        _no_text()


def _no_text() -> NoReturn:
    raise UserError("this backbone has no text tower: use a CLIP such as ViT-B-16:openai, or a mode without text")


def timm_backbone(name: str, weights: str | None, *, frozen: bool, image_size: tuple[int, int] | None) -> TrunkEncoder:
    """Build a ViT of timm.

    Args:
        name: of the model, with its tag for published weights (`vit_base_patch16_224.augreg_in21k`).
        weights: a local state dict in place of published weights.
        frozen: see `DualEncoder`.
        image_size: see `DualEncoder`.

    Raises:
        UserError: if it is unknown, no plain ViT, or its weights can't be had.
    """
    import timm

    if not timm.is_model(name.partition(".")[0]):
        raise UserError(f"timm knows no model {name!r}: python -c 'import timm; print(timm.list_models(\"vit*\"))'")
    try:
        model: Any = timm.create_model(name, pretrained=weights is None, num_classes=0)
    except Exception as error:
        raise UserError(
            f"the weights of timm's {name} could not be fetched ({type(error).__name__}): download the state dict "
            f"yourself and write timm:{name}:/path/to/model.safetensors"
        ) from error
    if not hasattr(model, "blocks") or getattr(model, "cls_token", None) is None or model.pos_embed is None:
        raise UserError(f"timm's {name} is no plain ViT with a class token: choose one such as vit_base_patch16_224")
    if weights is not None:
        state = {
            key: value.float() for key, value in read_weights(Path(weights).expanduser()).items() if "head" not in key
        }
        try:
            model.load_state_dict(state)
        except RuntimeError as error:
            raise UserError(f"the weights in {weights} do not fit timm's {name}: check its name") from error
    patch = int(model.patch_embed.patch_size[0])
    start = (model.cls_token + model.pos_embed[:, :1])[0, 0].detach()
    return TrunkEncoder(
        model.blocks,
        width=int(model.embed_dim),
        first=model.norm_pre,
        last=model.norm,
        parts={"start": start, "positions": model.pos_embed[0, 1:].detach(), "patch": model.patch_embed.proj},
        patch_size=patch,
        grid=tuple(model.patch_embed.grid_size),
        image_size=image_size or tuple(model.patch_embed.img_size),
        frozen=frozen,
    )


def meta_transformer(weights: str, *, frozen: bool, image_size: tuple[int, int] | None) -> TrunkEncoder:
    """Build Meta-Transformer-B16 from its local state dict: 12 timm blocks of width 768, and nothing else.

    Raises:
        UserError: if the file is missing or does not fit.
    """
    from timm.models.vision_transformer import Block

    blocks = nn.Sequential(*(Block(META_WIDTH, META_HEADS, qkv_bias=True) for _ in range(META_DEPTH)))
    state = {key: value.float() for key, value in read_weights(Path(weights).expanduser()).items()}
    try:
        blocks.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(
            f"the weights in {weights} are not Meta-Transformer-B16 (12 blocks of width 768): give "
            "Meta-Transformer_base_patch16_encoder.pth"
        ) from error
    size = image_size or META_SIZE
    return TrunkEncoder(
        blocks,
        width=META_WIDTH,
        first=None,
        last=None,
        parts={},
        patch_size=META_PATCH,
        grid=(size[0] // META_PATCH, size[1] // META_PATCH),
        image_size=size,
        frozen=frozen,
    )


class _PairTokenizer:
    """A tokenizer of transformers in the shape of `Tokenizer`; its words can't be told apart by ids."""

    def __init__(self, tokenizer: Any) -> None:  # noqa: ANN401  transformers is untyped
        self._tokenizer = tokenizer
        self.context_length, self.size = TEXT_LENGTH, len(tokenizer)
        self.padding = int(tokenizer.pad_token_id)
        self.kept: frozenset[str] | None = None

    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        if self.kept is not None:
            texts = [" ".join(word for word in _WORD.findall(text.lower()) if word in self.kept) for text in texts]
        found = self._tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=TEXT_LENGTH, return_tensors="pt"
        )
        return cast(torch.Tensor, found["input_ids"])

    def unknown_words(self, text: str) -> list[str]:
        """Byte-level pieces leave nothing unknown."""
        return []

    def word_ids(self, word: str) -> list[int]:
        """None: pieces begin words here and don't end them."""
        return []

    def word_ends(self) -> torch.Tensor:
        """(size,) bool, all true."""
        return torch.ones(self.size, dtype=torch.bool)


class PairEncoder(DualEncoder):
    """data2vec-vision and data2vec-text side by side: tokens of two spaces, for a model that joins them.

    Args:
        image: a transformers vision model.
        text: a transformers text model of the same width.
        tokenizer: of the text model.
        image_size: (height, width) of images.
        frozen: see `DualEncoder`.
    """

    def __init__(
        self,
        image: nn.Module,
        text: nn.Module,
        tokenizer: _PairTokenizer,
        *,
        image_size: tuple[int, int] | None,
        frozen: bool,
    ) -> None:
        nn.Module.__init__(self)
        self.image, self.text = cast(Any, image), cast(Any, text)
        width, text_width = int(self.image.config.hidden_size), int(self.text.config.hidden_size)
        if width != text_width:
            raise UserError(f"the encoders of a pair must have one width, received {width} and {text_width}")
        own = int(self.image.config.image_size)
        patch = int(self.image.config.patch_size)
        self.patch_size, self.image_size = (patch, patch), image_size or (own, own)
        self.grid = (self.image_size[0] // patch, self.image_size[1] // patch)
        self.tokenizer = cast(Any, tokenizer)
        self.padding = tokenizer.padding
        self.mean, self.std = IMAGENET_MEAN, IMAGENET_STD
        self.embed_dim = self.vision_width = self.text_width = width
        self.vision_layers = self.text_layers = 0
        self.frozen = frozen
        self.requires_grad_(not frozen)
        self.train(not frozen)

    def keep_words(self, words: Iterable[str]) -> None:
        """Leave all other words out of the texts that are tokenized from now on: ids don't tell words apart here."""
        cast(Any, self.tokenizer).kept = frozenset(words)

    def trunk(self) -> Trunk:
        """Refuse: its blocks are no plain ViT's."""
        raise UserError("a data2vec pair gives tokens and no trunk: use transformer=fresh, or another backbone")

    def image_tokens(
        self, images: torch.Tensor, adapters: Sequence[Adapter] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, tuple[int, int]]:
        """Encode images; see `DualEncoder.image_tokens`. Adapters have no place here."""
        hidden = self.image(images, interpolate_pos_encoding=True).last_hidden_state
        return hidden[:, 0], hidden[:, 1:], self.grid

    def text_tokens(
        self, ids: torch.Tensor, adapters: Sequence[Adapter] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Encode token ids; the global feature is the first token's. See `DualEncoder.text_tokens`."""
        lengths = (ids != self.padding).sum(dim=1).clamp_min(1)
        longest = int(lengths.max())
        mask = torch.arange(longest, device=ids.device)[None] < lengths[:, None]
        hidden = self.text(ids[:, :longest], attention_mask=mask.long()).last_hidden_state
        return hidden[:, 0], hidden, lengths


def data2vec_pair(image: str, text: str, *, frozen: bool, image_size: tuple[int, int] | None) -> PairEncoder:
    """Build the pair from folders or hub names.

    Raises:
        UserError: if one of them can't be had.
    """
    from transformers import AutoModel, AutoTokenizer

    try:
        encoders = [AutoModel.from_pretrained(name).float() for name in (image, text)]
        tokenizer = _PairTokenizer(AutoTokenizer.from_pretrained(text))
    except (OSError, ValueError) as error:
        raise UserError(
            f"the encoders {image} and {text} cannot be had ({type(error).__name__}): download config.json, "
            "model.safetensors and the tokenizer's files of each into a folder and write "
            "data2vec:/path/to/vision+/path/to/text"
        ) from error
    return PairEncoder(encoders[0], encoders[1], tokenizer, image_size=image_size, frozen=frozen)
