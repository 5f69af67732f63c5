"""Ingest: EXIF, cameras, split, masks, depth, fingerprint, and the real captures."""

import json
import math
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from recon.capture import load_capture
from recon.errors import InputError, WorkspaceError
from recon.exif import focal_pixels
from recon.ingest import IngestOptions, fingerprint, ingest
from recon.job import Job, NoProgress
from recon.photos import read_mask
from tests.photo_files import exif_bytes, run_ingest, write_picture, write_pictures

MAKE, MODEL, ORIENTATION = 0x010F, 0x0110, 0x0112
TIME, FNUMBER, ISO, TAKEN, SUBSEC, OFFSET = 0x829A, 0x829D, 0x8827, 0x9003, 0x9291, 0x9011
FOCAL, FOCAL35, LENS, SERIAL = 0x920A, 0xA405, 0xA434, 0xA431
WIDTH, HEIGHT, PLANE_X, PLANE_UNIT = 0xA002, 0xA003, 0xA20E, 0xA210


@pytest.mark.parametrize(
    ("tags", "size", "expected"),
    [
        ({FOCAL35: 36}, (3000, 2000), 3000.0),  # full frame is 36 mm wide
        ({FOCAL35: 36}, (2000, 3000), 3000.0),  # portrait
        ({FOCAL35: 36}, (3000, 1000), 3000.0),  # a crop in height
        ({FOCAL35: 28}, (4000, 3000), 28 / math.hypot(36, 24) * 5000),
        ({FOCAL35: 0}, (4000, 3000), math.nan),
        ({FOCAL: 50.0}, (3000, 2000), math.nan),  # of what sensor?
        ({FOCAL: 50.0, PLANE_X: 100.0, PLANE_UNIT: 4, WIDTH: 3600, HEIGHT: 2400}, (3600, 2400), 5000.0),
        ({FOCAL: 50.0, PLANE_X: 1000.0, PLANE_UNIT: 3, WIDTH: 3600, HEIGHT: 2400}, (1800, 1200), 2500.0),  # downscaled
        ({FOCAL: 50.0, PLANE_X: 2540.0, WIDTH: 3600, HEIGHT: 2400}, (3600, 2400), 5000.0),  # inches unless said
        ({FOCAL: 50.0, PLANE_X: 1.0, PLANE_UNIT: 4, WIDTH: 3600, HEIGHT: 2400}, (3600, 2400), math.nan),  # 3.6 m wide?
        ({FOCAL: 4.0, PLANE_X: 100.0, PLANE_UNIT: 4, WIDTH: 3600, HEIGHT: 2400, FOCAL35: 36}, (3600, 2400), 3600.0),
        ({FOCAL35: float("nan")}, (3000, 2000), math.nan),
        ({FOCAL35: "wide"}, (3000, 2000), math.nan),
    ],
)
def test_focal_length_in_pixels(tags: dict[int, Any], size: tuple[int, int], expected: float):
    assert focal_pixels(tags, size) == pytest.approx(expected, nan_ok=True)


