"""Photos that were moved to another folder: the same photos, wherever they lie."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from recon import cli
from recon.capture import check_photos, load_capture
from recon.errors import InputError
from recon.workspace import Workspace
from tests.photo_files import write_picture, write_pictures


def ingest(*words: object) -> int:
    return cli.main(["ingest", *map(str, words)])


def record(workspace: Path) -> dict[str, Any]:
    found = Workspace(workspace).record("ingest")
    assert found is not None
    return found


@pytest.fixture
def workspace(tmp_path) -> Path:
    """A workspace of photos in old/images with a mask beside them."""
    write_pictures(tmp_path / "old/images", 4)
    write_picture(tmp_path / "old/masks/good_001.png")
    assert ingest(tmp_path / "old", "-w", tmp_path / "w") == 0
    return tmp_path / "w"


@pytest.mark.parametrize("given", ["new", "new/images"])
def test_the_capture_follows_its_photos(workspace, tmp_path, capsys, given):
    before = record(workspace)
    (tmp_path / "old").rename(tmp_path / "new")
    capsys.readouterr()
    assert ingest(tmp_path / given, "-w", workspace) == 0
    assert "are read from" in capsys.readouterr().err
    capture = load_capture(workspace / "ingest")
    assert capture.root == tmp_path / "new/images"
    assert capture.mask_path(1) == tmp_path / "new/masks/good_001.png"
    check_photos(capture, workspace)
    assert record(workspace) == before
    assert ingest("-w", workspace) == 0, "the place is remembered"
    capsys.readouterr()
    assert ingest(tmp_path / given, "-w", workspace) == 0
    assert "are read from" not in capsys.readouterr().err


def test_ingest_made_anew_elsewhere_is_the_same_result(workspace, tmp_path):
    before = record(workspace)["result"]
    (tmp_path / "old").rename(tmp_path / "new")
    assert ingest(tmp_path / "new", "-w", workspace, "--redo") == 0
    assert record(workspace)["result"] == before


def test_without_an_input_the_old_place_is_named(workspace, tmp_path, capsys):
    (tmp_path / "old").rename(tmp_path / "new")
    assert ingest("-w", workspace) == 0, "what is done needs no photos"
    assert cli.main(["sfm", "-w", str(workspace)]) == 2
    said = capsys.readouterr().err
    assert f"5 of the 5 photos and masks that were read from {tmp_path}/old/images are no longer there" in said
    assert f"`recon run PHOTOS -w {workspace}`" in said
    assert ingest("-w", workspace, "--holdout", "none", "--redo") == 2
    assert f"The photos were in {tmp_path}/old, which is no longer there" in capsys.readouterr().err


def test_redo_without_an_input_sees_what_has_changed(workspace, tmp_path):
    before = record(workspace)
    write_picture(tmp_path / "old/images/more.jpg", 99)
    assert ingest("-w", workspace, "--redo") == 0
    after = record(workspace)
    assert after["inputs"] != before["inputs"]
    assert after["metrics"]["photos"] == 5


def test_one_lost_photo_is_named(workspace, tmp_path):
    shutil.rmtree(tmp_path / "old/masks")
    (tmp_path / "old/images/good_002.jpg").unlink()
    with pytest.raises(InputError, match="2 of the 5"):
        check_photos(load_capture(workspace / "ingest"), workspace)


def test_frames_of_a_video_stay_where_they_are(tmp_path):
    from recon.capture import save_capture
    from recon.ingest import IngestOptions, follow
    from tests.fabricate import ring_capture

    video = tmp_path / "walk.mp4"
    video.write_bytes(b"not looked into")
    save_capture(ring_capture(Path("frames"), ("000000.jpg",)), tmp_path, tmp_path / "elsewhere/walk.mp4")
    assert follow(video, IngestOptions(), tmp_path) == video
    assert load_capture(tmp_path).root == tmp_path / "frames"
