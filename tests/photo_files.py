"""Photo files for tests: textured pictures that are known exactly, and ways to write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.capture import Capture
from recon.ingest import IngestOptions, ingest
from recon.job import Job
from recon.sparse import SparseModel

SIZE = (160, 120)


def picture(seed: int = 0, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    """u8[H, W, 3]: smooth colours with corners, different for every seed."""
    width, height = size
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 16 + 2, width // 16 + 2, 3)).astype(np.float64)
    y, x = np.arange(height) // 16, np.arange(width) // 16
    shade = np.linspace(0.6, 1.0, width)[None, :, None]
    return (coarse[y[:, None], x[None, :]] * shade).astype(np.uint8)


def write_picture(path: Path, seed: int = 0, size: tuple[int, int] = SIZE, **save: Any) -> NDArray[np.uint8]:
    """Write picture(seed, size) in the format of the name's end, JPEGs at quality 95; returns the pixels."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = picture(seed, size)
    save = ({"quality": 95} if path.suffix.lower() in (".jpg", ".jpeg") else {}) | save
    Image.fromarray(pixels).save(path, **save)
    return pixels


def write_pictures(folder: Path, count: int, **how: Any) -> list[str]:
    """good_000.jpg, ... in `folder`; returns their names."""
    names = [f"good_{i:03d}.jpg" for i in range(count)]
    for i, name in enumerate(names):
        write_picture(folder / name, 1000 + i, **how)
    return names


def exif_bytes(
    top: dict[int, Any] | None = None, photo: dict[int, Any] | None = None, gps: dict[int, Any] | None = None
) -> bytes:
    """An EXIF block with these tags."""
    from PIL import Image

    exif = Image.Exif()
    for tag, value in (top or {}).items():
        exif[tag] = value
    for ifd, tags in ((0x8769, photo), (0x8825, gps)):
        if tags:
            exif.get_ifd(ifd).update(tags)
            exif[ifd] = exif.get_ifd(ifd)
    return exif.tobytes()


def run_ingest(source: Path | tuple[Path, ...], folder: Path, **options: Any) -> tuple[Capture, Job]:
    """ingest() into `folder`, and the job with its warnings and metrics."""
    job = Job(folder)
    return ingest(source, IngestOptions(**options), job), job


def prior_of(source: Path, folder: Path, **options: Any) -> SparseModel:
    prior = run_ingest(source, folder, **options)[0].prior
    assert prior is not None
    return prior
