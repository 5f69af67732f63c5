"""Published camera poses of benchmark captures in the project's conventions, and the errors of a reconstruction against them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recon.geometry import Array, fit_sim3, rotation_angle_deg, se3, se3_inverse

OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0])
"""Camera axes: +X right, +Y up, +Z backwards becomes +X right, +Y down, +Z forward."""


@dataclass(frozen=True)
class Truth:
    """Poses by photo name, in the frame and units of their publisher."""

    cam_from_world: dict[str, Array]
    """f64[4, 4] by file name."""
    metres_per_unit: float | None
    """None where the unit is arbitrary."""


def from_camera_to_world(rotation: Array, center: Array) -> Array:
    """cam_from_world [4, 4] from a world-from-camera rotation [3, 3] and the camera centre [3]."""
    return se3_inverse(se3(rotation, center))


def strecha(folder: Path) -> Truth:
    """gt_dense_cameras/NAME.camera: K (3 lines), a line of zeros, the camera-to-world rotation (3), the centre, the size."""
    poses = {}
    for path in sorted((folder / "gt_dense_cameras").glob("*.camera")):
        rows = [[float(v) for v in line.split()] for line in path.read_text().splitlines() if line.strip()]
        poses[path.stem if path.stem.endswith(".jpg") else f"{path.stem}.jpg"] = from_camera_to_world(
            np.array(rows[4:7]), np.array(rows[7])
        )
    return Truth(poses, 1.0)


def middlebury(folder: Path) -> Truth:
    """templeR_par.txt: a name, K (9 numbers), R (9), t (3) in each line; P = K [R t]."""
    poses = {}
    for line in (folder / "templeR_par.txt").read_text().splitlines()[1:]:
        name, *numbers = line.split()
        values = np.array(numbers, float)
        poses[name] = se3(values[9:18].reshape(3, 3), values[18:21])
    return Truth(poses, 1.0)


def transforms(folder: Path) -> Truth:
    """transforms.json of instant-ngp: camera-to-world matrices with OpenGL camera axes; frames without a file are passed over."""
    poses = {}
    for frame in json.loads((folder / "transforms.json").read_text())["frames"]:
        if (folder / frame["file_path"]).exists():
            m = np.array(frame["transform_matrix"])
            poses[Path(frame["file_path"]).name] = from_camera_to_world(m[:3, :3] @ OPENCV_FROM_OPENGL, m[:3, 3])
    return Truth(poses, None)


def llff(folder: Path) -> Truth:
    """precomputed.json of NR-NeRF: [N, 3, 5] camera-to-world with OpenGL camera axes, in the order of the file names."""
    poses = np.array(json.loads((folder / "precomputed.json").read_text())["poses"])
    names = sorted(path.name for path in (folder / "images").iterdir())
    return Truth(
        {n: from_camera_to_world(p[:, :3] @ OPENCV_FROM_OPENGL, p[:, 3]) for n, p in zip(names, poses, strict=True)},
        None,
    )


def pose_errors(truth: Truth, names: tuple[str, ...], cam_from_world: Array) -> dict[str, float]:
    """Errors of poses [N, 4, 4] after the similarity that fits their centres to the truth.

    center_percent: RMSE of the centres in percent of the extent (the diagonal of the box around the true centres);
    center_mm: the same in millimetres where the unit is known; rotation_deg: the median angle between the rotations.
    """
    true = np.stack([truth.cam_from_world[Path(name).name] for name in names])
    a, b = se3_inverse(true)[:, :3, 3], se3_inverse(cam_from_world)[:, :3, 3]
    sim = fit_sim3(a, b)
    rmse = float(np.sqrt(((sim.apply(b) - a) ** 2).sum(1).mean()))
    extent = float(np.linalg.norm(np.ptp(a, axis=0)))
    angle = rotation_angle_deg(true[:, :3, :3] @ np.swapaxes(sim.cameras(cam_from_world)[:, :3, :3], -1, -2))
    out = {"center_percent": 100 * rmse / extent, "rotation_deg": float(np.median(angle))}
    if truth.metres_per_unit:
        out["center_mm"] = 1000 * truth.metres_per_unit * rmse
    return out
