"""The depth camera's share of depth(): maps of every training photo with a depth image, alone or joined with stereo's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recon.cameras import Cameras, fit_size
from recon.depth.maps import KINDS, map_path, save_index, save_map
from recon.depth.photos import prepare_photo
from recon.depth.sensor import Sensor, confidence_of, planes_of
from recon.depth.sensor_scale import METRIC_DOUBT, SensorScale, left_out_words, sensor_scale
from recon.depth.solve import camera_normals
from recon.sparse import SparseModel
from recon.wording import count, some

if TYPE_CHECKING:
    from recon.capture import Capture
    from recon.depth import DepthOptions
    from recon.job import Job
    from recon.reconstruction import Reconstruction

ENOUGH = 0.5
"""With depth images for this share of the training photos the depth camera does alone."""


@dataclass(frozen=True)
class SensorDepth:
    """Depth images that fit the cameras."""

    sensor: Sensor
    model: SparseModel
    """Training photos only."""
    cameras: Cameras
    """[N], at the size of the maps."""
    units: float
    """World units in a metre."""
    fit: frozenset[str]
    """Photos whose depth image is used."""
    joins: bool
    """Whether stereo answers where the depth camera does not."""
    options: DepthOptions
    job: Job

    @staticmethod
    def of(capture: Capture, reconstruction: Reconstruction, options: DepthOptions, job: Job) -> SensorDepth | None:
        """None when there are no depth images, they are not to be used, or do not fit the cameras (which is said)."""
        sensor = Sensor.of(capture, reconstruction) if options.sensor != "off" else None
        if sensor is None:
            return None
        test = capture.test_names
        rows = [i for i, name in enumerate(reconstruction.model.names) if name not in test]
        model = reconstruction.model.select(rows, min_views=2)
        scale = sensor_scale(sensor, model)
        units = units_of(scale, model.world.scale == "metric", job)
        if units is None:
            return None
        fit = frozenset(sensor.row) - frozenset(scale.left_out)
        joins = options.sensor == "both" or options.mono is not None or len(fit) < ENOUGH * len(rows)
        without = [name for name in model.names if name not in fit]
        if without and not joins:
            job.warn(
                f"{count(len(without), 'training photo')} without a depth image that can be used ({some(without)}) "
                "get no depth. `--sensor both` adds stereo."
            )
        if options.fill_depth and not joins:
            job.warn(
                "--fill-depth fills what stereo leaves open, and the depth camera works alone. `--sensor both` adds stereo."
            )
        cameras = model.cameras.resized(fit_size(model.cameras.size, options.depth_long_side))
        return SensorDepth(sensor, model, cameras, units, fit, joins, options, job)

    def write(self, notes: Mapping[str, Any]) -> None:
        """Write the maps; where stereo has written its own, the depth camera's z goes before it. notes: for depth.json."""
        measured = []
        with self.job.task("depth images", len(self.model.names)) as task:
            for i, name in enumerate(self.model.names):
                measured.append(self._write(i, name))
                task.advance()
        save_index(self.job.folder, self.model.names, self.cameras, self.model.world, **notes)
        self.job.metrics |= {
            "photos": len(measured),
            "depth_images": len(self.fit),
            "measured": round(float(np.mean(measured)), 4),
            "without_depth": sum(share == 0 for share in measured),
            "long_side": int(self.cameras.size.max()),
        }
        how = "joined with stereo" if self.joins else "no stereo"
        self.job.say(
            f"depth camera: {len(self.fit)} of {len(measured)} photos, {how}; {np.mean(measured):.0%} of pixels measured"
        )

    def _write(self, i: int, name: str) -> float:
        """The maps of one photo; the share of its pixels that are measured."""
        width, height = (int(s) for s in self.cameras.size[i])
        z, confidence = np.full((height, width), np.nan, np.float32), np.zeros((height, width), np.float32)
        normal = np.full((height, width, 3), np.nan, np.float32)
        folder = self.job.folder
        if self.joins and map_path(folder, KINDS[-1], name).is_file():
            z, confidence, normal = (np.load(map_path(folder, kind, name), allow_pickle=False) for kind in KINDS)
        if name in self.fit:
            own, sure, facing = self.maps(i, name)
            mine = sure > 0
            z, confidence = np.where(mine, own, z), np.where(mine, sure, confidence)
            normal = np.where(mine[..., None], facing, normal)
        save_map(self.job.folder, name, z, confidence, normal)
        return float((confidence > 0).mean())

    def maps(self, i: int, name: str) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """z (world units), confidence and normals of one photo from its depth image."""
        camera, told = self.cameras[i], self.sensor.capture.confidence_path(self.sensor.row[name]) is not None
        k = camera.K[0]
        z, trust = self.sensor.look(name, camera)
        normal = camera_normals(planes_of(z, float(k[0, 0])), k)
        x, y = np.meshgrid(*((np.arange(n) + 0.5 - k[a, 2]) / k[a, a] for a, n in enumerate(z.shape[::-1])))
        ray = np.stack([x, y, np.ones_like(x)], -1)
        cosine = -(normal * ray).sum(-1) / np.linalg.norm(ray, axis=-1)
        confidence = confidence_of(z, trust, told, cosine.astype(np.float32))
        z = (z * self.units).astype(np.float32)
        near, far = self.options.depth_near, self.options.depth_far
        confidence[~self.usable(name, camera) | (z < near) | ((far > 0) & (z > far))] = 0
        known = confidence > 0
        return np.where(known, z, np.nan), confidence, np.where(known[..., None], normal, np.nan)

    def usable(self, name: str, camera: Cameras) -> NDArray[np.bool_]:
        """bool[H, W]: the photo's pixels that are neither masked nor transparent."""
        path = self.job.scratch / "usable.npy"
        prepare_photo(self.sensor.reconstruction, name, camera.size[0], path)
        return np.load(path, allow_pickle=False)[..., 3] > 0


def units_of(scale: SensorScale, metric: bool, job: Job) -> float | None:
    """World units in a metre of the depth camera, or None when its images cannot be used, which is said."""
    if scale.left_out:
        job.warn(left_out_words(scale))
    if scale.reason and not (metric and np.isnan(scale.metres)):
        job.warn(f"The depth images are not used: {scale.reason}")
        return None
    if scale.reason:
        job.warn(f"The depth images are used unchecked: {scale.reason}.")
        return 1.0
    if metric and abs(np.log(scale.metres)) <= np.log1p(METRIC_DOUBT):
        return 1.0
    if metric:
        job.warn(
            f"The depth images say {scale.metres:.3f} times the lengths that the cameras say; they are scaled to fit these. "
            "Check the units of the poses and of the depth images."
        )
    return 1 / scale.metres
