"""Depth images as files: what a depth camera measured, read as z in metres, and the camera that they belong to.

z is along the depth camera's +Z. A pixel without a measurement is NaN. Whole numbers count in DepthCamera.unit (millimetres
in most exports), of which 0 and 65535 mean "nothing measured"; fractions (float) are metres.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.errors import InputError, MissingPart
from recon.photos import BROKEN, in_words, open_image

DEPTH_ENDS = (".png", ".npy", ".exr", ".tiff", ".tif")
"""Depth images that may lie beside photos; `.depth` (Record3D) is found by its layout only."""
SATURATED = 65535


@dataclass(frozen=True)
class DepthCamera:
    """How the depth images of one capture are to be read."""

    unit: float = 0.001
    """Metres in one unit of a depth image that holds whole numbers."""
    K: tuple[float, float, float, float] | None = None
    """fx, fy, cx, cy in pixels (centres at +0.5) of an image of `size`, for a depth camera of its own, without distortion.
    None: depth images are registered to their photos, of any resolution: the photo's camera, its distortion included."""
    size: tuple[int, int] | None = None
    """(width, height) of the depth images; needed with K, and for files that do not tell theirs."""
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Where the depth camera stands in the photo's camera frame, metres; the two look the same way."""
    far: float | None = None
    """Metres beyond which the depth camera guesses; None: as far as it says anything."""

    def to_json(self) -> dict[str, Any]:
        return {"unit": self.unit, "K": self.K, "size": self.size, "shift": self.shift, "far": self.far}

    @staticmethod
    def from_json(data: dict[str, Any]) -> DepthCamera:
        k, size = data["K"], data["size"]
        return DepthCamera(
            data["unit"],
            None if k is None else tuple(k),
            None if size is None else tuple(size),
            tuple(data["shift"]),
            data["far"],
        )


def read_depth(path: Path, camera: DepthCamera) -> NDArray[np.float32]:
    """z f32[H, W] in metres, NaN where nothing was measured.

    Raises InputError for a file that is damaged, gone or no depth image, MissingPart where its format needs a package.
    """
    raw = _raw(path, camera)
    if raw.ndim != 2:
        raise InputError(f"{path} has {raw.ndim} dimensions; a depth image has one value a pixel. Export it again.")
    if raw.dtype.kind == "f":
        z = raw.astype(np.float32)
        known = np.isfinite(z) & (z > 0)
    elif raw.dtype.kind in "iu" and raw.dtype.itemsize > 1:
        known = (raw > 0) & (raw != SATURATED)
        z = raw.astype(np.float32) * np.float32(camera.unit)
    else:
        raise InputError(
            f"{path} holds {raw.dtype.itemsize * 8}-bit values: a picture of depth, and no depth in millimetres. Export 16-bit "
            "PNG (millimetres), or TIFF, EXR or NPY (float, metres)."
        )
    if camera.far is not None:
        known &= z <= camera.far
    return np.where(known, z, np.nan).astype(np.float32)


def read_confidence(path: Path, shape: tuple[int, int]) -> NDArray[np.float32]:
    """f32 of `shape` [H, W], 0 (not to be used) to 1: an 8-bit image (0 .. 255), or Record3D's levels 0, 1, 2.

    Raises InputError when it is damaged or of another size, MissingPart where its format needs a package.
    """
    _must_be_there(path)
    if path.suffix.lower() == ".conf":
        level = np.frombuffer(_lzfse(path), np.uint8)
        if level.size != shape[0] * shape[1]:
            raise InputError(
                f"{path} holds {level.size} values, its depth image {shape[1]}x{shape[0]}. Export it again."
            )
        return (level.reshape(shape) / np.float32(2)).clip(0, 1)
    image = _picture(path)
    if image.ndim != 2:
        raise InputError(
            f"{path} has {image.ndim} dimensions; a confidence image has one value a pixel. Export it again."
        )
    if image.shape != shape:
        found = "x".join(map(str, image.shape[1::-1]))
        raise InputError(f"{path} is {found} pixels, its depth image {shape[1]}x{shape[0]}. Export it again.")
    return image.astype(np.float32) / np.float32(255)


