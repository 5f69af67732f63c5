"""transforms.json of nerfstudio and instant-ngp, and Blender's transforms_train / transforms_test: frames with given poses.

Their camera frame is OpenGL's (+X right, +Y up, +Z backward); it is turned into OpenCV's here and nowhere else. Their world is
kept as it is: nerfstudio's applied_transform and instant-ngp's scale and offset are not undone, and +Z is up by convention,
which nobody has measured. Pixel coordinates have their origin at the corner of the first pixel, as ours.
Sources: docs.nerf.studio/quickstart/data_conventions.html, and the data sets of NeRF (Mildenhall et al., ECCV 2020).
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recon.cameras import CameraModel, Cameras
from recon.errors import InputError
from recon.geometry import Array, se3, se3_inverse

MODELS: dict[str, CameraModel] = {
    "PINHOLE": "pinhole",
    "SIMPLE_PINHOLE": "pinhole",
    "PERSPECTIVE": "pinhole",
    "SIMPLE_RADIAL": "opencv",
    "RADIAL": "opencv",
    "OPENCV": "opencv",
    "FULL_OPENCV": "opencv",
    "FISHEYE": "fisheye",
    "OPENCV_FISHEYE": "fisheye",
}
DISTORTION: dict[CameraModel, tuple[str, ...]] = {
    "pinhole": (),
    "opencv": ("k1", "k2", "p1", "p2", "k3"),
    "fisheye": ("k1", "k2", "k3", "k4"),
}
NUMBERS = ("w", "h", "fl_x", "fl_y", "cx", "cy", "camera_angle_x", "camera_angle_y", "k1", "k2", "k3", "k4", "p1", "p2")
ENDS = ("", ".png", ".jpg", ".jpeg", ".JPG", ".PNG")
"""Tried in this order on a file_path."""


@dataclass(frozen=True)
class Frame:
    """One frame whose photo exists and whose pose is sound."""

    name: str
    """Below Transforms.root."""
    path: Path
    cam_from_world: Array
    """f64[4, 4], OpenCV camera frame."""
    model: str
    """A key of MODELS, or what else the file says."""
    numbers: dict[str, float]
    """Those of NUMBERS that the frame, or the file for all frames, gives."""
    mask: Path | None = None
    time: float | None = None
    """Seconds, as the file says: `time`, which D-NeRF's data sets count from 0 to 1 over the whole capture."""
    depth: Path | None = None
    """Its depth image, of whole numbers in Transforms.depth_unit or of fractions in metres."""


@dataclass(frozen=True)
class Transforms:
    """What one data set's files say."""

    root: Path
    frames: tuple[Frame, ...]
    """In code-point order of the names."""
    missing: tuple[str, ...]
    """file_path of frames without a photo file."""
    skipped: dict[str, str]
    """file_path -> what is wrong with its frame."""
    split: dict[str, str] | None
    """Photo name -> "train" or "test" where the data set has its own split."""
    protocol: str
    """Where the split comes from, in words."""
    files: tuple[Path, ...]
    """What was read, and the points if there are any."""
    points: Path | None
    """A PLY of sparse points in the same world, or None."""
    ignored: int = 0
    """Frames that are only for validation."""
    depth_unit: float = 0.001
    """Metres (of the poses) in a unit of depth images: depth_unit_scale_factor, 0.001 as in nerfstudio where it is not given."""


