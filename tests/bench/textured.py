"""Textured meshes beside splats, in cameras that neither has seen."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from recon.cameras import Cameras, fit_size
from recon.capture import Capture
from recon.job import Job
from recon.mesh import Mesh
from recon.mesh.picture import picture
from recon.mesh.raster import look
from recon.mesh.texture import paint
from recon.reconstruction import Reconstruction
from render.evaluate import View, compare, render_view
from render.mesh_views import TrainingPhotos, training_names


class WrongCameras:
    """Photos with each other's cameras: what no check of a texture may pass."""

    def __init__(self, photos: TrainingPhotos) -> None:
        self._photos = photos
        self.cameras: Cameras = photos.cameras[np.roll(np.arange(len(photos.names)), len(photos.names) // 2)]

    def read(self, index: int) -> Any:
        return self._photos.read(index)


def held_out(capture: Capture, posed: Reconstruction, scene: Any, mesh: Mesh, slack: float) -> dict[str, float]:
    """Mean PSNR over the held-out photos: of the mesh, of the splats, of both where the mesh covers the photo, of the mesh
    with a texture from wrong cameras; and the share that is covered. slack: as for paint().
    """
    photos = TrainingPhotos(posed, training_names(capture, posed))
    wrong: Any = WrongCameras(photos)
    with tempfile.TemporaryDirectory() as folder:
        control = paint(mesh, wrong, slack, 0, Job(Path(folder))).mesh
    values: dict[str, list[float]] = {}
    for name, is_test in zip(capture.names, capture.test, strict=True):
        if not is_test or name not in posed.model.names:
            continue
        splats = render_view(posed, scene, name, (0.0, 0.0, 0.0))
        camera = posed.model.cameras[posed.model.names.index(name)]
        camera = camera.resized(fit_size(camera.size, scene.info["long_side"]))
        textured = View(splats.target, picture(mesh, camera), splats.valid, splats.matte)
        covered = splats.valid & (look(camera, mesh.xyz, mesh.faces).face >= 0)
        views = {
            "splats": splats,
            "mesh": textured,
            "splats_where_covered": replace(splats, valid=covered),
            "mesh_where_covered": replace(textured, valid=covered),
            "control_wrong_cameras": replace(textured, rgb=picture(control, camera)),
        }
        for key, view in views.items():
            values.setdefault(key, []).append(compare(view).psnr)
        values.setdefault("covered", []).append(float(covered.sum() / max(splats.valid.sum(), 1)))
    return {key: float(np.mean(numbers)) for key, numbers in values.items()}
