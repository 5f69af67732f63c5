"""Structure from motion on real captures: photos placed, errors against published cameras, time; and plain pycolmap beside it.

python tests/bench/bench_sfm.py                         every capture, three seeds; fox also by plain pycolmap
python tests/bench/bench_sfm.py --sets fox --seeds 0    one capture, one seed
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from common import datasets, measured, record
from truth import Truth, llff, middlebury, pose_errors, strecha, transforms

from recon.ingest import IngestOptions, ingest
from recon.job import Job
from recon.sample import sample_cameras, sample_photos
from recon.sfm import SfmOptions, sfm
from recon.sfm.features import WORK_SIDE
from recon.sfm.ladder import FEATURES

ALLOWED = 1.25
"""Times the floor's error up to which a capture counts as reached."""


@dataclass(frozen=True)
class Target:
    """A capture and what plain pycolmap reached on it once."""

    folder: str
    photos: int
    truth: Callable[[Path], Truth] | None = None
    center_percent: float = 0.0
    rotation_deg: float = 0.0
    images: str = ""
    """Folder of the photos below `folder`, when ingest is not to see what lies beside it."""


TARGETS = {
    "fountain": Target("strecha2008_halfres/fountain-P11", 11, strecha, 0.046, 0.46, "images"),
    "herz-jesu": Target("strecha2008_halfres/Herz-Jesus-P25", 25, strecha, 0.060, 0.35, "images"),
    "temple": Target("middlebury_templeRing", 47, middlebury, 0.11, 0.77),
    "fox": Target("fox", 50, transforms, 0.12, 0.60),
    "nrnerf": Target("nrnerf_example_sequence", 86, llff, 0.22, 0.62),
    "lund": Target("opensfm_lund", 29),
    "brighton": Target("brighton_beach_drone", 18),
    "berlin": Target("opensfm_berlin", 3),
}

PLAIN = """
import sys
from pathlib import Path
import numpy
import pycolmap
photos, out, features, side = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
pycolmap.logging.minloglevel = 3
extraction = pycolmap.FeatureExtractionOptions()
extraction.max_image_size, extraction.sift.max_num_features = side, features
pycolmap.extract_features(out / "db.db", photos, [], pycolmap.CameraMode.SINGLE, extraction_options=extraction)
pycolmap.match_exhaustive(out / "db.db")
models = pycolmap.incremental_mapping(out / "db.db", photos, out)
best = max(models.values(), key=lambda m: m.num_reg_images())
import json
poses = {best.image(i).name: best.image(i).cam_from_world().matrix().tolist() for i in best.reg_image_ids()}
(out / "poses.json").write_text(json.dumps(poses))
"""


def sample_truth(_: Path) -> Truth:
    """The sample's exact cameras."""
    names, cameras = sample_cameras()
    return Truth(dict(zip(names, cameras.cam_from_world, strict=True)), 1.0)


def run(source: Path, target: Target, seed: int) -> dict[str, Any]:
    """One run in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="recon-bench-") as folder:
        capture = ingest(source, IngestOptions(poses="ignore"), Job(Path(folder) / "ingest"))
        job = Job(Path(folder) / "sfm")
        with measured() as spent:
            found = sfm(capture, SfmOptions(sfm_seed=seed), job)
        values: dict[str, Any] = {
            "registered": len(found.model.names),
            "photos": target.photos,
            "points": len(found.model.xyz),
            "rungs": job.metrics["rungs"],
            "agreement": job.metrics["agreement"],
            "cpu_seconds": round(spent.cpu, 1),
            "wall_seconds": round(spent.wall, 1),
        }
        if target.truth:
            truth = target.truth(source.parent if target.images else source)
            values |= pose_errors(truth, found.model.names, found.model.cameras.cam_from_world)
        return values


def plain(source: Path, target: Target) -> dict[str, Any]:
    """pycolmap's own pipeline with the same number of features; no undistortion."""
    import numpy as np

    assert target.truth
    photos = next((source / name for name in ("images",) if (source / name).is_dir()), source)
    with tempfile.TemporaryDirectory(prefix="recon-bench-") as folder:
        with measured() as spent:
            subprocess.run(
                [sys.executable, "-c", PLAIN, str(photos), folder, str(FEATURES), str(WORK_SIDE)],
                check=True,
                stderr=subprocess.DEVNULL,
            )
        poses = json.loads((Path(folder) / "poses.json").read_text())
    rows = np.array([np.vstack([pose, [0, 0, 0, 1]]) for pose in poses.values()])
    times = {"cpu_seconds": round(spent.cpu, 1), "wall_seconds": round(spent.wall, 1)}
    return {"registered": len(poses), **times, **pose_errors(target.truth(source), tuple(poses), rows)}


def judged(target: Target, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the seeds, and whether the capture is reached."""
    numbers = [key for key, value in runs[0].items() if isinstance(value, (int, float))]
    out: dict[str, Any] = {key: median(r[key] for r in runs) for key in numbers}
    good = min(r["registered"] for r in runs) == target.photos
    for key in ("center_percent", "rotation_deg"):
        floor = getattr(target, key)
        if floor:
            out[f"{key}_floor"] = floor
            good &= out[key] <= ALLOWED * floor
    return out | {"rungs": [r["rungs"] for r in runs], "reached": bool(good)}


def line(name: str, values: dict[str, Any]) -> str:
    error = ""
    if "center_percent" in values:
        error = f"  centres {values['center_percent']:.4f} %  rotation {values['rotation_deg']:.3f} deg"
    photos = f"{values['registered']:g}/{values['photos']}" if "photos" in values else f"{values['registered']}"
    reached = {True: "  reached", False: "  NOT REACHED"}.get(values.get("reached"), "")  # type: ignore[arg-type]
    return f"{name:12} {photos:>7}{error}  {values['cpu_seconds']:.0f} CPU s  {values['wall_seconds']:.0f} s{reached}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="*", default=["sample", *TARGETS], choices=["sample", *TARGETS])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--no-plain", action="store_true", help="without plain pycolmap on fox")
    args = parser.parse_args()
    results: dict[str, Any] = {}
    for name in args.sets:
        target = TARGETS.get(name) or Target("", 40, sample_truth)
        source = sample_photos() if name == "sample" else datasets() / target.folder / target.images
        results[name] = judged(target, [run(source, target, seed) for seed in args.seeds])
        print(line(name, results[name]), flush=True)
        if name == "fox" and not args.no_plain:
            results["fox, plain pycolmap"] = plain(source, target)
            print(line("  plain", results["fox, plain pycolmap"]), flush=True)
            ratio = results["fox"]["cpu_seconds"] / results["fox, plain pycolmap"]["cpu_seconds"]
            results["fox, CPU seconds over plain"] = round(ratio, 3)
            print(f"  CPU seconds, undistortion included, over plain pycolmap without: {ratio:.2f}")
    record("sfm", results, seeds=args.seeds)


if __name__ == "__main__":
    main()
