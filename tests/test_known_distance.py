"""Metres from marked spots: exact through a distorted camera, weighted, and every way of getting it wrong."""

from dataclasses import replace

import numpy as np
import pytest

from recon.cameras import Cameras
from recon.capture import Capture
from recon.errors import InputError
from recon.geometry import Array
from recon.known_distance import KnownScale, known_scale, parse_distance, triangulate
from recon.sparse import SparseModel
from tests.posed import Posed, capture_of, ring

DISTORTION = np.array([-0.25, 0.08, 0.002, -0.001])
NAMES = ("a/IMG 01.jpg", "a/IMG 02.jpg", "b/Küche, 3.jpg", "b/IMG 02.jpg", "c=d.jpg", "x.jpg", "y.jpg", "z.jpg")


class Scene:
    """A ring of eight photos taken with a distorting lens, in a frame of unknown scale; spots in metres."""

    def __init__(self, lens: str = "opencv") -> None:
        self.place: Posed = ring(8, radius=4.0)
        self.model: SparseModel = replace(self.place.model, names=NAMES)
        k = self.model.cameras.K.copy()
        k[:, 0, 0] *= 1.3  # undistortion gave the pinhole cameras another focal length
        distortion = np.tile(DISTORTION if lens == "opencv" else np.array([0.05, -0.01, 0.002, 0.0]), (8, 1))
        cameras = replace(self.model.cameras, K=k, model=lens, distortion=distortion)
        self.photos = replace(self.model, cameras=cameras)
        self.capture: Capture = replace(
            capture_of(self.model), size=2 * self.model.cameras.size
        )  # photos are twice as large

    def pixel(self, photo: int, xyz: Array) -> Array:
        """Where a spot (metres) is in the original photo."""
        pixels, z = self.photos.cameras[photo].project(self.place.model_from_truth.apply(xyz)[None])
        assert z[0, 0] > 0
        return 2 * pixels[0, 0]

    def text(
        self, a: Array, b: Array, metres: float, photos: tuple[int, ...] = (0, 2, 3), noise: Array | None = None
    ) -> str:
        sides = []
        for i, spot in enumerate((a, b)):
            marks = []
            for j in photos:
                x, y = self.pixel(j, np.asarray(spot, float)) + (0 if noise is None else noise[i, j])
                marks.append(f"{x:.9f},{y:.9f}@{NAMES[j]}")
            sides.append(" ".join(marks))
        return f"{' | '.join(sides)} = {metres}"

    def scale(self, *texts: str, left_out: dict[str, str] | None = None) -> KnownScale:
        return known_scale(texts, self.capture, self.model, self.photos, left_out or {})

    @property
    def expected(self) -> float:
        return 1 / self.place.model_from_truth.scale


A, B, C = np.array([0.0, 0, 1]), np.array([0.5, 0.3, 1.2]), np.array([-0.4, 0.6, 0.7])


def length(a: Array, b: Array) -> float:
    return float(np.linalg.norm(a - b))


@pytest.mark.parametrize("lens", ["opencv", "fisheye"])
def test_exact_through_a_distorted_camera(lens: str):
    scene = Scene(lens)
    known = scene.scale(scene.text(A, B, length(A, B)))
    assert known.scale == pytest.approx(scene.expected, rel=1e-6)
    (evidence,) = known.evidence
    assert evidence["measured"] == pytest.approx(length(A, B), rel=1e-6)
    assert evidence["miss_pixels"] < 1e-3 and abs(evidence["difference_percent"]) < 1e-4
    pinhole = known_scale((scene.text(A, B, 1.0),), scene.capture, scene.model, replace(scene.model), {})
    assert abs(pinhole.scale * length(A, B) / scene.expected - 1) > 0.05  # the lens matters


def test_marks_of_a_pixel_give_the_error_that_is_said():
    scene, rng, z = Scene(), np.random.default_rng(0), []
    for _ in range(60):
        known = scene.scale(scene.text(A, B, length(A, B), noise=rng.normal(size=(2, 8, 2))))
        z.append(np.log(known.scale / scene.expected) / known.error)
    assert 0.3 < np.sqrt(np.mean(np.square(z))) < 1.3  # the tape's share of the error is not drawn here


