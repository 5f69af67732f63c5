"""What a workspace holds at this moment, read without a lock and without a trace.

Files appear, vanish and are swapped while this looks at them: each part is read again when the stamps of its files change,
what is missing is None, and what cannot be read now is tried again when it changes.
"""

from __future__ import annotations

import json
import os
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from recon.errors import ReconError
from recon.geometry import World
from recon.reconstruction import SUFFIX, Reconstruction
from recon.sparse import read_colmap

if TYPE_CHECKING:
    from torch import Tensor

    from recon.cameras import Cameras
    from render.scene import Rendering
    from render.splats import Splats

T = TypeVar("T")

UNREADABLE = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, ReconError)
"""What a file that is damaged, half gone, or of another version raises when it is read."""
LIVE_SECONDS = 40.0
"""A training that has not written for so long has stopped. It writes a preview every 5 s."""

SWAP_SECONDS = 3.0
"""A folder that is being replaced may be absent for less than this."""


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


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The parts of a workspace. A part that did not change is the same object as in the snapshot before."""

    sparse: Reconstruction | None = None
    """Cameras and points, in the world frame when `aligned`, else in that of structure from motion."""
    aligned: bool = False
    scene: Shown | None = None
    test: frozenset[str] = frozenset()
    """Names of the held-out photos."""
    history: tuple[dict[str, Any], ...] = ()
    """Rows of history.jsonl."""
    metrics: dict[str, Any] | None = None
    """metrics.json of a finished evaluation."""
    training: bool = False
    """Whether a training is writing now."""
    working: str | None = None
    """The verb that holds the workspace now."""
    problems: tuple[str, ...] = ()
    """Files that are there and cannot be read, and why."""

    def same(self, other: Snapshot) -> bool:
        """Whether nothing has changed."""
        heavy = self.sparse is other.sparse and self.scene is other.scene and self.history is other.history
        light = ("aligned", "test", "metrics", "training", "working", "problems")
        return heavy and all(getattr(self, name) == getattr(other, name) for name in light)


class Part(Generic[T]):
    """One thing that is read from files, and read again when their stamps change."""

    def __init__(self, read: Callable[[], T]) -> None:
        self._read = read
        self._stamps: tuple[Any, ...] | None = None
        self._there = 0.0
        self.value: T | None = None
        self.problem: str | None = None

    def look(self, files: Sequence[Path]) -> T | None:
        """The value; None when a file is missing for longer than a swap takes, or was never read without an error."""
        stamps, now = tuple(stamp(path) for path in files), time.monotonic()
        if None in stamps:
            if now - self._there > SWAP_SECONDS:
                self._stamps = self.value = self.problem = None
            return self.value
        self._there = now
        if stamps != self._stamps:
            self._stamps = stamps
            try:
                self.value, self.problem = self._read(), None
            except UNREADABLE as error:
                self.problem = f"{files[0].name}: {error}"
        return self.value


class Watch:
    """Looks at one scene of a workspace. Not thread-safe: one thread polls."""

    def __init__(self, root: Path, name: str = "main", device: str = "cpu") -> None:
        self.root, self.name = root, name
        self._sparse = {stage: Part(lambda s=stage: read_sparse(root, s)) for stage in ("align", "sfm")}
        self._test = Part(lambda: read_test(root / "ingest" / "capture.json"))
        self._metrics = Part(lambda: json.loads((self._folder("eval") / "metrics.json").read_text(encoding="utf-8")))
        self._finished = Part(
            lambda: read_finished(self._folder("train") / "scene.npz", device, self._sparse["align"].value)
        )
        self._preview = Part(
            lambda: read_preview(self._folder("train", built=True) / "preview.npz", device, self._sparse["align"].value)
        )
        self._history = {
            built: Part(lambda b=built: read_history(self._folder("train", built=b) / "history.jsonl"))
            for built in (False, True)
        }

    def _folder(self, stage: str, *, built: bool = False) -> Path:
        return (self.root / ".building" if built else self.root) / stage / self.name

    def poll(self) -> Snapshot:
        """The workspace as it is now. Reads only what has changed since the last call."""
        sparse, aligned = self._look_sparse(), self._sparse["align"].value is not None
        finished_file = self._folder("train") / "scene.npz"
        preview_file = self._folder("train", built=True) / "preview.npz"
        newer = written(preview_file) > written(finished_file)
        scene = self._preview.look([preview_file]) if newer else None
        if scene is None:
            scene = self._finished.look([finished_file])
        building = self._folder("train", built=True)
        last = max(written(building / name) for name in ("preview.npz", "history.jsonl", "building.json"))
        working = verb_at_work(self.root)
        training = working is not None and time.time() - last < LIVE_SECONDS
        unfinished = scene is None or scene.step is not None
        history = self._history[(training or unfinished) and (building / "history.jsonl").is_file()]
        folder = building if history is self._history[True] else self._folder("train")
        parts = [*self._sparse.values(), self._finished, self._preview, self._metrics, self._test]
        return Snapshot(
            sparse=sparse,
            aligned=aligned,
            scene=scene,
            test=self._test.look([self.root / "ingest" / "capture.json"]) or frozenset(),
            history=history.look([folder / "history.jsonl"]) or (),
            metrics=None if unfinished else self._metrics.look([self._folder("eval") / "metrics.json"]),
            training=training,
            working=working,
            problems=tuple(part.problem for part in parts if part.problem),
        )

    def _look_sparse(self) -> Reconstruction | None:
        for stage in ("align", "sfm"):
            folder = self.root / stage
            model = next((p for p in ("sparse/points3D.bin", "sparse/points3D.txt") if (folder / p).exists()), None)
            files = [folder / (model or "sparse/points3D.bin")]
            files += [folder / "world.json"] if stage == "align" else []
            if (found := self._sparse[stage].look(files)) is not None:
                return found
        return None


def read_sparse(root: Path, stage: str) -> Reconstruction:
    """Cameras, points and photos of DIR/align or DIR/sfm."""
    world_file = root / stage / "world.json"
    world = World.from_json(json.loads(world_file.read_text(encoding="utf-8"))) if world_file.is_file() else World()
    masks = root / "sfm" / "masks"
    model = read_colmap(root / stage / "sparse", SUFFIX, world)
    return Reconstruction(model, root / "sfm" / "images", masks if masks.is_dir() else None, ())


def read_test(path: Path) -> frozenset[str]:
    """Names of the held-out photos, from capture.json."""
    data = json.loads(path.read_text(encoding="utf-8"))
    return frozenset(name for name, split in zip(data["names"], data["split"], strict=True) if split == "test")


def read_history(path: Path) -> tuple[dict[str, Any], ...]:
    """The whole rows of history.jsonl; the one that is being written is left for the next time."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.endswith("}"):
            rows.append(json.loads(line))
    return tuple(rows)


