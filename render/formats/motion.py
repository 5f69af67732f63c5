"""How moving splats change over a segment of time: keyframes, the curve between them, and the bytes of both.

A channel (mean, quat, log_scale, opacity) of a splat is base + unit * n(t): base is what the file's base holds of it, unit a
step that hangs on the splat's size, and n whole numbers at K + 1 evenly spaced keyframes of the segment, K = 0 for a splat that
rests in it. Between keyframes n follows the cubic Hermite curve whose slopes are central differences, at the ends those of
the parabola through three keyframes; with K = 1, a line. Each splat has the smallest K, of the divisors of the segment's
frames, that stays within the tolerance at every frame; docs/moving-format.md has the bytes.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from recon.geometry import Array
from render.splats import Splats

WIDTH = {"mean": 3, "quat": 4, "log_scale": 3, "opacity": 1}
"""Numbers that a channel has."""
ALWAYS = ("mean", "quat", "log_scale")
MOST_FRAMES = 255
"""Of a segment: K is a byte."""
LEVERS = (0.25, 64.0)
"""Span of the lever: how far the long axis reaches beyond the short one, in units of the splat's size."""
LARGEST = 1 << 27
"""Of n: so that third differences fit 32 bits."""
HIGHEST_ORDER = 3
LARGEST_RATIO = 1100
"""Deflate cannot expand a byte to more than 1032."""

Tracks = Mapping[str, Array]


@dataclass(frozen=True)
class Units:
    """What a whole step means for each of M moving splats, from the file's base."""

    base: dict[str, Array]
    """Channel -> f64[M, C]."""
    size: Array
    """f64[M], world units: the middle one of the standard deviations, or the file's `finest` where that is larger."""
    lever: Array
    """f64[M]: an angle times this is a displacement in units of `size`."""
    step: dict[str, Array]
    """Channel -> f64[M, 1]."""

    def values(self, channel: str, n: Array, rows: NDArray[np.int64] | slice = slice(None)) -> Array:
        """The channel's values for whole or interpolated numbers n [..., M', C]; quaternions are normalised."""
        found = self.base[channel][rows] + self.step[channel][rows] * n
        return found / np.linalg.norm(found, axis=-1, keepdims=True) if channel == "quat" else found


def units_of(base: Splats, rows: NDArray[np.int64], tolerance: float, finest: float) -> Units:
    """Of some rows of the base as it is read back from the file."""
    chosen = {name: column[rows].numpy().astype(np.float64) for name, column in base.columns().items() if name != "sh"}
    sigma = np.exp(np.sort(chosen["log_scale"], axis=1))
    size = np.maximum(sigma[:, 1], finest)
    lever = np.clip((sigma[:, 2] - sigma[:, 0]) / size, *LEVERS)
    same = np.full((len(rows), 1), 1.0)
    step = {
        "mean": 0.5 * tolerance * size[:, None],
        "quat": 0.25 * tolerance / lever[:, None],
        "log_scale": 0.5 * tolerance * same,
        "opacity": same / 255,
    }
    opacity = 1 / (1 + np.exp(-chosen.pop("opacity_logit")))
    return Units(chosen | {"opacity": opacity[:, None]}, size, lever, step)


def off_by(true: Tracks, shown: Tracks, size: Array, lever: Array) -> Array:
    """f64[M]: the worst error of any frame in units of the tolerance's: displacement by the splat's size, at its centre or, by a
    wrong rotation, at the end of its long axis; the logarithm of a scale; four times the opacity's. Tracks are [F, M, C].
    """
    turned = true["quat"] - shown["quat"]
    against = true["quat"] + shown["quat"]
    angle = 2 * np.sqrt(np.minimum((turned**2).sum(-1), (against**2).sum(-1)))
    parts = [
        np.linalg.norm(true["mean"] - shown["mean"], axis=-1) / size,
        angle * lever,
        np.abs(true["log_scale"] - shown["log_scale"]).max(-1),
    ]
    if "opacity" in true:
        parts.append(4 * np.abs(true["opacity"] - shown["opacity"])[..., 0])
    return np.maximum.reduce(parts).max(0)


@lru_cache(64)
def curve(keys: int, frames: int) -> Array:
    """f64[frames + 1, keys + 1]: what each keyframe's number adds to the number at each of the segment's frames."""
    return curve_at(keys, np.linspace(0, 1, frames + 1))


