"""The slow, readable twin of the splatting kernels: plain torch in float64, gradients by autograd, every splat against
every pixel.

Notation: a splat has mean, scale, rotation R_s, opacity o; Sigma = R_s diag(scale^2) R_s^T. In a camera with
cam_from_world = [W | t]: p = W mean + t, and the image covariance is Sigma2 = J W Sigma W^T J^T + 0.3 I (pixels^2), J
the Jacobian of the perspective projection at p (Zwicker et al., EWA splatting, 2002). s = d^T Sigma2^-1 d / 2 at pixel
offset d, alpha = min(0.999, o exp(-s)).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from render.splats import rotation_from_quat, sh_basis

FILTER = 0.3
"""Variance in pixels^2 that is added to both axes of the image covariance."""
ALPHA_MIN = 1 / 255
ALPHA_MAX = 0.999
T_MIN = 1e-4
"""A splat that would bring the transmittance to this or less is not blended, and ends its pixel (the rule that gsplat
also follows).
"""
LOG_SCALE_MAX = 40.0
"""A splat with a larger logarithm of a standard deviation is an accident of optimisation, and is not drawn."""
MEDIAN_THROUGH = 0.5
"""Transmittance at the median z."""
MEDIAN_SPREAD = 3.0
"""Standard deviations of z by which a splat's z at a pixel may differ from that of its mean."""
CLAMP = 0.3
"""J is taken no farther outside the image than this share of its half width or height."""


@dataclass(frozen=True)
class Flat:
    """M visible splats in one image, sorted from near to far."""

    rows: Tensor
    """i64[M], rows of the splats."""
    xy: Tensor
    """f64[M, 2], pixels."""
    conic: Tensor
    """f64[M, 3], the entries 00, 01, 11 of Sigma2^-1, pixels^-2."""
    opacity: Tensor
    """f64[M], after the anti-aliasing compensation."""
    rgb: Tensor
    """f64[M, 3]."""
    z: Tensor
    """f64[M], world units."""


def project(
    columns: dict[str, Tensor],
    cam_from_world: Tensor,
    K: Tensor,
    size: tuple[int, int],
    *,
    sh_degree: int,
    antialiased: bool = False,
    near: float = 0.01,
) -> Flat:
    """The splats [N] of `columns` (Splats.columns()) in one camera: [4, 4], [3, 3], (width, height).

    Left out: rows with an entry that is not finite (of the SH bands in use), a quaternion of zero length, a scale
    beyond LOG_SCALE_MAX, z <= near, opacity below ALPHA_MIN.
    """
    c = {name: column.double() for name, column in columns.items()}
    c["sh"] = c["sh"][:, : (sh_degree + 1) ** 2]
    m, k = cam_from_world.double(), K.double()
    rows = torch.nonzero(_drawable(c, m, near))[:, 0]
    mean, log_scale, quat, logit, sh = (c[name][rows] for name in ("mean", "log_scale", "quat", "opacity_logit", "sh"))
    p = mean @ m[:3, :3].T + m[:3, 3]
    x, y, z = p.unbind(-1)
    fx, fy, cx, cy = k[0, 0], k[1, 1], k[0, 2], k[1, 2]
    xy = torch.stack([fx * x / z + cx, fy * y / z + cy], -1)
    half = rotation_from_quat(quat) * log_scale.exp()[:, None]
    half = _jacobian(p, k, size) @ m[:3, :3] @ half
    flat = half @ half.mT
    a, b, d = flat[:, 0, 0], flat[:, 0, 1], flat[:, 1, 1]
    det0 = (a * d - b * b).clamp(min=0)
    a, d = a + FILTER, d + FILTER
    det = a * d - b * b
    opacity = logit.sigmoid()
    if antialiased:
        opacity = opacity * torch.where(det0 > 0, (det0 / det).clamp(min=1e-300).sqrt(), 0.0)
    away = mean + m[:3, :3].T @ m[:3, 3]
    away = away / away.norm(dim=-1, keepdim=True)
    rgb = (0.5 + torch.einsum("nk,nkc->nc", sh_basis(away, sh_degree), sh)).clamp(min=0)
    conic = torch.stack([d, -b, a], -1) / det[:, None]
    keep = torch.nonzero((opacity >= ALPHA_MIN) & torch.isfinite(conic).all(-1))[:, 0]
    keep = keep[torch.argsort(z[keep].float(), stable=True)]
    return Flat(rows[keep], xy[keep], conic[keep], opacity[keep], rgb[keep], z[keep])


