"""Colours of a mesh: where they land, from which photo, exposure and seams."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from recon.mesh import Mesh
from recon.mesh.levelling import nodes_of, seam_offsets, smooth_vertices
from recon.mesh.picture import picture
from recon.mesh.texture import paint
from recon.mesh.view_choice import SPOTS, Choice, candidates, choose, without_strangers
from tests.mesh_scenes import (
    SIDE_COLOURS,
    SIDES,
    Quiet,
    cameras_around,
    cube,
    painted_cube,
    photos_of_cube,
)

VOXEL = 0.05
MAGENTA = (255, 0, 255)
PARTS = ("cam_from_world", "K", "size")
"""Of Cameras."""


def colours_of_sides(mesh: Mesh, side: np.ndarray) -> np.ndarray:
    """Mean colour [6, 3] of the texture at the middles of each side's triangles."""
    assert mesh.uv is not None and mesh.texture is not None
    height, width = mesh.texture.shape[:2]
    at = np.floor(mesh.uv.mean(1) * [width, height]).astype(int).clip(0, [width - 1, height - 1])
    colour = mesh.texture[at[:, 1], at[:, 0]].astype(float)
    return np.stack([colour[side == s].mean(0) for s in range(6)])


def test_known_colours_land_at_the_known_place():
    painted, side = painted_cube()
    assert np.abs(colours_of_sides(painted.mesh, side) - SIDE_COLOURS).max() < 6
    assert painted.unseen == 0
    view = picture(painted.mesh, cameras_around(2.6)[2])
    truth = photos_of_cube(cameras=cameras_around(2.6)).images[2] / 255
    assert np.sqrt(((view - truth) ** 2).mean()) < 0.05


def test_a_texture_from_wrong_cameras_fails_the_same_check():
    cameras = cameras_around()
    painted, side = painted_cube(cameras=cameras[np.roll(np.arange(len(cameras)), 1)])
    assert np.abs(colours_of_sides(painted.mesh, side) - SIDE_COLOURS).max() > 60


def test_vertices_are_coloured_without_a_texture():
    painted, side = painted_cube(texture=0)
    assert painted.mesh.uv is None and painted.mesh.texture is None
    for s in range(6):
        inner = np.setdiff1d(painted.mesh.faces[side == s], painted.mesh.faces[side != s])
        assert np.abs(painted.mesh.rgb[inner].astype(int) - SIDE_COLOURS[s]).max() < 8


def test_exposure_is_compensated():
    gains = np.exp(np.random.default_rng(2).uniform(-0.2, 0.2, 14))
    gains /= np.exp(np.log(gains).mean())
    photos = photos_of_cube(gains)
    xyz, faces, side = cube()
    mesh = Mesh(xyz, faces, np.zeros((len(xyz), 3), np.uint8))
    with_it = paint(mesh, photos, 0.02, 256, Quiet())
    assert with_it.gains * gains[:, None] == pytest.approx(1, abs=0.04)
    assert np.abs(colours_of_sides(with_it.mesh, side) - SIDE_COLOURS).max() < 10
    without = paint(mesh, photos, 0.02, 256, Quiet(), exposure=False)
    assert np.abs(colours_of_sides(without.mesh, side) - SIDE_COLOURS).max() > 10


def test_seams_are_levelled():
    """A strip in two photos of which one is brighter: without a jump after levelling, and no change in the mean."""
    n = 20
    xyz = np.array([[i, j, 0] for i in range(n + 1) for j in (0, 1)], np.float32)
    faces = np.array(
        [f for i in range(n) for f in ([2 * i, 2 * i + 2, 2 * i + 3], [2 * i, 2 * i + 3, 2 * i + 1])], np.int32
    )
    label = (xyz[faces][:, :, 0].mean(1) > n / 2).astype(np.int32)
    nodes = nodes_of(faces, label, len(xyz))
    colour = np.where(nodes.view[:, None] == 1, 0.6, 0.4) * np.ones((1, 3))
    levelled = colour + seam_offsets(nodes, colour, smooth_vertices(xyz, faces))
    seam = [levelled[nodes.vertex == v] for v in np.flatnonzero(xyz[:, 0] == n / 2)]
    assert all(len(s) == 2 for s in seam)
    assert max(abs(s[0, 0] - s[1, 0]) for s in seam) < 0.03 < 0.2
    assert levelled.mean() == pytest.approx(0.5, abs=0.02)


def test_each_triangle_takes_a_photo_that_sees_it():
    xyz, faces, side = cube()
    photos = photos_of_cube()
    choice = candidates(xyz, faces, photos, 0.02, Quiet())
    label = choose(choice, faces)
    assert (label >= 0).all()
    toward = photos.cameras.centers[label]
    assert (np.einsum("fi,fi->f", toward, SIDES[side]) > 0.9).all()  # in front of its side
    pairs = np.array([len(np.unique(label[side == s])) for s in range(6)])
    assert pairs.max() <= 3  # patches, not confetti


def test_what_one_photo_alone_shows_is_not_painted_onto_the_surface(monkeypatch):
    """A magenta bar stands before the cube in one photo, which is the nearest of four for its side."""
    xyz, faces, side = cube()
    rings = [cameras_around(distance) for distance in (2.6, 2.8, 3.0, 3.2)]
    photos = photos_of_cube(
        cameras=replace(rings[0], **{n: np.concatenate([getattr(r, n) for r in rings]) for n in PARTS})
    )
    label = choose(candidates(xyz, faces, photos, 0.02, Quiet()), faces)
    best = int(np.bincount(label[side == 0]).argmax())
    photos.images[best] = photos.images[best].copy()
    middle = photos.images[best].shape[1] // 2
    photos.images[best][:, middle + 2 : middle + 8] = MAGENTA
    mesh = Mesh(xyz, faces, np.zeros((len(xyz), 3), np.uint8))

    def magenta() -> float:
        texture = paint(mesh, photos, 0.02, 256, Quiet()).mesh.texture
        assert texture is not None
        return float((np.abs(texture.astype(int) - MAGENTA).max(-1) < 60).mean())

    assert magenta() < 0.0005
    monkeypatch.setattr("recon.mesh.texture.without_strangers", lambda choice, gain: choice)
    assert magenta() > 0.005


def test_strangers_differ_from_most_of_three_photos_or_more_in_some_spot():
    rows = [[90, 200, 0], [90, 200, 92], [60, 90, 140], [90, 90, 94]]  # the first is seen in two photos only
    colour = np.repeat(np.array(rows, np.uint8)[:, :, None, None], SPOTS, 2).repeat(3, 3)
    view = np.array([[0, 1, -1]] + [[0, 1, 2]] * 3, np.int32)
    nothing = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 3), np.uint8))
    choice = Choice(view, np.where(view >= 0, 8, 0).astype(np.float32), colour, nothing)
    same = np.ones((3, 3), np.float32)

    def lowered(choice: Choice, gain: np.ndarray) -> list[list[bool]]:
        return (without_strangers(choice, gain).score < choice.score).tolist()

    none = [False] * 3
    assert lowered(choice, same) == [none, [False, True, False], none, none]
    assert lowered(choice, same * np.array([[1], [0.45], [1]], np.float32))[1] == none  # its exposure explains it
    colour[3, 0, 2, 1] = 160
    assert lowered(choice, same)[3] == [True, False, False]
