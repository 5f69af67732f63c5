"""depth(): photos with known cameras -> depth and normal maps with confidence (multi-view stereo), on the CPU.

    sparse points -> sources and ranges -> PatchMatch, coarse to fine -> again with the sources' depth -> what agrees

What it writes: z/NAME.npy, confidence/NAME.npy, normal/NAME.npy of each training photo, cameras.npz, depth.json. Held-out
photos are neither measured nor looked at, so that what is made of the maps knows nothing of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from recon.depth.maps import DepthMaps, load_maps, save_maps

if TYPE_CHECKING:
    from recon.capture import Capture
    from recon.job import Job
    from recon.reconstruction import Reconstruction

__all__ = ["DepthMaps", "DepthOptions", "check_options", "depth", "load_maps", "save_maps"]


@dataclass(frozen=True)
class DepthOptions:
    """What depth() may be told."""

    depth_long_side: int = 768
    """Longer side of the depth maps in pixels, never more than the undistorted photos have; 0 keeps their size."""
    sources: int = 6
    """At most so many other photos are compared with each."""
    best: int = 3
    """The cost of a spot is the mean over its so many best sources (1 to 4): the others may not see it."""
    passes: int = 2
    """How often the depth of all photos is made to agree after the first estimate."""
    agree: int = 2
    """So many sources must have the same depth for a spot to count as measured; one where there is only one source."""
    error_px: float = 1.0
    """Sources agree up to this distance in pixels, there and back; twice as far where the surface goes on from around."""
    error_share: float = 0.05
    """Sources agree up to this share of the depth."""
    error_deg: float = 75.0
    """Sources agree up to this angle between their normals, or where the angle hardly shows in the photos."""
    piece: int = 100
    """Connected pieces of fewer pixels are not believed."""
    fill: bool = False
    """Fill what was not measured from around; its confidence stays 0."""
    near: float = 0.0
    """Nearest depth looked for, in world units; 0: from the sparse points."""
    far: float = 0.0
    """Farthest depth looked for, in world units; 0: from the sparse points."""
    seed: int = 0
    """Seed of everything random."""


def check_options(options: DepthOptions) -> None:
    """Raises InputError for values that stereo cannot work with."""
    from recon.errors import InputError

    for name, least, most in (
        ("depth_long_side", 0, 10**6),
        ("sources", 1, 32),
        ("best", 1, 4),
        ("passes", 0, 10),
        ("agree", 1, 32),
        ("piece", 0, 10**9),
        ("near", 0, float("inf")),
        ("far", 0, float("inf")),
    ):
        if not least <= getattr(options, name) <= most:
            flag = f"--{name.replace('_', '-')} {getattr(options, name)}"
            raise InputError(f"{flag} cannot be used: expected {least} to {most}.")
    for name in ("error_px", "error_share", "error_deg"):
        if not getattr(options, name) > 0:
            raise InputError(
                f"--{name.replace('_', '-')} {getattr(options, name)} lets nothing agree: expected more than 0."
            )
    if 0 < options.far <= options.near:
        raise InputError(f"--far {options.far} is not beyond --near {options.near}.")


def depth(capture: Capture, reconstruction: Reconstruction, options: DepthOptions, job: Job) -> DepthMaps:
    """Depth, confidence and normals of every registered training photo, in the reconstruction's frame and units.

    A photo that shares nothing with another taken from elsewhere gets confidence 0 everywhere, and a warning. Raises
    InputError where that holds for all of them.
    """
    from recon.depth.stereo import Stereo

    check_options(options)
    stereo = Stereo.of(capture, reconstruction, options, job)
    stereo.run()
    return load_maps(job.folder)
