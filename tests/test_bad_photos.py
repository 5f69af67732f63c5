"""Photos with real damage, and photos of every odd but sound kind: each ends in a result or in an error that names the file."""

import os
import re
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from recon.errors import InputError
from recon.photos import read_photo
from tests.photo_files import exif_bytes, picture, run_ingest, write_picture, write_pictures


def jpeg(path: Path, seed: int = 5) -> bytes:
    write_picture(path, seed, (320, 240))
    return path.read_bytes()


def cut(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def truncated_jpeg(path: Path) -> None:
    jpeg(path)
    cut(path, 0.6)


def nearly_whole_jpeg(path: Path) -> None:
    path.write_bytes(jpeg(path)[:-2])


def jpeg_closed_too_early(path: Path) -> None:
    data = jpeg(path)
    path.write_bytes(data[: len(data) // 2] + b"\xff\xd9")


def jpeg_with_noise(path: Path) -> None:
    data = jpeg(path)
    middle, noise = len(data) // 2, np.random.default_rng(0).integers(0, 256, 2048, dtype=np.uint8).tobytes()
    path.write_bytes(data[:middle] + noise + data[middle + 2048 :])


def truncated_png(path: Path) -> None:
    write_picture(path.with_suffix(".png"), 5, (320, 240))
    path.with_suffix(".png").rename(path)
    cut(path, 0.6)


def lab_tiff(path: Path) -> None:
    Image.merge("LAB", [Image.fromarray(picture()[..., i]) for i in range(3)]).save(path, format="TIFF")


DAMAGE: list[tuple[str, Callable[[Path], object], str]] = [
    ("truncated.jpg", truncated_jpeg, "truncated"),
    ("nearly whole.jpg", nearly_whole_jpeg, "truncated"),
    ("closed early.jpg", jpeg_closed_too_early, "damaged: its last"),
    ("noise.jpg", jpeg_with_noise, "damaged"),
    ("truncated.png", truncated_png, "truncated"),
    ("empty.jpg", lambda p: p.write_bytes(b""), r"empty \(0 bytes\)"),
    ("text.jpg", lambda p: p.write_text("this is no photo\n"), "no image"),
    ("page.png", lambda p: p.write_text("<html>404</html>"), "no image"),
    ("one.png", lambda p: write_picture(p, 1, (1, 1)), "1x1 pixels; at least 64x64"),
    ("strip.png", lambda p: write_picture(p, 1, (400, 40)), "400x40 pixels"),
    ("float.tif", lambda p: Image.fromarray(np.ones((90, 90), np.float32)).save(p), "of the kind F"),
    ("lab.tif", lab_tiff, "of the kind LAB"),
    ("nowhere.jpg", lambda p: p.symlink_to(p.with_name("gone.jpg")), "does not exist"),
]


@pytest.mark.parametrize(("name", "make", "reason"), DAMAGE, ids=[d[0] for d in DAMAGE])
def test_a_damaged_photo_is_named_and_skipped(tmp_path: Path, name: str, make: Callable[[Path], object], reason: str):
    good = write_pictures(tmp_path / "in", 3)
    make(tmp_path / "in" / name)
    capture, job = run_ingest(tmp_path / "in", tmp_path / "job")
    assert list(capture.names) == good
    assert list(job.metrics["skipped"]) == [name]
    assert any(w.startswith(f"{name} skipped: ") for w in job.warnings)
    assert re.search(reason, job.metrics["skipped"][name])


def test_all_kinds_of_damage_at_once(tmp_path: Path):
    good = write_pictures(tmp_path / "in", 4)
    for name, make, _ in DAMAGE:
        make(tmp_path / "in" / name)
    capture, job = run_ingest(tmp_path / "in", tmp_path / "job")
    assert list(capture.names) == good
    assert set(job.metrics["skipped"]) == {name for name, _, _ in DAMAGE}
    assert "3 more photos skipped" in job.warnings[-1]


def grey16(path: Path, seed: int) -> np.ndarray:
    values = picture(seed)[..., 0].astype(np.uint16) * 257 + np.arange(160, dtype=np.uint16) % 3
    Image.fromarray(values).save(path)
    return np.repeat((values >> 8).astype(np.uint8)[..., None], 3, -1)


def colour16(path: Path, seed: int) -> np.ndarray:
    import cv2

    pixels = picture(seed)
    assert cv2.imwrite(str(path), pixels[..., ::-1].astype(np.uint16) * 256 + 200)
    return pixels


def converted(mode: str) -> Callable[[Path, int], np.ndarray]:
    def make(path: Path, seed: int) -> np.ndarray:
        image = Image.fromarray(picture(seed)).convert(mode)
        image.save(path)
        return np.asarray(image.convert("RGB"))

    return make


def matte(path: Path, seed: int) -> np.ndarray:
    rgba = np.dstack([picture(seed), np.full((120, 160), 255, np.uint8)])
    rgba[:40, :, 3] = 0
    rgba[40:50, :, 3] = 100
    Image.fromarray(rgba).save(path)
    return rgba


def full_alpha(path: Path, seed: int) -> np.ndarray:
    Image.fromarray(np.dstack([picture(seed), np.full((120, 160), 255, np.uint8)])).save(path)
    return picture(seed)


def grey_alpha(path: Path, seed: int) -> np.ndarray:
    grey, alpha = picture(seed)[..., 0], picture(seed + 50)[..., 0]
    Image.fromarray(np.dstack([grey, alpha])).save(path)
    return np.dstack([grey, grey, grey, alpha])


def see_through_palette(path: Path, seed: int) -> np.ndarray:
    image = Image.fromarray(picture(seed)).convert("P")
    image.save(path, transparency=int(np.asarray(image)[0, 0]))
    return np.asarray(Image.open(path).convert("RGBA"))


def cmyk(path: Path, seed: int) -> np.ndarray:
    Image.fromarray(picture(seed)).convert("CMYK").save(path, quality=98)
    return picture(seed)


def plain(path: Path, seed: int) -> np.ndarray:
    return write_picture(path, seed)


KINDS: list[tuple[str, Callable[[Path, int], np.ndarray], float]] = [
    ("plain.PNG", plain, 0),
    ("plain.tiff", plain, 0),
    ("plain.bmp", plain, 0),
    ("plain.ppm", plain, 0),
    ("plain.webp", lambda p, s: write_picture(p, s, lossless=True), 0),
    ("plain.JPG", plain, 4),
    ("cmyk.jpg", cmyk, 4),
    ("grey.jpg", lambda p, s: converted("L")(p, s), 2),
    ("grey.png", converted("L"), 0),
    ("black and white.png", converted("1"), 0),
    ("palette.png", converted("P"), 0),
    ("palette with a clear colour.png", see_through_palette, 0),
    ("grey 16.png", grey16, 0),
    ("grey 16.tif", grey16, 0),
    ("colour 16.png", colour16, 0),
    ("colour 16.tif", colour16, 0),
    ("matte.png", matte, 0),
    ("full alpha.png", full_alpha, 0),
    ("grey alpha.png", grey_alpha, 0),
]


def test_every_sound_kind_is_read_as_it_is(tmp_path: Path):
    truth = {name: make(tmp_path / name, 10 + i) for i, (name, make, _) in enumerate(KINDS)}
    capture, job = run_ingest(tmp_path, tmp_path / "job")
    assert set(capture.names) == set(truth)
    assert job.metrics["skipped"] == {}
    tolerance = {name: t for name, _, t in KINDS}
    for i, name in enumerate(capture.names):
        read = read_photo(capture.photo(i), int(capture.orientation[i]))
        assert read.dtype == np.uint8
        assert read.shape == truth[name].shape, name
        assert np.abs(read.astype(int) - truth[name]).mean() <= tolerance[name], name
        assert (read.shape[1], read.shape[0]) == tuple(capture.size[i])


def test_the_grey_damage_check_passes_grey_pictures(tmp_path: Path):
    for i, (top, bottom) in enumerate([(128, 128), (128, 60), (200, 127)]):
        pixels = np.full((128, 160, 3), bottom, np.uint8)
        pixels[:64] = top
        pixels[60:68, 10 * i : 10 * i + 40] = 30
        Image.fromarray(pixels).save(tmp_path / f"{i}.jpg")
    capture, _ = run_ingest(tmp_path, tmp_path / "job")
    assert len(capture) == 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_as_pillow_does(tmp_path: Path, orientation: int):
    for i in range(3):
        write_picture(tmp_path / f"{i}.png", i, (160, 100), exif=exif_bytes({0x0112: orientation}))
    capture, _ = run_ingest(tmp_path, tmp_path / "job")
    with Image.open(tmp_path / "1.png") as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    assert capture.orientation.tolist() == [orientation] * 3
    np.testing.assert_array_equal(read_photo(capture.photo(1), orientation), expected)
    assert tuple(capture.size[1]) == (expected.shape[1], expected.shape[0])


def test_a_nonsense_orientation_counts_as_upright(tmp_path: Path):
    for i in range(3):
        write_picture(tmp_path / f"{i}.jpg", i, exif=exif_bytes({0x0112: 77}))
    capture, _ = run_ingest(tmp_path, tmp_path / "job")
    assert capture.orientation.tolist() == [1, 1, 1]


def test_photos_with_damaged_exif_are_used(tmp_path: Path):
    block = exif_bytes({0x010F: "Maker", 0x0112: 6}, {0x920A: 4.2, 0xA405: 28})
    for i, at in enumerate((8, 10, 14, 20, 30, 40, 60, 80, 90)):
        write_picture(tmp_path / f"noise_{at}.jpg", i, exif=block[:at] + b"\xff" * (len(block) - at))
        write_picture(tmp_path / f"short_{at}.jpg", 20 + i, exif=block[:at])
    capture, job = run_ingest(tmp_path, tmp_path / "job")
    assert len(capture) == 18
    assert job.metrics["skipped"] == {}


def test_exif_that_pillow_cannot_parse_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(image: object) -> None:
        raise SyntaxError("not a TIFF file")

    write_pictures(tmp_path, 3)
    monkeypatch.setattr(Image.Image, "getexif", fail)
    capture, job = run_ingest(tmp_path, tmp_path / "job")
    assert len(capture) == 3
    assert any("EXIF of 3 photos is damaged" in warning for warning in job.warnings)


def test_a_hundred_megapixels(tmp_path: Path):
    write_pictures(tmp_path, 2)
    Image.new("1", (10_000, 10_000), 1).save(tmp_path / "huge.png")
    capture, job = run_ingest(tmp_path, tmp_path / "job")
    assert capture.size[-1].tolist() == [10_000, 10_000]
    assert job.warnings == []


def test_more_pixels_than_any_photo_has(tmp_path: Path):
    write_pictures(tmp_path, 3)
    data = bytearray((write_picture(tmp_path / "bomb.png", 1), (tmp_path / "bomb.png").read_bytes())[1])
    data[16:24] = (60_000).to_bytes(4, "big") * 2  # IHDR's width and height
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    (tmp_path / "bomb.png").write_bytes(bytes(data))
    _, job = run_ingest(tmp_path, tmp_path / "job")
    assert "60000x60000" in job.metrics["skipped"]["bomb.png"]


def test_duplicates_are_named_with_their_original(tmp_path: Path):
    write_pictures(tmp_path, 4)
    shutil.copy(tmp_path / "good_001.jpg", tmp_path / "a copy.jpg")
    shutil.copy(tmp_path / "good_001.jpg", tmp_path / "z.jpg")
    capture, job = run_ingest(tmp_path, tmp_path / "job")
    assert capture.names == ("a copy.jpg", "good_000.jpg", "good_002.jpg", "good_003.jpg")
    assert job.metrics["skipped"] == {
        "good_001.jpg": "it is a copy of a copy.jpg",
        "z.jpg": "it is a copy of a copy.jpg",
    }


def test_all_photos_identical(tmp_path: Path):
    for i in range(5):
        write_picture(tmp_path / f"{i}.jpg", 1)
    with pytest.raises(
        InputError, match=r"(?s)1 usable photo in .*at least 3 are needed.*4\.jpg: it is a copy of 0\.jpg"
    ):
        run_ingest(tmp_path, tmp_path / "job")


def test_two_photos_only(tmp_path: Path):
    write_pictures(tmp_path, 2)
    (tmp_path / "broken.jpg").write_bytes(b"")
    with pytest.raises(InputError, match=r"(?s)2 usable photos in .*at least 3.*broken\.jpg: the file is empty"):
        run_ingest(tmp_path, tmp_path / "job")


def test_no_photo_at_all(tmp_path: Path):
    (tmp_path / "README.txt").write_text("nothing here")
    with pytest.raises(InputError, match=r"0 usable photos .*Expected JPEG"):
        run_ingest(tmp_path, tmp_path / "job")
    with pytest.raises(InputError, match="does not exist"):
        run_ingest(tmp_path / "nowhere", tmp_path / "job")
    with pytest.raises(InputError, match="is one photo"):
        run_ingest(tmp_path / write_pictures(tmp_path, 1)[0], tmp_path / "job")
    with pytest.raises(InputError, match=r"a \.txt file"):
        run_ingest(tmp_path / "README.txt", tmp_path / "job")


def test_files_that_are_no_photos_by_their_name_are_passed_over_in_silence(tmp_path: Path):
    good = write_pictures(tmp_path / "in", 3)
    for name in ("K.txt", "README", "a.json", ".hidden.jpg", "._good_000.jpg", "Thumbs.db"):
        (tmp_path / "in" / name).write_text("1 0 0")
    for folder in (".trash", "masks", "depth", "__MACOSX"):
        (tmp_path / "in" / folder).mkdir()
        (tmp_path / "in" / folder / "x.jpg").write_text("no")
    (tmp_path / "in" / "work" / "sfm").mkdir(parents=True)
    (tmp_path / "in" / "work" / "recon.json").write_text("{}")
    write_picture(tmp_path / "in" / "work" / "sfm" / "own.png", 9)
    capture, job = run_ingest(tmp_path / "in", tmp_path / "job")
    assert list(capture.names) == good
    assert [str(tmp_path / "in" / "masks") in warning for warning in job.warnings] == [True], (
        "masks of nothing are said"
    )
    assert job.metrics["skipped"] == {}


def test_names_with_spaces_unicode_and_folders_in_code_point_order(tmp_path: Path):
    names = ["Straße 1/größer.jpg", "b c/d e.jpg", "日本/写真.png", "B.jpg", "a.jpg", "é.jpg", "#1 50%.jpg"]
    for i, name in enumerate(names):
        write_picture(tmp_path / "in" / name, i)
    capture, _ = run_ingest(tmp_path / "in", tmp_path / "job")
    assert list(capture.names) == sorted(names)
    assert all(capture.photo(i).is_file() for i in range(len(capture)))
    np.testing.assert_array_equal(read_photo(capture.photo(capture.names.index("日本/写真.png"))), picture(2))


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes on POSIX only")
def test_a_name_that_is_no_text(tmp_path: Path):
    write_pictures(tmp_path, 3)
    shutil.copy(tmp_path / "good_000.jpg", os.fsencode(tmp_path) + b"/\xff\xfe.jpg")
    _, job = run_ingest(tmp_path, tmp_path / "job")
    assert job.metrics["skipped"] == {"\\udcff\\udcfe.jpg": "its name is not valid UTF-8; rename it"}


@pytest.mark.skipif(os.name != "posix", reason="links need rights on Windows")
def test_links_are_followed_and_circles_end(tmp_path: Path):
    write_pictures(tmp_path / "far", 3)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").symlink_to(tmp_path / "far" / "good_000.jpg")
    (tmp_path / "in" / "folder").symlink_to(tmp_path / "far")
    (tmp_path / "in" / "circle").symlink_to(tmp_path / "in")
    (tmp_path / "also").symlink_to(tmp_path / "in")
    capture, job = run_ingest(tmp_path / "also", tmp_path / "job")
    assert capture.names == ("a.jpg", "folder/good_001.jpg", "folder/good_002.jpg")
    assert job.metrics["skipped"] == {"folder/good_000.jpg": "it is a copy of a.jpg"}


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_a_photo_without_permission(tmp_path: Path):
    write_pictures(tmp_path, 4)
    (tmp_path / "good_000.jpg").chmod(0)
    _, job = run_ingest(tmp_path, tmp_path / "job")
    assert "ermission denied" in job.metrics["skipped"]["good_000.jpg"]


def test_a_photo_that_went_away_is_an_error_that_names_it(tmp_path: Path):
    write_pictures(tmp_path, 3)
    capture, _ = run_ingest(tmp_path, tmp_path / "job")
    capture.photo(1).unlink()
    with pytest.raises(InputError, match=r"good_001\.jpg cannot be read.*--redo"):
        read_photo(capture.photo(1))


def test_camera_raw_files_are_counted(tmp_path: Path):
    write_pictures(tmp_path, 3)
    (tmp_path / "DSC1.NEF").write_bytes(b"raw")
    _, job = run_ingest(tmp_path, tmp_path / "job")
    assert any("1 camera raw file" in w and "DSC1.NEF" in w for w in job.warnings)