def read_transforms(path: Path) -> Transforms:
    """Read transforms.json, or transforms_train.json together with the transforms_test.json beside it.

    Raises InputError for a file that is no transforms.json. Frames that cannot be used are in `missing` and `skipped`.
    """
    test = path.with_name("transforms_test.json")
    paired = path.name == "transforms_train.json" and test.is_file()
    files = (path, test) if paired else (path,)
    entries = [(file, entry) for file in files for entry in _frames(file)]
    heads = {file: load(file) for file in files}
    folder, parsed, missing, skipped = path.parent, [], [], dict[str, str]()
    for file, entry in entries:
        label = str(entry.get("file_path", "") if isinstance(entry, dict) else "") or f"a frame of {file.name}"
        try:
            photo = _photo(folder, entry)
            if photo is None:
                missing.append(label)
                continue
            parsed.append((file, entry, photo, pose_of(entry.get("transform_matrix")), numbers_of(heads[file], entry)))
        except ValueError as error:
            skipped[label] = str(error)
    root = _root(folder, [photo for _, _, photo, _, _ in parsed])
    frames, split = dict[str, Frame](), dict[str, str]()
    for file, entry, photo, pose, numbers in parsed:
        name = Path(os.path.relpath(photo, root)).as_posix()
        if name in frames:
            skipped.setdefault(f"{name} (again)", "its photo is listed twice; the first frame counts")
            continue
        mask = folder / str(entry["mask_path"]) if entry.get("mask_path") else None
        depth = folder / str(entry["depth_file_path"]) if entry.get("depth_file_path") else None
        when = entry.get("time")
        timed = float(when) if isinstance(when, (int, float)) and math.isfinite(when) else None
        frames[name] = Frame(name, photo, pose, model_of(heads[file], entry), numbers, mask, timed, depth)
        split[name] = "test" if paired and file == test else "train"
    protocol = "the data set's own split (transforms_test.json)"
    ignored = 0
    if not paired:
        split, protocol = _listed_split(heads[path], frames, folder, root)
        ignored = len(frames) - len(split) if split else 0
    points = heads[path].get("ply_file_path")
    ply = folder / str(points) if points and (folder / str(points)).is_file() else None
    kept = tuple(frames[name] for name in sorted(frames) if not split or name in split)
    files = (*files, ply) if ply else files
    unit = _depth_unit(heads[path], path)
    return Transforms(root, kept, tuple(missing), skipped, split or None, protocol, files, ply, ignored, unit)


def _depth_unit(head: dict[str, Any], path: Path) -> float:
    unit = head.get("depth_unit_scale_factor", 0.001)
    if not isinstance(unit, (int, float)) or not 0 < unit < math.inf:
        raise InputError(f"{path}: depth_unit_scale_factor is {unit!r}, not a number above 0. Mend it.")
    return float(unit)


def load(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}). Mend it, or use --poses ignore on its folder.") from error
    if not isinstance(data, dict) or not isinstance(data.get("frames"), list):
        raise InputError(
            f'{path} is no transforms.json: expected an object with a list "frames". Mend it, or use --poses ignore on its '
            "folder."
        )
    return data


def _frames(path: Path) -> list[Any]:
    return load(path)["frames"]


def _photo(folder: Path, entry: Any) -> Path | None:
    """The frame's photo file, or None when it does not exist."""
    if not isinstance(entry, dict) or not isinstance(entry.get("file_path"), str) or not entry["file_path"]:
        raise ValueError("it has no file_path")
    base = folder / entry["file_path"].replace("\\", "/")
    for end in ENDS:
        candidate = base.with_name(base.name + end)
        if candidate.is_file():
            return Path(os.path.normpath(candidate))
    return None


def _root(folder: Path, photos: Sequence[Path]) -> Path:
    """The data set's folder, or the folder above all photos where some lie outside it."""
    if all(photo.is_relative_to(folder) for photo in photos):
        return folder
    return Path(os.path.commonpath([photo.parent for photo in photos]))


def pose_of(matrix: Any) -> Array:
    """cam_from_world (OpenCV) from a transform_matrix, world_from_cam (OpenGL). Raises ValueError saying what is wrong."""
    try:
        m = np.array(matrix, np.float64)
    except (TypeError, ValueError):
        raise ValueError("its transform_matrix is no matrix of numbers") from None
    if m.shape not in ((4, 4), (3, 4)):
        raise ValueError(f"its transform_matrix is of shape {list(m.shape)}, not [4, 4]")
    if not np.isfinite(m).all():
        raise ValueError("its transform_matrix is not finite")
    if m.shape == (4, 4) and not np.allclose(m[3], [0, 0, 0, 1], atol=1e-6):
        raise ValueError("the last row of its transform_matrix is not 0 0 0 1")
    u, s, vt = np.linalg.svd(m[:3, :3])
    if s[0] <= 0 or s[2] < 0.99 * s[0] or np.linalg.det(m[:3, :3]) < 0:
        raise ValueError("its transform_matrix is no rotation with a translation")
    opencv = (u @ vt) * [1, -1, -1]  # columns: the camera's axes; +Y down, +Z forward
    return se3_inverse(se3(opencv, m[:3, 3]))


def numbers_of(head: dict[str, Any], entry: dict[str, Any]) -> dict[str, float]:
    """The intrinsics that hold for a frame: its own before the file's."""
    found = {}
    for key in NUMBERS:
        value = entry.get(key, head.get(key))
        if value is None:
            continue
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ValueError(f"its {key} is {value!r}, not a finite number")
        found[key] = float(value)
    return found


