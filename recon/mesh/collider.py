"""Simple surfaces for physics: the convex hull, or the surface itself with few faces."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from recon.errors import InputError
from recon.mesh import Mesh, face_normals
from recon.mesh.clean import drop_small_parts
from recon.mesh.simplify import decimate

SHELL_FACES = 2000
PART = 0.02
"""A shell keeps the parts that have this share of the largest one's area."""
GREY = 128


def collider(mesh: Mesh, kind: Literal["hull", "shell"]) -> Mesh:
    """hull: the closed convex hull. shell: the larger parts of the surface, at most SHELL_FACES triangles, holes and all.

    Raises InputError for a mesh without volume to enclose.
    """
    xyz, faces = _hull(mesh) if kind == "hull" else _shell(mesh)
    grey = np.full((len(xyz), 3), GREY, np.uint8)
    return replace(mesh, xyz=xyz, faces=faces, rgb=grey, uv=None, texture=None)


def _hull(mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    from scipy.spatial import ConvexHull, QhullError

    try:
        hull = ConvexHull(mesh.xyz.astype(np.float64))
    except (QhullError, ValueError) as error:
        raise InputError(
            f"The mesh has no convex hull: expected four points or more that lie in no plane, found {len(mesh.xyz)}. "
            "Make it with a larger --faces."
        ) from error
    rows = hull.vertices
    number = np.full(len(mesh.xyz), -1, np.int32)
    number[rows] = np.arange(len(rows))
    xyz, faces = mesh.xyz[rows], number[hull.simplices]
    inward = np.einsum("fi,fi->f", face_normals(xyz, faces), hull.equations[:, :3]) < 0
    return xyz, np.where(inward[:, None], faces[:, ::-1], faces).astype(np.int32)


def _shell(mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    return decimate(mesh.xyz, mesh.faces[drop_small_parts(mesh.xyz, mesh.faces, PART)], SHELL_FACES)
