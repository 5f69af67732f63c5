"""Colours of a surface from the photos that it was seen in: a texture, or colours at the vertices. One photo at a time in memory.

Each triangle has one photo (view_choice.py); photos are brought to one exposure and seams are levelled (levelling.py); a
texel is then sampled where its point lies in its triangle's photo. What no photo sees takes the colour around it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.cameras import Cameras
from recon.job import Job
from recon.mesh import Mesh
from recon.mesh.clean import edges_of
from recon.mesh.levelling import Nodes, gains, nodes_of, seam_offsets, smooth_vertices
from recon.mesh.raster import Seen, in_camera, look
from recon.mesh.unwrap import unwrap
from recon.mesh.view_choice import Choice, candidates, choose, without_strangers
from recon.mesh.views import Photos

GREY = 0.5
QUICK, MINUTES = 50_000, ", which takes a minute or more and shows no progress"
"""Up to so many triangles unwrapping is quick, and what is said where it is not."""


@dataclass(frozen=True)
class Painted:
    """A coloured mesh, and how its colours came to be."""

    mesh: Mesh
    unseen: float
    """Share of the triangles that no photo sees."""
    gains: NDArray[np.float32]
    """f32[N, 3], by which each photo's colours were multiplied."""


def paint(mesh: Mesh, photos: Photos, slack: float, texture_size: int, job: Job, *, exposure: bool = True) -> Painted:
    """Colour a mesh: a texture of `texture_size` texels along its longer side, or vertices alone for 0.

    slack: how far a point may lie behind what a photo sees there and still be taken for visible, world units.
    """
    choice = candidates(mesh.xyz, mesh.faces, photos, slack, job)
    count = len(photos.cameras)
    gain = _exposures(choice, count) if exposure else np.ones((count, 3), np.float32)
    label = choose(without_strangers(choice, gain), mesh.faces)
    nodes = nodes_of(mesh.faces, label, len(mesh.xyz))
    colour = _sampled(mesh, photos, nodes, gain, job)
    rgb = _vertex_colours(mesh, nodes, colour)
    mesh = replace(mesh, rgb=to_bytes(rgb), uv=None, texture=None)
    unseen = float((label < 0).mean()) if len(label) else 0.0
    if texture_size == 0 or len(mesh.faces) == 0:
        return Painted(mesh, unseen, gain)
    with job.task(f"unwrapping {len(mesh.faces):,} triangles{MINUTES if len(mesh.faces) > QUICK else ''}"):
        uv, size = unwrap(mesh.xyz, mesh.faces, texture_size)
    offsets = seam_offsets(nodes, colour, smooth_vertices(mesh.xyz, mesh.faces))
    texture = _bake(mesh, uv, size, photos, label, nodes, offsets, gain, rgb, job)
    return Painted(replace(mesh, uv=uv, texture=texture), unseen, gain)


def to_bytes(rgb: NDArray) -> NDArray[np.uint8]:
    return np.rint(np.clip(rgb, 0, 1) * 255).astype(np.uint8)


def colours_at(camera: Cameras, image: NDArray[np.uint8], points: NDArray) -> NDArray[np.float32]:
    """f32[P, 3], 0..1: an image sampled between its pixels where world points [P, 3] project."""
    p, k = in_camera(camera, points), camera.K[0]
    z = np.where(p[:, 2] > 0, p[:, 2], np.nan)
    u, v = (
        (k[0, 0] * p[:, 0] / z + k[0, 2] - 0.5).astype(np.float32),
        (k[1, 1] * p[:, 1] / z + k[1, 2] - 0.5).astype(np.float32),
    )
    u, v = np.nan_to_num(u, nan=-1e6), np.nan_to_num(v, nan=-1e6)
    return sampled(image, np.clip(u, -1e6, 1e6), np.clip(v, -1e6, 1e6)) / np.float32(255)


def sampled(image: NDArray[np.uint8], u: NDArray[np.float32], v: NDArray[np.float32]) -> NDArray[np.float32]:
    """f32[P, 3], 0..255, between the pixels of an image at columns u and rows v [P] counted from the first pixel's centre."""
    import cv2

    out, most = np.empty((len(u), 3), np.float32), 30_000  # remap() takes images of less than 2^15 rows
    source = image.astype(np.float32)
    for start in range(0, len(u), most):
        part = slice(start, start + most)
        out[part] = cv2.remap(source, u[part, None], v[part, None], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[
            :, 0
        ]
    return out


def _exposures(choice: Choice, count: int) -> NDArray[np.float32]:
    """f32[N, 3], the gains of `count` photos."""
    view, vertex, rgb = choice.compared
    return gains(view, vertex, rgb.astype(np.float32) / 255, count)


def _sampled(mesh: Mesh, photos: Photos, nodes: Nodes, gain: NDArray, job: Job) -> NDArray[np.float32]:
    """Colours f32[M, 3] of all nodes in their photos, gains applied."""
    import cv2

    colour = np.zeros((len(nodes.vertex), 3), np.float32)
    with job.task("comparing the photos' colours", total=len(photos.cameras)) as task:
        for i in range(len(photos.cameras)):
            mine = nodes.of_view(i)
            if len(mine):
                image: Any = cv2.blur(photos.read(i)[0], (3, 3))
                colour[mine] = colours_at(photos.cameras[i], image, mesh.xyz[nodes.vertex[mine]])
            task.advance()
    return colour * gain[nodes.view]


def _vertex_colours(mesh: Mesh, nodes: Nodes, colour: NDArray) -> NDArray[np.float32]:
    """f32[V, 3], 0..1: the mean over each vertex's photos; vertices without one take their neighbours' colour."""
    n = len(mesh.xyz)
    count = np.bincount(nodes.vertex, minlength=n).astype(np.float64)
    rgb = np.stack([np.bincount(nodes.vertex, colour[:, c], n) for c in range(3)], -1) / np.maximum(count, 1)[:, None]
    known = count > 0
    e = edges_of(mesh.faces)
    e = np.concatenate([e, e[:, ::-1]])
    for _ in range(256):
        into = e[known[e[:, 1]] & ~known[e[:, 0]]]
        if len(into) == 0:
            break
        near = np.bincount(into[:, 0], minlength=n)
        total = np.stack([np.bincount(into[:, 0], rgb[into[:, 1], c], n) for c in range(3)], -1)
        new = near > 0
        rgb[new] = total[new] / near[new, None]
        known |= new
    rgb[~known] = rgb[known].mean(0) if known.any() else GREY
    return rgb.astype(np.float32)


def _bake(
    mesh: Mesh,
    uv: NDArray,
    size: tuple[int, int],
    photos: Photos,
    label: NDArray,
    nodes: Nodes,
    offsets: NDArray,
    gain: NDArray,
    rgb: NDArray,
    job: Job,
) -> NDArray[np.uint8]:
    """The texture u8[H, W, 3]."""
    seen, weights = chart_pixels(uv, size)
    row, col = np.nonzero(seen.face >= 0)
    face, weight = seen.face[row, col], weights[row, col]
    out = np.zeros((size[1], size[0], 3), np.float32)
    out[row, col] = np.einsum("pi,pic->pc", weight, rgb[mesh.faces[face]])
    order = np.argsort(label[face], kind="stable")
    start = np.searchsorted(label[face][order], np.arange(len(photos.cameras) + 1))
    with job.task("baking the texture", total=len(photos.cameras)) as task:
        for i in range(len(photos.cameras)):
            mine = order[start[i] : start[i + 1]]
            if len(mine):
                f, w = face[mine], weight[mine]
                points = np.einsum("pi,pic->pc", w, mesh.xyz[mesh.faces[f]].astype(np.float64))
                found = colours_at(photos.cameras[i], photos.read(i)[0], points) * gain[i]
                out[row[mine], col[mine]] = found + np.einsum("pi,pic->pc", w, offsets[nodes.corner[f]])
            task.advance()
    return _with_gutters(to_bytes(out), seen.face >= 0)


def chart_pixels(uv: NDArray, size: tuple[int, int]) -> tuple[Seen, NDArray[np.float32]]:
    """Which triangle each texel's centre lies in (Seen, [H, W]), and its barycentric coordinates f32[H, W, 3]."""
    flat = np.ones((3 * len(uv), 3))
    flat[:, :2] = uv.reshape(-1, 2) * np.array(size)
    camera = Cameras(np.eye(4)[None], np.eye(3)[None], np.array([size], np.int32))
    faces = np.arange(len(flat), dtype=np.int32).reshape(-1, 3)
    seen = look(camera, flat, faces)
    return seen, seen.weights(camera, flat, faces)


def _with_gutters(texture: NDArray[np.uint8], known: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The texture with every texel outside of the charts coloured like the nearest one inside, so that filters find no black."""
    import cv2

    if known.all() or not known.any():
        return texture
    far = (~known).astype(np.uint8)
    nearest: Any = cv2.distanceTransformWithLabels(far, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)[1]
    colours = np.zeros((int(nearest.max()) + 1, 3), np.uint8)
    colours[nearest[known]] = texture[known]
    return colours[nearest]
