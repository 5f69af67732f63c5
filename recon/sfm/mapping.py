"""Mapping: cameras and points from verified matches, by pycolmap; and how much of the matches a model explains."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recon.files import sync_tree
from recon.geometry import Array
from recon.job import Job
from recon.photos import workers
from recon.sfm.features import opened
from recon.sfm.pairs import Pair
from recon.sfm.worker import check_written, run_worker

if TYPE_CHECKING:
    import pycolmap

MIN_MODEL = 3
"""Models of fewer photos are not kept."""
LOG = "worker.log"
AGREES_PX = 4.0
"""Sampson error, in working pixels, up to which a model explains a match."""


@dataclass(frozen=True)
class MapOptions:
    """What all mapping calls share."""

    seed: int = 0
    threads: int = 0
    """0: all."""

    @property
    def num_threads(self) -> int:
        return self.threads or workers()


RELAXED: dict[str, Any] = {
    "min_num_matches": 10,
    "mapper": {
        "init_min_num_inliers": 50,
        "init_min_tri_angle": 4.0,
        "init_max_forward_motion": 1.0,
        "abs_pose_min_num_inliers": 12,
        "abs_pose_min_inlier_ratio": 0.1,
        "abs_pose_max_error": 16.0,
        "filter_min_tri_angle": 0.5,
    },
    "triangulation": {"min_angle": 0.5, "ignore_two_view_tracks": False},
}
"""What the rung "relaxed thresholds" asks of pycolmap: narrower angles, fewer matches, tracks of two photos."""


def registered(model: pycolmap.Reconstruction) -> set[int]:
    """Rows of the capture that the model has a pose for."""
    return {image_id - 1 for image_id in model.reg_image_ids()}


def incremental(
    database: Path,
    folder: Path,
    job: Job,
    options: MapOptions,
    extra: dict[str, Any] | None = None,
    start: Path | None = None,
    total: int | None = None,
) -> list[pycolmap.Reconstruction]:
    """Models by incremental mapping, most photos first; none is an empty list. `start`: a model on disk to go on from.

    The models are kept in `folder` as soon as they are whole; a call that finds them there reads them.
    """
    settings = dict(extra or {}) | {
        "num_threads": options.num_threads,
        "random_seed": options.seed,
        "min_model_size": MIN_MODEL,
        "extract_colors": False,
    }

    def call(out: Path, task: Any) -> None:
        request = {"database": str(database), "out": str(out), "start": str(start or ""), "settings": settings}
        run_worker("incremental", request, out / LOG, lambda done: task.update(min(done, total or done)))

    return _kept(folder, job, "placing cameras", total, call)


def global_(database: Path, folder: Path, job: Job, options: MapOptions) -> list[pycolmap.Reconstruction]:
    """Models by pycolmap's global mapper (Pan et al., Global structure-from-motion revisited, ECCV 2024), kept like those

    of incremental(). It works on a copy of the database, as it rewrites two-view geometries.
    """

    def call(out: Path, task: Any) -> None:
        copy = copy_database(database, out / "database.db")
        settings = {"mapper": {"num_threads": options.num_threads, "random_seed": options.seed}}
        run_worker("global", {"database": str(copy), "out": str(out), "settings": settings}, out / LOG)

    return _kept(folder, job, "placing all cameras at once", None, call)


def triangulated(
    model: pycolmap.Reconstruction, database: Path, options: MapOptions, max_error: float = 4.0
) -> pycolmap.Reconstruction:
    """The model with the points that its poses give, which stay; the ones it had are dropped. `max_error`: working pixels."""
    import pycolmap

    settings = {
        "num_threads": options.num_threads,
        "random_seed": options.seed,
        "extract_colors": False,
        "mapper": {"filter_max_reproj_error": max_error},
        "triangulation": {"merge_max_reproj_error": max_error, "complete_max_reproj_error": max_error},
    }
    with tempfile.TemporaryDirectory(prefix="recon-", dir=database.parent) as folder:
        start, out = Path(folder) / "start", Path(folder) / "out"
        out.mkdir()
        save_model(model, start)
        request = {"database": str(database), "model": str(start), "out": str(out), "settings": settings}
        run_worker("triangulate", request, Path(folder) / LOG)
        return pycolmap.Reconstruction(out)


def save_model(model: pycolmap.Reconstruction, folder: Path) -> Path:
    """Write a model into a folder that appears whole. Raises OSError when the disk is full."""
    part = folder.with_name(f"{folder.name}.part")
    for old in (part, folder):
        shutil.rmtree(old, ignore_errors=True)
    part.mkdir(parents=True)
    model.write(part)
    check_written(model, part)
    return part.rename(folder)


def _kept(
    folder: Path, job: Job, text: str, total: int | None, call: Callable[[Path, Any], None]
) -> list[pycolmap.Reconstruction]:
    """The models that `call` writes into a folder; done once, into a folder that appears whole."""
    import pycolmap

    if not folder.is_dir():
        part = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        with job.task(text, total=total) as task:
            call(part, task)
        for database in part.glob("database.db*"):
            database.unlink()
        sync_tree(part)
        part.rename(folder)
    found = sorted(
        path.parent for path in folder.glob("**/images.bin")
    )  # one that was gone on with is not in a subfolder
    models = [pycolmap.Reconstruction(path) for path in found]
    models = [model for model in models if model.num_reg_images() >= MIN_MODEL]
    return sorted(models, key=lambda m: (-m.num_reg_images(), -m.num_points3D()))


def copy_database(source: Path, target: Path) -> Path:
    """A consistent copy that appears whole. Nobody may have the source open through pycolmap (see matching.py)."""
    import sqlite3

    part = target.with_name(f"{target.name}.copying")
    part.unlink(missing_ok=True)
    reader, writer = sqlite3.connect(source), sqlite3.connect(part)
    try:
        reader.backup(writer)
    finally:
        reader.close()
        writer.close()
    os.replace(part, target)
    return target


@dataclass(frozen=True)
class Agreement:
    """How many verified matches between registered photos a model's poses explain."""

    explained: dict[Pair, int]
    """Matches whose Sampson error is at most AGREES_PX."""
    tried: dict[Pair, int]
    """All of them."""

    @property
    def share(self) -> float:
        """0..1; near 1 for a right model, clearly less for a folded one."""
        return sum(self.explained.values()) / max(1, sum(self.tried.values()))

    def of_row(self, row: int) -> float:
        """The same over the matches of one photo."""
        pairs = [pair for pair in self.tried if row in pair]
        return sum(self.explained[p] for p in pairs) / max(1, sum(self.tried[p] for p in pairs))

    def without(self, row: int) -> Agreement:
        """The same without one photo's matches."""
        keep = [pair for pair in self.tried if row not in pair]
        return Agreement({p: self.explained[p] for p in keep}, {p: self.tried[p] for p in keep})


