"""Losses: pure functions of tensors.

Every loss is computed in float32 (float64 stays float64), whatever the precision of its inputs: in float16 the
epsilon of SDM underflows and the entropy of a certain routing is NaN. A feature of length zero counts as a direction
without any similarity (cosine 0) and receives a gradient of zero.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def _exact(tensor: torch.Tensor) -> torch.Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def unit(features: torch.Tensor) -> torch.Tensor:
    """Scale feature vectors to length 1; a zero vector stays zero and gets a zero gradient.

    Args:
        features: (..., D).

    Returns:
        (..., D), float32, or float64 for float64 features.
    """
    features = _exact(features)
    squared = features.pow(2).sum(dim=-1, keepdim=True)
    nonzero = squared > torch.finfo(squared.dtype).tiny
    return features * torch.where(nonzero, squared, 1.0).rsqrt() * nonzero


def _checked(query: torch.Tensor, gallery: torch.Tensor) -> None:
    if query.ndim != 2 or gallery.ndim != 2 or query.shape[1] != gallery.shape[1]:
        raise ValueError(
            f"features must be (B, D) and (C, D) with one D, received {tuple(query.shape)} and {tuple(gallery.shape)}"
        )
    if len(query) == 0 or len(gallery) == 0:
        raise ValueError(f"a loss needs at least one feature a side, received {len(query)} and {len(gallery)}")


def info_nce(query: torch.Tensor, gallery: torch.Tensor, *, scale: float | torch.Tensor) -> torch.Tensor:
    """InfoNCE of matching pairs, both directions averaged, one value per pair.

    With s_ij = scale * cos(q_i, g_j): L_i = -(log softmax_j(s_ij)[i] + log softmax_j(s_ji)[i]) / 2. This is the pair
    loss that UNIReID (CVPR 2023, eq. 1 to 3) weighs by task; the plain CLIP loss is its mean. A batch must hold
    distinct identities, or the loss pushes a person away from himself; `sdm` has no such need.

    Args:
        query: (B, D) features, row i matches row i of the gallery.
        gallery: (B, D) features.
        scale: inverse temperature, a number or a learnable scalar.

    Returns:
        (B,) pair losses.

    Raises:
        ValueError: for unequal shapes or an empty batch.

    Example:
        >>> features = torch.eye(3)
        >>> bool(info_nce(features, features, scale=100.0).max() < 1e-6)
        True
    """
    _checked(query, gallery)
    if len(query) != len(gallery):
        raise ValueError(f"pairs need as many queries as gallery features, received {len(query)} and {len(gallery)}")
    logits = scale * (unit(query) @ unit(gallery).T)
    target = torch.arange(len(query), device=query.device)
    forth = F.cross_entropy(logits, target, reduction="none")
    back = F.cross_entropy(logits.T, target, reduction="none")
    return (forth + back) / 2


def _matches(
    pids: torch.Tensor,
    text_pids: torch.Tensor,
    image_ids: torch.Tensor | None,
    text_image_ids: torch.Tensor | None,
    image_id_factor: float,
) -> torch.Tensor:
    labels = (pids[:, None] == text_pids[None, :]).to(torch.float32)
    if image_ids is None:
        return labels
    others = image_ids if text_image_ids is None else text_image_ids
    same_image = (image_ids[:, None] == others[None, :]).to(torch.float32)
    return (labels - same_image).clamp_min(0) * image_id_factor + same_image


def _divergence(logits: torch.Tensor, labels: torch.Tensor, eps: float) -> torch.Tensor:
    totals = labels.sum(dim=1, keepdim=True)
    answerable = totals[:, 0] > 0
    if not bool(answerable.any()):
        raise ValueError("no row has a partner of its own identity on the other side, so there is nothing to match")
    target = labels / totals.clamp_min(torch.finfo(labels.dtype).tiny)
    log_prediction = F.log_softmax(logits, dim=1)
    rows = (log_prediction.exp() * (log_prediction - (target + eps).log())).sum(dim=1)
    return rows[answerable].mean()


def sdm(
    image: torch.Tensor,
    text: torch.Tensor,
    pids: torch.Tensor,
    *,
    scale: float | torch.Tensor = 50.0,
    text_pids: torch.Tensor | None = None,
    image_ids: tuple[torch.Tensor, torch.Tensor] | torch.Tensor | None = None,
    image_id_factor: float = 0.3,
    eps: float = 1e-8,
) -> torch.Tensor:
    """Similarity distribution matching, both directions summed.

    p_i = softmax_j(scale * cos(image_i, text_j)); q_i = identity labels of row i divided by their sum;
    L = mean_i sum_j p_ij log(p_ij / (q_ij + eps)), plus the same from text to image. Source: IRRA (Jiang and Ye,
    CVPR 2023, eq. 6 and 7), taken over by FlexiReID (eq. 7 and 8), where the scale is 1/0.02. A batch may hold
    several samples of one identity. A row whose identity the other side lacks is left out of its direction's mean.

    Args:
        image: (B, D) features.
        text: (C, D) features; C = B unless `text_pids` is given.
        pids: (B,) identity labels of `image`, and of `text` where `text_pids` is None.
        scale: inverse temperature.
        text_pids: (C,) identity labels of `text`.
        image_ids: (B,) source image of both sides, or a pair ((B,), (C,)). Where given, partners of the same image
            weigh 1 and other images of the same person `image_id_factor`.
        image_id_factor: weight of the same person's other images.
        eps: added to the label distribution inside the logarithm.

    Returns:
        A scalar, finite for zero features, one identity, or one row.

    Raises:
        ValueError: for shapes that do not fit, an empty side, or no identity in common.

    Example:
        >>> features, pids = torch.eye(3), torch.tensor([0, 1, 2])
        >>> bool(sdm(features, features, pids).abs() < 1e-4)
        True
    """
    _checked(image, text)
    partners = pids if text_pids is None else text_pids
    if len(pids) != len(image) or len(partners) != len(text):
        raise ValueError(
            f"one identity per feature is needed, received {len(pids)} and {len(partners)} "
            f"for {len(image)} and {len(text)} features"
        )
    ids, text_ids = image_ids if isinstance(image_ids, tuple) else (image_ids, None)
    logits = scale * (unit(image) @ unit(text).T)
    labels = _matches(pids, partners, ids, text_ids, image_id_factor).to(logits.dtype)
    return _divergence(logits, labels, eps) + _divergence(logits.T, labels.T, eps)


def routing_entropy(probabilities: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Mean entropy of routing distributions, the adaptive loss of FlexiReID (eq. 4).

    H(P) = -sum_i P_i ln P_i with 0 ln 0 = 0, averaged over the tokens where `mask` is true.

    Args:
        probabilities: (..., n) non-negative, rows sum to 1.
        mask: (...) bool, None for all tokens.

    Returns:
        A scalar between 0 and ln n; 0 where the mask is false everywhere.

    Raises:
        ValueError: if the mask's shape is not that of the tokens.

    Example:
        >>> round(float(routing_entropy(torch.tensor([[0.5, 0.5], [1.0, 0.0]]))), 4)
        0.3466
    """
    probabilities = _exact(probabilities)
    floor = torch.finfo(probabilities.dtype).tiny
    entropy = -(probabilities * probabilities.clamp_min(floor).log()).sum(dim=-1)
    if mask is None:
        return entropy.mean() if entropy.numel() else entropy.sum()
    if mask.shape != entropy.shape:
        raise ValueError(f"mask must be {tuple(entropy.shape)}, one value a token, received {tuple(mask.shape)}")
    weights = mask.to(entropy.dtype)
    return (entropy * weights).sum() / weights.sum().clamp_min(1)
