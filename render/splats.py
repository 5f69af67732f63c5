"""Splats: 3D Gaussians as columns, their activations, and how they move to another frame.

Spherical harmonics are the real ones of 3D Gaussian splatting (Condon-Shortley phase, order of bands 0, 1, 2, 3),
evaluated in the direction from the camera's centre to the splat's mean; colour = 0.5 + sum_k sh_k Y_k(direction),
clamped below at 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from recon.geometry import Sim3, World, quat_from_rotation

SH_C0 = 0.28209479177387814


@dataclass(frozen=True)
class Splats:
    """N Gaussians. Every column is float32 on one device; `extra` columns ride along through every edit."""

    mean: Tensor
    """f32[N, 3], world."""
    log_scale: Tensor
    """f32[N, 3], natural logarithm of the standard deviations along the splat's own axes, world units."""
    quat: Tensor
    """f32[N, 4], wxyz, world_from_splat; normalised where used."""
    opacity_logit: Tensor
    """f32[N]; opacity = sigmoid(opacity_logit)."""
    sh: Tensor
    """f32[N, K, 3], K = 1, 4, 9 or 16; sRGB display colour."""
    extra: dict[str, Tensor] = field(default_factory=dict)
    """Further columns, each [N, ...]."""
    world: World = field(default_factory=World)

    def __len__(self) -> int:
        return len(self.mean)

    @property
    def sh_degree(self) -> int:
        return round(self.sh.shape[1] ** 0.5) - 1

    def __getitem__(self, rows: Tensor | slice) -> Splats:
        """The given rows of every column."""
        return replace(
            self,
            mean=self.mean[rows],
            log_scale=self.log_scale[rows],
            quat=self.quat[rows],
            opacity_logit=self.opacity_logit[rows],
            sh=self.sh[rows],
            extra={name: column[rows] for name, column in self.extra.items()},
        )

    @property
    def scale(self) -> Tensor:
        """f32[N, 3], standard deviations along the splat's own axes, world units."""
        return self.log_scale.exp()

    @property
    def opacity(self) -> Tensor:
        """f32[N], 0..1."""
        return self.opacity_logit.sigmoid()

    @property
    def rotation(self) -> Tensor:
        """f32[N, 3, 3], world_from_splat."""
        return rotation_from_quat(self.quat)

    def transformed(self, b_from_a: Sim3, world: World | None = None) -> Splats:
        """The same Gaussians in another frame: a splat of frame a, seen by a camera moved along with it, looks the
        same.

        Means, scales, orientations and SH bands 1-3 are moved exactly (float64 inside). Extra columns stay as they
        are: who adds a column that has a direction moves it. `world` is what is known of the new frame; without it only
        the way back to the frame of structure from motion is (world_from_sfm).
        """
        like = self.mean
        rotation = torch.as_tensor(b_from_a.rotation, dtype=torch.float64, device=like.device)
        shift = torch.as_tensor(b_from_a.translation, dtype=torch.float64, device=like.device)
        turn = torch.as_tensor(quat_from_rotation(b_from_a.rotation), dtype=torch.float64, device=like.device)
        bands = torch.as_tensor(sh_rotation(b_from_a.rotation, self.sh_degree), device=like.device)
        return replace(
            self,
            mean=(b_from_a.scale * self.mean.double() @ rotation.T + shift).to(like.dtype),
            log_scale=self.log_scale + math.log(b_from_a.scale),
            quat=quat_product(turn, self.quat.double()).to(like.dtype),
            sh=torch.einsum("ij,njc->nic", bands, self.sh.double()).to(like.dtype),
            world=world or World(world_from_sfm=b_from_a @ self.world.world_from_sfm),
        )

    def columns(self) -> dict[str, Tensor]:
        """The five columns by name, without the extra ones."""
        return {
            "mean": self.mean,
            "log_scale": self.log_scale,
            "quat": self.quat,
            "opacity_logit": self.opacity_logit,
            "sh": self.sh,
        }

    def to(self, device: torch.device | str) -> Splats:
        moved = {name: column.to(device) for name, column in self.columns().items()}
        return replace(self, **moved, extra={name: column.to(device) for name, column in self.extra.items()})

    def detach(self) -> Splats:
        cut = {name: column.detach() for name, column in self.columns().items()}
        return replace(self, **cut, extra={name: column.detach() for name, column in self.extra.items()})


def rotation_from_quat(quat: Tensor) -> Tensor:
    """Rotation matrices [..., 3, 3] from quaternions wxyz [..., 4]; the quaternions are normalised first."""
    w, x, y, z = (quat / quat.norm(dim=-1, keepdim=True)).unbind(-1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def quat_product(a: Tensor, b: Tensor) -> Tensor:
    """Hamilton product [..., 4] of quaternions wxyz: the rotation of a after that of b."""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    return torch.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        -1,
    )


def sh_basis(direction: Tensor, degree: int) -> Tensor:
    """Real spherical harmonics [..., (degree + 1)^2] in unit directions [..., 3], degree 0 to 3.

    Orthonormal on the sphere, with the Condon-Shortley phase, m from -l to l: the basis of 3D Gaussian splatting.
    Source: Sloan, Stupid spherical harmonics tricks, 2008, appendix A2.
    """
    x, y, z = direction.unbind(-1)
    xx, yy, zz = x * x, y * y, z * z
    pi = math.pi
    basis = [torch.full_like(x, SH_C0)]
    if degree >= 1:
        c = math.sqrt(3 / (4 * pi))
        basis += [-c * y, c * z, -c * x]
    if degree >= 2:
        c = math.sqrt(15 / (4 * pi))
        basis += [c * x * y, -c * y * z, c / math.sqrt(12) * (2 * zz - xx - yy), -c * x * z, 0.5 * c * (xx - yy)]
    if degree >= 3:
        c3, c2 = math.sqrt(35 / (32 * pi)), math.sqrt(105 / (4 * pi))
        c1, c0 = math.sqrt(21 / (32 * pi)), math.sqrt(7 / (16 * pi))
        basis += [
            -c3 * y * (3 * xx - yy),
            c2 * x * y * z,
            -c1 * y * (4 * zz - xx - yy),
            c0 * z * (2 * zz - 3 * xx - 3 * yy),
            -c1 * x * (4 * zz - xx - yy),
            0.5 * c2 * z * (xx - yy),
            -c3 * x * (xx - 3 * yy),
        ]
    return torch.stack(basis, -1)


def sh_rotation(b_from_a: np.ndarray, degree: int) -> np.ndarray:
    """The matrix f64[K, K] that takes SH coefficients of frame a to frame b, b_from_a a rotation [3, 3].

    Each band is closed under rotation, so its block is the exact solution of f_b(R d) = f_a(d) in more directions d
    than the band has members (Ivanic and Ruedenberg 1996 give the same block by recurrence).
    """
    directions = torch.as_tensor(np.random.default_rng(7).normal(size=(32, 3)))
    directions /= directions.norm(dim=-1, keepdim=True)
    in_a = sh_basis(directions, degree).numpy()
    in_b = sh_basis(directions @ torch.as_tensor(np.asarray(b_from_a, np.float64)).T, degree).numpy()
    out = np.zeros(((degree + 1) ** 2, (degree + 1) ** 2))
    for band in range(degree + 1):
        s = slice(band * band, (band + 1) ** 2)
        out[s, s] = np.linalg.lstsq(in_b[:, s], in_a[:, s], rcond=None)[0]
    return out