def test_several_distances_are_weighted():
    scene = Scene()
    far, near = A + np.array([0.01, 0, 0]), B
    texts = scene.text(A, far, 0.011), scene.text(A, near, length(A, near)), scene.text(A, C, length(A, C))
    known = scene.scale(*texts)
    assert known.scale == pytest.approx(scene.expected, rel=0.005)  # one centimetre, 10 % off, weighs little
    assert [e["text"] for e in known.evidence] == list(texts)
    assert abs(known.evidence[0]["difference_percent"]) > 5 > 1 > abs(known.evidence[1]["difference_percent"])


def test_distances_that_contradict_each_other():
    scene = Scene()
    good = scene.text(A, B, length(A, B)), scene.text(A, C, length(A, C))
    bad = scene.text(B, C, 1.2 * length(B, C))
    with pytest.raises(InputError, match="contradict") as error:
        scene.scale(*good, bad)
    assert bad in str(error.value) and f"{length(B, C):.2f}" in str(error.value)
    assert scene.scale(*good, scene.text(B, C, 1.02 * length(B, C))).scale == pytest.approx(scene.expected, rel=0.02)
    with pytest.raises(InputError, match="the other says"):
        scene.scale(good[0], bad)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1,2@x.jpg 3,4@y.jpg | 5,6@x.jpg 7,8@y.jpg", "no = with the distance"),
        ("1,2@x.jpg 3,4@y.jpg | 5,6@x.jpg 7,8@y.jpg = far", "no length"),
        ("1,2@x.jpg 3,4@y.jpg | 5,6@x.jpg 7,8@y.jpg = 3 miles", "no length"),
        ("1,2@x.jpg 3,4@y.jpg | 5,6@x.jpg 7,8@y.jpg = 0", "above 0"),
        ("1,2@x.jpg 3,4@y.jpg = 2", "one |"),
        ("1,2@x.jpg | 5,6@x.jpg 7,8@y.jpg = 2", "first spot is marked in one photo"),
        ("1,2@x.jpg 3,4@y.jpg | 5,6@x.jpg = 2", "second spot is marked in one photo"),
        ("1;2@x.jpg 3,4@y.jpg | 5,6@x.jpg 7,8@y.jpg = 2", "no list of"),
        ("1,2@x.jpg 3,4@ | 5,6@x.jpg 7,8@y.jpg = 2", "no list of"),
        ("", "no ="),
    ],
)
def test_what_cannot_be_read_shows_an_example(text: str, says: str):
    with pytest.raises(InputError) as error:
        parse_distance(text)
    assert says in str(error.value)
    assert '"812,440@A.jpg 90,410@B.jpg | 300,222@A.jpg 640,231@B.jpg = 1.25"' in str(error.value)


def test_reading_marks_names_and_units():
    got = parse_distance(" 812,440@my photo 1.jpg  9.5 , -3@c=d.jpg | 0,0@Küche, 3.jpg 1.,2@y.jpg 7,8@z.jpg =125 cm ")
    assert got.metres == pytest.approx(1.25)
    first, second = got.spots
    assert [m.photo for m in first] == ["my photo 1.jpg", "c=d.jpg"]
    assert [m.xy for m in first] == [(812.5, 440.5), (9.5, -2.5)]  # whole numbers name a pixel and mean its centre
    assert [m.photo for m in second] == ["Küche, 3.jpg", "y.jpg", "z.jpg"]
    assert second[1].xy == (1.0, 2.5)
    assert parse_distance("1,2@a 3,4@b | 1,2@a 3,4@b = 4 ft").metres == pytest.approx(1.2192)
    assert parse_distance("1,2@a 3,4@b | 1,2@a 3,4@b = .5").metres == 0.5


