"""View propagation: the planes that the sources have found, taken over into the reference (Bleyer et al., BMVC 2011).

Notation as in cost.py. A plane m . X = 1 of a source's camera frame, with X_s = R X_r + t, is in the reference's
m' = R^T m / (1 - m . t), and inverse depth is the plane's value along the ray: w(x, y) = m' . K_r^-1 (x, y, 1).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recon.cameras import Cameras
from recon.depth.cost import (
    Reference,
    Sources,
    is_possible,
    patch_of,
    plane_cost,
    reference_at,
    sources_at,
)
from recon.depth.photos import HALF
from recon.geometry import Array, se3_inverse
from recon.kernels.jit import DOOR, kernel, spread


def plane_map(cameras: Cameras, source: int, reference: int) -> Array:
    """[4, 3]: for (a, b, c), the inverse depth a x + b y + c of the source's pixels, (a', b', c', s) = map @ (a, b, c);
    the reference's is (a', b', c') / (1 - s). Pixels count from the centre of the first.
    """
    source_from_reference = cameras.cam_from_world[source] @ se3_inverse(cameras.cam_from_world[reference])
    m_from_abc = (HALF @ cameras.K[source]).T
    turned = np.linalg.inv(HALF @ cameras.K[reference]).T @ source_from_reference[:3, :3].T @ m_from_abc
    return np.concatenate([turned, (source_from_reference[:3, 3] @ m_from_abc)[None]])


@kernel
def _land(width, height, w, wx, wy, source_cost, matrix, back, shape, offer, least):
    """Put the planes of one source (arrays [H', W']) where they land in offer f32[3, H, W]; the cheapest stays, by least
    f32[H, W].
    """
    for y in range(height):
        for x in range(width):
            here = w[y, x]
            if not here > 0:
                continue
            z = back[6] * x + back[7] * y + back[8] + back[11] * here
            if not z > 1e-12:
                continue
            u = np.int64(np.floor((back[0] * x + back[1] * y + back[2] + back[9] * here) / z + 0.5))
            v = np.int64(np.floor((back[3] * x + back[4] * y + back[5] + back[10] * here) / z + 0.5))
            if u < 0 or v < 0 or u >= shape[1] or v >= shape[0] or not source_cost[y, x] < least[v, u]:
                continue
            a, b = np.float64(wx[y, x]), np.float64(wy[y, x])
            c = here - a * x - b * y
            rest = 1 - (matrix[3, 0] * a + matrix[3, 1] * b + matrix[3, 2] * c)
            if not rest > 1e-9:
                continue
            a, b, c = (
                (matrix[0, 0] * a + matrix[0, 1] * b + matrix[0, 2] * c) / rest,
                (matrix[1, 0] * a + matrix[1, 1] * b + matrix[1, 2] * c) / rest,
                (matrix[2, 0] * a + matrix[2, 1] * b + matrix[2, 2] * c) / rest,
            )
            offer[0, v, u], offer[1, v, u], offer[2, v, u] = a * u + b * v + c, a, b
            least[v, u] = source_cost[y, x]


@kernel
def _take(start, stop, reference, sources, best, plane, cost, offer):
    """Planes that cost less than those that are there replace them, in rows start .. stop."""
    ref, src = reference_at(reference), sources_at(sources)
    for y in range(start, stop):
        for x in range(ref.width):
            w, wx, wy = offer[0, y, x], offer[1, y, x], offer[2, y, x]
            if reference.usable[y, x] != 0 and w > 0 and is_possible(ref, x, y, w, wx, wy):
                found = plane_cost(ref, src, best, x, y, w, wx, wy, patch_of(ref, x, y))
                if found < cost[y, x]:
                    plane[0, y, x], plane[1, y, x], plane[2, y, x], cost[y, x] = w, wx, wy, found


def take_offers(
    reference: Reference,
    sources: Sources,
    cameras: Cameras,
    best: int,
    plane: NDArray[np.float32],
    cost: NDArray[np.float32],
    others: list[NDArray[np.float32]],
) -> None:
    """Improve plane f32[3, H, W] and cost f32[H, W] in place by the planes f32[4, H, W] (w, wx, wy, cost) of the sources,
    each source's in turn. cameras [1 + S]: the reference's and theirs.
    """
    shape = np.array(cost.shape)
    for j, other in enumerate(others):
        offer, least = np.zeros(plane.shape, np.float32), np.full(cost.shape, np.inf, np.float32)
        width, height = (int(s) for s in sources.size[j])
        w, wx, wy, source_cost = (np.array(o) for o in other)
        back = sources.back[j].astype(np.float64)
        with DOOR:
            _land(width, height, w, wx, wy, source_cost, plane_map(cameras, j + 1, 0), back, shape, offer, least)
            spread(_take, cost.shape[0], reference, sources, best, plane, cost, offer, grain=4)
