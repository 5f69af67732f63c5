"""Recordings of a depth camera in a room of known truth (depth_scene.py), in the layouts that cameras and phones write."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from recon.align import AlignOptions, align
from recon.cameras import Cameras
from recon.capture import Capture
from recon.depth import DepthMaps, DepthOptions
from recon.geometry import Array, World, quat_from_rotation
from recon.job import Job
from recon.reconstruction import Reconstruction
from recon.sparse import write_colmap
from tests.depth_scene import Room, cameras_in_a_row, cast, room, sparse_of
from tests.fabricate import write_photo
from tests.photo_files import run_ingest

FULL = DepthOptions(depth_long_side=0, depth_passes=0)
"""Maps at the photos' size; stereo, where it joins, in one pass."""
SIZE = (128, 96)
COUNT = 6
FOCAL = 105.0
"""525 pixels of 640."""
SEVEN_SHIFT = np.array([-0.025, 0, 0])
"""Where a Kinect's depth camera stands in its colour camera's frame, metres."""
OPENGL = np.diag([1.0, -1, -1, 1])
ARKIT_FROM_ROOM = np.diag([1.0, -1, -1, 1])
"""The room's +Y is down, ARKit's is up."""


def colour_cameras(count: int = COUNT) -> Cameras:
    """Cameras that stand at least 0.35 m apart, with a centred principal point."""
    cameras = cameras_in_a_row(count)
    k = np.array([[FOCAL, 0, SIZE[0] / 2], [0, FOCAL, SIZE[1] / 2], [0, 0, 1]])
    return replace(cameras, K=np.tile(k, (count, 1, 1)))


def the_room(count: int = COUNT) -> Room:
    return room(cameras=colour_cameras(count))


def sevenscenes_of(place: Room, folder: Path) -> Capture:
    """The room as 7-Scenes has it, in metres."""
    write_sevenscenes(folder / "in", place)
    return run_ingest(folder / "in", folder / "job")[0]


def z_of(cameras: Cameras, row: int) -> Array:
    """True z [H, W] in metres of one camera, its lens included."""
    return cast(cameras, row)[0]


