"""COLMAP's sparse models as plain tables: reading text and binary, writing binary. numpy and struct alone.

Source of the formats: colmap.github.io/format.html. Files named rigs and frames are not needed: images.* holds every
pose whether they are there or not. Ids are COLMAP's own; quaternions are wxyz, poses cam_from_world, pixel centres at
+0.5.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recon.cameras import CameraModel
from recon.errors import InputError
from recon.files import atomic_write
from recon.geometry import Array

MODELS: dict[str, tuple[int, CameraModel, tuple[str, ...]]] = {
    "SIMPLE_PINHOLE": (0, "pinhole", ("f", "cx", "cy")),
    "PINHOLE": (1, "pinhole", ("fx", "fy", "cx", "cy")),
    "SIMPLE_RADIAL": (2, "opencv", ("f", "cx", "cy", "k1")),
    "RADIAL": (3, "opencv", ("f", "cx", "cy", "k1", "k2")),
    "OPENCV": (4, "opencv", ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2")),
    "OPENCV_FISHEYE": (5, "fisheye", ("fx", "fy", "cx", "cy", "k1", "k2", "k3", "k4")),
    "FULL_OPENCV": (6, "opencv", ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")),
    "SIMPLE_RADIAL_FISHEYE": (8, "fisheye", ("f", "cx", "cy", "k1")),
    "RADIAL_FISHEYE": (9, "fisheye", ("f", "cx", "cy", "k1", "k2")),
    "SIMPLE_FISHEYE": (14, "fisheye", ("f", "cx", "cy")),
    "FISHEYE": (15, "fisheye", ("fx", "fy", "cx", "cy")),
}
"""COLMAP's name -> its id, our model, its parameters in order."""

DISTORTION: dict[CameraModel, tuple[str, ...]] = {
    "pinhole": (),
    "opencv": ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
    "fisheye": ("k1", "k2", "k3", "k4"),
}
"""Our order of distortion coefficients."""

UNSUPPORTED = {
    7: "FOV",
    10: "THIN_PRISM_FISHEYE",
    11: "RAD_TAN_THIN_PRISM_FISHEYE",
    12: "SIMPLE_DIVISION",
    13: "DIVISION",
    16: "EUCM",
    17: "EQUIRECTANGULAR",
}

NO_POINT = -1
POINT_HEAD = np.dtype([("id", "<u8"), ("xyz", "<f8", 3), ("rgb", "u1", 3), ("error", "<f8"), ("track", "<u8")])
POINT_2D = np.dtype([("xy", "<f8", 2), ("point", "<i8")])
TRACK_ELEMENT = np.dtype([("image", "<u4"), ("index", "<u4")])


@dataclass(frozen=True)
class ColmapCamera:
    """One row of cameras.*."""

    model: str
    """A key of MODELS."""
    width: int
    height: int
    params: tuple[float, ...]


@dataclass(frozen=True)
class ColmapTables:
    """A sparse model as its files have it. C cameras, N images, O observations of points, P points."""

    cameras: dict[int, ColmapCamera]
    image_id: NDArray[np.int64]
    """i64[N]."""
    names: tuple[str, ...]
    """[N]."""
    quat: Array
    """f64[N, 4], wxyz, cam_from_world."""
    translation: Array
    """f64[N, 3]."""
    camera_id: NDArray[np.int64]
    """i64[N], keys of `cameras`."""
    seen_image: NDArray[np.int64]
    """i64[O], row of `names`, ascending."""
    seen_point: NDArray[np.int64]
    """i64[O], value of `point_id`."""
    seen_xy: Array
    """f64[O, 2], pixels."""
    point_id: NDArray[np.int64]
    """i64[P]."""
    xyz: Array
    """f64[P, 3]."""
    rgb: NDArray[np.uint8]
    """u8[P, 3]."""
    error: Array
    """f64[P], pixels."""


def is_colmap(folder: Path) -> bool:
    """Whether a folder holds a sparse model, by its file names."""
    return any((folder / f"cameras.{end}").is_file() and (folder / f"images.{end}").is_file() for end in ("bin", "txt"))


def read_tables(folder: Path) -> ColmapTables:
    """Read binary files, or text files where there are no binary ones. A model without points3D.* has no points.

    Raises InputError for a model that is missing, damaged, or uses a camera model that recon does not know.
    """
    if not is_colmap(folder):
        raise InputError(
            f"{folder} holds no COLMAP model: expected cameras.bin and images.bin, or cameras.txt and images.txt. "
            "Name the folder that holds these files."
        )
    end = "bin" if (folder / "cameras.bin").is_file() and (folder / "images.bin").is_file() else "txt"
    readers = (_cameras_bin, _images_bin, _points_bin) if end == "bin" else (_cameras_txt, _images_txt, _points_txt)
    parts = []
    for stem, reader in zip(("cameras", "images", "points3D"), readers, strict=True):
        path = folder / f"{stem}.{end}"
        try:
            parts.append(reader(path.read_bytes()) if path.is_file() else _no_points())
        except (struct.error, ValueError, IndexError, OverflowError) as error:
            raise InputError(
                f"{path} is damaged or is not a COLMAP file ({error}). Export the model again, or run on the photos "
                "alone."
            ) from error
    cameras, images, points = parts
    return ColmapTables(cameras, *images, *points)


