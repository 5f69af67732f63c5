"""Pictures of a mesh, as a camera would see it: for errors against photos, and to look at."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recon.cameras import Cameras
from recon.mesh import Mesh, face_normals
from recon.mesh.raster import Seen, look
from recon.mesh.texture import sampled


def picture(
    mesh: Mesh, camera: Cameras, background: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> NDArray[np.float32]:
    """rgb f32[H, W, 3], 0..1, of the mesh with its texture, or its vertices' colours, in one pinhole camera."""
    return painted(mesh, camera, look(camera, mesh.xyz, mesh.faces), background)


def painted(mesh: Mesh, camera: Cameras, seen: Seen, background: tuple[float, float, float]) -> NDArray[np.float32]:
    """picture() of what the camera was found to see."""
    weights = seen.weights(camera, mesh.xyz, mesh.faces)
    hit = seen.face >= 0
    out = np.empty((*hit.shape, 3), np.float32)
    out[:] = background
    face, weight = seen.face[hit], weights[hit]
    if mesh.uv is None or mesh.texture is None:
        out[hit] = np.einsum("pi,pic->pc", weight, mesh.rgb[mesh.faces[face]].astype(np.float32)) / 255
        return out
    height, width = mesh.texture.shape[:2]
    uv = np.einsum("pi,pic->pc", weight, mesh.uv[face])
    u, v = (uv[:, 0] * width - 0.5).astype(np.float32), (uv[:, 1] * height - 0.5).astype(np.float32)
    out[hit] = sampled(mesh.texture, u, v) / 255
    return out


def relief(mesh: Mesh, camera: Cameras) -> NDArray[np.float32]:
    """rgb f32[H, W, 3], 0..1: the surface in grey, lit from the camera; back sides reddish, nothing white."""
    seen = look(camera, mesh.xyz, mesh.faces)
    hit = seen.face >= 0
    normal = face_normals(mesh.xyz, mesh.faces)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-300)
    rays = camera.rays(0)[1]
    facing = -np.einsum("pi,pi->p", normal[seen.face[hit]], rays[hit])
    shade = (0.15 + 0.75 * np.abs(facing))[:, None]
    out = np.ones((*hit.shape, 3), np.float32)
    out[hit] = np.where(facing[:, None] > 0, shade, shade * [0.9, 0.4, 0.4])
    return out
