"""The moving region of a capture's held-out photos: masks made from photos and poses alone, never from a model.

    python tests/bench/moving_region.py WORKSPACE [--out DIR] [--long-side 512]

Fixed cameras: what differs from the median over time, or from the photos before and after. A moving camera: optical flow to
neighbours in time (STEPS frames away) less what the poses allow. Flow alone is worth nothing on a bare wall, so that a pixel's
evidence is how much better its neighbourhood fits where flow leads than anywhere on its epipolar line (grey levels); pixels
with strong evidence in most neighbours begin a region, weaker ones nearby join it. Regions are closed, widened, and written as
DIR/NAME.png (white = moves), of the undistorted photos' size, with moving_region.json: the share of each photo, the settings, and
a hash over all masks. The settings were chosen by eye on masks over photos, before any scene was trained.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from recon.cameras import Cameras
from recon.motion import DEVIATION, consistent, flow_between, grey, stations_of, temporal_median
from tests.bench.common import record

STEPS = (-6, -4, -2, 2, 4, 6)
STRONG, WEAK = (3.0, 0.0025), (1.2, 0.0016)
"""Evidence in grey levels, and distance from the epipolar line as a share of the longer side (1.3 and 0.8 px of 512)."""
VOTES, SHARE = 2, 0.34
"""So many neighbours, and this share of those in which flow can be trusted, must say so."""
ALONG = 24
"""Pixels along the epipolar line, to both sides of the place nearest to where flow leads, in which a better fit is looked for."""
TRUST = 0.006
"""Of the longer side: how far flow there and back may miss."""
SMALLEST = 0.0012
"""Of the picture: regions with less strong evidence are noise."""
BORDER, NEAR, CLOSE, REACH = 0.02, 0.05, 0.035, 0.015
"""Of the longer side: rim without evidence, how near weak evidence must be, gaps that are closed, how far a region is widened."""
LOOKS = 25
APART = 6
"""Frames between a fixed camera's photos that are compared."""

Read = Callable[[int], NDArray[np.uint8]]
Mask = NDArray[np.bool_]


def moving_region(cameras: Cameras, time: NDArray, read: Read, row: int, steps: tuple[int, ...] = STEPS) -> Mask:
    """bool[H, W] of photo `row`; `read` gives photos u8[H, W, 3] of the cameras' size (pinhole)."""
    station = stations_of(cameras)
    if station[row] >= 0:
        same = np.flatnonzero(station == station[row])
        return seen_by_fixed(same[np.argsort(time[same])], read, row)
    order = np.argsort(time, kind="stable")
    place = int(np.flatnonzero(order == row)[0])
    found = [evidence(cameras, read, row, int(order[place + step])) for step in steps if 0 <= place + step < len(order)]
    return region(np.stack([fit for fit, _ in found]), np.stack([off for _, off in found]))


def seen_by_fixed(same: NDArray[np.intp], read: Read, row: int) -> Mask:
    """bool[H, W] for a camera that stands still, whose photos in time are the rows `same`."""
    here, place = read(row), int(np.flatnonzero(same == row)[0])
    picks = np.unique(np.linspace(0, len(same) - 1, min(LOOKS, len(same))).round().astype(int))
    median = np.median(np.stack([read(int(same[i])) for i in picks]), axis=0).astype(np.uint8)
    away = [differs(here, read(int(same[i]))) for i in (place - APART, place + APART) if 0 <= i < len(same)]
    side = max(here.shape[:2])
    both = opened(np.logical_and.reduce(away) if away else np.zeros(here.shape[:2], bool))
    return closed(temporal_median([median, median, here])[1] | widened(both, REACH * side), CLOSE / 2 * side)


