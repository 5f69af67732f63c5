"""Recordings of depth cameras: photos, depth images, poses and intrinsics in the layouts that cameras and phones write.

    sevenscenes  frame-000000.color.png, frame-000000.depth.png, frame-000000.pose.txt (or in seq-01/ ...)
    tum          rgb.txt, depth.txt, groundtruth.txt: lists with times
    polycam      keyframes/{images, cameras, depth, confidence} (rgbd_phone.py)
    record3d     metadata and rgbd/0.jpg, 0.depth (rgbd_phone.py)

Nothing is decoded here. Poses are camera-to-world in metres. Sources: the data sets' own pages (7-Scenes, TUM RGB-D benchmark).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np

from recon.cameras import Cameras
from recon.depth_images import DepthCamera
from recon.errors import InputError
from recon.geometry import Array, World, rotation_from_quat, se3, se3_inverse

SAME_TIME = 0.02
"""Seconds that a photo and its depth image or pose may lie apart (as the TUM benchmark's own tool has it)."""
TUM_UNIT = 1 / 5000
"""Metres in a unit of the TUM benchmark's depth images."""
KINECT_COLOUR, KINECT_DEPTH = 525.0, 585.0
"""Focal lengths in pixels of a 640x480 image, of the two cameras of a Kinect where nothing else is said."""
KINECT_SHIFT = (-0.025, 0.0, 0.0)
"""Where its depth camera stands in the frame of its colour camera, metres."""
FREIBURG: dict[str, tuple[float, ...]] = {
    "freiburg1": (517.3, 516.5, 318.6, 255.3, 0.2624, -0.9531, -0.0054, 0.0026, 1.1633),
    "freiburg2": (520.9, 521.0, 325.1, 249.7, 0.2312, -0.7849, -0.0033, -0.0001, 0.9172),
    "freiburg3": (535.4, 539.2, 320.1, 247.6),
}
"""The TUM benchmark's calibrations of its colour cameras: fx, fy, cx, cy (pixel centres at 0), k1, k2, p1, p2, k3."""
_SEVEN = re.compile(r"frame-\d+\.color\.(png|jpe?g)$", re.IGNORECASE)


@dataclass(frozen=True)
class Lens:
    """Intrinsics of a photo."""

    K: tuple[float, float, float, float]
    """fx, fy, cx, cy in pixels, centres at +0.5."""
    size: tuple[int, int]
    """(width, height) of the photo that they hold for."""
    distortion: tuple[float, ...] = ()
    """OpenCV's k1 k2 p1 p2 k3; () for none."""


@dataclass(frozen=True)
class RgbdFrame:
    """One photo and what was recorded with it."""

    name: str
    """Below Recording.root."""
    depth: Path | None = None
    confidence: Path | None = None
    cam_from_world: Array | None = None
    """f64[4, 4], OpenCV camera frame, metres; None where the recording has no pose."""
    lens: Lens | None = None
    reason: str = ""
    """Why its pose cannot be used; "" when it can, or there is none."""


@dataclass(frozen=True)
class Recording:
    """What a depth camera recorded."""

    kind: str
    root: Path
    frames: tuple[RgbdFrame, ...]
    """In the order of their times."""
    camera: DepthCamera
    world: World
    """Of the poses."""
    files: tuple[Path, ...]
    """What was read besides photos and depth images."""
    notes: tuple[str, ...] = ()
    """What the user may want to know."""
    video: bool = False
    """Whether the photos are frames of a video, most of which add nothing."""
    missing: tuple[str, ...] = field(default=())
    """Photos that are listed and do not exist."""

    def thinned(self, most: int) -> Recording:
        """At most so many frames of a video, evenly chosen."""
        if not self.video or len(self.frames) <= most:
            return self
        rows = np.unique(np.linspace(0, len(self.frames) - 1, most).round().astype(int))
        note = f"{len(rows)} of {len(self.frames)} frames used, evenly chosen (--frames)."
        return Recording(
            self.kind, self.root, tuple(self.frames[i] for i in rows), self.camera, self.world, self.files,
            (*self.notes, note), self.video, self.missing,
        )  # fmt: skip


def find_recording(base: Path) -> str:
    """The layout of a folder, or "" when it is none that a depth camera writes."""
    from recon.rgbd_phone import polycam_folder, record3d_metadata

    if (base / "rgb.txt").is_file() and (base / "depth.txt").is_file():
        return "tum"
    if polycam_folder(base):
        return "polycam"
    if record3d_metadata(base):
        return "record3d"
    return "sevenscenes" if next(_seven_photos(base), None) else ""


def read_recording(base: Path) -> Recording:
    """Read a folder that find_recording() knows. Raises InputError when its lists or cameras cannot be read."""
    from recon.rgbd_phone import read_polycam, read_record3d

    readers = {"tum": read_tum, "polycam": read_polycam, "record3d": read_record3d, "sevenscenes": read_sevenscenes}
    return readers[find_recording(base)](base)


def _seven_photos(base: Path) -> Iterator[Path]:
    """Photos of the 7-Scenes layout that have a depth image."""
    folders = [base, *sorted(p for p in base.glob("seq-*") if p.is_dir())] if base.is_dir() else []
    for folder in folders:
        for path in sorted(folder.glob("frame-*.color.*")):
            if _SEVEN.search(path.name) and _seven_file(path, "depth.png").is_file():
                yield path


def _seven_file(photo: Path, end: str) -> Path:
    return photo.with_name(photo.name.split(".")[0] + "." + end)


def read_sevenscenes(base: Path) -> Recording:
    """7-Scenes (Shotton et al., CVPR 2013): poses of the depth camera, whose images are not registered to the photos.

    Its focal length is 585 pixels unless camera-intrinsics.txt [3, 3] says otherwise, the colour camera's 525, and the two stand
    25 mm apart: the Kinect's nominal numbers, with which edges of depth lie on edges of colour.
    """
    frames, files = [], []
    intrinsics = base / "camera-intrinsics.txt"
    k = np.array([[KINECT_DEPTH, 0, 320], [0, KINECT_DEPTH, 240], [0, 0, 1]])
    if intrinsics.is_file():
        k = _matrix(intrinsics, (3, 3))
        files.append(intrinsics)
    lens = Lens((KINECT_COLOUR, KINECT_COLOUR, 320.0, 240.0), (640, 480))
    photo_from_depth = se3(np.eye(3), np.array(KINECT_SHIFT))
    for photo in _seven_photos(base):
        name, pose_file = photo.relative_to(base).as_posix(), _seven_file(photo, "pose.txt")
        pose, reason = None, ""
        if pose_file.is_file():
            files.append(pose_file)
            try:
                pose = photo_from_depth @ rigid(_matrix(pose_file, (4, 4)))
            except (ValueError, InputError) as error:
                reason = f"its pose cannot be used: {error}"
        frames.append(RgbdFrame(name, _seven_file(photo, "depth.png"), None, pose, lens, reason))
    camera = DepthCamera(K=(k[0, 0], k[1, 1], k[0, 2], k[1, 2]), shift=KINECT_SHIFT)
    world = World("metric")
    note = f"Depth images are not registered to these photos: a Kinect's focal lengths are taken, {KINECT_COLOUR:.0f} (photos) "
    note += f"and {k[0, 0]:.0f} (depth) pixels, its cameras {-1000 * KINECT_SHIFT[0]:.0f} mm apart."
    return Recording("sevenscenes", base, tuple(frames), camera, world, tuple(files), (note,), True)


def read_tum(base: Path) -> Recording:
    """TUM RGB-D benchmark (Sturm et al., IROS 2012) and what is written like it: depth registered to the photos.

    Intrinsics: calibration.txt (fx fy cx cy), or those of the benchmark's cameras where the folder's name tells which.
    """
    lists = {kind: base / f"{kind}.txt" for kind in ("rgb", "depth", "groundtruth")}
    photos, depths = _listed(lists["rgb"]), _listed(lists["depth"])
    files = [lists["rgb"], lists["depth"]]
    poses: list[tuple[float, list[str]]] = []
    if lists["groundtruth"].is_file():
        poses = [(t, words) for t, words in _listed(lists["groundtruth"]) if len(words) >= 7]
        files.append(lists["groundtruth"])
    near_depth = nearest([t for t, _ in photos], [t for t, _ in depths])
    near_pose = nearest([t for t, _ in photos], [t for t, _ in poses])
    lens, note, calibration = _tum_lens(base)
    frames, missing = [], []
    for (_, words), i, j in zip(photos, near_depth, near_pose, strict=True):
        name = _below(lists["rgb"], words[0])
        if not (base / name).is_file():
            missing.append(name)
            continue
        depth = base / _below(lists["depth"], depths[i][1][0]) if i >= 0 else None
        pose, reason = None, "it has no pose within 0.02 s" if poses else ""
        if j >= 0:
            try:
                pose, reason = pose_of(poses[j][1][3:7], poses[j][1][:3]), ""
            except ValueError as error:
                reason = f"its pose cannot be used: {error}"
        found = depth if depth is not None and depth.is_file() else None
        frames.append(RgbdFrame(name, found, None, pose, lens, reason))
    camera, world = DepthCamera(unit=TUM_UNIT), World("metric", "estimated")
    notes = (note,) if note else ()
    return Recording("tum", base, tuple(frames), camera, world, (*files, *calibration), notes, True, tuple(missing))


def _below(listed: Path, name: str) -> str:
    """A name that a list gives, with forward slashes. Raises InputError when it leads out of the list's folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or PureWindowsPath(name).drive or ".." in path.parts:
        raise InputError(f"{listed} names {name}, which is not below its folder. Write paths relative to that folder.")
    return name.replace("\\", "/")


def _tum_lens(base: Path) -> tuple[Lens, str, list[Path]]:
    """The photos' intrinsics, a note where they are guessed, and the file they come from."""
    path, size = base / "calibration.txt", (640, 480)
    if path.is_file():
        k = _matrix(path, (-1,))
        if len(k) != 4:
            raise InputError(f"{path} has {len(k)} numbers; expected fx fy cx cy. Mend it or take it away.")
        fx, fy, cx, cy = (float(v) for v in k)
        return Lens((fx, fy, cx + 0.5, cy + 0.5), (0, 0)), "", [path]  # (0, 0): of the photos' own size
    for word, (fx, fy, cx, cy, *bend) in FREIBURG.items():
        if word in base.name:
            return Lens((fx, fy, cx + 0.5, cy + 0.5), size, tuple(bend)), "", []
    note = (
        f"No intrinsics: {path.name} (fx fy cx cy) is not there, and a Kinect's {KINECT_COLOUR:.0f} pixels are taken."
    )
    return Lens((KINECT_COLOUR, KINECT_COLOUR, 320.0, 240.0), size), note, []


def _listed(path: Path) -> list[tuple[float, list[str]]]:
    """(time, the other words) of each line, by time. Raises InputError when a line has no time, or nothing else."""
    rows = []
    for number, line in enumerate(_text(path).splitlines(), 1):
        words = line.replace(",", " ").split()
        if not words or words[0].startswith("#"):
            continue
        try:
            rows.append((float(words[0]), words[1:]))
        except ValueError:
            words = words[:1]
        if len(words) < 2:
            raise InputError(
                f"{path}, line {number}: expected a time and what was recorded then, found {line.strip()[:60]!r}."
            )
    return sorted(rows, key=lambda row: row[0])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}). Mend it, or name another folder.") from error


