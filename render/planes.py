"""What splats that are flat say of the surface: each splat's plane, the z and normal of every pixel, and how wrong they are.

Notation, all in the camera's frame: a splat's normal n is its shortest axis turned towards the camera, p its mean,
d = n . p (negative) the signed distance of its plane. A pixel's ray is r = (x, y, 1), its blending weights w_i; capitals
are sums over a pixel: N = sum w_i n_i, D = sum w_i d_i, A = sum w_i. All points of a plane satisfy n . r = d / z, so that
1 / z is linear in x and y: planes have exact normals in the differences of 1 / z.
Sources: Chen et al., PGSR, 2024 (plane z without bias, flattening, weights at edges of the image); Huang et al., 2D
Gaussian Splatting, 2024 (consistency of normals, distortion).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from recon.geometry import Array
from render.densify import rotate
from render.kernels.agreement import COVERED, TINY, penalties
from render.splats import Splats


def planes(splats: Splats, cam_from_world: Tensor) -> Tensor:
    """f32[N, 4]: the normal (unit, towards the camera) and signed distance (world units) of each splat's plane in a
    camera [4, 4]. Differentiable in means and quaternions; which axis is the shortest carries no gradient."""
    shortest = torch.nn.functional.one_hot(splats.log_scale.detach().argmin(-1), 3).to(splats.quat)
    normal = rotate(torch.nn.functional.normalize(splats.quat, dim=-1), shortest) @ cam_from_world[:3, :3].T
    distance = (normal * _in_camera(splats, cam_from_world)).sum(-1, keepdim=True)
    towards = torch.where(distance.detach() > 0, -1.0, 1.0)
    return torch.cat([normal, distance], -1) * towards


def moments(splats: Splats, cam_from_world: Tensor, extent: float) -> Tensor:
    """f32[N, 2]: m = extent / z of each splat's mean, and its square. Behind the camera, where nothing is drawn: 0."""
    z = _in_camera(splats, cam_from_world)[:, 2:]
    m = torch.where(z > 1e-3 * extent, extent / z.clamp_min(1e-3 * extent), 0.0)
    return torch.cat([m, m * m], -1)


def _in_camera(splats: Splats, cam_from_world: Tensor) -> Tensor:
    return splats.mean @ cam_from_world[:3, :3].T + cam_from_world[:3, 3]


