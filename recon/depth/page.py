"""geometry.html of the depth stage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon.depth.maps import DepthMaps
from recon.geometry_page import PAGE, Geometry, Layers, PhotoMaps, photos_of, write_geometry_page
from recon.job import Job

if TYPE_CHECKING:
    from recon.reconstruction import Reconstruction


def depth_page(maps: DepthMaps, reconstruction: Reconstruction, job: Job) -> None:
    """Write job.folder/geometry.html, and its numbers into the job's metrics."""
    root = job.folder.absolute().parent
    geometry = Geometry(
        title=(root.parent if root.name == ".building" else root).name,
        source="Depth and normals of the training photos, as recon depth measured them.",
        maps=PhotoMaps(maps.names, maps.cameras, lambda i: Layers(maps.z[i], maps.confidence[i], maps.normal[i])),
        photo=photos_of(reconstruction, maps.names),
        world=maps.world,
    )
    job.metrics |= write_geometry_page(job.folder / PAGE, geometry, job)
