"""The mesh stage: from a trained scene, or depth maps, to a clean, coloured mesh on disk.

Writes mesh.glb, mesh.npz (what load_mesh() reads), holes.json and geometry.html. Its parts are kept in the job's scratch
folder: the z of each photo, the fused surface, the cleaned surface; a run that was stopped goes on from the last whole one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recon.cameras import Cameras, fit_size
from recon.capture import Capture
from recon.files import save_npz, write_json
from recon.geometry import World
from recon.geometry_page import Surface
from recon.job import Job
from recon.mesh import Mesh, area, save_mesh, some_surface, without_unused
from recon.mesh.clean import clean, drop_small_parts, is_closed
from recon.mesh.fill import extent, fill_holes
from recon.mesh.loops import Holes, holes
from recon.mesh.marching import extract
from recon.mesh.options import MeshOptions
from recon.mesh.poisson import poisson
from recon.mesh.simplify import decimate, smooth
from recon.mesh.texture import paint
from recon.mesh.views import DepthViews
from recon.mesh.volume import build_volume
from recon.mesh.worth import worth_of_vertices
from render.formats.glb import write_glb
from render.mesh_page import mesh_page
from render.mesh_views import MapViews, TrainingPhotos, map_views, training_names
from render.splat_depth import SplatViews

if TYPE_CHECKING:
    from recon.reconstruction import Reconstruction

LEAST_WEIGHT = 0.3
"""A point of the volume counts when its views' confidence times cosine sum to this."""
SLACK = 2.0
"""Voxels by which a point may lie behind what a photo sees there and still be taken for visible."""

COARSE = 4
LEAST_COARSE = 200_000
"""The surface is cleaned and its holes are closed at so many times the faces asked for, and at least this many."""

LEAST_KEPT = 0.7
"""A budget of faces that leaves less than this share of the surface is said to be too small."""

Arrays = dict[str, NDArray]


def mesh_stage(capture: Capture, reconstruction: Reconstruction, source: Any, options: MeshOptions, job: Job) -> Mesh:
    """A mesh of what the training photos see. `source`: a scene that is splats (mesh_from="splats"), or DepthMaps.

    Where training refined the cameras, z and colours are taken from where it put them, for the splats fit there.

    Raises InputError when the source has no usable z, or no surface comes out.
    """
    names = training_names(capture, reconstruction)
    photos = TrainingPhotos(reconstruction, names, source.refined if options.mesh_from == "splats" else {})
    views, world = _views(source, names, photos.cameras, options, job), reconstruction.model.world
    fused = _part(job.scratch / "fused.npz", lambda: _fuse(views, options, job))
    voxel = float(fused["voxel"])
    cleaned = _part(job.scratch / "cleaned.npz", lambda: _clean(fused, views, photos.cameras, options, job))
    mesh = Mesh(cleaned["xyz"], cleaned["faces"], np.zeros((len(cleaned["xyz"]), 3), np.uint8), world=world)
    painted = paint(mesh, photos, SLACK * voxel, options.texture_size, job, exposure=options.level_exposure)
    surface = _write(painted.mesh, cleaned, voxel, painted.unseen, job)
    if options.geometry_page:
        mesh_page(capture, reconstruction, views, surface, job)
    return painted.mesh


def _part(path: Path, make: Callable[[], Arrays]) -> Arrays:
    """What `make` gives, or gave before a run was stopped."""
    if not path.is_file():
        save_npz(path, **make())
    with np.load(path, allow_pickle=False) as data:
        return dict(data)


def _views(
    source: Any, names: tuple[str, ...], cameras: Cameras, options: MeshOptions, job: Job
) -> SplatViews | MapViews:
    """The views that are fused. The z of splats is rendered here, so that it has a progress bar."""
    if options.mesh_from == "depth":
        return map_views(source, names)
    cameras = cameras.resized(fit_size(cameras.size, source.info["long_side"]))
    views = SplatViews(source, names, cameras, job.scratch / "z")
    if not (job.scratch / "fused.npz").is_file():
        with job.task("rendering z of the training photos", total=len(names)) as task:
            for i in range(len(names)):
                views.alone(i)
                task.advance()
    return views