@dataclass(frozen=True)
class DepthImage:
    """What is known of a depth image after decoding it."""

    size: tuple[int, int] = (0, 0)
    """(width, height) as stored."""
    reason: str = ""
    """Why it cannot be read; "" when it can."""

    def problem(self, photo_size: tuple[int, int], turned: bool, camera: DepthCamera) -> str:
        """Why it cannot serve a photo of upright `photo_size`, or "". `turned`: the stored photo lies on its side."""
        if self.reason:
            return self.reason
        width, height = self.size
        wanted = [camera.size or photo_size] if camera.K else [photo_size] + ([photo_size[::-1]] if turned else [])
        if any(abs(width * h - height * w) <= max(w, h, width, height) for w, h in wanted):  # but for a rounded pixel
            return ""
        what = "the others" if camera.K else "its photo"
        return f"it is {width}x{height}, {what} {wanted[0][0]}x{wanted[0][1]}, which is not the same shape"


def inspect_depth(path: Path, camera: DepthCamera, confidence: Path | None = None) -> DepthImage:
    """Decode a depth image, and the image of its confidence, and say whether it can be used.

    Without the confidence that belongs to it, it cannot: pixels of which nothing is known are not to be trusted wholly.
    """
    try:
        z = read_depth(path, camera)
    except (InputError, MissingPart) as error:
        return DepthImage(reason="it " + str(error).removeprefix(f"{path} ").rstrip("."))
    try:
        if confidence:
            read_confidence(confidence, (z.shape[0], z.shape[1]))
    except (InputError, MissingPart) as error:
        reason = "its confidence image " + str(error).removeprefix(f"{confidence} ").rstrip(".")
        return DepthImage((z.shape[1], z.shape[0]), reason)
    nothing = "" if np.isfinite(z).any() else "it measures nothing: no value is above 0 and finite"
    return DepthImage((z.shape[1], z.shape[0]), nothing)


def _raw(path: Path, camera: DepthCamera) -> NDArray[Any]:
    """The stored values. Raises InputError when they cannot be read."""
    _must_be_there(path)
    end = path.suffix.lower()
    if end == ".depth":
        values = np.frombuffer(_lzfse(path), np.float32)
        width, height = camera.size or (0, 0)
        if values.size != width * height:
            raise InputError(
                f"{path} holds {values.size} values, not {width}x{height} as its metadata says. Export it again."
            )
        return values.reshape(height, width)
    if end == ".npy":
        try:
            with path.open("rb") as stream:
                return np.lib.format.read_array(stream, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{path} cannot be read: it is damaged ({error}). Export it again.") from error
    return _exr(path) if end == ".exr" else _picture(path)


def _must_be_there(path: Path) -> None:
    """Raises InputError when the file is gone, which is not mended as a damaged one is."""
    try:
        path.stat()
    except FileNotFoundError as error:
        raise InputError(
            f"{path} is no longer there. Name the folder where the photos and depth images are now: `recon ingest PHOTOS -w DIR`."
        ) from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {in_words(error)}.") from error


def _picture(path: Path) -> NDArray[Any]:
    """The values of a PNG or TIFF with one channel."""
    try:
        with open_image(path) as image:
            image.load()  # a truncated file must not pass for a dark one
            return np.asarray(image)
    except BROKEN as error:
        raise InputError(f"{path} cannot be read: {in_words(error)}. Mend it, or take it away.") from error


def _package(name: str, path: Path, pip: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingPart(f'{path} needs a package that is not installed: pip install "{pip}"') from error


def _lzfse(path: Path) -> bytes:
    """The content of an LZFSE file."""
    package = _package("liblzfse", path, "pyliblzfse")
    try:
        return package.decompress(path.read_bytes())
    except (OSError, package.error) as error:
        raise InputError(f"{path} cannot be read: it is damaged ({error}). Export it again.") from error


def _exr(path: Path) -> NDArray[Any]:
    """The one channel of an OpenEXR file: Z, Y, R or whatever it is called."""
    package = _package("OpenEXR", path, "OpenEXR>=3.3")
    try:
        channels = package.File(str(path), separate_channels=True).channels()
    except Exception as error:  # what it raises depends on its version
        raise InputError(f"{path} cannot be read: it is damaged ({error}). Export it again.") from error
    name = next((n for n in ("Z", "Y", "R") if n in channels), next(iter(channels)))
    return np.asarray(channels[name].pixels)
