"""Pipes, sockets and devices that bear the names of photos: named and counted, and never opened."""

import os
import socket
import sys
import threading
from pathlib import Path

import pytest

from recon.errors import InputError
from recon.ingest import IngestOptions, fingerprint
from tests.photo_files import run_ingest, write_pictures

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no such files")


def pipe(path: Path) -> list[str]:
    """A named pipe. Whoever opens it is noted and let go: nothing waits, and the test fails in words."""
    opened: list[str] = []

    def wait() -> None:
        os.close(os.open(path, os.O_WRONLY))
        opened.append(path.name)

    os.mkfifo(path)
    threading.Thread(target=wait, daemon=True).start()
    return opened


def test_they_are_named_and_counted_and_not_opened(tmp_path: Path, monkeypatch):
    write_pictures(tmp_path, 3)
    opened = pipe(tmp_path / "pipe.jpg")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    monkeypatch.chdir(tmp_path)  # the names of sockets must be short
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket.tif")
        fingerprint(tmp_path, IngestOptions())
        capture, job = run_ingest(tmp_path, tmp_path / "job")
    assert len(capture) == 3
    assert job.metrics["skipped"].keys() == {"device.png", "pipe.jpg", "socket.tif"}
    assert all("no regular file" in reason for reason in job.metrics["skipped"].values())
    assert any("pipe.jpg skipped" in line for line in job.warnings)
    assert opened == []


@pytest.mark.parametrize("given", ["", "pipe.mp4"])
def test_a_pipe_is_no_video(tmp_path: Path, given: str):
    opened = pipe(tmp_path / "pipe.mp4")
    with pytest.raises(InputError, match=r"no regular file|neither a file nor a folder"):
        run_ingest(tmp_path / given, tmp_path / "job")
    assert opened == []


def test_a_pipe_in_place_of_a_mask_is_passed_over(tmp_path: Path):
    write_pictures(tmp_path, 3)
    (tmp_path / "masks").mkdir()
    opened = pipe(tmp_path / "masks/good_001.png")
    fingerprint(tmp_path, IngestOptions())
    capture, job = run_ingest(tmp_path, tmp_path / "job")
    assert capture.mask == ()
    assert any(str(tmp_path / "masks") in line for line in job.warnings)
    assert opened == []
