"""Meshes as Blender reads them: size, up, faces, material and colours. Needs a Python that has bpy (pip install bpy==5.0.1, in
an environment of its own), named by RECON_BPY; skipped without.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recon.mesh import Mesh
from render.formats.glb import write_glb
from render.formats.mesh_ply import write_mesh_ply
from render.formats.obj import write_obj
from tests.mesh_scenes import cube, painted_cube

PYTHON = os.environ.get("RECON_BPY", "")
STRETCH = np.array([1.0, 2.0, 3.0], np.float32)
LOOK = """
import json, sys, bpy
bpy.ops.wm.read_factory_settings(use_empty=True)
path = sys.argv[1]
read = {".glb": bpy.ops.import_scene.gltf, ".obj": bpy.ops.wm.obj_import, ".ply": bpy.ops.wm.ply_import}
read["." + path.rsplit(".")[-1]](filepath=path)
one, = [o for o in bpy.data.objects if o.type == "MESH"]
at = [one.matrix_world @ v.co for v in one.data.vertices]
box = [[f(p[i] for p in at) for i in range(3)] for f in (min, max)]
images = [list(i.size) for i in bpy.data.images if i.size[0]]
colours = [a.name for a in one.data.color_attributes]
print("FOUND" + json.dumps({"box": box, "faces": len(one.data.polygons), "materials": len(one.data.materials),
    "uv": len(one.data.uv_layers), "images": images, "colours": colours,
    "volume": sum(p.area * (p.center @ p.normal) for p in one.data.polygons)}))
"""


def in_blender(path: Path) -> dict:
    """What Blender finds in a file."""
    ran = subprocess.run([PYTHON, "-c", LOOK, str(path)], capture_output=True, text=True, timeout=300)
    lines = [line for line in ran.stdout.splitlines() if line.startswith("FOUND")]
    assert lines, ran.stdout + ran.stderr
    return json.loads(lines[0].removeprefix("FOUND"))


@pytest.mark.skipif(not PYTHON, reason="RECON_BPY names no Python with bpy")
@pytest.mark.parametrize("kind", ["glb", "obj", "ply"])
@pytest.mark.parametrize("textured", [True, False])
def test_blender_reads_what_was_written(tmp_path, kind, textured):
    painted = painted_cube(texture=64 if textured else 0)[0].mesh
    mesh: Mesh = replace(painted, xyz=painted.xyz * STRETCH)
    path = tmp_path / f"m.{kind}"
    {"glb": write_glb, "obj": write_obj, "ply": write_mesh_ply}[kind](path, mesh)
    found = in_blender(path)
    half = 0.8 * STRETCH
    assert np.array(found["box"]) == pytest.approx(np.array([-half, half]), abs=1e-4)  # Z is up again
    assert found["faces"] == len(cube()[1]) and found["volume"] > 0  # and outside is outside
    if textured and kind != "ply":
        assert found["materials"] == 1 and found["uv"] == 1
        assert mesh.texture is not None and list(mesh.texture.shape[1::-1]) in found["images"]
    else:
        assert found["colours"]
