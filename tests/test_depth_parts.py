"""Parts of stereo by themselves: filling, small pieces, planes from level to level, normals."""

from __future__ import annotations

import numpy as np

from recon.depth.consistency import small_pieces
from recon.depth.fill import filled
from recon.depth.solve import camera_normals, enlarged


def test_a_hole_beside_something_near_is_filled_from_behind() -> None:
    plane = np.zeros((3, 20, 60), np.float32)
    plane[0] = 0.2
    plane[0, :, 30:45] = 1.0
    photo = np.full((20, 60, 4), 90, np.uint8)  # colours do not tell which side a hole belongs to
    known = np.ones((20, 60), bool)
    known[:, 22:30] = False
    plane[0][~known] = 7
    out = filled(plane, known, photo, np.array([[1.0, 0, 0]], np.float32))
    np.testing.assert_allclose(out[0][~known], 0.2)
    np.testing.assert_array_equal(out[0][known], plane[0][known])
    alone = known.copy()
    alone[:] = False
    nothing = filled(plane, alone, photo, np.array([[25.0, 10, 1]], np.float32))  # the epipole is in the photo
    assert not nothing.any(), "what was not believed is no guess"


def test_small_pieces_go_and_large_ones_stay() -> None:
    w = np.full((30, 40), 0.5, np.float32)
    w[5:8, 5:8], w[15:25, 15:25] = 0.9, 0.8
    valid = np.ones(w.shape, bool)
    valid[:, 30] = False
    small = small_pieces(w, valid, 0.01, 40)
    assert small[5:8, 5:8].all() and small.sum() == 9
    assert not small_pieces(w, valid, 0.01, 0).any()


def test_enlarged_planes_are_the_same_planes() -> None:
    x, y = np.meshgrid(np.arange(10.0), np.arange(8.0))
    small = np.stack([1 + 0.02 * x - 0.03 * y, np.full(x.shape, 0.02), np.full(x.shape, -0.03)]).astype(np.float32)
    large = enlarged(small, (16, 20))
    x, y = (np.arange(20) + 0.5) / 2 - 0.5, (np.arange(16) + 0.5) / 2 - 0.5
    np.testing.assert_allclose(large[0], 1 + 0.02 * x - 0.03 * y[:, None], atol=1e-6)
    np.testing.assert_allclose(large[1:], small[1:, :1, :1] / 2 * np.ones_like(large[1:]), atol=1e-7)


def test_normals_face_the_camera() -> None:
    k = np.array([[100.0, 0, 50], [0, 100, 40], [0, 0, 1]])
    n = np.array([0.3, -0.2, -0.9])
    n /= np.linalg.norm(n)
    abc = np.linalg.inv(k).T @ n / -4.0  # n . X = -4
    x, y = np.meshgrid(np.arange(100) + 0.5, np.arange(80) + 0.5)
    w = abc[0] * x + abc[1] * y + abc[2]
    planes = np.stack([w, np.full(w.shape, abc[0]), np.full(w.shape, abc[1])])
    np.testing.assert_allclose(camera_normals(planes, k), np.broadcast_to(n, (80, 100, 3)), atol=1e-6)
