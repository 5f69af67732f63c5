""".gs4d: splats that move, in one file that streams by seconds. docs/moving-format.md describes every byte.

A header in JSON, a base (an SPZ file of all splats, and which of them move), and segments of about a second, each of which needs
the header and the base alone. Splats that rest are in the base once; the others have keyframes (motion.py), as few as keep every
splat within a tolerance at every frame, which the writer measures.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from recon.errors import InputError
from recon.files import atomic_write
from recon.geometry import Array, World
from recon.job import NoProgress, Progress
from render.formats import motion
from render.formats.motion import ALWAYS, Group, Units
from render.formats.moving_header import FPS_SPAN, MOST_SECONDS, checked
from render.formats.spz import splats_of, spz_bytes
from render.splats import Splats

MAGIC, VERSION = b"GS4D", 1
HEAD = struct.Struct("<4sII")
MOST_HEADER = 16_000_000
TOLERANCE = 0.12
"""Of a splat's size, see motion.off_by(). Against the synthetic scene's own renders: tests/bench/bench_moving_file.py."""
FINEST_PERCENT, FINEST_SHARE = 10, 0.5
"""Splats below this share of this percentile of all sizes count as that large: they are smaller than what pixels show."""
AGAIN = "Write it again with `recon export`."


class Moving(Protocol):
    """What can be written: a scene that moves, or a file of one."""

    @property
    def times(self) -> tuple[float, float]:
        """First and last moment, seconds."""
        ...

    @property
    def fps(self) -> float: ...

    @property
    def at(self) -> Callable[[float | None], Splats]:
        """All splats at a time; rows stay the same splats."""
        ...


@dataclass(frozen=True)
class Motion:
    """Any function of time as a Moving."""

    at: Callable[[float | None], Splats]
    times: tuple[float, float]
    fps: float


class NothingMoves(InputError):
    """A scene that stands still was to be written as one that moves."""


@dataclass(frozen=True)
class MovingFile:
    """A .gs4d file in its parts: put together they are the file."""

    header: dict[str, Any]
    head: bytes
    """Header and base: a whole picture of the first moment."""
    segments: tuple[bytes, ...]

    def __len__(self) -> int:
        return len(self.head) + sum(map(len, self.segments))


def write_moving(
    path: Path,
    scene: Moving,
    *,
    antialiased: bool = False,
    tolerance: float = TOLERANCE,
    progress: Progress | None = None,
) -> MovingFile:
    """Write a scene that moves, every frame from its first to its last moment at its fps. Atomic; equal scenes give equal bytes.

    Rows keep their order. Raises NothingMoves, or InputError for what the format cannot hold: numbers that are not finite, rows
    that come and go, colours that change.
    """
    made = moving_file(scene, antialiased=antialiased, tolerance=tolerance, progress=progress)
    with atomic_write(path) as stream:
        stream.write(made.head)
        for segment in made.segments:
            stream.write(segment)
    return made


def moving_file(
    scene: Moving,
    *,
    antialiased: bool = False,
    tolerance: float = TOLERANCE,
    world: World | None = None,
    progress: Progress | None = None,
) -> MovingFile:
    """The file's parts; see write_moving(). world: what it says of its frame instead of what the scene knows."""
    progress = progress or NoProgress()
    start, end = scene.times
    times = frame_times(start, end, scene.fps)
    survey = _surveyed(scene, times, tolerance, progress)
    moving = np.flatnonzero(survey.moves)
    if len(moving) == 0:
        raise NothingMoves("Nothing in the scene moves by as much as can be seen: write it as .spz or .ply instead.")
    spz = spz_bytes(survey.base, antialiased=antialiased)
    base = splats_of(spz, Path("base"))
    units = motion.units_of(base, moving, tolerance, survey.finest)
    channels = (*ALWAYS, "opacity") if survey.opacity_changes else ALWAYS
    mask = zlib.compress(np.packbits(survey.moves, bitorder="little").tobytes(), 9)
    frames = motion.segment_frames(len(times) - 1, scene.fps)
    segments, rows, at = [], [], 0
    with progress.task("keyframes", len(frames)) as task:
        for first, last in motion.spans(frames):
            tracks = _tracks(scene, times[first : last + 1], moving, channels, units)
            segments.append(motion.pack(motion.fit(tracks, units, tolerance), len(moving), channels))
            row = {"offset": at, "bytes": len(segments[-1]), "frames": last - first}
            rows.append(row | {"start": times[first], "end": times[last]})
            at += len(segments[-1])
            task.advance()
    header = {
        "count": len(base),
        "moving": len(moving),
        "sh_degree": base.sh_degree,
        "antialiased": antialiased,
        "start": start,
        "end": end,
        "fps": float(scene.fps),
        "tolerance": tolerance,
        "finest": survey.finest,
        "channels": list(channels),
        "world": (world or survey.base.world).to_json(),
        "base": {"spz": len(spz), "mask": len(mask)},
        "segments": rows,
    }
    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    return MovingFile(header, HEAD.pack(MAGIC, VERSION, len(text)) + text + spz + mask, tuple(segments))