def _matrix(path: Path, shape: tuple[int, ...]) -> Array:
    """Numbers of a text file. Raises InputError when they are not as many as expected."""
    try:
        return np.array(_text(path).split(), np.float64).reshape(shape)
    except ValueError as error:
        raise InputError(f"{path} does not hold {'x'.join(map(str, shape))} numbers. Mend it.") from error


def nearest(times: Sequence[float], others: Sequence[float]) -> list[int]:
    """For each time the row of the nearest of `others` (ascending) within SAME_TIME, or -1."""
    if not others:
        return [-1] * len(times)
    at = np.asarray(others)
    after = np.searchsorted(at, times).clip(0, len(at) - 1)
    before = (after - 1).clip(0)
    best = np.where(np.abs(at[before] - times) <= np.abs(at[after] - times), before, after)
    return np.where(np.abs(at[best] - times) <= SAME_TIME, best, -1).tolist()


def pose_of(xyzw: Sequence[str | float], position: Sequence[str | float], turn: Array | None = None) -> Array:
    """cam_from_world [4, 4] from the camera's orientation (x, y, z, w) and position in the world.

    turn [3, 3]: from OpenCV's camera axes to those of the pose. Raises ValueError when it is no pose.
    """
    x, y, z, w = (float(v) for v in xyzw)
    if not abs(np.linalg.norm([x, y, z, w]) - 1) < 0.01:
        raise ValueError("its quaternion is not of length 1")
    m = np.eye(4)
    m[:3, :3] = rotation_from_quat([w, x, y, z])
    m[:3, 3] = [float(v) for v in position]
    return rigid(m, turn)


