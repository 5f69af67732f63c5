"""Edits of a trained scene: places whose splats go. They are recorded beside the results (DIR/edits/NAME.json), and applied
when a scene is read for showing or handing on; the trained scene itself is never touched.

A place is a region of the world frame, so that it holds for a scene that is trained again. A splat goes when its mean lies in
one of the regions. When the world frame itself was chosen anew (another scale or up), regions are carried over from the frame
of structure from motion, which both know; when structure from motion was redone, they cannot be.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from recon.errors import WorkspaceError
from recon.files import write_json
from recon.geometry import Sim3, World, quat_from_rotation, rotation_from_quat

if TYPE_CHECKING:
    from recon.workspace import Workspace
    from render.splats import Splats

FORMAT = 1
LARGEST_FILE = 64_000_000
"""Bytes; a longer file is none of ours."""
PATIENCE_SECONDS = 5.0
"""How long a save waits for another one."""

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Ball:
    """Everything within a radius of a place."""

    kind: ClassVar[str] = "ball"
    center: Vector
    """World."""
    radius: float
    """World units, > 0."""

    def contains(self, xyz: ArrayLike) -> NDArray[np.bool_]:
        """bool[N] of points [N, 3], world."""
        return np.linalg.norm(np.asarray(xyz, np.float64) - np.array(self.center), axis=-1) <= self.radius

    def moved(self, b_from_a: Sim3) -> Ball:
        """The same place in another frame."""
        return Ball(vector(b_from_a.apply(self.center)), self.radius * b_from_a.scale)

    def to_json(self) -> dict[str, Any]:
        return {"center": list(self.center), "radius": self.radius}

    @staticmethod
    def from_json(data: dict[str, Any]) -> Ball:
        return Ball(vector(data["center"]), positive(data["radius"]))


@dataclass(frozen=True)
class Box:
    """A turned box."""

    kind: ClassVar[str] = "box"
    center: Vector
    """World."""
    half: Vector
    """Half its edges along its own axes, world units, > 0."""
    wxyz: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)
    """world_from_box, unit."""

    def contains(self, xyz: ArrayLike) -> NDArray[np.bool_]:
        """bool[N] of points [N, 3], world."""
        inside = (np.asarray(xyz, np.float64) - np.array(self.center)) @ rotation_from_quat(self.wxyz)
        return np.asarray((np.abs(inside) <= np.array(self.half)).all(-1))

    def moved(self, b_from_a: Sim3) -> Box:
        """The same place in another frame."""
        turned = quat_from_rotation(b_from_a.rotation @ rotation_from_quat(self.wxyz))
        w, x, y, z = (float(v) for v in turned)
        half = vector(np.array(self.half) * b_from_a.scale)
        return Box(vector(b_from_a.apply(self.center)), half, (w, x, y, z))

    def to_json(self) -> dict[str, Any]:
        return {"center": list(self.center), "half": list(self.half), "wxyz": list(self.wxyz)}

    @staticmethod
    def from_json(data: dict[str, Any]) -> Box:
        a, b, c = (positive(v) for v in vector(data["half"]))
        w, x, y, z = (float(v) for v in data["wxyz"])
        if not 0.99 < w * w + x * x + y * y + z * z < 1.01:
            raise ValueError("wxyz is no rotation")
        return Box(vector(data["center"]), (a, b, c), (w, x, y, z))


@dataclass(frozen=True)
class Spots:
    """Many small balls: splats that were chosen one by one."""

    kind: ClassVar[str] = "spots"
    centers: tuple[Vector, ...]
    """World."""
    radii: tuple[float, ...]
    """World units, > 0, one for each."""

    def contains(self, xyz: ArrayLike) -> NDArray[np.bool_]:
        """bool[N] of points [N, 3], world."""
        from scipy.spatial import KDTree

        points = np.asarray(xyz, np.float64)
        found = np.zeros(len(points), bool)
        if len(points) and self.centers:
            near = KDTree(points).query_ball_point(np.array(self.centers), np.array(self.radii))
            found[[row for rows in near for row in rows]] = True
        return found

    def moved(self, b_from_a: Sim3) -> Spots:
        """The same places in another frame."""
        centers = b_from_a.apply(np.array(self.centers).reshape(-1, 3))
        return Spots(tuple(vector(c) for c in centers), tuple(r * b_from_a.scale for r in self.radii))

    def to_json(self) -> dict[str, Any]:
        return {"centers": [list(c) for c in self.centers], "radii": list(self.radii)}

    @staticmethod
    def from_json(data: dict[str, Any]) -> Spots:
        centers, radii = tuple(vector(c) for c in data["centers"]), tuple(positive(r) for r in data["radii"])
        if len(centers) != len(radii):
            raise ValueError(f"{len(centers)} centers and {len(radii)} radii")
        return Spots(centers, radii)


Region = Ball | Box | Spots
REGIONS: dict[str, Any] = {"ball": Ball, "box": Box, "spots": Spots}


@dataclass(frozen=True, eq=False)
class Edits:
    """What was deleted from a scene."""

    regions: tuple[Region, ...] = ()
    """In the order in which they were deleted."""
    world: World = field(default_factory=World)
    """The frame of the regions."""
    sfm: str | None = None
    """Which structure from motion the frame hangs on (the result of its stage.json); None: not known."""
    scene: str | None = None
    """Which trained scene they were made on (the result of its stage.json); None: not known."""
    removed: tuple[int, ...] = ()
    """Splats that each region took from that scene, for the reader."""

    def removes(self, xyz: ArrayLike) -> NDArray[np.bool_]:
        """bool[N]: which splats go, by their means [N, 3], world."""
        points = np.asarray(xyz, np.float64)
        gone = np.zeros(len(points), bool)
        for region in self.regions:
            gone |= region.contains(points)
        return gone

    def apply(self, splats: Splats) -> Splats:
        """The splats that stay, all their columns as they were."""
        return splats[self.stays(splats)] if self.regions else splats

    def stays(self, splats: Splats) -> torch.Tensor:
        """bool[N], on the splats' device."""
        gone = self.removes(splats.mean.detach().cpu().numpy())
        return torch.from_numpy(~gone).to(splats.mean.device)

    def in_world(self, world: World) -> Edits:
        """The same places in another world frame of the same structure from motion."""
        if same_frame(self.world, world):
            return self
        there = world.world_from_sfm @ self.world.world_from_sfm.inverse()
        return replace(self, regions=tuple(region.moved(there) for region in self.regions), world=world)

    def to_json(self) -> dict[str, Any]:
        counts = self.removed + (None,) * (len(self.regions) - len(self.removed))
        rows = zip(self.regions, counts, strict=True)
        return {
            "recon_edits": FORMAT,
            "scene": self.scene,
            "sfm": self.sfm,
            "world": self.world.to_json(),
            "regions": [{"kind": r.kind, "removed": n, **r.to_json()} for r, n in rows],
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> Edits:
        """Raises ValueError, KeyError or TypeError for what to_json() did not write."""
        if data["recon_edits"] != FORMAT:
            raise ValueError(f"its format is {data['recon_edits']!r}, expected {FORMAT}")
        regions = tuple(REGIONS[row["kind"]].from_json(row) for row in data["regions"])
        removed = tuple(int(row["removed"] or 0) for row in data["regions"])
        return Edits(regions, World.from_json(data["world"]), data["sfm"], data["scene"], removed)


def vector(values: Any) -> Vector:
    """Three finite floats."""
    x, y, z = (float(v) for v in values)
    if not (math.isfinite(x) and math.isfinite(y) and math.isfinite(z)):
        raise ValueError(f"{values} is no place")
    return x, y, z


def positive(value: Any) -> float:
    """A finite float > 0."""
    if not (math.isfinite(float(value)) and float(value) > 0):
        raise ValueError(f"{value} is no length")
    return float(value)


def same_frame(a: World, b: World) -> bool:
    """Whether two worlds put structure from motion in the same place, up to rounding."""
    return np.allclose(a.world_from_sfm.matrix(), b.world_from_sfm.matrix(), rtol=1e-9, atol=1e-9)


def edits_path(root: Path, name: str = "main") -> Path:
    """DIR/edits/NAME.json. Raises WorkspaceError for a name that would leave the folder."""
    from recon.workspace import Workspace

    return root / "edits" / f"{Workspace(root).folder('train', name).name}.json"


def read_edits(path: Path) -> Edits:
    """Read what write_edits() wrote. Raises WorkspaceError when it is damaged or of a newer recon."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise ValueError("it is far too large")
        return Edits.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WorkspaceError(
            f"{path} holds no edits that this recon can read ({error}). Move it away or delete the file, and make "
            "them again in `recon view`."
        ) from error


def merged(base: tuple[Region, ...], mine: tuple[Region, ...], theirs: tuple[Region, ...]) -> tuple[Region, ...]:
    """Two people's changes of the same regions `base`, together: theirs, without what I took back, and with what I added."""
    added = tuple(region for region in mine if region not in base and region not in theirs)
    return (*(region for region in theirs if region not in base or region in mine), *added)


@contextlib.contextmanager
def changing(path: Path) -> Iterator[None]:
    """Hold a file of edits from reading to writing it: of two viewers that save at once, one waits for the other. Raises
    WorkspaceError when that takes long."""
    import filelock

    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(path.with_name(f".{path.name}.lock"), timeout=PATIENCE_SECONDS):
            yield
    except filelock.Timeout:
        raise WorkspaceError(f"Another viewer is writing {path}. Try again when it is done.") from None


def write_edits(path: Path, edits: Edits) -> None:
    """Write edits; no file when there are none. Atomic."""
    if not edits.regions:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, edits.to_json())


