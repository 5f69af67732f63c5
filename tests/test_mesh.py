"""Surfaces against analytic truth: fusion, marching cubes, cleaning, decimation, texture, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from recon.cameras import Cameras
from recon.errors import InputError, WorkspaceError
from recon.geometry import World
from recon.mesh import Mesh, area, face_normals, read_mesh, save_mesh, vertex_normals
from recon.mesh.clean import clean, drop_small_parts, edges_of, is_closed, seen_faces
from recon.mesh.collider import collider
from recon.mesh.consistency import agreement
from recon.mesh.loops import holes
from recon.mesh.marching import extract, triangle_table
from recon.mesh.options import MeshOptions, mesh_needs
from recon.mesh.raster import look, visible
from recon.mesh.simplify import decimate, smooth
from recon.mesh.views import DepthView
from recon.mesh.volume import Volume, build_volume
from recon.mesh.volume_kernels import POINTS, insert_all, key_of
from recon.mesh.worth import worth_of_vertices
from tests.mesh_scenes import (
    box_t,
    cameras_around,
    cube,
    exact_views,
    painted_cube,
    sphere_t,
)

VOXEL = 0.05


@pytest.fixture(scope="module")
def ball() -> tuple[np.ndarray, np.ndarray]:
    """The unit sphere fused from exact z."""
    return extract(build_volume(exact_views(sphere_t, 1.0), VOXEL), 0.3)


def enclosed(xyz: np.ndarray, faces: np.ndarray) -> float:
    """Volume inside of a closed surface, positive when its faces are counter-clockwise seen from outside."""
    return float(np.einsum("fi,fi->f", xyz[faces[:, 0]], face_normals(xyz, faces)).sum() / 6)


def assert_closed(faces: np.ndarray) -> None:
    """Every directed edge is there once, and its opposite too."""
    edges = edges_of(faces)
    assert len(np.unique(edges, axis=0)) == len(edges)
    assert {tuple(e) for e in edges.tolist()} == {(b, a) for a, b in edges.tolist()}


def test_a_fused_sphere_is_round_closed_and_faces_outward(ball):
    xyz, faces = ball
    off = np.abs(np.linalg.norm(xyz, axis=1) - 1) / VOXEL
    assert off.mean() < 0.12 and off.max() < 0.8
    assert_closed(faces)
    assert is_closed(faces) and holes(xyz, faces).loops == 0
    assert enclosed(xyz, faces) == pytest.approx(4 / 3 * np.pi, rel=0.015)
    assert area(xyz, faces) == pytest.approx(4 * np.pi, rel=0.03)
    assert (np.einsum("vi,vi->v", vertex_normals(xyz, faces), xyz) > 0.9).all()


def test_a_fused_box_has_its_sides_where_they_are():
    xyz, faces = extract(build_volume(exact_views(box_t, 0.8), VOXEL), 0.3)
    outside = np.abs(xyz).max(1) - 0.8
    assert np.abs(outside).max() < 1.5 * VOXEL and np.abs(outside).mean() < 0.1 * VOXEL
    middle = np.sort(np.abs(xyz), axis=1)[:, 1] < 0.6  # away from the edges
    assert np.abs(outside[middle]).max() < 0.15 * VOXEL
    assert enclosed(xyz, faces) == pytest.approx(1.6**3, rel=0.03)


def test_shuffled_depth_gives_no_such_sphere():
    views = exact_views(box_t, 0.8)
    moved = [replace(v, camera=views[(i + 5) % len(views)].camera) for i, v in enumerate(views)]
    xyz, _ = extract(build_volume(moved, VOXEL), 0.3)
    assert np.abs(np.abs(xyz).max(1) - 0.8).mean() > 0.5 * VOXEL


def test_marching_cubes_of_noise_has_no_cracks():
    """Every case occurs; across blocks; what touches the border of the field is made free."""
    draw = np.random.default_rng(0)
    found = np.array([key_of(x, y, z) for x in (-1, 0) for y in (-1, 0) for z in (-1, 0)])
    keys, number = np.full(64, -1, np.int64), np.full(64, -1, np.int32)
    insert_all(found, keys, number)
    field = draw.uniform(-1, 1, (16, 16, 16)).astype(np.float32)  # z, y, x
    field[[0, -1]] = field[:, [0, -1]] = field[:, :, [0, -1]] = 0.7
    corner = np.array([[x, y, z] for x in (0, 8) for y in (0, 8) for z in (0, 8)])
    tsdf = np.stack([field[z : z + 8, y : y + 8, x : x + 8].ravel() for x, y, z in corner])
    volume = Volume(1.0, found, keys, number, tsdf, np.ones((8, POINTS), np.float32))
    xyz, faces = extract(volume, 0.5)
    assert len(faces) > 2000
    edges = edges_of(faces)
    there, back = np.unique(edges, axis=0, return_counts=True), np.unique(edges[:, ::-1], axis=0, return_counts=True)
    assert np.array_equal(there[0], back[0]) and np.array_equal(there[1], back[1])
    assert enclosed(xyz, faces) > 0
    count, _ = triangle_table()
    assert count[0] == count[255] == 0 and (count[1:255] > 0).all()


def test_free_space_seen_by_others_carves_a_floater():
    views = [
        replace(view, z=np.where(np.isnan(view.z), np.float32(4.5), view.z)) for view in exact_views(sphere_t, 0.6)
    ]
    blob = views[8].z.copy()
    blob[30:42, 40:56] = 1.6  # in front of the sphere, which lies at 2.4
    with_blob = [*views[:8], replace(views[8], z=blob), *views[9:]]
    alone, _ = extract(build_volume([with_blob[8]], VOXEL), 0.3)
    together, _ = extract(build_volume(with_blob, VOXEL), 0.3)
    between = [(abs(np.linalg.norm(points, axis=1) - 1.4) < 0.2).sum() for points in (alone, together)]
    assert between[0] > 50 and between[1] == 0


def test_neighbours_speak_against_what_only_one_view_has():
    views = exact_views(sphere_t, 1.0)
    wrong = views[0].z.copy()
    wrong[30:40, 40:50] = 1.5
    agreed = agreement(replace(views[0], z=wrong), views[1:])
    true = agreement(views[0], views[1:])
    assert (agreed[32:38, 42:48] == 0).all()
    assert np.median(true[np.isfinite(views[0].z)]) > 0.9


def view_like(**changes: np.ndarray) -> list[DepthView]:
    return [replace(view, **changes) for view in exact_views(sphere_t, 1.0)[:3]]


def test_depth_without_a_number_is_refused_in_words():
    nan, one = np.full((72, 96), np.nan, np.float32), np.ones((72, 96), np.float32)
    for views in (view_like(z=nan), view_like(confidence=0 * one), view_like(z=-one), view_like(confidence=nan)):
        with pytest.raises(InputError, match="usable z"):
            build_volume(views)
    with pytest.raises(InputError, match=r"48x36 pixels, its camera 96x72"):
        build_volume(view_like(z=one[:36, :48]))
    with pytest.raises(InputError, match="blocks of 8"):
        build_volume(exact_views(sphere_t, 1.0), 0.02, most_blocks=200)
    with pytest.raises(InputError, match="above 0"):
        build_volume(exact_views(sphere_t, 1.0), float("nan"))


def test_a_large_scene_gets_larger_voxels_and_says_so():
    said: list[str] = []
    volume = build_volume(exact_views(sphere_t, 1.0), most_blocks=150, note=said.append)
    assert len(volume.found) <= 150 and volume.voxel > 0.05 and said


def test_nan_and_isolated_pixels_do_no_harm(ball):
    views = exact_views(sphere_t, 1.0)
    draw = np.random.default_rng(1)
    for view in views:
        view.z[draw.random(view.z.shape) < 0.1] = np.nan
        view.z[draw.random(view.z.shape) < 0.01] = np.inf
    xyz, faces = extract(build_volume(views, VOXEL), 0.3)
    assert np.abs(np.linalg.norm(xyz, axis=1) - 1).mean() < 0.15 * VOXEL
    assert len(faces) == pytest.approx(len(ball[1]), rel=0.1)


def test_what_no_camera_sees_and_what_is_small_is_dropped(ball):
    xyz, faces = ball
    n = len(xyz)
    inner, speck = 0.5 * xyz, 0.02 * xyz + [1.6, 0, 0]
    both = np.concatenate([xyz, inner, speck]).astype(np.float32)
    all_faces = np.concatenate([faces, faces + n, faces + 2 * n])
    seen = seen_faces(both, all_faces, cameras_around(), 0.02)
    assert seen[: len(faces)].mean() > 0.99 and not seen[len(faces) : 2 * len(faces)].any()
    kept = drop_small_parts(both, all_faces, 0.01)
    assert kept[: 2 * len(faces)].all() and not kept[2 * len(faces) :].any()
    cleaned, left = clean(both, all_faces, cameras_around(), 0.02, 0.01)
    assert np.abs(np.linalg.norm(cleaned, axis=1) - 1).max() < VOXEL and len(left) > 0.99 * len(faces)


def test_what_is_small_in_space_and_large_in_the_photos_stays(ball):
    xyz, faces = ball
    view = Cameras(
        np.eye(4)[None], np.array([[[100.0, 0, 50], [0, 100, 50], [0, 0, 1]]]), np.array([[100, 100]], np.int32)
    )
    wall, near, far = 40 * xyz + [0, 0, 80], 0.05 * xyz + [0, 0, 1], 0.05 * xyz + [0, 0, 30]
    every = np.concatenate([wall, near, far]).astype(np.float32)
    all_faces, f = np.concatenate([faces, faces + len(xyz), faces + 2 * len(xyz)]), len(faces)
    for cameras, stays in ((view, True), (None, False)):
        kept = drop_small_parts(every, all_faces, 0.005, cameras)
        assert kept[:f].all() and kept[f : 2 * f].all() == stays and not kept[2 * f :].any()


def test_back_sides_are_not_seen(ball):
    xyz, faces = ball
    back, front = (seen_faces(xyz, f, cameras_around(), 0.02).mean() for f in (faces[:, ::-1], faces))
    assert back < 0.15 and front > 0.99  # rims lie within the slack of what hides them


def test_holes_are_counted_and_measured(ball):
    xyz, faces = ball
    z = xyz[faces][:, :, 2]
    cut = faces[(z < 0.8).all(1) & (z > -0.6).all(1)]
    found = holes(xyz, cut)
    assert found.loops == 2
    assert found.lengths[0] / found.lengths[1] == pytest.approx(0.8 / 0.6, rel=0.1)
    assert 1 < found.lengths[0] / (2 * np.pi * 0.8) < 1.4  # a staircase of triangles around the circle


def test_smoothing_takes_noise_and_leaves_the_size(ball):
    xyz, faces = ball
    noisy = xyz + np.random.default_rng(0).normal(scale=0.2 * VOXEL, size=xyz.shape).astype(np.float32)
    smoothed = smooth(noisy, faces, 10)
    spread = [np.linalg.norm(points, axis=1).std() for points in (noisy, smoothed)]
    assert spread[1] < 0.5 * spread[0]
    assert enclosed(smoothed, faces) == pytest.approx(enclosed(xyz, faces), rel=0.01)
    open_faces = faces[(xyz[faces][:, :, 2] < 0.5).all(1)]
    border = np.unique(xyz[:, 2] * 0 + np.isin(np.arange(len(xyz)), open_faces))
    assert len(border) == 2
    edge = np.isin(np.arange(len(xyz)), np.unique(_border(open_faces)))
    assert np.array_equal(smooth(noisy, open_faces, 5)[edge], noisy[edge])


def _border(faces: np.ndarray) -> np.ndarray:
    edges = {tuple(e) for e in edges_of(faces).tolist()}
    return np.array([e for e in edges if e[::-1] not in edges])


@pytest.mark.parametrize("budget", [4, 10, 500, 10_000_000])
def test_face_budgets_are_kept(ball, budget):
    xyz, faces = ball
    points, triangles = decimate(xyz, faces, budget)
    assert 0 < len(triangles) <= budget
    assert np.isfinite(points).all() and triangles.max() < len(points)
    if budget == 500:
        assert np.abs(np.linalg.norm(points, axis=1) - 1).max() < VOXEL
        assert enclosed(points, triangles) > 0
    if budget > len(faces):
        assert np.array_equal(triangles, faces)


def test_a_budget_of_ten_holds_for_many_parts(ball):
    xyz, faces = ball
    shifts = np.array([[3.0 * i, 0, 0] for i in range(12)])
    many = np.concatenate([0.2 * xyz + s for s in shifts]).astype(np.float32)
    all_faces = np.concatenate([faces + i * len(xyz) for i in range(12)])
    _, triangles = decimate(many, all_faces, 10)
    assert 0 < len(triangles) <= 10
    with pytest.raises(InputError, match="too few"):
        decimate(xyz, faces, 3)


def test_a_near_part_gets_more_triangles_than_a_far_one(ball):
    xyz, faces = ball
    two = np.concatenate([0.5 * xyz + [1.5, 0, 0], 0.5 * xyz - [20, 0, 0]]).astype(np.float32)
    both = np.concatenate([faces, faces + len(xyz)])
    near = cameras_around()[np.array([8])]  # at (3, 0, 0)
    points, triangles = decimate(two, both, 1000, worth_of_vertices(two, both, near))
    first = points[triangles[:, 0], 0] > 0
    assert len(triangles) <= 1000 and first.sum() > 0.8 * len(triangles) > 0
    for budget in (4, 30, 10_000_000):
        assert 0 < len(decimate(two, both, budget, worth_of_vertices(two, both, near))[1]) <= budget


def test_the_rasteriser_sees_the_sphere_where_it_is(ball):
    xyz, faces = ball
    view = exact_views(sphere_t, 1.0)[0]
    seen = look(view.camera, xyz, faces)
    both = np.isfinite(view.z) & (seen.face >= 0)
    assert (np.isfinite(view.z) == (seen.face >= 0)).mean() > 0.98
    assert np.median(np.abs(seen.z - view.z)[both]) < 0.2 * VOXEL
    weights = seen.weights(view.camera, xyz, faces)[both]
    assert weights.sum(1) == pytest.approx(1, abs=1e-5) and weights.min() > -1e-6
    points = np.einsum("pi,pic->pc", weights, xyz[faces[seen.face[both]]])
    assert view.camera.project(points)[1][0] == pytest.approx(seen.z[both], abs=1e-4)
    assert visible(view.camera, seen, view.camera.centers * 0.34, 0.02).all()  # towards the camera, on the surface
    assert not visible(view.camera, seen, -view.camera.centers * 0.34, 0.02).any()


def test_triangles_that_reach_behind_the_camera_are_drawn():
    camera = cameras_around()[8]  # at (3, 0, 0)
    big = np.array([[0, -100, -100], [0, 100, -100], [0, 0, 100], [50, 0, -1], [-50, 3, -1], [-50, -3, -1]], np.float32)
    seen = look(camera, big, np.array([[0, 1, 2], [3, 4, 5]], np.int32))
    assert seen.z[5, 48] == pytest.approx(3, abs=1e-4) and seen.face[5, 48] == 0
    assert (seen.face[60:] == 1).any() and seen.z[seen.face == 1].min() < 3


def test_mesh_files_come_back_and_damage_is_said(tmp_path):
    painted, _ = painted_cube()
    mesh = replace(painted.mesh, world=World("metric", "gravity", (51.0, 7.0, 100.0)))
    save_mesh(tmp_path / "mesh.npz", mesh)
    again = read_mesh(tmp_path / "mesh.npz")
    for name in ("xyz", "faces", "rgb", "uv", "texture"):
        assert np.array_equal(getattr(mesh, name), getattr(again, name))
    assert again.world.to_json() == mesh.world.to_json()
    (tmp_path / "mesh.npz").write_bytes((tmp_path / "mesh.npz").read_bytes()[:200])
    with pytest.raises(WorkspaceError, match="damaged"):
        read_mesh(tmp_path / "mesh.npz")


def test_a_mesh_checks_itself():
    xyz, faces, _ = cube(1)
    rgb = np.zeros((len(xyz), 3), np.uint8)
    for wrong in (
        {"faces": faces + 1},
        {"xyz": np.where(np.arange(3) == 1, np.nan, xyz).astype(np.float32)},
        {"uv": np.zeros((len(faces), 3, 2), np.float32)},
        {"rgb": rgb[:-1]},
    ):
        with pytest.raises(ValueError):
            Mesh(**({"xyz": xyz, "faces": faces, "rgb": rgb} | wrong))


def test_colliders_enclose_the_surface(ball):
    xyz, faces = ball
    mesh = Mesh(xyz, faces, np.zeros((len(xyz), 3), np.uint8))
    hull = collider(mesh, "hull")
    assert_closed(hull.faces)
    normal = face_normals(hull.xyz, hull.faces)
    over = np.einsum("fi,vfi->vf", normal, xyz[::50, None].astype(float) - hull.xyz[hull.faces[:, 0]])
    assert over.max() < 1e-5 and enclosed(hull.xyz, hull.faces) > 0
    shell = collider(mesh, "shell")
    assert 0 < len(shell.faces) <= 2000 and np.abs(np.linalg.norm(shell.xyz, axis=1) - 1).max() < VOXEL
    flat = replace(mesh, xyz=(xyz * [1, 1, 0]).astype(np.float32))
    with pytest.raises(InputError, match="convex hull"):
        collider(flat, "hull")


def test_options_are_checked_and_decide_what_is_needed():
    for wrong in ({"voxel": 0.0}, {"faces": 3}, {"texture_size": -1}, {"smoothing": -1}, {"least_part": 2.0}):
        with pytest.raises(InputError, match="expected"):
            MeshOptions(**wrong)
    assert mesh_needs(MeshOptions())[-1] == "train" and mesh_needs(MeshOptions(mesh_from="depth"))[-1] == "depth"
