"""The sample capture: its files are whole, and its photos, cameras, z maps and mesh agree with each other."""

from __future__ import annotations

import sys
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

import recon.sample
from recon.cameras import Cameras
from recon.errors import InputError, MissingPart
from recon.sample import sample_cameras, sample_mesh, sample_photos, sample_truth, sample_z

Array = NDArray[np.float64]


def gray(name: str) -> Array:
    """Luma, 0..255, a little blurred, so that the slope between two pixels means something."""
    return ndimage.gaussian_filter(np.asarray(Image.open(sample_photos() / name).convert("L"), np.float64), 1.0)


def first_hits(origin: Array, ways: Array, xyz: Array, faces: NDArray[np.int32]) -> Array:
    """Distances [R] in units of `ways` [R, 3] to the nearest triangle, inf for none (Moeller and Trumbore 1997)."""
    a = xyz[faces[:, 0]]
    e1, e2 = xyz[faces[:, 1]] - a, xyz[faces[:, 2]] - a
    s = origin - a
    q = np.cross(s, e1)
    out = []
    for d in ways:
        p = np.cross(d, e2)
        with np.errstate(divide="ignore", invalid="ignore"):
            inverse = 1 / np.einsum("ij,ij->i", e1, p)
            u, v = np.einsum("ij,ij->i", s, p) * inverse, (q @ d) * inverse
            t = np.einsum("ij,ij->i", e2, q) * inverse
        hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 1e-6)
        out.append(t[hit].min() if hit.any() else np.inf)
    return np.array(out)


def test_files_are_whole_and_small() -> None:
    photos = sorted(sample_photos().iterdir())
    names, cameras = sample_cameras()
    assert [p.name for p in photos] == list(names) and len(names) == 40
    assert sum(p.stat().st_size for p in sample_photos().parent.rglob("*") if p.is_file()) < 5_000_000
    assert len(sample_z()) >= 3 and set(sample_z()) <= set(names)
    for photo, size in zip(photos, cameras.size, strict=True):
        with Image.open(photo) as image:
            assert image.format == "JPEG" and image.size == tuple(size)


def test_exif_tells_focal_length_and_time() -> None:
    _, cameras = sample_cameras()
    times = []
    for i, photo in enumerate(sorted(sample_photos().iterdir())):
        tags = Image.open(photo).getexif()
        sub = tags.get_ifd(0x8769)
        assert (tags[271], tags[272], tags[274]) == ("recon", "sample", 1)
        assert sub[41989] / 36 * cameras.size[i, 0] == pytest.approx(cameras.K[i, 0, 0], rel=1e-3)
        times.append(datetime.strptime(sub[36867], "%Y:%m:%d %H:%M:%S"))
    assert all(a < b for a, b in pairwise(times))


def test_cameras_are_those_of_the_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    data = Path(__file__).resolve().parent.parent / "data"
    monkeypatch.syspath_prepend(str(data))
    from sample_scene import path

    names, cameras = sample_cameras()
    assert list(names) == path.names()
    np.testing.assert_allclose(cameras.cam_from_world, path.poses(), atol=1e-12)
    np.testing.assert_allclose(cameras.K[0], path.intrinsics())
    rotation = cameras.cam_from_world[:, :3, :3]
    np.testing.assert_allclose(
        rotation @ rotation.swapaxes(1, 2), np.broadcast_to(np.eye(3), rotation.shape), atol=1e-12
    )
    assert np.all(rotation[:, 1, 2] < -0.5)  # +Z of the world is up in the photo
    sys.modules.pop("sample_scene", None)


