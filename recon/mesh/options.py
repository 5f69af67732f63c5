"""What a user may choose about a mesh. Imports nothing heavy: the command line reads this file for its help."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from recon.errors import InputError


@dataclass(frozen=True)
class MeshOptions:
    """Where the surface comes from, how fine it is, and how it is coloured."""

    mesh_from: Literal["splats", "depth"] = field(default="splats", metadata={"aliases": ("--from",)})
    """splats: the trained scene as its training photos see it. depth: the depth maps of `recon depth`."""
    voxel: float | None = None
    """Spacing of the lattice that the surface is fused on, units of the world; unset: twice what a pixel covers on the
    nearer surfaces, coarser where the scene is too large for that."""
    surface: Literal["tsdf", "poisson"] = "tsdf"
    """tsdf: what the views measured, with holes where they did not. poisson: one smooth surface through it (screened
    Poisson), which closes holes up to --fill-holes by its own shape and rounds edges."""
    faces: int = 100_000
    """Most triangles; 0 keeps all that were fused. They go where the photos see errors best, not by area."""
    fill_holes: float = 0.005
    """Holes up to this width are closed, as a share of the diagonal of the scene's box, unless photos looked through them;
    0: none."""
    texture_size: int = 2048
    """Longer side of the texture, pixels; 0 colours the vertices instead."""
    smoothing: int = 10
    """Rounds of smoothing that shrink nothing (Taubin); 0: none."""
    least_part: float = 0.005
    """Parts that hang together and have less than this share of the largest one's area, in space and in the photos, are
    dropped."""
    level_exposure: bool = True
    """Bring the photos to one exposure before their colours are used."""
    geometry_page: bool = field(default=True, metadata={"key": False})
    """Write geometry.html: the maps of z, where they disagree, and the mesh to turn. A mesh that is kept gets none later."""

    def __post_init__(self) -> None:
        if self.voxel is not None and not self.voxel > 0:
            raise InputError(f"--voxel {self.voxel:g} is no size: expected a number above 0, in units of the world.")
        if self.faces != 0 and self.faces < 4:
            raise InputError(f"--faces {self.faces} is too few: expected 4 or more, or 0 for all.")
        if not 0 <= self.texture_size <= 16384:
            raise InputError(f"--texture-size {self.texture_size} is out of range: expected 0 to 16384 pixels.")
        if not 0 <= self.fill_holes <= 1:
            raise InputError(f"--fill-holes {self.fill_holes:g} is out of range: expected a share between 0 and 1.")
        if self.smoothing < 0:
            raise InputError(f"--smoothing {self.smoothing} is out of range: expected 0 or more rounds.")
        if not 0 <= self.least_part <= 1:
            raise InputError(f"--least-part {self.least_part:g} is out of range: expected a share between 0 and 1.")


def mesh_needs(options: MeshOptions) -> tuple[str, ...]:
    """The stages that a mesh is made from."""
    return ("ingest", "align", "train" if options.mesh_from == "splats" else "depth")