def _drawable(c: dict[str, Tensor], m: Tensor, near: float) -> Tensor:
    """bool[N]: finite, with an orientation, and in front of the near plane."""
    with torch.no_grad():
        ok = torch.stack([torch.isfinite(v.flatten(1) if v.dim() > 1 else v[:, None]).all(1) for v in c.values()]).all(
            0
        )
        ok &= (c["log_scale"] < LOG_SCALE_MAX).all(-1) & (c["quat"].norm(dim=-1) > 0)
        return ok & (c["mean"] @ m[2, :3] + m[2, 3] > near)


def _jacobian(p: Tensor, k: Tensor, size: tuple[int, int]) -> Tensor:
    """d(pixel)/d(p) [N, 2, 3] at points p [N, 3] of the camera frame, taken at x/z and y/z clamped to a margin round
    the image.

    Outside it the linearisation grows without bound while the splat hardly reaches the image: the usual remedy of EWA
    splatting.
    """
    z = p[:, 2]
    slopes = []
    for i in range(2):
        f, c, n = k[i, i], k[i, 2], size[i]
        margin = CLAMP * 0.5 * n / f
        slopes.append((p[:, i] / z).clamp(-(c / f + margin), (n - c) / f + margin))
    zero = torch.zeros_like(z)
    row_x = torch.stack([k[0, 0] / z, zero, -k[0, 0] * slopes[0] / z], -1)
    row_y = torch.stack([zero, k[1, 1] / z, -k[1, 1] * slopes[1] / z], -1)
    return torch.stack([row_x, row_y], -2)


def alphas(flat: Flat, size: tuple[int, int]) -> Tensor:
    """alpha [M, H, W] of every splat in every pixel, before anything is cut off below."""
    width, height = size
    like = flat.xy
    dx = torch.arange(width).to(like) + 0.5 - flat.xy[:, None, None, 0]
    dy = torch.arange(height).to(like)[:, None] + 0.5 - flat.xy[:, None, None, 1]
    a, b, d = (flat.conic[:, i, None, None] for i in range(3))
    s = 0.5 * (a * dx * dx + d * dy * dy) + b * dx * dy
    return (flat.opacity[:, None, None] * torch.exp(-s)).clamp(max=ALPHA_MAX)