def test_exif_of_photos(tmp_path: Path):
    gps = [
        {1: "N", 2: (48.0, 30.0, 36.0), 3: "E", 4: (11.0, 0.0, 9.0), 5: b"\0", 6: 512.5},
        {1: "S", 2: (33.0, 51.0, 0.0), 3: "W", 4: (70.0, 40.0, 30.0), 5: b"\1", 6: 3.0},
        {1: "N", 2: (0.0, 0.0, 0.0), 3: "E", 4: (0.0, 0.0, 0.0)},  # before the first fix
        {2: (48.0, 0.0, 0.0), 4: (11.0, 0.0, 0.0)},  # no hemispheres
        {1: "N", 2: (48.0, 30.5, 0.0), 3: "E", 4: (11.25, 0.0, 0.0)},
        {1: "N", 2: (98.0, 0.0, 0.0), 3: "E", 4: (11.0, 0.0, 0.0)},  # beyond the pole
    ]
    taken = ["2024:05:06 07:08:10", "2024:05:06 07:08:10", "2024:05:06 09:08:09", *["2024:05:06 07:08:12"] * 3]
    for i in range(6):
        photo = {TIME: 1 / 64, FNUMBER: 4.0, ISO: 100 << i, TAKEN: taken[i], SUBSEC: "25" if i == 1 else ""}
        photo |= {OFFSET: "+02:00" if i == 2 else "+00:00", FOCAL35: 36, LENS: "zoom"}
        top = {MAKE: "Maker\0\0", MODEL: "One", ORIENTATION: 6 if i == 5 else 1}
        write_picture(tmp_path / f"{i}.jpg", i, exif=exif_bytes(top, photo, gps[i]))
    capture, _ = run_ingest(tmp_path, tmp_path / "job")
    assert capture.time is not None
    np.testing.assert_allclose(capture.time, [1, 1.25, 0, 3, 3, 3])
    np.testing.assert_allclose(capture.exposure, math.log2(100 / 64 / 16) + np.arange(6))
    np.testing.assert_allclose(
        capture.focal_prior, 160 / 36 * 36 * math.hypot(160, 120) / 160 * 36 / math.hypot(36, 24)
    )
    assert capture.gps is not None
    nan = math.nan
    expected = [
        [48.51, 11.0025, 512.5],
        [-33.85, -70.675, -3],
        [nan] * 3,
        [nan] * 3,
        [48 + 30.5 / 60, 11.25, nan],
        [nan] * 3,
    ]
    np.testing.assert_allclose(capture.gps, expected, rtol=1e-9)
    assert capture.camera_id.tolist() == [0, 0, 0, 0, 0, 1]  # upright, the last is of another shape
    assert capture.size.tolist() == [[160, 120]] * 5 + [[120, 160]]


def test_photos_without_exif_know_nothing(tmp_path: Path):
    write_pictures(tmp_path, 3)
    capture, _ = run_ingest(tmp_path, tmp_path / "job")
    assert capture.time is None
    assert capture.gps is None
    assert capture.mask == ()
    assert capture.prior is None
    assert np.isnan(capture.focal_prior).all()
    assert np.isnan(capture.exposure).all()
    assert (capture.kind, capture.root) == ("photos", tmp_path)


def test_one_photo_without_a_time_leaves_no_times(tmp_path: Path):
    for i in range(3):
        write_picture(
            tmp_path / f"{i}.jpg", i, exif=exif_bytes({MAKE: "M"}, {TAKEN: "2024:05:06 07:08:10"} if i else {})
        )
    assert run_ingest(tmp_path, tmp_path / "job")[0].time is None


def test_cameras_are_told_apart(tmp_path: Path):
    tags = [
        ({MAKE: "A", MODEL: "x"}, {FOCAL: 4.0}, (160, 120)),
        ({MAKE: "A", MODEL: "x"}, {FOCAL: 4.0}, (160, 120)),
        ({MAKE: "A", MODEL: "x"}, {FOCAL: 5.0}, (160, 120)),  # zoomed
        ({MAKE: "A", MODEL: "x"}, {FOCAL: 4.0}, (120, 160)),  # turned
        ({MAKE: "A", MODEL: "x"}, {FOCAL: 4.0, SERIAL: "7"}, (160, 120)),  # its twin
        ({MAKE: "B", MODEL: "x"}, {FOCAL: 4.0}, (160, 120)),
        ({MAKE: "A", MODEL: "x"}, {FOCAL: 4.0, LENS: "wide"}, (160, 120)),
        (None, None, (160, 120)),
        (None, None, (160, 120)),
        (None, None, (200, 120)),
    ]
    for i, (top, photo, size) in enumerate(tags):
        exif = exif_bytes(top, photo) if top else b""
        write_picture(tmp_path / f"{i}.jpg", i, size, **({"exif": exif} if exif else {}))
    capture, job = run_ingest(tmp_path, tmp_path / "job")
    assert capture.camera_id.tolist() == [0, 0, 1, 2, 3, 4, 5, 6, 6, 7]
    assert job.metrics["cameras"] == 8