def agreement(model: pycolmap.Reconstruction, database: Path) -> Agreement:
    """Holds every verified match between two registered photos against the model's epipolar geometry."""
    import pycolmap

    rows = registered(model)
    rays, focal, pose = {}, {}, {}
    explained, tried = {}, {}
    with opened(database) as db:
        for row in rows:
            image = model.image(row + 1)
            camera = model.camera(image.camera_id)
            rays[row] = camera.cam_from_img(db.read_keypoints(row + 1)[:, :2].astype(np.float64))
            focal[row], pose[row] = camera.mean_focal_length(), image.cam_from_world().matrix()
        keys, geometries = db.read_two_view_geometries()
    for key, geometry in zip(keys, geometries, strict=True):
        i, j = (image_id - 1 for image_id in pycolmap.pair_id_to_image_pair(key))
        if i not in rows or j not in rows or not len(geometry.inlier_matches):
            continue
        a, b = rays[i][geometry.inlier_matches[:, 0]], rays[j][geometry.inlier_matches[:, 1]]
        error = sampson(a, b, pose[i], pose[j]) * 0.5 * (focal[i] + focal[j])
        pair = (min(i, j), max(i, j))
        explained[pair], tried[pair] = int((error <= AGREES_PX).sum()), len(error)
    return Agreement(explained, tried)


def sampson(a: Array, b: Array, a_from_world: Array, b_from_world: Array) -> Array:
    """Sampson distances [M] of normalised coordinates a, b [M, 2] (Hartley and Zisserman, Multiple view geometry, 11.4.3)."""
    rotation = b_from_world[:, :3] @ a_from_world[:, :3].T
    t = b_from_world[:, 3] - rotation @ a_from_world[:, 3]
    cross = np.array([[0, -t[2], t[1]], [t[2], 0, -t[0]], [-t[1], t[0], 0]])
    essential = cross @ rotation
    x, y = np.column_stack([a, np.ones(len(a))]), np.column_stack([b, np.ones(len(b))])
    line_b, line_a = x @ essential.T, y @ essential
    weight = (line_b[:, :2] ** 2).sum(1) + (line_a[:, :2] ** 2).sum(1)
    return np.abs((y * line_b).sum(1)) / np.sqrt(np.maximum(weight, 1e-24))