def test_photos_that_are_not_there():
    scene = Scene()
    text = scene.text(A, B, 1.0)
    with pytest.raises(InputError, match=r"no photo Kuche, 3\.jpg.*Did you mean b/Küche, 3\.jpg"):
        scene.scale(text.replace("b/Küche, 3.jpg", "Kuche, 3.jpg"))
    with pytest.raises(InputError, match=r"Several photos are called IMG 02\.jpg"):
        scene.scale(text.replace("b/IMG 02.jpg", "IMG 02.jpg"))
    short = scene.scale(text.replace("b/Küche, 3.jpg", "Küche, 3.jpg"))
    assert short.scale == pytest.approx(scene.scale(text).scale)
    scene.model = scene.model.select([0, 1, 3, 4, 5, 6, 7])
    with pytest.raises(InputError, match=r"Küche, 3\.jpg stayed out of the reconstruction \(too blurred\).*first spot"):
        scene.scale(text, left_out={"b/Küche, 3.jpg": "too blurred"})


def test_marks_that_cannot_be_right():
    scene = Scene()
    text = scene.text(A, B, 1.0, (0, 2))
    first = text.split("@")[0]
    with pytest.raises(InputError, match=r"outside of a/IMG 01\.jpg, which is 1280 x 960"):
        scene.scale(text.replace(first, "1281,5", 1))
    x, y = (float(v) for v in first.split(","))
    with pytest.raises(InputError, match=r"do not meet: they miss each other by \d+ pixels"):
        scene.scale(text.replace(first, f"{x},{y + 120}", 1))
    with pytest.raises(InputError, match="marked twice"):
        scene.scale(text.replace(NAMES[2], NAMES[0], 1))
    with pytest.raises(InputError, match="closer together than their marks"):
        scene.scale(scene.text(A, A + 1e-4, 1.0))


def test_rays_that_are_nearly_parallel():
    scene = Scene()
    poses = scene.model.cameras.cam_from_world.copy()
    poses[1] = poses[0]
    poses[1, 0, 3] += 0.002 * np.linalg.norm(poses[0, :3, 3])
    for name in ("model", "photos"):
        old: SparseModel = getattr(scene, name)
        setattr(scene, name, replace(old, cameras=replace(old.cameras, cam_from_world=poses)))
    with pytest.raises(InputError, match=r"meet at 0\.\d+ degrees.*a/IMG 01\.jpg and a/IMG 02\.jpg"):
        scene.scale(scene.text(A, B, 1.0, (0, 1)))


def test_triangulation_is_the_least_squares_of_pixels():
    """Its covariance against what noise does, and a point behind a camera is a miss."""
    scene, rng = Scene(), np.random.default_rng(2)
    cameras: Cameras = scene.place.truth.cameras[[0, 1, 3]]
    focal = cameras.K[:, [0, 1], [0, 1]]
    pixels = cameras.project(A[None])[0][:, 0]
    found = []
    for _ in range(400):
        noisy = pixels + rng.normal(size=(3, 2))
        spot = triangulate(cameras, np.stack([cameras.normalized(i, noisy[i]) for i in range(3)]), focal)
        found.append(spot.xyz)
    exact = triangulate(cameras, np.stack([cameras.normalized(i, pixels[i]) for i in range(3)]), focal)
    np.testing.assert_allclose(exact.xyz, A, atol=1e-9)
    np.testing.assert_allclose(np.mean(found, 0), A, atol=3e-3)
    ratio = np.sqrt(np.diag(np.cov(np.array(found).T)) / np.diag(exact.covariance))
    assert (np.abs(ratio - 1) < 0.15).all()
    far = replace(cameras, cam_from_world=cameras.cam_from_world.copy())
    far.cam_from_world[0, :3, 3] *= 20  # one camera is much further away: its rays must count for little
    seen = far.project(A[None])[0][:, 0] + rng.normal(size=(3, 2)) * 3
    spot = triangulate(far, np.stack([far.normalized(i, seen[i]) for i in range(3)]), far.K[:, [0, 1], [0, 1]])
    cost = lambda xyz: float(((far.project(xyz[None])[0][:, 0] - seen) ** 2).sum())  # noqa: E731
    assert all(cost(spot.xyz + step) > cost(spot.xyz) for step in [*np.eye(3) * 1e-4, *-np.eye(3) * 1e-4])
    turned = cameras.cam_from_world.copy()
    turned[0, [0, 2]] *= -1  # looks the other way: the spot is behind it
    behind = triangulate(replace(cameras, cam_from_world=turned), np.tile([0.01, 0.02], (3, 1)), focal)
    assert not behind.miss < 1e6 or behind.miss > 10
