"""Screened Poisson: one smooth closed surface through oriented points (Kazhdan and Hoppe, Screened Poisson surface
reconstruction, 2013), by pycolmap; what it makes up far from every point goes again.

The points are the vertices of the fused surface: its volume has averaged the views, and dropped what some looked through.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.errors import MissingPart
from recon.kernels.jit import threads
from recon.mesh import vertex_normals, without_unused

DEEPEST = 11
"""Levels of the octree: 2048 cells along the longest side, as many as 4 GB hold for a surface."""
ANCHOR = 0.75
"""Two lone points stand so far from the middle along each axis, in longer sides of the points' box, so that the octree reaches
beyond it: at its walls a surface is bent upright, and a hole near one would open into it.
"""
MARGIN = 1.1 * 2 * ANCHOR
"""The octree's cube over the points' box."""


def poisson(
    xyz: NDArray, faces: NDArray, voxel: float, reach: float, scratch: Path
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """The Poisson surface of a fused one, with cells of about `voxel`, as far as `reach` (world units) from its points.
    The files that pycolmap reads and writes, which can be large, lie in the folder `scratch` meanwhile.

    Raises MissingPart when pycolmap was built without it.
    """
    xyz, faces, _ = without_unused(xyz, faces)
    points, normals = xyz.astype(np.float64), vertex_normals(xyz, faces)
    middle, side = (points.max(0) + points.min(0)) / 2, float(np.ptp(points, axis=0).max()) if len(points) else 0.0
    if side <= 0:
        return xyz.astype(np.float32), faces.astype(np.int32)
    depth = min(DEEPEST, max(4, math.ceil(math.log2(max(MARGIN * side / voxel, 2)))))
    made, triangles = _reconstructed(((points - middle) / side).astype(np.float32), normals, depth, scratch)
    made = made.astype(np.float64) * side + middle
    triangles = triangles[_near(made, points, max(reach, 2 * MARGIN * side / 2**depth))[triangles].all(1)]
    kept, triangles, _ = without_unused(made.astype(np.float32), triangles)
    return kept, triangles


def _near(made: NDArray, points: NDArray, reach: float) -> NDArray[np.bool_]:
    """bool[M]: which vertices lie within `reach` of a point."""
    from scipy.spatial import KDTree

    return np.isfinite(KDTree(points).query(made, distance_upper_bound=reach, workers=threads())[0])


def _reconstructed(
    points: NDArray, normals: NDArray, depth: int, scratch: Path
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    import pycolmap

    if not hasattr(pycolmap, "poisson_meshing"):
        raise MissingPart(
            f"--surface poisson needs a pycolmap with poisson_meshing; this is {pycolmap.__version__}. Install a newer one "
            "(pip install -U pycolmap), or take --surface tsdf."
        )
    options: Any = pycolmap.PoissonMeshingOptions()
    options.depth, options.color, options.trim = depth, False, 0.0
    options.num_threads = 1  # its OpenMP threads wait in loops, which costs minutes where cores are shared
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        given, made = Path(folder) / "points.ply", Path(folder) / "surface.ply"
        anchors = np.array([[a] * 3 for a in (-ANCHOR, ANCHOR)])
        table = np.concatenate([points, normals], 1).astype("<f4")
        table = np.concatenate([table, np.concatenate([anchors, anchors], 1).astype("<f4")])
        head = ["ply", "format binary_little_endian 1.0", f"element vertex {len(table)}"]
        head += [f"property float {name}" for name in ("x", "y", "z", "nx", "ny", "nz")] + ["end_header\n"]
        given.write_bytes("\n".join(head).encode("ascii") + table.tobytes())
        pycolmap.poisson_meshing(given, made, options)
        return _read(made.read_bytes())


def _read(data: bytes) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Vertices and triangles of the PLY that pycolmap writes: binary, float properties, faces as lists of three int."""
    end = data.index(b"end_header\n") + len(b"end_header\n")
    words = [line.split() for line in data[:end].decode("ascii").splitlines()]
    vertices, triangles = (int(w[2]) for w in words if w[0] == "element")
    columns = sum(w[:2] == ["property", "float"] for w in words)
    xyz = np.frombuffer(data, "<f4", vertices * columns, end).reshape(vertices, columns)[:, :3]
    rows = np.frombuffer(data, "<i4", 4 * triangles, end + 4 * vertices * columns).reshape(triangles, 4)
    return xyz.copy(), rows[:, 1:].copy()