def test_split_and_what_is_stored(tmp_path: Path):
    write_pictures(tmp_path / "in", 17)
    capture, job = run_ingest(tmp_path / "in", tmp_path / "job")
    assert np.flatnonzero(capture.test).tolist() == [0, 8, 16]
    assert capture.protocol == "every 8th photo held out"
    assert (job.metrics["photos"], job.metrics["test"]) == (17, 3)
    again = load_capture(tmp_path / "job")
    assert (again.names, again.split, again.sha256) == (capture.names, capture.split, capture.sha256)
    assert not run_ingest(tmp_path / "in", tmp_path / "none", holdout="none")[0].test.any()
    (tmp_path / "in" / "good_003.jpg").unlink()
    (tmp_path / "in" / "good_004.jpg").unlink()
    few, _ = run_ingest(tmp_path / "in", tmp_path / "few")
    assert not few.test.any()
    assert "fewer than 16" in few.protocol


def test_a_skipped_photo_does_not_shift_the_split_of_names(tmp_path: Path):
    """The split counts usable names: with a broken first photo the second one is held out."""
    names = write_pictures(tmp_path, 17)
    (tmp_path / names[0]).write_bytes(b"")
    capture, _ = run_ingest(tmp_path, tmp_path / "job")
    assert [capture.names[i] for i in np.flatnonzero(capture.test)] == [names[1], names[9]]


def test_images_folder_is_preferred_and_said(tmp_path: Path):
    write_pictures(tmp_path / "images", 3)
    write_pictures(tmp_path / "images_2", 3, size=(80, 64))
    write_picture(tmp_path / "preview.jpg", 9)
    capture, job = run_ingest(tmp_path, tmp_path / "job")
    assert capture.root == tmp_path / "images"
    assert len(capture) == 3
    assert any("1 photo beside" in warning for warning in job.warnings)


def test_depth_images_are_no_photos(tmp_path: Path):
    for i in range(3):
        write_picture(tmp_path / f"{i}.color.jpg", i)
        Image.fromarray(np.full((120, 160), 900 + i, np.uint16)).save(tmp_path / f"{i}.depth.png")
    capture, _ = run_ingest(tmp_path, tmp_path / "job")
    assert capture.names == ("0.color.jpg", "1.color.jpg", "2.color.jpg")
    assert capture.depth == ("0.depth.png", "1.depth.png", "2.depth.png")


def test_fingerprint_is_of_contents(tmp_path: Path):
    def now(folder: str) -> str:
        return fingerprint(tmp_path / folder, IngestOptions())

    write_pictures(tmp_path / "a", 3)
    first = now("a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b" / "README").write_text("not a photo")
    assert now("b") == first  # neither the place nor other files count
    (tmp_path / "b" / "good_001.jpg").rename(tmp_path / "b" / "other.jpg")
    assert now("b") != first
    data = bytearray((tmp_path / "a" / "good_000.jpg").read_bytes())
    data[-3] ^= 1
    (tmp_path / "a" / "good_000.jpg").write_bytes(bytes(data))
    second = now("a")
    assert second != first
    write_picture(tmp_path / "a" / "masks" / "good_000.png")
    assert now("a") not in (first, second)


def test_a_damaged_stage_folder_is_said(tmp_path: Path):
    write_pictures(tmp_path / "in", 3)
    run_ingest(tmp_path / "in", tmp_path / "job")
    for name in ("capture.npz", "capture.json"):
        (tmp_path / "job" / name).write_bytes(b"garbage")
        with pytest.raises(WorkspaceError, match="damaged"):
            load_capture(tmp_path / "job")


def test_several_inputs_that_are_no_videos_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match="expected two different videos"):
        fingerprint((tmp_path, tmp_path), IngestOptions())


def write_mask(path: Path, size: tuple[int, int] = (160, 120), black_rows: int = 30) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.full((size[1], size[0]), 255, np.uint8)
    mask[:black_rows] = 0
    Image.fromarray(mask).save(path)