def curve_at(keys: int, share: Array) -> Array:
    """f64[T, keys + 1] at shares 0..1 of the segment; keys: K."""
    if keys == 0:
        return np.ones((len(share), 1))
    at = np.clip(share, 0, 1) * keys
    j = np.minimum(at.astype(np.int64), keys - 1)
    u = (at - j)[:, None]
    slopes = np.zeros((keys + 1, keys + 1))
    slopes[np.arange(1, keys), np.arange(2, keys + 1)] = 0.5
    slopes[np.arange(1, keys), np.arange(keys - 1)] = -0.5
    if keys == 1:
        slopes[:, 0], slopes[:, 1] = -1, 1
    else:
        slopes[0, :3], slopes[-1, -3:] = (-1.5, 2, -0.5), (0.5, -2, 1.5)
    one = np.eye(keys + 1)
    return (
        (1 + 2 * u) * (1 - u) ** 2 * one[j]
        + u * (1 - u) ** 2 * slopes[j]
        + u * u * (3 - 2 * u) * one[j + 1]
        + u * u * (u - 1) * slopes[j + 1]
    )


def divisors(frames: int) -> list[int]:
    return [k for k in range(1, frames + 1) if frames % k == 0]


def segment_frames(total: int, fps: float) -> list[int]:
    """Frames of each segment: about a second each, a number with many divisors; what is left over makes the last one."""
    near = max(1, min(round(fps), MOST_FRAMES))
    choices = range(max(1, round(0.8 * near)), min(MOST_FRAMES, round(1.25 * near)) + 1)
    length = min(choices, key=lambda n: (-len(divisors(n)), abs(n - near)))
    whole, rest = divmod(total, length)
    return [length] * whole + ([rest] if rest else [])


@dataclass(frozen=True)
class Group:
    """Splats of a segment that have equally many keyframes."""

    rows: NDArray[np.int64]
    """i64[m], among the M that move, rising."""
    keys: int
    """K."""
    n: dict[str, Array]
    """Channel -> f64[K + 1, m, C], whole numbers."""

    def values(self, channel: str, units: Units, share: float) -> Array:
        """f64[m, C] at a share 0..1 of the segment."""
        weights = curve_at(self.keys, np.array([share]))[0]
        n: Array = np.einsum("k,kmc->mc", weights, self.n[channel])
        return units.values(channel, n, self.rows)


def fit(tracks: Tracks, units: Units, tolerance: float) -> list[Group]:
    """The keyframes of a segment's tracks, channel -> f64[frames + 1, M, C]."""
    frames = len(tracks["mean"]) - 1
    left, groups = np.arange(len(units.size)), []
    for keys in [0, *divisors(frames)]:
        if len(left) == 0:
            break
        n = _rounded({name: track[:, left] for name, track in tracks.items()}, units, left, keys)
        if keys == frames:
            good = np.ones(len(left), bool)
        else:
            shown = {
                name: units.values(name, np.tensordot(curve(keys, frames), values, 1), left)
                for name, values in n.items()
            }
            true = {name: track[:, left] for name, track in tracks.items()}
            good = off_by(true, shown, units.size[left], units.lever[left]) <= tolerance
        if good.any():
            groups.append(Group(left[good], keys, {name: values[:, good] for name, values in n.items()}))
        left = left[~good]
    return groups


