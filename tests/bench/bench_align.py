"""How well align() places real photos: GPS residual per photo, distance to a published point cloud, up, known distances.

    python tests/bench/bench_align.py [SET ...]

brighton (the default): GPS residuals, distance to model.laz. lund: residuals of a phone's GPS on a street. fountain,
herz, sample: up against the true vertical; sample also known distances, marked to the pixel.
model.laz was made from the same photos by other software and georeferenced by the same GPS, so raw distances hold the
difference of two georeferencings, and distances after a rigid or similarity fit (ICP) what remains of shape.
--keep FOLDER keeps and reuses the results of ingest and sfm.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from common import cpu_seconds, datasets, record

from recon.align import AlignOptions, align
from recon.capture import load_capture, save_capture
from recon.geodesy import geodetic_from_enu
from recon.geometry import Array, Sim3, fit_sim3, rotation_angle_deg
from recon.job import Job
from recon.known_distance import known_scale
from recon.sample import sample_cameras, sample_photos
from recon.sparse import read_colmap
from recon.upright import find_ground, up_from_cameras


def reconstructed(photos: Path, folder: Path):
    """Capture and reconstruction of a folder of photos by recon's own stages; reused when `folder` has them."""
    from recon.ingest import IngestOptions, ingest
    from recon.sfm import SfmOptions, load_sfm, sfm

    if (folder / "sfm" / "done").exists():
        return load_capture(folder / "ingest"), load_sfm(folder / "sfm")
    job = Job(folder / "ingest")
    capture = ingest(photos, IngestOptions(), job)
    if not (job.folder / "capture.json").exists():
        save_capture(capture, job.folder)
    reconstruction = sfm(capture, SfmOptions(), Job(folder / "sfm"))
    (folder / "sfm" / "done").touch()
    return capture, reconstruction


def aligned(photos: Path, folder: Path) -> tuple:
    capture, reconstruction = reconstructed(photos, folder)
    job, before = Job(folder / "align"), cpu_seconds()
    result = align(capture, reconstruction, AlignOptions(), job)
    return result.model, job.metrics | {"cpu_seconds_of_align": round(cpu_seconds() - before, 3)}


def brighton(folder: Path, data: Path) -> dict:
    """Residual per photo, and our sparse points against model.laz (UTM 15N, EPSG:32615)."""
    data = data / "brighton_beach_drone"
    import laspy
    from pyproj import Transformer
    from scipy.spatial import cKDTree

    model, metrics = aligned(data / "images", folder)
    if model.world.origin is None:
        return {"metrics": metrics}
    laz = laspy.read(data / "model.laz")
    cloud = np.stack([laz.x, laz.y, laz.z], 1)
    lat, lon, height = geodetic_from_enu(model.xyz, model.world.origin).T
    east, north = Transformer.from_crs(4326, 32615, always_xy=True).transform(lon, lat)
    ours = np.stack([east, north, height], 1)
    shift = cloud.mean(0)
    cloud, ours = cloud - shift, ours - shift
    tree = cKDTree(cloud)
    rigid, similar = (icp(ours, cloud, tree, with_scale) for with_scale in (False, True))
    values = {"metrics": metrics, "points": len(ours), "cloud_points": len(cloud), "raw_m": distances(ours, tree)}
    lift = np.array([0, 0, np.median(cloud_height(cloud, ours) - ours[:, 2])])
    values["shift_in_height_m"] = round(float(lift[2]), 3)
    values["after_shift_in_height_m"] = distances(ours + lift, tree)
    for name, fit in (("rigid", rigid), ("similarity", similar)):
        values[f"after_{name}_fit_m"] = distances(fit.apply(ours), tree)
        moved = fit.apply(ours).mean(0) - ours.mean(0)
        values[f"{name}_fit"] = {
            "shift_m": np.round(moved, 3).tolist(),
            "turn_deg": round(float(rotation_angle_deg(fit.rotation)), 3),
            "scale": round(fit.scale, 5),
        }
    return values


def distances(points: Array, tree) -> dict[str, float]:
    d = tree.query(points)[0]
    return {"median": round(float(np.median(d)), 3), "p90": round(float(np.quantile(d, 0.9)), 3)}


def cloud_height(cloud: Array, points: Array) -> Array:
    """Height of the cloud [P] nearest to each point across."""
    from scipy.spatial import cKDTree

    return cloud[cKDTree(cloud[:, :2]).query(points[:, :2])[1], 2]


def icp(points: Array, cloud: Array, tree, with_scale: bool, rounds: int = 60) -> Sim3:
    """Trimmed point-to-point ICP (the nearest 80 %), after the median shift in height."""
    lift = np.median(cloud_height(cloud, points) - points[:, 2])
    fit = Sim3(translation=np.array([0, 0, lift]))
    for _ in range(rounds):
        d, index = tree.query(fit.apply(points))
        near = d <= np.quantile(d, 0.8)
        fit = fit_sim3(cloud[index[near]], points[near], with_scale=with_scale)
    return fit