def read_finished(path: Path, device: str, sparse: Reconstruction | None) -> Shown:
    """A finished scene of any kind. Splats are drawn by viser too; everything is drawn by the scene itself."""
    import torch

    from render.scene_file import read_scene

    scene = read_scene(path, device)

    def draw(cameras: Cameras, background: Tensor) -> Rendering:
        with torch.no_grad():
            return scene.render(cameras, background=background.to(device))

    if not hasattr(scene, "at"):
        return Shown(None, draw, None, None)
    splats = scene.at().detach()
    return Shown(splats.to("cpu"), draw, _splat_depth(splats, nearest(sparse)), None)


def read_preview(path: Path, device: str, sparse: Reconstruction | None) -> Shown:
    """The scene of a training at work: the five columns and the step."""
    import torch

    from render.rasterize import rasterize
    from render.splats import Splats

    with np.load(path, allow_pickle=False) as data:
        mean, log_scale, quat, opacity_logit, sh = (
            torch.from_numpy(data[name]) for name in ("mean", "log_scale", "quat", "opacity_logit", "sh")
        )
        step = int(data["step"])
        world = World.from_json(json.loads(str(data["world"]))) if "world" in data else World()
    splats = Splats(mean, log_scale, quat, opacity_logit, sh, world=world)
    near, placed = nearest(sparse), splats.to(device)

    def draw(cameras: Cameras, background: Tensor) -> Rendering:
        with torch.no_grad():
            return rasterize(placed, cameras, background=background.to(device), depth=False, near=near)

    return Shown(splats, draw, _splat_depth(placed, near), step)


def _splat_depth(splats: Splats, near: float) -> Callable[[Cameras], Rendering]:
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


def stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file is written or swapped; None when it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def written(path: Path) -> float:
    """When a file was written last, seconds of the system's clock; 0 when it is not there."""
    found = stamp(path)
    return 0.0 if found is None else found[0] / 1e9


def verb_at_work(root: Path) -> str | None:
    """The verb that .writer.json names; None when there is none, or its process has died (where that can be asked)."""
    try:
        writer = json.loads((root / ".writer.json").read_text(encoding="utf-8"))
        pid, verb = int(writer["pid"]), str(writer["verb"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if os.name != "posix":
        return verb
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return verb  # it lives, and is somebody else's
    return verb