def rigid(world_from_cam: Array, turn: Array | None = None) -> Array:
    """cam_from_world [4, 4] of a camera-to-world matrix, its rotation made exact. Raises ValueError when it is none."""
    m = np.asarray(world_from_cam, np.float64)
    if not np.isfinite(m).all():
        raise ValueError("it is not finite")
    u, s, vt = np.linalg.svd(m[:3, :3])
    if s[2] < 0.99 or s[0] > 1.01 or np.linalg.det(m[:3, :3]) < 0:
        raise ValueError("it is no rotation with a translation")
    rotation = u @ vt if turn is None else u @ vt @ turn
    return se3_inverse(se3(rotation, m[:3, 3]))


def cameras_of(frames: Sequence[RgbdFrame], stored: Sequence[tuple[int, int]]) -> Cameras:
    """The cameras of frames that have a pose and a lens; `stored` are their photos' sizes."""
    bent = any(frame.lens and frame.lens.distortion for frame in frames)
    n = len(frames)
    k, size, distortion = np.tile(np.eye(3), (n, 1, 1)), np.ones((n, 2), np.int32), np.zeros((n, 5))
    poses = np.tile(np.eye(4), (n, 1, 1))
    for i, frame in enumerate(frames):
        assert frame.lens is not None and frame.cam_from_world is not None
        fx, fy, cx, cy = frame.lens.K
        k[i], poses[i] = [[fx, 0, cx], [0, fy, cy], [0, 0, 1]], frame.cam_from_world
        size[i] = frame.lens.size if frame.lens.size[0] else stored[i]
        distortion[i, : len(frame.lens.distortion)] = frame.lens.distortion
    return Cameras(poses, k, size, "opencv" if bent else "pinhole", distortion if bent else None)
