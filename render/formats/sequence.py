"""A scene that moves as files: one .gs4d, or one file of splats a frame, and how large each way is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from recon.errors import InputError
from recon.job import Progress
from recon.wording import count
from render.formats import WRITERS
from render.formats.moving import Motion, Moving, frame_times, write_moving
from render.formats.ply import COLUMNS
from render.formats.spz import spz_bytes

ENDING = ".gs4d"
NUMBER = re.compile(r"%0?(\d?)d")
SAMPLED = 5
"""Frames whose size as .spz stands for all."""
MOST_FILES = 100_000


def is_of_time(out: Path) -> bool:
    """Whether a place to write to is meant for a scene that moves: moving.gs4d, frames/%04d.ply."""
    return out.suffix.lower() == ENDING or "%" in out.name


def export_moving(scene: Any, name: str, out: Path, fps: float | None, progress: Progress) -> list[str]:
    """Write the scene called `name` to moving.gs4d or, numbered from 0, to frames/%04d.ply or .spz; what was written, in words.

    Raises InputError for a scene that stands still, or is no splats, and for a place that cannot be written.
    """
    if not hasattr(scene, "at"):
        raise InputError(f"Scene {name} is no splats, and {out.name} holds nothing else.")
    times = getattr(scene, "times", None)
    if times is None:
        raise InputError(
            f"Scene {name} stands still, and {out.name} is for scenes that move. Write it as scene.ply or scene.spz."
        )
    moving = Motion(scene.at, (float(times[0]), float(times[1])), float(fps or scene.fps))
    antialiased = scene.setup.antialiased
    if out.suffix.lower() != ENDING:
        return _write_frames(moving, out, progress)
    if not out.parent.is_dir():
        raise InputError(f"{out.parent} is no folder. Make it first, or write somewhere else.")
    made = write_moving(out, moving, antialiased=antialiased, progress=progress)
    head = made.header
    return [
        f"wrote {out} ({len(made) / 1e6:.2f} MB): {head['count']} splats, {head['moving']} of them move, "
        f"{moving.times[1] - moving.times[0]:.1f} s in {count(len(made.segments), 'segment')}",
        beside(len(made), moving),
    ]


def beside(size: int, moving: Moving) -> str:
    """How large the frames of a moving file of `size` bytes would be one by one, in words."""
    moments = frame_times(*moving.times, moving.fps)
    ply, spz = sizes(moving, moments)
    return (
        f"as {len(moments)} frames: .spz about {spz / 1e6:.1f} MB ({spz / size:.0f} times as much), "
        f".ply {ply / 1e6:.1f} MB ({ply / size:.0f} times)"
    )


def sizes(moving: Moving, moments: list[float]) -> tuple[int, int]:
    """Bytes of all frames as .ply, and, from a few of them, as .spz."""
    rows = np.unique(np.linspace(0, len(moments) - 1, min(SAMPLED, len(moments))).round().astype(int))
    packed = [len(spz_bytes(moving.at(moments[row]))) for row in rows]
    ply = len(moments) * 4 * len(COLUMNS) * len(moving.at(moments[0]))
    return ply, round(float(np.mean(packed)) * len(moments))


def _write_frames(moving: Moving, out: Path, progress: Progress) -> list[str]:
    """frames/0000.ply ..."""
    from recon.stages import resolve

    ending, known = out.suffix.lower(), WRITERS["splats"]
    if ending not in known or out.name.count("%") != 1 or not NUMBER.search(out.name):
        raise InputError(f"{out} does not say how frames are called: expected one number, as in frames/%04d.ply.")
    moments = frame_times(*moving.times, moving.fps)
    if len(moments) > MOST_FILES:
        raise InputError(f"{len(moments)} frames are too many files: expected {MOST_FILES} at most. Lower --fps.")
    if not out.parent.is_dir() and not out.parent.parent.is_dir():
        raise InputError(f"{out.parent.parent} is no folder. Make it first, or write somewhere else.")
    out.parent.mkdir(exist_ok=True)
    write, total = resolve(known[ending]), 0
    with progress.task("frames", len(moments)) as task:
        for i, moment in enumerate(moments):
            path = out.with_name(out.name % i)
            write(path, moving.at(moment))
            total += path.stat().st_size
            task.advance()
    return [f"wrote {len(moments)} frames, {out.with_name(out.name % 0)} to {path.name} ({total / 1e6:.1f} MB)"]
