"""GLB: a mesh in the binary form of glTF 2.0 (Khronos), with its texture or its vertices' colours.

glTF has +Y up and metres: a world point (x, y, z) becomes (x, z, -y). The colours are photographs, light included, so the
material is KHR_materials_unlit where that is known, and fully rough elsewhere. COLOR_0 is linear, textures are sRGB. What we
know of the frame stands in asset.extras.recon_world.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.files import atomic_write
from recon.mesh import Mesh, vertex_normals

GLTF_FROM_WORLD = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], np.float64)
FLOAT, UNSIGNED_INT = 5126, 5125
ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963
LINEAR, LINEAR_MIPMAP_LINEAR, CLAMP_TO_EDGE = 9729, 9987, 33071


def write_glb(path: Path, mesh: Mesh) -> None:
    """Write a mesh of any size. Atomic. Corners at seams of the texture become vertices of their own."""
    xyz, faces, normals, uv, rgb = split_at_seams(mesh)
    chunks: list[bytes] = []
    gltf: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "recon", "extras": {"recon_world": mesh.world.to_json()}},
        "extensionsUsed": ["KHR_materials_unlit"],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "scene"}],
        "materials": [
            {
                "name": "photographs",
                "pbrMetallicRoughness": {"metallicFactor": 0, "roughnessFactor": 1},
                "extensions": {"KHR_materials_unlit": {}},
            }
        ],
        "bufferViews": [],
        "accessors": [],
    }
    turned = (xyz.astype(np.float64) @ GLTF_FROM_WORLD.T).astype(np.float32)
    attributes = {"POSITION": _accessor(gltf, chunks, turned, ARRAY_BUFFER, bounds=True)}
    turned = (normals.astype(np.float64) @ GLTF_FROM_WORLD.T).astype(np.float32)
    attributes["NORMAL"] = _accessor(gltf, chunks, turned, ARRAY_BUFFER)
    if uv is not None and mesh.texture is not None:
        attributes["TEXCOORD_0"] = _accessor(gltf, chunks, uv, ARRAY_BUFFER)
        gltf["images"] = [{"mimeType": "image/png", "bufferView": _view(gltf, chunks, png(mesh.texture))}]
        gltf["samplers"] = [
            {"magFilter": LINEAR, "minFilter": LINEAR_MIPMAP_LINEAR, "wrapS": CLAMP_TO_EDGE, "wrapT": CLAMP_TO_EDGE}
        ]
        gltf["textures"] = [{"source": 0, "sampler": 0}]
        gltf["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"] = {"index": 0}
    else:
        attributes["COLOR_0"] = _accessor(gltf, chunks, linear(rgb), ARRAY_BUFFER)
    indices = _accessor(gltf, chunks, faces.reshape(-1).astype(np.uint32), ELEMENT_ARRAY_BUFFER)
    gltf["meshes"] = [{"primitives": [{"attributes": attributes, "indices": indices, "material": 0}]}]
    binary = b"".join(chunks)
    gltf["buffers"] = [{"byteLength": len(binary)}]
    head = json.dumps(gltf, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 4)
    with atomic_write(path) as stream:
        stream.write(struct.pack("<4sII", b"glTF", 2, 12 + 8 + len(head) + 8 + len(binary)))
        stream.write(struct.pack("<I4s", len(head), b"JSON") + head)
        stream.write(struct.pack("<I4s", len(binary), b"BIN\0") + binary)


def split_at_seams(mesh: Mesh) -> tuple[NDArray, NDArray, NDArray, NDArray | None, NDArray]:
    """(xyz, faces, unit normals, uv per vertex or None, rgb): a vertex for each pair of a point and its place in the texture."""
    normals = vertex_normals(mesh.xyz, mesh.faces)
    if mesh.uv is None:
        return mesh.xyz, mesh.faces, normals, None, mesh.rgb
    key = np.empty(mesh.faces.size, np.dtype([("vertex", "<i4"), ("uv", "<i8")]))
    key["vertex"] = mesh.faces.ravel()
    key["uv"] = np.ascontiguousarray(mesh.uv.reshape(-1, 2), "<f4").view("<i8")[:, 0]
    _, first, corner = np.unique(key, return_index=True, return_inverse=True)
    vertex = mesh.faces.ravel()[first]
    faces = corner.reshape(-1, 3).astype(np.int32)
    return mesh.xyz[vertex], faces, normals[vertex], mesh.uv.reshape(-1, 2)[first], mesh.rgb[vertex]


def linear(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Linear light f32[V, 3] of sRGB (IEC 61966-2-1)."""
    s = rgb.astype(np.float64) / 255
    return np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4).astype(np.float32)


def png(texture: NDArray[np.uint8]) -> bytes:
    """An image u8[H, W, 3] as PNG."""
    import cv2

    return cv2.imencode(".png", np.ascontiguousarray(texture[..., ::-1]))[1].tobytes()


def _view(gltf: dict[str, Any], chunks: list[bytes], data: bytes, target: int | None = None) -> int:
    """Append bytes, padded to 4, and describe them; returns the bufferView's number."""
    start = sum(len(chunk) for chunk in chunks)
    chunks.append(data + b"\0" * (-len(data) % 4))
    view = {"buffer": 0, "byteOffset": start, "byteLength": len(data)}
    gltf["bufferViews"].append(view | ({} if target is None else {"target": target}))
    return len(gltf["bufferViews"]) - 1


def _accessor(gltf: dict[str, Any], chunks: list[bytes], array: NDArray, target: int, *, bounds: bool = False) -> int:
    kind = {1: "SCALAR", 2: "VEC2", 3: "VEC3"}[1 if array.ndim == 1 else array.shape[1]]
    component = FLOAT if array.dtype == np.float32 else UNSIGNED_INT
    order = "<f4" if component == FLOAT else "<u4"
    accessor: dict[str, Any] = {
        "bufferView": _view(gltf, chunks, np.ascontiguousarray(array, order).tobytes(), target),
        "componentType": component,
        "count": len(array),
        "type": kind,
    }
    if bounds and len(array):
        accessor |= {"min": array.min(0).tolist(), "max": array.max(0).tolist()}
    gltf["accessors"].append(accessor)
    return len(gltf["accessors"]) - 1