def _rounded(tracks: Tracks, units: Units, rows: NDArray[np.int64], keys: int) -> dict[str, Array]:
    """Channel -> f64[keys + 1, m, C]: whole numbers at the keyframes; with keys = 0 those in the middle of what occurs."""
    frames = len(tracks["mean"]) - 1
    found = {}
    for name, track in tracks.items():
        exact = (track - units.base[name][rows]) / units.step[name][rows]
        chosen = (exact.min(0) + exact.max(0))[None] / 2 if keys == 0 else exact[:: frames // keys]
        found[name] = np.clip(np.round(chosen), -LARGEST, LARGEST)
    return found


# Bytes


def pack(groups: list[Group], moving: int, channels: tuple[str, ...]) -> bytes:
    """The bytes of a segment."""
    keys = np.zeros(moving, np.uint8)
    for group in groups:
        keys[group.rows] = group.keys
    blocks = [keys.tobytes()]
    for group in sorted(groups, key=lambda g: g.keys):
        blocks += [_pack_channel(group.n[name].astype(np.int64)) for name in channels]
    plain = b"".join(blocks)
    return len(plain).to_bytes(4, "little") + zlib.compress(plain, 9)


def _pack_channel(n: NDArray[np.int64]) -> bytes:
    """Order of the prediction, bytes a number, and the planes [byte, key, component, splat] of the residuals."""
    tried = [residuals(n, order) for order in range(1, HIGHEST_ORDER + 1)]
    chosen = int(np.argmin([np.log2(1 + 2 * np.abs(r)).sum() for r in tried]))
    best, order = tried[chosen], chosen + 1
    zigzag = np.ascontiguousarray(np.where(best < 0, -2 * best - 1, 2 * best).transpose(0, 2, 1).astype("<u4"))
    planes = zigzag.view(np.uint8).reshape(-1, 4).T
    width = max(1, max((i + 1 for i in range(4) if planes[i].any()), default=1))
    return bytes([order, width]) + planes[:width].tobytes()


def residuals(n: NDArray[np.int64], order: int) -> NDArray[np.int64]:
    """What is left of n [K + 1, ...] after prediction from up to `order` keyframes before: of order 1 the last one, of 2 the
    line and of 3 the parabola through the last ones.
    """
    found = n.copy()
    for j in range(1, len(n)):
        found[j] = n[j] - _predicted(n, j, order)
    return found


def _predicted(n: NDArray[np.int64], j: int, order: int) -> NDArray[np.int64]:
    used = min(order, j)
    if used == 1:
        return n[j - 1]
    if used == 2:
        return 2 * n[j - 1] - n[j - 2]
    return 3 * n[j - 1] - 3 * n[j - 2] + n[j - 3]


def unpack(data: bytes, moving: int, frames: int, channels: tuple[str, ...]) -> list[Group]:
    """Read what pack() wrote. Raises ValueError with what is wrong with it; takes no more memory than M and the frames allow."""
    if len(data) < 4:
        raise ValueError("it is cut short")
    promised = int.from_bytes(data[:4], "little")
    most = moving * (1 + 4 * (frames + 1) * sum(WIDTH[name] for name in channels)) + 2 * len(channels) * 256
    if promised > min(most, LARGEST_RATIO * len(data)):
        raise ValueError(f"it promises {promised} bytes, more than it can hold")
    plain = inflate(data[4:], promised)
    if len(plain) < moving:
        raise ValueError("it is cut short")
    keys = np.frombuffer(plain, np.uint8, moving)
    if bad := sorted(k for k in set(keys.tolist()) if k and frames % k):
        raise ValueError(f"{bad[0]} keyframes do not divide {frames} frames")
    at, groups = moving, []
    for k in sorted(set(keys.tolist())):
        rows = np.flatnonzero(keys == k)
        n = {}
        for name in channels:
            n[name], at = _unpack_channel(plain, at, (k + 1, WIDTH[name], len(rows)))
        groups.append(Group(rows, k, n))
    if at != len(plain):
        raise ValueError(f"{len(plain) - at} bytes of it belong to nothing")
    return groups


def inflate(data: bytes, size: int) -> bytes:
    """A zlib stream that holds exactly `size` bytes. Raises ValueError for any other."""
    worker = zlib.decompressobj()
    try:
        plain = worker.decompress(data, size + 1)
    except zlib.error as error:
        raise ValueError(f"its compression is broken ({error})") from error
    if len(plain) != size or not worker.eof or worker.unused_data:
        raise ValueError(f"it does not hold the {size} bytes that were promised")
    return plain


def _unpack_channel(plain: bytes, at: int, shape: tuple[int, int, int]) -> tuple[Array, int]:
    """f64[K + 1, m, C] and where the next channel begins."""
    if at + 2 > len(plain):
        raise ValueError("it is cut short")
    order, width = plain[at], plain[at + 1]
    if not 1 <= order <= HIGHEST_ORDER or not 1 <= width <= 4:
        raise ValueError(f"order {order} and {width} bytes a number are unknown")
    count = int(np.prod(shape))
    end = at + 2 + width * count
    if end > len(plain):
        raise ValueError("it is cut short")
    planes = np.zeros((count, 4), np.uint8)
    planes[:, :width] = np.frombuffer(plain, np.uint8, width * count, at + 2).reshape(width, count).T
    zigzag = planes.view("<u4")[:, 0].astype(np.int64)
    n = np.where(zigzag & 1, -(zigzag >> 1) - 1, zigzag >> 1).reshape(shape).transpose(0, 2, 1).copy()
    for j in range(1, len(n)):
        n[j] += _predicted(n, j, order)
    return np.clip(n, -LARGEST, LARGEST).astype(np.float64), end


def unwrapped(quat: Array, first: Array) -> Array:
    """Quaternions [F, M, 4], each with the sign that follows the one before it, the first with that of `first` [M, 4]."""
    signed = quat.copy()
    before = first
    for frame in signed:
        frame *= np.where((frame * before).sum(-1, keepdims=True) < 0, -1.0, 1.0)
        before = frame
    return signed


def spans(frames: list[int]) -> Iterator[tuple[int, int]]:
    """First and last frame of each segment; the last one of a segment is the first one of the next."""
    first = 0
    for count in frames:
        yield first, first + count
        first += count