def frame_times(start: float, end: float, fps: float) -> list[float]:
    """Seconds of each frame: evenly from the first to the last moment, at the rate nearest to `fps` that fits."""
    if not (math.isfinite(start) and math.isfinite(end) and 0 < end - start <= MOST_SECONDS):
        raise InputError(f"A scene that moves needs a first and a last moment, seconds; found {start:g} to {end:g}.")
    if not FPS_SPAN[0] <= fps <= FPS_SPAN[1]:
        raise InputError(f"{fps:g} frames a second are out of range: expected {FPS_SPAN[0]:g} to {FPS_SPAN[1]:g}.")
    steps = max(1, round((end - start) * fps))
    return [start + (end - start) * i / steps for i in range(steps)] + [end]


@dataclass(frozen=True)
class _Survey:
    """What all frames say of every splat."""

    base: Splats
    """Splats that move as at the first moment, others in the middle of what they do."""
    moves: NDArray[np.bool_]
    """bool[N]."""
    finest: float
    opacity_changes: bool


def _surveyed(scene: Moving, times: list[float], tolerance: float, progress: Progress) -> _Survey:
    first = scene.at(times[0]).detach().to("cpu")
    start = _channels(first)
    low, high = ({name: track.copy() for name, track in start.items()} for _ in range(2))
    turned, quat = np.zeros(len(first)), start["quat"].copy()
    with progress.task("what moves", len(times)) as task:
        for time in times:
            now = scene.at(time).detach().to("cpu")
            if len(now) != len(first) or not torch.equal(now.sh, first.sh):
                raise InputError(
                    "A .gs4d file holds splats that move: they must be the same at all times and keep their colours."
                )
            found = _channels(now)
            for name, values in found.items():
                np.minimum(low[name], values, out=low[name])
                np.maximum(high[name], values, out=high[name])
            dot = (found["quat"] * start["quat"]).sum(1, keepdims=True)
            turned = np.maximum(turned, 2 * np.arccos(np.clip(np.abs(dot[:, 0]), 0, 1)))
            quat += np.where(dot < 0, -1, 1) * found["quat"]
            task.advance()
    if not all(np.isfinite(values).all() for side in (low, high) for values in side.values()):
        raise InputError("The scene has splats whose motion is not finite. Train again.")
    sigma = np.exp(np.sort(start["log_scale"], axis=1))
    finest = max(FINEST_SHARE * float(np.percentile(sigma[:, 1], FINEST_PERCENT)) if len(sigma) else 1.0, 1e-9)
    size = np.maximum(sigma[:, 1], finest)
    lever = np.clip((sigma[:, 2] - sigma[:, 0]) / size, *motion.LEVERS)
    half = {name: (high[name] - low[name]) / 2 for name in start if name != "quat"}
    off = [np.linalg.norm(half["mean"], axis=1) / size, turned * lever, half["log_scale"].max(1)]
    changing = 4 * half["opacity"][:, 0] > tolerance
    moves = (np.maximum.reduce(off) > tolerance) | changing
    rest = {name: (low[name] + high[name]) / 2 for name in start} | {"quat": quat}
    chosen = {name: np.where(moves[:, None], start[name], rest[name]) for name in start}
    opacity = np.clip(chosen["opacity"][:, 0], 1e-6, 1 - 1e-6)
    columns = {name: torch.from_numpy(chosen[name].astype(np.float32)) for name in ALWAYS}
    logit = torch.from_numpy(np.log(opacity / (1 - opacity)).astype(np.float32))
    return _Survey(replace(first, **columns, opacity_logit=logit, extra={}), moves, finest, bool(changing.any()))


def _channels(splats: Splats) -> dict[str, Array]:
    """Channel -> f64[N, C]."""
    found = {name: getattr(splats, name).numpy().astype(np.float64) for name in ALWAYS}
    found["quat"] /= np.maximum(np.linalg.norm(found["quat"], axis=1, keepdims=True), 1e-12)
    return found | {"opacity": splats.opacity.numpy().astype(np.float64)[:, None]}


def _tracks(
    scene: Moving, times: list[float], rows: NDArray[np.int64], channels: tuple[str, ...], units: Units
) -> dict[str, Array]:
    """Channel -> f64[F, M, C] at some times."""
    found = [_channels(scene.at(time).detach().to("cpu")[torch.from_numpy(rows)]) for time in times]
    tracks = {name: np.stack([frame[name] for frame in found]) for name in channels}
    return tracks | {"quat": motion.unwrapped(tracks["quat"], units.base["quat"])}


# Reading


