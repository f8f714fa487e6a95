"""Image-text encoders with CLIP's architecture, walked block by block so that adapters can stand beside each FFN.

`build_backbone` takes
- `demo`: the small encoder shipped in `assets/demo-backbone` (its README.md tells how it was trained);
- a folder with `config.json` and `model.safetensors`, as `save_backbone` and `reidtrain pretrain-backbone` write it;
- `NAME:WEIGHTS`: an open_clip architecture with a local `.safetensors`, `.bin` or `.pt` state dict;
- `NAME:TAG`: an open_clip architecture with one of its published weight tags, fetched by open_clip;
- `FILE`: an OpenAI archive or state dict (`ViT-B-16.pt`);
- a folder with a CLIP of transformers, or `transformers:HUB_NAME`;
- `timm:NAME` or `timm:NAME:FILE`, `meta-transformer:FILE`: an image transformer alone, as AIO's trunk;
- `data2vec:VISION+TEXT`: folders or hub names of data2vec's encoders, as DMF's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import nn

from reidtrain.attention import attention_kernel
from reidtrain.backbone_files import (
    CLIP_MEAN,
    CLIP_STD,
    CONFIG_FILE,
    WEIGHTS_FILE,
    Description,
    build_clip,
    load_weights,
    read_description,
    read_weights,
)
from reidtrain.backbone_formats import (
    is_archive,
    is_openai,
    is_transformers_clip,
    openai_config,
    read_archive,
    read_transformers,
)
from reidtrain.errors import UserError
from reidtrain.tokenizer import Tokenizer
from reidtrain.trunks import Trunk, run_block

ASSETS = Path(__file__).parent / "assets"

Adapter = Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]
"""(normalised tokens (B, L, W), mask of real tokens (B, L) or None) -> what is added beside the block's FFN."""

Masks = tuple[torch.Tensor | None, torch.Tensor | None]
"""What attention adds to its scores (L, L), and which tokens are real (B, L)."""


def resize_position_embedding(
    embedding: torch.Tensor, grid: tuple[int, int], new_grid: tuple[int, int]
) -> torch.Tensor:
    """Resize a ViT's position embedding for another grid of patches.

    Bilinear, corners not aligned, no antialiasing, as UNIReID and FlexiReID resize CLIP's; open_clip's own resizing
    is bicubic with antialiasing and gives other features. The row of the class token is kept.

    Args:
        embedding: (1 + h * w, W), the class token's row first.
        grid: (h, w) of `embedding`.
        new_grid: (h', w') wanted.

    Returns:
        (1 + h' * w', W).
    """
    if grid == new_grid:
        return embedding
    head, body = embedding[:1], embedding[1:]
    image = body.float().reshape(1, *grid, -1).permute(0, 3, 1, 2)
    image = F.interpolate(image, size=new_grid, mode="bilinear", align_corners=False, antialias=False)
    return torch.cat([head, image.permute(0, 2, 3, 1).reshape(-1, body.shape[1]).to(body.dtype)])


