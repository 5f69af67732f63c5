"""Triangle meshes from formulas: grids, boxes, lathes, tubes, spheres. Faces are counter-clockwise seen from outside."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Mesh:
    """V vertices, F triangles. Sharp edges are doubled vertices."""

    xyz: Array
    """f64[V, 3], metres."""
    faces: NDArray[np.int32]
    """i32[F, 3]."""
    uv: Array
    """f64[V, 2], 0..1, v = 0 is the texture's top row."""

    def moved(
        self, offset: ArrayLike = (0, 0, 0), turn: float = 0.0, tilt: ArrayLike = (0, 0), scale: float = 1.0
    ) -> Mesh:
        """Scaled, tilted about x then y, turned about z (degrees), then shifted by `offset` (metres)."""
        tx, ty = np.asarray(tilt, np.float64)
        m = rotation(2, turn) @ rotation(1, ty) @ rotation(0, tx) * scale
        return replace(self, xyz=self.xyz @ m.T + np.asarray(offset, np.float64))

    def normals(self) -> Array:
        """f64[V, 3], unit, the mean of the triangles about each place weighted by area: seams of the texture do not show."""
        a, b, c = (self.xyz[self.faces[:, i]] for i in range(3))
        places, place = np.unique(np.round(self.xyz * 1e6).astype(np.int64), axis=0, return_inverse=True)
        sums = np.zeros((len(places), 3))
        for i in range(3):
            np.add.at(sums, place[self.faces[:, i]], np.cross(b - a, c - a))
        n = sums[place]
        return n / np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-20)


@dataclass(frozen=True)
class Material:
    """What a surface looks like. kind: "matt", "glaze" (a clear coat over colour) or "metal"."""

    kind: str = "matt"
    color: Any = (0.5, 0.5, 0.5)
    """(r, g, b), or a texture f32[H, W, 3], or "vertex": the part's own colours. sRGB."""
    rough: float = 0.1
    """Microfacet roughness of glaze and metal."""
    thin: bool = False
    """Seen from both sides."""


@dataclass(frozen=True)
class Part:
    """A named piece of the scene."""

    name: str
    mesh: Mesh
    material: Material
    paint: Any = field(default=None)
    """For "vertex" colours: f(xyz [P, 3], normal [P, 3]) -> sRGB [P, 3]."""


