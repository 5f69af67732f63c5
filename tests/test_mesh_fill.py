"""Holes: closed where they are small and nothing was seen through them, bent as the surface around them, and told."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from recon.errors import InputError
from recon.mesh import area, face_normals
from recon.mesh.clean import edges_of, is_closed
from recon.mesh.collapse import collapsed
from recon.mesh.fill import extent, fill_holes
from recon.mesh.loops import border_loops, holes
from recon.mesh.marching import extract
from recon.mesh.options import MeshOptions
from recon.mesh.patch import triangulate
from recon.mesh.poisson import poisson
from recon.mesh.volume import build_volume
from recon.mesh.worth import worth_of_vertices
from tests.mesh_scenes import cameras_around, cube, exact_views, sphere_t

VOXEL = 0.06


@pytest.fixture(scope="module")
def ball() -> tuple[np.ndarray, np.ndarray]:
    return extract(build_volume(exact_views(sphere_t, 1.0), VOXEL), 0.3)


def without_cap(xyz: np.ndarray, faces: np.ndarray, radius: float) -> np.ndarray:
    """The faces but those around the north pole."""
    return faces[~((np.linalg.norm(xyz - [0, 0, 1], axis=1) < radius)[faces].all(1))]


def grid(cells: int = 24, half: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """A square in the plane z = 0 that faces +z."""
    line = np.linspace(-half, half, cells + 1)
    xyz = np.stack([*np.meshgrid(line, line, indexing="ij"), np.zeros((cells + 1, cells + 1))], -1).reshape(-1, 3)
    a = (np.arange(cells)[:, None] * (cells + 1) + np.arange(cells)).ravel()
    faces = np.concatenate([np.stack([a, a + cells + 1, a + cells + 2], 1), np.stack([a, a + cells + 2, a + 1], 1)])
    return xyz.astype(np.float32), faces.astype(np.int32)


@pytest.mark.parametrize("radius", [0.2, 0.5])
def test_a_hole_in_a_sphere_is_closed_by_a_bulge(ball, radius):
    xyz, faces = ball
    cut = without_cap(xyz, faces, radius)
    filled = fill_holes(xyz, cut, 2.0)
    assert filled.closed == 1 and is_closed(filled.faces) and np.array_equal(filled.faces[: len(cut)], cut)
    added = filled.xyz[len(xyz) :]
    flat = 1 - np.sqrt(1 - radius**2)
    assert len(added) > 10 and np.abs(np.linalg.norm(added, axis=1) - 1).max() < max(0.3 * flat, 0.2 * VOXEL)
    edges = edges_of(filled.faces)
    assert len(np.unique(edges, axis=0)) == len(edges)
    outward = np.einsum("fi,fi->f", face_normals(filled.xyz, filled.faces), filled.xyz[filled.faces[:, 0]])
    assert (outward > 0).all()
    assert filled.area == pytest.approx(area(xyz, faces) - area(xyz, cut), rel=0.2)


def test_only_what_is_small_enough_is_closed(ball):
    xyz, faces = ball
    cut = without_cap(xyz, faces, 0.5)
    cut = cut[np.linalg.norm(xyz[cut].mean(1) - np.array([0, 0, -1]), axis=1) > 0.2]
    filled = fill_holes(xyz, cut, 0.8)
    assert filled.closed == 1 and holes(filled.xyz, filled.faces).loops == 1
    none = fill_holes(xyz, cut, 0.0)
    assert none.closed == 0 and np.array_equal(none.faces, cut)


def cut_square(xyz: np.ndarray, faces: np.ndarray, x: float, y: float, half: float) -> np.ndarray:
    """bool[F]: the faces of a grid whose corners all lie in a square."""
    return (np.abs(xyz[faces][:, :, :2] - [x, y]).max(-1) < half).all(1)


def test_the_outline_of_a_sheet_is_no_hole():
    xyz, faces = grid()
    filled = fill_holes(xyz, faces, 100.0)
    assert filled.closed == 0 and filled.outlines == 1 and len(filled.faces) == len(faces)


def test_a_window_that_photos_look_through_stays_open():
    """A wall with two holes of one size: through one of them the cameras measured what lies behind."""
    xyz, faces = grid()
    window, gap = (cut_square(xyz, faces, x, 0, 0.26) for x in (0.5, -0.5))
    wall = faces[~window & ~gap]
    cameras = cameras_around()
    cameras = cameras[np.flatnonzero(cameras.centers[:, 2] > 1)]
    views = []
    for view in exact_views(lambda o, d, _: np.where(d[..., 2] < 0, -o[2] / d[..., 2], np.nan), 0.0, cameras):
        p = (view.camera.rays(0)[1] * 1.0, view.camera.centers[0])
        t = -p[1][2] / p[0][..., 2]
        at = p[1] + t[..., None] * p[0]
        z, known = view.z.copy(), np.ones(view.z.shape, np.float32)
        z[np.abs(at[..., :2] - [0.5, 0]).max(-1) < 0.25] *= 2
        known[np.abs(at[..., :2] + [0.5, 0]).max(-1) < 0.3] = 0
        views.append(replace(view, z=z, confidence=known))
    filled = fill_holes(xyz, wall, 1.0, views, 0.02)
    assert filled.closed == 1 and filled.through == 1
    inside = filled.xyz[filled.faces[len(wall) :]].mean(1)
    assert (inside[:, 0] < 0).all() and np.abs(filled.xyz[:, 2]).max() < 1e-5
    nothing_there = [replace(v, z=np.where(v.z > 3.5, np.inf, v.z).astype(np.float32)) for v in views]
    assert fill_holes(xyz, wall, 1.0, nothing_there, 0.02).through == 1
    assert fill_holes(xyz, wall, 1.0).closed == 2


def test_holes_are_told_longest_first_with_their_place():
    xyz, faces = grid()
    faces = faces[~cut_square(xyz, faces, 0.5, 0.25, 0.26) & ~cut_square(xyz, faces, -0.5, 0, 0.16)]
    told: Any = holes(xyz, faces).to_json()
    assert told["count"] == 2 and told["total_length"] == pytest.approx(2 + 2 / 3)
    larger, smaller = told["largest"]
    assert larger["at"] == pytest.approx([0.5, 0.25, 0], abs=0.05) and larger["area"] == pytest.approx(0.25)
    assert smaller["at"] == pytest.approx([-0.5, 0, 0], abs=0.05)
    assert told["open_borders"]["longest"] == pytest.approx([8])  # where the sheet ends is no hole in it


def test_where_a_surface_ends_is_told_from_its_holes(ball):
    xyz, faces = ball
    z = xyz[faces].mean(1)[:, 2]
    for kept, count, ends in ((z < 0.9, 1, 0), (z < 0, 0, 1), (z < -0.5, 0, 1), (np.abs(z) < 0.2, 1, 1)):
        found = holes(xyz, faces[kept])  # a small hole; a cup; a dish; a belt: one of its rims is taken for its end
        assert (found.loops, len(found.open_lengths)) == (count, ends)
    room, walls = cube(12)[:2]
    inward = walls[:, ::-1][room[walls].mean(1)[:, 2] < 0.79]  # walls and a floor from inside, open at the top
    middle = room[inward].mean(1)
    door = (middle[:, 0] > 0.79) & (np.abs(middle[:, 1:]).max(1) < 0.3)
    found = holes(room, inward[~door])
    assert found.centers == pytest.approx(np.array([[0.8, 0, 0]]), abs=0.05) and len(found.open_lengths) == 1


def test_a_border_that_touches_itself_is_two_loops():
    xyz, faces = grid(6)
    middle = np.floor((xyz[faces].mean(1)[:, :2] + 1) * 3).astype(int)
    gone = (middle == [2, 2]).all(1) | (middle == [3, 3]).all(1)  # two cells that share a corner
    loops = sorted(len(loop) for loop in border_loops(faces[~gone]))
    assert loops == [4, 4, 24]
    assert fill_holes(xyz, faces[~gone], 1.0).closed == 2


def test_triangulations_are_of_least_area_and_respect_edges():
    turn = np.linspace(0, 2 * np.pi, 9)[:-1]
    ring = np.stack([np.cos(turn), np.sin(turn), 0 * turn], -1)
    free = np.zeros((8, 8), bool)
    rows = triangulate(ring, free)
    assert len(rows) == 6
    assert np.linalg.norm(face_normals(ring, rows), axis=1).sum() / 2 == pytest.approx(2 * np.sqrt(2), rel=1e-6)
    assert len(triangulate(ring, ~np.eye(8, dtype=bool))) == 0


def test_degenerate_surfaces_are_no_trouble():
    empty = np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32)
    assert len(fill_holes(*empty, 1.0).faces) == 0 and extent(empty[0]) == 0
    xyz, faces = np.zeros((3, 3), np.float32), np.array([[0, 1, 2]], np.int32)
    assert len(fill_holes(xyz, faces, 1.0).faces) >= 1


def test_poisson_closes_a_sphere_and_keeps_near_its_points(ball, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))  # all files go where they are told to
    xyz, faces = ball
    cut = without_cap(xyz, faces, 0.3)
    made, triangles = poisson(xyz, cut, 2 * VOXEL, 0.6, tmp_path)
    off = np.abs(np.linalg.norm(made, axis=1) - 1)
    assert is_closed(triangles) and off.max() < 0.2 and off[made[:, 2] < 0.9].max() < VOXEL
    half = faces[(xyz[faces][:, :, 2] < 0).all(1)]
    made, triangles = poisson(xyz, half, 2 * VOXEL, 0.2, tmp_path)
    assert not is_closed(triangles) and made[:, 2].max() < 0.6
    assert not any(tmp_path.iterdir())


def test_options_about_holes_are_checked():
    with pytest.raises(InputError, match="--fill-holes"):
        MeshOptions(fill_holes=-0.1)


def test_triangles_go_where_errors_count(ball):
    """A smooth object before a noisy wall of ten times its area: by worth the object gets most."""
    xyz, faces = ball
    wall, wall_faces = grid(60, 4.0)
    noise = np.random.default_rng(0).normal(scale=0.003, size=len(wall))
    wall = wall + np.stack([0 * noise, 0 * noise, noise - 3], -1).astype(np.float32)
    both = np.concatenate([0.4 * xyz, wall]).astype(np.float32)
    all_faces = np.concatenate([faces, wall_faces + len(xyz)])
    cameras = cameras_around()
    cameras = cameras[np.flatnonzero(cameras.centers[:, 2] > 1)]
    of_object = []
    for worth in (worth_of_vertices(both, all_faces, cameras), np.ones(len(both))):
        points, triangles = collapsed(both, all_faces, worth, 1500)
        of_object.append((points[triangles[:, 0], 2] > -1).mean())
        assert len(triangles) <= 1500
    assert of_object[0] > 2 * of_object[1] > 0


def test_collapses_keep_a_sphere_closed_and_round(ball):
    xyz, faces = ball
    points, triangles = collapsed(xyz, faces, np.ones(len(xyz)), 300)
    assert len(triangles) == 300 and is_closed(triangles)
    used = points[np.unique(triangles)]
    assert np.abs(np.linalg.norm(used, axis=1) - 1).max() < 0.05
    floor = collapsed(xyz, faces, np.ones(len(xyz)), 1)[1]
    assert len(floor) == 4 and is_closed(floor)
