"""How wrong stereo is: motorcycle (two views, beside OpenCV's SGBM), sevenscenes against Kinect, the sample against truth.

    python tests/bench/bench_depth.py [motorcycle] [sevenscenes] [sample]

motorcycle: share of the pixels with truth whose disparity is more than 2 px off, missing ones counted as off, before and
after filling holes; the same check is made of the swapped views, and must fail. SGBM: block 3, HH mode; its holes are
filled from the left and right, the smaller disparity of the two. sevenscenes: cameras from our own structure from motion
on 30 frames, scale fitted to the Kinect's depth. sample: cameras from our own structure from motion, placed by a
similarity on the true ones; of the photos those whose true depth is known, and their sources.
--keep FOLDER keeps and reuses the results of ingest and sfm. --page FILE writes the sample's maps, with error maps against
truth, as a geometry page.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from common import datasets, measured, record

from recon.align import AlignOptions, align
from recon.cameras import Cameras
from recon.capture import Capture, load_capture
from recon.depth import DepthMaps, DepthOptions, depth
from recon.depth.views import choose_views
from recon.geometry import World, fit_sim3
from recon.geometry_page import Geometry, Layers, PhotoMaps, photos_of, write_geometry_page
from recon.ingest import IngestOptions, ingest
from recon.job import Job
from recon.reconstruction import Reconstruction
from recon.sample import sample_cameras, sample_photos, sample_z
from recon.sfm import SfmOptions, load_sfm, sfm
from recon.sparse import Observations, SparseModel

F, CX, CY, DOFFS, BASELINE = 994.978, 311.193, 254.877, 31.086, 0.193001
"""Motorcycle: pixels, pixels, pixels, pixels, metres. z = BASELINE * F / (disparity + DOFFS)."""
DISPARITIES = 80
"""Disparities that both methods look through."""
BAD_PX = 2.0
LEAST_SWAPPED = 90.0
"""Percent of the pixels that must be bad when the views are swapped."""


def two_views(folder: Path, out: Path, swapped: bool = False) -> tuple[Capture, Reconstruction]:
    """The rectified pair as a reconstruction: two cameras side by side, no points; swapped: each with the other's photo."""
    from PIL import Image

    names = ("left.png", "right.png")
    (out / "images").mkdir(parents=True, exist_ok=True)
    for name, photo in zip(names, names[::-1] if swapped else names, strict=True):
        shutil.copy(folder / f"motorcycle_{photo}", out / "images" / f"{name}.png")
    width, height = Image.open(out / "images" / "left.png.png").size
    pose = np.tile(np.eye(4), (2, 1, 1))
    pose[1, 0, 3] = -BASELINE
    k = np.tile(np.array([[F, 0, CX + 0.5], [0, F, CY + 0.5], [0, 0, 1]]), (2, 1, 1))
    k[1, 0, 2] += DOFFS
    cameras = Cameras(pose, k, np.tile(np.array([width, height], np.int32), (2, 1)))
    nothing = np.zeros((0, 3))
    model = SparseModel(
        names, cameras, nothing, nothing.astype(np.uint8), np.zeros(0, np.float32), Observations.none(), World("metric")
    )
    return capture_of(names, cameras, out), Reconstruction(model, out / "images", None)


def capture_of(names: tuple[str, ...], cameras: Cameras, root: Path) -> Capture:
    n = len(names)
    return Capture(
        root=root,
        names=names,
        size=cameras.size,
        camera_id=np.zeros(n, np.int32),
        focal_prior=cameras.K[:, 0, 0],
        orientation=np.ones(n, np.uint8),
        exposure=np.full(n, np.nan),
        sha256=("0" * 64,) * n,
        split=("train",) * n,
        protocol="no photo held out",
    )


def motorcycle(folder: Path, data: Path, options: DepthOptions) -> dict[str, Any]:
    """Always at the full size, which the published numbers are for."""
    data = data / "middlebury2014_motorcycle"
    true = np.load(data / "motorcycle_disp.npz")["arr_0"]
    capture, reconstruction = two_views(data, folder)
    values: dict[str, Any] = {}
    near, far = (BASELINE * F / (d + DOFFS) for d in (DISPARITIES, 0))
    for fill in (False, True):
        mine = replace(options, depth_long_side=0, depth_near=near, depth_far=far, fill_depth=fill)
        job = Job(folder / f"depth_{fill}")
        with measured() as spent:
            maps = depth(capture, reconstruction, mine, job)
        disparity = BASELINE * F / maps.z[0] - DOFFS
        if not fill:
            sure = np.where(maps.confidence[0] > 0, disparity, np.nan)
            values["recon"] = {"bad2": bad(sure, true), "measured": float(np.isfinite(sure).mean()), "cpu_s": spent.cpu}
            values["recon"]["bad2_of_measured"] = bad(sure, np.where(np.isfinite(sure), true, np.nan))
        else:
            values["recon"]["bad2_filled"] = bad(disparity, true)
    mine = replace(options, depth_long_side=0, depth_near=near, depth_far=far)
    maps = depth(*two_views(data, folder / "swapped", swapped=True), mine, Job(folder / "depth_swapped"))
    sure = np.where(maps.confidence[0] > 0, BASELINE * F / maps.z[0] - DOFFS, np.nan)
    values["swapped_bad2"] = bad(sure, true)
    if values["swapped_bad2"] < LEAST_SWAPPED:
        raise SystemExit(f"swapped views pass the check that they must fail: {values['swapped_bad2']} % bad")
    with measured() as spent:
        block = semi_global(data)
    values["sgbm"] = {"bad2": bad(block, true), "measured": float(np.isfinite(block).mean()), "cpu_s": spent.cpu}
    values["sgbm"]["bad2_filled"] = bad(rows_filled(block), true)
    return values


