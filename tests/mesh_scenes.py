"""Spheres and boxes with exact z, and photos of coloured ones: what the tests of meshes are measured against."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recon.cameras import Cameras
from recon.geometry import se3, se3_inverse
from recon.job import Job, NoProgress
from recon.mesh import Mesh
from recon.mesh.picture import picture
from recon.mesh.texture import paint
from recon.mesh.views import DepthView

SIZE = (96, 72)
SIDES = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], float)
SIDE_COLOURS = np.array(
    [[200, 40, 40], [40, 180, 60], [50, 70, 210], [210, 190, 50], [180, 60, 190], [60, 190, 190]], np.uint8
)


def cameras_around(radius: float = 3.0, size: tuple[int, int] = SIZE) -> Cameras:
    """14 cameras on a sphere, towards the corners and the sides of a cube, all looking at the origin."""
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float) / np.sqrt(3)
    centers = radius * np.concatenate([corners, SIDES])
    forward = -centers / radius
    right = np.cross(forward, np.where(np.abs(forward[:, 2:]) > 0.9, [[1.0, 0, 0]], [[0, 0, 1.0]]))
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    world_from_cam = se3(np.stack([right, np.cross(forward, right), forward], -1), centers)
    n, f = len(centers), 1.1 * size[1]
    k = np.tile(np.array([[f, 0, size[0] / 2], [0, f, size[1] / 2], [0, 0, 1]]), (n, 1, 1))
    return Cameras(se3_inverse(world_from_cam), k, np.tile(np.array(size, np.int32), (n, 1)))


def sphere_t(origin: NDArray, direction: NDArray, radius: float) -> NDArray:
    """Distance along unit rays to a sphere around the origin, NaN where they miss."""
    b = direction @ origin
    inside = b * b - (origin @ origin - radius * radius)
    return np.where(inside > 0, -b - np.sqrt(np.maximum(inside, 0)), np.nan)


def box_t(origin: NDArray, direction: NDArray, half: float) -> NDArray:
    """Distance along unit rays to the cube of half side `half` around the origin, NaN where they miss."""
    with np.errstate(divide="ignore", invalid="ignore"):
        a, b = (-half - origin) / direction, (half - origin) / direction
    near, far = np.minimum(a, b).max(-1), np.maximum(a, b).min(-1)
    return np.where(near < far, near, np.nan)


def exact_views(shape, extent: float, cameras: Cameras | None = None) -> list[DepthView]:
    """Exact z of `shape` (sphere_t or box_t) from cameras_around()."""
    cameras = cameras if cameras is not None else cameras_around()
    views = []
    for i in range(len(cameras)):
        origin, direction = cameras.rays(i)
        z = shape(origin, direction, extent) * (direction @ cameras.cam_from_world[i, 2, :3])
        views.append(DepthView(f"{i}", cameras[i], z.astype(np.float32), np.ones(z.shape, np.float32)))
    return views


def cube(cells: int = 6, half: float = 0.8) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int64]]:
    """A closed cube around the origin with `cells` x `cells` x 2 triangles a side: xyz, faces, and each face's side in SIDES."""
    xyz, faces, side = [], [], []
    line = np.linspace(-half, half, cells + 1)
    for s, normal in enumerate(SIDES):
        axis = int(np.abs(normal).argmax())
        u, v = np.eye(3)[(axis + 1) % 3], np.eye(3)[(axis + 2) % 3]
        if normal[axis] < 0:
            u, v = v, u
        start = sum(len(part) for part in xyz)
        xyz.append((half * normal + line[:, None, None] * u + line[None, :, None] * v).reshape(-1, 3))
        for i in range(cells):
            for j in range(cells):
                a, b = start + i * (cells + 1) + j, start + (i + 1) * (cells + 1) + j
                faces += [[a, b, b + 1], [a, b + 1, a + 1]]
                side += [s, s]
    points = np.concatenate(xyz)
    _, first, number = np.unique(np.round(points, 6), axis=0, return_index=True, return_inverse=True)
    return points[first].astype(np.float32), number.ravel()[np.array(faces)].astype(np.int32), np.array(side)


@dataclass(frozen=True)
class Taken:
    """Photos in memory."""

    cameras: Cameras
    images: list[NDArray[np.uint8]]

    def read(self, index: int) -> tuple[NDArray[np.uint8], None]:
        return self.images[index], None


def photos_of_cube(gains: NDArray | None = None, cameras: Cameras | None = None) -> Taken:
    """Photos of the cube whose sides have SIDE_COLOURS, over black; `gains` [N] multiply the photos' colours."""
    xyz, faces, side = cube()
    split = xyz[faces].reshape(-1, 3)  # a vertex of one colour each
    mesh = Mesh(split, np.arange(len(split), dtype=np.int32).reshape(-1, 3), np.repeat(SIDE_COLOURS[side], 3, axis=0))
    cameras = cameras if cameras is not None else cameras_around()
    images = [picture(mesh, cameras[i]) for i in range(len(cameras))]
    gains = np.ones(len(images)) if gains is None else gains
    return Taken(
        cameras,
        [np.rint(np.clip(255 * g * image, 0, 255)).astype(np.uint8) for g, image in zip(gains, images, strict=True)],
    )


class Quiet(Job):
    """A job without a folder, for functions that only report progress."""

    def __init__(self) -> None:
        self.progress = NoProgress()


def painted_cube(texture: int = 256, **changes):
    xyz, faces, side = cube()
    mesh = Mesh(xyz, faces, np.zeros((len(xyz), 3), np.uint8))
    photos = replace(photos_of_cube(), **changes)
    return paint(mesh, photos, 0.02, texture, Quiet()), side
