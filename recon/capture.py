"""Capture: what came in. Names, sizes, times, masks, GPS and the split of N usable photos; their pixels stay where they are."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from recon.depth_images import DepthCamera
from recon.errors import InputError, WorkspaceError
from recon.files import save_npz, write_json
from recon.geometry import Array, World
from recon.sparse import SparseModel, read_colmap, write_colmap
from recon.wording import command

PLACE = "place.json"
"""Where the photos lie. It stands outside the result's hash: photos that were moved are the same photos."""
MIN_PHOTOS = 3
MIN_PHOTOS_FOR_HOLDOUT = 16
MIN_CAMERAS_FOR_HOLDOUT = 6


@dataclass(frozen=True)
class Capture:
    """N usable photos, in the order of their names' code points. Sizes are of the upright photo (EXIF orientation applied)."""

    root: Path
    """The folder that names are relative to, never written to. Frames of a video lie in the stage's own frames/."""
    names: tuple[str, ...]
    """[N] POSIX paths relative to root; the identity of a photo everywhere."""
    size: NDArray[np.int32]
    """i32[N, 2], (width, height), upright."""
    camera_id: NDArray[np.int32]
    """i32[N], 0-based: photos with one id share their intrinsics."""
    focal_prior: Array
    """f64[N], pixels of the upright photo, from EXIF or a given model; NaN where not known."""
    orientation: NDArray[np.uint8]
    """u8[N], EXIF orientation 1..8 of the stored file; 1 is upright."""
    exposure: Array
    """f64[N], log2 of exposure time * ISO / aperture^2 (EV, relative), NaN where not known."""
    sha256: tuple[str, ...]
    """[N] of the file's bytes."""
    split: tuple[str, ...]
    """[N] "train" or "test"."""
    protocol: str
    """How the split was made, in words; goes into metrics.json."""
    kind: str = "photos"
    """"photos", "video", "videos" (of several cameras at once), "colmap", "transforms", or the layout of a depth camera's
    recording (rgbd.py): what came in."""
    time: Array | None = None
    """f64[N], seconds from the first photo; None unless every photo tells its time."""
    untimed: tuple[str, ...] = ()
    """Names of the photos that tell no time where others do; () where all or none do."""
    mask: tuple[str | None, ...] = ()
    """[N] path of the photo's mask (white = use), or None; () when there are none. POSIX, below the root or beside it
    (../masks/NAME.png), absolute when it lies elsewhere."""
    depth: tuple[str | None, ...] = ()
    """[N] paths of depth images, as those of masks."""
    depth_confidence: tuple[str | None, ...] = ()
    """[N] paths of images that tell how far each pixel of the depth image is to be trusted, as those of masks."""
    depth_camera: DepthCamera = field(default_factory=DepthCamera)
    """How the depth images are to be read, and what camera they belong to."""
    gps: Array | None = None
    """f64[N, 3] latitude deg, longitude deg, altitude m (NaN when only the altitude is unknown), WGS84.

    NaN rows where a photo has none; None when no photo has one."""
    station: NDArray[np.int32] | None = None
    """i32[N], where cameras stand still: photos with one number were taken from one pose; -1: from a pose of its own."""
    prior: SparseModel | None = None
    """Given poses, in the order of `names`: sfm triangulates and never moves them."""

    def __len__(self) -> int:
        return len(self.names)

    def photo(self, index: int) -> Path:
        """The photo's file."""
        return self.root / self.names[index]

    def mask_path(self, index: int) -> Path | None:
        """The mask's file, or None."""
        return self._beside(self.mask, index)

    def depth_path(self, index: int) -> Path | None:
        """The depth image's file, or None."""
        return self._beside(self.depth, index)

    def confidence_path(self, index: int) -> Path | None:
        """The file that tells how far the depth image is to be trusted, or None."""
        return self._beside(self.depth_confidence, index)

    def _beside(self, paths: tuple[str | None, ...], index: int) -> Path | None:
        path = paths[index] if paths else None
        return None if path is None else Path(os.path.normpath(self.root / path))

    @property
    def test_names(self) -> frozenset[str]:
        """The held-out photos."""
        return frozenset(name for name, kind in zip(self.names, self.split, strict=True) if kind == "test")

    @property
    def test(self) -> NDArray[np.bool_]:
        """bool[N]."""
        return np.array([s == "test" for s in self.split], bool)


def make_split(names: tuple[str, ...], holdout: str) -> tuple[tuple[str, ...], str]:
    """The split and its protocol in words: every 8th of the sorted names is held out (index % 8 == 0).

    Fewer than 16 photos, or holdout "none": nothing is held out.
    """
    if holdout == "none":
        return ("train",) * len(names), "no photo held out (asked for)"
    if len(names) < MIN_PHOTOS_FOR_HOLDOUT:
        return ("train",) * len(names), f"no photo held out (fewer than {MIN_PHOTOS_FOR_HOLDOUT} photos)"
    return tuple("test" if i % 8 == 0 else "train" for i in range(len(names))), "every 8th photo held out"