def lund(folder: Path, data: Path) -> dict:
    """A phone's GPS on a street walk: photos stand on a line."""
    _, metrics = aligned(data / "opensfm_lund" / "images", folder)
    return {"metrics": metrics}


def vertical(photos: Path, folder: Path, truth: dict[str, Array], up_axis: Array) -> dict:
    """Degrees between the estimated up and the truth's vertical axis, from true camera centres [3] by photo name."""
    _, reconstruction = reconstructed(photos, folder)
    model = reconstruction.model
    fit = fit_sim3(np.array([truth[Path(name).name] for name in model.names]), model.cameras.centers)
    up = up_from_cameras(model.cameras)
    if up is None:
        return {"up": None}
    ground = find_ground(model, up.direction, up.information)
    error = {"cameras": up.direction, "mean_of_y_axes": -model.cameras.cam_from_world[:, 1, :3].mean(0)}
    if ground:
        error["with_ground"] = ground.normal
    out: dict = {f"{key}_deg": angle(fit.rotation @ value, up_axis) for key, value in error.items()}
    return out | {
        "stated_error_deg": round(up.error_deg, 2),
        "ground_share": round(ground.support, 3) if ground else None,
    }


def surveyed(data: Path) -> dict[str, Array]:
    """Camera centres of .camera files: K (3 lines), distortion, R (camera to world, 3 lines), centre, size."""
    lines = {path.name.removesuffix(".camera"): path.read_text().split("\n") for path in data.rglob("*.camera")}
    return {name: np.array([line.split() for line in text if line.strip()][7], float) for name, text in lines.items()}


def sample_distances(folder: Path, trials: int = 20) -> dict:
    """Scale from one known distance: two spots half a metre apart, each marked to the pixel in three photos."""
    capture, reconstruction = reconstructed(sample_photos(), folder)
    model, (names, cameras) = reconstruction.model, sample_cameras()
    centers = cameras.centers[[names.index(name) for name in model.names]]
    true_scale = fit_sim3(centers, model.cameras.centers).scale
    rng = np.random.default_rng(0)
    photos = read_colmap(reconstruction.images.parent / "distorted")
    errors, stated = [], []
    for _ in range(trials):
        direction = rng.normal(size=3)
        spots = np.array([0, 0, 0.9]) + np.outer([-0.25, 0.25], direction / np.linalg.norm(direction))
        rows = [int(i) for i in rng.permutation(len(names))[:3]]
        pixels = cameras.project(spots)[0][rows] + rng.normal(size=(3, 2, 2))
        sides = [
            " ".join(f"{x:.0f},{y:.0f}@{names[r]}" for r, (x, y) in zip(rows, np.floor(pixels[:, k]), strict=True))
            for k in (0, 1)
        ]
        known = known_scale((f"{sides[0]} | {sides[1]} = 0.5",), capture, model, photos, {})
        errors.append(100 * abs(known.scale / true_scale - 1))
        stated.append(100 * known.error)
    return {
        "median_error_percent": round(float(np.median(errors)), 3),
        "p90_error_percent": round(float(np.quantile(errors, 0.9)), 3),
        "median_stated_error_percent": round(float(np.median(stated)), 3),
    }


def angle(a: Array, b: Array) -> float:
    return round(float(np.degrees(np.arccos(np.clip(a @ b / np.linalg.norm(a), -1, 1)))), 3)


def survey(name: str) -> Callable[[Path, Path], dict]:
    return lambda folder, data: vertical(
        data / "strecha2008_halfres" / name / "images",
        folder,
        surveyed(data / "strecha2008_halfres" / name),
        np.array([0, 0, -1.0]),  # its +Z is down
    )


def sample(folder: Path, _: Path) -> dict:
    """Up and known distances on the sample capture."""
    names, cameras = sample_cameras()
    truth = dict(zip(names, cameras.centers, strict=True))
    up = vertical(sample_photos(), folder, truth, np.array([0, 0, 1.0]))
    return {"up": up, "known_distance": sample_distances(folder)}


SETS: dict[str, Callable[[Path, Path], dict]] = {
    "brighton": brighton,
    "lund": lund,
    "fountain": survey("fountain-P11"),
    "herz": survey("Herz-Jesus-P25"),
    "sample": sample,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", metavar="SET", help=", ".join(SETS))
    parser.add_argument("--keep", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        values = {
            name: SETS[name]((args.keep or Path(scratch)) / name, datasets()) for name in args.sets or ["brighton"]
        }
    for name, value in values.items():
        print(name)
        for key, item in value.items():
            print(f"  {key}: {item}")
    record("align", values)


if __name__ == "__main__":
    main()
