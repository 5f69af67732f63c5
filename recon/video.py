"""Frames from a video: sharp ones, spread evenly over the camera's motion, not over time.

A first pass measures every frame (or every few, where there are many): how sharp it is, and how far the picture has moved since
the start. A shortest path through these measurements then chooses frames that lie one step of motion apart and are sharp among
their neighbours. A second pass writes them. Motion M is counted in long sides of the picture: after M = 1 nothing of the first
frame needs to be in view any more.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.capture import MIN_PHOTOS
from recon.errors import InputError
from recon.files import atomic_write, write_json
from recon.geometry import Array
from recon.job import Job

MIN_STEP, WIDE_STEP = 0.02, 0.25
"""Motion between neighbours: never less than the first, and beyond the second we say that more frames are needed."""
NEAREST, FARTHEST = 0.4, 3.0
"""Motion between neighbours, in steps, that the choice may stretch to for the sake of sharpness."""
CANDIDATES = 12
"""Frames measured for each one wanted, at least; but never fewer than MIN_RATE a second."""
MIN_RATE = 10.0
SHARP_SIDE, FLOW_SIDE = 640, 320
"""Long sides in pixels of the copies that sharpness and motion are measured on."""
KEY_MOTION = 0.02
"""Motion after which tracking starts anew: trembling below it does not add up."""
CUT_MOTION = 0.1
"""What a loss of all tracks (a cut, a flash) counts for."""
MIN_TRACKS = 12
JPEG_QUALITY = 98
"""With full chroma resolution: 1-2 grey levels off, far below what the video's own codec has lost, at a third of a PNG."""


@dataclass(frozen=True)
class VideoFrame:
    """One chosen frame, as written."""

    name: str
    """Its index in the video, as a file name."""
    time: float
    """Seconds, from the video's time stamps."""


@dataclass(frozen=True)
class Measured:
    """What the first pass found of C candidates."""

    index: NDArray[np.int64]
    """i64[C], position in the video."""
    time: Array
    """f64[C], seconds."""
    sharpness: Array
    """f64[C], variance of the Laplacian, grey levels^2."""
    motion: Array
    """f64[C], since the start, ascending, in long sides."""


def pick_frames(video: Path, folder: Path, most: int, job: Job) -> list[VideoFrame]:
    """Choose at most `most` frames and write them to `folder` as JPEG; frames of an earlier, unfinished call are kept.

    Raises InputError for a video that cannot be read or in which the camera hardly moves.
    """
    if most < MIN_PHOTOS:
        raise InputError(f"--frames {most} is too few: at least {MIN_PHOTOS} are needed.")
    notes, state = job.scratch / "frames.json", {"bytes": video.stat().st_size, "name": video.name, "most": most}
    frames = _remembered(notes, state)
    if frames is None:
        measured = measure(video, most, job)
        chosen = choose(measured, most)
        _check(video, measured, chosen, most, job)
        frames = [VideoFrame(f"{measured.index[i]:06d}.jpg", round(float(measured.time[i]), 6)) for i in chosen]
        write_json(notes, {**state, "frames": [[f.name, f.time] for f in frames]})
    _write(video, folder, frames, job)
    return frames


def _remembered(notes: Path, state: dict[str, Any]) -> list[VideoFrame] | None:
    """The choice of an unfinished call with the same arguments."""
    if not notes.is_file():
        return None
    data = json.loads(notes.read_text(encoding="utf-8"))
    frames = [VideoFrame(*frame) for frame in data.pop("frames")]
    return frames if data == state else None


def _check(video: Path, measured: Measured, chosen: list[int], most: int, job: Job) -> None:
    """Say what is remarkable about the choice."""
    total = float(measured.motion[-1])
    if len(chosen) < MIN_PHOTOS:
        raise InputError(
            f"The camera hardly moves in {video}: only {len(chosen)} of its frames show something new, at least {MIN_PHOTOS} "
            "are needed, as how far away things are cannot be known from one place. Film while walking around the scene."
        )
    job.metrics |= {"video_frames": int(measured.index[-1]) + 1, "motion": round(total, 3), "picked": len(chosen)}
    if total / len(chosen) > WIDE_STEP:
        job.warn(
            f"{video.name} moves on by {total / len(chosen):.0%} of the picture between the {len(chosen)} frames picked, which "
            f"may be too far to match them. Try --frames {min(2000, round(total / (0.5 * WIDE_STEP)))}."
        )


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A cv2.VideoCapture that turns frames upright by the video's rotation. Raises InputError when there is none."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # what is wrong with a file is said below
    import cv2

    if not path.is_file():  # a pipe would be waited for
        raise InputError(f"{path} is no regular file; expected a video.")
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            raise _unreadable(path)
        capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        yield capture
    finally:
        capture.release()
        cv2.utils.logging.setLogLevel(level)


