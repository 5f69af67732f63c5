"""Panoramas: things at known directions, faces that join without a seam, metadata, places."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from recon.errors import InputError
from recon.geometry import World
from recon.workspace import Workspace
from render.splats import SH_C0
from tests.fabricate import splat_columns, write_scene
from tests.film_scene import NAMES, whole
from tests.path_cases import around
from viewer.options import RenderOptions
from viewer.panorama import FACES, equirectangular, face_camera, level, panorama, standpoint, xmp_of
from viewer.paths import CameraPath, write_path


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return whole(tmp_path_factory.mktemp("panorama") / "ws")


def blobs() -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Small coloured balls all around the origin, at 3 units: columns and unit directions in the world."""
    rng = np.random.default_rng(0)
    chosen = [[0, 0, 1], [0, 0, -1], [np.sqrt(0.5), np.sqrt(0.5), 0], [-1, 0, 0]]
    while len(chosen) < 24:
        d = rng.normal(size=3)
        d /= np.linalg.norm(d)
        if max(d @ np.array(chosen).T) < np.cos(0.3):  # apart, so that each can be measured alone
            chosen.append(d.tolist())
    direction = np.array(chosen)
    columns = {name: column[:24] for name, column in splat_columns(24).items()}
    columns["mean"] = (3 * direction).astype(np.float32)
    columns["log_scale"] = np.full((24, 3), np.log(0.08), np.float32)
    columns["opacity_logit"] = np.full(24, 6, np.float32)
    columns["sh"] = np.zeros((24, 4, 3), np.float32)
    columns["sh"][:, 0] = (rng.uniform(0.3, 1, (24, 3)) - 0.5) / SH_C0
    return columns, direction


def test_a_panorama_shows_each_thing_where_it_is(tmp_path):
    ws = whole(tmp_path / "ws")
    columns, direction = blobs()
    write_scene(ws / "train" / "main" / "scene.npz", columns, World(up="estimated"))
    out = panorama(
        Workspace(ws), RenderOptions(panorama=tmp_path / "p.png", place="0,0,0", long_side=512, device="cpu")
    )
    picture = cv2.imread(str(out))[..., ::-1].astype(float)
    assert picture.shape == (256, 512, 3)
    for d, color in zip(direction, 0.5 + SH_C0 * columns["sh"][:, 0], strict=True):
        u = (np.arctan2(d[0], d[1]) / (2 * np.pi) + 0.5) * 512  # facing +Y, the right hand is +X
        v = (0.5 - np.arcsin(d[2]) / np.pi) * 256
        rows, columns_ = np.clip(np.arange(int(v) - 6, int(v) + 7), 0, 255), np.arange(int(u) - 6, int(u) + 7)
        window = picture[rows][:, columns_ % 512]
        assert np.abs(window.max((0, 1)) - 255 * color).max() < 0.12 * 255 * color.max(), (
            d,
            window.max((0, 1)),
            255 * color,
        )
        if abs(d[2]) < 0.6:  # nearer to the poles they are wide
            weight = window.sum(-1) / window.sum()
            np.testing.assert_allclose(weight.sum(0) @ (columns_ + 0.5), u, atol=0.3)
            np.testing.assert_allclose(weight.sum(1) @ (rows + 0.5), v, atol=0.3)


def test_faces_join_without_a_seam():
    """Faces filled from a smooth function of direction give that function back, everywhere."""
    width, r = 512, np.eye(3)
    faces = {name: smooth(face_camera(name, r, np.zeros(3), width).rays(0)[1]) for name in FACES}
    found = equirectangular(faces, width)
    lon, lat = ((np.arange(512) + 0.5) / 512 - 0.5) * 2 * np.pi, (0.5 - (np.arange(256) + 0.5) / 256) * np.pi
    lat, lon = np.meshgrid(lat, lon, indexing="ij")
    truth = smooth(np.stack([np.cos(lat) * np.sin(lon), -np.sin(lat), np.cos(lat) * np.cos(lon)], -1))
    assert np.abs(found - truth).max() < 2e-3


def smooth(direction: np.ndarray) -> np.ndarray:
    return (0.5 + 0.4 * np.sin(3 * direction + np.array([0.3, 1.0, 2.0]))).astype(np.float32)


def test_a_real_scene_has_no_seam(root, tmp_path):
    """Jumps between neighbouring pixels at the seams are no larger than elsewhere."""
    options = RenderOptions(panorama=tmp_path / "p.png", place="0.1,0.05,0.2", long_side=512, device="cpu")
    picture = cv2.imread(str(panorama(Workspace(root), options))).astype(float)
    jump = np.abs(np.diff(np.concatenate([picture, picture[:, :1]], 1), axis=1))[80:176].mean((0, 2))
    seams = [63, 64, 191, 192, 319, 320, 447, 448, 511]
    assert jump[seams].max() < 1.5 * np.quantile(jump, 0.95)


def test_viewers_know_a_panorama(root, tmp_path):
    for name in ("p.jpg", "p.png"):
        out = panorama(Workspace(root), RenderOptions(panorama=tmp_path / name, long_side=64, device="cpu"))
        picture = Image.open(io.BytesIO(out.read_bytes()))
        picture.load()
        xmp = picture.info.get("xmp") or picture.info.get("XML:com.adobe.xmp")
        text = xmp.decode() if isinstance(xmp, bytes) else xmp
        assert picture.size == (64, 32) and "<GPano:ProjectionType>equirectangular<" in text
        assert text == xmp_of(64, 32).decode() and "<GPano:FullPanoWidthPixels>64<" in text
        panorama(Workspace(root), RenderOptions(panorama=out, long_side=32, device="cpu"))
        assert Image.open(out).size == (32, 16), "one of ours is replaced"
    (tmp_path / "mine.jpg").write_bytes(cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    with pytest.raises(InputError, match="no panorama of recon's"):
        panorama(Workspace(root), RenderOptions(panorama=tmp_path / "mine.jpg", long_side=64))


def test_panoramas_stand_where_they_are_told(root, tmp_path):
    model = Workspace(root).load("align").model
    path = CameraPath(np.array([0.0, 1.0]), around(8)[:2], np.full(2, 50.0))
    write_path(tmp_path / "p.json", path)
    own = str(tmp_path / "p.json")
    place = lambda **o: standpoint(model, RenderOptions(panorama=Path("p.jpg"), **o))  # noqa: E731
    np.testing.assert_allclose(place(place=NAMES[3])[1], model.cameras.centers[3])
    np.testing.assert_allclose(
        place(path=own, place="1")[1], 3 * np.array([np.cos(np.pi / 4), np.sin(np.pi / 4), 1 / 3])
    )
    np.testing.assert_allclose(place(place="1,-2,3.5")[1], [1, -2, 3.5])
    assert any(np.allclose(place()[1], c) for c in model.cameras.centers)
    with pytest.raises(InputError, match="keyframes 0 to 1"):
        place(path=own, place="2")
    for other in (NAMES[3], "1,-2,3.5"):
        with pytest.raises(InputError, match=f"does nothing with --place {other}.* keyframe, 0 to 1"):
            place(path=own, place=other)
    facing = place(place=NAMES[0])[0]
    np.testing.assert_allclose(facing @ facing.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(facing[1], [0, 0, -1], atol=1e-12)
    assert facing[2] @ model.cameras.world_from_cam[0, :3, 2] > 0.9
    down = np.diag([1.0, -1, -1, 1])  # looks straight down, the top of its picture to +Y
    np.testing.assert_allclose(level(down, np.array([0, 0, 1.0]))[2], [0, 1, 0], atol=1e-12)
