"""Rotations, rigid and similarity transforms, and the World that a result stands in. Pure numpy.

Conventions of the whole project
--------------------------------
- Camera frame: OpenCV. +X right, +Y down, +Z forward. Pixel centres lie at +0.5: the top-left pixel's centre is (0.5, 0.5).
- Rotations: unit quaternions in the order wxyz. Libraries that use xyzw are converted where they are called.
- Transforms are named a_from_b: p_a = a_from_b @ p_b. What is stored is cam_from_world; everything else is derived.
- size = (width, height), in pixels.
- World: right-handed, +Z up and metres once aligned; what is not known is said in `World`.
- Depth along +Z is `z`; distance along a ray is `t`; time is in seconds from the capture's start.
- Geometry is float64, appearance float32.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def rotation_from_quat(quat: ArrayLike) -> Array:
    """Rotation matrices [..., 3, 3] from quaternions wxyz [..., 4]; the quaternions are normalised first."""
    q = np.asarray(quat, np.float64)
    q = q / np.linalg.norm(q, axis=-1, keepdims=True)
    w, x, y, z = np.moveaxis(q, -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def quat_from_rotation(rotation: ArrayLike) -> Array:
    """Unit quaternions wxyz [..., 4] with w >= 0 from rotation matrices [..., 3, 3].

    The quaternion is the dominant eigenvector of Bar-Itzhack's symmetric matrix, which has no branch that loses precision
    (Bar-Itzhack, New method for extracting the quaternion from a rotation matrix, 2000).
    """
    r = np.asarray(rotation, np.float64)
    k = np.empty((*r.shape[:-2], 4, 4))
    xx, xy, xz = r[..., 0, 0], r[..., 0, 1], r[..., 0, 2]
    yx, yy, yz = r[..., 1, 0], r[..., 1, 1], r[..., 1, 2]
    zx, zy, zz = r[..., 2, 0], r[..., 2, 1], r[..., 2, 2]
    rows = [
        [xx + yy + zz, zy - yz, xz - zx, yx - xy],
        [zy - yz, xx - yy - zz, xy + yx, xz + zx],
        [xz - zx, xy + yx, yy - xx - zz, yz + zy],
        [yx - xy, xz + zx, yz + zy, zz - xx - yy],
    ]
    for i, row in enumerate(rows):
        for j, value in enumerate(row):
            k[..., i, j] = value
    quat = np.asarray(np.linalg.eigh(k)[1][..., -1], np.float64)
    return np.where(quat[..., :1] < 0, -quat, quat)


def rotation_angle_deg(rotation: ArrayLike) -> Array:
    """Angles in degrees [...] of rotation matrices [..., 3, 3]; accurate near 0 and near 180."""
    r = np.asarray(rotation, np.float64)
    sin = 0.5 * np.linalg.norm(
        np.stack([r[..., 2, 1] - r[..., 1, 2], r[..., 0, 2] - r[..., 2, 0], r[..., 1, 0] - r[..., 0, 1]], -1), axis=-1
    )
    cos = 0.5 * (np.trace(r, axis1=-2, axis2=-1) - 1)
    return np.degrees(np.arctan2(sin, cos))


def rotation_between(a: ArrayLike, b: ArrayLike) -> Array:
    """The smallest rotation [3, 3] that turns direction a [3] into direction b [3].

    Half a turn about a, then half a turn about the direction midway: exactly orthogonal, also where a and b are nearly opposite.
    """
    u = np.asarray(a, np.float64) / np.linalg.norm(a)
    v = np.asarray(b, np.float64) / np.linalg.norm(b)
    middle = u + v
    if np.linalg.norm(middle) < 1e-12:  # opposite: any axis at right angles will do
        middle = np.cross(u, np.eye(3)[np.argmin(np.abs(u))])
    middle /= np.linalg.norm(middle)
    rotation = (2 * np.outer(middle, middle) - np.eye(3)) @ (2 * np.outer(u, u) - np.eye(3))
    return np.asarray(rotation, np.float64)


def se3(rotation: ArrayLike, translation: ArrayLike) -> Array:
    """Rigid transforms [..., 4, 4] from rotations [..., 3, 3] and translations [..., 3]."""
    r, t = np.asarray(rotation, np.float64), np.asarray(translation, np.float64)
    out = np.zeros((*np.broadcast_shapes(r.shape[:-2], t.shape[:-1]), 4, 4))
    out[..., :3, :3], out[..., :3, 3], out[..., 3, 3] = r, t, 1
    return out


def se3_inverse(a_from_b: ArrayLike) -> Array:
    """b_from_a [..., 4, 4] of rigid transforms a_from_b [..., 4, 4]."""
    m = np.asarray(a_from_b, np.float64)
    r_t = np.swapaxes(m[..., :3, :3], -1, -2)
    return se3(r_t, -(r_t @ m[..., :3, 3:])[..., 0])


@dataclass(frozen=True)
class Sim3:
    """A similarity a_from_b: p_a = scale * rotation @ p_b + translation."""

    scale: float = 1.0
    """Units of a per unit of b, > 0."""
    rotation: Array = field(default_factory=lambda: np.eye(3))
    """f64[3, 3], a_from_b."""
    translation: Array = field(default_factory=lambda: np.zeros(3))
    """f64[3], in units of a."""

    def __matmul__(self, other: Sim3) -> Sim3:
        """a_from_c from a_from_b @ b_from_c."""
        return Sim3(self.scale * other.scale, self.rotation @ other.rotation, self.apply(other.translation))

    def apply(self, xyz: ArrayLike) -> Array:
        """Points [..., 3] of b in a."""
        return self.scale * np.asarray(xyz, np.float64) @ self.rotation.T + self.translation

    def inverse(self) -> Sim3:
        r_t = self.rotation.T
        return Sim3(1 / self.scale, r_t, -(r_t @ self.translation) / self.scale)

    def cameras(self, cam_from_b: ArrayLike) -> Array:
        """cam_from_a [N, 4, 4] of cam_from_b [N, 4, 4]: the camera frame takes on the units of a."""
        m = np.asarray(cam_from_b, np.float64)
        r = m[..., :3, :3] @ self.rotation.T
        t = self.scale * m[..., :3, 3] - (r @ self.translation)
        return se3(r, t)

    def matrix(self) -> Array:
        """The 4x4 matrix with scale * rotation in its upper left."""
        return se3(self.scale * self.rotation, self.translation)


def fit_sim3(a: ArrayLike, b: ArrayLike, weights: ArrayLike | None = None, *, with_scale: bool = True) -> Sim3:
    """The similarity a_from_b that minimises sum w |a - (s R b + t)|^2 over points a, b [N, 3].

    Source: Umeyama, Least-squares estimation of transformation parameters between two point patterns, PAMI 1991.
    Points on a line leave the rotation about it open, and points in one place the scale: the caller checks.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    w = np.ones(len(a)) if weights is None else np.asarray(weights, np.float64)
    w = w / w.sum()
    mean_a, mean_b = w @ a, w @ b
    da, db = a - mean_a, b - mean_b
    u, d, vt = np.linalg.svd((w[:, None] * da).T @ db)
    sign = np.array([1, 1, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = u @ np.diag(sign) @ vt
    variance = float(w @ (db**2).sum(1))
    scale = float((d * sign).sum() / variance) if with_scale and variance > 0 else 1.0
    return Sim3(scale, rotation, mean_a - scale * rotation @ mean_b)


@dataclass(frozen=True)
class World:
    """What is known of the frame that a result stands in. What is not known is said, never faked."""

    scale: Literal["arbitrary", "metric"] = "arbitrary"
    """"metric": one unit is one metre."""
    up: Literal["unknown", "estimated", "gravity"] = "unknown"
    """Whether +Z is up: not known, estimated from the photos, or measured (GPS, gravity, control points)."""
    origin: tuple[float, float, float] | None = None
    """(latitude deg, longitude deg, height m) of (0, 0, 0), WGS84; then +X is east, +Y is north. None: not known."""
    crs: int | None = None
    """EPSG code of the coordinates, or None."""
    world_from_sfm: Sim3 = field(default_factory=Sim3)
    """From the frame that structure from motion happened to choose."""

    def to_json(self) -> dict[str, Any]:
        m = self.world_from_sfm
        return {
            "scale": self.scale,
            "up": self.up,
            "origin": list(self.origin) if self.origin else None,
            "crs": self.crs,
            "world_from_sfm": {
                "scale": m.scale,
                "rotation": m.rotation.tolist(),
                "translation": m.translation.tolist(),
            },
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> World:
        m = data["world_from_sfm"]
        return World(
            data["scale"],
            data["up"],
            tuple(data["origin"]) if data["origin"] else None,
            data["crs"],
            Sim3(float(m["scale"]), np.array(m["rotation"], np.float64), np.array(m["translation"], np.float64)),
        )