def slopes(K: Array, width: int, height: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """x f32[W] and y f32[H, 1] of the rays (x, y, 1) through the pixels' centres, K [3, 3]."""
    x = torch.arange(width, device=device, dtype=torch.float32).add_(0.5 - float(K[0, 2])) / float(K[0, 0])
    y = torch.arange(height, device=device, dtype=torch.float32).add_(0.5 - float(K[1, 2])) / float(K[1, 1])
    return x, y[:, None]


def inverse_z(blended: Tensor, K: Array) -> Tensor:
    """1 / z f32[H, W] of the blended planes [H, W, 4], N . r / D; 0 where nothing is."""
    x, y = slopes(K, blended.shape[1], blended.shape[0], blended.device)
    nx, ny, nz, distance = blended.unbind(-1)
    return (nx * x + ny * y + nz) / distance.clamp_max(-TINY)


def normals_of(inverse: Tensor, K: Array) -> Tensor:
    """Unit normals f32[H - 2, W - 2, 3] towards the camera of the surface with 1 / z [H, W], from central differences."""
    x, y = slopes(K, inverse.shape[1], inverse.shape[0], inverse.device)
    dx = (inverse[1:-1, 2:] - inverse[1:-1, :-2]) * (0.5 * float(K[0, 0]))
    dy = (inverse[2:, 1:-1] - inverse[:-2, 1:-1]) * (0.5 * float(K[1, 1]))
    rest = inverse[1:-1, 1:-1] - x[1:-1] * dx - y[1:-1] * dy
    return -torch.stack([dx, dy, rest], -1) / (dx * dx + dy * dy + rest * rest + TINY).sqrt()[..., None]


def disagreement(blended: Tensor, alpha: Tensor, K: Array, rgb: Tensor) -> Tensor:
    """Mean over the inner pixels of sum_i w_i (1 - n_i . n), n the normal of the pixels' own z: a scalar >= 0.

    blended: planes [H, W, 4]; alpha [H, W]; rgb [H, W, 3] weighs pixels by (1 - its steepest step)^2, without gradient:
    a jump in z, whose normal means nothing, mostly is an edge in the picture. Pixels count when they and the four next to
    them are COVERED.
    """
    normal = normals_of(inverse_z(blended, K), K)
    agree = (blended[1:-1, 1:-1, :3] * normal).sum(-1)
    there = alpha.detach() >= COVERED
    there = there[1:-1, 1:-1] & there[1:-1, 2:] & there[1:-1, :-2] & there[2:, 1:-1] & there[:-2, 1:-1]
    return (there * smoothness(rgb.detach()) * (alpha[1:-1, 1:-1] - agree)).mean()


def smoothness(rgb: Tensor) -> Tensor:
    """(1 - g)^2 f32[H - 2, W - 2] of an image [H, W, 3] in 0..1, g the larger of its central differences, 1 at most."""
    grey = rgb.mean(-1)
    across, down = grey[1:-1, 2:] - grey[1:-1, :-2], grey[2:, 1:-1] - grey[:-2, 1:-1]
    return (1 - torch.maximum(across.abs(), down.abs()).clamp_max(1)) ** 2


def distortion(blended: Tensor, alpha: Tensor) -> Tensor:
    """f32[H, W]: sum_ij w_i w_j (m_i - m_j)^2 of the blended moments [H, W, 2], from 2 (A sum w m^2 - (sum w m)^2)."""
    return 2 * (alpha * blended[..., 1] - blended[..., 0] ** 2)


def penalty(features: Tensor, alpha: Tensor, rgb: Tensor, K: Array, normals: float, distortion: float) -> Tensor:
    """The mean over C views of normals * disagreement() + distortion * the mean of distortion(), a scalar.

    features: the blended planes, if `normals` is not 0, and then the blended moments, if `distortion` is not 0,
    [C, H, W, D]; alpha [C, H, W]; rgb [C, H, W, 3]; K [C, 3, 3]. On the CPU by kernels, elsewhere by their twins.
    """
    if features.device.type == "cpu":
        return _Penalty.apply(features, alpha, rgb.detach(), K, normals, distortion)
    total = features.new_zeros(())
    for i in range(len(K)):
        total = total + twin(features[i], alpha[i], rgb[i], K[i], normals, distortion)
    return total / len(K)


def twin(features: Tensor, alpha: Tensor, rgb: Tensor, K: Array, normals: float, spread: float) -> Tensor:
    """penalty() of one view in plain torch, differentiable."""
    total = features.new_zeros(())
    if normals:
        total = total + normals * disagreement(features[..., :4], alpha, K, rgb)
    if spread:
        total = total + spread * distortion(features[..., -2:], alpha).mean()
    return total


class _Penalty(torch.autograd.Function):
    """The kernels as one differentiable step: the gradients are found along with the value."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, alpha: Tensor, rgb: Tensor, K: Array, normals: float, distortion: float
    ) -> Tensor:
        total, found = 0.0, []
        for i in range(len(K)):
            image = np.ascontiguousarray(features[i].permute(2, 0, 1).numpy())
            loss, *gradients = penalties(
                image, alpha[i].contiguous().numpy(), rgb[i].contiguous().numpy(), K[i], normals, distortion
            )
            total += loss
            found.append(gradients)
        d_features, d_alpha = (torch.from_numpy(np.stack(part)) for part in zip(*found, strict=True))
        ctx.save_for_backward(d_features.permute(0, 2, 3, 1), d_alpha)
        return torch.tensor(total / len(K))

    @staticmethod
    def backward(ctx: Any, *d_total: Tensor) -> tuple[Tensor | None, ...]:
        d_features, d_alpha = ctx.saved_tensors
        share = d_total[0] / len(d_alpha)
        return share * d_features, share * d_alpha, None, None, None, None


def flat_start(xyz: Array, neighbours: int = 8) -> Array:
    """f64[P, 3, 3], rotations whose last column is the normal of the plane through each point and its nearest neighbours
    (their direction of least spread); of fewer than 4 points: as the world lies."""
    from scipy.spatial import KDTree

    if len(xyz) < 4:
        return np.tile(np.eye(3), (len(xyz), 1, 1))
    near = xyz[KDTree(xyz).query(xyz, k=min(neighbours + 1, len(xyz)), workers=1)[1]]
    near = near - near.mean(1, keepdims=True)
    axes = np.linalg.eigh(np.einsum("pki,pkj->pij", near, near))[1][:, :, ::-1].copy()
    axes[:, :, 2] *= np.sign(np.linalg.det(axes))[:, None]
    return axes
