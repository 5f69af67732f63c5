"""PLY of triangles with coloured vertices, binary, axes as they are (+Z up): Turk, The PLY polygon file format, 1994."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from recon.files import atomic_write
from recon.mesh import Mesh
from render.formats.ply import WORLD_COMMENT


def write_mesh_ply(path: Path, mesh: Mesh) -> None:
    """Write a mesh with its vertices' colours; a texture is not written. Atomic."""
    vertex = np.empty(len(mesh.xyz), np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3)]))
    vertex["xyz"], vertex["rgb"] = mesh.xyz, mesh.rgb
    face = np.empty(len(mesh.faces), np.dtype([("count", "u1"), ("corner", "<i4", 3)]))
    face["count"], face["corner"] = 3, mesh.faces
    world = json.dumps(mesh.world.to_json(), separators=(",", ":"))
    header = ["ply", "format binary_little_endian 1.0", f"comment {WORLD_COMMENT} {world}"]
    header += [f"element vertex {len(vertex)}", *(f"property float {axis}" for axis in "xyz")]
    header += [f"property uchar {colour}" for colour in ("red", "green", "blue")]
    header += [f"element face {len(face)}", "property list uchar int vertex_indices", "end_header"]
    with atomic_write(path) as stream:
        stream.write(("\n".join(header) + "\n").encode("ascii"))
        stream.write(vertex.tobytes())
        stream.write(face.tobytes())
