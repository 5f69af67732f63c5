"""depth(): photos with known cameras -> depth and normal maps with confidence, on the CPU: by a depth camera, or by stereo.

    depth images -> the photos' cameras (sensor.py), where the capture has them; and where it has not:
    sparse points -> sources and ranges -> PatchMatch, coarse to fine -> again with the sources' depth -> what agrees
    -> a guess from the one photo where nothing agrees, if a network is named -> holes filled from around, if asked for

What it writes: z/NAME.npy, confidence/NAME.npy, normal/NAME.npy of each training photo, cameras.npz, depth.json, and
geometry.html. Held-out photos are neither measured nor looked at, so that what is made of the maps knows nothing of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from recon.depth.maps import DepthMaps, load_maps, save_maps
from recon.errors import InputError

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
    depth_sources: int = 6
    """At most so many other photos are compared with each."""
    depth_best: int = 3
    """The cost of a spot is the mean over its so many best sources (1 to 4): the others may not see it."""
    depth_passes: int = 2
    """How often the depth of all photos is made to agree after the first estimate."""
    depth_agree: int = 2
    """So many sources must have the same depth for a spot to count as measured; one where there is only one source."""
    agree_px: float = 1.0
    """Sources agree up to this distance in pixels, there and back; twice as far where the surface goes on from around."""
    agree_share: float = 0.05
    """Sources agree up to this share of the depth."""
    agree_deg: float = 75.0
    """Sources agree up to this angle between their normals, or where the angle hardly shows in the photos."""
    depth_piece: int = 100
    """Connected pieces of fewer pixels are not believed."""
    fill_depth: bool = False
    """Fill what was not measured from around; its confidence stays 0."""
    mono: str | None = field(default=None, metadata={"content": "recon.depth.mono:fingerprint"})
    """A local network that guesses depth from one photo, used where stereo has no answer; confidence stays 0. An .onnx file, or
    a folder of a Depth Anything model (transformers) or of Marigold (diffusers). recon brings none."""
    depth_near: float = 0.0
    """Nearest depth looked for, in world units; 0: from the sparse points."""
    depth_far: float = 0.0
    """Farthest depth looked for, in world units; 0: from the sparse points."""
    depth_seed: int = 0
    """Seed of everything random in stereo; scenes of one capture share its depth."""
    sensor: Literal["auto", "both", "off"] = "auto"
    """Depth images of a depth camera. auto: they alone, where half of the training photos have one and --mono is not given.
    both: stereo answers where they do not. off: stereo alone."""


def check_options(options: DepthOptions) -> None:
    """Raises InputError for values that cannot be worked with, MissingPart for a network that is not there."""
    for name, least, most in (
        ("depth_long_side", 0, 10**6),
        ("depth_sources", 1, 32),
        ("depth_best", 1, 4),
        ("depth_passes", 0, 10),
        ("depth_agree", 1, 32),
        ("depth_piece", 0, 10**9),
        ("depth_near", 0, float("inf")),
        ("depth_far", 0, float("inf")),
    ):
        if not least <= getattr(options, name) <= most:
            flag = f"--{name.replace('_', '-')} {getattr(options, name)}"
            raise InputError(f"{flag} cannot be used: expected {least} to {most}.")
    for name in ("agree_px", "agree_share", "agree_deg"):
        if not getattr(options, name) > 0:
            raise InputError(
                f"--{name.replace('_', '-')} {getattr(options, name)} lets nothing agree: expected more than 0."
            )
    if 0 < options.depth_far <= options.depth_near:
        raise InputError(f"--depth-far {options.depth_far} is not beyond --depth-near {options.depth_near}.")
    if options.mono is not None:
        from recon.depth.mono import check_mono

        check_mono(options.mono)


def depth(capture: Capture, reconstruction: Reconstruction, options: DepthOptions, job: Job) -> DepthMaps:
    """Depth, confidence and normals of every registered training photo, in the reconstruction's frame and units.

    A photo that shares nothing with another taken from elsewhere gets confidence 0 everywhere, and a warning. Raises
    InputError where that holds for all of them, unless `mono` names a network: then what it guesses is written, and a
    warning that nothing is measured.
    """
    from recon.depth.page import depth_page
    from recon.depth.sensor_stage import SensorDepth
    from recon.depth.stereo import NoSource, Stereo

    check_options(options)
    sensor = SensorDepth.of(capture, reconstruction, options, job)
    notes = {}
    try:
        if sensor is None or sensor.joins:
            notes = Stereo.of(capture, reconstruction, options, job).run()
    except NoSource as error:
        if sensor is None:
            raise
        job.warn(f"The depth camera measures alone: {error}")
    if sensor is not None:
        sensor.write(notes)
    maps = load_maps(job.folder)
    depth_page(maps, reconstruction, job)
    return maps
