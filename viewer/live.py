"""What a workspace holds at this moment, read without a lock and without a trace.

Files appear, vanish and are swapped while this looks at them: each part is read again when the stamps of its files change,
what is missing is None, and what cannot be read now is tried again when it changes.
"""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from recon.errors import ReconError
from recon.geometry import World
from recon.reconstruction import SUFFIX, Reconstruction
from recon.sparse import read_colmap
from recon.writer import at_work
from render.edits import Edits, placed, read_edits, same_frame
from viewer.shown import Shown, read_finished, read_preview
from viewer.surfaces import DepthFolder, MeshFile, read_depth_folder, read_mesh_file, unfinished_depth

T = TypeVar("T")

UNREADABLE = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, ReconError)
"""What a file that is damaged, half gone, or of another version raises when it is read."""
NO_EDITS = Edits()
LIVE_SECONDS = 40.0
"""A training that has not written for so long has stopped. It writes a preview every 5 s."""

SWAP_SECONDS = 3.0
"""A folder that is being replaced may be absent for less than this."""


@dataclass(frozen=True)
class Trained:
    """One scene of the workspace."""

    scene: Shown | None
    """As it is shown: without what saved edits delete."""
    whole: Shown | None
    """As it was trained."""
    edits: Edits
    """As saved, in its frame."""
    metrics: dict[str, Any] | None
    """metrics.json of a finished evaluation of it."""


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The parts of a workspace. A part that did not change is the same object as in the snapshot before."""

    sparse: Reconstruction | None = None
    """Cameras and points, in the world frame when `aligned`, else in that of structure from motion."""
    aligned: bool = False
    scene: Shown | None = None
    """The scene as it is shown: without what saved edits delete."""
    whole: Shown | None = None
    """The scene as it was trained."""
    edits: Edits = NO_EDITS
    """What is deleted from it, as saved, in its frame."""
    others: Mapping[str, Trained] = field(default_factory=dict)
    """Further scenes of this workspace that somebody compares with, by name."""
    names: tuple[str, ...] = ()
    """Scenes of this workspace, finished or in training."""
    meshes: tuple[MeshFile, ...] = ()
    """Finished meshes in the frame of `sparse`, that of this scene's name first."""
    depth: DepthFolder | None = None
    """Depth maps, finished or those that are done."""
    sources: tuple[str | None, str | None] = (None, None)
    """Results of structure from motion and of the training, as their stage.json tell them: what edits hang on."""
    test: frozenset[str] = frozenset()
    """Names of the held-out photos."""
    history: tuple[dict[str, Any], ...] = ()
    """Rows of history.jsonl."""
    metrics: dict[str, Any] | None = None
    """metrics.json of a finished evaluation."""
    training: bool = False
    """Whether a training of this scene is writing now."""
    busy: bool = False
    """Whether a training of any scene is."""
    working: str | None = None
    """The verb that holds the workspace now."""
    problems: tuple[str, ...] = ()
    """Files that are there and cannot be read, and why."""

    def same(self, other: Snapshot) -> bool:
        """Whether nothing has changed."""
        heavy = ("sparse", "scene", "whole", "edits", "history", "depth")
        light = ("aligned", "others", "names", "meshes", "sources", "test", "metrics", "training", "busy", "working")
        return (
            all(getattr(self, name) is getattr(other, name) for name in heavy)
            and all(getattr(self, name) == getattr(other, name) for name in light)
            and self.problems == other.problems
        )


class Part(Generic[T]):
    """One thing that is read from files, and read again when their stamps change."""

    def __init__(self, read: Callable[[], T]) -> None:
        self._read = read
        self._stamps: tuple[Any, ...] | None = None
        self._there = 0.0
        self.value: T | None = None
        self.problem: str | None = None

    def look(self, files: Sequence[Path], patience: float | None = None) -> T | None:
        """The value; None when a file is missing for longer than a swap takes (or `patience`, seconds), or was never read
        without an error."""
        stamps, now = tuple(stamp(path) for path in files), time.monotonic()
        if None in stamps:
            if now - self._there > (SWAP_SECONDS if patience is None else patience):
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


