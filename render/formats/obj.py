"""OBJ + MTL + PNG (Wavefront): text, for whoever reads nothing else. +Y up: a world point (x, y, z) becomes (x, z, -y).

NAME.mtl and NAME.png lie beside NAME.obj. Without a texture each `v` line also carries the vertex's colour, 0..1 sRGB, which
Blender, MeshLab and others read.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np

from recon.files import atomic_write
from recon.mesh import Mesh
from render.formats.glb import GLTF_FROM_WORLD, png


def write_obj(path: Path, mesh: Mesh) -> None:
    """Write a mesh; with a texture NAME.mtl and NAME.png first. Each file atomic."""
    xyz = mesh.xyz.astype(np.float64) @ GLTF_FROM_WORLD.T
    text = io.StringIO()
    text.write(f"# recon_world {json.dumps(mesh.world.to_json(), separators=(',', ':'))}\n")
    if mesh.uv is not None and mesh.texture is not None:
        with atomic_write(path.with_suffix(".png")) as stream:
            stream.write(png(mesh.texture))
        material = (
            f"newmtl photographs\nKa 0 0 0\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {path.with_suffix('.png').name}\n"
        )
        with atomic_write(path.with_suffix(".mtl")) as stream:
            stream.write(material.encode())
        text.write(f"mtllib {path.with_suffix('.mtl').name}\n")
        np.savetxt(text, xyz, "v %.7g %.7g %.7g")
        uv = mesh.uv.reshape(-1, 2).astype(np.float64)
        np.savetxt(text, np.stack([uv[:, 0], 1 - uv[:, 1]], -1), "vt %.7g %.7g")
        text.write("usemtl photographs\n")
        corner = np.arange(1, mesh.faces.size + 1).reshape(-1, 3)
        both = np.stack([mesh.faces + 1, corner], -1).reshape(-1, 6)
        np.savetxt(text, both, "f %d/%d %d/%d %d/%d")
    else:
        np.savetxt(text, np.concatenate([xyz, mesh.rgb / 255.0], 1), "v %.7g %.7g %.7g %.4f %.4f %.4f")
        np.savetxt(text, mesh.faces + 1, "f %d %d %d")
    with atomic_write(path) as stream:
        stream.write(text.getvalue().encode())