def weights(flat: Flat, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """w [M, H, W] with which every splat counts in every pixel, and the transmittance [H, W] behind all of them."""
    alpha = alphas(flat, size)
    alpha = torch.where(alpha >= ALPHA_MIN, alpha, 0.0)
    through = torch.cumprod(1 - alpha, 0)
    alpha = torch.where(through > T_MIN, alpha, 0.0)
    before = torch.cumprod(torch.cat([torch.ones_like(alpha[:1]), 1 - alpha]), 0)
    return alpha * before[:-1], before[-1]


def blend(flat: Flat, size: tuple[int, int], background: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """rgb [H, W, 3], alpha [H, W] and z [H, W] (expected z, NaN where alpha is 0); background broadcasts to [H, W,
    3].
    """
    weight, through = weights(flat, size)
    rgb = torch.einsum("nhw,nc->hwc", weight, flat.rgb) + through[..., None] * background.double()
    total = 1 - through
    z = torch.einsum("nhw,n->hw", weight, flat.z) / torch.where(total > 0, total, torch.nan)
    return rgb, total, z


def blend_features(flat: Flat, size: tuple[int, int], features: Tensor) -> Tensor:
    """[H, W, D], the sums of w_i f_i of features [N, D], by row of the splats."""
    return torch.einsum("nhw,nd->hwd", weights(flat, size)[0], features.double()[flat.rows])


def median_z(
    flat: Flat,
    columns: dict[str, Tensor],
    cam_from_world: Tensor,
    K: Tensor,
    size: tuple[int, int],
    through: float = MEDIAN_THROUGH,
) -> Tensor:
    """z f64[H, W] where the transmittance first comes to `through` or below, on the splat that brings it there: where
    that splat's density is highest along the pixel's ray; NaN where it stays above.
    """
    m, k = cam_from_world.double(), K.double()
    mean = columns["mean"].double()[flat.rows] @ m[:3, :3].T + m[:3, 3]
    axes = m[:3, :3] @ rotation_from_quat(columns["quat"].double()[flat.rows])
    scale = columns["log_scale"].double()[flat.rows].exp()
    inverse = (axes / scale[:, None] ** 2) @ axes.mT
    width, height = size
    x = (torch.arange(width).to(mean) + 0.5 - k[0, 2]) / k[0, 0]
    y = (torch.arange(height).to(mean) + 0.5 - k[1, 2]) / k[1, 1]
    ray = torch.stack([x.expand(height, -1), y[:, None].expand(-1, width), torch.ones(height, width).to(mean)], -1)
    top = torch.einsum("hwi,nij,nj->nhw", ray, inverse, mean)
    z = top / torch.einsum("hwi,nij,hwj->nhw", ray, inverse, ray)
    most = MEDIAN_SPREAD * (axes[:, 2] * scale).norm(dim=-1)
    z = torch.maximum(torch.minimum(z, (mean[:, 2] + most)[:, None, None]), (mean[:, 2] - most)[:, None, None])
    alpha = alphas(flat, size)
    alpha = torch.where(alpha >= ALPHA_MIN, alpha, 0.0)
    alpha = torch.where(torch.cumprod(1 - alpha, 0) > T_MIN, alpha, 0.0)
    crossed = torch.cumprod(1 - alpha, 0) <= through
    first = crossed.double().argmax(0)
    return torch.where(crossed.any(0), z.gather(0, first[None])[0], torch.nan)


SSIM_SIGMA, SSIM_SIZE = 1.5, 11
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2


def photometric(
    rgb: Tensor, target: Tensor, mask: Tensor | None = None, ssim_weight: float = 0.2
) -> tuple[Tensor, Tensor, Tensor]:
    """(loss, l1, ssim) of images [H, W, 3], loss = (1 - w) l1 + w (1 - ssim); means over the pixels that the mask [H,
    W] weighs.

    SSIM uses an 11x11 Gaussian window of sigma 1.5 and zeros beyond the border, one value per pixel and channel (Wang
    et al., Image quality assessment, 2004; window and padding as 3D Gaussian splatting has them). Where the mask is 0
    the target stands in for the render, so that a masked pixel neither counts nor gets a gradient through its
    neighbours' windows.
    """
    if target.dtype == torch.uint8:
        target = target.to(rgb.dtype) / 255
    weight = torch.ones(rgb.shape[:2], dtype=rgb.dtype, device=rgb.device) if mask is None else mask.to(rgb.dtype)
    x = target + weight[..., None] * (rgb - target)
    count = 3 * weight.sum().clamp(min=1e-12)
    l1 = (x - target).abs().sum() / count
    ssim = (weight[..., None] * ssim_map(x, target)).sum() / count
    return (1 - ssim_weight) * l1 + ssim_weight * (1 - ssim), l1, ssim


def ssim_map(x: Tensor, y: Tensor) -> Tensor:
    """SSIM [H, W, 3] of images x, y [H, W, 3]."""
    offset = torch.arange(SSIM_SIZE, dtype=x.dtype, device=x.device) - SSIM_SIZE // 2
    window = torch.exp(-0.5 * (offset / SSIM_SIGMA) ** 2)
    window = window / window.sum()

    def blur(image: Tensor) -> Tensor:
        planes = image.permute(2, 0, 1)[:, None]
        half = SSIM_SIZE // 2
        planes = torch.nn.functional.conv2d(planes, window[None, None, :, None], padding=(half, 0))
        return torch.nn.functional.conv2d(planes, window[None, None, None, :], padding=(0, half))[:, 0].permute(1, 2, 0)

    mx, my = blur(x), blur(y)
    vx, vy, cov = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
    top = (2 * mx * my + SSIM_C1) * (2 * cov + SSIM_C2)
    return top / ((mx * mx + my * my + SSIM_C1) * (vx + vy + SSIM_C2))


def row_adam(
    params: dict[str, Tensor],
    first: dict[str, Tensor],
    second: dict[str, Tensor],
    grads: Mapping[str, Tensor],
    rows: Tensor,
    count: Tensor,
    lr: dict[str, float | Tensor],
    *,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-15,
) -> None:
    """adam.row_adam on any device and in any precision."""
    count[rows] += 1
    t = count[rows].double()
    for name, grad in grads.items():
        shape = (-1,) + (1,) * (grad.dim() - 1)
        k = grad.shape[1] if grad.dim() == 3 else None
        index = rows if k is None else (rows, slice(0, k))
        m = beta1 * first[name][index] + (1 - beta1) * grad
        v = beta2 * second[name][index] + (1 - beta2) * grad * grad
        first[name][index], second[name][index] = m, v
        m_hat = m / (1 - beta1**t).to(m.dtype).view(shape)
        v_hat = v / (1 - beta2**t).to(v.dtype).view(shape)
        rate = lr[name]
        if isinstance(rate, Tensor):
            rate = rate.to(m).expand(params[name].shape[1:])[:k] if k is not None else rate.to(m)
        params[name].data[index] -= rate * m_hat / (v_hat.sqrt() + eps)
