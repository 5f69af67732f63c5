"""The sample capture: 40 photos of a still life that this project modelled and rendered, and the truth beside them.

An installed recon carries it as recon/_sample/, a source checkout as data/sample/. Truth: exact cameras, z maps of a few
photos and the scene's mesh, in metres, +Z up. How it was made: data/README.md.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recon.cameras import Cameras
from recon.errors import InputError, MissingPart
from recon.geometry import Array

_PACKAGE = Path(__file__).resolve().parent
_PLACES = (_PACKAGE / "_sample", _PACKAGE.parent / "data" / "sample")


def sample_photos() -> Path:
    """The folder of the sample's photos. Raises MissingPart when this installation came without it."""
    return _sample("images")


def sample_truth() -> Path:
    """The folder of the sample's truth: cameras.json, depth/, mesh.npz. Raises MissingPart when it is not there."""
    return _sample("truth")


def sample_cameras() -> tuple[tuple[str, ...], Cameras]:
    """Names and exact pinhole cameras of all photos, in the order of their names."""
    data = json.loads((sample_truth() / "cameras.json").read_text(encoding="utf-8"))
    names = tuple(c["name"] for c in data["cameras"])
    poses = np.array([c["cam_from_world"] for c in data["cameras"]], np.float64)
    n = len(names)
    k = np.broadcast_to(np.array(data["K"], np.float64), (n, 3, 3)).copy()
    return names, Cameras(poses, k, np.broadcast_to(np.array(data["size"], np.int32), (n, 2)).copy())


def sample_z() -> dict[str, Array]:
    """z f64[H, W] in metres through the pixel centres, by photo; NaN where a pixel sees the sky."""
    from PIL import Image

    truth = sample_truth()
    unit = json.loads((truth / "cameras.json").read_text(encoding="utf-8"))["depth_unit_m"]
    out = {}
    for file in sorted((truth / "depth").glob("*.png")):
        steps = np.asarray(Image.open(file), np.float64)
        out[file.stem] = np.where(steps > 0, steps * unit, np.nan)
    return out


def sample_mesh(*parts: str) -> tuple[Array, NDArray[np.int32]]:
    """Vertices f64[V, 3], metres, and triangles i32[F, 3], counter-clockwise, of the named parts; no name: the whole scene.

    "hare" is the main object. Positions are exact to 1e-4 m (to 3e-6 m for the hare).
    """
    with np.load(sample_truth() / "mesh.npz", allow_pickle=False) as data:
        names, main = [str(n) for n in data["names"]], str(data["main"])
        unknown = set(parts) - set(names)
        if unknown:
            raise InputError(
                f"the sample has no part {sorted(unknown)}; it has {', '.join(names)} (main object: {main})"
            )
        v_end, f_end = np.cumsum(data["vertices"]), np.cumsum(data["triangles"])
        xyz, faces, start = [], [], 0
        for i, name in enumerate(names):
            if parts and name not in parts:
                continue
            own = data["xyz"][v_end[i] - data["vertices"][i] : v_end[i]]
            xyz.append(data["low"][i] + own * data["step"][i])
            faces.append(data["faces"][f_end[i] - data["triangles"][i] : f_end[i]].astype(np.int32) + start)
            start += len(own)
    return np.concatenate(xyz), np.concatenate(faces)


def _sample(folder: str) -> Path:
    for place in _PLACES:
        if (place / folder).is_dir():
            return place / folder
    raise MissingPart(
        f"expected the sample capture's {folder} in {_PLACES[0]} or {_PLACES[1]}, found neither. "
        "Install a release of recon-scene, which carries it, or run from a complete source checkout."
    )
