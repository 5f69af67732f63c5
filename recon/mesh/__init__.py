"""Mesh: a surface of triangles with colours or a texture, in the world frame. How it is made stands in this folder:

views.py (what is fused) -> volume.py (TSDF) -> marching.py (triangles) -> clean.py -> simplify.py -> texture.py.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.errors import InputError, WorkspaceError
from recon.files import save_npz
from recon.geometry import World

FORMAT = 1


@dataclass(frozen=True)
class Mesh:
    """V vertices and F triangles. Corners that touch share a vertex, also across seams of the texture."""

    xyz: NDArray[np.float32]
    """f32[V, 3], world."""
    faces: NDArray[np.int32]
    """i32[F, 3], counter-clockwise seen from outside."""
    rgb: NDArray[np.uint8]
    """u8[V, 3], sRGB."""
    uv: NDArray[np.float32] | None = None
    """f32[F, 3, 2], the corners' places in the texture: (0, 0) its top left corner, (1, 1) its bottom right; None without one."""
    texture: NDArray[np.uint8] | None = None
    """u8[H, W, 3], sRGB, or None."""
    world: World = field(default_factory=World)

    def __post_init__(self) -> None:
        v, f = len(self.xyz), len(self.faces)
        if self.xyz.shape != (v, 3) or self.faces.shape != (f, 3) or self.rgb.shape != (v, 3):
            raise ValueError(f"shapes: xyz {self.xyz.shape}, faces {self.faces.shape}, rgb {self.rgb.shape}")
        if (self.uv is None) != (self.texture is None) or (self.uv is not None and self.uv.shape != (f, 3, 2)):
            raise ValueError("a texture needs uv [F, 3, 2], and uv a texture")
        if not np.isfinite(self.xyz).all():
            raise ValueError("vertices must be finite")
        if f and (self.faces.min() < 0 or self.faces.max() >= v):
            raise ValueError(f"faces name vertices {self.faces.min()} to {self.faces.max()} of {v}")


def face_normals(xyz: NDArray, faces: NDArray) -> NDArray[np.float64]:
    """f64[F, 3], pointing outward, twice the triangle's area long."""
    a, b, c = (xyz[faces[:, i]].astype(np.float64) for i in range(3))
    return np.cross(b - a, c - a)


def vertex_normals(xyz: NDArray, faces: NDArray) -> NDArray[np.float32]:
    """Unit f32[V, 3], the mean of the adjacent faces by their area; (0, 0, 1) where no face is."""
    normal = face_normals(xyz, faces)
    total = np.stack([np.bincount(faces.ravel(), np.repeat(normal[:, i], 3), len(xyz)) for i in range(3)], -1)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.where(length > 0, total / np.maximum(length, 1e-300), [0.0, 0.0, 1.0]).astype(np.float32)


def area(xyz: NDArray, faces: NDArray) -> float:
    """Area of the surface, world units squared."""
    return 0.5 * float(np.linalg.norm(face_normals(xyz, faces), axis=1).sum())


def without_unused(xyz: NDArray, faces: NDArray) -> tuple[NDArray, NDArray[np.int32], NDArray[np.int64]]:
    """The vertices that some face uses, the faces renumbered, and the rows kept (i64[V'])."""
    used = np.zeros(len(xyz), bool)
    used[faces.ravel()] = True
    number = np.cumsum(used) - 1
    return xyz[used], number[faces].astype(np.int32), np.flatnonzero(used)


def save_mesh(path: Path, mesh: Mesh) -> None:
    """Write mesh.npz: the arrays by name, and the World as JSON. Atomic; equal meshes give equal bytes."""
    arrays = {"xyz": mesh.xyz, "faces": mesh.faces, "rgb": mesh.rgb}
    if mesh.uv is not None:
        arrays |= {"uv": mesh.uv, "texture": mesh.texture}
    save_npz(path, format=FORMAT, world=json.dumps(mesh.world.to_json()), **arrays)


def read_mesh(path: Path) -> Mesh:
    """Read what save_mesh() wrote. Raises WorkspaceError when it is damaged or of a newer recon."""
    try:
        with np.load(path, allow_pickle=False) as data:
            arrays: dict[str, Any] = dict(data)
        if int(arrays.pop("format")) > FORMAT:
            raise WorkspaceError(f"{path} was written by a newer recon. Update recon to read it.")
        return Mesh(world=World.from_json(json.loads(str(arrays.pop("world")))), **arrays)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise WorkspaceError(f"{path} is damaged ({error}). Run `recon mesh` with --redo.") from error


def load_mesh(folder: Path) -> Mesh:
    """The mesh of the mesh stage's folder."""
    return read_mesh(folder / "mesh.npz")


def some_surface(faces: NDArray) -> None:
    """Raises InputError when nothing is left of a surface."""
    if len(faces) == 0:
        raise InputError(
            "No surface came out: expected depth that two or more photos agree on, found none. Look at the scene with "
            "`recon view`; a larger --voxel joins sparser depth."
        )
