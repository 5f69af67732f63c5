"""SPZ version 3: splats in about 20 bytes each (Niantic's public format description), for web pages and phones.

A gzip stream of a 16-byte header and then six planes, each for all splats in turn, little endian:
    header     u32 magic "NGSP", u32 version, u32 count, u8 SH degree, u8 fractional bits, u8 flags, u8 zero
    mean       3 signed integers of 24 bits, units of 2^-fractional bits
    opacity    u8, 255 times the opacity
    colour     3 u8, 255 (0.15 f_dc + 0.5)
    log scale  3 u8, 16 (log scale + 10)
    rotation   u32: bits 30..31 say which of x, y, z, w is largest by magnitude and left out; the others follow in that order, 10
               bits each, sign and 9 bits of magnitude in units of sqrt(1/2) / 511; the one left out is positive
    SH         u8 per coefficient above band 0, 128 (f + 1), the channel varying fastest
Versions 1 and 2 differ in positions and rotations, version 4 is no gzip stream: those are refused. Axes are written as they
are, which every writer in use does, though the description names an order of axes.
"""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recon.errors import InputError
from recon.files import atomic_write
from render.splats import Splats

MAGIC, VERSION = 0x5053474E, 3
HEADER = struct.Struct("<IIIBBBB")
ANTIALIASED = 1
"""Flag of a scene that was trained with the compensation of the screen-space filter."""
COLOUR_SCALE = 0.15
LARGEST_RATIO = 1100
"""Deflate cannot expand a byte to more than 1032: a file that claims more is broken."""
MOST_FRACTION, LARGEST_FIXED = 20, (1 << 23) - 1
FAR = 250.0
"""Median distances from the origin beyond which a splat is background that may be drawn nearer."""
QUAT_UNIT = 511 * np.sqrt(2)
SH_BITS = (6, 6)
"""Bits kept of the coefficients of band 1, and of bands 2 and 3. Against the sample scene's own renders: 48.7 dB at 33 bytes a
splat of SH degree 3; (5, 4), which the description names as usual, 37.1 dB at 25 bytes; all 8 bits 54.3 dB at 45 bytes.
"""


def write_spz(path: Path, splats: Splats, *, antialiased: bool = False, sh_bits: tuple[int, int] = SH_BITS) -> None:
    """Write splats [N] of SH degree 0 to 3. Atomic; equal splats give equal bytes.

    Values outside of what the format holds are clamped: log scale -10..5.94, SH -1..0.99, f_dc -3.3..3.3. Strays far out,
    which would coarsen the positions of all, are drawn nearer to the origin and shrunk. Raises InputError for numbers that
    are not finite.
    """
    with atomic_write(path) as stream:
        stream.write(spz_bytes(splats, antialiased=antialiased, sh_bits=sh_bits))


def spz_bytes(splats: Splats, *, antialiased: bool = False, sh_bits: tuple[int, int] = SH_BITS) -> bytes:
    """The file's bytes; see write_spz()."""
    columns = {name: column.detach().cpu().numpy() for name, column in splats.columns().items()}
    if splats.sh_degree > 3:
        raise ValueError(f"an .spz holds SH degree 3 at most, not {splats.sh_degree}")
    for name, column in columns.items():
        if not np.isfinite(column).all():
            raise InputError(
                f"The scene has values in {name} that are not finite, which an .spz cannot hold. Train again."
            )
    fraction = fractional_bits(columns["mean"])
    mean, factor = _brought_in(columns["mean"], fraction)
    planes = [
        HEADER.pack(MAGIC, VERSION, len(splats), splats.sh_degree, fraction, ANTIALIASED * antialiased, 0),
        _fixed24(mean, fraction),
        _byte(255 / (1 + np.exp(-columns["opacity_logit"].astype(np.float64)))),
        _byte(255 * (COLOUR_SCALE * columns["sh"][:, 0] + 0.5)),
        _byte(16 * (columns["log_scale"] + np.log(factor) + 10)),
        _smallest_three(columns["quat"]),
        _harmonics(columns["sh"][:, 1:], sh_bits),
    ]
    return gzip.compress(b"".join(planes), compresslevel=9, mtime=0)