def load_edited(workspace: Workspace, name: str = "main", *, edits: bool = True) -> Any:
    """The trained scene as workspace.load("train", name) gives it, without what was deleted from it in the viewer.

    edits=False leaves everything in. Raises WorkspaceError when there is no scene, or its edits cannot be applied.
    """
    scene = workspace.load("train", name)
    path = edits_path(workspace.root, name)
    if not edits or not path.is_file() or not hasattr(scene, "at"):
        return scene
    sfm = (workspace.record("sfm") or {}).get("result")
    return edited(scene, placed(read_edits(path), scene.setup.world, sfm, path))


def placed(edits: Edits, world: World, sfm: str | None, path: Path) -> Edits:
    """The edits in a world frame. Raises WorkspaceError when they hang on another structure from motion."""
    if edits.sfm is not None and sfm is not None and edits.sfm != sfm:
        raise WorkspaceError(
            f"{path} was made before structure from motion was redone, and its places mean nothing now. Make the edits again in "
            "`recon view`, delete the file, or leave them out with --no-edits."
        )
    return edits.in_world(world)


def edited(scene: Any, edits: Edits) -> Any:
    """A scene of the same kind without the splats that edits delete; the scene itself stays as it is."""
    return with_rows(scene, edits.stays(scene.at())) if edits.regions else scene


def with_rows(scene: Any, kept: torch.Tensor) -> Any:
    """A scene of the same kind with the rows bool[N] of its per-splat columns; what all splats share is shared."""
    parameters = scene.parameters()
    columns = {name: column.detach()[kept] for name, column in parameters.per_splat.items()}
    shared = {f"shared.{name}": tensor for name, tensor in parameters.shared.items()}
    count = int(kept.sum())
    device = str(scene.device)
    fewer = scene.config.load(replace(scene.setup, splats=count, device=device), columns | shared)
    fewer.info = scene.info | {"splats": count}
    fewer.history, fewer.refined = scene.history, scene.refined
    return fewer