def _unreadable(path: Path) -> InputError:
    return InputError(
        f"{path} cannot be opened as a video: it is damaged, or of a codec that OpenCV lacks. Convert it, for example with "
        "`ffmpeg -i INPUT -c:v libx264 -crf 16 OUTPUT.mp4`."
    )


def measure(video: Path, most: int, job: Job) -> Measured:
    """The first pass. Raises InputError when no frame can be decoded."""
    import cv2

    rows, tracker = [], Tracker()
    with opened(video) as capture:
        said = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        rate = capture.get(cv2.CAP_PROP_FPS)
        rate = rate if 1 <= rate <= 1000 else 30.0
        every = max(1, min(said // (CANDIDATES * most), int(rate / MIN_RATE)))
        index, last = -1, 0.0
        with job.task(f"watching {video.name}", total=said if said > 0 else None) as task:
            while capture.grab():
                index += 1
                task.advance()
                if index % every:
                    continue
                decoded, frame = capture.retrieve()
                if not decoded or frame is None:
                    continue
                stamp = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                last = stamp if index == 0 or stamp > last else index / rate
                sharpness, small = look_at(frame)
                rows.append((index, last, sharpness, tracker.follow(small)))
    if not rows:
        raise _unreadable(video)
    if said > 0 and index + 1 < 0.95 * said:
        job.warn(
            f"Only the first {index + 1} of the {said} frames of {video.name} can be decoded: it is truncated or damaged."
        )
    table = np.array(rows, np.float64)
    motion = np.maximum.accumulate(table[:, 3])
    return Measured(table[:, 0].astype(np.int64), table[:, 1] - table[0, 1], table[:, 2], motion)


def look_at(frame: NDArray[np.uint8]) -> tuple[float, NDArray[np.uint8]]:
    """Sharpness of a BGR frame, and its grey copy of FLOW_SIDE for the Tracker."""
    import cv2

    def shrunk(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
        factor = min(1.0, side / max(image.shape[:2]))
        size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
        return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)

    grey = shrunk(np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), np.uint8), SHARP_SIDE)
    return float(cv2.Laplacian(grey, cv2.CV_32F).var()), shrunk(grey, FLOW_SIDE)


@dataclass
class Tracker:
    """How far the picture has moved: the median path of corners, counted from one key picture to the next."""

    before: NDArray[np.uint8] | None = None
    origin: Array = field(default_factory=lambda: np.zeros((0, 1, 2)))
    """Corners where the key picture had them, pixels."""
    corners: Array = field(default_factory=lambda: np.zeros((0, 1, 2)))
    """The same corners in the picture before."""
    found: int = 0
    """Corners that the key picture had."""
    at_key: float = 0.0
    """Motion of the key picture."""

    def follow(self, grey: NDArray[np.uint8]) -> float:
        """Motion of the next picture since the first, in long sides."""
        import cv2

        if self.before is None:
            self._start(grey)
            return 0.0
        moved = 0.0
        if len(self.corners):
            guess = self.corners.astype(np.float32)
            now, tracked, _ = cv2.calcOpticalFlowPyrLK(
                self.before, grey, guess, guess.copy(), winSize=(15, 15), maxLevel=3
            )
            good = tracked.reshape(-1) == 1
            self.origin, self.corners = self.origin[good], np.asarray(now, np.float64)[good]
            if good.any():
                path = np.linalg.norm(self.corners - self.origin, axis=-1)
                moved = float(np.median(path)) / max(grey.shape)
        lost = self.found >= MIN_TRACKS and len(self.corners) < MIN_TRACKS
        motion = self.at_key + (max(moved, CUT_MOTION) if lost else moved)
        if lost or moved > KEY_MOTION or len(self.corners) < 0.5 * self.found or self.found < MIN_TRACKS:
            self.at_key = motion
            self._start(grey)
        self.before = grey
        return motion

    def _start(self, grey: NDArray[np.uint8]) -> None:
        import cv2

        corners = cv2.goodFeaturesToTrack(grey, maxCorners=300, qualityLevel=0.01, minDistance=7)
        self.origin = np.zeros((0, 1, 2)) if corners is None else np.asarray(corners, np.float64).reshape(-1, 1, 2)
        self.corners, self.found, self.before = self.origin, len(self.origin), grey


