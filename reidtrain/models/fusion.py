"""Cross-modal query fusion (CMQF): one feature from any subset of text, sketch and infrared.

FlexiReID, section 3.3, on token sequences: each modality gives 1 + K tokens, its global feature and K pooled local
ones. With a single token a modality's attention would have one key and ignore its query.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import nn

from reidtrain.attention import attention_kernel
from reidtrain.losses import unit

QUERY_MODALITIES = ("text", "sketch", "ir")
RESIDUAL_LENGTH = 0.1


def stripe_tokens(patches: torch.Tensor, grid: tuple[int, int], stripes: int) -> torch.Tensor:
    """Mean of the patch tokens in K horizontal stripes.

    Args:
        patches: (B, rows * columns, D), row by row.
        grid: (rows, columns).
        stripes: K, at most `rows`; stripes overlap by a row where K does not divide the rows.

    Returns:
        (B, K, D), top stripe first.
    """
    rows = patches.unflatten(1, grid).mean(dim=2)
    return F.adaptive_avg_pool1d(rows.transpose(1, 2), stripes).transpose(1, 2)


def segment_tokens(tokens: torch.Tensor, lengths: torch.Tensor, segments: int) -> torch.Tensor:
    """Mean of the text tokens in K equal segments, up to and with the end token.

    Segment k of a text of n tokens covers tokens floor(k n / K) to ceil((k + 1) n / K), so none is empty.

    Args:
        tokens: (B, L, D).
        lengths: (B,) n.
        segments: K.

    Returns:
        (B, K, D), first segment first.
    """
    index = torch.arange(segments, device=tokens.device)[None, :]
    start = index * lengths[:, None] // segments
    stop = -(-(index + 1) * lengths[:, None] // segments)
    position = torch.arange(tokens.shape[1], device=tokens.device)
    inside = (position >= start[..., None]) & (position < stop[..., None])
    weights = inside.to(tokens.dtype) / (stop - start)[..., None]
    return weights @ tokens


class AttentionBlock(nn.Module):
    """A pre-norm transformer block whose queries and keys may come from different sequences.

    Args:
        width: D.
        heads: number of heads.
        ratio: hidden width of the FFN over D.
    """

    def __init__(self, width: int, heads: int, ratio: float) -> None:
        super().__init__()
        self.query_norm, self.key_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ffn_norm = nn.LayerNorm(width)
        hidden = int(width * ratio)
        self.ffn = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, query: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        """Attend from (N, L, D) to (N, M, D); returns (N, L, D)."""
        keys = self.key_norm(source)
        with attention_kernel(query):
            tokens = query + self.attention(self.query_norm(query), keys, keys, need_weights=False)[0]
        update: torch.Tensor = tokens + self.ffn(self.ffn_norm(tokens))
        return update


class Fusion(nn.Module):
    """Turns the tokens of the present modalities into one feature.

    `cmqf`: y_m = Block_m(query = sum of the other two modalities' tokens, key and value = its own); concatenate the
    three, one shared block, mean pool. The paper's ablation: `concat` (all tokens into the shared block), `sum` (the
    modalities' sum into it), `hierarchical` (a self-attention block each, then the shared one); `global-sum` adds the
    global features and has no parameters (the rows without CMQF of the paper's table 3).

    Args:
        width: D.
        kind: one of `reidtrain.models.options.FUSIONS`.
        local_tokens: K.
        missing: what stands for an absent modality: `learnable` (1 + K) x D embeddings, or `zeros`.
        heads: of each block.
        ratio: FFN hidden width over D.
        residual_global: beyond the paper. The feature becomes sum_m exp(w_m) g_m + A f, where g_m are the present
            modalities' unit global features, f is the fused feature after a LayerNorm, scaled to length 0.1, and w (a
            linear map of the unscaled f) and A start at zero: at step 0 a query is the plain sum of its modalities'
            features, and training departs from there.
    """

    def __init__(
        self,
        width: int,
        *,
        kind: str = "cmqf",
        local_tokens: int = 8,
        missing: str = "learnable",
        heads: int = 8,
        ratio: float = 4.0,
        residual_global: bool = False,
    ) -> None:
        super().__init__()
        self.kind = kind
        self.residual_global = residual_global and kind != "global-sum"
        own = kind in ("cmqf", "hierarchical")
        self.blocks = nn.ModuleDict({m: AttentionBlock(width, heads, ratio) for m in QUERY_MODALITIES} if own else {})
        self.shared = None if kind == "global-sum" else AttentionBlock(width, heads, ratio)
        shape = (1 + local_tokens, width)
        for modality in QUERY_MODALITIES:
            if missing == "learnable" and kind != "global-sum":
                self.register_parameter(f"missing_{modality}", nn.Parameter(torch.randn(shape) * 0.02))
            else:
                self.register_buffer(f"missing_{modality}", torch.zeros(shape))
        if self.residual_global:
            self.norm = nn.LayerNorm(width)
            self.weights, self.out = nn.Linear(width, len(QUERY_MODALITIES)), nn.Linear(width, width, bias=False)
            nn.init.zeros_(self.weights.weight)
            nn.init.zeros_(self.weights.bias)
            nn.init.zeros_(self.out.weight)

    def forward(self, tokens: Mapping[str, torch.Tensor], present: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Fuse.

        Args:
            tokens: modality -> (N, 1 + K, D); an absent modality may be left out.
            present: modality -> (N,) bool for every modality in `tokens`; where false, its tokens are not read.

        Returns:
            (N, D), not normalised.
        """
        filled, held = self._fill(tokens, present)
        if self.kind == "global-sum":
            return torch.stack([filled[m][:, 0] for m in QUERY_MODALITIES]).sum(dim=0)
        sequence = self._sequence(filled)
        assert self.shared is not None
        fused: torch.Tensor = self.shared(sequence, sequence).mean(dim=1)
        if not self.residual_global:
            return fused
        features = torch.stack([unit(filled[m][:, 0]) for m in QUERY_MODALITIES], dim=1)
        fused = self.norm(fused)
        weights: torch.Tensor = self.weights(fused).exp() * held
        # Shorter than the unit features beside it, or one step of the optimiser would outweigh them. It is also what
        # overfits few people soonest: at full length infrared alone fell from 26 to 21 on the drawn world.
        changed: torch.Tensor = self.out(fused * (RESIDUAL_LENGTH * fused.shape[-1] ** -0.5))
        return (features * weights[..., None]).sum(dim=1) + changed

    def _fill(
        self, tokens: Mapping[str, torch.Tensor], present: Mapping[str, torch.Tensor]
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        rows = len(next(iter(tokens.values())))
        absent = torch.zeros(rows, dtype=torch.bool, device=next(iter(tokens.values())).device)
        filled, held = {}, []
        for modality in QUERY_MODALITIES:
            missing = getattr(self, f"missing_{modality}").expand(rows, -1, -1)
            here = present[modality] if modality in tokens else absent
            filled[modality] = torch.where(here[:, None, None], tokens.get(modality, missing), missing)
            held.append(here)
        return filled, torch.stack(held, dim=1)

    def _sequence(self, filled: Mapping[str, torch.Tensor]) -> torch.Tensor:
        parts = [filled[modality] for modality in QUERY_MODALITIES]
        total = torch.stack(parts).sum(dim=0)
        if self.kind == "sum":
            return total
        if self.kind == "concat":
            return torch.cat(parts, dim=1)
        cross = self.kind == "cmqf"
        blocks = [self.blocks[modality] for modality in QUERY_MODALITIES]
        outputs = [block(total - part if cross else part, part) for block, part in zip(blocks, parts, strict=True)]
        return torch.cat(outputs, dim=1)
