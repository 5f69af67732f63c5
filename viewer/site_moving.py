"""A scene that moves in a site: header and base of its .gs4d file, and each segment as a file of its own, so that any server
streams it by seconds; before these a coarse picture of the moment at which visitors start.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recon.cameras import Cameras
from recon.files import atomic_write, sha256_file
from recon.geometry import World
from recon.job import Progress
from render.formats.moving import Motion, MovingFile, NothingMoves, moving_file
from render.formats.sequence import beside
from render.kernels.reference import ALPHA_MIN
from render.lod import Drawing, contributions, most_important, reduced, spread_views
from render.splats import Splats
from viewer.options import PublishOptions
from viewer.site_splats import VIEWS, Shown, coarse_count, picture, write_part
from viewer.targets import Target

MOMENTS = 3
"""Moments, evenly from start to end, at which it is measured what splats contribute."""


def write_moving_splats(
    scene: Any, training: Cameras, folder: Path, target: Target, options: PublishOptions, progress: Progress
) -> tuple[dict[str, Any], Shown] | None:
    """Write splats/moving.bin and splats/m0000.bin ... into the site; returns the manifest's "moving", all but its "coarse", and
    the scene in the middle of its time as the cameras see it. None where nothing moves.
    """
    shown = _looked_at(scene, training, target, options, progress)
    degree = target.sh_degree if options.sh_degree is None else options.sh_degree
    colours = reduced(shown.splats, degree, shown.seen).sh
    world = World(scale=scene.setup.world.scale, up=scene.setup.world.up)  # where on earth it is stays here

    def at(time: float | None) -> Splats:
        assert shown.at is not None
        return replace(shown.at(scene.times[0] if time is None else time), sh=colours, extra={})

    motion = Motion(at, (float(scene.times[0]), float(scene.times[1])), float(scene.fps))
    try:
        made = moving_file(motion, antialiased=shown.drawing.antialiased, world=world, progress=progress)
    except NothingMoves:
        return None
    progress.say(beside(len(made), motion))
    return _written(made, folder), shown


def write_first_picture(
    shown: Shown, time: float, folder: Path, target: Target, options: PublishOptions, progress: Progress
) -> dict[str, Any] | None:
    """Write splats/coarse.spz, the scene at a time in a few splats; returns the manifest's "coarse" of "moving". None where it
    would save no more than half: the base itself is soon there.
    """
    count = coarse_count(len(shown.splats), target)
    if 2 * count > len(shown.splats) or shown.at is None:
        return None
    coarse = picture(replace(shown, splats=shown.at(time)), count, options.polish, progress)
    return write_part(folder, "coarse", coarse, shown.drawing)


def _looked_at(scene: Any, training: Cameras, target: Target, options: PublishOptions, progress: Progress) -> Shown:
    """The splats that go out, the most important first, in the middle of the scene's time."""
    drawing = Drawing(scene.setup.near, scene.setup.antialiased)
    moments = np.linspace(scene.times[0], scene.times[1], MOMENTS)
    splats = [scene.at(float(moment)).detach().to("cpu") for moment in moments]
    fine = torch.stack([torch.isfinite(c.reshape(len(s), -1)).all(1) for s in splats for c in s.columns().values()])
    kept = torch.nonzero(fine.all(0) & torch.stack([s.opacity >= ALPHA_MIN for s in splats]).any(0)).ravel()
    views = [VIEWS // MOMENTS] * MOMENTS
    views[MOMENTS // 2] = VIEWS
    seen = [
        contributions(s[kept], spread_views(training, v), drawing, progress) for s, v in zip(splats, views, strict=True)
    ]
    total = np.sum([one.total for one in seen], axis=0)
    most = target.splats if options.splats is None else options.splats or len(kept)
    order = most_important(total, min(most, len(kept)))
    middle = seen[MOMENTS // 2]
    cut = replace(
        middle,
        total=total[order],
        middle=middle.middle[order],
        central=middle.central[order],
        per_view=middle.per_view[:, order],
    )
    rows = kept[torch.from_numpy(order)]
    return Shown(splats[MOMENTS // 2][rows], drawing, cut, lambda time: scene.at(time).detach().to("cpu")[rows])


def _written(made: MovingFile, folder: Path) -> dict[str, Any]:
    """The files, and what the manifest says of them."""
    (folder / "splats").mkdir(exist_ok=True)

    def write(name: str, data: bytes) -> dict[str, Any]:
        path = folder / "splats" / name
        with atomic_write(path) as stream:
            stream.write(data)
        return {"file": f"splats/{name}", "bytes": len(data), "sha256": sha256_file(path)}

    head = made.header
    rows = zip(made.segments, head["segments"], strict=True)
    return {
        **{name: head[name] for name in ("start", "end", "fps", "count", "sh_degree", "antialiased")},
        **write("moving.bin", made.head),
        "segments": [
            write(f"m{i:04d}.bin", data) | {"start": row["start"], "end": row["end"]}
            for i, (data, row) in enumerate(rows)
        ],
    }
