"""Self-attention over padded sequences, and which attention kernel runs where."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel


def attention_kernel(tokens: torch.Tensor) -> AbstractContextManager[object]:
    """Choose the kernel of `scaled_dot_product_attention` for the blocks under this context.

    Under bfloat16 autocast on the CPU, torch's fused kernel takes four times as long backward as in float32;
    plain matrix products take a fifth off a whole training step. Everywhere else torch chooses.

    Args:
        tokens: what is attended to.
    """
    if tokens.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        return sdpa_kernel(SDPBackend.MATH)
    return nullcontext()


def masked_attention(attention: nn.MultiheadAttention, tokens: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Self-attention whose keys may be padding, without a mask of sequence times sequence.

    Args:
        attention: its projections are used.
        tokens: (B, L, W).
        mask: (B, L) bool, real tokens; None where all are. At least one of a row must be real.

    Returns:
        (B, L, W); what stands at padded places means nothing.
    """
    query, key, value = (
        part.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
        for part in F.linear(tokens, attention.in_proj_weight, attention.in_proj_bias).chunk(3, dim=-1)
    )
    with attention_kernel(tokens):
        keys = None if mask is None else mask[:, None, None, :]
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=keys)
    joined: torch.Tensor = attention.out_proj(mixed.transpose(1, 2).flatten(2))
    return joined
