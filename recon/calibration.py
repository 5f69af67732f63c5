"""Calibrated cameras from a file, for videos: Qualisys' XML (*.qca.txt), or a transforms.json with one frame a camera.

Qualisys (QTM's calibration export): lengths in millimetres; intrinsics in 1/64 pixel, whole numbers at pixel centres; the rows
r1, r2, r3 of a camera's `transform` are its axes in the world (right, up, backward), x y z its place; distortion k1 k2 p1 p2 k3
as OpenCV's. The world is +Z up. A camera is called by its `serial`, a frame by its file_path without end: as the video is.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from recon.cameras import Cameras
from recon.errors import InputError
from recon.geometry import World, se3
from recon.transforms_json import Frame, cameras_of, load, model_of, numbers_of, pose_of
from recon.wording import some

CALIBRATION_ENDS = (".qca.txt", ".qca", ".xml", ".json")
SUBPIXELS = 64.0
MILLIMETRES = 0.001
ENTITY = b"<!ENTITY"
CROPPED = 16
"""Pixels that a codec may have cut from the right or the bottom (macroblocks): the camera stays as it is."""
BAR_SLACK = 3
"""Pixels that black bars may be wider or narrower than expected, as their edges are blurred."""
SAME_SHAPE = 0.001
"""Relative difference of aspect ratios up to which a video is its camera's picture, resized."""


def is_calibration(path: Path) -> bool:
    """Whether a file's name says that it may hold calibrated cameras."""
    return path.name.lower().endswith(CALIBRATION_ENDS)


def calibrated(
    path: Path, stems: Sequence[str], sizes: Sequence[tuple[int, int]], bars: Sequence[tuple[int, int]]
) -> tuple[Cameras, World]:
    """Cameras of the videos called `stems`, whose frames are `sizes` (width, height), and what is known of their world.

    `bars`: how many columns and rows of a video are black margins, on both sides together.

    Raises InputError where the file cannot be read, or lacks a camera.
    """
    if path.suffix.lower() == ".json":
        cameras, found = _from_transforms(path, sizes, stems), World(up="estimated")
    else:
        cameras, found = _from_qualisys(path, stems), World(up="estimated", scale="metric")
    return _fitted(cameras, sizes, bars, stems, path), found


def _row_of(stem: str, names: Mapping[str, object] | Sequence[str], path: Path) -> str:
    """The name of the camera that took a video."""
    hits = [name for name in names if name.lower() == stem.lower()]
    if len(hits) != 1:
        raise InputError(
            f"{path} has no camera called {stem}; it has {some(names, 12)}. Name each video after its camera (cam1.mp4 for cam1)."
        )
    return hits[0]


def _from_qualisys(path: Path, stems: Sequence[str]) -> Cameras:
    known = _qualisys(path)
    rows = [known[_row_of(stem, known, path)] for stem in stems]
    pose, k, size, bent = (np.stack([row[i] for row in rows]) for i in range(4))
    return Cameras(pose, k, size.astype(np.int32), "opencv", bent)


def _qualisys(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """cam_from_world [4, 4] in metres, K [3, 3], size [2] and distortion [5] of each camera, by its serial."""
    try:
        data = path.read_bytes()
        if ENTITY in data:
            raise ValueError("it defines entities")
        root = ElementTree.fromstring(data)
        cameras = {}
        for camera in root.iter("camera"):
            place, lens, view = camera.find("transform"), camera.find("intrinsic"), camera.find("fov_video")
            if place is None or lens is None or view is None:
                raise ValueError(f"camera {camera.get('serial')} lacks transform, intrinsic or fov_video")
            axes = np.array([[float(place.attrib[f"r{i}{j}"]) for j in (1, 2, 3)] for i in (1, 2, 3)])
            rotation = np.diag([1.0, -1.0, -1.0]) @ axes
            at = MILLIMETRES * np.array([float(place.attrib[axis]) for axis in "xyz"])
            fx, fy, cx, cy = (
                float(lens.attrib[name]) / SUBPIXELS
                for name in ("focalLengthU", "focalLengthV", "centerPointU", "centerPointV")
            )
            left, top, right, bottom = (float(view.attrib[side]) for side in ("left", "top", "right", "bottom"))
            k = np.array([[fx, 0, cx + 0.5 - left], [0, fy, cy + 0.5 - top], [0, 0, 1]])
            names = ("radialDistortion1", "radialDistortion2", "tangentalDistortion1", "tangentalDistortion2")
            bent = np.array([float(lens.attrib[name]) for name in (*names, "radialDistortion3")])
            u, _, vt = np.linalg.svd(rotation)
            size = np.array([right - left + 1, bottom - top + 1])
            cameras[camera.attrib["serial"]] = se3(u @ vt, -(u @ vt) @ at), k, size, bent
    except (OSError, ElementTree.ParseError, KeyError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read as a Qualisys calibration ({error}). Mend it or leave it out."
        ) from error
    if not cameras:
        raise InputError(f"{path} holds no camera. Expected a Qualisys calibration (*.qca.txt) or a transforms.json.")
    return cameras


def _from_transforms(path: Path, sizes: Sequence[tuple[int, int]], stems: Sequence[str]) -> Cameras:
    head, frames = load(path), dict[str, Frame]()
    for entry in head["frames"]:
        try:
            name = PurePosixPath(str(entry["file_path"]).replace("\\", "/")).stem
            pose, numbers = pose_of(entry.get("transform_matrix")), numbers_of(head, entry)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"A frame of {path} cannot be used: {error}. Mend it.") from error
        frames[name] = Frame(name, path, pose, model_of(head, entry), numbers)
    chosen = [frames[_row_of(stem, frames, path)] for stem in stems]
    cameras, wrong = cameras_of(chosen, sizes)
    if wrong:
        name, reason = next(iter(wrong.items()))
        raise InputError(f"The camera {name} of {path} cannot be used: {reason}. Mend it.")
    return cameras


def _fitted(
    cameras: Cameras,
    sizes: Sequence[tuple[int, int]],
    bars: Sequence[tuple[int, int]],
    stems: Sequence[str],
    path: Path,
) -> Cameras:
    """The cameras in the videos' own pixels.

    A video of another shape than its camera's was fitted between black bars, where it has such bars, or else a codec has cut a
    few pixels off at its right and bottom.
    """
    k, wanted = cameras.K.copy(), np.array(sizes, np.int32)
    for i, (old, new) in enumerate(zip(cameras.size.astype(np.float64), wanted.astype(np.float64), strict=True)):
        cut, scale = old - new, new / old
        fit = scale.min()
        margin = new - fit * old
        if margin.max() > 2 and np.abs(margin - bars[i]).max() <= BAR_SLACK:
            k[i, :2] *= fit
            k[i, :2, 2] += margin / 2
        elif abs(scale[0] / scale[1] - 1) < SAME_SHAPE:
            k[i, :2] *= scale[:, None]
        elif not ((cut >= 0) & (cut < CROPPED)).all():
            found, expected = (f"{int(w)}x{int(h)}" for w, h in (new, old))
            raise InputError(
                f"{stems[i]} is {found} pixels, its camera in {path} {expected}. Name the calibration of this video."
            )
    return Cameras(cameras.cam_from_world, k, wanted, cameras.model, cameras.distortion)
