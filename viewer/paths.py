"""Camera paths: keyframes, the JSON that the page and the live view write, and the smooth motion between keyframes.

Between keyframes, over time: the camera's centre, coordinate by coordinate; the quaternion wxyz of world_from_cam, each
keyframe's with the sign that has a positive dot product with the one before, component by component and then normalised; and
log(tan(vfov / 2)). All three by PCHIP (Fritsch and Butland 1984, with the slopes of scipy.interpolate.PchipInterpolator): C1, and
monotone in each component between two keyframes, so that nothing overshoots. scene_time is linear.

A loop comes back to the first keyframe at the mean interval after the last one, with periodic slopes. The quaternion may come
back with the other sign (a full turn about an axis is half a turn of the quaternion): then its slopes are periodic up to that
sign.

The published page does the same in TypeScript; viewer/web/tests/path_cases.json holds paths and poses that both must agree on.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recon.cameras import Cameras
from recon.errors import InputError
from recon.files import write_json
from recon.geometry import Array, quat_from_rotation, rotation_from_quat, se3, se3_inverse
from recon.wording import value_shown
from viewer.curves import hermite, inner_slopes, pchip, same_side

VERSION = 1
MOST_BYTES = 16_000_000
"""A larger file is no camera path."""
MOST_KEYFRAMES = 20_000
"""In a file; the page reads as many."""
FPS_SPAN = (0.1, 240.0)
VFOV_SPAN = (0.5, 170.0)
"""Degrees that a picture may show from top to bottom."""
LONGEST = 86_400.0
"""Seconds between the first and the last keyframe."""
RIGID = 1e-3
"""How far R R^T of a pose in a file may be from the unit matrix: more than float32 loses, less than any eye sees."""


@dataclass(frozen=True)
class CameraPath:
    """K keyframes, K >= 1, in the order of time. Raises InputError when they are none that a camera can follow."""

    time: Array
    """f64[K], seconds, strictly rising; the first may be any."""
    cam_from_world: Array
    """f64[K, 4, 4], rigid."""
    vfov_deg: Array
    """f64[K], the picture's angle from top to bottom."""
    fps: float = 30.0
    """Pictures a second when it is filmed."""
    loop: bool = False
    """Whether the first keyframe comes again after the last one."""
    scene_time: Array | None = None
    """f64[K], the moment of the scene that each keyframe shows, seconds; NaN: none is given there. None: nowhere."""

    def __post_init__(self) -> None:
        count = len(self.time)
        shapes = {"cam_from_world": (count, 4, 4), "vfov_deg": (count,)}
        shapes |= {} if self.scene_time is None else {"scene_time": (count,)}
        for name, shape in shapes.items():
            if np.shape(getattr(self, name)) != shape:
                raise ValueError(f"{name} must be {list(shape)}, not {list(np.shape(getattr(self, name)))}")
        if problem := next(_problems(self), None):
            raise InputError(f"No camera path: {problem}.")

    def __len__(self) -> int:
        return len(self.time)

    @property
    def duration(self) -> float:
        """Seconds from the first keyframe to the end: to the last one, or in a loop to the first one again."""
        span = float(self.time[-1] - self.time[0])
        return span * len(self) / (len(self) - 1) if self.loop and len(self) > 1 else span

    def frame_times(self, fps: float | None = None) -> Array:
        """f64[F], seconds on the path's clock, evenly spread over its duration at the rate nearest to `fps` that fits.

        The last frame is the last keyframe; in a loop it is the one before the first comes again.
        """
        rate = self.fps if fps is None else fps
        steps = max(1, round(self.duration * rate)) if self.duration > 0 else 0
        if steps > 1e7:
            raise InputError(f"A film of {self.duration:g} s at {rate:g} pictures a second is too long to be rendered.")
        count = max(1, steps if self.loop else steps + 1)
        return self.time[0] + self.duration * np.arange(count) / max(steps, 1)

    def retimed(self, seconds: float) -> CameraPath:
        """The same motion, spread over `seconds`."""
        factor = seconds / self.duration if self.duration > 0 else 1.0
        start = self.time[0]
        return CameraPath(
            start + (self.time - start) * factor,
            self.cam_from_world,
            self.vfov_deg,
            self.fps,
            self.loop,
            self.scene_time,
        )

    def at(self, times: ArrayLike) -> Sampled:
        """The cameras at F moments of the path's clock. Before its start and after its end a path rests, a loop goes on."""
        t = np.atleast_1d(np.asarray(times, np.float64))
        if self.loop and self.duration > 0:
            t = self.time[0] + np.mod(t - self.time[0], self.duration)
        t = np.clip(t, self.time[0], self.time[0] + self.duration)
        world_from_cam = se3_inverse(self.cam_from_world)
        half = np.log(np.tan(np.radians(self.vfov_deg) / 2))[:, None]
        center = self._between(world_from_cam[:, :3, 3], t)
        quat = self._between(same_side(quat_from_rotation(world_from_cam[:, :3, :3])), t, signed=True)
        vfov = 2 * np.degrees(np.arctan(np.exp(self._between(half, t)[:, 0])))
        pose = se3_inverse(se3(rotation_from_quat(quat), center))
        return Sampled(t, pose, vfov, self._scene_time(t))

    def _between(self, values: Array, t: Array, *, signed: bool = False) -> Array:
        """[F, D] at times t [F] of values [K, D]; `signed`: a loop may come back to minus its first value."""
        if len(self) == 1:
            return np.repeat(values, len(t), 0)
        if not self.loop:
            return pchip(self.time, values, t)
        sign = -1.0 if signed and values[-1] @ values[0] < 0 else 1.0
        step = (self.time[-1] - self.time[0]) / (len(self) - 1)
        knots = np.concatenate(
            [[self.time[0] - step], self.time, self.time[-1] + [step, step + self.time[1] - self.time[0]]]
        )
        around = np.concatenate([sign * values[-1:], values, sign * values[:2]])
        return hermite(knots[1:-1], around[1:-1], inner_slopes(knots, around), t)

    def _scene_time(self, t: Array) -> Array | None:
        """[F]; linear between the keyframes that say one, and at rest outside of them; None without any."""
        known = np.isfinite(self.scene_time) if self.scene_time is not None else np.zeros(len(self), bool)
        if self.scene_time is None or not known.any():
            return None
        knots, values = self.time[known], self.scene_time[known]
        if self.loop and known[0]:
            knots, values = np.append(knots, self.time[0] + self.duration), np.append(values, values[0])
        return np.interp(t, knots, values)