@pytest.mark.parametrize("place", ["in/masks/{}.jpg.png", "in/masks/{}.png", "masks/{}.jpg.png", "mask/{}.png"])
def test_masks_are_found(tmp_path: Path, place: str):
    folder = tmp_path / "in" / "images" if place.startswith("in") else tmp_path / "images"
    write_pictures(folder, 3)
    write_mask(tmp_path / place.format("good_001"))
    for source in (folder, folder.parent):
        capture, job = run_ingest(source, tmp_path / "job")
        assert job.warnings == []
        assert [bool(m) for m in capture.mask] == [False, True, False]
        path = capture.mask_path(1)
        assert path is not None
        use = read_mask(path, (160, 120))
        assert (use.sum(1) == 160 * (np.arange(120) >= 30)).all()


def test_masks_beside_photos_in_subfolders(tmp_path: Path):
    write_pictures(tmp_path / "a", 2)
    write_pictures(tmp_path / "b", 3, size=(200, 100))
    write_mask(tmp_path / "a" / "masks" / "good_000.png")
    write_mask(tmp_path / "masks" / "b" / "good_001.jpg.png", (100, 50), black_rows=10)  # half size
    capture, job = run_ingest(tmp_path, tmp_path / "job")
    assert job.warnings == []
    assert capture.mask == ("a/masks/good_000.png", None, None, "masks/b/good_001.jpg.png", None)
    path = capture.mask_path(3)
    assert path is not None
    assert (read_mask(path, (200, 100)).sum(1) == 200 * (np.arange(100) >= 20)).all()


class Heard(NoProgress):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.mark.parametrize("given", ["", "images"])
@pytest.mark.parametrize("linked", [False, True])
def test_what_lies_beside_images_is_found_and_said(tmp_path: Path, given: str, linked: bool):
    home = tmp_path / "in"
    write_pictures(tmp_path / "elsewhere" if linked else home / "images", 3)
    home.mkdir(exist_ok=True)
    if linked:
        (home / "images").symlink_to(tmp_path / "elsewhere")
        given = ""  # a link given by itself stands for what it leads to
    write_mask(home / "masks" / "good_001.png")
    for i in range(3):
        (home / "depth").mkdir(exist_ok=True)
        Image.fromarray(np.full((60, 80), 900 + i, np.uint16)).save(home / "depth" / f"good_{i:03d}.png")
    heard = Heard()
    capture = ingest(home / given, IngestOptions(), Job(tmp_path / "job", heard))
    assert capture.mask_path(1) == home / "masks/good_001.png"
    assert capture.depth == tuple(f"../depth/good_{i:03d}.png" for i in range(3))
    assert heard.lines == [
        f"Found masks of 1 of 3 photos in {home}/masks and depth images of 3 of 3 photos in {home}/depth.",
        "The error of the result will not be measured: no photo held out (fewer than 16 photos).",
    ]


def test_masks_of_other_names_are_said(tmp_path: Path):
    write_pictures(tmp_path / "images", 3)
    write_mask(tmp_path / "masks" / "other.png")
    capture, job = run_ingest(tmp_path, tmp_path / "job")
    assert capture.mask == ()
    assert [str(tmp_path / "masks") in w and "good_000.jpg.png" in w for w in job.warnings] == [True]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="closed to everybody but root")
def test_a_closed_folder_of_masks_is_said(tmp_path: Path):
    write_pictures(tmp_path / "images", 3)
    write_mask(tmp_path / "masks" / "good_001.png")
    (tmp_path / "masks").chmod(0)
    try:
        capture, job = run_ingest(tmp_path, tmp_path / "job")
    finally:
        (tmp_path / "masks").chmod(0o700)
    assert capture.mask == ()
    assert [f"{tmp_path / 'masks'} cannot be opened" in w for w in job.warnings] == [True]


@pytest.mark.parametrize("folder", ["masks", "mask", "depth", "depths"])
def test_fingerprint_is_of_masks_and_depth_too(tmp_path: Path, folder: str):
    write_pictures(tmp_path / "images", 3)
    seen = {fingerprint(tmp_path, IngestOptions())}
    for black_rows in (10, 20):
        write_mask(tmp_path / folder / "good_001.png", black_rows=black_rows)
        seen.add(fingerprint(tmp_path, IngestOptions()))
    write_mask(tmp_path / folder / "good_002.png", black_rows=20)
    seen.add(fingerprint(tmp_path, IngestOptions()))
    assert len(seen) == 4


