"""What a user may choose in training and evaluation. Imports nothing heavy: the command line reads this file for its help."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from recon.errors import InputError
from render.scenes import SCENES, config_of

Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class TrainOptions:
    """How long, how large, and which of the parts of training are on."""

    scene: str = "gs"
    """Representation, a name in SCENES. gs: static Gaussian splats. flat: the same, flat and drawn onto surfaces, for meshes.
    nerf, mip360, ngp, kplanes: radiance fields, networks and grids instead of splats; kplanes follows photos' times.
    gs4d, gs_nodes: splats that move, by a field of planes or carried by nodes; scene.ply then holds those of the start."""
    minutes: float | None = 5.0
    """Wall time of the training loop, resumed time counted in; every schedule fits itself to it. Not used when --steps
    is given."""
    steps: int | None = None
    """Optimiser steps instead of minutes: slower or faster machines then give the same scene."""
    long_side: int = 960
    """Longer side of the photos in training and evaluation, pixels; 0 keeps the photos' size."""
    seed: int = 0
    """Seed of everything random in training."""
    device: Device = field(default="auto", metadata={"key": False})
    """auto: CUDA where gsplat and a GPU are there, else the CPU."""
    splats: int = 120_000
    """Most splats that the scene may grow to."""
    sh_degree: int = 3
    """Bands of spherical harmonics for view-dependent colour, 0 to 3."""
    antialiased: bool = False
    """Fade splats that are smaller than a pixel: steadier when viewed from afar or at another resolution."""
    densify: Literal["mcmc", "off"] = "mcmc"
    """mcmc: relocate dead splats, grow to the cap, add noise, regularise opacity and scale (3DGS-MCMC)."""
    coarse_to_fine: Literal["both", "resolution", "sh", "off"] = "both"
    """What starts coarse: the resolution (1/4, 1/2, 1), the bands of the spherical harmonics, both, or neither."""
    exposure: bool = False
    """Fit a small affine colour change to each training photo, zero on average: for photos whose exposure jumps. Off:
    where exposure drifts with the view, the scene takes it on, and held-out photos agree better."""
    refine_poses: bool = False
    """Let training move the training cameras a little; held-out cameras stay where they are."""
    masks: Literal["both", "masks", "mattes", "off"] = "both"
    """What says which pixels count. masks: no loss where a photo's mask is black. mattes: alpha channels, trained over random
    backgrounds; without them photos with alpha are taken over black."""
    depth_weight: float = 0.0
    """Weight of the depth maps (`recon depth`) of the training photos beside their colours; they also give starting points.
    0: depth maps are not used."""


NEED_PHOTOS = ("exposure", "refine_poses", "depth_weight")
"""Options that a scene cannot follow that is trained on single rays."""
NEED_SPLATS = ("splats", "sh_degree", "antialiased", "densify")
"""Options that mean nothing without splats."""


def check_options(options: TrainOptions) -> None:
    """Raises InputError for values that training cannot work with."""
    if options.scene not in SCENES:
        raise InputError(f"There is no scene {options.scene!r}. Choose one of: {', '.join(SCENES)}.")
    if options.steps is None and options.minutes is None:
        raise InputError("Training needs an end: give --minutes or --steps.")
    for name, least in (("steps", 1), ("splats", 1), ("sh_degree", 0), ("long_side", 0)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise InputError(f"--{name.replace('_', '-')} {value} is too small: expected {least} or more.")
    if options.steps is None and options.minutes is not None and options.minutes <= 0:
        raise InputError(f"--minutes {options.minutes} is no time to train in: expected more than 0.")
    if not 0 <= options.depth_weight < float("inf"):
        raise InputError(f"--depth-weight {options.depth_weight:g} cannot be used: expected 0 (off) or more.")
    if options.sh_degree > 3:
        raise InputError(f"--sh-degree {options.sh_degree} is too high: expected 0 to 3.")
    asked = any(getattr(options, name) for name in NEED_PHOTOS)
    if asked and getattr(config_of(options.scene), "by_rays", False):
        check_for_field(options)


def check_for_field(options: TrainOptions) -> None:
    """Raises InputError for what a scene that is trained on single rays, not on whole photos, cannot follow."""
    for name in NEED_PHOTOS:
        if getattr(options, name):
            raise InputError(
                f"--{name.replace('_', '-')} needs whole photos, and --scene {options.scene} is trained on single rays of all of "
                "them. Leave it out, or train --scene gs."
            )


def left_out_by_field(options: TrainOptions) -> list[str]:
    """Flags of options that were changed and mean nothing to a scene without splats."""
    plain = TrainOptions()
    return [f"--{n.replace('_', '-')}" for n in NEED_SPLATS if getattr(options, n) != getattr(plain, n)]


def train_needs(options: TrainOptions) -> tuple[str, ...]:
    """The stages that a scene is trained from."""
    return ("ingest", "align", *(["depth"] if options.depth_weight > 0 else []))


@dataclass(frozen=True)
class EvalOptions:
    """How held-out photos are judged."""

    background: Literal["white", "black", "grey"] = "white"
    """Behind the scene and behind photos that have an alpha channel; photos without one need none."""
    lpips: str | None = None
    """A file of LPIPS weights (VGG); without it no LPIPS is written."""
    report: bool = True
    """Write report.html."""
    device: Device = field(default="auto", metadata={"key": False})
    """Where the views are rendered."""