def _fuse(views: DepthViews, options: MeshOptions, job: Job) -> Arrays:
    with job.task(f"fusing {len(views)} views"):
        volume = build_volume(views, options.voxel, note=job.warn)
        xyz, faces = extract(volume, LEAST_WEIGHT)
    some_surface(faces)
    return {"xyz": xyz, "faces": faces, "voxel": np.array(volume.voxel)}


def _clean(fused: Arrays, views: DepthViews, cameras: Cameras, options: MeshOptions, job: Job) -> Arrays:
    """The surface within its budget of faces, and what became of its holes."""
    voxel = float(fused["voxel"])
    with job.task("cleaning the surface"):
        faces = fused["faces"][drop_small_parts(fused["xyz"], fused["faces"], options.least_part, cameras)]
        xyz, faces, _ = without_unused(fused["xyz"], faces)
        widest = options.fill_holes * extent(xyz)
        if options.surface == "poisson":
            xyz, faces = poisson(xyz, faces, voxel, 0.5 * widest, job.scratch)
        xyz = smooth(xyz, faces, options.smoothing)
        if options.faces:
            many = max(COARSE * options.faces, LEAST_COARSE)
            xyz, faces = decimate(xyz, faces, many, worth_of_vertices(xyz, faces, cameras))
        xyz, faces = clean(xyz, faces, cameras, SLACK * voxel, options.least_part)
        some_surface(faces)
    with job.task("closing holes"):
        filled = fill_holes(xyz, faces, widest, views, SLACK * voxel)
        xyz, faces = filled.xyz, filled.faces
        if options.faces:
            before = area(xyz, faces)
            xyz, faces = decimate(xyz, faces, options.faces, worth_of_vertices(xyz, faces, cameras))
            if (kept := area(xyz, faces) / before) < LEAST_KEPT:
                job.warn(
                    f"--faces {options.faces} holds {kept:.0%} of the surface: what little fits is kept. Give more."
                )
    numbers = {name: np.array(value) for name, value in filled.to_json().items()}
    return {"xyz": xyz.astype(np.float32), "faces": faces, "widest": np.array(widest)} | numbers


def _write(mesh: Mesh, cleaned: Arrays, voxel: float, unseen: float, job: Job) -> Surface:
    found, closed = holes(mesh.xyz, mesh.faces), is_closed(mesh.faces)
    unit = _unit(mesh.world)
    became = {name: cleaned[name].item() for name in ("filled", "filled_area", "seen_through", "outlines")}
    head = {"unit": unit, "closed": closed, "widest_filled": float(cleaned["widest"])} | became
    write_json(job.folder / "holes.json", head | found.to_json())
    save_mesh(job.folder / "mesh.npz", mesh)
    write_glb(job.folder / "mesh.glb", mesh)
    size = area(mesh.xyz, mesh.faces)
    job.metrics.update(
        {
            "faces": len(mesh.faces),
            "vertices": len(mesh.xyz),
            "holes": found.loops,
            "open_borders": len(found.open_lengths),
            "filled": became["filled"],
            "area": size,
            "voxel": voxel,
            "unit": unit,
            "unseen": unseen,
            "texture": 0 if mesh.texture is None else int(max(mesh.texture.shape)),
        }
    )
    if not closed:
        job.warn(open_surface(found, became["filled"], unit))
    return Surface(mesh, voxel, size, found, closed, unseen)


def open_surface(found: Holes, filled: int, unit: str) -> str:
    """What is left open, in words."""
    parts = []
    if found.loops:
        x, y, z = found.centers[0]
        parts.append(
            f"{found.loops} holes are left ({filled} were closed), the longest {found.lengths[0]:.3g} {unit} around, near "
            f"({x:.3g}, {y:.3g}, {z:.3g}); a larger --fill-holes closes larger ones"
        )
    if len(found.open_lengths):
        parts.append(
            f"it ends at {len(found.open_lengths)} borders, {found.open_lengths.sum():.3g} {unit} long together"
        )
    return f"the surface is open: {'. And '.join(parts)}. holes.json lists them."


def _unit(world: World) -> str:
    """What lengths are in, in words."""
    return "m" if world.scale == "metric" else "scene units"
