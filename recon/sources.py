"""What an input is, by looking: photos, a video, a COLMAP model, or transforms.json; and which files belong to it.

Nothing is decoded here. Names are POSIX paths below `root`, in code-point order.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from recon.calibration import is_calibration
from recon.colmap_io import is_colmap, read_tables
from recon.depth_images import DEPTH_ENDS
from recon.errors import InputError
from recon.files import sha256_json
from recon.photos import HEIC_ENDS, PHOTO_ENDS, RAW_ENDS, reads_heic, sha256_photo, workers
from recon.rgbd import find_recording, read_recording
from recon.transforms_json import read_transforms
from recon.wording import count, shown

VIDEO_ENDS = frozenset({".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm"})
MASK_FOLDERS, DEPTH_FOLDERS = ("masks", "mask"), ("depth", "depths")
NOT_PHOTOS = frozenset({*MASK_FOLDERS, *DEPTH_FOLDERS, "__macosx"})
TRANSFORMS = ("transforms_train.json", "transforms.json")
MODEL_FOLDERS = (".", "sparse/0", "sparse", "colmap/sparse/0", "dense/sparse", "dense/sparse/0")
COLOUR = re.compile(r"[._-](color|colour|rgb)$", re.IGNORECASE)
DEPTH = re.compile(r"[._-]depth$", re.IGNORECASE)
EXPECTED = "Expected a folder of photos, a video, or a data set (a COLMAP model or transforms.json, with its photos)"

Kind = Literal["photos", "video", "videos", "colmap", "transforms", "recording"]
Files = Sequence[tuple[str, Path]]


@dataclass(frozen=True)
class Found:
    """The files below a folder that look like photos."""

    photos: Files
    """(name, path), in code-point order of the names."""
    depth: dict[str, str]
    """Photo name -> name of the depth image that lies beside it (X.color.jpg, X.depth.png)."""
    raw: tuple[str, ...] = ()
    """Camera raw files."""
    videos: Files = ()
    """(name, path)."""
    closed: tuple[str, ...] = ()
    """Folders that could not be opened."""


@dataclass(frozen=True)
class Source:
    """An input, looked at."""

    kind: Kind
    root: Path
    """Photo folder, absolute. For a video: the folder it lies in."""
    model: Path | None = None
    """The COLMAP folder, transforms.json or transforms_train.json, or the video."""
    videos: tuple[Path, ...] = ()
    """Several videos of one time, in the order given; `model` is then the calibration of their cameras, if there is any."""
    note: str = ""
    """What the user may want to know about the choice."""


def look(source: Path | Sequence[Path], keep_poses: bool = True) -> Source:
    """Find out what an input is. With keep_poses=False given poses are passed over: their photos are just photos.

    Raises InputError for an input that is nothing recon knows.
    """
    paths = several(source)
    if len(paths) > 1:
        return _look_at_several(paths)
    base = paths[0]
    if not (base.is_file() or base.is_dir()):
        raise InputError(f"{base} is neither a file nor a folder. {EXPECTED}.")
    if base.is_file():
        return _look_at_file(base)
    if keep_poses:
        for name in TRANSFORMS:
            if (base / name).is_file():
                return Source("transforms", base, base / name)
        for place in MODEL_FOLDERS:
            if is_colmap(base / place):
                model = (base / place).resolve()
                return Source("colmap", _images_of(model, base), model)
    if find_recording(base):
        return Source("recording", base)
    images = base / "images"
    if images.is_dir() and find_files(images).photos:
        outside = sum(path.suffix.lower() in PHOTO_ENDS for path in base.iterdir() if path.is_file())
        note = f"{count(outside, 'photo')} beside {images} not used: the photos in that folder are." if outside else ""
        return Source("photos", images, note=note)
    found = find_files(base)
    if found.photos or not found.videos:
        return Source("photos", base)
    if len(found.videos) > 1:
        names = ", ".join(name for name, _ in found.videos[:5])
        raise InputError(
            f"{base} holds {len(found.videos)} videos ({names}). Name one of them, or all of them (cam1.mp4 cam2.mp4) where "
            "several cameras filmed at the same time."
        )
    return Source("video", found.videos[0][1].parent, found.videos[0][1])


def several(source: Path | Sequence[Path]) -> list[Path]:
    """The paths of an input, absolute, in the order given. Raises InputError when there is none, or one does not exist."""
    paths = [source] if isinstance(source, (str, os.PathLike)) else list(source)
    if not paths:
        raise InputError(f"No input. {EXPECTED}.")
    return [_resolved(Path(path)) for path in paths]


def _look_at_several(paths: Sequence[Path]) -> Source:
    """Videos that were filmed at one time, and at most one calibration of their cameras."""
    videos, given = list[Path](), list[Path]()
    for path in paths:
        if path.is_dir():
            videos += [video for _, video in find_files(path).videos]
        elif path.suffix.lower() in VIDEO_ENDS:
            videos.append(path)
        elif is_calibration(path):
            given.append(path)
        else:
            raise InputError(
                f"{path} is neither a video nor a calibration. Several inputs at once are videos of one time (cam1.mp4 "
                "cam2.mp4), and at most one calibration of their cameras (*.qca.txt, transforms.json)."
            )
    if len(videos) < 2 or len(given) > 1 or len(set(videos)) < len(videos):
        raise InputError(
            f"Found {count(len(set(videos)), 'video')} and {count(len(given), 'calibration')} among the inputs; expected two "
            "different videos or more, and at most one calibration."
        )
    return Source("videos", videos[0].parent, given[0] if given else None, tuple(videos))


def _resolved(path: Path) -> Path:
    path = path.expanduser()
    if not path.exists():
        raise InputError(f"{path} does not exist. {EXPECTED}.")
    path = path.resolve()
    if (said := shown(str(path))) != str(path):
        raise InputError(f"The path {said} is not valid UTF-8. Rename the folder or file, and try again.")
    return path


def _look_at_file(path: Path) -> Source:
    end = path.suffix.lower()
    if end in VIDEO_ENDS:
        return Source("video", path.parent, path)
    if end == ".json":
        return Source("transforms", path.parent, path)
    if end in PHOTO_ENDS:
        raise InputError(f"{path} is one photo; at least 3 are needed. Name the folder that holds them.")
    raise InputError(f"{path} is a {end or 'nameless kind of'} file. {EXPECTED}.")


def _images_of(model: Path, base: Path) -> Path:
    """The folder in which most of a COLMAP model's photos exist."""
    names = read_tables(model).names
    around = (base, model, model.parent, model.parent.parent)
    folders = dict.fromkeys([folder / "images" for folder in around] + list(around))
    counts = {folder: sum((folder / name).is_file() for name in names) for folder in folders}
    best = max(counts, key=counts.__getitem__)
    if counts[best] == 0:
        raise InputError(
            f"None of the {len(names)} photos of the COLMAP model in {model} was found (for example {min(names, default='')}). "
            f"Expected them in {base / 'images'}."
        )
    return best