def _no_points() -> tuple[NDArray[np.int64], Array, NDArray[np.uint8], Array]:
    return np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros((0, 3), np.uint8), np.zeros(0)


def _camera(model: str, width: int, height: int, params: tuple[float, ...]) -> ColmapCamera:
    if model not in MODELS:
        raise InputError(
            f"The COLMAP camera model {model} is not supported; supported are {', '.join(MODELS)}. "
            "Undistort the photos with `colmap image_undistorter` and use the model that it writes."
        )
    if len(params) != len(MODELS[model][2]):
        raise ValueError(f"{model} has {len(MODELS[model][2])} parameters, found {len(params)}")
    return ColmapCamera(model, width, height, params)


def _cameras_bin(data: bytes) -> dict[int, ColmapCamera]:
    names = {row[0]: name for name, row in MODELS.items()}
    (count,), at, cameras = struct.unpack_from("<Q", data), 8, {}
    for _ in range(count):
        camera_id, model_id, width, height = struct.unpack_from("<IiQQ", data, at)
        model = names.get(model_id) or UNSUPPORTED.get(model_id, f"number {model_id}")
        length = len(MODELS[model][2]) if model in MODELS else 0
        params = struct.unpack_from(f"<{length}d", data, at + 24)
        cameras[camera_id] = _camera(model, width, height, params)
        at += 24 + 8 * length
    return cameras


def _images_bin(data: bytes) -> tuple:
    (count,), at, heads, names, seen = struct.unpack_from("<Q", data), 8, [], [], []
    for _ in range(count):
        heads.append(struct.unpack_from("<I7dI", data, at))
        end = data.index(b"\0", at + 64)
        names.append(data[at + 64 : end].decode("utf-8", "surrogateescape"))
        (points,) = struct.unpack_from("<Q", data, end + 1)
        rows = np.frombuffer(data, POINT_2D, points, end + 9)
        seen.append((rows["xy"], rows["point"]))
        at = end + 9 + points * POINT_2D.itemsize
    return _images(heads, names, seen)


def _images(heads: list, names: list[str], seen: list[tuple[Array, NDArray[np.int64]]]) -> tuple:
    """The image columns of ColmapTables. Keypoints that see no point are left out."""
    table = np.array(heads, np.float64).reshape(len(heads), 9)
    used = [points != NO_POINT for _, points in seen]
    rows = [np.full(int(use.sum()), i, np.int64) for i, use in enumerate(used)]
    points = [points[use] for (_, points), use in zip(seen, used, strict=True)]
    xy = [xy[use] for (xy, _), use in zip(seen, used, strict=True)]
    return (
        table[:, 0].astype(np.int64),
        tuple(names),
        table[:, 1:5],
        table[:, 5:8],
        table[:, 8].astype(np.int64),
        np.concatenate(rows or [np.zeros(0, np.int64)]),
        np.concatenate(points or [np.zeros(0, np.int64)]),
        np.concatenate(xy or [np.zeros((0, 2))]),
    )


def _points_bin(data: bytes) -> tuple:
    (count,) = struct.unpack_from("<Q", data)
    if count * POINT_HEAD.itemsize > len(data):
        raise ValueError(f"{count} points do not fit into {len(data)} bytes")
    starts, at = np.empty(count, np.int64), 8
    for i in range(count):  # the records differ in length: each says at its end how long its track is
        starts[i] = at
        at += POINT_HEAD.itemsize + 8 * struct.unpack_from("<Q", data, at + 43)[0]
    if at > len(data):
        raise ValueError(f"{len(data)} bytes, expected {at}")
    gathered = np.frombuffer(data, np.uint8)[starts[:, None] + np.arange(POINT_HEAD.itemsize)]
    head = np.ascontiguousarray(gathered).reshape(-1).view(POINT_HEAD)
    return head["id"].astype(np.int64), head["xyz"].copy(), head["rgb"].copy(), head["error"].copy()


def _lines(data: bytes) -> Iterator[str]:
    """The lines of a text file without comments; empty lines are kept, as one may be an image without keypoints."""
    for line in data.decode("utf-8-sig", "surrogateescape").split("\n"):
        if not line.startswith("#"):
            yield line.strip()


