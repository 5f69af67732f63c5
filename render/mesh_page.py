"""geometry.html of the mesh stage: the views that were fused, and what came of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from recon.cameras import fit_size
from recon.capture import Capture
from recon.geometry_page import PAGE, Geometry, Layers, PhotoMaps, Surface, photos_of, write_geometry_page
from recon.job import Job
from render.mesh_views import MapViews
from render.report import workspace_root
from render.splat_depth import SplatViews

if TYPE_CHECKING:
    from recon.reconstruction import Reconstruction


def mesh_page(
    capture: Capture, reconstruction: Reconstruction, views: SplatViews | MapViews, surface: Surface, job: Job
) -> None:
    """Write job.folder/geometry.html, and its numbers into the job's metrics.

    Of splats the held-out cameras are judged, too: now that the surface is there they can have no part in it.
    """
    root, name = workspace_root(job.folder), job.folder.name
    if isinstance(views, SplatViews):
        maps, source = (
            maps_of_splats(views),
            "A mesh of the scene's splats: z is what its training cameras see of them.",
        )
        held_out = maps_of_splats(held_out_views(capture, reconstruction, views, job))
    else:
        maps, held_out = maps_of_maps(views), None
        source = "A mesh of the depth maps that recon depth measured in the training photos."
    others = [(f"eval/{name}/report.html", "report of the held-out photos"), ("depth/geometry.html", "depth maps")]
    links = [("mesh.glb", "mesh.glb"), *((f"../../{quote(to)}", what) for to, what in others if (root / to).is_file())]
    geometry = Geometry(
        title=f"{root.name}: {name}" if name != "main" else root.name,
        source=source,
        maps=maps,
        photo=photos_of(reconstruction, maps.names),
        world=surface.mesh.world,
        surface=surface,
        held_out=held_out if held_out is not None and len(held_out) else None,
        links=tuple(links),
    )
    job.metrics |= write_geometry_page(job.folder / PAGE, geometry, job)


def maps_of_splats(views: SplatViews) -> PhotoMaps:
    """z as each camera alone sees it, before neighbours lower its confidence: agreement is what the page measures."""

    def read(index: int) -> Layers:
        view = views.alone(index)
        return Layers(view.z, view.confidence)

    return PhotoMaps(tuple(views.names), views.cameras, read)


def maps_of_maps(views: MapViews) -> PhotoMaps:
    """The depth maps that were fused."""
    maps, rows = views.maps, list(views.rows)
    names = tuple(maps.names[i] for i in rows)
    return PhotoMaps(names, maps.cameras[np.array(rows)], lambda i: Layers(maps.z[rows[i]], maps.confidence[rows[i]]))


def held_out_views(capture: Capture, reconstruction: Reconstruction, views: SplatViews, job: Job) -> SplatViews:
    """The same scene in the cameras of the held-out photos."""
    row: dict[str, Any] = {name: i for i, name in enumerate(reconstruction.model.names)}
    names = [n for n, is_test in zip(capture.names, capture.test, strict=True) if is_test and n in row]
    cameras = reconstruction.model.cameras[np.array([row[name] for name in names], np.int64)]
    size = fit_size(cameras.size, views.scene.info["long_side"])
    return SplatViews(views.scene, names, cameras.resized(size), job.scratch / "z_held_out")
