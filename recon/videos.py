"""Frames of several synchronised videos: one picture a camera and moment, on a common clock.

Moments lie evenly, as far apart as the frames of the slowest video or a whole multiple of that. Each camera gives the frame that
is nearest to a moment, at its own time as its container tells it; where it has dropped that frame, it has no photo there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.errors import InputError
from recon.files import atomic_write
from recon.geometry import Array
from recon.job import Job
from recon.sync import offsets
from recon.video import JPEG_QUALITY, look_at, opened
from recon.wording import count

SAMPLES = 16
"""Frames of a video that tell whether its camera stands still."""
STILL = 0.002
"""Of the picture's longer side: what the median corner of a standing camera moves at most."""
SAME_RATE = 0.01
BLACK = 48
"""Grey level of the brightest pixel in a row of a black bar, which the codec's ringing raises."""
UNSAFE = re.compile(r"[^\w.-]+")


@dataclass(frozen=True)
class Watched:
    """What the first pass found of one video."""

    time: Array
    """f64[F], seconds of its own frames, from the first."""
    size: tuple[int, int]
    """(width, height), upright."""
    still: bool
    """Its camera stands still."""
    bars: tuple[int, int] = (0, 0)
    """Columns and rows that are black in all frames looked at, on both sides together."""

    @property
    def rate(self) -> float:
        """Frames a second, the median: dropped ones do not count."""
        return 1 / float(np.median(np.diff(self.time)))


@dataclass(frozen=True)
class Shot:
    """One photo that is to be taken from a video."""

    name: str
    """CAMERA/NUMBER.jpg; the number counts the slowest video's frames from 1 and is the same for all cameras of a moment."""
    video: int
    frame: int
    """Its position in the video."""
    moment: int
    time: float
    """Seconds on the common clock, from its first photo."""


def camera_names(videos: Sequence[Path]) -> list[str]:
    """A folder name for each video: its own without end, or cam1, cam2, ... where these are not different."""
    stems = [UNSAFE.sub("_", video.stem) for video in videos]
    return stems if len({stem.lower() for stem in stems}) == len(stems) else [f"cam{i + 1}" for i in range(len(stems))]