def write_whole(path: Path, values: NDArray, unit: float = 0.001) -> None:
    """A 16-bit PNG; what is not finite becomes 0."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = np.rint(np.nan_to_num(values / unit)).clip(0, 65535).astype(np.uint16)
    Image.fromarray(whole).save(path)


def small(cameras: Cameras) -> Cameras:
    """As a phone's depth camera has it: the photo's camera with fewer pixels."""
    return cameras.resized((64, 48))


def opengl(cameras: Cameras, i: int) -> Array:
    """Camera-to-world [4, 4] as ARKit has it."""
    return ARKIT_FROM_ROOM @ cameras.world_from_cam[i] @ OPENGL


def write_sevenscenes(folder: Path, place: Room, z: list[Array] | None = None) -> None:
    k = np.array([[117.0, 0, 64], [0, 117, 48], [0, 0, 1]])
    poses = place.cameras.cam_from_world.copy()
    poses[:, :3, 3] -= SEVEN_SHIFT
    depth_cameras = replace(place.cameras, cam_from_world=poses, K=np.tile(k, (len(poses), 1, 1)))
    for i, rgb in enumerate(place.rgb):
        stem = folder / f"frame-{10 * i:06d}"
        write_photo(Path(f"{stem}.color.png"), rgb)
        values = z_of(depth_cameras, i)
        values[:4] = np.nan
        write_whole(Path(f"{stem}.depth.png"), values)
        np.savetxt(f"{stem}.pose.txt", np.linalg.inv(poses[i]))
    np.savetxt(folder / "camera-intrinsics.txt", k)


def write_tum(folder: Path, place: Room) -> None:
    """Depth 8 ms after the photo, poses at 100 Hz, the first pose but one missing from the list."""
    lines: dict[str, list[str]] = {"rgb": ["# color images"], "depth": ["# depth maps"], "groundtruth": ["# poses"]}
    for i, rgb in enumerate(place.rgb):
        t = 1305031102.175304 + 0.1 * i
        write_photo(folder / f"rgb/{t:.6f}.png", rgb)
        write_whole(folder / f"depth/{t + 0.008:.6f}.png", place.z[i], 1 / 5000)
        lines["rgb"].append(f"{t:.6f} rgb/{t:.6f}.png")
        lines["depth"].append(f"{t + 0.008:.6f} depth/{t + 0.008:.6f}.png")
        m = place.cameras.world_from_cam[i]
        w, x, y, z = quat_from_rotation(m[:3, :3])
        far = [t - 0.05, [9.0, 9, 9]], [t + 0.003, m[:3, 3]], [t + 0.04, [7.0, 7, 7]]
        for when, at in far:
            lines["groundtruth"].append(
                f"{when:.4f} {at[0]:.6f} {at[1]:.6f} {at[2]:.6f} {x:.6f} {y:.6f} {z:.6f} {w:.6f}"
            )
    for name, content in lines.items():
        (folder / f"{name}.txt").write_text("\n".join(content) + "\n", encoding="utf-8")
    (folder / "calibration.txt").write_text(
        f"{FOCAL} {FOCAL} {SIZE[0] / 2 - 0.5} {SIZE[1] / 2 - 0.5}\n", encoding="utf-8"
    )


def write_polycam(folder: Path, place: Room) -> None:
    """Corrected photos and cameras, beside others that are wrong on purpose; the left of the depth is not to be trusted."""
    for i, rgb in enumerate(place.rgb):
        stem = f"{1000 + i}"
        m = opengl(place.cameras, i)
        data: dict[str, Any] = {f"t_{r}{c}": m[r, c] for r in range(3) for c in range(4)}
        data |= {"fx": FOCAL, "fy": FOCAL, "cx": SIZE[0] / 2, "cy": SIZE[1] / 2, "width": SIZE[0], "height": SIZE[1]}
        for kind, content in (("corrected_", data), ("", data | {"t_03": 5.0, "fx": 50.0})):
            write_photo(folder / f"keyframes/{kind}images/{stem}.png", rgb)
            write_json_file(folder / f"keyframes/{kind}cameras/{stem}.json", content)
        z = z_of(small(place.cameras), i)
        write_whole(folder / f"keyframes/depth/{stem}.png", z)
        trust = np.full(z.shape, 255, np.uint8)
        trust[:, :8], trust[:, 8:20] = 0, 127
        (folder / "keyframes/confidence").mkdir(exist_ok=True)
        Image.fromarray(trust).save(folder / f"keyframes/confidence/{stem}.png")


def record3d_metadata(place: Room) -> dict[str, Any]:
    poses = []
    for i in range(len(place.cameras)):
        m = opengl(place.cameras, i)
        w, x, y, z = quat_from_rotation(m[:3, :3])
        poses.append([x, y, z, w, *m[:3, 3]])
    k = np.array([[FOCAL, 0, SIZE[0] / 2], [0, FOCAL, SIZE[1] / 2], [0, 0, 1]])
    return {"K": k.T.ravel().tolist(), "w": SIZE[0], "h": SIZE[1], "dw": 64, "dh": 48, "fps": 60, "poses": poses}


def write_record3d(folder: Path, place: Room, compress: Callable[[bytes], bytes]) -> None:
    (folder / "rgbd").mkdir(parents=True)
    for i, rgb in enumerate(place.rgb):
        write_photo(folder / f"rgbd/{i}.png", rgb)
        z = z_of(small(place.cameras), i).astype(np.float32)
        z[:, :8] = np.nan
        (folder / f"rgbd/{i}.depth").write_bytes(compress(z.tobytes()))
        (folder / f"rgbd/{i}.conf").write_bytes(compress(np.full(z.shape, 2, np.uint8).tobytes()))
    write_json_file(folder / "metadata", record3d_metadata(place))


def write_plain(folder: Path, place: Room, end: str = ".png") -> None:
    """images/ and depth/ beside it: millimetres, or metres as fractions."""
    for i, rgb in enumerate(place.rgb):
        write_photo(folder / f"images/{i}.png", rgb)
        path, z = folder / f"depth/{i}{end}", place.z[i].astype(np.float32)
        path.parent.mkdir(exist_ok=True)
        if end == ".png":
            write_whole(path, z)
        elif end == ".npy":
            np.save(path, z)
        else:
            Image.fromarray(z).save(path)


def write_nerfstudio(folder: Path, place: Room) -> None:
    frames = []
    for i, rgb in enumerate(place.rgb):
        write_photo(folder / f"images/{i}.png", rgb)
        write_whole(folder / f"lidar/d{i}.png", z_of(small(place.cameras), i))
        pose = (place.cameras.world_from_cam[i] @ OPENGL).tolist()
        frames.append({"file_path": f"images/{i}.png", "depth_file_path": f"lidar/d{i}.png", "transform_matrix": pose})
    head = {"w": SIZE[0], "h": SIZE[1], "fl_x": FOCAL, "fl_y": FOCAL, "cx": SIZE[0] / 2, "cy": SIZE[1] / 2}
    write_json_file(folder / "transforms.json", head | {"frames": frames})


def write_json_file(path: Path, data: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data), encoding="utf-8")


@dataclass(frozen=True)
class Shot:
    """A capture with what SfM would say of it."""

    capture: Capture
    reconstruction: Reconstruction
    place: Room


def shot(capture: Capture, place: Room, folder: Path, units: float = 1.0, taken: Cameras | None = None) -> Shot:
    """The capture's reconstruction with true cameras and points, in a world of `units` a metre; `taken`: before undistortion."""
    sparse = replace(sparse_of(replace(place, names=capture.names), 150))
    poses = sparse.cameras.cam_from_world.copy()
    poses[:, :3, 3] *= units
    cameras = replace(sparse.cameras, cam_from_world=poses)
    world = capture.prior.world if capture.prior else sparse.world
    model = replace(sparse, cameras=cameras, xyz=sparse.xyz * units, world=world)
    for name, rgb in zip(capture.names, place.rgb, strict=True):
        write_photo(folder / "sfm/images" / f"{name}.png", rgb)
    before = replace(model, cameras=replace(taken, cam_from_world=poses)) if taken else model
    write_colmap(before, folder / "sfm/distorted")
    return Shot(capture, Reconstruction(model, folder / "sfm/images", None), place)


