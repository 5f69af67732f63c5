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