def differs(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> Mask:
    import cv2

    return cv2.absdiff(cv2.blur(a, (3, 3)), cv2.blur(b, (3, 3))).max(-1) > DEVIATION


def evidence(cameras: Cameras, read: Read, row: int, other: int) -> tuple[NDArray, NDArray]:
    """f32[H, W] twice: how much better a pixel fits where flow to another photo leads than on its epipolar line (grey levels),
    and how far from that line flow leads (pixels). NaN where flow cannot be trusted."""
    import cv2

    here, there = clear(read(row)), clear(read(other))
    height, width = here.shape
    flow, back = flow_between(here, there), flow_between(there, here)
    sure = consistent(flow, back, TRUST * max(here.shape))
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    line = lines(cameras, row, other)
    u, v = x + flow[..., 0], y + flow[..., 1]
    off = line[..., 0] * (u + 0.5) + line[..., 1] * (v + 0.5) + line[..., 2]

    def misfit(u: NDArray, v: NDArray) -> NDArray:
        warped = cv2.remap(
            there, u.astype(np.float32), v.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        return cv2.blur(cv2.absdiff(warped, here).astype(np.float32), (7, 7))

    free, foot_u, foot_v = misfit(u, v), u - off * line[..., 0], v - off * line[..., 1]
    bound = np.full(here.shape, np.inf, np.float32)
    for k in range(-ALONG, ALONG + 1):
        bound = np.minimum(bound, misfit(foot_u - k * line[..., 1], foot_v + k * line[..., 0]))
    return np.where(sure, bound - free, np.nan), np.where(sure, np.abs(off), np.nan)


def clear(photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """u8[H, W], grey: shadows lifted, its brightest hundredth white."""
    import cv2

    soft = cv2.GaussianBlur(grey(photo).astype(np.float32), (0, 0), 0.7)
    return (255 * np.clip(soft / max(1.0, float(np.percentile(soft, 99))), 0, 1) ** 0.6).astype(np.uint8)


def lines(cameras: Cameras, a: int, b: int) -> NDArray[np.float64]:
    """f64[H, W, 3]: the epipolar line in photo b of each pixel of photo a, its normal of length 1; the cameras stand apart."""
    width, height = (int(s) for s in cameras.size[a])
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    b_from_a = cameras.cam_from_world[b] @ cameras.world_from_cam[a]
    turned = np.stack([x, y, np.ones_like(x)], -1) @ (cameras.K[b] @ b_from_a[:3, :3] @ np.linalg.inv(cameras.K[a])).T
    line = np.cross(np.broadcast_to(cameras.K[b] @ b_from_a[:3, 3], turned.shape), turned)
    return line / np.maximum(np.linalg.norm(line[..., :2], axis=-1, keepdims=True), 1e-12)


def region(fit: NDArray, off: NDArray) -> Mask:
    """bool[H, W] from the evidence [S, H, W] of the neighbours, see evidence()."""
    import cv2

    trusted, side = np.isfinite(fit).sum(0), max(fit.shape[1:])

    def says(least: float, away: float) -> Mask:
        votes = ((fit > least) & (off > away * side)).sum(0)  # NaN says no
        return (votes >= VOTES) & (votes >= SHARE * trusted)

    strong, rim = says(*STRONG), round(BORDER * side)
    strong[:rim] = strong[-rim:] = strong[:, :rim] = strong[:, -rim:] = False
    strong = opened(strong)
    label = np.asarray(cv2.connectedComponents(closed(strong, CLOSE * side).astype(np.uint8))[1], np.int32)
    amount = np.bincount(label[strong], minlength=int(label.max()) + 1)
    kept = (amount >= SMALLEST * strong.size)[label] & (label > 0)
    joined = closed(kept | (says(*WEAK) & widened(kept, NEAR * side)), CLOSE * side)
    return widened(joined, REACH * side)


def opened(mask: Mask) -> Mask:
    import cv2

    return cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0


def widened(mask: Mask, reach: float) -> Mask:
    import cv2

    return cv2.dilate(mask.astype(np.uint8), _ellipse(reach)) > 0


def closed(mask: Mask, reach: float) -> Mask:
    """With gaps and holes filled."""
    import cv2
    from scipy.ndimage import binary_fill_holes

    pad = round(reach) + 1
    wide = cv2.copyMakeBorder(mask.astype(np.uint8), pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=0)
    whole = cv2.morphologyEx(wide, cv2.MORPH_CLOSE, _ellipse(reach))[pad:-pad, pad:-pad] > 0
    return np.asarray(binary_fill_holes(whole), bool)


def _ellipse(reach: float) -> NDArray[np.uint8]:
    import cv2

    size = 2 * round(reach) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), np.uint8)


def main() -> None:
    import cv2

    from recon.reconstruction import read_image, shrink
    from recon.workspace import Workspace

    parser = argparse.ArgumentParser(description="Masks of what moves in held-out photos.")
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--out", type=Path, help="folder of the masks; WORKSPACE/moving_region without it")
    parser.add_argument("--long-side", type=int, default=512, help="flow is measured on photos of this size")
    args = parser.parse_args()
    workspace = Workspace(args.workspace)
    found, judged = workspace.load("align"), workspace.load("ingest").test_names
    cameras, names = found.model.cameras, found.model.names
    assert cameras.time is not None, "the capture has no times"
    factor = min(1.0, args.long_side / float(cameras.size.max()))
    small = cameras.resized(np.maximum(1, np.rint(cameras.size * factor)).astype(np.int32))
    out, shares, digest = args.out or args.workspace / "moving_region", {}, hashlib.sha256()

    @functools.lru_cache(maxsize=512)
    def read(row: int) -> NDArray[np.uint8]:
        return np.ascontiguousarray(shrink(read_image(found.image_path(names[row]))[..., :3], small.size[row]))

    for row, name in enumerate(names):
        if name not in judged:
            continue
        mask = moving_region(small, cameras.time, read, row).astype(np.uint8) * 255
        width, height = (int(s) for s in cameras.size[row])
        mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)
        path = out / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), mask)
        digest.update(mask.tobytes())
        shares[name] = round(float((mask > 0).mean()), 5)
    settings = {"steps": STEPS, "strong": STRONG, "weak": WEAK, "votes": VOTES, "share": SHARE, "along": ALONG}
    settings |= {"trust": TRUST, "smallest": SMALLEST, "border": BORDER, "near": NEAR, "close": CLOSE, "reach": REACH}
    settings |= {"apart": APART, "long_side": args.long_side}
    record(
        "moving_region",
        {"sha256": digest.hexdigest(), "settings": settings, "shares": shares},
        out=out / "moving_region.json",
    )


if __name__ == "__main__":
    main()
