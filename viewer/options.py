"""What a user may choose in the viewer. Imports nothing heavy: the command line reads this file for its help."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
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
class ServeOptions:
    """Who may come in, and how; for everything that is served."""

    port: int = 8080
    """Port on 127.0.0.1, or the next free one. 0: any free port."""
    host: str | None = None
    """Let other devices in: an address of this machine, or 0.0.0.0 for all it has. They need the token in the printed
    address. Without it: this machine only, and no token."""
    tls: bool = False
    """https with a certificate of recon's own making: headsets allow VR over https alone. The browser warns once; compare
    the fingerprint it shows with the printed one."""
    tls_cert: Path | None = None
    """https with a certificate that you have: PEM, its chain after it."""
    tls_key: Path | None = None
    """The private key of --tls-cert, PEM, when the certificate's file does not hold it too."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise InputError(f"--port {self.port} is no port: expected 0 to 65535.")
        if self.host is not None and not self.host.strip():
            raise InputError("--host is empty: expected an address of this machine, or 0.0.0.0 for all it has.")
        if self.tls and self.tls_cert is not None:
            raise InputError("--tls makes a certificate and --tls-cert brings one. Give one of the two.")
        if self.tls_key is not None and self.tls_cert is None:
            raise InputError("--tls-key is the key of a certificate: give it together with --tls-cert FILE.")

    @property
    def secure(self) -> bool:
        """Whether it is https."""
        return self.tls or self.tls_cert is not None
