"""What a workspace knows of surfaces, as the viewer takes it: meshes as GLB, and depth maps, finished or still being made."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recon.cameras import Cameras, fit_size
from recon.errors import InputError, ReconError
from recon.geometry import World
from recon.reconstruction import Reconstruction
from viewer.pictures import THUMBNAIL, as_bytes

MOST_POINTS = 200_000
"""Points of all depth maps together that a browser is sent."""
MOST_GLB = 300_000_000
"""Bytes of a mesh; a larger one would choke the browser."""
CONFIDENT = 0.3
"""Measurements believed less than this make no points."""


@dataclass(frozen=True, eq=False)
class MeshFile:
    """A finished mesh."""

    name: str
    path: Path
    """mesh.glb: +Y up, x right, the world's y backward."""
    world: World
    """The frame it was made in."""


def read_mesh_file(folder: Path, name: str) -> MeshFile:
    """mesh/NAME, without reading its triangles. Raises InputError when it is too large."""
    path = folder / "mesh.glb"
    if path.stat().st_size > MOST_GLB:
        raise InputError(f"{path} is too large for a browser. Make a smaller one: recon mesh --faces.")
    with np.load(folder / "mesh.npz", allow_pickle=False) as data:
        world = World.from_json(json.loads(str(data["world"])))
    return MeshFile(name, path, world)


@dataclass(frozen=True, eq=False)
class DepthFolder:
    """Depth maps in a folder, one photo at a time; more may come while this is looked at."""

    folder: Path
    names: tuple[str, ...]
    """Photos whose maps are there."""
    cameras: Cameras | None
    """[N], of the maps of a finished stage; None: those of the reconstruction."""
    world: World | None
    """Of these cameras; None: the reconstruction's."""

    def read(self, sparse: Reconstruction, name: str) -> tuple[Cameras, NDArray[np.float32], NDArray[np.float32]]:
        """One camera at the size of its map, z f32[H, W], and confidence f32[H, W]. Raises InputError when they are not whole."""
        from recon.depth.maps import map_path

        try:
            z, confidence = (
                np.load(map_path(self.folder, kind, name), mmap_mode="r", allow_pickle=False)
                for kind in ("z", "confidence")
            )
            if z.ndim != 2 or z.shape != confidence.shape:
                raise ValueError(f"shapes {z.shape} and {confidence.shape}")
            size = np.array([z.shape[1], z.shape[0]], np.int32)
            if self.cameras is not None:
                return self.cameras[self.names.index(name)].resized(size), z, confidence
            return sparse.model.cameras[sparse.model.names.index(name)].resized(size), z, confidence
        except (OSError, ValueError) as error:
            raise InputError(f"The depth map of {name} cannot be read ({error}).") from error


def read_depth_folder(folder: Path) -> DepthFolder:
    """DIR/depth, finished."""
    head = json.loads((folder / "depth.json").read_text(encoding="utf-8"))
    with np.load(folder / "cameras.npz", allow_pickle=False) as data:
        cameras = Cameras(data["cam_from_world"], data["K"], data["size"])
    return DepthFolder(folder, tuple(head["names"]), cameras, World.from_json(head["world"]))


def unfinished_depth(folder: Path, names: tuple[str, ...]) -> DepthFolder | None:
    """DIR/.building/depth: the maps of those photos that are done; None when none is."""
    done = tuple(
        name
        for name in names
        if (folder / "z" / f"{name}.npy").is_file() and (folder / "confidence" / f"{name}.npy").is_file()
    )
    return DepthFolder(folder, done, None, None) if done else None


def depth_picture(maps: DepthFolder, sparse: Reconstruction, name: str) -> NDArray[np.uint8]:
    """u8[h, w, 3]: z of a photo, near bright and far dark, grey where nothing was measured. Raises InputError."""
    from recon.page.pictures import UNKNOWN_RGB, colour_table

    camera, z, confidence = maps.read(sparse, name)
    size = fit_size(camera.size, THUMBNAIL)[0]
    rows, columns = (((np.arange(s) + 0.5) * full / s).astype(int) for s, full in zip(size[::-1], z.shape, strict=True))
    small, believed = z[rows][:, columns], confidence[rows][:, columns]
    measured = np.isfinite(small) & (believed > 0)
    picture = np.full((*small.shape, 3), UNKNOWN_RGB, np.uint8)
    if measured.any():
        near, far = np.percentile(small[measured], [2, 98])
        level = np.clip((far - small[measured]) / max(far - near, 1e-12), 0, 1)
        picture[measured] = colour_table("viridis")[(255 * level).astype(np.uint8)]
    return picture


class DepthCloud:
    """Points of all depth maps, made photo by photo. Called by one thread at a time."""

    def __init__(self, maps: DepthFolder, sparse: Reconstruction) -> None:
        self.maps, self.sparse = maps, sparse
        self._each = max(1, MOST_POINTS // max(1, len(maps.names)))
        self._xyz: list[NDArray[np.float32]] = []
        self._rgb: list[NDArray[np.uint8]] = []
        self._next = 0

    @property
    def done(self) -> bool:
        return self._next >= len(self.maps.names)

    def step(self) -> None:
        """The points of one more photo. One that cannot be read gives none."""
        name = self.maps.names[self._next]
        self._next += 1
        if name not in self.sparse.model.names:
            return
        try:
            xyz, rgb = depth_points(self.maps, self.sparse, name, self._each)
        except ReconError:
            return  # being replaced at this moment, or damaged: its stage says so
        self._xyz.append(xyz)
        self._rgb.append(rgb)

    @property
    def points(self) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """f32[P, 3], world, and sRGB u8[P, 3], of the photos so far."""
        if not self._xyz:
            return np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8)
        return np.concatenate(self._xyz), np.concatenate(self._rgb)


def depth_points(
    maps: DepthFolder, sparse: Reconstruction, name: str, most: int
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """At most `most` measured points of a photo f32[P, 3], world, evenly over its picture, and their colours u8[P, 3]."""
    from render.dataset import read_photo

    camera, z, confidence = maps.read(sparse, name)
    step = max(1, int(np.ceil((z.size / most) ** 0.5)))
    row, column = np.mgrid[step // 2 : z.shape[0] : step, step // 2 : z.shape[1] : step].reshape(2, -1)
    value = np.asarray(z[row, column], np.float64)
    good = np.isfinite(value) & (value > 0) & (np.asarray(confidence[row, column]) >= CONFIDENT)
    row, column, value = row[good], column[good], value[good]
    k, world_from_cam = camera.K[0], camera.world_from_cam[0]
    x, y = (column + 0.5 - k[0, 2]) / k[0, 0], (row + 0.5 - k[1, 2]) / k[1, 1]
    in_camera = np.stack([x, y, np.ones(len(x))], -1) * value[:, None]
    xyz = in_camera @ world_from_cam[:3, :3].T + world_from_cam[:3, 3]
    photo = read_photo(sparse, name, [z.shape[1], z.shape[0]], masks=False)
    return xyz.astype(np.float32), as_bytes(photo.over(np.zeros(3)))[row, column]
