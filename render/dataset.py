"""Photos for training and evaluation: undistorted, resized by area to a few sizes, kept on disk as uint8 and memory-mapped.

Of the photos one at a time is in memory. A level is one size of all photos: 1 is the training size, 1/2 half of it.
Each photo becomes its colours (premultiplied by the matte where there is one), then a plane of the matte when any photo
has one, then a plane of the mask when any photo has one (255 = use).
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recon.cameras import Cameras, fit_size
from recon.files import atomic_write, sha256_json
from recon.geometry import Array
from recon.reconstruction import read_image, shrink

if TYPE_CHECKING:
    from recon.reconstruction import Reconstruction

MASK_THRESHOLD = 250
"""A resized mask pixel counts as valid when it is white almost everywhere (of 255)."""


@dataclass(frozen=True)
class Photo:
    """One photo at one size, as float32."""

    rgb: NDArray[np.float32]
    """f32[H, W, 3], sRGB 0..1, premultiplied by `matte` when there is one."""
    matte: NDArray[np.float32] | None
    """f32[H, W], opacity of the photo's own alpha channel, or None."""
    mask: NDArray[np.float32] | None
    """f32[H, W], 1 = use, 0 = no loss there; None: valid everywhere."""

    def over(self, background: Array | NDArray[np.float32]) -> NDArray[np.float32]:
        """f32[H, W, 3]: the photo over a background colour [3]; without a matte the photo itself."""
        if self.matte is None:
            return self.rgb
        return (self.rgb + (1 - self.matte[..., None]) * np.asarray(background, np.float32)).astype(np.float32)


def read_photo(reconstruction: Reconstruction, name: str, size: Sequence[int], *, masks: bool = True) -> Photo:
    """A photo resized by area to `size` (width, height), in float precision. Raises InputError when it cannot be read."""
    image = read_image(reconstruction.image_path(name))
    rgb, alpha = _premultiplied(image)
    matte = shrink(alpha / 255, size) if image.shape[2] == 4 else None
    path = reconstruction.mask_path(name) if masks else None
    mask = None if path is None else (shrink(read_image(path)[..., 0], size) >= MASK_THRESHOLD).astype(np.float32)
    return Photo(shrink(rgb / 255, size), matte, mask)


@dataclass(frozen=True)
class Level:
    """All photos at one size, in one memory-mapped file."""

    cameras: Cameras
    """[N], resized to this level."""
    matte: bool
    """Whether each photo's colours are followed by the plane of a matte."""
    mask: bool
    """Whether the plane of a mask comes last."""
    offsets: NDArray[np.int64]
    """i64[N + 1], bytes; photo i is data[offsets[i]:offsets[i + 1]]."""
    data: NDArray[np.uint8]
    """u8[offsets[N]], memory-mapped."""

    def photo(self, index: int) -> Photo:
        """Photo `index` as float32."""
        width, height = self.cameras.size[index]
        raw = self.data[self.offsets[index] : self.offsets[index + 1]]
        values = np.multiply(raw, np.float32(1 / 255), dtype=np.float32)
        rgb = values[: 3 * width * height].reshape(height, width, 3)
        planes = list(values[3 * width * height :].reshape(-1, height, width))
        mask = planes.pop() if self.mask else None
        return Photo(rgb, planes.pop() if self.matte else None, mask)


@dataclass(frozen=True)
class Dataset:
    """The posed training photos at every size that the schedule asks for."""

    names: tuple[str, ...]
    """[N]."""
    levels: dict[float, Level]
    """By scale; 1.0 is the training size."""
    matte: bool
    """Whether the photos have an alpha channel that is used."""

    @property
    def cameras(self) -> Cameras:
        """[N], at the training size."""
        return self.levels[1.0].cameras

    def __len__(self) -> int:
        return len(self.names)


def open_dataset(
    reconstruction: Reconstruction,
    names: Sequence[str],
    long_side: int,
    folder: Path,
    *,
    scales: Sequence[float] = (1.0,),
    masks: bool = True,
    mattes: bool = True,
) -> Dataset:
    """The named photos of the reconstruction, resized once into `folder` and memory-mapped from there.

    `long_side` 0 keeps the photos' size. A file that is whole already is used again. Without `masks` every pixel
    counts; without `mattes` the photos are taken over black and their alpha is not used.
    """
    model = reconstruction.model
    row = {name: i for i, name in enumerate(model.names)}
    cameras = model.cameras[np.array([row[name] for name in names], np.int64)]
    size = fit_size(cameras.size, long_side)
    with_matte = mattes and any(_has_alpha(reconstruction.image_path(name)) for name in names)
    with_mask = masks and any(reconstruction.mask_path(name) is not None for name in names)
    channels = 3 + with_matte + with_mask
    shapes = {scale: np.maximum(8, np.rint(size * scale)).astype(np.int32) for scale in scales}
    label = {"names": list(names), "matte": with_matte, "mask": with_mask, "size": size.tolist()}
    paths = {scale: folder / f"photos_{sha256_json({**label, 'scale': scale})[:16]}.u8" for scale in scales}
    bytes_of = {s: np.concatenate([[0], np.cumsum(shapes[s].astype(np.int64).prod(1) * channels)]) for s in scales}
    missing = [s for s in scales if not paths[s].is_file() or paths[s].stat().st_size != bytes_of[s][-1]]
    _write_levels(reconstruction, names, {paths[s]: shapes[s] for s in missing}, matte=with_matte, mask=with_mask)
    levels = {
        scale: Level(
            cameras.resized(shapes[scale]),
            with_matte,
            with_mask,
            bytes_of[scale],
            np.memmap(paths[scale], np.uint8, "r"),
        )
        for scale in scales
    }
    return Dataset(tuple(names), levels, with_matte)


def _write_levels(
    reconstruction: Reconstruction, names: Sequence[str], sizes: dict[Path, NDArray], *, matte: bool, mask: bool
) -> None:
    """Read each photo once and append it to the file of every size."""
    if not sizes:
        return
    with contextlib.ExitStack() as stack:
        streams = {path: stack.enter_context(atomic_write(path)) for path in sizes}
        for i, name in enumerate(names):
            rgb, alpha = _premultiplied(read_image(reconstruction.image_path(name)))
            mask_path = reconstruction.mask_path(name) if mask else None
            valid = np.full(rgb.shape[:2], 255, np.uint8) if mask_path is None else read_image(mask_path)[..., 0]
            for path, size in sizes.items():
                planes = [np.rint(shrink(rgb, size[i]))]
                planes += [np.rint(shrink(alpha, size[i]))] if matte else []
                planes += [255.0 * (shrink(valid, size[i]) >= MASK_THRESHOLD)] if mask else []
                for plane in planes:
                    streams[path].write(plane.astype(np.uint8).tobytes())


def _premultiplied(image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Colours f32[H, W, 3] of 0..255 times the photo's alpha, and the alpha f32[H, W] of 0..255 (255 without one)."""
    values: Any = image.astype(np.float32)
    if values.shape[2] == 3:
        return values, np.full(values.shape[:2], 255, np.float32)
    alpha = np.ascontiguousarray(values[..., 3])
    return values[..., :3] * (alpha[..., None] / 255), alpha


def _has_alpha(path: Path) -> bool:
    """Whether a PNG has an alpha channel, from its header (colour types 4 and 6); other files have none."""
    with open(path, "rb") as stream:
        head = stream.read(26)
    return head[:8] == b"\x89PNG\r\n\x1a\n" and len(head) == 26 and head[25] in (4, 6)
