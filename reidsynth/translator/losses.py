"""Losses of the translator, as functions of tensors; none of them edits what it is given."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F

WINDOW, SIGMA = 11, 1.5
L1_WEIGHT = SSIM_WEIGHT = 100.0


def ssim(first: torch.Tensor, second: torch.Tensor, *, data_range: float) -> torch.Tensor:
    r"""Structural similarity, in windows of 11x11 under a Gaussian of sigma 1.5.

    .. math:: SSIM = \operatorname{mean} \frac{(2 \mu_a \mu_b + c_1)(2 \sigma_{ab} + c_2)}
        {(\mu_a^2 + \mu_b^2 + c_1)(\sigma_a^2 + \sigma_b^2 + c_2)}, \quad c_1 = (0.01 R)^2, c_2 = (0.03 R)^2

    over the windows that lie wholly inside the image. Moments are taken in float32 at least.

    Reference: Z. Wang, A. C. Bovik, H. R. Sheikh, E. P. Simoncelli, "Image Quality Assessment: From Error Visibility to
    Structural Similarity", IEEE TIP 2004.

    Args:
        first: (N, C, H, W).
        second: the same shape.
        data_range: R, the distance from the least to the largest value that an image can have: 2 for -1..1, 255 for
            8 bits.

    Returns:
        (N,), at most 1; 1 for equal images.

    Raises:
        ValueError: shapes differ, or a side is shorter than the window.
    """
    if first.shape != second.shape or first.ndim != 4 or min(first.shape[2:]) < WINDOW:
        raise ValueError(
            f"expected two (N, C, H, W) of one shape with sides of at least {WINDOW}, got {tuple(first.shape)} and "
            f"{tuple(second.shape)}"
        )
    kind = torch.float64 if first.dtype == torch.float64 else torch.float32
    with torch.autocast(first.device.type, enabled=False):
        a, b = first.to(kind), second.to(kind)
        # Variances are differences of large numbers: taken around each pair's own brightness they keep their digits.
        centre = 0.5 * (a + b).detach().mean((1, 2, 3), keepdim=True)
        p, q = a - centre, b - centre
        near_a, near_b, aa, bb, ab = _blurred(torch.stack((p, q, p * p, q * q, p * q)))
        c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
        variances = aa - near_a.square() + bb - near_b.square()
        mean_a, mean_b = near_a + centre, near_b + centre
        similar = (2 * mean_a * mean_b + c1) * (2 * (ab - near_a * near_b) + c2)
        index: torch.Tensor = similar / ((mean_a.square() + mean_b.square() + c1) * (variances + c2))
        return index.flatten(1).mean(1)


def _blurred(maps: torch.Tensor) -> torch.Tensor:
    """Gaussian means (K, N, C, H - 10, W - 10) of maps (K, N, C, H, W); the window is a product of two lines."""
    line = _line(maps.device, maps.dtype)
    flat = maps.flatten(0, 2).unsqueeze(1)
    blurred = F.conv2d(F.conv2d(flat, line[None, None, :, None]), line[None, None, None, :])
    return blurred.view(*maps.shape[:3], *blurred.shape[2:])


@lru_cache(maxsize=8)
def _line(device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    with torch.inference_mode(mode=False):  # it is kept: one made in inference mode could never be trained through
        steps = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
        weights = torch.exp(-steps.square() / (2 * SIGMA**2))
        return (weights / weights.sum()).to(device, dtype)


def psnr(first: torch.Tensor, second: torch.Tensor, *, data_range: float) -> torch.Tensor:
    r"""Peak signal-to-noise ratio in decibels.

    .. math:: PSNR = 10 \log_{10} \frac{R^2}{\operatorname{mean} (a - b)^2}, \text{ at most } 100

    Args:
        first: (N, C, H, W).
        second: the same shape.
        data_range: R, as for `ssim`.

    Returns:
        (N,); equal images, of which the ratio is infinite, count as 100 dB.
    """
    errors = (first.double() - second.double()).square().flatten(1).mean(1)
    return (10 * torch.log10(data_range**2 / errors.clamp_min(1e-300))).clamp_max(100.0).float()


def generator_losses(
    judged: tuple[torch.Tensor, torch.Tensor],
    made: torch.Tensor,
    true: torch.Tensor,
    *,
    l1_weight: float = L1_WEIGHT,
    ssim_weight: float = SSIM_WEIGHT,
    ssim_offset: float = 0.0,
) -> dict[str, torch.Tensor]:
    r"""What the generator minimises.

    .. math:: L_G = BCE(D_{pixel}, 1) + BCE(D_{global}, 1) + 100 \|G - t\|_1 + 100 (1 - SSIM(G, t))

    Means over pixels and images; SSIM on the range 2 of the images as they are. Reference: InfraGAN, section 3.

    Args:
        judged: the discriminator's logits on what was made: per pixel (N, 1, H, W), global (N, 1).
        made: (N, 1, H, W) in -1..1.
        true: the same shape.
        l1_weight: of the absolute error.
        ssim_weight: of the structural error.
        ssim_offset: added to both images for SSIM, which compares brightness by ratios: with 1, which moves them to
            0..2, it is the number that their 8-bit forms have.

    Returns:
        Scalars `total`, `pixel`, `global`, `l1`, `ssim`; the last two before weighting, `ssim` as 1 - SSIM.
    """
    pixel, whole = (_cross_entropy(logits, 1.0) for logits in judged)
    made, true = made.float(), true.float()
    l1 = F.l1_loss(made, true)
    structure = 1.0 - ssim(made + ssim_offset, true + ssim_offset, data_range=2.0).mean()
    total = pixel + whole + l1_weight * l1 + ssim_weight * structure
    return {"total": total, "pixel": pixel, "global": whole, "l1": l1, "ssim": structure}


def discriminator_losses(
    on_true: tuple[torch.Tensor, torch.Tensor], on_made: tuple[torch.Tensor, torch.Tensor]
) -> dict[str, torch.Tensor]:
    r"""What the discriminator minimises: half the sum of both heads on true and on generated images.

    .. math:: L_D = \tfrac{1}{2} \sum_{h \in \{pixel, global\}} \left( BCE(D_h(p, t), 1) + BCE(D_h(p, G), 0) \right)

    Reference: InfraGAN; the half is pix2pix's, which slows the discriminator down.

    Args:
        on_true: logits per pixel (N, 1, H, W) and global (N, 1) on photograph and true target.
        on_made: the same on photograph and generated target, which must not carry a gradient to the generator.

    Returns:
        Scalars `total`, `true`, `made`; the last two are sums of both heads.
    """
    true = _cross_entropy(on_true[0], 1.0) + _cross_entropy(on_true[1], 1.0)
    made = _cross_entropy(on_made[0], 0.0) + _cross_entropy(on_made[1], 0.0)
    return {"total": 0.5 * (true + made), "true": true, "made": made}


def _cross_entropy(logits: torch.Tensor, wanted: float) -> torch.Tensor:
    values = logits.float()
    return F.binary_cross_entropy_with_logits(values, torch.full_like(values, wanted))
