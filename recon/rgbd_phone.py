"""Recordings of phones with a depth camera: Polycam's raw export and Record3D's folder.

Both write ARKit's poses: camera-to-world in metres, camera axes as OpenGL's (+X right, +Y up, +Z backward), the world's +Y up.
Both are turned here and nowhere else: the camera to OpenCV's axes, the world to +Z up. Depth images are registered to the photos,
at a lower resolution. Sources: Polycam's polyform README, Record3D's issues 7, 27, 31 and 36 on its data.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from recon.depth_images import DEPTH_ENDS, DepthCamera
from recon.errors import InputError
from recon.geometry import World, se3, se3_inverse
from recon.rgbd import Lens, Recording, RgbdFrame, pose_of, rigid

LIDAR_FAR = 5.0
"""Metres that a phone's LiDAR reaches; what lies beyond is a guess (Polycam's README)."""
OPENGL = np.diag([1.0, -1.0, -1.0])
"""OpenGL's camera axes from OpenCV's."""
Z_UP = se3(np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]), np.zeros(3))
"""From a world with +Y up to one with +Z up: (x, y, z) becomes (z, x, y)."""
PHOTOS = (".jpg", ".jpeg", ".png")


def polycam_folder(base: Path) -> Path | None:
    """The keyframes folder of a Polycam export, given by itself or by the folder above it."""
    for folder in (base / "keyframes", base):
        if _has(folder, "") or _has(folder, "corrected_"):
            return folder
    return None


def _has(folder: Path, which: str) -> bool:
    """Whether there are photos and cameras, as they came or corrected."""
    photos, cameras = folder / f"{which}images", folder / f"{which}cameras"
    return photos.is_dir() and cameras.is_dir() and next(cameras.glob("*.json"), None) is not None


def read_polycam(base: Path) -> Recording:
    """Polycam's raw data: the corrected photos and cameras where they are there (undistorted, and globally adjusted)."""
    folder = polycam_folder(base)
    assert folder is not None
    which = "corrected_" if _has(folder, "corrected_") else ""
    root, frames, files = folder / f"{which}images", [], []
    for photo in sorted(path for path in root.iterdir() if path.suffix.lower() in PHOTOS):
        file = folder / f"{which}cameras" / f"{photo.stem}.json"
        pose = lens = None
        reason = "it has no camera file"
        if file.is_file():
            files.append(file)
            try:
                pose, lens = _polycam_camera(json.loads(file.read_text(encoding="utf-8")))
                reason = ""
            except (ValueError, KeyError, TypeError, OSError) as error:
                reason = f"its camera file {file.name} cannot be used ({error})"
        depth, trust = (_first(folder / kind, photo.stem) for kind in ("depth", "confidence"))
        frames.append(RgbdFrame(photo.name, depth, trust, pose, lens, reason))
    notes = () if which else ("No corrected_cameras: the poses are ARKit's own, which drift.",)
    return Recording(
        "polycam", root, tuple(frames), DepthCamera(far=LIDAR_FAR), World("metric", "gravity"), tuple(files), notes
    )


def _polycam_camera(data: dict[str, Any]) -> tuple[Any, Lens]:
    """cam_from_world and intrinsics. Raises ValueError, KeyError or TypeError when they are damaged."""
    m = np.eye(4)
    m[:3] = [[float(data[f"t_{i}{j}"]) for j in range(4)] for i in range(3)]
    numbers = [float(data[key]) for key in ("fx", "fy", "cx", "cy", "width", "height")]
    return rigid(m, OPENGL) @ se3_inverse(Z_UP), _lens(*numbers)


def _lens(fx: float, fy: float, cx: float, cy: float, width: float, height: float) -> Lens:
    """Raises ValueError when they are no intrinsics."""
    numbers = (float(fx), float(fy), float(cx), float(cy))
    if not (all(map(math.isfinite, (*numbers, width, height))) and min(*numbers[:2], round(width), round(height)) > 0):
        raise ValueError("its focal length or size is not above 0, or no number")
    return Lens(numbers, (round(width), round(height)))


def _first(folder: Path, stem: str, ends: tuple[str, ...] = DEPTH_ENDS) -> Path | None:
    return next((path for end in ends if (path := folder / f"{stem}{end}").is_file()), None)


def record3d_metadata(base: Path) -> Path | None:
    """The metadata file of an unpacked Record3D recording."""
    if not any((base / name).is_dir() for name in ("rgbd", "rgb")):
        return None
    names = ("metadata", "metadata.json", "metadata/metadata.json")
    files = [path for name in names if (path := base / name).is_file()]
    return next((path for path in files if b'"K"' in path.read_bytes()), None)


def read_record3d(base: Path) -> Recording:
    """Record3D: an unpacked .r3d (rgbd/N.jpg, N.depth, N.conf, LZFSE) or its export as EXR and photos (rgb/N.jpg, depth/N.exr).

    metadata: K (column by column), w, h of the photos, dw, dh of the depth images, poses (qx, qy, qz, qw, px, py, pz), one a
    photo. The first camera's pose is the world's frame: up is up only as far as the phone was held upright then.
    """
    path = record3d_metadata(base)
    assert path is not None
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        k = np.array(data["K"], np.float64).reshape(3, 3).T
        lens = _lens(k[0, 0], k[1, 1], k[0, 2], k[1, 2], float(data["w"]), float(data["h"]))
        poses, size = list(data.get("poses") or []), (int(data.get("dw") or 0), int(data.get("dh") or 0))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(f"{path} is no Record3D metadata ({error}). Export the recording again.") from error
    photos = base / ("rgbd" if (base / "rgbd").is_dir() else "rgb")
    depths = photos if photos.name == "rgbd" else base / "depth"
    frames = []
    numbered = [p for p in photos.iterdir() if p.suffix.lower() in PHOTOS and p.stem.isdigit()]
    for photo in sorted(numbered, key=lambda p: int(p.stem)):
        row = int(photo.stem)
        pose, reason = None, "it has no pose" if poses else ""
        if row < len(poses):
            try:
                pose, reason = pose_of(poses[row][:4], poses[row][4:7], OPENGL) @ se3_inverse(Z_UP), ""
            except (ValueError, TypeError, IndexError) as error:
                reason = f"its pose cannot be used: {error}"
        depth = _first(depths, photo.stem, (".depth", *DEPTH_ENDS))
        frames.append(RgbdFrame(photo.name, depth, _first(photos, photo.stem, (".conf",)), pose, lens, reason))
    camera = DepthCamera(size=size if min(size) > 0 else (192, 256), far=LIDAR_FAR)
    world = World("metric", "estimated")
    return Recording("record3d", photos, tuple(frames), camera, world, (path,), video=True)
