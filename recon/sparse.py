"""SparseModel: cameras and points of structure from motion, and its doors: COLMAP folders and pycolmap."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recon.cameras import CameraModel, Cameras
from recon.colmap_io import DISTORTION, MODELS, ColmapCamera, ColmapTables, read_tables, write_tables
from recon.errors import InputError
from recon.geometry import Array, Sim3, World, quat_from_rotation, rotation_from_quat, se3

if TYPE_CHECKING:
    import pycolmap


@dataclass(frozen=True)
class Observations:
    """Which camera saw which point where: O rows, sorted by camera, then point."""

    camera: NDArray[np.int32]
    """i32[O], row of SparseModel.names."""
    point: NDArray[np.int32]
    """i32[O], row of SparseModel.xyz."""
    xy: NDArray[np.float32]
    """f32[O, 2], pixels, centres at +0.5."""

    @staticmethod
    def none() -> Observations:
        """No observation."""
        return Observations(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros((0, 2), np.float32))

    @staticmethod
    def of(camera: ArrayLike, point: ArrayLike, xy: ArrayLike) -> Observations:
        """From rows [O], [O], [O, 2] in any order."""
        c, p = np.asarray(camera, np.int32), np.asarray(point, np.int32)
        order = np.lexsort((p, c))
        return Observations(c[order], p[order], np.asarray(xy, np.float32).reshape(-1, 2)[order])


@dataclass(frozen=True)
class SparseModel:
    """N posed photos and P points in one frame."""

    names: tuple[str, ...]
    """[N] photo names, as in Capture.names (registered ones only), in code-point order."""
    cameras: Cameras
    """[N], the same order."""
    xyz: Array
    """f64[P, 3], world."""
    rgb: NDArray[np.uint8]
    """u8[P, 3], sRGB."""
    error: NDArray[np.float32]
    """f32[P], mean reprojection error, pixels."""
    observations: Observations
    world: World = field(default_factory=World)

    def select(self, rows: ArrayLike, min_views: int = 1) -> SparseModel:
        """The cameras `rows` (indices [M] in the order wanted, or bool[N]) and the points that they saw.

        A point that was observed is kept when at least `min_views` of these cameras observed it (0: keep every point).
        A point that came without any observation (from a PLY) is always kept, as nothing says who saw it.
        """
        index = np.asarray(rows)
        index = np.flatnonzero(index) if index.dtype == bool else index.astype(np.int64)
        new_camera = np.full(len(self.names), -1, np.int32)
        new_camera[index] = np.arange(len(index))
        seen = self.observations
        mine = new_camera[seen.camera] >= 0
        pairs = np.unique(np.stack([seen.camera[mine], seen.point[mine]], 1), axis=0)  # a camera counts once a point
        views = np.bincount(pairs[:, 1], minlength=len(self.xyz))
        anyone = np.bincount(seen.point, minlength=len(self.xyz)) > 0
        keep = (views >= min_views) | ~anyone
        new_point = np.where(keep, np.cumsum(keep) - 1, -1)
        used = mine & keep[seen.point]
        return SparseModel(
            tuple(self.names[i] for i in index),
            self.cameras[index],
            self.xyz[keep],
            self.rgb[keep],
            self.error[keep],
            Observations.of(new_camera[seen.camera[used]], new_point[seen.point[used]], seen.xy[used]),
            self.world,
        )

    def transformed(self, new_from_old: Sim3, world: World | None = None) -> SparseModel:
        """The same model in another frame. `world` says what is known of it (default: what was known of the old frame);

        its world_from_sfm is replaced by new_from_old @ the old one.
        """
        world_from_sfm = new_from_old @ self.world.world_from_sfm
        return replace(
            self,
            cameras=replace(self.cameras, cam_from_world=new_from_old.cameras(self.cameras.cam_from_world)),
            xyz=new_from_old.apply(self.xyz),
            world=replace(world or self.world, world_from_sfm=world_from_sfm),
        )


def colmap_camera(cameras: Cameras, row: int) -> ColmapCamera:
    """One camera as PINHOLE, OPENCV, FULL_OPENCV or OPENCV_FISHEYE. Raises InputError for a skewed K."""
    k = cameras.K[row]
    if abs(k[0, 1]) > 1e-9 * k[0, 0]:
        raise InputError(
            f"Camera {row} has a skew of {k[0, 1]:g} pixels, which COLMAP cannot hold. Undistort it first."
        )
    d = np.zeros(0) if cameras.distortion is None or cameras.model == "pinhole" else cameras.distortion[row]
    model = {"pinhole": "PINHOLE", "fisheye": "OPENCV_FISHEYE", "opencv": "OPENCV" if len(d) <= 4 else "FULL_OPENCV"}
    name = model[cameras.model]
    values = dict(zip(DISTORTION[cameras.model], d.tolist(), strict=False))
    values |= {"fx": float(k[0, 0]), "fy": float(k[1, 1]), "cx": float(k[0, 2]), "cy": float(k[1, 2])}
    width, height = (int(s) for s in cameras.size[row])
    return ColmapCamera(name, width, height, tuple(values.get(p, 0.0) for p in MODELS[name][2]))


def intrinsics(cameras: list[ColmapCamera]) -> tuple[CameraModel, Array, Array | None, NDArray[np.int32]]:
    """Our model, K [C, 3, 3], distortion [C, D] or None, size [C, 2] of COLMAP's cameras.

    Pinhole beside opencv becomes opencv. Raises InputError when fisheye and other models are mixed.
    """
    kinds = {MODELS[c.model][1] for c in cameras}
    if "fisheye" in kinds and len(kinds) > 1:
        raise InputError(
            f"The model mixes fisheye and other cameras ({', '.join(sorted({c.model for c in cameras}))}), which recon "
            "does not support in one capture. Undistort the photos first, or split them by camera."
        )
    model: CameraModel = "fisheye" if "fisheye" in kinds else "opencv" if "opencv" in kinds else "pinhole"
    names = DISTORTION[model][: 8 if any(c.model == "FULL_OPENCV" for c in cameras) else 4]
    k, distortion = np.zeros((len(cameras), 3, 3)), np.zeros((len(cameras), len(names)))
    for i, camera in enumerate(cameras):
        p = dict(zip(MODELS[camera.model][2], camera.params, strict=True))
        fx, fy = p.get("fx", p.get("f", 0.0)), p.get("fy", p.get("f", 0.0))
        k[i] = [[fx, 0, p["cx"]], [0, fy, p["cy"]], [0, 0, 1]]
        distortion[i] = [p.get(name, 0.0) for name in names]
    size = np.array([(c.width, c.height) for c in cameras], np.int64).reshape(-1, 2)
    if size.size and size.max() >= 2**31:
        raise InputError(f"A camera is {size.max()} pixels wide or high: the model is damaged. Export it again.")
    return model, k, distortion if names else None, size.astype(np.int32)


def read_colmap(folder: Path, strip_suffix: str = "", world: World | None = None) -> SparseModel:
    """A COLMAP model (text or binary), its photos in code-point order and its points by ascending id.

    strip_suffix is taken off the end of every name (sfm writes NAME + ".png"). Raises InputError for a model that is
    absent, damaged, not finite, or of cameras that recon does not know.
    """
    return _from_tables(read_tables(folder), str(folder), strip_suffix, world)


def write_colmap(model: SparseModel, folder: Path, name_suffix: str = "") -> None:
    """cameras.bin, images.bin, points3D.bin, each written atomically. Photos of equal intrinsics share one camera.

    Ids are rows + 1; name_suffix is appended to every name. What COLMAP has no place for (world, time) is not written.
    """
    n, seen = len(model.names), model.observations
    shared: dict[ColmapCamera, int] = {}
    camera_id = [shared.setdefault(colmap_camera(model.cameras, i), len(shared) + 1) for i in range(n)]
    tables = ColmapTables(
        cameras={number: camera for camera, number in shared.items()},
        image_id=np.arange(1, n + 1),
        names=tuple(name + name_suffix for name in model.names),
        quat=quat_from_rotation(model.cameras.cam_from_world[:, :3, :3]),
        translation=model.cameras.cam_from_world[:, :3, 3],
        camera_id=np.array(camera_id, np.int64),
        seen_image=seen.camera.astype(np.int64),
        seen_point=seen.point.astype(np.int64) + 1,
        seen_xy=seen.xy.astype(np.float64),
        point_id=np.arange(1, len(model.xyz) + 1),
        xyz=model.xyz,
        rgb=model.rgb,
        error=model.error.astype(np.float64),
    )
    write_tables(tables, folder)


def from_pycolmap(
    reconstruction: pycolmap.Reconstruction, strip_suffix: str = "", world: World | None = None
) -> SparseModel:
    """The registered photos and the points of a pycolmap reconstruction.

    It goes through a temporary folder: ten times faster than asking for the keypoints one by one.
    """
    with tempfile.TemporaryDirectory(prefix="recon-") as folder:
        reconstruction.write_binary(folder)
        return _from_tables(read_tables(Path(folder)), "the reconstruction", strip_suffix, world)


def _from_tables(tables: ColmapTables, where: str, strip_suffix: str, world: World | None) -> SparseModel:
    _check(tables, where)
    names = [name.removesuffix(strip_suffix) for name in tables.names]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{where} lists the photo {twice} more than once. Export the model again.")
    order = np.array(sorted(range(len(names)), key=names.__getitem__), np.int64)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    ids = sorted(set(tables.camera_id.tolist()))
    row_of = {camera_id: row for row, camera_id in enumerate(ids)}
    used = np.array([row_of[c] for c in tables.camera_id[order].tolist()], np.int64)
    model, k, distortion, size = intrinsics([tables.cameras[i] for i in ids])
    cameras = Cameras(
        se3(rotation_from_quat(tables.quat[order]), tables.translation[order]),
        k[used],
        size[used],
        model,
        None if distortion is None else distortion[used],
    )
    by_id = np.argsort(tables.point_id, kind="stable")
    sorted_id = tables.point_id[by_id]
    at = np.searchsorted(sorted_id, tables.seen_point)
    known = at < len(sorted_id)
    known[known] = sorted_id[at[known]] == tables.seen_point[known]
    return SparseModel(
        tuple(names[i] for i in order),
        cameras,
        tables.xyz[by_id],
        tables.rgb[by_id],
        tables.error[by_id].astype(np.float32),
        Observations.of(rank[tables.seen_image[known]], at[known], tables.seen_xy[known]),
        world or World(),
    )


def _check(tables: ColmapTables, where: str) -> None:
    """Raises InputError naming what in the tables no camera or point can be made of."""
    for i, name in enumerate(tables.names):
        if not (np.isfinite(tables.quat[i]).all() and np.isfinite(tables.translation[i]).all()):
            raise InputError(
                f"The pose of {name} in {where} is not finite. Remove this photo from the model or export it again."
            )
        if np.linalg.norm(tables.quat[i]) < 1e-6:
            raise InputError(
                f"The rotation of {name} in {where} is zero. Remove this photo from the model or export it again."
            )
        if int(tables.camera_id[i]) not in tables.cameras:
            raise InputError(
                f"{name} in {where} uses camera {tables.camera_id[i]}, but there are only "
                f"{sorted(tables.cameras)}. Export the model again."
            )
    for camera_id, camera in tables.cameras.items():
        focals = [
            value for key, value in zip(MODELS[camera.model][2], camera.params, strict=True) if key.startswith("f")
        ]
        if not np.isfinite(camera.params).all() or min(focals) <= 0 or camera.width < 1 or camera.height < 1:
            raise InputError(
                f"Camera {camera_id} in {where} cannot be used: {camera.model} {camera.width}x{camera.height} with "
                f"parameters {', '.join(f'{p:g}' for p in camera.params)}. Expected a size and focal lengths above 0, "
                "and finite numbers."
            )
    bad = int((~np.isfinite(tables.xyz).all(axis=1)).sum())
    if bad:
        raise InputError(f"{bad} of {len(tables.xyz)} points in {where} are not finite. Export the model again.")
