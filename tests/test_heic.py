"""HEIC photos: read as they are, turned once, and a sentence where the reader is missing."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recon import photos
from recon.errors import MissingPart, ReconError
from recon.photos import read_photo
from tests.photo_files import exif_bytes, picture, run_ingest, write_pictures


def write_heic(path: Path, seed: int) -> np.ndarray:
    heif = pytest.importorskip("pillow_heif")
    pixels = picture(seed)
    heif.from_pillow(Image.fromarray(pixels)).save(path, quality=-1)
    return pixels


def test_heic(tmp_path: Path):
    pytest.importorskip("pi_heif")
    truth = [write_heic(tmp_path / f"{i}.heic", i) for i in range(3)]
    capture, _ = run_ingest(tmp_path, tmp_path / "job")
    assert capture.names == ("0.heic", "1.heic", "2.heic")
    for i, pixels in enumerate(truth):
        assert np.abs(read_photo(capture.photo(i)).astype(int) - pixels).mean() < 4


def test_heic_is_turned_once(tmp_path: Path):
    """libheif turns the picture itself and resets the EXIF orientation."""
    heif = pytest.importorskip("pillow_heif")
    pytest.importorskip("pi_heif")
    for i in range(3):
        image = heif.from_pillow(Image.fromarray(picture(i)))
        image.save(tmp_path / f"{i}.heic", quality=-1, exif=exif_bytes({0x0112: 6}))
    capture, _ = run_ingest(tmp_path, tmp_path / "job")
    assert capture.size.tolist() == [[120, 160]] * 3
    read = read_photo(capture.photo(1), int(capture.orientation[1]))
    assert np.abs(read.astype(int) - np.rot90(picture(1), -1)).mean() < 4


def test_heic_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(photos, "reads_heic", lambda: False)
    for i in range(3):
        (tmp_path / f"{i}.HEIC").write_bytes(b"whatever" + bytes([i]))
    with pytest.raises(MissingPart, match=r"recon-scene\[heic\]"):
        run_ingest(tmp_path, tmp_path / "job")
    good = write_pictures(tmp_path, 3)
    capture, job = run_ingest(tmp_path, tmp_path / "job")
    assert list(capture.names) == good
    assert all("recon-scene[heic]" in job.metrics["skipped"][f"{i}.HEIC"] for i in range(3))
    with pytest.raises(ReconError, match="recon-scene"):
        read_photo(tmp_path / "0.HEIC")
