"""A bare wall: photos of one colour, from which nobody can tell how far it is, and its true depth maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recon.cameras import Cameras
from recon.capture import Capture
from recon.depth.maps import DepthMaps
from recon.geometry import World
from recon.sparse import Observations, SparseModel
from tests.fabricate import ring_capture
from tests.synthetic_scene import Posed, write

SIZE = (48, 36)
MAP_SIZE = (64, 48)
COUNT, POINTS = 8, 200
COLOUR = (0.6, 0.4, 0.3)


def wall_cameras(size: tuple[int, int] = SIZE) -> Cameras:
    """Cameras that look along the world's +Z at the wall z = 4 + 0.3 x, from different places and distances."""
    place = np.arange(COUNT)
    pose = np.tile(np.eye(4), (COUNT, 1, 1))
    pose[:, 0, 3], pose[:, 1, 3] = 0.15 * (place - 3.5), 0.2 * np.cos(place)
    pose[:, 2, 3] = 1.2 * np.sin(1.7 * place)
    k = np.tile(np.array([[60.0, 0, 24.0], [0, 60.0, 18.0], [0, 0, 1]]), (COUNT, 1, 1))
    return Cameras(pose, k, np.tile(np.array(SIZE, np.int32), (COUNT, 1))).resized(size)


def true_z(cameras: Cameras) -> list[NDArray[np.float32]]:
    """z of the wall at the centres of the pixels, by camera: z_w = 4 + 0.3 x_w and z_w = z - t_z, x_w = x z - t_x."""
    out = []
    for pose, k, (width, height) in zip(cameras.cam_from_world, cameras.K, cameras.size, strict=True):
        x = (np.arange(width) + 0.5 - k[0, 2]) / k[0, 0]
        z = (4 + pose[2, 3] - 0.3 * pose[0, 3]) / (1 - 0.3 * x)
        out.append(np.broadcast_to(z, (height, width)).astype(np.float32))
    return out


def wall(root: Path) -> tuple[Capture, Posed, DepthMaps]:
    """Photos, and points that stand up to a tenth too near; photos 0 and 4 are held out. The maps are of all photos and of
    another size.
    """
    names = tuple(f"{i:03}.jpg" for i in range(COUNT))
    for name in names:
        write(root / "images" / f"{name}.png", np.broadcast_to(COLOUR, (SIZE[1], SIZE[0], 3)))
    draw, world = np.random.default_rng(3), World(up="estimated")
    xyz = np.stack([draw.uniform(-1.5, 1.5, POINTS), draw.uniform(-1.2, 1.2, POINTS), np.zeros(POINTS)], -1)
    xyz[:, 2] = 4 + 0.3 * xyz[:, 0] - draw.uniform(0.1, 0.4, POINTS)
    xy, _ = wall_cameras().project(xyz)
    camera, point = (a.ravel() for a in np.meshgrid(np.arange(COUNT), np.arange(POINTS), indexing="ij"))
    seen = Observations(camera.astype(np.int32), point.astype(np.int32), xy.reshape(-1, 2).astype(np.float32))
    grey, error = np.full((POINTS, 3), 128, np.uint8), np.ones(POINTS, np.float32)
    model = SparseModel(names, wall_cameras(), xyz, grey, error, seen, world)
    cameras = wall_cameras(MAP_SIZE)
    z = tuple(true_z(cameras))
    sure = tuple(np.ones_like(image) for image in z)
    normal = tuple(np.zeros((*image.shape, 3), np.float32) for image in z)
    return ring_capture(root, names), Posed(model, root / "images"), DepthMaps(names, cameras, z, sure, normal, world)
