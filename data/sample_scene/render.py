"""Mitsuba 3: the parts and lights as a Mitsuba scene, path-traced photos, exact z. Imported only where pictures are made.

The variant comes from the environment variable SAMPLE_VARIANT: llvm_ad_rgb (the default; it needs a recent LLVM, found
through DRJIT_LIBLLVM_PATH: 19 works, 15 does not) or scalar_rgb (needs no LLVM, about four times slower; its noise
differs, the scene does not).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import mitsuba as mi
import numpy as np
from numpy.typing import NDArray

from sample_scene.path import intrinsics
from sample_scene.shapes import Material, Part, subdivided

mi.set_variant(os.environ.get("SAMPLE_VARIANT", "llvm_ad_rgb"))

Array = NDArray[np.float64]

DEPTH = 5
"""Path vertices at most."""
EXPOSURE = 1.7
"""One for all photos."""


def linear(srgb: Any) -> Array:
    """Linear RGB of sRGB, both 0..1."""
    c = np.asarray(srgb, np.float64)
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def encoded(rgb: Array) -> Array:
    """sRGB 0..1 of linear RGB, with a shoulder above 0.7 that bends highlights into the range."""
    x = np.maximum(rgb, 0)
    knee = 0.7
    x = np.where(x > knee, knee + (1 - knee) * (1 - np.exp(-(x - knee) / (1 - knee))), x)
    return np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)


def reflectance(color: Any) -> dict[str, Any]:
    """A Mitsuba texture."""
    if isinstance(color, str):
        return {"type": "mesh_attribute", "name": "vertex_color"}
    value = np.asarray(color, np.float64)
    if value.ndim == 1:
        return {"type": "rgb", "value": [float(c) for c in linear(value)]}
    pixels = np.ascontiguousarray(np.clip(value, 0, 1) * 255 + 0.5, np.float32).astype(np.uint8)
    return {"type": "bitmap", "bitmap": mi.Bitmap(pixels), "raw": False, "wrap_mode": "repeat"}


def surface(material: Material) -> dict[str, Any]:
    """A Mitsuba BSDF."""
    color = reflectance(material.color)
    if material.kind == "metal":
        bsdf = {"type": "roughconductor", "distribution": "ggx", "alpha": material.rough, "specular_reflectance": color}
    elif material.kind == "glaze":
        bsdf = {"type": "roughplastic", "distribution": "ggx", "alpha": material.rough, "diffuse_reflectance": color}
    else:
        bsdf = {"type": "diffuse", "reflectance": color}
    return {"type": "twosided", "bsdf": bsdf} if material.thin else bsdf


def write_ply(path: Path, part: Part) -> None:
    """A binary PLY with normals, texture coordinates and, for painted parts, linear colours."""
    mesh = part.mesh if part.paint is None else subdivided(part.mesh, 1)
    normal = part.mesh.normals() if part.paint is None else smooth_normals(part)
    columns = [mesh.xyz, normal, mesh.uv]
    names = ["x", "y", "z", "nx", "ny", "nz", "u", "v"]
    if part.paint is not None:
        columns.append(linear(part.paint(mesh.xyz, normal)))
        names += ["r", "g", "b"]
    vertex = np.concatenate(columns, 1).astype("<f4")
    face = np.zeros(len(mesh.faces), np.dtype([("n", "u1"), ("i", "<i4", 3)]))
    face["n"], face["i"] = 3, mesh.faces
    head = ["ply", "format binary_little_endian 1.0", f"element vertex {len(vertex)}"]
    head += [f"property float {n}" for n in names]
    head += [f"element face {len(face)}", "property list uchar int vertex_indices", "end_header"]
    path.write_bytes(("\n".join(head) + "\n").encode() + vertex.tobytes() + face.tobytes())


def smooth_normals(part: Part) -> Array:
    """Normals of the subdivided mesh, interpolated from the part's own."""
    n = part.mesh.normals()
    edges = np.sort(
        np.concatenate([part.mesh.faces[:, [0, 1]], part.mesh.faces[:, [1, 2]], part.mesh.faces[:, [2, 0]]]), 1
    )
    fine = np.concatenate([n, n[np.unique(edges, axis=0)].mean(1)])
    return fine / np.linalg.norm(fine, axis=1, keepdims=True)


def lights() -> dict[str, Any]:
    """Sky and a low sun beyond the window, a soft warm ceiling light."""
    t = mi.ScalarTransform4f
    sun_from = np.array([np.cos(np.radians(202)), np.sin(np.radians(202)), np.tan(np.radians(27))])
    sun_from /= np.linalg.norm(sun_from)
    sun = np.array([0.05, -0.02, 0.8]) + 6.5 * sun_from
    sky = t().look_at(origin=[-6.2, -2.0, 1.8], target=[0, -2.0, 1.8], up=[0, 0, 1]) @ t().scale([4.2, 3.2, 1])
    disc = t().look_at(origin=sun.tolist(), target=[0.05, -0.02, 0.8], up=[0, 0, 1]) @ t().scale([0.09, 0.09, 1])
    soft = t().look_at(origin=[0.3, -0.4, 2.66], target=[0.3, -0.4, 0], up=[0, 1, 0]) @ t().scale([0.9, 0.7, 1])

    def area(shape: str, where: Any, rgb: list[float]) -> dict[str, Any]:
        return {
            "type": shape,
            "to_world": where,
            "emitter": {"type": "area", "radiance": {"type": "rgb", "value": rgb}},
        }

    return {
        "sky": area("rectangle", sky, [4.2, 4.7, 5.2]),
        "sun": area("disk", disc, [8000.0, 6300.0, 4300.0]),
        "soft": area("rectangle", soft, [2.3, 2.05, 1.75]),
    }


