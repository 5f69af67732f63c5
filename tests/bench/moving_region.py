"""The moving region of a capture's photos: masks made from photos and poses alone, never from a model.

    python tests/bench/moving_region.py WORKSPACE [--out DIR] [--long-side 512]

The masks of recon/moving_region.py, written as DIR/NAME.png (white = moves), of the undistorted photos' size, with
moving_region.json: the share of each photo, the settings, and a hash over all masks.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from recon.moving_region import LIMIT, REACH, SHARE, STEPS, moving_region
from tests.bench.common import record


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
