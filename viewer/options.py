"""What a user may choose in the viewer. Imports nothing heavy: the command line reads this file for its help."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from recon.errors import InputError

MOST_SPLATS = 20_000_000
"""Of a site: the page refuses more."""
PHOTO_SIDE = 1600


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


@dataclass(frozen=True)
class RenderOptions:
    """What is filmed, and how it is written."""

    name: str = "main"
    """Which scene of this workspace: several live side by side."""
    path: str = "orbit"
    """orbit: round the subject, or to and fro before it, where photos were taken. captured: along the photos in their order.
    FILE.json: a camera path that the page or the live view saved."""
    video: Path | None = None
    """Where the film goes: a file ending in .mp4, or a folder for numbered PNG frames."""
    panorama: Path | None = None
    """Instead of a film one still all around, equirectangular: a file ending in .jpg or .png."""
    place: str | None = None
    """Where a panorama is taken: a photo's NAME, the number of a keyframe of --path FILE.json (0 is the first), or X,Y,Z in the
    world. Without it: the first keyframe, or the photo in the middle of all."""
    kind: Literal["rgb", "depth", "alpha"] = "rgb"
    """rgb: pictures. depth: z as 16-bit PNG in a folder (the unit stands in frames.json), or as colours in a video. alpha:
    RGBA with straight alpha, into a folder."""
    long_side: int | None = None
    """Longer side in pixels: 1280 in a film, 4096 in a panorama unless given."""
    aspect: str | None = None
    """WIDTH:HEIGHT of a film, 16:9 unless given; photo: as the photos are."""
    fps: float | None = None
    """Pictures a second: as the camera path says, else 30."""
    seconds: float | None = None
    """Length of the film. Without it, as the camera path says, or as is calm to look at."""
    background: str | None = None
    """Behind the scene: black, white, grey or #rrggbb. Without it, what the scene was trained over."""
    supersample: int = 1
    """Render so many times larger, 1 to 4, and average: smoother edges of thin things."""
    codec: Literal["auto", "vp9", "av1", "h264", "mpeg4"] = "auto"
    """Of an .mp4. auto: VP9 by libvpx (BSD licence, free of royalties), which browsers and VLC play. h264 plays everywhere: its
    encoder, libx264, is GPL software inside PyAV's wheel, and H.264 is covered by patents."""
    edits: bool = True
    """Leave out the splats that were deleted in the viewer (edits/NAME.json)."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """What draws. auto: CUDA where gsplat and a GPU are there, else the CPU."""

    def __post_init__(self) -> None:
        if (self.video is None) == (self.panorama is None):
            raise InputError(
                "Say where the result goes: --video FILM.mp4, --video FOLDER for frames, or --panorama STILL.jpg"
                f"{'' if self.video is None else ' (one of them)'}."
            )
        spans = {"long_side": (16, 16384), "fps": (0.1, 240), "seconds": (0.1, 86400), "supersample": (1, 4)}
        for name, (low, high) in spans.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                flag = name.replace("_", "-")
                raise InputError(f"--{flag} {value:g} is out of range: expected {low:g} to {high:g}.")
        for flag, reason in self._idle():
            raise InputError(f"{flag} does nothing {reason}. Leave it out.")

    def _idle(self) -> Iterator[tuple[str, str]]:
        """Options that were given and change nothing: silence would look as if they had been followed."""
        if self.panorama is not None:
            given = {"--aspect": self.aspect, "--fps": self.fps, "--seconds": self.seconds}
            given |= {"--kind": None if self.kind == "rgb" else self.kind}
            given |= {"--codec": None if self.codec == "auto" else self.codec}
            given |= {"--path": "captured" if self.path == "captured" else None}
            yield from ((flag, "for a panorama") for flag, value in given.items() if value is not None)
            return
        if self.place is not None:
            yield "--place", "without --panorama"
        if self.kind != "rgb" and self.background is not None:
            yield "--background", f"with --kind {self.kind}"
        if self.kind == "depth" and self.supersample > 1:
            yield "--supersample", "with --kind depth, where averages are no depths"
        if self.codec != "auto" and self.video is not None and self.video.suffix.lower() != ".mp4":
            yield "--codec", "for frames"


@dataclass(frozen=True)
class MomentOptions:
    """When a scene that moves is shown."""

    time: float | None = None
    """Show a scene that moves at this moment, seconds from its capture's start. Without it, what the camera path says; else a
    film plays the scene from its start, again and again."""


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
    """Most splats to publish instead of the target's number, 20 million at most; beyond the target's number the page
    streams them. 0: all."""
    sh_degree: int | None = None
    """Degree of the colours' dependence on direction, 0 to 3, instead of the target's."""
    polish: int = 128
    """Steps of a short training against the full scene's own renders, where the scene had to be made simpler. 0: none."""
    edits: bool = True
    """Leave out the splats that were deleted in the viewer (edits/NAME.json)."""
    mesh: bool = True
    """Publish the mesh, too, where there is one."""
    photos: bool = False
    """Publish the photos, too, and their names: undistorted, without metadata, what masks hide left grey."""
    photo_side: int | None = None
    """Longer side of a published photo at most, pixels: 1600 unless given."""
    notes: Path | None = None
    """Notes that every visitor sees: a file that the page exported (Notes, Export)."""
    measure: Literal["auto", "yes", "no"] = "auto"
    """Open the page in a browser without a window and write times and memory into the manifest. auto: where playwright and a
    Chromium are there."""

    def __post_init__(self) -> None:
        for flag, value, low, high in (
            ("splats", self.splats, 0, MOST_SPLATS),
            ("sh-degree", self.sh_degree, 0, 3),
            ("polish", self.polish, 0, 10**5),
            ("photo-side", self.photo_side, 16, 16384),
        ):
            if value is not None and not low <= value <= high:
                raise InputError(f"--{flag} {value} is out of range: expected {low} to {high}.")
        if self.photo_side is not None and not self.photos:
            raise InputError("--photo-side does nothing without --photos. Add --photos, or leave it out.")
