"""What a user may choose in the viewer. Imports nothing heavy: the command line reads this file for its help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from recon.errors import InputError


@dataclass(frozen=True)
class ViewOptions:
    """Which scene, and where."""

    name: str = "main"
    """Which scene of this workspace: several live side by side."""
    port: int = 8080
    """Port on 127.0.0.1, or the next free one. 0: any free port."""
    open_browser: bool = False
    """Open the page in the default browser."""
    rest_long_side: int = 960
    """Longer side of the true image that is drawn when the camera rests, pixels; less while a training is running."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """What draws the true image. auto: CUDA where gsplat and a GPU are there, else the CPU."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise InputError(f"--port {self.port} is no port: expected 0 to 65535.")
        if self.rest_long_side < 16:
            raise InputError(f"--rest-long-side {self.rest_long_side} is too small: expected at least 16 pixels.")


@dataclass(frozen=True)
class PublishOptions:
    """What a published page holds, and for which device."""

    name: str = "main"
    """Which scene of this workspace: several live side by side."""
    target: Literal["web", "phone", "quest3", "desktop"] = "web"
    """Device that the page is made for: it decides how many splats, and how simple their colours (viewer/targets.py)."""
    title: str | None = None
    """Title of the page; without one, the workspace folder's name."""
    splats: int | None = None
    """Most splats to publish instead of the target's number; beyond that number the page streams them. 0: all."""
    sh_degree: int | None = None
    """Degree of the colours' dependence on direction, 0 to 3, instead of the target's."""
    polish: int = 128
    """Steps of a short training against the full scene's own renders, where the scene had to be made simpler. 0: none."""
    mesh: bool = True
    """Publish the mesh, too, where there is one."""
    photos: bool = False
    """Publish the photos, too, and their names: undistorted, without metadata, what masks hide left grey."""
    photo_side: int = 1600
    """Longer side of a published photo at most, pixels."""
    measure: Literal["auto", "yes", "no"] = "auto"
    """Open the page in a browser without a window and write times and memory into the manifest. auto: where playwright and a
    Chromium are there."""

    def __post_init__(self) -> None:
        for flag, value, low, high in (
            ("splats", self.splats, 0, 10**9),
            ("sh-degree", self.sh_degree, 0, 3),
            ("polish", self.polish, 0, 10**5),
            ("photo-side", self.photo_side, 16, 16384),
        ):
            if value is not None and not low <= value <= high:
                raise InputError(f"--{flag} {value} is out of range: expected {low} to {high}.")
