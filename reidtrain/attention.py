"""Which attention kernel runs where."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
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