def photo_root(source: Source) -> Path:
    """The folder that the names of an input's photos are relative to."""
    if source.kind == "recording":
        return read_recording(source.root).root
    return read_transforms(source.model).root if source.kind == "transforms" and source.model else source.root


def find_files(root: Path) -> Found:
    """Every photo below `root`, by its name; folders of masks and depth, hidden ones and workspaces are passed over."""
    photos: dict[str, Path] = {}
    raw, videos, closed = [], [], []
    for name, path in _walk(root, closed):
        end = path.suffix.lower()
        if end in PHOTO_ENDS:
            photos[name] = path
        elif end in RAW_ENDS:
            raw.append(name)
        elif end in VIDEO_ENDS:
            videos.append((name, path))
    depth = _depth_beside(photos)
    files = tuple((name, photos[name]) for name in sorted(photos.keys() - set(depth.values())))
    return Found(files, depth, tuple(sorted(raw)), tuple(sorted(videos)), tuple(sorted(closed)))


def _walk(root: Path, closed: list[str]) -> Iterator[tuple[str, Path]]:
    """(name, path) of every file below `root`. Links are followed, each folder once."""
    seen: set[str] = set()
    for folder, folders, files in os.walk(root, followlinks=True, onerror=lambda e: closed.append(str(e.filename))):
        real = os.path.realpath(folder)
        if real in seen or (Path(folder) != root and "recon.json" in files):
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f.lower() not in NOT_PHOTOS)
        for file in files:
            if not file.startswith("."):
                path = Path(folder, file)
                yield path.relative_to(root).as_posix(), path


def _depth_beside(photos: dict[str, Path]) -> dict[str, str]:
    """Photo name -> depth image name, for depth images that lie among the photos (X.depth.png beside X.color.jpg or X.png)."""
    depth = {}
    stems = {name: name.rpartition(".")[0] for name in photos}
    colours = {COLOUR.sub("", stem): name for name, stem in stems.items() if not DEPTH.search(stem)}
    for name, stem in stems.items():
        if DEPTH.search(stem) and (photo := colours.get(DEPTH.sub("", stem))):
            depth[photo] = name
    return depth