def fractional_bits(mean: NDArray[np.float32]) -> int:
    """The finest step 2^-bits with which positions [N, 3] fit 24 bits; those farther than FAR times the median need not."""
    distance = np.linalg.norm(mean, axis=1)
    if len(distance) == 0:
        return MOST_FRACTION
    reach = min(float(distance.max()), FAR * float(np.median(distance)))
    return int(np.clip(np.floor(np.log2(LARGEST_FIXED / max(reach, 1e-9))), 0, MOST_FRACTION))


def _brought_in(mean: NDArray[np.float32], fraction: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Positions [N, 3], and the factors [N, 1] by which those out of reach come nearer to the origin. A splat shrunk by the same
    factor looks the same from there.
    """
    distance = np.linalg.norm(mean.astype(np.float64), axis=1, keepdims=True)
    factor = np.minimum(1, LARGEST_FIXED * 2.0**-fraction / np.maximum(distance, 1e-12))
    return mean * factor, factor


def _byte(values: NDArray) -> bytes:
    return np.clip(np.round(values), 0, 255).astype(np.uint8).tobytes()


def _fixed24(mean: NDArray[np.float64], fraction: int) -> bytes:
    steps = np.round(mean * 2.0**fraction).astype("<i4")
    return np.ascontiguousarray(steps).view(np.uint8).reshape(-1, 4)[:, :3].tobytes()


def _smallest_three(quat: NDArray[np.float32]) -> bytes:
    """Of quaternions wxyz [N, 4]; one of zero length counts as no rotation."""
    q = quat[:, [1, 2, 3, 0]].astype(np.float64)
    length = np.linalg.norm(q, axis=1, keepdims=True)
    q = np.where(length > 1e-12, q / np.maximum(length, 1e-12), [0.0, 0.0, 0.0, 1.0])
    largest = np.abs(q).argmax(1)
    q *= np.where(np.take_along_axis(q, largest[:, None], 1) < 0, -1.0, 1.0)
    rest = q[_others(largest)].reshape(-1, 3)
    magnitude = np.minimum(np.round(np.abs(rest) * QUAT_UNIT), 511).astype(np.uint32)
    codes = magnitude | (rest < 0).astype(np.uint32) << 9
    packed = largest.astype(np.uint32) << 30 | codes[:, 0] << 20 | codes[:, 1] << 10 | codes[:, 2]
    return packed.astype("<u4").tobytes()


def _others(largest: NDArray) -> NDArray[np.bool_]:
    """bool[N, 4], three True a row: all components but the largest."""
    return np.arange(4) != largest[:, None]


def _harmonics(rest: NDArray[np.float32], bits: tuple[int, int]) -> bytes:
    """Of f32[N, K - 1, 3], rounded to multiples of 2^(8 - bits): what is cut off compresses to nothing."""
    steps = np.where(np.arange(rest.shape[1]) < 3, 2.0 ** (8 - bits[0]), 2.0 ** (8 - bits[1])).astype(np.float32)[
        :, None
    ]
    return np.clip(np.round(128 * rest / steps) * steps + 128, 0, 255).astype(np.uint8).tobytes()


def read_spz(path: Path) -> Splats:
    """Read an SPZ of version 3. Opacities of 0 and 1 come back as those half a step inside.

    Raises InputError for a file that is no SPZ, of another version, cut short, or longer than its header says. What its header
    promises is allocated only when the file is large enough to hold it.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}). Name an .spz file of splats.") from error
    return splats_of(data, path)


