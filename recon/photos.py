"""Photos as files: reading one upright, and finding out whether it can be used.

A photo is named by its path below Capture.root. Its pixels are 8-bit sRGB as stored: an embedded colour profile is not
applied, so that all photos of one camera stay alike.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import io
import os
import stat
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.errors import InputError, MissingPart
from recon.exif import Exif, read_exif
from recon.job import Job

Image8 = NDArray[np.uint8]

HEIC_ENDS = frozenset({".heic", ".heif", ".hif"})
PHOTO_ENDS = HEIC_ENDS | {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".webp", ".bmp", ".ppm", ".pgm"}
RAW_ENDS = frozenset({".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".rw2", ".orf", ".pef", ".srw"})
MIN_SIDE = 64
"""Pixels. A photo smaller than this holds no features to speak of."""
MAX_PIXELS = 1_000_000_000
"""Beyond this a file is taken for damaged or hostile."""
BIG_PIXELS = 40_000_000
"""Photos above this are decoded one at a time, to bound the memory."""

MODES = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"})
"""Pillow's 8-bit modes that convert to RGB; 16-bit grey ("I;16") is handled by _pixels()."""

BROKEN = (
    OSError, ValueError, SyntaxError, TypeError, IndexError, KeyError, EOFError, OverflowError, struct.error, zlib.error,
)  # fmt: skip
"""What Pillow raises on a file that is damaged."""


@dataclass(frozen=True)
class Photo:
    """What is known of one photo file after decoding it."""

    name: str
    """POSIX path below the root."""
    path: Path
    stored_size: tuple[int, int] = (0, 0)
    """(width, height) as stored."""
    sha256: str = ""
    exif: Exif = field(default_factory=Exif)
    reason: str = ""
    """Why it cannot be used; "" when it can."""
    missing_part: bool = False
    """The reason is that an optional package is not installed."""

    @property
    def size(self) -> tuple[int, int]:
        """(width, height), upright."""
        width, height = self.stored_size
        return (height, width) if self.exif.orientation >= 5 else (width, height)


def read_photo(path: Path, orientation: int = 1) -> Image8:
    """Upright pixels u8[H, W, 3], or [H, W, 4] with a straight alpha channel where the photo has one that is not full.

    `orientation` is Capture.orientation. Raises InputError when the file cannot be read any more, MissingPart for HEIC
    without its package.
    """
    try:
        with open_image(path) as image:
            pixels = _pixels(image)
    except BROKEN as error:
        raise InputError(
            f"{path} cannot be read: {in_words(error)}. If the photos were moved or changed, run "
            "`recon ingest PHOTOS --redo`."
        ) from error
    return upright(pixels, orientation)


def read_mask(path: Path, size: tuple[int, int]) -> NDArray[np.bool_]:
    """bool[H, W] of a mask (white = use = True), brought to `size` = (width, height) by nearest neighbour.

    Raises InputError when the file cannot be read.
    """
    from PIL import Image

    try:
        with open_image(path) as image:
            pixels = _pixels(image)
    except BROKEN as error:
        raise InputError(f"The mask {path} cannot be read: {in_words(error)}. Mend it or remove it.") from error
    use = pixels[..., :3].max(-1) > 127
    if (use.shape[1], use.shape[0]) == tuple(size):
        return use
    return np.asarray(Image.fromarray(use).resize((int(size[0]), int(size[1])), Image.Resampling.NEAREST))


def mask_problem(path: Path, size: tuple[int, int]) -> str:
    """Why a mask cannot serve a photo of upright `size` (width, height), or "". A smaller or larger one of its shape can."""
    try:
        with open_image(path) as image:
            width, height = image.size
            _pixels(image)
    except BROKEN as error:
        return in_words(error)
    if abs(width * size[1] - height * size[0]) > max(*size, width, height):  # more than a rounded pixel off
        return f"it is {width}x{height}, its photo {size[0]}x{size[1]}"
    return ""


def upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn stored pixels [H, W, C] upright by their EXIF orientation 1..8 (Exif 3.0, tag 0x0112)."""
    if orientation >= 5:
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


@functools.cache
def _pillow() -> Any:
    """PIL.Image with its own limit on size lifted: open_image() has one that says more."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    return Image


@functools.cache
def reads_heic() -> bool:
    """Whether the optional package for HEIC is there."""
    try:
        import pi_heif
    except ImportError:
        return False
    pi_heif.register_heif_opener()
    return True


@contextlib.contextmanager
def open_image(path: Path, data: bytes | None = None) -> Iterator[Any]:
    """An opened Pillow image, not decoded yet."""
    if path.suffix.lower() in HEIC_ENDS and not reads_heic():
        raise MissingPart(f'{path} is a HEIC photo, which needs an optional part: pip install "recon-scene[heic]"')
    with _pillow().open(path if data is None else io.BytesIO(data)) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"it claims {image.width}x{image.height} pixels")
        yield image