class SceneWatch:
    """Looks at one scene of a workspace: train/NAME, edits/NAME.json and eval/NAME."""

    def __init__(self, root: Path, name: str, device: str, sparse: Callable[[], Reconstruction | None]) -> None:
        self.root, self.name = root, name
        self._finished = Part(lambda: read_finished(self.folder("train") / "scene.npz", device, sparse()))
        self._preview = Part(lambda: read_preview(self.folder("train", built=True) / "preview.npz", device, sparse()))
        self._metrics = Part(lambda: json.loads((self.folder("eval") / "metrics.json").read_text(encoding="utf-8")))
        self._edits = Part(lambda: read_edits(self.edits_file))
        self._edits_problem: str | None = None
        self._given: tuple[Shown | None, Edits, str | None] = (None, NO_EDITS, None)
        self._made: tuple[Shown | None, Edits] = (None, NO_EDITS)

    @property
    def edits_file(self) -> Path:
        return self.root / "edits" / f"{self.name}.json"

    def folder(self, stage: str, *, built: bool = False) -> Path:
        return (self.root / ".building" if built else self.root) / stage / self.name

    @property
    def problems(self) -> tuple[str, ...]:
        parts = (self._finished, self._preview, self._metrics, self._edits)
        found = [part.problem for part in parts if part.problem]
        return (*found, *([self._edits_problem] if self._edits_problem else []))

    def poll(self, sfm: str | None) -> Trained:
        """The scene as it is now. sfm: the result of structure from motion, for its edits."""
        finished_file = self.folder("train") / "scene.npz"
        preview_file = self.folder("train", built=True) / "preview.npz"
        newer = written(preview_file) > written(finished_file)
        whole = self._preview.look([preview_file]) if newer else None
        if whole is None:
            whole = self._finished.look([finished_file])
        metrics = self._metrics.look([self.folder("eval") / "metrics.json"])
        given = (whole, self._edits.look([self.edits_file], patience=0.0) or NO_EDITS, sfm)
        if any(a is not b for a, b in zip(given[:2], self._given[:2], strict=True)) or given[2] != self._given[2]:
            self._given = given
            edits = self._placed(*given)
            self._made = (None if whole is None else whole.edited(edits), edits)
        unfinished = whole is None or whole.step is not None
        return Trained(self._made[0], whole, self._made[1], None if unfinished else metrics)

    def _placed(self, whole: Shown | None, edits: Edits, sfm: str | None) -> Edits:
        """The edits in the scene's frame; none, and a problem, when they mean nothing there."""
        self._edits_problem = None
        if whole is None or whole.splats is None or not edits.regions:
            return NO_EDITS
        try:
            return placed(edits, whole.splats.world, sfm, self.edits_file)
        except ReconError as error:
            self._edits_problem = f"{self.edits_file.name}: {error}"
            return NO_EDITS


