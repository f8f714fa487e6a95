"""Losses over the similarities of two sides of a batch: InfoNCE, SDM, CMPM."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from reidtrain.losses.features import checked, exact, unit


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
    checked(query, gallery)
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
    dtype: torch.dtype,
) -> torch.Tensor:
    """Weights of partners, in the precision of the loss: 0.3 in float32 is another number than in float64."""
    labels = (pids[:, None] == text_pids[None, :]).to(dtype)
    if image_ids is None:
        return labels
    others = image_ids if text_image_ids is None else text_image_ids
    same_image = (image_ids[:, None] == others[None, :]).to(dtype)
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
    pids: torch.Tensor | tuple[torch.Tensor, torch.Tensor],
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
        text: (C, D) features; C = B unless the identities of both sides are given.
        pids: (B,) identity labels of both sides, or a pair ((B,), (C,)).
        scale: inverse temperature.
        text_pids: (C,) identity labels of `text`, in place of a pair.
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
    checked(image, text)
    pids, partners = pids if isinstance(pids, tuple) else (pids, pids)
    partners = partners if text_pids is None else text_pids
    if len(pids) != len(image) or len(partners) != len(text):
        raise ValueError(
            f"one identity per feature is needed, received {len(pids)} and {len(partners)} "
            f"for {len(image)} and {len(text)} features"
        )
    ids, text_ids = image_ids if isinstance(image_ids, tuple) else (image_ids, None)
    logits = scale * (unit(image) @ unit(text).T)
    labels = _matches(pids, partners, ids, text_ids, image_id_factor, logits.dtype)
    return _divergence(logits, labels, eps) + _divergence(logits.T, labels.T, eps)


def cmpm(image: torch.Tensor, text: torch.Tensor, pids: torch.Tensor, *, eps: float = 1e-8) -> torch.Tensor:
    """Cross-modal projection matching, both directions summed.

    p_i = softmax_j(image_i . unit(text_j)): the image is projected onto the direction of each text, its own length
    kept; q_i = identity labels of row i divided by their sum; L = mean_i sum_j p_ij log(p_ij / (q_ij + eps)), plus the
    same from text to image. Source: Zhang and Lu, "Deep Cross-Modal Projection Learning for Image-Text Matching"
    (ECCV 2018, eq. 2 to 6). Common code divides the labels by their euclidean norm; this is the paper's form, and the
    two agree where no identity repeats. `sdm` is the same on cosines with a temperature.

    Args:
        image: (B, D) features.
        text: (B, D) features, row i of the identity of row i of `image`.
        pids: (B,) identity labels.
        eps: added to the label distribution inside the logarithm.

    Returns:
        A scalar.

    Raises:
        ValueError: for shapes that do not fit, or an empty batch.

    Example:
        >>> features, pids = 100 * torch.eye(3), torch.tensor([0, 1, 2])
        >>> bool(cmpm(features, features, pids).abs() < 1e-4)
        True
    """
    checked(image, text)
    if len(image) != len(text) or len(pids) != len(image):
        raise ValueError(
            f"one text and one identity per image are needed, received {len(text)} and {len(pids)} for {len(image)}"
        )
    image, text = exact(image), exact(text)
    labels = _matches(pids, pids, None, None, 0.0, image.dtype)
    forth, back = image @ unit(text).T, text @ unit(image).T
    return _divergence(forth, labels, eps) + _divergence(back, labels, eps)
