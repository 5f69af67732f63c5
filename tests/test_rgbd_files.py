"""Recordings and depth images that are wrong, lie elsewhere or are gone: named before anything is computed from them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recon import cli
from recon.capture import load_capture
from recon.depth_images import DepthCamera, inspect_depth, read_confidence, read_depth
from recon.errors import InputError, MissingPart
from recon.files import write_json
from recon.keys import changes, key_options
from recon.rgbd import read_recording
from recon.stages import STAGES, resolve
from tests import rgbd_scene as scene
from tests.depth_scene import Room
from tests.photo_files import run_ingest
from tests.rgbd_scene import the_room


@pytest.fixture(scope="module")
def place() -> Room:
    return the_room(3)


@pytest.mark.parametrize("kind", ["rgb", "depth"])
@pytest.mark.parametrize("bad", ["{out}/a.png", "../out/a.png", "..\\out\\a.png", "C:\\a.png", "rgb/../../out/a.png"])
def test_names_that_lead_out_of_a_tum_folder_are_refused(kind: str, bad: str, place: Room, tmp_path: Path):
    scene.write_tum(tmp_path / "in", place)
    listed = tmp_path / f"in/{kind}.txt"
    lines = listed.read_text().splitlines()
    shutil.copytree(tmp_path / "in" / kind, tmp_path / "out")
    first = Path(lines[1].split()[1]).name
    (tmp_path / "out" / first).rename(tmp_path / "out/a.png")
    name = bad.format(out=tmp_path / "out")
    listed.write_text("\n".join([lines[0], f"{lines[1].split()[0]} {name}", *lines[2:]]), encoding="utf-8")
    with pytest.raises(InputError) as error:
        read_recording(tmp_path / "in")
    said = str(error.value)
    assert f"{listed} names {name}," in said and "Write paths relative to that folder" in said


def test_backslashes_in_a_tum_list_are_slashes(place: Room, tmp_path: Path):
    scene.write_tum(tmp_path, place)
    for kind in ("rgb", "depth"):
        listed = tmp_path / f"{kind}.txt"
        listed.write_text(listed.read_text().replace("/", "\\"), encoding="utf-8")
    frames = read_recording(tmp_path).frames
    assert len(frames) == 3 and all(frame.depth for frame in frames)


def test_a_confidence_image_that_cannot_be_used_takes_its_depth_image_along(place: Room, tmp_path: Path):
    """Unknown confidence is not full confidence."""
    scene.write_polycam(tmp_path / "in", the_room(5))
    folder = tmp_path / "in/keyframes/confidence"
    Image.fromarray(np.full((30, 40), 255, np.uint8)).save(folder / "1001.png")
    (folder / "1002.png").write_bytes(b"no image")
    Image.fromarray(np.full((48, 64, 3), 255, np.uint8)).save(folder / "1003.png")
    capture, job = run_ingest(tmp_path / "in", tmp_path / "job")
    assert [d is None for d in capture.depth] == [False, True, True, True, False]
    assert [d is None for d in capture.depth_confidence] == [False, True, True, True, False]
    assert job.metrics["depth"] == 2
    said = " ".join(job.warnings)
    assert "1 depth image not used" in said and "depth/1001.png" in said and "depth/1002.png" in said
    assert "its confidence image is 40x30 pixels, its depth image 64x48" in said and "is damaged" in said
    assert "one value a pixel" in said and len(job.warnings) == 3


def test_a_confidence_image_without_its_package_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    scene.write_whole(tmp_path / "a.png", np.ones((4, 6)))
    (tmp_path / "a.conf").write_bytes(b"anything")

    def missing(path: Path) -> bytes:
        raise MissingPart(f'{path} needs a package that is not installed: pip install "pyliblzfse"')

    monkeypatch.setattr("recon.depth_images._lzfse", missing)
    assert inspect_depth(tmp_path / "a.png", DepthCamera()).reason == ""
    said = inspect_depth(tmp_path / "a.png", DepthCamera(), tmp_path / "a.conf").reason
    assert said.startswith("its confidence image needs a package") and "pyliblzfse" in said


@pytest.mark.parametrize("end", [".png", ".npy", ".exr", ".depth"])
def test_a_file_that_is_gone_is_not_called_damaged(end: str, tmp_path: Path):
    for read in (lambda p: read_depth(p, DepthCamera(size=(2, 2))), lambda p: read_confidence(p, (2, 2))):
        with pytest.raises(InputError, match=r"is no longer there\. Name the folder") as error:
            read(tmp_path / f"gone{end}")
        assert "damaged" not in str(error.value) and "take it away" not in str(error.value)


def test_an_npz_that_calls_itself_npy_is_named(tmp_path: Path):
    np.savez(tmp_path / "a.npz", z=np.ones((3, 4)))
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    with pytest.raises(InputError, match=r"a\.npy cannot be read: it is damaged"):
        read_depth(tmp_path / "a.npy", DepthCamera())
    assert "cannot be read" in inspect_depth(tmp_path / "a.npy", DepthCamera()).reason
    np.save(tmp_path / "b.npy", np.ones((3, 4)))
    assert read_depth(tmp_path / "b.npy", DepthCamera()).shape == (3, 4)
    np.save(tmp_path / "c.npy", np.array([[{}]]), allow_pickle=True)
    with pytest.raises(InputError, match=r"c\.npy cannot be read"):
        read_depth(tmp_path / "c.npy", DepthCamera())


@pytest.mark.parametrize(
    "bad",
    [
        {"w": 0},
        {"h": -96},
        {"w": float("inf")},
        {"K": [0.0] * 9},
        {"K": [float("nan")] * 9},
        {"K": [-105.0, 0, 0, 0, 105, 0, 64, 48, 1]},
        {"dw": "wide"},
    ],
    ids=str,
)
def test_record3d_metadata_without_a_camera_is_named(bad: dict, place: Room, tmp_path: Path):
    (tmp_path / "rgbd").mkdir()
    data = scene.record3d_metadata(place)
    scene.write_json_file(tmp_path / "metadata", data)
    assert read_recording(tmp_path).kind == "record3d"
    (tmp_path / "metadata").write_text(json.dumps(data | bad), encoding="utf-8")
    with pytest.raises(InputError, match="metadata is no Record3D metadata"):
        read_recording(tmp_path)


@pytest.mark.parametrize("verb", ["align", "depth"])
def test_depth_images_that_were_moved_are_missed_before_they_are_needed(
    verb: str, place: Room, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """The photos may be gone: later stages have their copies. Depth images are read where they were."""
    scene.write_plain(tmp_path / "in", place)
    workspace = tmp_path / "w"
    assert cli.main(["ingest", str(tmp_path / "in"), "-w", str(workspace)]) == 0
    result = json.loads((workspace / "ingest/stage.json").read_text())["result"]
    for name, inputs in (("sfm", {"ingest": result}), ("align", {"ingest": result, "sfm": "sfm"})):
        if name != verb:
            record = {
                "stage": name,
                "key": name,
                "result": name,
                "version": 1,
                "options": {},
                "metrics": {},
                "inputs": inputs,
            }
            (workspace / name).mkdir()
            write_json(workspace / name / "stage.json", record | {"wall_seconds": 0, "warnings": []})
    (tmp_path / "in").rename(tmp_path / "new")
    capsys.readouterr()
    assert cli.main([verb, "-w", str(workspace)]) == 2
    said = capsys.readouterr().err
    assert f"3 of the 3 depth images that were read from {tmp_path}/in/images are no longer there" in said
    assert f"`recon run PHOTOS -w {workspace}`: what is done stays" in said
    assert len(load_capture(workspace / "ingest").depth) == 3


@pytest.mark.parametrize("name", ["ingest", "align"])
def test_results_from_before_depth_images_were_checked_are_made_anew(name: str):
    """Version 1 of ingest took any file in depth/ for a depth image, and that of align asked none for metres."""
    row, options = STAGES[name], resolve(STAGES[name].options)()
    inputs = dict.fromkeys(row.needs, "1") or {"source": "1"}
    record = {"version": 1, "options": key_options(options), "inputs": inputs}
    assert any("another version" in told for told in changes(record, row, options, inputs))
