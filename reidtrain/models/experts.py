"""Adaptive expert allocation (AEA-MoE): a mixture of adapters that stands beside a frozen FFN.

FlexiReID, section 3.2. Each expert is an adapter (down-projection, ReLU, up-projection). The layer is computed in one
of two forms, and the same numbers come out:

- dense: all experts on all tokens in two matrix products, weighed by their gates;
- sparse: each expert on the tokens that it has a gate for, gathered before and added up behind.

The sparse form does less arithmetic and moves more memory. `auto` takes it where it was measured to pay
(`benchmarks/flexireid.py`): on the CPU, for adapters of at least 32 units, with at most a third of the experts active.
On a GPU neither was measured, and `auto` is dense there: many small products and gathers are what GPUs do worst.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from reidtrain.models.joining import join_sequences

SPARSE_WIDTH, SPARSE_SHARE = 32, 1 / 3
"""From which width of an adapter on, and up to which share of active experts, the sparse form is the faster one."""


@dataclass(frozen=True, slots=True)
class Routing:
    """How one layer routed a batch.

    Args:
        probabilities: (B, L, n), or (B, 1, n) where a whole sequence is routed at once.
        active: (B, L) or (B, 1), number of experts with a gate above 0.
        mask: (B, L) or (B, 1) bool, tokens that count.
    """

    probabilities: torch.Tensor
    active: torch.Tensor
    mask: torch.Tensor

    @classmethod
    def join(cls, parts: Sequence[Routing]) -> Routing:
        """Join one layer's routing of parts of a batch; places behind a part's longest sequence don't count."""
        return cls(
            join_sequences([part.probabilities for part in parts]),
            join_sequences([part.active for part in parts]),
            join_sequences([part.mask for part in parts]),
        )


