"""Meshes as files: what we write is read back with trimesh, which is not ours, and stands where it stood."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh

from recon.errors import InputError
from recon.geometry import World
from recon.mesh import Mesh
from render.formats import writer
from render.formats.glb import linear, write_glb
from render.formats.mesh_ply import write_mesh_ply
from render.formats.obj import write_obj
from tests.mesh_scenes import SIDE_COLOURS, cube

WORLD_FROM_GLTF = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])


def coloured() -> Mesh:
    """A lopsided box, so that a wrong axis shows, with one colour a vertex."""
    xyz, faces, _ = cube(2)
    xyz = xyz * [1, 2, 3] + [0.5, -1, 7]
    rgb = np.random.default_rng(0).integers(0, 256, (len(xyz), 3)).astype(np.uint8)
    return Mesh(xyz.astype(np.float32), faces, rgb, world=World("metric", "gravity"))


def textured() -> Mesh:
    """The same with a texture of six stripes, one a side."""
    mesh = coloured()
    side = cube(2)[2]
    local = np.array([[0.2, 0.1], [0.8, 0.5], [0.3, 0.9]])
    uv = np.stack([(side[:, None] + local[:, 0]) / 6, np.broadcast_to(local[:, 1], (len(side), 3))], -1)
    texture = np.repeat(SIDE_COLOURS, 8, axis=0)[None].repeat(16, axis=0)
    return replace(mesh, uv=uv.astype(np.float32), texture=texture)


def corners(mesh: Mesh) -> np.ndarray:
    return mesh.xyz[mesh.faces]


def read(path: Path) -> trimesh.Trimesh:
    loaded = trimesh.load(path, process=False)
    return next(iter(loaded.geometry.values())) if isinstance(loaded, trimesh.Scene) else loaded


def test_glb_with_vertex_colours_comes_back(tmp_path):
    mesh = coloured()
    write_glb(tmp_path / "room.glb", mesh)
    back = read(tmp_path / "room.glb")
    assert back.vertices @ WORLD_FROM_GLTF.T == pytest.approx(mesh.xyz, abs=1e-6)
    assert np.array_equal(back.faces, mesh.faces) and back.is_watertight and back.volume > 0
    assert np.abs(back.visual.vertex_attributes["color"][:, :3] - linear(mesh.rgb)).max() < 0.01


def test_glb_with_a_texture_comes_back(tmp_path):
    mesh = textured()
    write_glb(tmp_path / "room.glb", mesh)
    back = read(tmp_path / "room.glb")
    assert back.vertices[back.faces] @ WORLD_FROM_GLTF.T == pytest.approx(corners(mesh), abs=1e-6)
    uv = back.visual.uv[back.faces] * [1, -1] + [0, 1]  # trimesh counts v from below
    assert uv == pytest.approx(mesh.uv, abs=1e-6)
    image = np.asarray(back.visual.material.baseColorTexture.convert("RGB"))
    assert np.array_equal(image, mesh.texture)


def test_glb_says_what_is_known_of_the_world_and_is_well_formed(tmp_path):
    write_glb(tmp_path / "room.glb", textured())
    data = (tmp_path / "room.glb").read_bytes()
    assert data[:4] == b"glTF" and int.from_bytes(data[8:12], "little") == len(data)
    length = int.from_bytes(data[12:16], "little")
    gltf = json.loads(data[20 : 20 + length])
    assert World.from_json(gltf["asset"]["extras"]["recon_world"]).scale == "metric"
    assert "KHR_materials_unlit" in gltf["extensionsUsed"] and "extensionsRequired" not in gltf
    for view in gltf["bufferViews"]:
        assert view["byteOffset"] % 4 == 0
        assert view["byteOffset"] + view["byteLength"] <= gltf["buffers"][0]["byteLength"]
    position = gltf["accessors"][gltf["meshes"][0]["primitives"][0]["attributes"]["POSITION"]]
    assert position["min"][1] == pytest.approx(7 - 2.4) and position["max"][1] == pytest.approx(7 + 2.4)  # +Z is now +Y


def test_obj_comes_back_with_its_material(tmp_path):
    mesh = textured()
    write_obj(tmp_path / "room.obj", mesh)
    assert {p.name for p in tmp_path.iterdir()} == {"room.obj", "room.mtl", "room.png"}
    back = read(tmp_path / "room.obj")
    assert back.vertices[back.faces] @ WORLD_FROM_GLTF.T == pytest.approx(corners(mesh), abs=1e-5)
    assert back.visual.uv[back.faces] * [1, -1] + [0, 1] == pytest.approx(mesh.uv, abs=1e-5)
    assert np.array_equal(np.asarray(back.visual.material.image.convert("RGB")), mesh.texture)


def test_obj_without_a_texture_has_colours_at_its_vertices(tmp_path):
    mesh = coloured()
    write_obj(tmp_path / "room.obj", mesh)
    assert [p.name for p in tmp_path.iterdir()] == ["room.obj"]
    back = read(tmp_path / "room.obj")
    assert back.vertices[back.faces] @ WORLD_FROM_GLTF.T == pytest.approx(corners(mesh), abs=1e-5)
    assert np.abs(back.visual.vertex_colors[back.faces][..., :3].astype(int) - mesh.rgb[mesh.faces]).max() <= 1


def test_ply_comes_back_unturned(tmp_path):
    mesh = coloured()
    write_mesh_ply(tmp_path / "room.ply", mesh)
    back = read(tmp_path / "room.ply")
    assert np.array_equal(back.vertices.astype(np.float32), mesh.xyz) and np.array_equal(back.faces, mesh.faces)
    assert np.array_equal(back.visual.vertex_colors[:, :3], mesh.rgb)


def test_endings_choose_the_writer(tmp_path):
    assert writer(tmp_path / "a.GLB", "mesh") is write_glb and writer(tmp_path / "a.ply", "mesh") is write_mesh_ply
    with pytest.raises(InputError, match=r"expected one of \.glb, \.obj, \.ply"):
        writer(tmp_path / "a.stl", "mesh")
    with pytest.raises(InputError, match=r"expected one of \.ply"):
        writer(tmp_path / "a.glb", "splats")
    with pytest.raises(InputError, match="no folder"):
        writer(tmp_path / "none" / "a.glb", "mesh")