def _cameras_txt(data: bytes) -> dict[int, ColmapCamera]:
    cameras = {}
    for line in filter(None, _lines(data)):
        camera_id, model, width, height, *params = line.split()
        cameras[int(camera_id)] = _camera(model, int(width), int(height), tuple(float(p) for p in params))
    return cameras


def _images_txt(data: bytes) -> tuple:
    heads, names, seen = [], [], []
    lines = _lines(data)
    for line in lines:
        if not line:
            continue
        *head, name = line.split(maxsplit=9)
        if len(head) != 9:
            raise ValueError(f"expected ten columns of an image, found {line[:80]!r}")
        heads.append([float(value) for value in head])
        names.append(name)
        values = np.array(next(lines, "").split(), np.float64)
        if len(values) % 3:
            raise ValueError(f"the keypoints of {name} are not triples")
        rows = values.reshape(-1, 3)
        seen.append((rows[:, :2], np.where(rows[:, 2] < 2.0**63, rows[:, 2], NO_POINT).astype(np.int64)))
    return _images(heads, names, seen)


def _points_txt(data: bytes) -> tuple:
    rows = [line.split(maxsplit=8)[:8] for line in filter(None, _lines(data))]
    table = np.array(rows, np.float64).reshape(len(rows), 8)
    colours = table[:, 4:7]
    if not np.isfinite(colours).all() or (colours.size and (colours.min() < 0 or colours.max() > 255)):
        raise ValueError("colours outside 0..255")
    return table[:, 0].astype(np.int64), table[:, 1:4], colours.astype(np.uint8), table[:, 7]


def write_tables(tables: ColmapTables, folder: Path) -> None:
    """Write cameras.bin, images.bin and points3D.bin, each atomically; stale rigs and frames are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("rigs.bin", "frames.bin"):  # COLMAP would read them beside our files
        (folder / name).unlink(missing_ok=True)
    with atomic_write(folder / "cameras.bin") as stream:
        stream.write(struct.pack("<Q", len(tables.cameras)))
        for camera_id, camera in tables.cameras.items():
            head = struct.pack("<IiQQ", camera_id, MODELS[camera.model][0], camera.width, camera.height)
            stream.write(head + struct.pack(f"<{len(camera.params)}d", *camera.params))
    with atomic_write(folder / "images.bin") as stream:
        stream.write(struct.pack("<Q", len(tables.names)))
        bounds = np.searchsorted(tables.seen_image, np.arange(len(tables.names) + 1))
        for i, name in enumerate(tables.names):
            seen = slice(bounds[i], bounds[i + 1])
            pose = (*tables.quat[i], *tables.translation[i])
            stream.write(struct.pack("<I7dI", tables.image_id[i], *pose, tables.camera_id[i]))
            stream.write(name.encode("utf-8", "surrogateescape") + b"\0" + struct.pack("<Q", bounds[i + 1] - bounds[i]))
            rows = np.empty(bounds[i + 1] - bounds[i], POINT_2D)
            rows["xy"], rows["point"] = tables.seen_xy[seen], tables.seen_point[seen]
            stream.write(rows.tobytes())
    with atomic_write(folder / "points3D.bin") as stream:
        stream.write(struct.pack("<Q", len(tables.point_id)))
        stream.write(_point_records(tables))


def _point_records(tables: ColmapTables) -> bytes:
    """The body of points3D.bin: a head and a track for each point."""
    by_id = np.argsort(tables.point_id, kind="stable")
    point = by_id[np.searchsorted(tables.point_id, tables.seen_point, sorter=by_id)]
    order = np.argsort(point, kind="stable")
    length = np.bincount(point, minlength=len(tables.point_id)).astype(np.int64)
    first = np.concatenate([[0], np.cumsum(length)])
    size = POINT_HEAD.itemsize + TRACK_ELEMENT.itemsize * length
    start = np.concatenate([[0], np.cumsum(size)])
    head = np.empty(len(tables.point_id), POINT_HEAD)
    head["id"], head["xyz"], head["rgb"] = tables.point_id, tables.xyz, tables.rgb
    head["error"], head["track"] = tables.error, length
    track = np.empty(len(order), TRACK_ELEMENT)
    track["image"] = tables.image_id[tables.seen_image[order]]
    in_image = np.arange(len(order)) - np.searchsorted(tables.seen_image, tables.seen_image)
    track["index"] = in_image[order]
    place = start[point[order]] + POINT_HEAD.itemsize + 8 * (np.arange(len(order)) - first[point[order]])
    body = np.empty(int(start[-1]), np.uint8)
    body[start[:-1, None] + np.arange(POINT_HEAD.itemsize)] = head.view(np.uint8).reshape(-1, POINT_HEAD.itemsize)
    body[place[:, None] + np.arange(8)] = track.view(np.uint8).reshape(-1, TRACK_ELEMENT.itemsize)
    return body.tobytes()