def model_of(head: dict[str, Any], entry: dict[str, Any]) -> str:
    name = entry.get("camera_model", head.get("camera_model"))
    if isinstance(name, str) and name:
        return name.upper()
    return "OPENCV_FISHEYE" if entry.get("is_fisheye", head.get("is_fisheye")) else "OPENCV"


def _listed_split(
    head: dict[str, Any], frames: dict[str, Frame], folder: Path, root: Path
) -> tuple[dict[str, str], str]:
    """nerfstudio's train_filenames and test_filenames, or nothing. val_filenames are neither."""
    if not isinstance(head.get("test_filenames"), list) or not isinstance(head.get("train_filenames"), list):
        return {}, ""
    split = {}
    for kind in ("train", "test"):
        for file in head[f"{kind}_filenames"]:
            path = os.path.normpath(folder / str(file).replace("\\", "/"))
            name = Path(os.path.relpath(path, root)).as_posix()
            if name in frames:
                split[name] = kind
    return split, "the data set's own split (train_filenames, test_filenames)"


def cameras_of(frames: Sequence[Frame], stored_sizes: Sequence[tuple[int, int]]) -> tuple[Cameras, dict[str, str]]:
    """The frames' cameras, and what is wrong with the intrinsics of some (photo name -> reason; their rows are placeholders).

    A frame that gives no size takes its photo's. Raises InputError for camera models that recon does not know, or a mix.
    """
    kinds = {frame.model for frame in frames}
    if unknown := sorted(kinds - MODELS.keys()):
        raise InputError(
            f"The camera model {unknown[0]} is not supported; supported are {', '.join(MODELS)}. "
            "Undistort the photos first, or use --poses ignore."
        )
    ours = {MODELS[kind] for kind in kinds}
    if "fisheye" in ours and len(ours) > 1:
        raise InputError(
            "The data set mixes fisheye and other cameras, which recon does not support in one capture. Split it by camera."
        )
    bent = any(frame.numbers.get(key) for frame in frames for key in DISTORTION["opencv"])
    model: CameraModel = "fisheye" if "fisheye" in ours else "opencv" if bent and "opencv" in ours else "pinhole"
    n, reasons = len(frames), dict[str, str]()
    k = np.broadcast_to(np.eye(3), (n, 3, 3)).copy()
    size = np.ones((n, 2), np.int32)
    for i, (frame, stored) in enumerate(zip(frames, stored_sizes, strict=True)):
        try:
            k[i], size[i] = _intrinsics(frame, model, stored)
        except ValueError as error:
            reasons[frame.name] = str(error)
    names = DISTORTION[model]
    distortion = np.array([[frame.numbers.get(name, 0.0) for name in names] for frame in frames]).reshape(n, len(names))
    if model == "opencv" and not distortion[:, 4].any():
        distortion = distortion[:, :4]
    poses = np.array([frame.cam_from_world for frame in frames]).reshape(n, 4, 4)
    return Cameras(poses, k, size, model, distortion if names else None), reasons


def _intrinsics(frame: Frame, model: CameraModel, stored: tuple[int, int]) -> tuple[Array, tuple[int, int]]:
    """K and size of one frame. Raises ValueError saying what is wrong with them."""
    number = frame.numbers
    width, height = round(number.get("w", stored[0])), round(number.get("h", stored[1]))
    if not (0 < width < 2**31 and 0 < height < 2**31):
        raise ValueError(f"its camera is {width}x{height} pixels")
    fx = number.get("fl_x") or _focal(width, number.get("camera_angle_x"))
    fy = number.get("fl_y") or _focal(height, number.get("camera_angle_y")) or fx
    fx = fx or fy
    if not fx or not fy or fx <= 0 or fy <= 0:
        raise ValueError("it has neither a focal length (fl_x) nor a field of view (camera_angle_x) above 0")
    if model == "opencv" and number.get("k4"):
        raise ValueError("its k4 belongs to a polynomial that OpenCV's camera model does not have")
    return np.array([[fx, 0, number.get("cx", width / 2)], [0, fy, number.get("cy", height / 2)], [0, 0, 1]]), (
        width,
        height,
    )


def _focal(length: int, angle: float | None) -> float:
    """Pixels from a field of view in radians; 0 when there is none."""
    return 0.5 * length / math.tan(0.5 * angle) if angle and 0 < angle < math.pi else 0.0