class Watch:
    """Looks at a workspace, and at one scene of it before the others. Not thread-safe: one thread polls."""

    def __init__(self, root: Path, name: str = "main", device: str = "cpu") -> None:
        self.root, self.name, self._device = root, name, device
        self._sparse = {stage: Part(lambda s=stage: read_sparse(root, s)) for stage in ("align", "sfm")}
        self._test = Part(lambda: read_test(root / "ingest" / "capture.json"))
        self._scenes = {name: self._scene(name)}
        self._meshes: dict[str, Part[MeshFile]] = {}
        self._depth = Part(lambda: read_depth_folder(root / "depth"))
        self._unfinished: DepthFolder | None = None
        self._history = {
            built: Part(lambda b=built: read_history(self._scenes[name].folder("train", built=b) / "history.jsonl"))
            for built in (False, True)
        }

    def _scene(self, name: str) -> SceneWatch:
        return SceneWatch(self.root, name, self._device, lambda: self._sparse["align"].value)

    def poll(self, others: Collection[str] = ()) -> Snapshot:
        """The workspace as it is now, with the scenes named in `others`. Reads only what has changed since the last call."""
        sparse, aligned = self._look_sparse(), self._sparse["align"].value is not None
        names = scene_names(self.root)
        wanted = [name for name in names if name in others and name != self.name]
        kept = {name: self._scenes.get(name) or self._scene(name) for name in wanted}
        self._scenes = {self.name: self._scenes[self.name], **kept}
        sources = (result_of(self.root / "sfm"), result_of(self._scenes[self.name].folder("train")))
        trained = {name: scene.poll(sources[0]) for name, scene in self._scenes.items()}
        mine, building = trained.pop(self.name), self._scenes[self.name].folder("train", built=True)
        writer = at_work(self.root)
        working = None if writer is None else writer.verb
        live = [] if working is None else trainings(self.root)
        training = self.name in live
        unfinished = mine.whole is None or mine.whole.step is not None
        history = self._history[(training or unfinished) and (building / "history.jsonl").is_file()]
        folder = building if history is self._history[True] else self._scenes[self.name].folder("train")
        meshes, elsewhere = self._look_meshes(sparse)
        parts = [*self._sparse.values(), self._test, self._depth, *self._meshes.values()]
        problems = [part.problem for part in parts if part.problem]
        return Snapshot(
            sparse=sparse,
            aligned=aligned,
            scene=mine.scene,
            whole=mine.whole,
            edits=mine.edits,
            others=trained,
            names=names,
            meshes=meshes,
            depth=self._look_depth(sparse),
            sources=sources,
            test=self._test.look([self.root / "ingest" / "capture.json"]) or frozenset(),
            history=history.look([folder / "history.jsonl"]) or (),
            metrics=mine.metrics,
            training=training,
            busy=bool(live),
            working=working,
            problems=(*problems, *(p for scene in self._scenes.values() for p in scene.problems), *elsewhere),
        )

    def _look_meshes(self, sparse: Reconstruction | None) -> tuple[tuple[MeshFile, ...], list[str]]:
        """The meshes that belong to this frame, and what is to be said of the others."""
        base = self.root / "mesh"
        folders = sorted(path for path in base.iterdir() if not path.name.startswith(".")) if base.is_dir() else []
        folders.sort(key=lambda path: path.name != self.name)
        self._meshes = {
            f.name: self._meshes.get(f.name) or Part(lambda f=f: read_mesh_file(f, f.name)) for f in folders
        }
        found = [part.look([base / name / "mesh.glb", base / name / "mesh.npz"]) for name, part in self._meshes.items()]
        there = [mesh for mesh in found if mesh is not None]
        if sparse is None or not there:
            return (), []
        here = tuple(mesh for mesh in there if same_frame(mesh.world, sparse.model.world))
        return here, [
            f"mesh {mesh.name}: it is from before the world was aligned anew" for mesh in there if mesh not in here
        ]

    def _look_depth(self, sparse: Reconstruction | None) -> DepthFolder | None:
        """The finished maps, else those that are done; the same object as long as it is the same."""
        finished = self._depth.look([self.root / "depth" / "depth.json", self.root / "depth" / "cameras.npz"])
        if finished is not None and finished.world is not None and sparse is not None:
            return finished if same_frame(finished.world, sparse.model.world) else None
        if sparse is None:
            return None
        found, before = unfinished_depth(self.root / ".building" / "depth", sparse.model.names), self._unfinished
        if found is None or before is None or found.names != before.names:
            self._unfinished = found
        return self._unfinished

    def _look_sparse(self) -> Reconstruction | None:
        for stage in ("align", "sfm"):
            folder = self.root / stage
            model = next((p for p in ("sparse/points3D.bin", "sparse/points3D.txt") if (folder / p).exists()), None)
            files = [folder / (model or "sparse/points3D.bin")]
            files += [folder / "world.json"] if stage == "align" else []
            if (found := self._sparse[stage].look(files)) is not None:
                return found
        return None


def scene_names(root: Path) -> tuple[str, ...]:
    """Names under train/, finished or being built."""
    found = set()
    for base in (root / "train", root / ".building" / "train"):
        folders = base.iterdir() if base.is_dir() else ()
        found |= {
            path.name
            for path in folders
            if not path.name.startswith(".") and ((path / "scene.npz").is_file() or (path / "preview.npz").is_file())
        }
    return tuple(sorted(found))


def trainings(root: Path) -> list[str]:
    """Names of the scenes whose training has written lately."""
    base = root / ".building" / "train"
    files = ("preview.npz", "history.jsonl", "building.json")
    folders = list(base.iterdir()) if base.is_dir() else []
    return [f.name for f in folders if time.time() - max(written(f / name) for name in files) < LIVE_SECONDS]


def result_of(folder: Path) -> str | None:
    """What stage.json says of a finished stage's result; None without."""
    try:
        return str(json.loads((folder / "stage.json").read_text(encoding="utf-8"))["result"])
    except (OSError, ValueError, KeyError, TypeError):
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