def bad(disparity: np.ndarray, true: np.ndarray) -> float:
    """Percent of the pixels with truth that are off by more than BAD_PX or missing."""
    known = np.isfinite(true)
    return 100 * float(1 - (np.abs(disparity - true)[known] <= BAD_PX).mean())


def semi_global(data: Path) -> np.ndarray:
    """OpenCV's SGBM: disparity f64[H, W], NaN where it has none."""
    import cv2

    pair: list[Any] = [cv2.imread(str(data / f"motorcycle_{side}.png")) for side in ("left", "right")]
    matcher = cv2.StereoSGBM.create(
        minDisparity=0,
        numDisparities=DISPARITIES,
        blockSize=3,
        P1=8 * 3 * 9,
        P2=32 * 3 * 9,
        disp12MaxDiff=1,
        uniquenessRatio=10,
        speckleWindowSize=100,
        speckleRange=2,
        mode=cv2.STEREO_SGBM_MODE_HH,
    )
    found = matcher.compute(*pair).astype(np.float64) / 16
    return np.where(found >= 0, found, np.nan)


def rows_filled(disparity: np.ndarray) -> np.ndarray:
    """Holes take the smaller of the next disparities to the left and right, as occluded background does."""
    columns = np.arange(disparity.shape[1])
    known = np.isfinite(disparity)
    left = np.maximum.accumulate(np.where(known, columns, -1), 1)
    right = np.minimum.accumulate(np.where(known, columns, len(columns))[:, ::-1], 1)[:, ::-1]
    padded = np.pad(disparity, ((0, 0), (1, 1)), constant_values=np.inf)
    rows = np.arange(len(disparity))[:, None]
    return np.where(known, disparity, np.minimum(padded[rows, left + 1], padded[rows, right + 1]))


def reconstructed(photos: Path, folder: Path) -> tuple[Capture, Reconstruction]:
    """Capture and aligned reconstruction by recon's own stages, no photo held out; reused when `folder` has them."""
    if (folder / "done").exists():
        capture, reconstruction = load_capture(folder / "ingest"), load_sfm(folder / "sfm")
    else:
        capture = ingest(photos, IngestOptions(holdout="none"), Job(folder / "ingest"))
        reconstruction = sfm(capture, SfmOptions(), Job(folder / "sfm"))
        (folder / "done").touch()
    return capture, align(capture, reconstruction, AlignOptions(), Job(folder / "align"))


def sevenscenes(folder: Path, data: Path, options: DepthOptions) -> dict[str, Any]:
    """The colour camera is not registered to the depth camera, and nearer 525 px than its 585: the Kinect's points are
    taken into the colour camera at the same place, with the focal length that structure from motion found.
    """
    import cv2

    source, photos = data / "sevenscenes_rgbd_tsdf", folder / "photos"
    photos.mkdir(parents=True, exist_ok=True)
    for i in range(0, 300, 10):
        shutil.copy(source / f"frame-{i:06}.color.jpg", photos)
    capture, reconstruction = reconstructed(photos, folder)
    with measured() as spent:
        maps = depth(capture, reconstruction, options, Job(folder / "depth"))
    ratios, measured_share, pairs = [], [], []
    for i, name in enumerate(maps.names):
        raw: Any = cv2.imread(str(source / name.replace("color.jpg", "depth.png")), cv2.IMREAD_UNCHANGED)
        true = in_camera(raw.astype(np.float64) / 1000, maps.cameras.K[i], maps.z[i].shape)
        known, sure = np.isfinite(true), np.asarray(maps.confidence[i]) > 0
        pairs.append((np.asarray(maps.z[i])[known & sure], true[known & sure]))
        ratios.append(np.median(pairs[-1][1] / pairs[-1][0]) if len(pairs[-1][0]) else np.nan)
        measured_share.append(float(sure.mean()))
    scale = float(np.nanmedian(ratios))
    error = np.concatenate([np.abs(scale * z - true) / true for z, true in pairs])
    return {
        "frames": len(maps),
        "long_side": int(maps.cameras.size.max()),
        "registered": len(reconstruction.model.names),
        "focal_px": float(maps.cameras.K[0, 0, 0] * 640 / maps.cameras.size[0, 0]),
        "measured": float(np.mean(measured_share)),
        "median_relative_error": float(np.median(error)),
        "within_5_percent": float((error < 0.05).mean()),
        "cpu_s_per_photo": spent.cpu / len(maps),
    }


