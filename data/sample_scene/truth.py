"""The truth beside the photos: cameras.json, depth/*.png, mesh.npz."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sample_scene import path
from sample_scene.shapes import Part

MAIN = "hare"
DEPTH_UNIT = 1e-4
"""Metres of one step of the 16-bit z maps."""


def cameras() -> dict[str, Any]:
    """What cameras.json holds."""
    poses = path.poses()
    return {
        "convention": "cam_from_world, OpenCV camera frame (+X right, +Y down, +Z forward), "
        "pixel centres at +0.5; world in metres, +Z up",
        "size": list(path.SIZE),
        "K": path.intrinsics().tolist(),
        "main_object": MAIN,
        "depth_unit_m": DEPTH_UNIT,
        "cameras": [{"name": n, "cam_from_world": p.tolist()} for n, p in zip(path.names(), poses, strict=True)],
    }


def packed(parts: list[Part]) -> dict[str, NDArray[Any]]:
    """The scene as arrays: 16-bit positions within each part's box, triangles by part."""
    xyz, low, step = [], [], []
    for part in parts:
        lo, hi = part.mesh.xyz.min(0), part.mesh.xyz.max(0)
        unit = np.maximum((hi - lo) / 65535, 1e-9)
        low.append(lo)
        step.append(unit)
        xyz.append(np.round((part.mesh.xyz - lo) / unit).astype(np.uint16))
    return {
        "names": np.array([p.name for p in parts]),
        "main": np.array(MAIN),
        "vertices": np.array([len(p.mesh.xyz) for p in parts], np.int32),
        "triangles": np.array([len(p.mesh.faces) for p in parts], np.int32),
        "low": np.array(low),
        "step": np.array(step),
        "xyz": np.concatenate(xyz),
        "faces": np.concatenate([p.mesh.faces for p in parts]).astype(np.uint16),
    }


def write_packed(target: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """A compressed npz without time stamps: the same scene gives the same bytes."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, value in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy")
            entry.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(entry, "w") as stream:
                np.lib.format.write_array(stream, value, allow_pickle=False)


def write(folder: Path, parts: list[Part], z_maps: dict[str, NDArray[np.float64]]) -> None:
    """Write all of it."""
    (folder / "depth").mkdir(parents=True, exist_ok=True)
    (folder / "cameras.json").write_text(json.dumps(cameras(), indent=1) + "\n")
    for name, z in z_maps.items():
        steps = np.round(z / DEPTH_UNIT).astype(np.uint16)
        Image.fromarray(steps).save(folder / "depth" / f"{name}.png", optimize=True)
    write_packed(folder / "mesh.npz", packed(parts))
