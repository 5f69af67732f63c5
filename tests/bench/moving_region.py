"""The moving region of a capture's photos: masks made from photos and poses alone, never from a model.

    python tests/bench/moving_region.py WORKSPACE [--out DIR] [--long-side 512]

Fixed cameras: what differs from the median over time. A moving camera: optical flow to neighbours in time (STEPS frames away)
less what the poses allow (the distance from the epipolar line); a pixel moves when most of the neighbours in which flow can be
trusted say so. Masks are opened, widened, and written as DIR/NAME.png (white = moves), of the undistorted photos' size, with
moving_region.json: the share of each photo, the settings, and a hash over all masks.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from recon.cameras import Cameras
from recon.motion import consistent, flow_between, grey, off_epipolar, stations_of, temporal_median
from tests.bench.common import record

STEPS = (-6, -3, 3, 6)
LIMIT = 0.0045
"""Of the longer side: flow farther than this from its epipolar line is motion (1.7 px of 384)."""
REACH = 0.012
"""Of the longer side: how far the region is widened."""
SHARE = 0.5
LOOKS = 25

Read = Callable[[int], NDArray[np.uint8]]


def moving_region(
    cameras: Cameras, time: NDArray, read: Read, row: int, steps: tuple[int, ...] = STEPS
) -> NDArray[np.bool_]:
    """bool[H, W] of photo `row`; `read` gives photos u8[H, W, 3] of the cameras' size (pinhole)."""
    import cv2

    station = stations_of(cameras)
    if station[row] >= 0:
        same = np.flatnonzero(station == station[row])
        picks = same[np.unique(np.linspace(0, len(same) - 1, min(LOOKS, len(same))).round().astype(int))]
        median = np.median(np.stack([read(int(i)) for i in picks]), axis=0).astype(np.uint8)
        return temporal_median([median, median, read(row)])[1]
    order = np.lexsort((time,))
    place = int(np.flatnonzero(order == row)[0])
    here, votes, trusted = grey(read(row)), 0.0, 0.0
    side = max(here.shape)
    for step in steps:
        if not 0 <= place + step < len(order):
            continue
        other = int(order[place + step])
        there = grey(read(other))
        flow, back = flow_between(here, there), flow_between(there, here)
        sure = consistent(flow, back, 0.004 * side)
        votes = votes + (sure & (off_epipolar(cameras, row, other, flow) > LIMIT * side))
        trusted = trusted + sure
    moving = (np.asarray(votes) > SHARE * np.asarray(trusted)).astype(np.uint8)
    moving = cv2.morphologyEx(moving, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    reach = 2 * round(REACH * side) + 1
    return cv2.dilate(moving, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))) > 0


def main() -> None:
    import cv2

    from recon.align import load_align
    from recon.reconstruction import read_image, shrink

    parser = argparse.ArgumentParser(description="Masks of what moves.")
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--out", type=Path, help="folder of the masks; WORKSPACE/moving_region without it")
    parser.add_argument("--long-side", type=int, default=512, help="flow is measured on photos of this size")
    args = parser.parse_args()
    found = load_align(args.workspace / "align")
    cameras, names = found.model.cameras, found.model.names
    assert cameras.time is not None, "the capture has no times"
    factor = min(1.0, args.long_side / float(cameras.size.max()))
    small = cameras.resized(np.maximum(1, np.rint(cameras.size * factor)).astype(np.int32))
    out, shares, digest = args.out or args.workspace / "moving_region", {}, hashlib.sha256()

    def read(row: int) -> NDArray[np.uint8]:
        return np.ascontiguousarray(shrink(read_image(found.image_path(names[row]))[..., :3], small.size[row]))

    for row, name in enumerate(names):
        mask = moving_region(small, cameras.time, read, row).astype(np.uint8) * 255
        width, height = (int(s) for s in cameras.size[row])
        mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)
        path = out / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), mask)
        digest.update(mask.tobytes())
        shares[name] = round(float((mask > 0).mean()), 5)
    settings = {"steps": STEPS, "limit": LIMIT, "reach": REACH, "share": SHARE, "long_side": args.long_side}
    record("moving_region", {"sha256": digest.hexdigest(), "settings": settings, "shares": shares}, out=out)


if __name__ == "__main__":
    main()