def in_camera(z: np.ndarray, k: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The Kinect's z [480, 640] (585 px, centred; 0 or 65.535 m: nothing) in a camera at the same place; NaN where unknown."""
    height, width = shape[:2]
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    column = np.floor((x - k[0, 2]) / k[0, 0] * 585 + 320).astype(int)
    row = np.floor((y - k[1, 2]) / k[1, 1] * 585 + 240).astype(int)
    inside = (column >= 0) & (row >= 0) & (column < z.shape[1]) & (row < z.shape[0])
    found = z[np.clip(row, 0, z.shape[0] - 1), np.clip(column, 0, z.shape[1] - 1)]
    return np.where(inside & (found > 0) & (found < 60), found, np.nan)


def sample(folder: Path, data: Path, options: DepthOptions, page: Path | None = None) -> dict[str, Any]:
    capture, reconstruction = reconstructed(sample_photos(), folder)
    names, cameras = sample_cameras()
    model = reconstruction.model
    rows = [names.index(name) for name in model.names]
    true_from_model = fit_sim3(cameras.centers[rows], model.cameras.centers)
    wanted = [model.names.index(name) for name in sample_z()]
    views = choose_views(model, options.depth_sources)
    rows = sorted({*wanted, *(int(j) for i in wanted for j in views[i].sources)})
    placed = replace(reconstruction, model=model.select(rows, 2).transformed(true_from_model, World("metric")))
    with measured() as spent:
        maps = depth(capture, placed, options, Job(folder / "depth"))
    photos = {name: against(maps, name, z) for name, z in sample_z().items()}
    if page is not None:
        write_page(page, maps, placed, sample_z())
    return {"long_side": int(maps.cameras.size.max()), "cpu_s_per_photo": spent.cpu / len(maps), "photos": photos}


def write_page(path: Path, maps: DepthMaps, posed: Reconstruction, truth: dict[str, np.ndarray]) -> None:
    """The geometry page of some maps whose photos partly have a true z."""
    geometry = Geometry(
        title="Sample capture",
        source="Depth by multi-view stereo, against the truth of the photos that have one.",
        maps=PhotoMaps(maps.names, maps.cameras, lambda i: Layers(maps.z[i], maps.confidence[i], maps.normal[i])),
        photo=photos_of(posed, maps.names),
        world=maps.world,
        truth=truth,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    print(path, write_geometry_page(path, geometry, Job(path.parent)))


def against(maps: DepthMaps, name: str, true: np.ndarray) -> dict[str, float]:
    """Errors of one photo's map against its true z at the pixel nearest, where both know it."""
    i = maps.names.index(name)
    height, width = maps.z[i].shape
    rows, columns = ((np.arange(n) + 0.5) * full / n for n, full in zip((height, width), true.shape, strict=True))
    true = true[rows.astype(int)[:, None], columns.astype(int)]
    known, sure = np.isfinite(true), np.asarray(maps.confidence[i]) > 0
    error = np.abs(np.asarray(maps.z[i]) - true)[known & sure]
    share = error / true[known & sure]
    return {
        "measured": float((known & sure).sum() / known.sum()),
        "median_mm": 1000 * float(np.median(error)),
        "median_relative_error": float(np.median(share)),
        "within_1_percent": float((share < 0.01).mean()),
        "within_5_percent": float((share < 0.05).mean()),
    }


SETS = {"motorcycle": motorcycle, "sevenscenes": sevenscenes, "sample": sample}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", choices=[*SETS, []], default=list(SETS))
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--page", type=Path, help="an .html file for the sample's maps")
    parser.add_argument("--long-side", type=int, default=DepthOptions().depth_long_side, help="but for motorcycle")
    args = parser.parse_args()
    root = args.keep or Path(tempfile.mkdtemp(prefix="recon-bench-"))
    values = {}
    for name in args.sets or SETS:
        folder = root / name
        for old in folder.glob("depth*"):
            shutil.rmtree(old)
        folder.mkdir(parents=True, exist_ok=True)
        more = {"page": args.page} if name == "sample" else {}
        values[name] = SETS[name](folder, datasets(), DepthOptions(depth_long_side=args.long_side), **more)
        print(name, values[name])
    values["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    record("depth", values, seeds=[0])
    if args.keep is None:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
