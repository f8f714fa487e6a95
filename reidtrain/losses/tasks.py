"""The loss of UNIReID: three retrieval tasks that weigh each other, and their interaction."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from reidtrain.losses.features import checked, unit
from reidtrain.losses.pairs import info_nce

EPS = 1e-9


def _confident_factor(own: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """W = (p_other + eps) * 2 p_own p_other / (p_own + p_other + eps): large where the other task is confident."""
    return (other + EPS) * (2 * own * other / (own + other + EPS))


def _interaction(
    rgb: torch.Tensor, sketch: torch.Tensor, text: torch.Tensor, scale: float | torch.Tensor
) -> torch.Tensor:
    gallery = unit(rgb).T
    teacher = (scale * (unit(text) @ gallery)).softmax(dim=1).detach()
    student = F.log_softmax(scale * (unit(sketch) @ gallery), dim=1)
    return -(teacher * student).sum(dim=1).mean()


def unireid(  # noqa: PLR0913  four features and the four numbers of the paper
    rgb: torch.Tensor,
    sketch: torch.Tensor,
    text: torch.Tensor,
    fused: torch.Tensor,
    *,
    scale: float | torch.Tensor,
    alpha: float = 1.0,
    gamma: float = 3.5,
    interaction_weight: float = 1.0,
    detach_weights: bool = False,
) -> dict[str, torch.Tensor]:
    """Task-aware dynamic training with cross-modality interaction (UNIReID, Chen et al., CVPR 2023, eq. 1 to 10).

    Per sample, with the pair losses L of `info_nce`: p = exp(-L), H = 2 p_SR p_TR / (p_SR + p_TR), w_SR = p_TR H,
    w_TR = p_SR H; the losses S->R and T->R are multiplied by alpha (1 + w)^gamma, T+S->R is not. The interaction is the
    cross-entropy between the softmax over scaled similarities text->RGB (teacher, detached) and sketch->RGB (student).
    A batch must hold distinct identities. `gamma=0` trains with fixed weights, `interaction_weight=0` without
    interaction (the rows of the paper's table 2).

    Args:
        rgb: (B, D) gallery features.
        sketch: (B, D), row i of the person of row i of `rgb`.
        text: (B, D), likewise.
        fused: (B, D), likewise; the sum of the un-normalised sketch and text features.
        scale: inverse temperature, a number or a learnable scalar.
        alpha: factor on the modulated losses.
        gamma: exponent of the modulation.
        interaction_weight: of the interaction within the total; the paper names none.
        detach_weights: keep the gradient out of the weights. The authors let it through, and then the gradient of a
            task's own loss is negative on part of the loss plane.

    Returns:
        Scalars `total`, `text`, `sketch`, `fused` (means of the weighted losses) and `interaction` (unweighted); per
        sample, (B,), `p_text`, `p_sketch`, `w_text`, `w_sketch`.

    Raises:
        ValueError: for unequal shapes or an empty batch.

    Example:
        >>> features = torch.eye(3)
        >>> losses = unireid(features, features, features, features, scale=100.0)
        >>> bool(losses["total"] < 1e-4), [round(float(w), 3) for w in losses["w_text"]]
        (True, [1.0, 1.0, 1.0])
    """
    for other in (sketch, text, fused):
        checked(rgb, other)
    pair_text = info_nce(text, rgb, scale=scale)
    pair_sketch = info_nce(sketch, rgb, scale=scale)
    p_text, p_sketch = (-pair_text).exp(), (-pair_sketch).exp()
    w_text, w_sketch = _confident_factor(p_text, p_sketch), _confident_factor(p_sketch, p_text)
    if detach_weights:
        w_text, w_sketch = w_text.detach(), w_sketch.detach()
    parts = {
        "text": (alpha * (1 + w_text) ** gamma * pair_text).mean(),
        "sketch": (alpha * (1 + w_sketch) ** gamma * pair_sketch).mean(),
        "fused": info_nce(fused, rgb, scale=scale).mean(),
    }
    interaction = _interaction(rgb, sketch, text, scale)
    total = parts["text"] + parts["sketch"] + parts["fused"] + interaction_weight * interaction
    confidence = {"p_text": p_text, "p_sketch": p_sketch, "w_text": w_text, "w_sketch": w_sketch}
    return {"total": total, **parts, "interaction": interaction, **confidence}
