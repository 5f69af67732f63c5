"""Reconstruction: what structure from motion hands on. Posed pinhole cameras, sparse points, undistorted photos."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from recon.sparse import SparseModel

SUFFIX = ".png"
"""Undistorted photos, their masks and their names in COLMAP files are called NAME + ".png"."""


@dataclass(frozen=True)
class Reconstruction:
    """The registered photos of a capture. `model.names` are the capture's own names."""

    model: SparseModel
    """Pinhole cameras of the undistorted photos; observations in their pixels."""
    images: Path
    """Folder of undistorted lossless PNG, file = NAME + ".png" (a/0001.jpg.png); RGBA where the photo had alpha (a matte)."""
    masks: Path | None
    """Folder of NAME + ".png", white = use: valid pixels of the undistortion and the user's mask. No file: all valid."""
    left_out: tuple[tuple[str, str], ...] = ()
    """(name, reason) of the capture's photos that were not registered, in code-point order."""

    def image_path(self, name: str) -> Path:
        """The undistorted photo."""
        return self.images / f"{name}{SUFFIX}"

    def mask_path(self, name: str) -> Path | None:
        """The mask of the undistorted photo, or None where every pixel counts."""
        path = self.masks / f"{name}{SUFFIX}" if self.masks else None
        return path if path and path.is_file() else None