def rotation(axis: int, degrees: float) -> Array:
    """The rotation about one of the axes 0, 1, 2."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    m = np.eye(3)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    m[i, i], m[i, j], m[j, i], m[j, j] = c, -s, s, c
    return m


def join(*meshes: Mesh) -> Mesh:
    """One mesh of several."""
    start = np.cumsum([0] + [len(m.xyz) for m in meshes])
    faces = np.concatenate([m.faces + s for m, s in zip(meshes, start, strict=False)])
    return Mesh(np.concatenate([m.xyz for m in meshes]), faces.astype(np.int32), np.concatenate([m.uv for m in meshes]))


def sheet(xyz: Array, wrap: bool = False) -> Mesh:
    """The surface through a grid of points [R, C, 3]; du x dv points outwards. `wrap`: the last column meets the first."""
    if wrap:
        xyz = np.concatenate([xyz, xyz[:, :1]], 1)
    r, c = xyz.shape[:2]
    index = np.arange(r * c).reshape(r, c)
    a, b, d, e = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    faces = np.concatenate([np.stack([a, b, e], -1).reshape(-1, 3), np.stack([a, e, d], -1).reshape(-1, 3)])
    v, u = np.meshgrid(np.linspace(0, 1, r), np.linspace(0, 1, c), indexing="ij")
    mesh = Mesh(xyz.reshape(-1, 3), faces.astype(np.int32), np.stack([u, v], -1).reshape(-1, 2))
    corner = mesh.xyz[faces]
    area = np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1)
    return replace(mesh, faces=mesh.faces[area > 1e-12])


def quad(corner: ArrayLike, right: ArrayLike, up: ArrayLike, cells: tuple[int, int] = (1, 1)) -> Mesh:
    """A rectangle from its lower left corner; right x up points to where it is seen from; the texture stands upright."""
    corner, right, up = (np.asarray(a, np.float64) for a in (corner, right, up))
    u, v = np.linspace(0, 1, cells[0] + 1), np.linspace(1, 0, cells[1] + 1)
    xyz = corner + u[None, :, None] * right + v[:, None, None] * up
    mesh = sheet(xyz)
    return replace(mesh, faces=mesh.faces[:, ::-1].copy())


FACES = ("-x", "+x", "-y", "+y", "-z", "+z")


def box(
    lo: ArrayLike, hi: ArrayLike, uv: dict[str, tuple[float, float, float, float]] | None = None, skip: str = ""
) -> Mesh:
    """An axis-parallel box with sharp edges; uv gives (u0, v0, u1, v1) for a face by name, else the whole texture."""
    lo, hi = np.asarray(lo, np.float64), np.asarray(hi, np.float64)
    sides = {
        "-x": ((0, 1, 0), (0, -1, 0), (0, 0, 1)),
        "+x": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
        "-y": ((0, 0, 0), (1, 0, 0), (0, 0, 1)),
        "+y": ((1, 1, 0), (-1, 0, 0), (0, 0, 1)),
        "-z": ((0, 1, 0), (1, 0, 0), (0, -1, 0)),
        "+z": ((0, 0, 1), (1, 0, 0), (0, 1, 0)),
    }
    out = []
    for name, (corner, right, up) in sides.items():
        if name in skip.split():
            continue
        face = quad(lo + np.asarray(corner) * (hi - lo), np.asarray(right) * (hi - lo), np.asarray(up) * (hi - lo))
        if uv and name in uv:
            u0, v0, u1, v1 = uv[name]
            face = replace(face, uv=np.array([u0, v0]) + face.uv * np.array([u1 - u0, v1 - v0]))
        out.append(face)
    return join(*out)


def smooth_profile(points: ArrayLike, count: int) -> Array:
    """A smooth curve [count, D] through control points [P, D]: Catmull-Rom, with even steps along its length."""
    p = np.asarray(points, np.float64)
    p = np.concatenate([2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
    t = np.linspace(0, 1, 24, endpoint=False)[:, None]
    pieces = []
    for a, b, c, d in zip(p, p[1:], p[2:], p[3:], strict=False):
        pieces.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3))
    curve = np.concatenate([*pieces, p[-2:-1]])
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
    at = np.linspace(0, length[-1], count)
    return np.stack([np.interp(at, length, curve[:, i]) for i in range(p.shape[1])], -1)


def lathe(profile: ArrayLike, around: int = 48) -> Mesh:
    """A surface of revolution about z: profile [P, 2] of (radius, z) from the bottom to the top of the outside."""
    p = np.asarray(profile, np.float64)[::-1]
    angle = np.linspace(0, 2 * np.pi, around, endpoint=False)
    xyz = np.stack(
        [p[:, :1] * np.cos(angle), p[:, :1] * np.sin(angle), np.broadcast_to(p[:, 1:], (len(p), around))], -1
    )
    mesh = sheet(xyz, wrap=True)
    return replace(mesh, faces=mesh.faces[:, ::-1].copy())


def tube(path: ArrayLike, radius: ArrayLike, around: int = 8, closed: bool = False) -> Mesh:
    """A pipe along points [P, 3] with radius [P] or one for all; open ends are closed by a point."""
    p = np.asarray(path, np.float64)
    r = np.broadcast_to(np.asarray(radius, np.float64), (len(p),))
    if closed:
        tangent = np.roll(p, -1, 0) - np.roll(p, 1, 0)
    else:
        tangent = np.gradient(p, axis=0)
        p, r = np.concatenate([p[:1], p, p[-1:]]), np.concatenate([[0], r, [0]])
        tangent = np.concatenate([tangent[:1], tangent, tangent[-1:]])
    tangent = tangent / np.linalg.norm(tangent, axis=1, keepdims=True)
    side = np.cross(tangent[0], np.eye(3)[np.argmin(np.abs(tangent[0]))])
    sides = []
    for t in tangent:  # carried along without twist
        side = side - (side @ t) * t
        side = side / np.linalg.norm(side)
        sides.append(side)
    s = np.array(sides)
    b = np.cross(tangent, s)
    angle = np.linspace(0, 2 * np.pi, around, endpoint=False)[None, :, None]
    ring = p[:, None] + r[:, None, None] * (np.cos(angle) * s[:, None] + np.sin(angle) * b[:, None])
    if closed:  # a flat loop comes back to its first frame
        ring = np.concatenate([ring, ring[:1]])
    return sheet(ring, wrap=True)


def circle(radius: float, z: float, count: int) -> Array:
    """Points [count, 3] of a level circle about the z axis."""
    a = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([radius * np.cos(a), radius * np.sin(a), np.full(count, z)], -1)


def sphere(radius: float, rows: int = 24, around: int = 48) -> Mesh:
    """A sphere about the origin; its texture is an equirectangular map."""
    a = np.linspace(-np.pi / 2, np.pi / 2, rows + 1)
    return lathe(np.stack([np.maximum(radius * np.cos(a), 0), radius * np.sin(a)], -1), around)


def subdivided(mesh: Mesh, times: int) -> Mesh:
    """The same surface with every triangle cut into four, `times` over: more vertices for colours, the same geometry."""
    for _ in range(times):
        edges = np.sort(np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]]), 1)
        unique, index = np.unique(edges, axis=0, return_inverse=True)
        ab, bc, ca = index.reshape(3, -1) + len(mesh.xyz)
        a, b, c = mesh.faces.T
        faces = np.concatenate([np.stack(t, -1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))])
        xyz, uv = (np.concatenate([x, x[unique].mean(1)]) for x in (mesh.xyz, mesh.uv))
        mesh = Mesh(xyz, faces.astype(np.int32), uv)
    return mesh