@dataclass
class MovingSplats:
    """A .gs4d file that was read; a Moving. Segments are decoded when their time is asked for."""

    header: dict[str, Any]
    base: Splats
    moves: NDArray[np.int64]
    """i64[M], rows that move."""
    segments: list[bytes]
    path: Path
    _units: Units = field(init=False, repr=False)
    _decoded: dict[int, list[Group]] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._units = motion.units_of(self.base, self.moves, self.header["tolerance"], self.header["finest"])

    @property
    def times(self) -> tuple[float, float]:
        return self.header["start"], self.header["end"]

    @property
    def fps(self) -> float:
        return self.header["fps"]

    @property
    def world(self) -> World:
        return self.base.world

    @property
    def antialiased(self) -> bool:
        return self.header["antialiased"]

    def __len__(self) -> int:
        return len(self.base)

    def at(self, time: float | None = None) -> Splats:
        """The splats at a time, seconds; before the first and after the last moment as there. Raises InputError where the file is
        damaged there.
        """
        rows = self.header["segments"]
        moment = min(max(self.times[0] if time is None else time, self.times[0]), self.times[1])
        index = max((i for i, row in enumerate(rows) if row["start"] <= moment), default=0)
        row = rows[index]
        share = (moment - row["start"]) / (row["end"] - row["start"])
        columns = {name: column.clone() for name, column in self.base.columns().items() if name != "sh"}
        for group in self.groups(index):
            chosen = torch.from_numpy(self.moves[group.rows])
            for name in self.header["channels"]:
                values = group.values(name, self._units, share)
                if name == "opacity":
                    kept = np.clip(values[:, 0], 0.5 / 255, 254.5 / 255)
                    columns["opacity_logit"][chosen] = torch.from_numpy(np.log(kept / (1 - kept)).astype(np.float32))
                else:
                    columns[name][chosen] = torch.from_numpy(values.astype(np.float32))
        return replace(self.base, **columns)

    def groups(self, index: int) -> list[Group]:
        """A segment, decoded; the last two are kept."""
        if index not in self._decoded:
            h = self.header
            try:
                found = motion.unpack(
                    self.segments[index], h["moving"], h["segments"][index]["frames"], tuple(h["channels"])
                )
            except ValueError as error:
                raise InputError(f"{self.path} is damaged: of segment {index}, {error}. {AGAIN}") from error
            for old in list(self._decoded)[:-1]:
                del self._decoded[old]
            self._decoded[index] = found
        return self._decoded[index]


def read_moving(path: Path) -> MovingSplats:
    """Read a .gs4d file. Raises InputError for one that is none, of another version, cut short or damaged; what its header
    promises is allocated only when the file is large enough to hold it.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}). Name a .gs4d file.") from error
    header, at = _header(data, path)
    sizes = header["base"]["spz"], header["base"]["mask"]
    ends = np.cumsum([at, *sizes, *(row["bytes"] for row in header["segments"])]).tolist()
    if ends[-1] != len(data):
        what = "is cut short" if ends[-1] > len(data) else "is damaged"
        raise InputError(f"{path} {what}: its header promises {ends[-1]} bytes, {len(data)} are there. {AGAIN}")
    base = splats_of(data[ends[0] : ends[1]], path)
    if len(base) != header["count"] or base.sh_degree != header["sh_degree"]:
        raise InputError(f"{path} is damaged: its base holds other splats than its header says. {AGAIN}")
    try:
        bits = motion.inflate(data[ends[1] : ends[2]], -(-len(base) // 8))
    except ValueError as error:
        raise InputError(f"{path} is damaged: of what moves, {error}. {AGAIN}") from error
    moves = np.flatnonzero(np.unpackbits(np.frombuffer(bits, np.uint8), bitorder="little")[: len(base)])
    if len(moves) != header["moving"]:
        raise InputError(
            f"{path} is damaged: {header['moving']} splats should move, {len(moves)} are marked as such. {AGAIN}"
        )
    segments = [data[a:b] for a, b in pairwise(ends[2:])]
    return MovingSplats(header, replace(base, world=header["world"]), moves, segments, path)


def _header(data: bytes, path: Path) -> tuple[dict[str, Any], int]:
    """The header's values, all checked, and where the base begins."""
    if len(data) < HEAD.size or data[:4] != MAGIC:
        raise InputError(f"{path} is no .gs4d file: it does not begin with GS4D. Name a file of moving splats.")
    _, version, length = HEAD.unpack_from(data)
    if version != VERSION:
        raise InputError(f"{path} has version {version} of .gs4d; this recon reads version {VERSION}. Update recon.")
    if length > min(MOST_HEADER, len(data) - HEAD.size):
        raise InputError(f"{path} is cut short: its header promises {length} bytes. {AGAIN}")
    end = HEAD.size + length
    try:
        raw = json.loads(data[HEAD.size : end].decode("utf-8"))
        return checked(raw), end
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError, InputError) as error:
        raise InputError(f"{path} has a damaged header ({error}). {AGAIN}") from error
