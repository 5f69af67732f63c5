"""Edge collapses in order of their weighted quadric error, as kernels (Garland and Heckbert, Surface simplification using
quadric error metrics, 1997).

A vertex carries the sum of w area (n.x + d)^2 over the planes of its faces, w the worth of each face's accuracy; of planes
that stand upright on borders, so that these stay; and of SPRING w area |x - v|^2 of the faces' corners v, so that flat
places keep even triangles and every sum has one least point. No collapse changes the topology or turns a face over.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recon.kernels.jit import kernel
from recon.mesh.loops import opposites

SPRING = 1e-3
BORDER = 3.0
"""Weight of a border's length squared, against the area of faces."""
AGAIN = 8.0
"""An edge that cannot collapse is asked again when its cost times this is due."""
LEAST_TURN = 0.3
"""Cosine of the angle by which a collapse may turn a face at most."""


def collapsed(
    xyz: NDArray, faces: NDArray, worth: NDArray, budget: int
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Vertices f32[V', 3] and faces i32[F', 3] after collapses; F' <= budget unless the topology forbids it. Some vertices
    may be unused.

    worth: f64[V], how much a squared distance counts at each vertex; any unit, above 0.
    """
    middle = xyz.mean(0, dtype=np.float64) if len(xyz) else np.zeros(3)
    points, triangles = xyz.astype(np.float64) - middle, np.ascontiguousarray(faces, np.int32).copy()
    size = float(np.abs(points).max(initial=1e-30))
    points /= size
    scaled = np.asarray(worth, np.float64) / max(float(np.median(worth)), 1e-300)
    opposite = opposites(triangles)
    alive = run(points, triangles, np.clip(scaled, 1e-9, 1e9), opposite, budget)
    return (points * size + middle).astype(np.float32), triangles[alive]


@kernel
def add_plane(q, v, n, d, w):
    """Add w (n.x + d)^2 to the quadric of vertex v: its upper triangle row by row, the linear part, the constant."""
    q[v, 0] += w * n[0] * n[0]
    q[v, 1] += w * n[0] * n[1]
    q[v, 2] += w * n[0] * n[2]
    q[v, 3] += w * n[1] * n[1]
    q[v, 4] += w * n[1] * n[2]
    q[v, 5] += w * n[2] * n[2]
    for i in range(3):
        q[v, 6 + i] += w * d * n[i]
    q[v, 9] += w * d * d


@kernel
def quadrics(points, faces, worth, opposite):
    """f64[V, 10]."""
    q = np.zeros((len(points), 10))
    normal, upright = np.empty(3), np.empty(3)
    for f in range(len(faces)):
        a, b, c = points[faces[f, 0]], points[faces[f, 1]], points[faces[f, 2]]
        u, v = b - a, c - a
        normal[0] = u[1] * v[2] - u[2] * v[1]
        normal[1] = u[2] * v[0] - u[0] * v[2]
        normal[2] = u[0] * v[1] - u[1] * v[0]
        double = np.sqrt((normal * normal).sum())
        if double <= 0:
            continue
        normal /= double
        w = double * (worth[faces[f, 0]] + worth[faces[f, 1]] + worth[faces[f, 2]]) / 18
        d = -(normal * a).sum()
        for k in range(3):
            here = faces[f, k]
            add_plane(q, here, normal, d, w)
            p = points[here]
            for i in range(3):
                q[here, (0, 3, 5)[i]] += SPRING * w
                q[here, 6 + i] -= SPRING * w * p[i]
            q[here, 9] += SPRING * w * (p * p).sum()
            if opposite[3 * f + k] < 0:
                there = faces[f, (k + 1) % 3]
                e = points[there] - p
                long = (e * e).sum()
                upright[0] = e[1] * normal[2] - e[2] * normal[1]
                upright[1] = e[2] * normal[0] - e[0] * normal[2]
                upright[2] = e[0] * normal[1] - e[1] * normal[0]
                upright /= max(np.sqrt((upright * upright).sum()), 1e-300)
                for end in (here, there):
                    add_plane(q, end, upright, -(upright * p).sum(), BORDER * long * worth[end])
    return q


@kernel
def least(q, a, b, out):
    """The place of least error of the sum of two quadrics, into out[3]; returns the error."""
    s = q[a] + q[b]
    xx, xy, xz, yy, yz, zz = s[0], s[1], s[2], s[3], s[4], s[5]
    i, j, k = yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy
    det = xx * i + xy * j + xz * k
    if not det > 0:
        return np.inf
    ll, m, n = xx * zz - xz * xz, xy * xz - xx * yz, xx * yy - xy * xy
    out[0] = -(i * s[6] + j * s[7] + k * s[8]) / det
    out[1] = -(j * s[6] + ll * s[7] + m * s[8]) / det
    out[2] = -(k * s[6] + m * s[7] + n * s[8]) / det
    return s[9] + s[6] * out[0] + s[7] * out[1] + s[8] * out[2]


@kernel
def push(heap, ends, count, cost, a, b, stamp):
    """Enter an edge into the heap (cost f64[C], ends i32[C, 3]: vertices and stamp); returns the new count."""
    at = count
    while at > 0:
        above = (at - 1) // 2
        if heap[above] <= cost:
            break
        heap[at], ends[at] = heap[above], ends[above]
        at = above
    heap[at], ends[at, 0], ends[at, 1], ends[at, 2] = cost, a, b, stamp
    return count + 1


@kernel
def sink(heap, ends, count, at):
    """Let the entry `at` sink to its place."""
    cost, a, b, stamp = heap[at], ends[at, 0], ends[at, 1], ends[at, 2]
    while True:
        below = 2 * at + 1
        if below >= count:
            break
        if below + 1 < count and heap[below + 1] < heap[below]:
            below += 1
        if cost <= heap[below]:
            break
        heap[at], ends[at] = heap[below], ends[below]
        at = below
    heap[at], ends[at, 0], ends[at, 1], ends[at, 2] = cost, a, b, stamp


@kernel
def without_stale(heap, ends, count, version):
    """Drop the entries of edges that have changed since; returns the new count."""
    kept = 0
    for i in range(count):
        if ends[i, 2] == version[ends[i, 0]] + version[ends[i, 1]]:
            heap[kept], ends[kept] = heap[i], ends[i]
            kept += 1
    for i in range(kept // 2 - 1, -1, -1):
        sink(heap, ends, kept, i)
    return kept


@kernel
def may_collapse(points, faces, head, following, border, a, b, place, mark, turn):
    """Whether joining b to a at `place` keeps the topology and turns no face over. mark: i64[V] of older turns."""
    shared, around, of_a, of_b = 0, 0, 0, 0
    h = head[a]
    while h >= 0:
        f = h // 3
        if faces[f, 0] >= 0:
            of_a += 1
            for k in range(3):
                mark[faces[f, k]] = turn
        h = following[h]
    h = head[b]
    while h >= 0:
        f = h // 3
        if faces[f, 0] >= 0:
            of_b += 1
            both = False
            for k in range(3):
                both = both or faces[f, k] == a
            shared += both
            for k in range(3):
                v = faces[f, k]
                if v != a and v != b and mark[v] == turn:
                    around += 1
                    mark[v] = turn + 1
        h = following[h]
    if shared < 1 or shared > 2 or around != shared or (of_a <= 3 and of_b <= 3 and shared == 2):
        return False
    if shared == 2 and border[a] and border[b]:
        return False
    return keeps_sides(points, faces, head, following, a, b, place) and keeps_sides(
        points, faces, head, following, b, a, place
    )


@kernel
def keeps_sides(points, faces, head, following, moved, other, place):
    """Whether the faces of `moved` that do not hold `other` look about the same way with it at `place`."""
    h = head[moved]
    while h >= 0:
        f = h // 3
        k = h % 3
        h = following[h]
        if faces[f, 0] < 0:
            continue
        one, two = faces[f, (k + 1) % 3], faces[f, (k + 2) % 3]
        if one == other or two == other:
            continue
        p, q, r = points[moved], points[one], points[two]
        ex, ey, ez = r[0] - q[0], r[1] - q[1], r[2] - q[2]
        ux, uy, uz = q[0] - p[0], q[1] - p[1], q[2] - p[2]
        vx, vy, vz = q[0] - place[0], q[1] - place[1], q[2] - place[2]
        nx, ny, nz = uy * ez - uz * ey, uz * ex - ux * ez, ux * ey - uy * ex
        mx, my, mz = vy * ez - vz * ey, vz * ex - vx * ez, vx * ey - vy * ex
        before, after = nx * nx + ny * ny + nz * nz, mx * mx + my * my + mz * mz
        if nx * mx + ny * my + nz * mz < LEAST_TURN * np.sqrt(before * after) or after <= 1e-6 * (
            ex * ex + ey * ey + ez * ez
        ) * (vx * vx + vy * vy + vz * vz):
            return False
    return True


@kernel
def join(faces, head, tail, following, a, b):
    """Give b's faces to a; those that hold both are gone (-1). Returns how many."""
    gone = 0
    h = head[b]
    while h >= 0:
        f = h // 3
        if faces[f, 0] >= 0:
            if faces[f, 0] == a or faces[f, 1] == a or faces[f, 2] == a:
                faces[f, 0] = -1
                gone += 1
            else:
                faces[f, h % 3] = a
        h = following[h]
    following[tail[a]] = head[b]
    h, last = head[a], np.int64(-1)
    head[a] = head[b] = -1
    while h >= 0:  # what is gone leaves the chain, or it would be walked again and again
        if faces[h // 3, 0] >= 0:
            if last < 0:
                head[a] = h
            else:
                following[last] = h
            last = h
        h = following[h]
    tail[a] = last
    if last >= 0:
        following[last] = -1
    return gone


@kernel
def links(faces, vertices):
    """head, tail i64[V], following i64[3F]: the corners of each vertex as a chain."""
    head, tail = np.full(vertices, -1, np.int64), np.full(vertices, -1, np.int64)
    following = np.full(3 * len(faces), -1, np.int64)
    for h in range(3 * len(faces)):
        v = faces[h // 3, h % 3]
        if head[v] < 0:
            head[v] = h
        else:
            following[tail[v]] = h
        tail[v] = h
    return head, tail, following


@kernel
def run(points, faces, worth, opposite, budget):
    """Collapse until `budget` faces are left; points and faces change in place. Returns bool[F], the faces left."""
    head, tail, following = links(faces, len(points))
    q = quadrics(points, faces, worth, opposite)
    capacity = 6 * len(faces) + 64
    heap, ends = np.empty(capacity), np.empty((capacity, 3), np.int32)
    version, mark = np.zeros(len(points), np.int32), np.zeros(len(points), np.int64)
    place, count, left, turn = np.empty(3), 0, len(faces), 0
    border = np.zeros(len(points), np.bool_)
    for h in range(3 * len(faces)):
        if opposite[h] < 0:
            border[faces[h // 3, h % 3]] = border[faces[h // 3, (h % 3 + 1) % 3]] = True
        if opposite[h] < h:  # an inner edge once, a border's too
            a, b = faces[h // 3, h % 3], faces[h // 3, (h % 3 + 1) % 3]
            count = push(heap, ends, count, least(q, a, b, place), a, b, 0)
    lowest = heap[count // 2] if count else 0.0
    highest = 1e9 * max(lowest, 1e-30)
    while count > 0 and left > budget:
        cost, a, b, stamp = heap[0], ends[0, 0], ends[0, 1], ends[0, 2]
        count -= 1
        if count:
            heap[0], ends[0] = heap[count], ends[count]
            sink(heap, ends, count, 0)
        if stamp != version[a] + version[b] or not np.isfinite(cost):
            continue
        least(q, a, b, place)
        turn += 2
        if not may_collapse(points, faces, head, following, border, a, b, place, mark, turn):
            if cost < highest:  # what lies around may have changed by then
                count = push(heap, ends, count, AGAIN * max(cost, lowest), a, b, stamp)
            continue
        left -= join(faces, head, tail, following, a, b)
        points[a], q[a] = place, q[a] + q[b]
        border[a] = border[a] or border[b]
        version[a] += 1
        version[b] = -(1 << 29)  # matches no stamp again
        turn += 2
        if count + 256 > capacity:
            count = without_stale(heap, ends, count, version)
        h = head[a]
        while h >= 0:
            if faces[h // 3, 0] >= 0:
                for k in range(3):
                    v = faces[h // 3, k]
                    if v != a and mark[v] != turn and count < capacity:
                        mark[v] = turn
                        count = push(heap, ends, count, least(q, a, v, place), a, v, version[a] + version[v])
            h = following[h]
    return faces[:, 0] >= 0
