"""Camera paths and what Python makes of them, for the page's tests: its TypeScript must find the same poses.

`python -m tests.path_cases` writes viewer/web/tests/path_cases.json; test_paths.py says when it is out of date.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from recon.files import write_json
from recon.geometry import Array, rotation_from_quat, se3, se3_inverse
from viewer.paths import CameraPath, to_json

FILE = Path(__file__).resolve().parent.parent / "viewer" / "web" / "tests" / "path_cases.json"
DIGITS = 12
"""Rounding of what is written: last bits differ between machines."""


def around(count: int, *, turn: float = 360.0, radius: float = 3.0) -> Array:
    """cam_from_world [count, 4, 4] on an arc of `turn` degrees about +Z, looking at its middle, level."""
    angle = np.radians(turn) * np.arange(count) / (count if turn == 360.0 else count - 1)
    center = np.stack([radius * np.cos(angle), radius * np.sin(angle), np.full(count, 1.0)], -1)
    forward = -center / np.linalg.norm(center, axis=1, keepdims=True)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    return se3_inverse(se3(np.stack([right, np.cross(forward, right), forward], -1), center))


def wandering(count: int, seed: int) -> Array:
    """cam_from_world [count, 4, 4]: random steps and turns, none of them by more than a right angle."""
    rng = np.random.default_rng(seed)
    quat, center = [rng.normal(size=4)], [rng.normal(size=3)]
    for _ in range(count - 1):
        step = quat[-1] / np.linalg.norm(quat[-1]) + 0.35 * rng.normal(size=4)
        quat.append(step / np.linalg.norm(step))
        center.append(center[-1] + rng.normal(size=3))
    return se3_inverse(se3(rotation_from_quat(np.array(quat)), np.array(center)))


def paths() -> dict[str, CameraPath]:
    """What can go differently in two programs: one and two keyframes, uneven times, signs of quaternions, plateaus, loops."""
    rest = np.repeat(wandering(1, 3), 4, 0)
    rest[2:, 0, 3] += 1.0
    return {
        "one keyframe": CameraPath(np.array([2.0]), wandering(1, 0), np.array([40.0])),
        "two keyframes": CameraPath(np.array([0.0, 1.5]), wandering(2, 1), np.array([40.0, 60.0])),
        "uneven times": CameraPath(
            np.array([-1.0, 0.0, 0.1, 2.0, 5.0]), wandering(5, 2), np.array([50.0, 50.0, 30.0, 80.0, 70.0])
        ),
        "rest, then a step": CameraPath(np.array([0.0, 1.0, 2.0, 3.0]), rest, np.full(4, 45.0)),
        "most of a turn": CameraPath(np.arange(5) * 0.5, around(5, turn=330.0), np.full(5, 50.0), 24.0),
        "loop, a full turn": CameraPath(np.arange(6) * 1.0, around(6), np.full(6, 50.0), 25.0, True),
        "loop, uneven": CameraPath(
            np.array([0.0, 0.5, 2.0, 3.0]), wandering(4, 5), np.array([40.0, 50, 45, 60]), 30.0, True
        ),
        "loop of two": CameraPath(np.array([1.0, 2.0]), wandering(2, 6), np.array([40.0, 50.0]), 30.0, True),
        "moments of the scene": CameraPath(
            np.arange(4) * 1.0, wandering(4, 7), np.full(4, 50.0), scene_time=np.array([np.nan, 0.5, np.nan, 3.0])
        ),
        "loop with moments": CameraPath(
            np.arange(3) * 1.0, wandering(3, 8), np.full(3, 50.0), 30.0, True, np.array([0.0, 1.0, 4.0])
        ),
    }


def case(name: str, path: CameraPath) -> dict[str, Any]:
    """A path, and poses at its keyframes, between them, at its ends and beyond."""
    end = path.time[0] + path.duration
    times = np.unique(np.round(np.concatenate([path.time, np.linspace(path.time[0] - 0.3, end + 0.3, 14)]), DIGITS))
    found = path.at(times)
    samples = [
        {
            "time": float(times[i]),
            "cam_from_world": np.round(found.cam_from_world[i].ravel(), DIGITS).tolist(),
            "vfov_deg": round(float(found.vfov_deg[i]), DIGITS),
            "scene_time": None if found.scene_time is None else round(float(found.scene_time[i]), DIGITS),
        }
        for i in range(len(times))
    ]
    return {"name": name, "duration": path.duration, "path": to_json(path), "samples": samples}


def cases() -> list[dict[str, Any]]:
    return [case(name, path) for name, path in paths().items()]


if __name__ == "__main__":
    FILE.parent.mkdir(parents=True, exist_ok=True)
    write_json(FILE, cases())