@dataclass(frozen=True)
class Sampled:
    """F moments of a path."""

    time: Array
    """f64[F], seconds on the path's clock."""
    cam_from_world: Array
    """f64[F, 4, 4]."""
    vfov_deg: Array
    """f64[F]."""
    scene_time: Array | None
    """f64[F], seconds, or None where the path does not say."""

    def __len__(self) -> int:
        return len(self.time)

    def cameras(self, size: tuple[int, int]) -> Cameras:
        """Pinhole cameras of pictures of `size` (width, height), square pixels, the axis through the middle."""
        count = len(self)
        focal = 0.5 * size[1] / np.tan(np.radians(self.vfov_deg) / 2)
        k = np.zeros((count, 3, 3))
        k[:, 0, 0] = k[:, 1, 1] = focal
        k[:, 0, 2], k[:, 1, 2], k[:, 2, 2] = size[0] / 2, size[1] / 2, 1
        sizes = np.tile(np.array(size, np.int32), (count, 1))
        return Cameras(self.cam_from_world, k, sizes, time=self.scene_time)


# The file


def read_path(path: Path) -> CameraPath:
    """Read a camera path JSON, version 1. Raises InputError that says what was expected, what was found, and what to do."""
    again = "Save the path again from the page or from `recon view`."
    try:
        with open(path, "rb") as stream:
            data = stream.read(MOST_BYTES + 1)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(
            f"{path} cannot be read ({reason}). --path takes orbit, captured, or a camera path as the page saves it (FILE.json)."
        ) from error
    if len(data) > MOST_BYTES:
        raise InputError(f"{path} is no camera path: it is larger than {MOST_BYTES // 10**6} MB. {again}")
    try:
        found = json.loads(data.decode("utf-8"), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no camera path: it is no JSON ({error}). {again}") from error
    try:
        return from_json(found)
    except InputError as error:
        raise InputError(f"{path}: {error} {again}") from error


def write_path(path: Path, camera_path: CameraPath) -> None:
    """Atomic; read_path() gives the same path back. Raises InputError for more keyframes than it reads."""
    if len(camera_path) > MOST_KEYFRAMES:
        raise InputError(_too_many(len(camera_path)))
    write_json(path, to_json(camera_path))


def to_json(path: CameraPath) -> dict[str, Any]:
    """The JSON values of a path."""
    moments = [None] * len(path) if path.scene_time is None else path.scene_time.tolist()
    keyframes = [
        {
            "time": time,
            "cam_from_world": pose.ravel().tolist(),
            "vfov_deg": vfov,
            "scene_time": None if moment is None or math.isnan(moment) else moment,
        }
        for time, pose, vfov, moment in zip(
            path.time.tolist(), path.cam_from_world, path.vfov_deg.tolist(), moments, strict=True
        )
    ]
    return {"recon_path": VERSION, "fps": path.fps, "loop": path.loop, "keyframes": keyframes}


def from_json(data: Any) -> CameraPath:
    """A path from JSON values. Raises InputError for anything that is not of version 1; keys that it does not know are let be."""
    if not isinstance(data, dict) or "recon_path" not in data:
        raise InputError('No camera path: expected an object with "recon_path": 1.')
    version = data["recon_path"]
    if type(version) is not int or version != VERSION:
        newer = " It is of a newer recon: update this one." if type(version) is int and version > VERSION else ""
        raise InputError(f'No camera path: expected "recon_path": {VERSION}, found {value_shown(version)}.{newer}')
    fps = _number(_get(data, "fps", "the path"), "fps")
    loop = _get(data, "loop", "the path")
    if type(loop) is not bool:
        raise InputError(f'No camera path: expected true or false as "loop", found {value_shown(loop)}.')
    keyframes = _get(data, "keyframes", "the path")
    if not isinstance(keyframes, list) or not keyframes:
        raise InputError('No camera path: expected a list of at least one keyframe as "keyframes".')
    if len(keyframes) > MOST_KEYFRAMES:
        raise InputError(_too_many(len(keyframes)))
    rows = [_keyframe(i, keyframe) for i, keyframe in enumerate(keyframes)]
    time, pose, vfov, moment = (np.array(column, np.float64) for column in zip(*rows, strict=True))
    return CameraPath(time, _tidy(pose), vfov, fps, loop, moment if np.isfinite(moment).any() else None)


def _too_many(count: int) -> str:
    return (
        f"No camera path: expected at most {MOST_KEYFRAMES} keyframes, found {count}. Keep every few of them: the camera moves "
        "smoothly between keyframes."
    )


def _keyframe(index: int, keyframe: Any) -> tuple[float, list[list[float]], float, float]:
    """time, cam_from_world, vfov_deg and scene_time (NaN: null) of one keyframe."""
    where = f"keyframe {index}"
    if not isinstance(keyframe, dict):
        raise InputError(f"No camera path: expected an object as {where}, found {value_shown(keyframe)}.")
    numbers = _get(keyframe, "cam_from_world", where)
    if not isinstance(numbers, list) or len(numbers) != 16:
        raise InputError(f'No camera path: expected 16 numbers as "cam_from_world" of {where}.')
    m = [_number(value, f"cam_from_world of {where}") for value in numbers]
    moment = _get(keyframe, "scene_time", where)
    return (
        _number(_get(keyframe, "time", where), f"time of {where}"),
        [m[0:4], m[4:8], m[8:12], m[12:16]],
        _number(_get(keyframe, "vfov_deg", where), f"vfov_deg of {where}"),
        math.nan if moment is None else _number(moment, f"scene_time of {where}"),
    )


def _get(data: dict[str, Any], key: str, where: str) -> Any:
    if key not in data:
        raise InputError(f'No camera path: {where} has no "{key}".')
    return data[key]


def _number(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputError(f"No camera path: expected a number as {what}, found {value_shown(value)}.")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InputError(f"No camera path: expected a finite number as {what}.")
    return number


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number")


def _tidy(pose: Array) -> Array:
    """The rotations nearest to those [K, 4, 4] that are rotations up to RIGID; others as they are, to be refused."""
    finite = np.abs(pose).max((1, 2)) < 1e9
    out = pose.copy()
    if finite.all():
        u, scale, vt = np.linalg.svd(pose[:, :3, :3])
        near = (np.abs(scale - 1).max(1) < RIGID) & (np.linalg.det(u @ vt) > 0)
        out[near, :3, :3] = (u @ vt)[near]
    return out


def _problems(path: CameraPath) -> Any:
    """What is wrong with a path, in words."""
    if len(path) == 0:
        yield "expected at least one keyframe, found none"
        return
    for name in ("time", "cam_from_world", "vfov_deg"):
        bad = ~np.isfinite(getattr(path, name).reshape(len(path), -1)).all(1)
        if bad.any():
            yield f"{name} of keyframe {int(bad.argmax())} is no finite number"
            return
    yield from _wrong_times(path)
    yield from _wrong_poses(path.cam_from_world)
    low, high = VFOV_SPAN
    wrong = (path.vfov_deg < low) | (path.vfov_deg > high)
    if wrong.any():
        i = int(wrong.argmax())
        yield f"expected a vfov_deg of {low:g} to {high:g}, found {path.vfov_deg[i]:g} in keyframe {i}"
    if not FPS_SPAN[0] <= path.fps <= FPS_SPAN[1]:
        yield f"expected fps of {FPS_SPAN[0]:g} to {FPS_SPAN[1]:g}, found {path.fps:g}"


def _wrong_times(path: CameraPath) -> Any:
    falls = np.diff(path.time) <= 0
    if falls.any():
        i = int(falls.argmax())
        yield f"expected times that rise, found {path.time[i]:g} s and then {path.time[i + 1]:g} s in keyframe {i + 1}"
    elif len(path) > 1 and (path.time[-1] - path.time[0] > LONGEST or np.abs(path.time).max() > 1e9):
        yield f"expected times within {LONGEST:g} s of the first one"
    elif len(path) > 1 and np.diff(path.time).min() < 1e-6:
        yield "expected keyframes at least a millionth of a second apart"


def _wrong_poses(pose: NDArray) -> Any:
    r = pose[:, :3, :3]
    with np.errstate(over="ignore", invalid="ignore"):
        off = np.abs(r @ np.swapaxes(r, 1, 2) - np.eye(3)).max((1, 2))
        wrong = ~(off < 4 * RIGID) | (np.abs(pose[:, 3] - [0, 0, 0, 1]).max(1) > 1e-6)
    if wrong.any():
        yield (
            f"cam_from_world of keyframe {int(wrong.argmax())} is no rigid transform: expected 16 numbers row by row, a "
            "rotation and a shift without scale"
        )
    elif (np.linalg.det(r) < 0).any():
        yield f"cam_from_world of keyframe {int((np.linalg.det(r) < 0).argmax())} is a mirror: expected a rotation"
    elif np.abs(pose[:, :3, 3]).max() > 1e9:
        yield "a camera stands further than 1e9 units away"
