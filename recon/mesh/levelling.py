"""Colours that fit together: one gain a photo and channel, and small offsets that close the seams between photos.

Seams follow Lempitsky and Ivanov, Seamless mosaicing of image-based texture maps, 2007: at a vertex where faces of several
photos meet, each photo's colour gets an offset g so that they agree, and g varies as little as it can along each photo's
own faces: minimise sum (f_a + g_a - f_b - g_b)^2 + SMOOTHNESS * sum over edges (g_i - g_j)^2 + RIDGE * sum g^2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.mesh import face_normals
from recon.mesh.clean import edges_of

SMOOTHNESS = 0.3
RIDGE = 1e-2
LARGEST_STEP = 0.2
"""Photos that differ more than this at a vertex do not show the same thing there: nothing is levelled."""
FLATTEST_CREASE = 0.9
"""Length of the mean of the unit normals around a vertex, above which the surface is smooth there."""
MOST_GAIN = 0.7
"""Largest logarithm of a gain."""
DARKEST = 0.04
BRIGHTEST = 0.97
"""Colours outside are black or clipped, and say nothing about exposure."""


@dataclass(frozen=True)
class Nodes:
    """Pairs of a vertex and a photo whose faces touch it."""

    vertex: NDArray[np.int64]
    """i64[M], ascending by photo, then vertex."""
    view: NDArray[np.int64]
    """i64[M]."""
    corner: NDArray[np.int64]
    """i64[F, 3], the node of every corner; -1 for faces without a photo."""

    def of_view(self, view: int) -> NDArray[np.int64]:
        """The nodes of one photo."""
        return np.arange(*np.searchsorted(self.view, [view, view + 1]))


def nodes_of(faces: NDArray, label: NDArray, vertices: int) -> Nodes:
    """The nodes of faces [F, 3] coloured by the photos label [F]."""
    key = np.where(label[:, None] >= 0, label[:, None].astype(np.int64) * vertices + faces, -1)
    names, place = np.unique(key, return_inverse=True)
    place = place.reshape(-1, 3)
    if len(names) and names[0] < 0:
        names, place = names[1:], place - 1
    return Nodes(names % max(vertices, 1), names // max(vertices, 1), place)


def gains(view: NDArray, vertex: NDArray, rgb: NDArray, views: int) -> NDArray[np.float32]:
    """Gains f32[N, 3], 1 on (geometric) average, from colours rgb f32[S, 3] (0..1) of `vertex` [S] in the photos `view` [S].

    Each photo's gain is the median, over the vertices that it shares, of what brings it to their mean; a photo that shares
    nothing keeps 1.
    """
    good = ((rgb > DARKEST) & (rgb < BRIGHTEST)).all(1)
    view, vertex, log = (
        view[good],
        np.unique(vertex[good], return_inverse=True)[1],
        np.log(rgb[good].astype(np.float64)),
    )
    count = np.bincount(vertex, minlength=1)
    shared = count[vertex] >= 2 if len(vertex) else np.zeros(0, bool)
    view, vertex, log = view[shared], vertex[shared], log[shared]
    out = np.zeros((views, 3))
    for _ in range(10):
        for channel in range(3):
            level = log[:, channel] + out[view, channel]
            mean = np.bincount(vertex, level, len(count)) / np.maximum(np.bincount(vertex, minlength=len(count)), 1)
            off = mean[vertex] - level
            for i in np.unique(view):
                out[i, channel] += np.median(off[view == i])
        out -= out.mean(0)
    return np.exp(np.clip(out, -MOST_GAIN, MOST_GAIN)).astype(np.float32)


def smooth_vertices(xyz: NDArray, faces: NDArray) -> NDArray[np.bool_]:
    """bool[V]: vertices that are on no crease."""
    normal = face_normals(xyz, faces)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-300)
    total = np.stack([np.bincount(faces.ravel(), np.repeat(normal[:, i], 3), len(xyz)) for i in range(3)], -1)
    return np.linalg.norm(total, axis=1) >= FLATTEST_CREASE * np.bincount(faces.ravel(), minlength=len(xyz))


def seam_offsets(nodes: Nodes, rgb: NDArray, even: NDArray[np.bool_]) -> NDArray[np.float32]:
    """g f32[M, 3] for node colours rgb f32[M, 3] (0..1). Photos meet at the vertices `even` bool[V]: at a crease a photo's
    pixel shows both sides.
    """
    from scipy.sparse import coo_array, diags_array
    from scipy.sparse.linalg import cg

    m = len(nodes.vertex)
    if m == 0:
        return np.zeros((0, 3), np.float32)
    order = np.argsort(nodes.vertex, kind="stable")
    same = nodes.vertex[order][1:] == nodes.vertex[order][:-1]
    a, b = order[:-1][same], order[1:][same]  # photos that meet at a vertex, each with the next
    alike = (np.abs(rgb[a] - rgb[b]).max(1) < LARGEST_STEP) & even[nodes.vertex[a]]
    a, b = a[alike], b[alike]
    e = np.sort(edges_of(nodes.corner[nodes.corner[:, 0] >= 0]), axis=1)
    e = np.unique(e, axis=0)
    i, j = np.concatenate([a, e[:, 0]]), np.concatenate([b, e[:, 1]])
    w = np.concatenate([np.ones(len(a)), np.full(len(e), SMOOTHNESS)])
    link = coo_array((np.r_[w, w], (np.r_[i, j], np.r_[j, i])), shape=(m, m)).tocsr()
    diagonal = np.asarray(link.sum(1)).ravel() + RIDGE
    system: Any = diags_array(diagonal) - link
    inverse = diags_array(1 / diagonal)
    out = np.zeros((m, 3), np.float32)
    for channel in range(3):
        step = rgb[b, channel].astype(np.float64) - rgb[a, channel]
        right = np.bincount(a, step, m) - np.bincount(b, step, m)
        out[:, channel] = cg(system, right, rtol=1e-4, maxiter=400, M=inverse)[0]
    return out