def adaptive_gates(probabilities: torch.Tensor, threshold: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Gates of the smallest set of experts whose joint probability exceeds the threshold (FlexiReID, eq. 2).

    Experts are taken by descending probability, the lower index first where two are equal, until the sum is strictly
    greater than the threshold. The gates are the raw probabilities: renormalised ones would be the constant 1 where
    one expert is active and leave the router without a gradient of the task.

    Args:
        probabilities: (..., n), rows sum to 1.
        threshold: 0 or more; from 1 on every expert is active.

    Returns:
        Gates (..., n), 0 for experts left out; the number of active experts (...), int64.

    Example:
        >>> gates, active = adaptive_gates(torch.tensor([[0.5, 0.3, 0.2]]), 0.6)
        >>> gates.tolist(), active.tolist()
        ([[0.5, 0.30000001192092896, 0.0]], [2])
    """
    ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
    total = ordered.cumsum(dim=-1)
    before = torch.cat([torch.zeros_like(total[..., :1]), total[..., :-1]], dim=-1)
    taken = before <= threshold
    kept = torch.zeros_like(taken).scatter(-1, order, taken)
    return probabilities * kept, kept.sum(dim=-1)


@dataclass(frozen=True, slots=True)
class ExpertOptions:
    """Options of one expert layer.

    Args:
        count: number of experts n.
        routing: `adaptive` (the paper's), and its ablation: `topk` (the `top_k` most probable), `soft` (all), `hash`
            (one expert by token position, no router), `mlp` (a single adapter, no router).
        threshold: of the adaptive routing.
        top_k: of the top-k routing.
        routing_unit: `token`, or `sequence` (routed by the mean of its tokens).
        width: bottleneck of one adapter.
        scale: factor on the layer's output.
        form: `dense`, `sparse`, or `auto`; see the module.
    """

    count: int = 6
    routing: str = "adaptive"
    threshold: float = 0.6
    top_k: int = 2
    routing_unit: str = "token"
    width: int = 64
    scale: float = 0.1
    form: str = "auto"


class ExpertLayer(nn.Module):
    """A mixture of adapters; it returns zero until its up-projections are trained.

    Args:
        tokens_width: W of the tower.
        options: see `ExpertOptions`.
    """

    def __init__(self, tokens_width: int, options: ExpertOptions) -> None:
        super().__init__()
        self.options = options
        self.count = 1 if options.routing == "mlp" else options.count
        routed = options.routing in ("adaptive", "topk", "soft")
        self.router = nn.Linear(tokens_width, self.count, bias=False) if routed else None
        self.down = nn.Linear(tokens_width, self.count * options.width)
        self.up = nn.Parameter(torch.zeros(self.count * options.width, tokens_width))
        self.up_bias = nn.Parameter(torch.zeros(self.count, tokens_width))

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor | None) -> tuple[torch.Tensor, Routing | None]:
        """Return what to add to the tokens, and how they were routed.

        Args:
            tokens: (B, L, W), normalised.
            mask: (B, L) bool, real tokens; None where all are.

        Returns:
            The update (B, L, W); the routing, None for a single adapter.
        """
        if self.options.routing == "mlp":
            update: torch.Tensor = self.down(tokens).relu() @ self.up + self.up_bias[0]
            return update * self.options.scale, None
        gates, routing = self._route(tokens, mask)
        update = self._sparse(tokens, gates) if self._is_sparse(gates, routing) else self._dense(tokens, gates)
        return update * self.options.scale, routing

    def _is_sparse(self, gates: torch.Tensor, routing: Routing) -> bool:
        if self.options.form != "auto":
            return self.options.form == "sparse"
        if gates.device.type != "cpu" or self.options.width < SPARSE_WIDTH:
            return False
        return float(routing.active.float().mean()) <= SPARSE_SHARE * self.count

    def _dense(self, tokens: torch.Tensor, gates: torch.Tensor) -> torch.Tensor:
        grouped = self.down(tokens).relu().unflatten(-1, (self.count, -1)) * gates[..., None]
        update: torch.Tensor = grouped.flatten(-2) @ self.up + gates @ self.up_bias
        return update

    def _sparse(self, tokens: torch.Tensor, gates: torch.Tensor) -> torch.Tensor:
        flat = tokens.flatten(0, 1)
        gates = gates.expand(*tokens.shape[:2], -1).flatten(0, 1)
        shape = (self.count, self.options.width)
        down, bias = self.down.weight.unflatten(0, shape), self.down.bias.unflatten(0, shape)
        up = self.up.unflatten(0, shape)
        update = torch.zeros_like(flat)
        for expert in range(self.count):
            rows = gates[:, expert].nonzero()[:, 0]
            gate = gates[rows, expert, None]
            hidden = F.linear(flat[rows], down[expert], bias[expert]).relu() * gate
            part = hidden @ up[expert] + gate * self.up_bias[expert]
            update = update.index_add(0, rows, part.to(update.dtype))
        return update.view_as(tokens)

    def _route(self, tokens: torch.Tensor, mask: torch.Tensor | None) -> tuple[torch.Tensor, Routing]:
        if mask is None:
            mask = tokens.new_ones(tokens.shape[:2], dtype=torch.bool)
        if self.router is None:
            positions = torch.arange(tokens.shape[1], device=tokens.device) % self.count
            gates = torch.eye(self.count, device=tokens.device, dtype=tokens.dtype)[positions].expand(
                len(tokens), -1, -1
            )
            return gates, Routing(gates, gates.sum(dim=-1).long(), mask)
        if self.options.routing_unit == "sequence":
            weights = mask.to(tokens.dtype)[..., None]
            tokens = (tokens * weights).sum(dim=1, keepdim=True) / weights.sum(dim=1, keepdim=True).clamp_min(1)
            mask = mask.any(dim=1, keepdim=True)
        # Probabilities in float32 at least: in half precision cumulative sums tie where they should not.
        logits = self.router(tokens)
        probabilities = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(dim=-1)
        if self.options.routing == "adaptive":
            gates, active = adaptive_gates(probabilities, self.options.threshold)
        elif self.options.routing == "topk":
            # Not `topk`, which leaves open what comes first of two that are equal: the lower index, as above.
            chosen = probabilities.sort(dim=-1, descending=True, stable=True).indices[..., : self.options.top_k]
            gates = torch.zeros_like(probabilities).scatter(-1, chosen, probabilities.gather(-1, chosen))
            active = torch.full(gates.shape[:-1], self.options.top_k, device=gates.device)
        else:
            gates, active = probabilities, torch.full(probabilities.shape[:-1], self.count, device=probabilities.device)
        return gates.to(tokens.dtype), Routing(probabilities, active, mask)