class DualEncoder(nn.Module):
    """A CLIP model whose towers give token sequences and take adapters.

    Args:
        clip: an open_clip `CLIP` with a ViT and a causal text transformer.
        tokenizer: texts to ids.
        mean: of the colour channels of its input.
        std: of the colour channels of its input.
        frozen: no parameter needs a gradient, and the modules stay in eval mode whatever `train()` says, so that
            BatchNorm keeps its statistics.
        image_size: (height, width) of input images, None for the model's own.

    Attributes:
        image_size: (height, width) of input images.
        grid: (rows, columns) of patch tokens.
        embed_dim: D, length of features and of projected tokens.
        vision_width, text_width: W inside the towers.
        vision_layers, text_layers: number of blocks.
        recompute: keep no activations of a block, compute them again on the way back; False until it is set.
    """

    recompute = False

    def __init__(
        self,
        clip: nn.Module,
        tokenizer: Tokenizer,
        *,
        mean: Sequence[float] = CLIP_MEAN,
        std: Sequence[float] = CLIP_STD,
        frozen: bool = True,
        image_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        _require_plain(clip)
        self.clip = cast(Any, clip)
        self.tokenizer = tokenizer
        self.mean, self.std = tuple(mean), tuple(std)
        self.frozen = frozen
        visual = self.clip.visual
        self.patch_size: tuple[int, int] = tuple(visual.patch_size)
        self.image_size: tuple[int, int] = image_size or tuple(visual.image_size)
        self.grid = (self.image_size[0] // self.patch_size[0], self.image_size[1] // self.patch_size[1])
        if 0 in self.grid:
            raise UserError(
                f"image size {self.image_size} is smaller than one patch of {self.patch_size}: give a larger one"
            )
        resized = resize_position_embedding(visual.positional_embedding.data, tuple(visual.grid_size), self.grid)
        visual.positional_embedding = nn.Parameter(resized)
        visual.image_size, visual.grid_size = self.image_size, self.grid
        self.embed_dim = int(visual.proj.shape[1])
        self.vision_width, self.text_width = int(visual.proj.shape[0]), int(self.clip.ln_final.weight.shape[0])
        self.vision_layers, self.text_layers = len(visual.transformer.resblocks), len(self.clip.transformer.resblocks)
        self.requires_grad_(not frozen)
        self.train(not frozen)

    def train(self, mode: bool = True) -> DualEncoder:
        """Switch to training mode; a frozen encoder stays in eval mode."""
        return super().train(mode and not self.frozen)

    def tokenize(self, texts: Sequence[str]) -> torch.Tensor:
        """Turn B texts into (B, context length) token ids."""
        return self.tokenizer(texts)

    def unknown_words(self, text: str) -> list[str]:
        """Return the words of a text that this encoder does not know and leaves out."""
        return self.tokenizer.unknown_words(text)

    def image_tokens(
        self, images: torch.Tensor, adapters: Sequence[Adapter] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, tuple[int, int]]:
        """Encode images.

        Args:
            images: (B, 3, H, W), normalised by `mean` and `std`, of `image_size`.
            adapters: one per vision block, added beside its FFN.

        Returns:
            Global features (B, D): the class token after the last norm and the projection, not normalised; patch
            tokens (B, rows * columns, D), likewise; the grid (rows, columns).
        """
        if tuple(images.shape[-2:]) != self.image_size:
            raise ValueError(f"images must be {self.image_size} (height, width), received {tuple(images.shape[-2:])}")
        visual = self.clip.visual
        tokens = visual._embeds(images)
        tokens = _walk(visual.transformer.resblocks, tokens, (None, None), adapters, recompute=self.recompute)
        projected = visual.ln_post(tokens) @ visual.proj
        return projected[:, 0], projected[:, 1:], self.grid

    @property
    def patch_embedding(self) -> nn.Module:
        """Turns (B, 3, H, W) into (B, vision_width, rows, columns)."""
        return cast(nn.Module, self.clip.visual.conv1)

    @property
    def word_table(self) -> torch.Tensor:
        """(V, text_width) word embeddings."""
        return cast(torch.Tensor, self.clip.token_embedding.weight.data)

    def start_token(self) -> torch.Tensor:
        """(vision_width,) class token with its position."""
        visual = self.clip.visual
        return cast(torch.Tensor, visual.class_embedding.data + visual.positional_embedding.data[0])

    def positions(self) -> torch.Tensor:
        """(rows * columns, vision_width) position embedding of the patches."""
        return cast(torch.Tensor, self.clip.visual.positional_embedding.data[1:])

    def trunk(self) -> Trunk:
        """The image tower's transformer for sequences of any tokens: its own modules, not copies."""
        visual = self.clip.visual
        return Trunk(visual.transformer.resblocks, visual.ln_pre, visual.ln_post, recompute=self.recompute)

    def text_tokens(
        self, ids: torch.Tensor, adapters: Sequence[Adapter] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Encode token ids.

        The sequence is cut behind the last end token of the batch: attention is causal, so nothing before it changes.

        Args:
            ids: (B, L) from `tokenize`.
            adapters: one per text block, added beside its FFN.

        Returns:
            Global features (B, D): the token at the end mark after the last norm and the projection, not normalised;
            tokens (B, L', D), likewise; lengths (B,), start and end mark included.
        """
        ends = ids.argmax(dim=1)
        longest = int(ends.max()) + 1
        ids = ids[:, :longest]
        mask = torch.arange(longest, device=ids.device)[None, :] <= ends[:, None]
        tokens = self.clip.token_embedding(ids) + self.clip.positional_embedding[:longest]
        causal = self.clip.attn_mask[:longest, :longest]
        blocks = self.clip.transformer.resblocks
        tokens = _walk(blocks, tokens, (causal, mask), adapters, recompute=self.recompute)
        projected = self.clip.ln_final(tokens) @ self.clip.text_projection
        return projected[torch.arange(len(ids), device=ids.device), ends], projected, ends + 1


def _walk(
    blocks: Sequence[nn.Module],
    tokens: torch.Tensor,
    masks: Masks,
    adapters: Sequence[Adapter] | None,
    *,
    recompute: bool,
) -> torch.Tensor:
    if adapters is not None and len(adapters) != len(blocks):
        raise ValueError(f"one adapter per block is needed, received {len(adapters)} for {len(blocks)} blocks")
    for index, block in enumerate(blocks):
        adapter = None if adapters is None else adapters[index]
        tokens = run_block(_block, block, tokens, masks, adapter, recompute=recompute)
    return tokens


def _block(module: nn.Module, tokens: torch.Tensor, masks: Masks, adapter: Adapter | None) -> torch.Tensor:
    block, (attention_mask, real) = cast(Any, module), masks
    with attention_kernel(tokens):
        tokens = tokens + block.ls_1(block.attention(block.ln_1(tokens), attn_mask=attention_mask))
    normalised = block.ln_2(tokens)
    update = block.ls_2(block.mlp(normalised))
    update = update if adapter is None else update + adapter(normalised, real)
    return cast(torch.Tensor, tokens + update)


def recompute_blocks(model: nn.Module) -> None:
    """Have a model's transformers keep no activations of their blocks (gradient checkpointing)."""
    for module in model.modules():
        if isinstance(module, DualEncoder | Trunk):
            module.recompute = True


def _require_plain(clip: nn.Module) -> None:
    visual = getattr(clip, "visual", None)
    plain = (
        hasattr(visual, "class_embedding")
        and getattr(visual, "pool_type", None) == "tok"
        and getattr(visual, "attn_pool", None) is None
        and isinstance(getattr(visual, "proj", None), nn.Parameter)
        and isinstance(getattr(clip, "text_projection", None), nn.Parameter)
        and getattr(clip, "text_pool_type", None) == "argmax"
    )
    if not plain:
        raise UserError(
            f"backbone of type {type(clip).__name__} is not a plain CLIP (a ViT with a class token and a causal text "
            "transformer): use an open_clip ViT such as ViT-B-16 or ViT-L-14"
        )


def require_clip(backbone: DualEncoder, model: str) -> None:
    """Refuse backbones without CLIP's two towers.

    Raises:
        UserError: for an image transformer alone or a pair of encoders.
    """
    if not isinstance(getattr(backbone, "clip", None), nn.Module):
        raise UserError(f"{model} needs both towers of a CLIP: use a backbone such as ViT-B-16:openai")


def _from_folder(folder: Path) -> tuple[nn.Module, Tokenizer, Description]:
    description = read_description(folder)
    clip, tokenizer = build_clip(description)
    load_weights(clip, read_weights(folder / WEIGHTS_FILE), folder / WEIGHTS_FILE)
    return clip, tokenizer, description


def _from_open_clip(name: str, weights: str) -> nn.Module:
    import open_clip

    if name not in open_clip.list_models():
        raise UserError(
            f"backbone {name!r} is neither 'demo', nor a folder with {CONFIG_FILE}, nor an open_clip architecture "
            "such as ViT-B-16 (python -c 'import open_clip; print(open_clip.list_models())' lists them)"
        )
    tags = open_clip.list_pretrained_tags_by_model(name)
    if weights in tags:
        # OpenAI's models and some others were trained with QuickGELU, and open_clip only warns of the difference.
        quick = bool(open_clip.get_pretrained_cfg(name, weights).get("quick_gelu", False))
        try:
            return cast(nn.Module, open_clip.create_model(name, pretrained=weights, force_quick_gelu=quick))
        except Exception as error:
            raise UserError(
                f"the weights {weights!r} of {name} could not be fetched ({type(error).__name__}): download the "
                f"state dict yourself and write {name}:/path/to/open_clip_model.safetensors"
            ) from error
    if not Path(weights).suffix:
        raise UserError(
            f"backbone {name!r} has no weights named {weights!r}: write {name}:TAG with one of "
            f"{', '.join(tags) or 'no published tags'}, or {name}:/path/to/open_clip_model.safetensors"
        )
    state = _read(Path(weights).expanduser())
    clip: nn.Module = open_clip.create_model(name, pretrained=None, force_quick_gelu=is_openai(state))
    _require_plain(clip)
    load_weights(clip, state, weights)
    return clip


def _read(path: Path) -> dict[str, torch.Tensor]:
    return read_archive(path) if path.is_file() and is_archive(path) else read_weights(path)


def _built(config: Mapping[str, Any], state: Mapping[str, torch.Tensor], origin: object) -> nn.Module:
    from open_clip.model import CLIP

    clip: nn.Module = CLIP(**config)
    load_weights(clip, state, origin)
    return clip


def _foreign(name: str) -> nn.Module | None:
    """A CLIP in another project's format, None where the name is not of that kind."""
    path = Path(name).expanduser()
    if name.startswith("transformers:") or (path.is_dir() and is_transformers_clip(path)):
        config, state = read_transformers(name.removeprefix("transformers:"))
        return _built(config, state, name)
    if path.is_file():
        state = _read(path)
        return _built(openai_config(state, path), state, path)
    return None


def _no_clip(name: str, *, frozen: bool, image_size: tuple[int, int] | None) -> DualEncoder | None:
    """A backbone that is no CLIP, None where the name is not of that kind."""
    from reidtrain.other_backbones import data2vec_pair, meta_transformer, timm_backbone

    kind, _, rest = name.partition(":")
    if kind == "timm":
        model, _, weights = rest.partition(":")
        return timm_backbone(model, weights or None, frozen=frozen, image_size=image_size)
    if kind == "meta-transformer":
        return meta_transformer(rest, frozen=frozen, image_size=image_size)
    if kind == "data2vec":
        vision, plus, text = rest.partition("+")
        if not plus:
            raise UserError(f"backbone {name!r} must be written data2vec:VISION+TEXT, each a folder or a hub name")
        return data2vec_pair(vision, text, frozen=frozen, image_size=image_size)
    return None


def build_backbone(name_or_path: str, *, frozen: bool = True, image_size: tuple[int, int] | None = None) -> DualEncoder:
    """Build an image-text encoder with its weights; never with random ones.

    Args:
        name_or_path: see the module docstring.
        frozen: see `DualEncoder`.
        image_size: (height, width) of input images, None for the model's own; the position embedding is resized.

    Returns:
        The encoder, on the CPU, in float32.

    Raises:
        UserError: if it is unknown, or its files are missing or do not fit; the message names the file to provide.
    """
    other = _no_clip(name_or_path, frozen=frozen, image_size=image_size)
    if other is not None:
        return other
    folder = ASSETS / "demo-backbone" if name_or_path == "demo" else Path(name_or_path).expanduser()
    clip = _foreign(name_or_path)
    if clip is None and folder.is_dir():
        clip, tokenizer, description = _from_folder(folder)
        mean, std = description.mean, description.std
        return DualEncoder(clip, tokenizer, mean=mean, std=std, frozen=frozen, image_size=image_size)
    if clip is None:
        architecture, _, weights = name_or_path.partition(":")
        clip = _from_open_clip(architecture, weights)
    visual = cast(Any, clip).visual
    mean, std = getattr(visual, "image_mean", None) or CLIP_MEAN, getattr(visual, "image_std", None) or CLIP_STD
    tokenizer = Tokenizer(int(cast(Any, clip).context_length))
    return DualEncoder(clip, tokenizer, mean=mean, std=std, frozen=frozen, image_size=image_size)
