"""Photos that were filmed, as the evaluation sees them: when and by which camera each was taken, and what moves in it.

The moving region is an estimate (recon/moving_region.py). Where cameras stand still it is told of any scene; of moving cameras
only for a scene that moves, because flow between photos far apart finds motion where there is none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recon.capture import Capture
from recon.files import atomic_write
from recon.geometry import Array
from recon.motion import moments_of, stations_of
from recon.moving_region import MovingRegions, worth_telling
from recon.takes import FILMED, is_film, rate_of, takes_of

if TYPE_CHECKING:
    from recon.reconstruction import Reconstruction

LEAST_PIXELS = 64
"""Fewer moving or still pixels in a photo have no PSNR of their own."""
MASKS = "moving"
"""Folder of NAME.png, white = moves, beside the renders."""


@dataclass(frozen=True)
class Film:
    """The posed photos of a capture in time."""

    names: tuple[str, ...]
    time: Array
    """f64[N], seconds."""
    take: NDArray[np.int32]
    """i32[N], which camera took each photo."""
    cameras: tuple[str, ...]
    """What the cameras are called, by their numbers."""
    moment: NDArray[np.int32]
    """i32[N], which moment each is of."""
    held_out: NDArray[np.bool_]
    """bool[N]."""
    regions: MovingRegions | None = None
    """None: it is not told."""

    def row(self, name: str) -> int:
        """The photo's number."""
        return self.names.index(name)

    def about(self, name: str) -> dict[str, Any]:
        """What metrics.json tells of a photo in time."""
        row = self.row(name)
        told: dict[str, Any] = {"time": round(float(self.time[row]), 6), "moment": int(self.moment[row])}
        return told | ({"camera": self.cameras[self.take[row]]} if len(self.cameras) > 1 else {})

    @property
    def summary(self) -> dict[str, Any]:
        """Seconds, rate, moments and cameras, for metrics.json."""
        moments, trained = set(self.moment.tolist()), set(self.moment[~self.held_out].tolist())
        return {
            "start": round(float(self.time.min()), 6),
            "end": round(float(self.time.max()), 6),
            "fps": round(rate_of(self.time, self.take), 4),
            "moments": len(moments),
            "moments_held_out": len(moments - trained),
            "cameras": len(self.cameras),
        }

    def regions_of(self, names: list[str]) -> dict[str, NDArray[np.bool_]]:
        """The moving region bool[h, w] of the named photos, at a size of its own; {} where it is not told, or nothing moves."""
        if self.regions is None:
            return {}
        found = {name: self.regions(self.row(name)) for name in names}
        return found if worth_telling([mask.mean() for mask in found.values()]) else {}


def film_of(capture: Capture, reconstruction: Reconstruction, scene: Any) -> Film | None:
    """None where photos have no times, or only made-up ones that the scene does not ask for."""
    model, moves = reconstruction.model, in_motion(scene)
    time = model.cameras.time
    if time is None or not np.isfinite(time).all() or len(np.unique(time)) < 2:
        return None
    if not moves and capture.kind not in FILMED:
        return None
    row = {name: i for i, name in enumerate(capture.names)}
    rows = np.array([row[name] for name in model.names], np.int64)
    station = None if capture.station is None else capture.station[rows]
    take = takes_of(model.names, capture.camera_id[rows], station)
    film = Film(model.names, time, take, called(model.names, take), moments_of(time, take), capture.test[rows])
    fixed = bool((stations_of(model.cameras) >= 0).all())
    if (fixed or moves) and is_film(time, take):
        film = replace(film, regions=MovingRegions(reconstruction, take))
    return film


def in_motion(scene: Any) -> bool:
    """Whether a scene is another at another time: splats that move tell their times, a field that it has a part of time."""
    return getattr(scene, "times", None) is not None or bool(getattr(scene, "moving", False))


def called(names: tuple[str, ...], take: NDArray[np.int32]) -> tuple[str, ...]:
    """What to call each camera: its photos' folder where that tells it from the others, else its number."""
    folders = [names[int(np.flatnonzero(take == one)[0])].rpartition("/")[0] for one in range(int(take.max()) + 1)]
    own = len(set(folders)) == len(folders) and all(folders)
    return tuple(folders if own else [f"camera {one + 1}" for one in range(len(folders))])


def resized_mask(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """A mask bool[h, w] at another (width, height)."""
    import cv2

    return cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0


def write_mask(folder: Path, name: str, mask: NDArray[np.bool_]) -> None:
    """folder/moving/NAME.png; atomic."""
    import cv2

    path = folder / MASKS / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as stream:
        stream.write(cv2.imencode(".png", mask.astype(np.uint8) * 255)[1].tobytes())


def read_mask(folder: Path, name: str) -> NDArray[np.bool_] | None:
    """What write_mask() wrote; None where there is none."""
    import cv2

    path = folder / MASKS / f"{name}.png"
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) if path.is_file() else None
    return None if image is None else np.asarray(image) > 127