def test_z_maps_are_the_mesh_seen_by_the_cameras() -> None:
    names, cameras = sample_cameras()
    xyz, faces = sample_mesh()
    rng = np.random.default_rng(0)
    for name, z in sample_z().items():
        i = names.index(name)
        y, x = rng.integers(0, z.shape[0], 90), rng.integers(0, z.shape[1], 90)
        uv1 = np.concatenate([cameras.normalized(i, np.stack([x + 0.5, y + 0.5], -1)), np.ones((90, 1))], 1)
        cast = first_hits(cameras.centers[i], uv1 @ cameras.cam_from_world[i, :3, :3], xyz, faces)
        sky = np.isnan(z[y, x])
        seen = ~sky & np.isfinite(cast)
        off = np.abs(cast[seen] - z[y, x][seen])
        assert np.mean(off < 5e-4) > 0.97  # a ray may pass an edge on its other side
        assert np.median(off) < 1e-4
        assert np.isinf(cast[sky]).all() and np.isfinite(cast[~sky]).all()


def test_every_photo_sees_the_main_object() -> None:
    _, cameras = sample_cameras()
    xyz, faces = sample_mesh("hare")
    pixels, z = cameras.project(xyz)
    inside = np.all((pixels > 0) & (pixels < cameras.size[:, None]), -1) & (z > 0)
    assert np.all(inside.mean(1) > 0.99)
    assert 0.2 < np.ptp(xyz[:, 2]) < 0.4 and xyz[:, 2].min() > 0.74
    a, b, c = (xyz[faces[:, k]] for k in range(3))
    volume = np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6
    assert 0.5e-3 < volume < 5e-3  # closed, its faces look outwards
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), 1)
    assert np.all(np.unique(edges, axis=0, return_counts=True)[1] == 2)


def warp_correlation(photo: Array, other: Array, z: Array, cameras: Cameras, i: int, j: int, shift: float = 0) -> float:
    """How well pixels of the photo of camera i, moved by z and camera j (and `shift` pixels) into the other photo, match it."""
    y, x = np.mgrid[2 : z.shape[0] : 4, 2 : z.shape[1] : 4]
    origin, ways = cameras.rays(i, np.stack([x + 0.5, y + 0.5], -1))
    forward = ways @ cameras.cam_from_world[i, 2, :3]
    world = origin + ways * (z[y, x] / forward)[..., None]
    pixels, depth = cameras[j].project(np.nan_to_num(world.reshape(-1, 3)))
    at = np.nan_to_num(pixels[0].T[::-1], nan=-9.0) - 0.5 + shift
    ok = (at[0] > 0) & (at[0] < z.shape[0] - 1) & (at[1] > 0) & (at[1] < z.shape[1] - 1) & (depth[0] > 0)
    ok &= ~np.isnan(z[y, x].ravel())
    assert ok.sum() > 4000
    moved = ndimage.map_coordinates(other, at[:, ok], order=1)
    return float(np.corrcoef(photo[y, x].ravel()[ok], moved)[0, 1])


def test_photos_agree_with_their_cameras() -> None:
    names, cameras = sample_cameras()
    for name, z in sample_z().items():
        i = names.index(name)
        photo, other = gray(name), gray(names[i + 1])
        right = warp_correlation(photo, other, z, cameras, i, i + 1)
        assert right > 0.72, (name, right)  # what one photo sees and the other does not costs the rest
        assert warp_correlation(photo, other, z, cameras, i, i + 2) < 0.55  # another photo's camera
        assert warp_correlation(photo, other, z, cameras, i, i + 1, 1.0) < right - 0.01  # pixel centres off by one
        assert warp_correlation(photo, other, z, cameras, i, i + 1, -1.0) < right - 0.01


def test_a_missing_sample_and_an_unknown_part_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"unicorn.*hare"):
        sample_mesh("unicorn")
    assert sample_truth().parent == sample_photos().parent
    monkeypatch.setattr(recon.sample, "_PLACES", (tmp_path / "_sample", tmp_path / "data"))
    with pytest.raises(MissingPart, match="source checkout"):
        sample_photos()
    (tmp_path / "_sample" / "images").mkdir(parents=True)
    assert sample_photos() == tmp_path / "_sample" / "images"
