"""Pictures of a mesh all around, from above and from the front: the main part, upright, with its scale."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recon.cameras import Cameras
from recon.geometry import Array, se3, se3_inverse
from recon.mesh import Mesh, face_normals
from recon.mesh.picture import painted
from recon.mesh.raster import look
from recon.reconstruction import shrink

BACKDROP = (0.2, 0.21, 0.23)
"""Behind the mesh, in both colour schemes of the page."""
DARKEST, BRIGHTEST = 0.12, 0.92
"""Grey of the bare surface where it is seen edge-on, and face-on: the light comes from the camera."""
EDGE = 2
"""Pixels of backdrop around each frame of a sheet."""
FINER = 2
"""Pictures are drawn so many times larger and averaged."""
DISTANCE = 3.5
"""From the turntable's camera to the middle of the main part, in its radii."""
FAR_OFF = 500.0
"""The same for the views from above and the front: all but parallel rays, so that one scale holds everywhere (to 0.2 %)."""
WITHIN = 0.9
"""Share of what the photos look at that makes the main part."""
AROUND = 1.25
"""Half of what the views from above and the front show, in radii of the main part."""
ELEVATIONS = (12.0, 55.0)
"""Degrees above the horizon that the turntable is seen from, at least and at most."""
MOST_CAMERAS, MOST_POINTS = 100, 20_000

Rgb = NDArray[np.uint8]


@dataclass(frozen=True)
class Focus:
    """The main part of a scene: a ball that most of what the photos look at lies in."""

    center: Array
    """f64[3], world."""
    radius: float
    """World units."""
    azimuth: float
    """Radians from +X towards +Y: where the photos were taken from, as seen from the centre."""
    elevation: float
    """Radians above the horizon of the same."""


def focus_of(mesh: Mesh, cameras: Cameras) -> Focus:
    """What the photos look at: surface points weighted by their size in the photos and how many see them."""
    normal = face_normals(mesh.xyz, mesh.faces)
    grown = np.cumsum(np.linalg.norm(normal, axis=1))
    at = (np.arange(min(MOST_POINTS, len(grown))) + 0.5) / min(MOST_POINTS, len(grown)) * grown[-1]
    face = np.minimum(np.searchsorted(grown, at), len(grown) - 1)
    points, facing = mesh.xyz[mesh.faces[face]].astype(np.float64).mean(1), normal[face]
    rows = np.unique(np.linspace(0, len(cameras) - 1, MOST_CAMERAS).astype(int))
    near, seen = np.full(len(points), 1e-12), np.full(len(points), 1e-3)
    for i in rows:
        camera = cameras[int(i)]
        pixels, z = (a[0] for a in camera.project(points))
        inside = (z > 0) & (pixels >= 0).all(-1) & (pixels < camera.size[0]).all(-1)
        inside &= np.einsum("pi,pi->p", facing, camera.centers[0] - points) > 0
        near[inside] += 1 / z[inside] ** 2
        seen[inside] += 1
    weight = near * seen * seen
    center = np.array([_quantile(points[:, i], weight, 0.5) for i in range(3)])
    radius = _quantile(np.linalg.norm(points - center, axis=1), weight, WITHIN)
    away = cameras.centers[rows] - center
    level = np.linalg.norm(away[:, :2], axis=1)
    mean = (away[:, :2] / np.maximum(level, 1e-12)[:, None]).mean(0)
    front = mean if np.linalg.norm(mean) > 0.3 else away[0, :2]  # cameras all around have no mean
    elevation = np.clip(np.median(np.arctan2(away[:, 2], level)), *np.radians(ELEVATIONS))
    return Focus(center, max(radius, 1e-9), float(np.arctan2(front[1], front[0])), float(elevation))


def _quantile(values: Array, weight: Array, share: float) -> float:
    order = np.argsort(values, kind="stable")
    grown = np.cumsum(weight[order])
    return float(values[order][np.searchsorted(grown, share * grown[-1])])


def looking(eye: Array, center: Array, up: Array, focal: float, size: tuple[int, int]) -> Cameras:
    """One pinhole camera at `eye` that looks at `center`, `up` (not along its axis) upward in the image; focal in pixels."""
    forward = (center - eye) / np.linalg.norm(center - eye)
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    world_from_cam = se3(np.stack([right, np.cross(forward, right), forward], -1), eye)
    k = np.array([[[focal, 0, size[0] / 2], [0, focal, size[1] / 2], [0, 0, 1.0]]])
    return Cameras(se3_inverse(world_from_cam)[None], k, np.array([size], np.int32))


