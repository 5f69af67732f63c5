"""What the mesh stage takes from a reconstruction: its training photos, and the z that is measured in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recon.cameras import Cameras
from recon.capture import Capture
from recon.errors import InputError
from recon.mesh.views import DepthView
from render.dataset import read_photo

if TYPE_CHECKING:
    from recon.reconstruction import Reconstruction

OPAQUE = 0.9
"""Pixels of a photo whose matte is below this show what is behind, too, and colour nothing."""


def training_names(capture: Capture, reconstruction: Reconstruction) -> tuple[str, ...]:
    """The registered photos that were not held out. Raises InputError when there is none."""
    test = capture.test_names
    names = tuple(name for name in reconstruction.model.names if name not in test)
    if not names:
        raise InputError(
            "No training photo has a pose: every photo that structure from motion placed is held out. Use --holdout none, or "
            "add photos."
        )
    return names


@dataclass(frozen=True)
class TrainingPhotos:
    """The undistorted photos in full size, read when asked for."""

    reconstruction: Reconstruction
    names: Sequence[str]
    """[N]."""
    refined: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    """cam_from_world f64[4, 4] by name, where training moved a camera."""

    @property
    def cameras(self) -> Cameras:
        """[N]."""
        row = {name: i for i, name in enumerate(self.reconstruction.model.names)}
        given = self.reconstruction.model.cameras[np.array([row[name] for name in self.names], np.int64)]
        pose = zip(self.names, given.cam_from_world, strict=True)
        moved = np.array([self.refined.get(name, as_given) for name, as_given in pose]).reshape(-1, 4, 4)
        return replace(given, cam_from_world=moved)

    def read(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
        """rgb u8[H, W, 3], and the pixels that show the scene bool[H, W] (None: all)."""
        row = self.reconstruction.model.names.index(self.names[index])
        photo = read_photo(self.reconstruction, self.names[index], self.reconstruction.model.cameras.size[row].tolist())
        usable = None if photo.mask is None else photo.mask > 0.5
        if photo.matte is not None:
            usable = photo.matte > OPAQUE if usable is None else usable & (photo.matte > OPAQUE)
        return np.rint(photo.rgb * 255).astype(np.uint8), usable


@dataclass(frozen=True)
class MapViews:
    """Depth maps of some photos: names, cameras, z and confidence in the order of `rows`."""

    maps: Any
    """names [M], cameras [M], z and confidence: a sequence of f32[H_i, W_i] each."""
    rows: Sequence[int]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[DepthView]:
        for i in self.rows:
            yield DepthView(self.maps.names[i], self.maps.cameras[i], self.maps.z[i], self.maps.confidence[i])


def map_views(maps: Any, names: Sequence[str]) -> MapViews:
    """The depth maps of the named photos. Raises InputError when there is none."""
    wanted = set(names)
    rows = [i for i, name in enumerate(maps.names) if name in wanted]
    if not rows:
        raise InputError("None of the training photos has a depth map. Remake them with `recon depth --redo`.")
    return MapViews(maps, rows)
