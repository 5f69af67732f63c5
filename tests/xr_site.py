"""A small published site whose truth is known, and a headset for it: what the tests of VR and AR stand on.

The place: metric, a floor at z = 0 with posts of known places, a magenta thing behind them, outside its bounds.
"""

from __future__ import annotations

import gzip
import json
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.page_browser import need
from viewer.web_page import SOURCES

Array = NDArray[np.float64]

HALF = 2.0
"""Metres from the middle of the place to its sides."""
TALL = 1.0
START = (0.0, -3.0, 1.5)
"""Where the page's camera begins; it looks at the middle, along +y."""


def headset_script() -> str:
    """The source of iwer, an emulated headset (MIT), from the page's packages."""
    path = SOURCES / "node_modules" / "iwer" / "build" / "iwer.min.js"
    need(path.is_file(), "iwer (npm ci in viewer/web)")
    return path.read_text(encoding="utf-8")


def place() -> tuple[Array, NDArray[np.uint8], Array]:
    """Splats of the place: means [N, 3], colours [N, 3], radii [N]; metres."""
    side = np.linspace(-HALF, HALF, 25)
    x, y = (v.ravel() for v in np.meshgrid(side, side))
    floor = np.stack([x, y, np.zeros_like(x)], 1)
    dark = ((np.floor(x) + np.floor(y)) % 2 == 0)[:, None]
    floor_rgb = np.where(dark, [90, 90, 110], [190, 190, 170]).astype(np.uint8)
    heights = np.linspace(0, TALL, 24)
    posts, posts_rgb = [], []
    for (px, py), rgb in {
        (-1, 1): (230, 40, 40),
        (1, 1): (40, 200, 60),
        (1, -1): (40, 80, 230),
        (-1, -1): (230, 200, 40),
    }.items():
        posts.append(np.stack([np.full_like(heights, px), np.full_like(heights, py), heights], 1))
        posts_rgb.append(np.tile(np.array(rgb, np.uint8), (len(heights), 1)))
    outside = np.array([[0.0, 6.0, 0.5]])
    means = np.concatenate([floor, *posts, outside])
    rgb = np.concatenate([floor_rgb, *posts_rgb, np.array([[255, 0, 255]], np.uint8)])
    return means, rgb, np.where(np.arange(len(means)) == len(means) - 1, 0.5, 0.06)


def write_spz(path: Path, means: Array, rgb: NDArray[np.uint8], radius: Array) -> int:
    """SPZ version 2 without harmonics: round opaque splats. Returns the bytes."""
    n = len(means)
    fixed = np.round(means * 4096).astype("<i4")
    colour = np.clip(np.round(((rgb / 255 - 0.5) / 0.28209479177387814 * 0.15 + 0.5) * 255), 0, 255).astype(np.uint8)
    scale = np.clip(np.round((np.log(radius) + 10) * 16), 0, 255).astype(np.uint8)
    body = b"".join(
        [
            struct.pack("<IIIBBBB", 0x5053474E, 2, n, 0, 12, 0, 0),
            fixed.reshape(-1, 1).view(np.uint8).reshape(-1, 4)[:, :3].tobytes(),
            np.full(n, 250, np.uint8).tobytes(),
            colour.tobytes(),
            np.repeat(scale, 3).tobytes(),
            np.full(3 * n, 128, np.uint8).tobytes(),
        ]
    )
    path.write_bytes(gzip.compress(body, mtime=0))
    return path.stat().st_size


def write_site(folder: Path, page: Path) -> Path:
    """Put the place and the built page into a folder."""
    shutil.copytree(page, folder)
    (folder / "splats").mkdir()
    means, rgb, radius = place()
    file = {"count": len(means), "sha256": ""}
    coarse = file | {"file": "splats/coarse.spz", "bytes": write_spz(folder / "splats/coarse.spz", means, rgb, radius)}
    tile = file | {"file": "splats/0000.spz", "bytes": write_spz(folder / "splats/0000.spz", means, rgb, radius)}
    camera = [1.0, 0, 0, -START[0], 0, 0, -1, START[2], 0, 1, 0, -START[1], 0, 0, 0, 1]  # looks along +y, level
    low, high = [-HALF, -HALF, 0.0], [HALF, HALF, TALL]
    manifest: dict[str, Any] = {
        "recon_manifest": 1,
        "generator": "recon",
        "title": "Four posts",
        "target": "quest3",
        "world": {"scale": "metric", "up": "gravity"},
        "bounds": {"min": low, "max": high},
        "floor": 0.0,
        "start": {"cam_from_world": camera, "vfov_deg": 50.0, "target": [0.0, 0.0, 0.5]},
        "splats": {
            "count": len(means),
            "sh_degree": 0,
            "format": "spz",
            "antialiased": False,
            "budget": 1_000_000,
            "coarse": coarse,
            "tiles": [tile | {"min": means.min(0).tolist(), "max": means.max(0).tolist()}],
        },
        "mesh": None,
        "cameras": [],
        "moving": None,
        "measured": None,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder
