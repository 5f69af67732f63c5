"""Which photo colours which triangle: near, frontal, not hidden, and the same as its neighbours' where that costs little."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recon.cameras import Cameras
from recon.job import Job
from recon.mesh import face_normals
from recon.mesh.clean import edges_of
from recon.mesh.raster import in_camera, look, visible
from recon.mesh.views import Photos

CANDIDATES = 6
"""Photos that are remembered for each triangle."""
EDGE_PIXELS = 2
"""A triangle so near to something in front of it may have that one's colour in the photo."""
EDGE_PENALTY = 0.02
COHERENCE = 0.5
"""What each neighbour of the same photo is worth, as a difference of log scores."""
ROUNDS = 12
COMPARED = 20_000
"""Vertices, drawn at random, that exposures are compared at."""
SPOTS = 4
"""Of a triangle, whose colours are compared between photos."""
LEAST_ALIKE, FARTHEST, SPREADS, STRANGE_PENALTY = 3, 0.1, 4.0, 0.02
"""Of so many photos of a triangle or more, one shows something else (a highlight, or what stands before the surface and is
missing from it) that differs in a spot from their median by more than this (of 0..1, in any channel), and by more than so
many times what they usually do.
"""


@dataclass(frozen=True)
class Choice:
    """Candidates for every triangle, and what every photo sees."""

    view: NDArray[np.int32]
    """i32[F, CANDIDATES], photos by falling score, -1 where there are fewer."""
    score: NDArray[np.float32]
    """f32[F, CANDIDATES], pixels that the triangle covers in the photo, times the cosine it is seen at."""
    colour: NDArray[np.uint8]
    """u8[F, CANDIDATES, SPOTS, 3], of some spots of the triangle in each, as the photo has it."""
    compared: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]
    """Photo i64[S], vertex i64[S] and its colour there u8[S, 3], of some vertices in every photo that sees them."""


def candidates(xyz: NDArray, faces: NDArray, photos: Photos, slack: float, job: Job) -> Choice:
    """Score every photo for every triangle. `slack`: how far a point may lie behind what its pixel sees, world units."""
    import cv2

    cameras, normal = photos.cameras, face_normals(xyz, faces)
    middle = xyz[faces].mean(1, dtype=np.float64)
    double = np.linalg.norm(normal, axis=1)
    view = np.full((len(faces), CANDIDATES), -1, np.int32)
    best = np.zeros((len(faces), CANDIDATES), np.float32)
    colour = np.zeros((len(faces), CANDIDATES, SPOTS, 3), np.uint8)
    some, compared = np.random.default_rng(0).permutation(len(xyz))[:COMPARED], []
    with job.task("looking which photo sees what", total=len(cameras)) as task:
        for i in range(len(cameras)):
            camera = cameras[i]
            drawn = look(camera, xyz, faces)
            corner = visible(camera, drawn, xyz, slack)
            toward = camera.centers[0] - middle
            distance = np.linalg.norm(toward, axis=1)
            cosine = np.einsum("fi,fi->f", normal, toward) / np.maximum(double * distance, 1e-300)
            z = in_camera(camera, middle)[:, 2]
            pixels = 0.5 * double * np.maximum(cosine, 0) * (camera.K[0, 0, 0] / np.maximum(z, 1e-9)) ** 2
            score = np.where(corner[faces].all(1) & (cosine > 0.1), pixels * cosine, 0)
            score = score * _beside_an_edge(camera, drawn.z, middle, slack)
            image, usable = photos.read(i)
            image = cv2.blur(image, (3, 3))
            score = score if usable is None else score * _at(camera, usable, middle)
            front = np.zeros(len(xyz), bool)
            front[faces[cosine > 0.1].ravel()] = True
            vertex = some[(corner & front)[some]]
            compared.append((np.full(len(vertex), i), vertex, _at(camera, image, xyz[vertex])))
            rows = np.flatnonzero(score > best[:, -1])
            spots = _at(camera, image, _spots(xyz, faces[rows]).reshape(-1, 3)).reshape(-1, SPOTS, 3)
            view[rows, -1], best[rows, -1], colour[rows, -1] = i, score[rows], spots
            _sort(rows, view, best, colour)
            task.advance()
    which, vertex, rgb = (np.concatenate([part[k] for part in compared]) for k in range(3))
    return Choice(view, best, colour, (which, vertex, rgb))


def _spots(xyz: NDArray, faces: NDArray) -> NDArray[np.float32]:
    """f32[F, SPOTS, 3]: the middle of each triangle, and halfway from there to its corners."""
    corner = xyz[faces]
    middle = corner.mean(1, keepdims=True)
    return np.concatenate([middle, 0.5 * (middle + corner)], 1)


def _sort(rows: NDArray, view: NDArray, score: NDArray, colour: NDArray) -> None:
    """Bring the candidates of some triangles into the order of their scores, in place."""
    order = np.argsort(-score[rows], axis=1, kind="stable")
    for table in (view, score):
        table[rows] = np.take_along_axis(table[rows], order, 1)
    colour[rows] = np.take_along_axis(colour[rows], order[:, :, None, None], 1)


def without_strangers(choice: Choice, gain: NDArray[np.float32]) -> Choice:
    """The same with the scores of photos lowered that do not show what the others of the triangle show. gain: f32[N, 3].

    After the check of photo-consistency of Waechter et al., Let there be color, ECCV 2014, with medians for its Gaussians.
    """
    known = choice.view >= 0
    enough = known.sum(1) >= LEAST_ALIKE
    colour = choice.colour[enough].astype(np.float32) / 255 * gain[choice.view[enough]][:, :, None]
    colour[~known[enough]] = np.nan
    off = np.abs(colour - np.nanmedian(colour, 1, keepdims=True)).max(3)
    usual = np.nanmedian(off, 1, keepdims=True)
    score = choice.score.copy()
    strange = (off > np.maximum(FARTHEST, SPREADS * usual)).any(2)  # NaN, where there is no photo, is not
    score[enough] *= np.where(strange, np.float32(STRANGE_PENALTY), np.float32(1))
    return replace(choice, score=score)


def _pixels(camera: Cameras, points: NDArray) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Column, row (clipped into the image) and z of world points in one camera."""
    width, height = (int(s) for s in camera.size[0])
    p, k = in_camera(camera, points), camera.K[0]
    z = np.maximum(p[:, 2], 1e-9)
    u, v = k[0, 0] * p[:, 0] / z + k[0, 2], k[1, 1] * p[:, 1] / z + k[1, 2]
    return np.clip(u, 0, width - 1).astype(np.int64), np.clip(v, 0, height - 1).astype(np.int64), p[:, 2]


def _at(camera: Cameras, image: NDArray, points: NDArray) -> NDArray:
    col, row, _ = _pixels(camera, points)
    return image[row, col]


def _beside_an_edge(camera: Cameras, z: NDArray, points: NDArray, slack: float) -> NDArray[np.float64]:
    """f64[P], EDGE_PENALTY where something clearly nearer lies within EDGE_PIXELS of a point, else 1."""
    import cv2

    nearest = cv2.erode(z, np.ones((2 * EDGE_PIXELS + 1,) * 2, np.uint8))
    col, row, own = _pixels(camera, points)
    return np.where(nearest[row, col] < own - np.maximum(6 * slack, 0.02 * own), EDGE_PENALTY, 1.0)


def face_neighbours(faces: NDArray) -> NDArray[np.int32]:
    """i32[F, 3], the triangle on the other side of each edge, -1 where there is none (or more than one)."""
    e = np.sort(edges_of(faces), axis=1)
    key = e[:, 0] * (int(e.max()) + 1 if len(e) else 1) + e[:, 1]
    order = np.argsort(key, kind="stable")
    k = key[order]
    first = np.flatnonzero(np.r_[True, k[1:] != k[:-1]]) if len(k) else np.zeros(0, np.int64)
    pairs = first[np.diff(np.r_[first, len(k)]) == 2]
    out = np.full(len(key), -1, np.int32)
    a, b = order[pairs], order[pairs + 1]
    out[a], out[b] = b // 3, a // 3
    return out.reshape(-1, 3)


def choose(choice: Choice, faces: NDArray, seed: int = 0) -> NDArray[np.int32]:
    """i32[F], the photo of each triangle, -1 where none sees it.

    Iterated conditional modes on log score + COHERENCE * neighbours of the same photo, half of the triangles at a time
    (Besag, On the statistical analysis of dirty pictures, 1986).
    """
    label = choice.view[:, 0].copy()
    if len(faces) == 0:
        return label
    near, draw = face_neighbours(faces), np.random.default_rng(seed)
    with np.errstate(divide="ignore"):
        worth = np.where(choice.view >= 0, np.log(choice.score), -np.inf)
    for _ in range(ROUNDS):
        around = np.where(near >= 0, label[near], -2)
        total = worth + COHERENCE * (choice.view[:, :, None] == around[:, None, :]).sum(2)
        better = choice.view[np.arange(len(label)), total.argmax(1)]
        turn = (draw.random(len(label)) < 0.5) & (label >= 0)
        label = np.where(turn, better, label)
    return label.astype(np.int32)