def watch(video: Path, job: Job) -> Watched:
    """Time stamps of every frame, and whether the camera stands still. Raises InputError when fewer than three can be decoded."""
    import cv2

    times, looks = list[float](), list[NDArray[np.uint8]]()
    brightest: Any = None
    with opened(video) as capture, job.task(f"watching {video.name}") as task:
        said, rate = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), capture.get(cv2.CAP_PROP_FPS)
        rate = rate if 1 <= rate <= 1000 else 30.0
        every = max(1, said // SAMPLES)
        while capture.grab():
            stamp = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            times.append(stamp if not times or stamp > times[-1] else times[-1] + 1 / rate)
            if (len(times) - 1) % every == 0 and (read := capture.retrieve())[0]:
                brightest = read[1] if brightest is None else np.maximum(brightest, read[1])
                looks.append(look_at(np.asarray(read[1], np.uint8))[1])
            task.advance()
    if len(times) < 3 or not looks:
        raise InputError(
            f"{video} has {count(len(times), 'frame')} that can be decoded; at least 3 are needed. Convert it anew."
        )
    stamps = np.array(times)
    height, width = brightest.shape[:2]
    return Watched(stamps - stamps[0], (width, height), stands_still(looks), black_bars(brightest.max(-1)))


def black_bars(picture: NDArray[np.uint8]) -> tuple[int, int]:
    """Columns and rows at the edges of a grey picture that are black, on both sides together."""
    found = []
    for axis in (0, 1):
        bright = np.flatnonzero(picture.max(axis) > BLACK)
        found.append(int(bright[0] + picture.shape[1 - axis] - 1 - bright[-1]) if len(bright) else 0)
    return found[0], found[1]


def stands_still(looks: Iterable[NDArray[np.uint8]]) -> bool:
    """Whether the median corner of the first grey picture stays where it was in all others; stops at the first that says no."""
    import cv2

    looks = iter(looks)
    first = next(looks)
    corners = cv2.goodFeaturesToTrack(first, maxCorners=300, qualityLevel=0.01, minDistance=7)
    if corners is None or len(corners) < 8:
        return False
    for look in looks:
        now, tracked, _ = cv2.calcOpticalFlowPyrLK(first, look, corners, corners.copy(), winSize=(15, 15), maxLevel=2)
        good = tracked.reshape(-1) == 1
        if good.mean() < 0.3:
            return False
        moved = np.linalg.norm((now - corners).reshape(-1, 2)[good], axis=1)
        if np.median(moved) > max(0.3, STILL * max(look.shape)):
            return False
    return True


def shots_of(watched: Sequence[Watched], names: Sequence[str], shift: Array, most: int) -> list[Shot]:
    """At most `most` moments that all videos cover. Raises InputError when they do not overlap."""
    start = max(float(s + w.time[0]) for w, s in zip(watched, shift, strict=True))
    end = min(float(s + w.time[-1]) for w, s in zip(watched, shift, strict=True))
    step = 1 / min(w.rate for w in watched)
    total = int((end - start) / step + 1e-3) + 1 if end >= start else 0
    if total < 3:
        raise InputError(
            f"The videos share {max(0.0, end - start):.2f} s of the common clock; at least 3 frames are needed. "
            "Check --sync, or name videos of the same time."
        )
    every, shots = -(-total // most), list[Shot]()
    for video, (w, s) in enumerate(zip(watched, shift, strict=True)):
        clock, last = w.time + s, -1
        for moment, number in enumerate(range(0, total, every)):
            at = start + number * step
            right = int(np.clip(np.searchsorted(clock, at), 1, len(clock) - 1))
            frame = right if clock[right] - at < at - clock[right - 1] else right - 1
            if abs(clock[frame] - at) > 0.51 * step or frame == last:
                continue
            last = frame
            shots.append(Shot(f"{names[video]}/{number + 1:06d}.jpg", video, frame, moment, float(clock[frame])))
    first = min(shot.time for shot in shots)
    shots = [Shot(s.name, s.video, s.frame, s.moment, round(s.time - first, 6)) for s in shots]
    return sorted(shots, key=lambda shot: shot.name)


def take(videos: Sequence[Path], sync: str, most: int, folder: Path, job: Job) -> tuple[list[Shot], list[Watched]]:
    """Choose the moments, write their frames to `folder` as JPEG (those there already are kept), and say what was found."""
    watched = [watch(video, job) for video in videos]
    shift, said = offsets(sync, videos, [w.rate for w in watched])
    job.say(f"Common clock of {len(videos)} videos: {said}.")
    shots = shots_of(watched, camera_names(videos), shift, most)
    _remark(videos, watched, shots, job)
    wanted = {shot.name for shot in shots}
    for stale in folder.rglob("*.jpg"):
        if stale.relative_to(folder).as_posix() not in wanted:
            stale.unlink()
    for row, video in enumerate(videos):
        _write(video, folder, {shot.frame: shot.name for shot in shots if shot.video == row}, job)
    return shots, watched


def _remark(videos: Sequence[Path], watched: Sequence[Watched], shots: Sequence[Shot], job: Job) -> None:
    rates, moments = [w.rate for w in watched], len({shot.moment for shot in shots})
    if max(rates) > min(rates) * (1 + SAME_RATE):
        told = ", ".join(f"{video.name} {rate:.4g}" for video, rate in zip(videos, rates, strict=True))
        job.say(f"The videos have different frame rates ({told} a second): frames are matched by their times.")
    for row, video in enumerate(videos):
        gap = np.diff(watched[row].time)
        dropped = int(np.round(gap * rates[row] - 1).clip(0).sum())
        lacks = moments - sum(shot.video == row for shot in shots)
        if dropped:
            job.warn(
                f"{video.name} has dropped {count(dropped, 'frame')}; the times of its container count, and {lacks} of "
                f"{count(moments, 'moment')} lack its photo."
            )
    still = [video.name for video, w in zip(videos, watched, strict=True) if w.still]
    job.say(f"{count(moments, 'moment')} of {len(videos)} cameras, {len(still)} of which stand still.")
    job.metrics |= {
        "videos": len(videos),
        "moments": moments,
        "still_cameras": len(still),
        "frame_rates": [round(r, 4) for r in rates],
    }


def _write(video: Path, folder: Path, wanted: dict[int, str], job: Job) -> None:
    import cv2

    wanted = {frame: name for frame, name in wanted.items() if not (folder / name).is_file()}
    settings = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    settings += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    if not wanted:
        return
    with opened(video) as capture, job.task(f"writing frames of {video.name}", total=max(wanted) + 1) as task:
        for index in range(max(wanted) + 1):
            if not capture.grab():
                raise InputError(f"{video} changed while it was read. Run the same command again.")
            task.advance()
            if index not in wanted:
                continue
            _, frame = capture.retrieve()
            _, data = cv2.imencode(".jpg", frame, settings)
            (folder / wanted[index]).parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(folder / wanted[index]) as stream:
                stream.write(data.tobytes())