def turned(focus: Focus, angle: float, size: tuple[int, int]) -> Cameras:
    """The camera that shows the main part turned by `angle` (radians, counter-clockwise seen from above)."""
    azimuth, elevation = focus.azimuth - angle, focus.elevation
    level = np.cos(elevation)
    direction = np.array([level * np.cos(azimuth), level * np.sin(azimuth), np.sin(elevation)])
    focal = 0.5 * min(size) / np.tan(np.arcsin(1 / DISTANCE))
    eye = focus.center + DISTANCE * focus.radius * direction
    return looking(eye, focus.center, np.array([0, 0, 1.0]), focal, size)


def plans(focus: Focus, north_up: bool, size: tuple[int, int]) -> tuple[Cameras, Cameras]:
    """Cameras far above and far in front. From above the front is at the bottom, or north (+Y) at the top."""
    focal = 0.5 * min(size) * FAR_OFF / AROUND
    away = FAR_OFF * focus.radius
    front = np.array([np.cos(focus.azimuth), np.sin(focus.azimuth), 0])
    z = np.array([0, 0, 1.0])
    up = np.array([0, 1.0, 0]) if north_up else -front
    above = looking(focus.center + away * z, focus.center, up, focal, size)
    return above, looking(focus.center + away * front, focus.center, z, focal, size)


def units_across(focus: Focus, size: tuple[int, int]) -> float:
    """World units that the width of a picture of plans() covers, at the middle of the main part."""
    return 2 * AROUND * focus.radius * size[0] / min(size)


def shots(mesh: Mesh, focus: Focus, camera: Cameras) -> tuple[Rgb, Rgb]:
    """u8[H, W, 3]: the coloured mesh and its bare surface; what is turned away or in front of the main part is left out."""
    size = camera.size[0]
    fine = camera.resized(size * FINER)
    part, normal = _front(mesh, focus, camera)
    seen = look(fine, part.xyz, part.faces)
    light = np.append(np.abs(normal @ camera.cam_from_world[0, 2, :3]), 0)  # the last one for face -1: nothing
    shade = (DARKEST + (BRIGHTEST - DARKEST) * light).astype(np.float32)
    bare = np.where((seen.face >= 0)[..., None], shade[seen.face][..., None], np.array(BACKDROP, np.float32))
    coloured, plain = (
        np.rint(255 * np.clip(shrink(image, size), 0, 1)).astype(np.uint8)
        for image in (painted(part, fine, seen, BACKDROP), bare)
    )
    return coloured, plain


def _front(mesh: Mesh, focus: Focus, camera: Cameras) -> tuple[Mesh, Array]:
    """The faces that look at the camera and do not stand between it and the main part, and their unit normals f64[F, 3]."""
    corner, normal = mesh.xyz[mesh.faces[:, 0]].astype(np.float64), face_normals(mesh.xyz, mesh.faces)
    facing = np.einsum("fi,fi->f", normal, camera.centers[0] - corner) > 0
    axis = camera.cam_from_world[0, 2, :3]
    kept = facing & ((corner - focus.center) @ axis > -1.6 * focus.radius)
    part = replace(mesh, faces=mesh.faces[kept], uv=None if mesh.uv is None else mesh.uv[kept])
    return part, normal[kept] / np.linalg.norm(normal[kept], axis=1, keepdims=True)


def frames(mesh: Mesh, focus: Focus, count: int, size: tuple[int, int]) -> Iterator[tuple[Rgb, Rgb]]:
    """`count` pairs of shots(); of frame k the main part is turned by 360 k / count degrees."""
    for k in range(count):
        yield shots(mesh, focus, turned(focus, 2 * np.pi * k / count, size))


def sheet(images: list[Rgb], columns: int) -> Rgb:
    """u8[rows * H, columns * W, 3]: pictures row by row in one, each with a border, so that none shows at another's edge."""
    height, width = images[0].shape[:2]
    import cv2

    rows, backdrop = -(-len(images) // columns), [round(255 * level) for level in BACKDROP]
    out = np.zeros((rows * height, columns * width, 3), np.uint8)
    for k, image in enumerate(images):
        row, column = divmod(k, columns)
        out[row * height : (row + 1) * height, column * width : (column + 1) * width] = cv2.copyMakeBorder(
            image[EDGE:-EDGE, EDGE:-EDGE], EDGE, EDGE, EDGE, EDGE, cv2.BORDER_CONSTANT, value=backdrop
        )
    return out