def moving_split(names: tuple[str, ...], camera: NDArray, moment: NDArray, holdout: str) -> tuple[tuple[str, ...], str]:
    """The split of a capture with times: every 8th moment (of all cameras), and of six cameras or more the middle one whole.

    `camera` and `moment` [N] count from 0, cameras in the order of their names. As make_split() where nothing is held out.
    """
    if holdout == "none" or len(names) < MIN_PHOTOS_FOR_HOLDOUT:
        return make_split(names, holdout)
    cameras = len(np.unique(camera))
    if cameras < MIN_CAMERAS_FOR_HOLDOUT:
        held, protocol = moment % 8 == 0, "every 8th frame time held out"
        protocol += ", of all cameras" if cameras > 1 else ""
    else:
        whole = int(np.unique(camera)[cameras // 2])
        first = names[int(np.flatnonzero(camera == whole)[0])]
        called = first.rpartition("/")[0] or f"number {whole + 1}"
        held = (moment % 8 == 0) | (camera == whole)
        protocol = f"every 8th frame time of all cameras held out, and the whole camera {called}"
    return tuple("test" if test else "train" for test in held), protocol


def save_capture(capture: Capture, folder: Path, source: Path | None = None) -> None:
    """Write capture.json, capture.npz, place.json and, with given poses, prior/ (COLMAP).

    `source` is the input that the capture was read from, where that is not its root.
    """
    save_place(folder, capture.root, source or capture.root)
    head: dict[str, Any] = {
        "names": capture.names,
        "sha256": capture.sha256,
        "split": capture.split,
        "protocol": capture.protocol,
        "kind": capture.kind,
        "mask": capture.mask,
        "depth": capture.depth,
    }
    if capture.untimed:
        head["untimed"] = capture.untimed
    if capture.depth:
        head |= {"depth_confidence": capture.depth_confidence, "depth_camera": capture.depth_camera.to_json()}
    write_json(folder / "capture.json", head)
    optional = {"time": capture.time, "gps": capture.gps, "station": capture.station}
    save_npz(
        folder / "capture.npz",
        size=capture.size,
        camera_id=capture.camera_id,
        focal_prior=capture.focal_prior,
        orientation=capture.orientation,
        exposure=capture.exposure,
        **{name: value for name, value in optional.items() if value is not None},
    )
    if capture.prior is not None:
        write_colmap(capture.prior, folder / "prior")
        write_json(folder / "prior" / "world.json", capture.prior.world.to_json())


def save_place(folder: Path, root: Path, source: Path, more: Sequence[Path] = ()) -> None:
    """Note where the photos of the capture in `folder` lie, and from what input they were found (`more`: the other ones)."""
    others = {"more": [str(path) for path in more]} if more else {}
    write_json(folder / PLACE, {"root": str(root), "source": str(source)} | others)


def load_sources(folder: Path) -> tuple[Path, ...]:
    """All the paths of the input, as save_place() noted them; () where nothing is noted or it cannot be read."""
    try:
        place = json.loads((folder / PLACE).read_text(encoding="utf-8"))
        return Path(place["source"]), *(Path(path) for path in place.get("more", ()))
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def load_place(folder: Path) -> tuple[Path, Path] | None:
    """(root, source) as save_place() noted them; None where nothing is noted or it cannot be read."""
    try:
        place = json.loads((folder / PLACE).read_text(encoding="utf-8"))
        return Path(place["root"]), Path(place["source"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def check_photos(capture: Capture, workspace: Path, depth_only: bool = False) -> None:
    """Raises InputError when photos, masks or depth images are no longer where they were read; `depth_only`: the last alone."""
    rows = range(len(capture))
    files = [] if depth_only else [capture.photo(i) for i in rows]
    depth = (capture.depth_path, capture.confidence_path)
    for path_of in depth if depth_only else (capture.mask_path, *depth):
        files += [path for i in rows if (path := path_of(i))]
    gone = [path for path in files if not path.is_file()]
    if gone:
        what = "photos, masks and depth images" if capture.depth else "photos and masks"
        what = "depth images" if depth_only else what
        raise InputError(
            f"{len(gone)} of the {len(files)} {what} that were read from {capture.root} are no longer there "
            f"(for example {gone[0]}). Name the folder where they are now, as in "
            f"`{command('recon', 'run', 'PHOTOS', '-w', workspace)}`: what is done stays."
        )


def load_capture(folder: Path) -> Capture:
    """Read what save_capture() wrote. Raises WorkspaceError when it is damaged."""
    try:
        head = json.loads((folder / "capture.json").read_text(encoding="utf-8"))
        with np.load(folder / "capture.npz", allow_pickle=False) as data:
            arrays = dict(data)
        place, prior = load_place(folder), None
        root = place[0] if place else Path(head["root"])
        head.pop("root", None)  # captures from before place.json name their root here
        lists = {name: tuple(head.pop(name)) for name in ("names", "sha256", "split", "mask", "depth")}
        lists["depth_confidence"] = tuple(
            head.pop("depth_confidence", ())
        )  # captures from before depth cameras have none
        lists["untimed"] = tuple(head.pop("untimed", ()))
        if "depth_camera" in head:
            head["depth_camera"] = DepthCamera.from_json(head["depth_camera"])
        if (folder / "prior").is_dir():
            world = World.from_json(json.loads((folder / "prior" / "world.json").read_text(encoding="utf-8")))
            prior = read_colmap(folder / "prior", world=world)
    except (OSError, ValueError, KeyError, BadZipFile, InputError) as error:
        raise WorkspaceError(f"{folder} is damaged ({error}). Run `recon ingest` with --redo.") from error
    return Capture(root=folder / root, prior=prior, **lists, **head, **arrays)
