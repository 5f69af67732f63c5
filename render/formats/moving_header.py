"""The header of a .gs4d file: every value checked before it is used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from recon.geometry import World
from render.formats.motion import ALWAYS, MOST_FRAMES

MOST_SECONDS, FPS_SPAN = 86_400.0, (0.01, 1000.0)


def checked(raw: Any) -> dict[str, Any]:
    """The header's values in their types. Raises ValueError, KeyError or TypeError for any that cannot be."""
    if not isinstance(raw["antialiased"], bool) or raw["channels"] not in ([*ALWAYS], [*ALWAYS, "opacity"]):
        raise ValueError("it is drawn in an unknown way")
    header = {
        "count": _whole(raw["count"], 1, 2**32),
        "moving": _whole(raw["moving"], 1, raw["count"]),
        "sh_degree": _whole(raw["sh_degree"], 0, 3),
        "antialiased": raw["antialiased"],
        "start": _number(raw["start"], -1e9, 1e9),
        "end": _number(raw["end"], raw["start"], raw["start"] + MOST_SECONDS),
        "fps": _number(raw["fps"], *FPS_SPAN),
        "tolerance": _number(raw["tolerance"], 1e-6, 10),
        "finest": _number(raw["finest"], 1e-12, 1e12),
        "channels": raw["channels"],
        "world": World.from_json(raw["world"]),
        "base": {name: _whole(raw["base"][name], 1, 2**40) for name in ("spz", "mask")},
        "segments": list(_segments(raw)),
    }
    if header["segments"][-1]["end"] != header["end"]:
        raise ValueError("its segments do not reach its end")
    return header


def _segments(raw: Any) -> Iterator[Mapping[str, Any]]:
    """The index, each segment where the one before it ends."""
    at, time = 0, raw["start"]
    if not raw["segments"]:
        raise ValueError("it has no segments")
    for row in raw["segments"]:
        if row["start"] != time or not _number(row["end"], time, raw["end"]) > time or row["offset"] != at:
            raise ValueError("its segments do not follow each other")
        yield {
            "offset": at,
            "bytes": _whole(row["bytes"], 1, 2**32),
            "frames": _whole(row["frames"], 1, MOST_FRAMES),
            "start": float(time),
            "end": float(row["end"]),
        }
        at, time = at + row["bytes"], row["end"]


def _whole(value: Any, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"expected a whole number from {low} to {high}, found {value!r:.40}")
    return value


def _number(value: Any, low: float, high: float) -> float:
    if type(value) not in (int, float) or not low <= value <= high:
        raise ValueError(f"expected a number from {low:g} to {high:g}, found {value!r:.40}")
    return float(value)