def _pixels(image: Any) -> Image8:
    """u8[H, W, 3 or 4] of an opened image. Raises ValueError for modes that are no photo."""
    _check_mode(image)
    if image.mode.startswith("I"):  # Pillow itself would clip 16-bit grey, where its 16-bit RGB keeps the high byte
        return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, -1)
    if "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        rgba = np.asarray(image.convert("RGBA"))
        return rgba if rgba[..., 3].min(initial=255) < 255 else rgba[..., :3]
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _check_mode(image: Any) -> None:
    if image.mode.startswith("I"):
        low, high = image.getextrema()
        if low < 0 or high > 65535:
            raise ValueError("its values are beyond 16 bit")
    elif image.mode not in MODES:
        raise ValueError(f"its pixels are of the kind {image.mode}; expected RGB or grey, 8 or 16 bit")


def inspect_photos(files: Sequence[tuple[str, Path]], job: Job) -> list[Photo]:
    """Decode every (name, path) once, in parallel, and say of each whether it can be used. Order is kept."""
    one_big = threading.Lock()
    _pillow()
    with (
        warnings.catch_warnings(),
        ThreadPoolExecutor(workers()) as pool,
        job.task("reading photos", total=len(files)) as task,
    ):
        warnings.simplefilter("ignore")  # Pillow's remarks on damaged EXIF: what matters is in Photo.reason
        waiting = [pool.submit(inspect_photo, name, path, one_big) for name, path in files]
        try:
            photos = []
            for future in waiting:
                photos.append(future.result())
                task.advance()
        finally:  # Ctrl-C must not wait for all of them
            pool.shutdown(wait=False, cancel_futures=True)
    return photos


def inspect_photo(name: str, path: Path, one_big: threading.Lock | None = None) -> Photo:
    """Hash and decode one file. Whatever is wrong with it is in the result's `reason`."""
    known: dict[str, Any] = {"name": name, "path": path}
    try:
        name.encode()
    except UnicodeEncodeError:
        return Photo(**known, reason="its name is not valid UTF-8; rename it")
    try:
        known["sha256"] = sha256_photo(path)
        data = path.read_bytes()
        if not data:
            return Photo(**known, reason="the file is empty (0 bytes)")
        with open_image(path, data) as image:
            known |= {"stored_size": image.size, "exif": read_exif(image)}
            big = image.width * image.height > BIG_PIXELS
            if min(image.size) < MIN_SIDE:
                found = f"it is {image.width}x{image.height} pixels"
                return Photo(**known, reason=f"{found}; at least {MIN_SIDE}x{MIN_SIDE} are needed")
            with one_big if big and one_big else contextlib.nullcontext():
                return Photo(**known, reason=_decode(image))
    except MissingPart:
        return Photo(**known, reason='HEIC needs an optional part: pip install "recon-scene[heic]"', missing_part=True)
    except BROKEN as error:
        return Photo(**known, reason=in_words(error))
    except MemoryError:
        return Photo(**known, reason="it does not fit into memory")


def _decode(image: Any) -> str:
    """Decode all of it; what is wrong with it, or "". JPEGs at an eighth of their size, which reads every byte all the same."""
    if image.format in ("JPEG", "MPO"):
        image.draft("RGB", (1, 1))
        image.load()
        if image.mode in ("RGB", "L"):
            return _blank_end(np.asarray(image))
        return ""
    image.load()
    _check_mode(image)
    return ""


def _blank_end(pixels: Image8) -> str:
    """A JPEG decoder fills what it cannot decode with mid grey, to the last row, and says nothing."""
    rows = (pixels.reshape(len(pixels), -1) == 128).all(1)
    blank = int(np.argmin(rows[::-1])) if not rows.all() else 0
    if blank == 0 or rows[0]:
        return ""
    return f"it is damaged: its last {blank / len(rows):.0%} cannot be decoded"


def in_words(error: BaseException) -> str:
    """Why Pillow could not read a file."""
    text = str(error)
    if "cannot identify" in text:
        return "its content is no image, or is damaged"
    if "truncated" in text.lower():
        return "it is truncated: its end is missing"
    if isinstance(error, FileNotFoundError):
        return "it does not exist (a broken link?)"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[:1].lower() + error.strerror[1:]
    return text if text.startswith("it") else f"it is damaged ({text or type(error).__name__})"


def workers() -> int:
    return max(1, min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1))


def sha256_photo(path: Path) -> str:
    """sha256 of a file's bytes; remembered while its size and time of change stay.

    Raises OSError for what is no regular file, whose bytes may never end or never come.
    """
    state = path.stat()
    if not stat.S_ISREG(state.st_mode):
        raise OSError(errno.EINVAL, "it is a pipe, a socket or a device, and no regular file")
    return _sha256(path, state.st_size, state.st_mtime_ns)


@functools.lru_cache(maxsize=100_000)
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