def choose(measured: Measured, most: int) -> list[int]:
    """Rows of at most `most` candidates, ascending: the cheapest path from the first step of motion to the last.

    A link costs (its motion in steps - 1)^2, a frame the logarithm of how much less sharp it is than the sharp ones around
    it. Frames in which the camera rests have no motion between them, so that a path visits one of them.
    """
    motion = measured.motion
    step = max(MIN_STEP, float(motion[-1]) / max(1, most - 1))
    for _ in range(50):
        rows = _path(motion, blur_cost(measured, step), step)
        if len(rows) <= most:
            break
        step *= 1.02
    return rows[:most]


def _path(motion: Array, blur: Array, step: float) -> list[int]:
    """Rows of the cheapest path. It may begin and end up to a step from the video's ends, free of cost up to half a step."""
    cost, parent = blur + _margin(motion, step), np.full(len(motion), -1)
    for j in range(len(motion)):
        last = int(np.searchsorted(motion, motion[j] - NEAREST * step, side="right"))
        if last == 0:
            continue
        floor = min(motion[j] - FARTHEST * step, motion[last - 1] - step)  # before a jump, what lies nearest to it
        first = int(np.searchsorted(motion, floor, side="left"))
        gap = np.minimum((motion[j] - motion[first:last]) / step, FARTHEST + 1)
        total = cost[first:last] + (gap - 1) ** 2
        best = int(np.argmin(total))
        if blur[j] + total[best] < cost[j]:
            cost[j], parent[j] = blur[j] + total[best], first + best
    row, rows = int(np.argmin(cost + _margin(motion[-1] - motion, step))), []
    while row >= 0:
        rows.append(row)
        row = int(parent[row])
    return rows[::-1]


def _margin(distance: Array, step: float) -> Array:
    """What it costs to leave out `distance` at one end of the video: nothing up to half a step, infinity beyond one."""
    return np.where(distance > step, np.inf, 4 * np.maximum(0.0, distance / step - 0.5) ** 2)


def blur_cost(measured: Measured, step: float) -> Array:
    """f64[C] >= 0: log of (the greatest sharpness around a frame / its own).

    Around: within two steps of motion or one second, whichever reaches further; and at least half of the video's median, lest
    a long blurred stretch be its own measure.
    """
    sharpness = np.maximum(measured.sharpness, 1e-6)
    first = np.minimum(
        np.searchsorted(measured.motion, measured.motion - 2 * step, side="left"),
        np.searchsorted(measured.time, measured.time - 1.0, side="left"),
    )
    last = np.maximum(
        np.searchsorted(measured.motion, measured.motion + 2 * step, side="right"),
        np.searchsorted(measured.time, measured.time + 1.0, side="right"),
    )
    around = np.array([sharpness[a:b].max() for a, b in zip(first, last, strict=True)])
    around = np.maximum(around, 0.5 * np.median(sharpness))
    return np.maximum(0.0, np.log(around / sharpness))


def _write(video: Path, folder: Path, frames: list[VideoFrame], job: Job) -> None:
    """The second pass: each chosen frame as a JPEG, whole or not at all."""
    import cv2

    folder.mkdir(parents=True, exist_ok=True)
    names = {frame.name for frame in frames}
    for stale in folder.iterdir():
        if stale.name not in names:
            stale.unlink()
    wanted = {int(Path(name).stem) for name in names if not (folder / name).is_file()}
    if not wanted:
        return
    settings = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    settings += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    with opened(video) as capture, job.task(f"writing frames of {video.name}", total=max(wanted) + 1) as task:
        for index in range(max(wanted) + 1):
            if not capture.grab():
                raise InputError(f"{video} changed while it was read. Run the same command again.")
            task.advance()
            if index not in wanted:
                continue
            _, frame = capture.retrieve()
            _, data = cv2.imencode(".jpg", frame, settings)
            with atomic_write(folder / f"{index:06d}.jpg") as stream:
                stream.write(data.tobytes())