def errors(z: NDArray, true: Array) -> Array:
    """Relative errors of z where there is one."""
    known = np.isfinite(z)
    return np.abs(z[known] - true[known]) / true[known]


def right(maps: DepthMaps, place: Room, i: int) -> float:
    """Share of what is measured that lies within 1 % of the truth."""
    row = int(maps.names[i].split("-")[1][:6]) // 10 if "frame-" in maps.names[i] else i
    return float((errors(np.where(maps.confidence[i] > 0, maps.z[i], np.nan), place.z[row]) < 0.01).mean())


def loose(shot: Shot) -> Shot:
    """The same shot as SfM has it: no given poses, a world of no scale."""
    model = replace(shot.reconstruction.model, world=World())
    return replace(
        shot, capture=replace(shot.capture, prior=None), reconstruction=replace(shot.reconstruction, model=model)
    )


def aligned(shot: Shot, folder: Path, **options: Any) -> tuple[Shot, Job, dict[str, Any]]:
    """align() with the frame kept unless options say otherwise, and its evidence of depth images."""
    job = Job(folder / "align")
    reconstruction = align(shot.capture, shot.reconstruction, AlignOptions(**({"up": "keep"} | options)), job)
    evidence = json.loads((job.folder / "world.json").read_text())["evidence"].get("depth_images", {})
    return replace(shot, reconstruction=reconstruction), job, evidence