def splats_of(data: bytes, path: Path) -> Splats:
    """The splats of an SPZ file's bytes; `path` is where they are from, for the errors; see read_spz()."""
    header, body = _unpacked(data, path)
    _, _, n, degree, fraction, _, _ = header
    bands = (degree + 1) ** 2
    sizes = _plane_sizes(n, degree)
    ends = np.cumsum([0, *sizes])
    planes = [np.frombuffer(body, np.uint8, size, start) for size, start in zip(sizes, ends[:-1], strict=True)]
    wide = np.zeros((3 * n, 4), np.uint8)
    wide[:, 1:] = planes[0].reshape(-1, 3)
    mean = (wide.view("<i4")[:, 0] >> 8).astype(np.float64) * 2.0**-fraction
    opacity = np.clip(planes[1].astype(np.float64), 0.5, 254.5) / 255
    sh = np.zeros((n, bands, 3), np.float32)
    sh[:, 0] = ((planes[2].astype(np.float64) / 255 - 0.5) / COLOUR_SCALE).reshape(n, 3)
    sh[:, 1:] = (planes[5].astype(np.float32) / 128 - 1).reshape(n, bands - 1, 3)
    arrays = {
        "mean": mean.reshape(n, 3),
        "log_scale": planes[3].reshape(n, 3) / 16 - 10,
        "quat": _quaternions(planes[4].view("<u4")),
        "opacity_logit": np.log(opacity / (1 - opacity)),
        "sh": sh,
    }
    import torch

    tensors = {name: torch.from_numpy(np.ascontiguousarray(a, np.float32)) for name, a in arrays.items()}
    return Splats(tensors["mean"], tensors["log_scale"], tensors["quat"], tensors["opacity_logit"], tensors["sh"])


def _plane_sizes(count: int, degree: int) -> list[int]:
    return [9 * count, count, 3 * count, 3 * count, 4 * count, 3 * ((degree + 1) ** 2 - 1) * count]


def _quaternions(packed: NDArray[np.uint32]) -> NDArray[np.float64]:
    """Unit quaternions wxyz [N, 4]."""
    largest = (packed >> 30).astype(np.int64)
    codes = np.stack([packed >> 20, packed >> 10, packed], 1) & 1023
    rest = (codes & 511) / QUAT_UNIT * np.where(codes >> 9, -1.0, 1.0)
    q = np.empty((len(packed), 4))
    q[_others(largest)] = rest.reshape(-1)
    left_out = np.sqrt(np.maximum(1 - (rest**2).sum(1), 0))
    np.put_along_axis(q, largest[:, None], left_out[:, None], 1)
    return q[:, [3, 0, 1, 2]]


def _unpacked(data: bytes, path: Path) -> tuple[tuple[int, ...], bytes]:
    """The header's values and the bytes after it, checked against each other."""
    packed = len(data)
    try:
        with gzip.open(io.BytesIO(data), "rb") as stream:
            head = stream.read(HEADER.size)
            header = _checked(head, path)
            size = sum(_plane_sizes(header[2], header[3]))
            if size > LARGEST_RATIO * packed:
                raise InputError(
                    f"{path} is damaged: its header promises {header[2]} splats, {size} bytes, which {packed} compressed bytes "
                    "cannot hold. Write it again."
                )
            body = stream.read(size + 1)
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InputError(
            f"{path} is no .spz file, or damaged ({error}): expected a gzip stream. Write it again."
        ) from error
    except EOFError as error:
        raise InputError(f"{path} is cut short: its gzip stream has no end. Write it again.") from error
    if len(body) != size:
        found = "more" if len(body) > size else f"{len(body)}"
        raise InputError(
            f"{path} is damaged: {header[2]} splats of SH degree {header[3]} take {size} bytes, {found} are "
            "there. Write it again."
        )
    return header, body


def _checked(head: bytes, path: Path) -> tuple[int, ...]:
    """The header's values: magic, version, count, degree, fractional bits, flags, reserved."""
    if len(head) < HEADER.size:
        raise InputError(
            f"{path} is cut short: expected a header of {HEADER.size} bytes, found {len(head)}. Write it again."
        )
    header = HEADER.unpack(head)
    if header[0] != MAGIC:
        raise InputError(f"{path} is no .spz file: it does not begin with NGSP. Name an .spz file of splats.")
    if header[1] != VERSION:
        raise InputError(f"{path} is SPZ version {header[1]}; recon reads version {VERSION}. Convert it first.")
    if header[3] > 3:
        raise InputError(f"{path} has SH degree {header[3]}; expected 0 to 3. Convert it first.")
    if header[4] > 23:
        raise InputError(
            f"{path} is damaged: positions of 24 bits cannot have {header[4]} fractional ones. Write it again."
        )
    return header