def test_masks_that_do_not_fit_are_named(tmp_path: Path):
    write_pictures(tmp_path, 3)
    write_mask(tmp_path / "masks" / "good_000.png", (120, 160))
    (tmp_path / "masks" / "good_001.png").write_text("no mask")
    write_mask(tmp_path / "masks" / "good_002.png")
    capture, job = run_ingest(tmp_path, tmp_path / "job")
    assert capture.mask == (None, None, "masks/good_002.png")
    assert any("good_000.png" in w and "120x160, its photo 160x120" in w for w in job.warnings)
    assert any("good_001.png" in w and "no image" in w for w in job.warnings)


def test_fox(datasets: Path, tmp_path: Path):
    capture, job = run_ingest(datasets / "fox", tmp_path / "given")
    assert (len(capture), job.metrics["missing"], capture.kind) == (50, 17, "transforms")
    assert capture.prior is not None
    with open(datasets / "fox" / "transforms.json") as stream:
        by_name = {f["file_path"]: np.array(f["transform_matrix"]) for f in json.load(stream)["frames"]}
    centers = np.array([by_name[name][:3, 3] for name in capture.names])
    np.testing.assert_allclose(capture.prior.cameras.centers, centers, atol=1e-9)
    backward = np.array([by_name[name][:3, 2] for name in capture.names])
    np.testing.assert_allclose(capture.prior.cameras.cam_from_world[:, 2, :3], -backward, atol=1e-5)
    plain, _ = run_ingest(datasets / "fox" / "images", tmp_path / "plain")
    assert (len(plain), int(plain.test.sum()), plain.prior) == (50, 7, None)


def test_lego(datasets: Path, tmp_path: Path):
    capture, _ = run_ingest(datasets / "nerf_synthetic_lego_400", tmp_path / "job")
    assert (len(capture), int(capture.test.sum())) == (120, 20)
    assert capture.prior is not None
    pixels, z = capture.prior.cameras.project([[0.0, 0, 0]])
    assert (z > 0).all()
    assert np.abs(pixels[:, 0] - 200).max() < 40  # every camera looks about at the bulldozer


def test_berlin_masks_and_gps(datasets: Path, tmp_path: Path):
    capture, job = run_ingest(datasets / "opensfm_berlin", tmp_path / "job")
    assert (len(capture), job.metrics["masks"], job.metrics["gps"]) == (3, 3, 3)
    assert capture.gps is not None
    assert np.abs(capture.gps[:, :2] - [52.5189, 13.4003]).max() < 1e-3
    assert job.warnings == []


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("opensfm_lund", 29),
        ("middlebury_templeRing", 47),
        ("strecha2008_halfres/fountain-P11", 11),
        ("sevenscenes_rgbd_tsdf", 100),
    ],
)
def test_other_captures_pass_without_a_word(datasets: Path, tmp_path: Path, name: str, count: int):
    capture, job = run_ingest(datasets / name, tmp_path / "job")
    assert len(capture) == count
    assert job.warnings == []
    assert len(set(capture.camera_id.tolist())) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_folder_whose_name_is_no_utf8_is_named(tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path / "caf") + b"\xe9"))
    write_pictures(folder, 4)
    with pytest.raises(InputError, match=r"caf.*is not valid UTF-8"):
        run_ingest(folder, tmp_path / "out")


def test_photos_that_can_be_read_now_are_noticed(tmp_path, monkeypatch):
    """Whoever installs the package for HEIC must not be told that nothing has changed."""
    write_pictures(tmp_path, 3)
    (tmp_path / "phone.heic").write_bytes(b"heic")
    monkeypatch.setattr("recon.sources.reads_heic", lambda: True)
    before = fingerprint(tmp_path, IngestOptions())
    monkeypatch.setattr("recon.sources.reads_heic", lambda: False)
    assert fingerprint(tmp_path, IngestOptions()) != before