def beside(root: Path, name: str, folders: Iterable[str], ends: Iterable[str] = (".png",)) -> Path | None:
    """The file that goes with a photo in a folder such as masks/: NAME.png or STEM.png, or with another of `ends`.

    The folder may lie in the photo folder, beside it where that is called images, or beside the photo itself.
    """
    photo = root / name
    places = [(root, name), (photo.parent, photo.name)]
    if name.startswith("images/"):
        places.append((root, name.removeprefix("images/")))
    if root.name == "images":
        places.append((root.parent, name))
    for folder in folders:
        for place, relative in places:
            for candidate in (f"{stem}{end}" for end in ends for stem in (relative, relative.rpartition(".")[0])):
                path = place / folder / candidate
                if os.path.isfile(path):  # noqa: PTH113 - Path.is_file() raises where the folder is closed
                    return path
    return None


def folders_beside(root: Path, folders: Iterable[str]) -> list[Path]:
    """Folders such as masks/ that may go with all photos below `root`, as far as they are there."""
    around = [root, root.parent] if root.name == "images" else [root]
    return [place / folder for place in around for folder in folders if (place / folder).is_dir()]


def find_depth(root: Path, name: str, among: Mapping[str, str]) -> Path | None:
    """A photo's depth image: one that lies among the photos (Found.depth), or one in a folder such as depth/."""
    return root / among[name] if name in among else beside(root, name, DEPTH_FOLDERS, DEPTH_ENDS)


def input_files(source: Source) -> dict[str, Path]:
    """Every file that ingest would look at, by a name that does not depend on where the input lies."""
    if source.kind == "video" and source.model:
        return {source.model.name: source.model}
    if source.kind == "videos":
        files = {f"{row}/{path.name}": path for row, path in enumerate(source.videos)}
        return files | ({f"given/{source.model.name}": source.model} if source.model else {})
    if source.kind == "recording":
        return _recorded_files(source.root)
    files: dict[str, Path] = {}
    found = find_files(source.root)
    photos = found.photos
    if source.kind == "transforms" and source.model:
        transforms = read_transforms(source.model)
        photos = tuple((frame.name, frame.path) for frame in transforms.frames)
        files |= {f"given/{path.name}": path for path in transforms.files}
        files |= {f"mask/{frame.name}": frame.mask for frame in transforms.frames if frame.mask}
        files |= {f"depth/{frame.name}": frame.depth for frame in transforms.frames if frame.depth}
        source = Source("transforms", transforms.root)
    elif source.kind == "colmap" and source.model:
        files |= {f"given/{path.name}": path for path in source.model.iterdir() if path.suffix in (".bin", ".txt")}
    for name, path in photos:
        files[name] = path
        if mask := beside(source.root, name, MASK_FOLDERS):
            files.setdefault(f"mask/{name}", mask)
        if depth := find_depth(source.root, name, found.depth):
            files.setdefault(f"depth/{name}", depth)
    return files


def _recorded_files(base: Path) -> dict[str, Path]:
    """input_files() of a depth camera's recording."""
    recording = read_recording(base)
    files = {f"given/{path.relative_to(base).as_posix()}": path for path in recording.files}
    for frame in recording.frames:
        files[frame.name] = recording.root / frame.name
        files |= {f"depth/{frame.name}": frame.depth} if frame.depth else {}
        files |= {f"confidence/{frame.name}": frame.confidence} if frame.confidence else {}
        mask = beside(recording.root, frame.name, MASK_FOLDERS)
        files |= {f"mask/{frame.name}": mask} if mask else {}
    return files


def hash_source(source: Source) -> str:
    """One hash over the names and contents of input_files()."""
    files = input_files(source)
    with ThreadPoolExecutor(workers()) as pool:
        hashes = pool.map(_hash, files.values())
        return sha256_json([source.kind, sorted(zip(map(repr, files), hashes, strict=True))])


def _hash(path: Path) -> str:
    if path.suffix.lower() in HEIC_ENDS and not reads_heic():
        return "unreadable: HEIC"  # its photos will be new once the package is there
    try:
        return sha256_photo(path)
    except OSError as error:  # ingest will name it; until it can be read, it counts as this
        return f"unreadable: {error.strerror}"
