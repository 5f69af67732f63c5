"""DepthMaps: z, confidence and normals of photos, one file each, memory-mapped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from recon.cameras import Cameras
from recon.errors import WorkspaceError
from recon.files import atomic_write, save_npz, write_json
from recon.geometry import World

KINDS = ("z", "confidence", "normal")


@dataclass(frozen=True)
class DepthMaps:
    """Depth of N photos. What load_maps() gives is memory-mapped and read-only: a map is read when it is looked at."""

    names: tuple[str, ...]
    """[N], as in Capture.names, in code-point order."""
    cameras: Cameras
    """[N], at the sizes of the maps."""
    z: tuple[NDArray[np.float32], ...]
    """[N] of f32[H, W], along the camera's +Z, world units, at pixel centres; NaN where not known."""
    confidence: tuple[NDArray[np.float32], ...]
    """[N] of f32[H, W], 0..1; 0 = not measured: z is then NaN, or a guess from around or from the one photo."""
    normal: tuple[NDArray[np.float32], ...]
    """[N] of f32[H, W, 3], unit, in the camera's frame, towards the camera; NaN where z is."""
    world: World
    """Of the cameras; z is in its units."""

    def __len__(self) -> int:
        return len(self.names)


def map_path(folder: Path, kind: str, name: str) -> Path:
    """folder/z/NAME.npy and so on."""
    return folder / kind / f"{name}.npy"


def save_array(path: Path, array: NDArray[Any]) -> None:
    """A .npy file, atomically; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as stream:
        np.lib.format.write_array(stream, np.ascontiguousarray(array), allow_pickle=False)


def save_map(folder: Path, name: str, z: NDArray, confidence: NDArray, normal: NDArray) -> None:
    """The three maps of one photo, each atomically."""
    for kind, array in zip(KINDS, (z, confidence, normal), strict=True):
        save_array(map_path(folder, kind, name), array.astype(np.float32))


def save_index(folder: Path, names: Sequence[str], cameras: Cameras, world: World, **notes: Any) -> None:
    """What goes with the maps: depth.json, with notes for the reader, and cameras.npz. Written last; cameras are pinhole."""
    time = {} if cameras.time is None else {"time": cameras.time}
    save_npz(folder / "cameras.npz", cam_from_world=cameras.cam_from_world, K=cameras.K, size=cameras.size, **time)
    write_json(folder / "depth.json", {"names": list(names), "world": world.to_json(), **notes})


def save_maps(maps: DepthMaps, folder: Path) -> None:
    """Write what load_maps() reads."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(maps.names):
        save_map(folder, name, maps.z[i], maps.confidence[i], maps.normal[i])
    save_index(folder, maps.names, maps.cameras, maps.world)


def load_maps(folder: Path) -> DepthMaps:
    """Open what depth() or save_maps() wrote. Raises WorkspaceError when it is damaged."""
    try:
        head = json.loads((folder / "depth.json").read_text(encoding="utf-8"))
        with np.load(folder / "cameras.npz", allow_pickle=False) as data:
            arrays = dict(data)
        names = tuple(head["names"])
        maps = {kind: tuple(_mapped(map_path(folder, kind, name)) for name in names) for kind in KINDS}
        cameras = Cameras(arrays["cam_from_world"], arrays["K"], arrays["size"], time=arrays.get("time"))
        for i, (width, height) in enumerate(cameras.size.tolist()):
            for kind in KINDS:
                if maps[kind][i].shape[:2] != (height, width):
                    raise ValueError(f"{map_path(folder, kind, names[i])} is not {width}x{height}")
        return DepthMaps(names, cameras, maps["z"], maps["confidence"], maps["normal"], World.from_json(head["world"]))
    except (OSError, ValueError, KeyError, TypeError, BadZipFile) as error:
        raise WorkspaceError(f"{folder} is damaged ({error}). Run `recon depth` with --redo.") from error


def _mapped(path: Path) -> NDArray[np.float32]:
    return np.load(path, mmap_mode="r", allow_pickle=False)
