"""Scenes that can be looked at, finished or in training, and those files read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recon.geometry import World

if TYPE_CHECKING:
    from torch import Tensor

    from recon.cameras import Cameras
    from recon.reconstruction import Reconstruction
    from render.edits import Edits
    from render.scene import Rendering
    from render.splats import Splats


@dataclass(frozen=True, eq=False)
class Shown:
    """A scene that can be looked at."""

    splats: Splats | None
    """Its splats, on the CPU; None when it is not made of splats."""
    draw: Callable[[Cameras, Tensor], Rendering]
    """draw(cameras, background f32[3]): the true image, all view dependence in it."""
    depth: Callable[[Cameras], Rendering] | None
    """depth(cameras): alpha and z of the splats; None when it is not made of splats."""
    step: int | None
    """Step of a training that is not finished; None for a finished scene."""
    keeping: Callable[[Tensor], Shown] | None
    """keeping(bool[N]): the same with some of its splats; None when it is not made of splats."""
    times: tuple[float, float] | None = None
    """First and last moment of a scene that moves, seconds."""
    at: Callable[[float], Shown] | None = None
    """at(seconds): the same at that moment; None when nothing moves."""

    def edited(self, edits: Edits) -> Shown:
        """The same without what edits delete; itself when that is nothing."""
        if self.splats is None or self.keeping is None or not edits.regions:
            return self
        stays = edits.stays(self.splats)
        return self if bool(stays.all()) else self.keeping(stays)


def read_finished(path: Path, device: str, sparse: Reconstruction | None) -> Shown:
    """A finished scene of any kind. Splats are drawn by viser too; everything is drawn by the scene itself."""
    from render.scene_file import read_scene

    return shown_scene(read_scene(path, device), device, nearest(sparse))


def shown_scene(scene: Any, device: str, near: float, time: float | None = None) -> Shown:
    """A scene on a device, one that moves at a time (or its first); what is nearer than `near` is left out of its depth."""
    import torch

    from render.edits import with_rows

    times = getattr(scene, "times", None)
    moment = times[0] if times is not None and time is None else time

    def draw(cameras: Cameras, background: Tensor) -> Rendering:
        if moment is not None and (time is not None or cameras.time is None):  # a photo's camera has its own
            cameras = replace(cameras, time=np.full(len(cameras), float(moment)))
        with torch.no_grad():
            return scene.render(cameras, background=background.to(device))

    def at(seconds: float) -> Shown:
        return shown_scene(scene, device, near, seconds)

    moving = {} if times is None else {"times": (float(times[0]), float(times[1])), "at": at}
    if not hasattr(scene, "at"):
        return Shown(None, draw, None, None, None, **moving)
    with torch.no_grad():
        splats = scene.at(moment).detach()

    def keeping(rows: Tensor) -> Shown:
        return shown_scene(with_rows(scene, rows.to(splats.mean.device)), device, near, time)

    return Shown(splats.to("cpu"), draw, splat_depth(splats, near), None, keeping, **moving)


def read_preview(path: Path, device: str, sparse: Reconstruction | None) -> Shown:
    """The scene of a training at work: the five columns of splats and the step, or a whole field."""
    import torch

    from render.scene_file import read_scene
    from render.splats import Splats

    with np.load(path, allow_pickle=False) as data:
        if "config" in data:
            scene = read_scene(path, device)
            return replace(shown_scene(scene, device, nearest(sparse)), step=int(scene.info["step"]))
        mean, log_scale, quat, opacity_logit, sh = (
            torch.from_numpy(data[name]) for name in ("mean", "log_scale", "quat", "opacity_logit", "sh")
        )
        step = int(data["step"])
        world = World.from_json(json.loads(str(data["world"]))) if "world" in data else World()
    return shown_splats(
        Splats(mean, log_scale, quat, opacity_logit, sh, world=world), device, nearest(sparse), step=step
    )


def shown_splats(splats: Splats, device: str, near: float, *, step: int) -> Shown:
    """Splats of the CPU, drawn on a device."""
    import torch

    from render.rasterize import rasterize

    placed = splats.to(device)

    def draw(cameras: Cameras, background: Tensor) -> Rendering:
        with torch.no_grad():
            return rasterize(placed, cameras, background=background.to(device), depth=False, near=near)

    def keeping(rows: Tensor) -> Shown:
        return shown_splats(splats[rows], device, near, step=step)

    return Shown(splats, draw, splat_depth(placed, near), step, keeping)


def splat_depth(splats: Splats, near: float) -> Callable[[Cameras], Rendering]:
    import torch

    from render.rasterize import rasterize

    def depth(cameras: Cameras) -> Rendering:
        with torch.no_grad():
            return rasterize(splats, cameras, sh_degree=0, depth=True, near=near)

    return depth


def nearest(sparse: Reconstruction | None) -> float:
    """What is nearer than this is not drawn, world units: as in training, a hundredth of the cameras' extent."""
    from render.initial import scene_extent

    return 0.01 if sparse is None else 0.01 * scene_extent(sparse.model.cameras)
