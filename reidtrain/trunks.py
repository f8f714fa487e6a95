"""A ViT's transformer alone: first norm, blocks, last norm, for sequences of any tokens with padding.

Blocks of open_clip and of timm are walked alike; a mask of padded places takes no memory of length times length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from reidtrain.attention import attention_kernel


class Trunk(nn.Module):
    """The transformer.

    Args:
        blocks: open_clip's `ResidualAttentionBlock` or timm's `Block`.
        first: norm before the blocks; none by default.
        last: norm behind them; none by default.
        recompute: keep no activations of a block, compute them again on the way back.
    """

    def __init__(
        self,
        blocks: Iterable[nn.Module],
        first: nn.Module | None = None,
        last: nn.Module | None = None,
        *,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.recompute = recompute
        self.first, self.last = first or nn.Identity(), last or nn.Identity()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Encode.

        Args:
            tokens: (B, L, W), position embeddings added.
            mask: (B, L) bool, real tokens, at least one a row; None where all are.

        Returns:
            (B, L, W); what stands at padded places means nothing.
        """
        tokens = self.first(tokens)
        for block in self.blocks:
            tokens = run_block(_block, block, tokens, mask, recompute=self.recompute)
        return cast(torch.Tensor, self.last(tokens))


def run_block(
    block: Callable[..., torch.Tensor],
    *arguments: object,
    recompute: bool,
) -> torch.Tensor:
    """Run a block; with `recompute`, keep none of its activations for the way back (gradient checkpointing)."""
    if not recompute or not torch.is_grad_enabled():
        return block(*arguments)
    recomputed: torch.Tensor = checkpoint(block, *arguments, use_reentrant=False)
    return recomputed


def _block(module: nn.Module, tokens: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    block = cast(Any, module)
    if hasattr(block, "ln_1"):
        tokens = tokens + block.ls_1(_open_clip_attention(block.attn, block.ln_1(tokens), mask))
        return cast(torch.Tensor, tokens + block.ls_2(block.mlp(block.ln_2(tokens))))
    tokens = tokens + block.ls1(_timm_attention(block.attn, block.norm1(tokens), mask))
    return cast(torch.Tensor, tokens + block.ls2(block.mlp(block.norm2(tokens))))


def fresh_trunk(width: int, depth: int, heads: int) -> Trunk:
    """A transformer with random weights: truncated normal of deviation 0.02, biases zero, as ViT begins.

    Args:
        width: of tokens.
        depth: number of blocks.
        heads: of each block, a divisor of `width`.
    """
    from open_clip.transformer import ResidualAttentionBlock

    trunk = Trunk((ResidualAttentionBlock(width, heads) for _ in range(depth)), last=nn.LayerNorm(width))
    for name, parameter in trunk.named_parameters():
        if parameter.ndim > 1:
            nn.init.trunc_normal_(parameter, std=0.02)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
    return trunk


def _open_clip_attention(attention: Any, tokens: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:  # noqa: ANN401  nn.MultiheadAttention, whose weights torch types as optional
    projected = F.linear(tokens, attention.in_proj_weight, attention.in_proj_bias)
    return cast(torch.Tensor, attention.out_proj(_attend(projected, attention.num_heads, mask)))


def _timm_attention(attention: Any, tokens: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:  # noqa: ANN401  timm is untyped
    return cast(torch.Tensor, attention.proj(_attend(attention.qkv(tokens), attention.num_heads, mask)))


def _attend(projected: torch.Tensor, heads: int, mask: torch.Tensor | None) -> torch.Tensor:
    """Self-attention from (B, L, 3 W), query, key and value side by side, to (B, L, W)."""
    query, key, value = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in projected.chunk(3, dim=-1))
    with attention_kernel(projected):
        mixed = F.scaled_dot_product_attention(
            query, key, value, attn_mask=None if mask is None else mask[:, None, None, :]
        )
    return mixed.transpose(1, 2).flatten(2)