def load(parts: list[Part], scratch: Path) -> Any:
    """The Mitsuba scene; PLY files are written to `scratch`."""
    scratch.mkdir(parents=True, exist_ok=True)
    scene: dict[str, Any] = {"type": "scene", **lights()}
    for part in parts:
        write_ply(scratch / f"{part.name}.ply", part)
        flat = part.name.startswith(("book", "wall", "panel", "print", "trim", "window", "card_1", "rug", "table_top"))
        scene[part.name] = {
            "type": "ply",
            "filename": str(scratch / f"{part.name}.ply"),
            "face_normals": flat,
            "bsdf": surface(part.material),
        }
    return mi.load_dict(scene, parallel=False)  # in parallel the lights come in any order, and the noise with them


def sensor(cam_from_world: Array, size: tuple[int, int], spp: int) -> Any:
    """A pinhole with K of path.py, scaled to `size`. Mitsuba's camera looks along +Z with +X left and +Y up."""
    world_from_cam = np.linalg.inv(cam_from_world) @ np.diag([-1.0, -1.0, 1.0, 1.0])
    k = intrinsics()
    return mi.load_dict(
        {
            "type": "perspective",
            "to_world": mi.ScalarTransform4f(world_from_cam),
            "fov_axis": "x",
            "fov": float(np.degrees(2 * np.arctan(k[0, 2] / k[0, 0]))),
            "near_clip": 0.01,
            "far_clip": 100.0,
            "film": {
                "type": "hdrfilm",
                "width": size[0],
                "height": size[1],
                "rfilter": {"type": "box"},
                "pixel_format": "rgb",
                "component_format": "float32",
            },
            "sampler": {"type": "multijitter" if spp > 1 else "independent", "sample_count": spp},
        }
    )


def samples(scene: Any, cam_from_world: Array, size: tuple[int, int], spp: int, seed: int) -> NDArray[np.float32]:
    """f32[H, W, 9]: linear colour, surface colour and normal, the mean of `spp` paths a pixel. Clipped against fireflies."""
    integrator = mi.load_dict(
        {"type": "aov", "aovs": "a:albedo,n:sh_normal", "p": {"type": "path", "max_depth": DEPTH, "rr_depth": 3}}
    )
    camera = sensor(cam_from_world, size, spp)
    raw = np.array(mi.render(scene, sensor=camera, integrator=integrator, seed=seed, spp=spp), np.float32)
    raw = np.concatenate([raw[..., :3], raw[..., -6:]], -1)
    return np.concatenate([np.clip(raw[..., :3], 0, 20), np.clip(raw[..., 3:6], 0, 1), raw[..., 6:]], -1)


def developed(raw: NDArray[np.float32]) -> Array:
    """sRGB [H, W, 3] 0..1 of samples(): denoised by Open Image Denoise along the surfaces' colours and normals."""
    import pyoidn

    color, albedo, normal = (np.ascontiguousarray(raw[..., i : i + 3], np.float32) for i in (0, 3, 6))
    clean = pyoidn.denoise(color, albedo, normal, hdr=True, clean_aux=True)
    return np.clip(encoded(EXPOSURE * clean.astype(np.float64)), 0, 1)


def z_map(scene: Any, cam_from_world: Array, size: tuple[int, int]) -> Array:
    """z [H, W] in metres through pixel centres, 0 where the ray meets no part of the scene (sky, sun)."""
    k = intrinsics() * np.array([[size[0] / 640], [size[1] / 480], [1]])
    r = cam_from_world[:3, :3]
    center = -r.T @ cam_from_world[:3, 3]
    x, y = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)
    way = np.stack([(x - k[0, 2]) / k[0, 0], (y - k[1, 2]) / k[1, 1], np.ones_like(x)], -1).reshape(-1, 3) @ r
    if mi.variant().startswith("scalar"):
        z = np.array([_first_hit(scene, center, d) for d in way])
    else:
        hit = scene.ray_intersect(mi.Ray3f(mi.Point3f(center.tolist()), mi.Vector3f(way.T)))
        z = np.where(np.array(hit.is_valid() & (hit.shape.emitter() == None)), np.array(hit.t), 0)  # noqa: E711
    return z.reshape(size[1], size[0])


def _first_hit(scene: Any, center: Array, way: Array) -> float:
    hit = scene.ray_intersect(mi.Ray3f(center.tolist(), way.tolist()))
    return float(hit.t) if hit.is_valid() and not hit.shape.is_emitter() else 0.0
