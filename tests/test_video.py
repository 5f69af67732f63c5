"""Frames from videos whose motion, blur and pauses are known."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from recon.errors import InputError
from recon.files import sha256_file
from recon.job import Job
from recon.photos import read_photo
from recon.sources import look
from recon.video import Measured, Tracker, choose, look_at, measure, pick_frames
from tests.photo_files import run_ingest, write_pictures

SIZE = (320, 240)


def panorama(width: int = 4000, height: int = 300, seed: int = 0) -> NDArray[np.uint8]:
    """Dense corners in colour: blobs of several sizes."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width, 3))
    for cell in (6, 14, 40):
        noise = rng.random((height // cell + 2, width // cell + 2, 3))
        image += cv2.resize(noise, (width, height), interpolation=cv2.INTER_NEAREST)
    return (image / 3 * 255).astype(np.uint8)


def write_video(path: Path, offsets: NDArray[np.float64], blurred: set[int] = frozenset(), fps: float = 25.0) -> None:
    """A pan over the panorama: frame i shows it from `offsets[i]` pixels on; the `blurred` ones are smeared along."""
    wide = panorama()
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, SIZE)
    assert writer.isOpened()
    for i, x in enumerate(offsets):
        move = np.array([[1.0, 0, -x], [0, 1, -20]])
        frame = cv2.warpAffine(wide, move, SIZE, flags=cv2.INTER_LINEAR)
        writer.write(cv2.blur(frame, (15, 3)) if i in blurred else frame)
    writer.release()


def index_of(names: list[str] | tuple[str, ...]) -> NDArray[np.int64]:
    return np.array([int(Path(name).stem) for name in names])


def test_frames_lie_evenly_over_motion_and_avoid_blur_and_pauses(tmp_path: Path):
    speed = np.full(240, 4.0)
    speed[60:120] = 0.0  # a pause
    speed[160:200] = 12.0  # three times as fast
    offsets = np.cumsum(speed) - speed[0]
    blurred = set(range(20, 26)) | set(range(140, 146)) | set(range(0, 240, 7))
    write_video(tmp_path / "walk.mp4", offsets, blurred)
    capture, job = run_ingest(tmp_path / "walk.mp4", tmp_path / "job", frames=30)
    chosen = index_of(capture.names)
    assert 24 <= len(chosen) <= 30
    assert not blurred & set(chosen.tolist())
    assert ((chosen >= 61) & (chosen <= 118)).sum() <= 1  # one frame of the pause is enough
    gaps = np.diff(offsets[chosen])
    assert gaps.max() <= 2.0 * np.median(gaps)
    assert gaps.min() >= 0.4 * np.median(gaps)
    assert offsets[chosen[0]] < np.median(gaps)
    assert offsets[-1] - offsets[chosen[-1]] < np.median(gaps)
    assert capture.kind == "video"
    assert capture.root == tmp_path / "job" / "frames"
    assert json.loads((tmp_path / "job" / "place.json").read_text())["root"] == "frames"
    assert capture.time is not None
    np.testing.assert_allclose(capture.time, (chosen - chosen[0]) / 25, atol=1e-3)
    assert set(capture.camera_id.tolist()) == {0}
    assert job.warnings == []


def test_frames_are_those_of_the_video(tmp_path: Path):
    write_video(tmp_path / "pan.mp4", np.arange(60) * 6.0)
    capture, _ = run_ingest(tmp_path / "pan.mp4", tmp_path / "job", frames=10)
    video, truth = cv2.VideoCapture(str(tmp_path / "pan.mp4")), []
    while (read := video.read())[0]:
        truth.append(read[1][..., ::-1])
    for i, index in enumerate(index_of(capture.names)):
        error = np.abs(read_photo(capture.photo(i)).astype(int) - truth[index])
        assert error.mean() < 1.5


def test_motion_is_measured_in_long_sides(tmp_path: Path):
    offsets = np.concatenate([np.zeros(10), np.arange(1, 81) * 4.0, np.full(20, 320.0)])
    write_video(tmp_path / "pan.mp4", offsets)
    measured = measure(tmp_path / "pan.mp4", 100, Job(tmp_path / "job"))
    assert (measured.index == np.arange(110)).all()
    np.testing.assert_allclose(measured.motion, offsets / 320, atol=0.02)
    np.testing.assert_allclose(measured.time, np.arange(110) / 25, atol=1e-3)


def test_motion_there_and_back_adds_up(tmp_path: Path):
    there = np.arange(41) * 4.0
    write_video(tmp_path / "pan.mp4", np.concatenate([there, there[::-1]]))
    assert measure(tmp_path / "pan.mp4", 100, Job(tmp_path / "job")).motion[-1] == pytest.approx(1.0, abs=0.05)


def test_trembling_is_no_motion():
    wide, tracker = panorama(), Tracker()
    rng = np.random.default_rng(1)
    motion = 0.0
    for _ in range(80):
        x, y = rng.uniform(-1.5, 1.5, 2)
        frame = cv2.warpAffine(wide, np.array([[1.0, 0, x - 30], [0, 1, y - 20]]), SIZE)
        motion = tracker.follow(look_at(frame)[1])
    assert motion < 0.02


def test_a_cut_counts_as_motion_and_black_frames_do_not():
    tracker = Tracker()
    first, second = (look_at(panorama(400, 300, seed))[1][:240, :320] for seed in (1, 2))
    black = np.zeros_like(first)
    assert tracker.follow(black) == 0
    assert tracker.follow(black) == 0
    start = tracker.follow(first)
    assert tracker.follow(first) == pytest.approx(start, abs=1e-3)
    cut = tracker.follow(second)
    assert cut > start + 0.05
    assert tracker.follow(black) == pytest.approx(cut + 0.1, abs=1e-3)  # everything is lost
    assert tracker.follow(black) == pytest.approx(cut + 0.1, abs=1e-3)


def test_blur_lowers_sharpness():
    frame = panorama(640, 480)
    sharp, _ = look_at(frame)
    smeared, _ = look_at(np.asarray(cv2.blur(frame, (9, 1)), np.uint8))
    assert smeared < 0.5 * sharp


def measured(motion: NDArray, sharpness: NDArray | None = None) -> Measured:
    count = len(motion)
    sharpness = np.full(count, 100.0) if sharpness is None else sharpness
    return Measured(np.arange(count), np.arange(count) / 25, sharpness, np.asarray(motion, np.float64))


def test_choice_on_even_motion_is_even_and_no_more_than_asked():
    rows = np.array(choose(measured(np.linspace(0, 3, 601)), 31))
    assert len(rows) <= 31
    assert rows[0] <= 10
    assert rows[-1] >= 590
    assert (np.abs(np.diff(rows) - 20) <= 2).all()


def test_choice_prefers_sharp_neighbours():
    sharpness = np.full(601, 30.0)
    sharpness[3::20] = 100.0
    assert (np.array(choose(measured(np.linspace(0, 3, 601), sharpness), 31)) % 20 == 3).all()


def test_choice_thins_out_in_a_long_blurred_stretch():
    sharpness = np.full(1201, 100.0)
    sharpness[300:900] = 10.0
    rows = np.array(choose(measured(np.linspace(0, 3, 1201), sharpness), 61))
    blurred = ((rows >= 300) & (rows < 900)).sum()
    assert blurred < 0.8 * (len(rows) - blurred)


def test_choice_crosses_jumps_and_stays_connected():
    motion = np.concatenate([np.linspace(0, 1, 100), np.linspace(5, 6, 100)])
    rows = np.array(choose(measured(motion), 40))
    assert (rows < 100).any()
    assert (rows >= 100).any()
    assert rows[rows < 100].max() >= 90  # the last before the jump, and the first after it
    assert rows[rows >= 100].min() <= 110


@pytest.mark.parametrize("most", [3, 7, 50, 400])
def test_choice_keeps_the_limit_on_rough_input(most: int):
    rng = np.random.default_rng(most)
    motion = np.cumsum(rng.exponential(0.01, 1500) * (rng.random(1500) < 0.5))
    rows = choose(measured(motion, rng.uniform(10, 100, 1500)), most)
    assert 0.5 * min(most, motion[-1] / 0.02) <= len(rows) <= most
    assert rows == sorted(set(rows))


def test_a_camera_that_stands_still_is_an_error(tmp_path: Path):
    write_video(tmp_path / "still.mp4", np.zeros(40))
    with pytest.raises(InputError, match="hardly moves"):
        run_ingest(tmp_path / "still.mp4", tmp_path / "job")


@pytest.mark.parametrize("content", [b"", b"this is no video", b"\0" * 5000])
def test_a_file_that_is_no_video(tmp_path: Path, content: bytes):
    (tmp_path / "x.mp4").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.mp4 cannot be opened as a video"):
        run_ingest(tmp_path / "x.mp4", tmp_path / "job")


def test_ffmpeg_does_not_talk_to_the_user(tmp_path: Path):
    """In a process of its own: OpenCV asks for the log level once."""
    (tmp_path / "x.mp4").write_bytes(b"this is no video")
    code = (
        "from pathlib import Path\nfrom recon.errors import InputError\nfrom recon.job import Job\n"
        "from recon.video import measure\n"
        f"try:\n    measure(Path({str(tmp_path / 'x.mp4')!r}), 9, Job(Path({str(tmp_path / 'job')!r})))\n"
        "except InputError:\n    print('said')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("said\n", "")


def test_a_truncated_video_is_used_as_far_as_it_goes(tmp_path: Path):
    path = tmp_path / "cut.avi"
    wide = panorama()
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, SIZE)
    for i in range(100):
        writer.write(np.ascontiguousarray(wide[20:260, 8 * i : 8 * i + 320]))
    writer.release()
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * 0.6)])
    capture, job = run_ingest(path, tmp_path / "job", frames=20)
    assert len(capture) >= 5
    assert index_of(capture.names).max() < 70
    assert job.warnings == [] or "can be decoded" in job.warnings[0]


def test_too_few_frames_asked_for(tmp_path: Path):
    write_video(tmp_path / "pan.mp4", np.arange(30) * 6.0)
    with pytest.raises(InputError, match="--frames 2"):
        run_ingest(tmp_path / "pan.mp4", tmp_path / "job", frames=2)


def test_wide_steps_are_said(tmp_path: Path):
    write_video(tmp_path / "pan.mp4", np.arange(100) * 20.0)
    _, job = run_ingest(tmp_path / "pan.mp4", tmp_path / "job", frames=5)
    assert any("--frames" in warning for warning in job.warnings)


def test_a_broken_off_run_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    video, folder = tmp_path / "pan.mp4", tmp_path / "job" / "frames"
    write_video(video, np.arange(80) * 6.0)
    job = Job(tmp_path / "job")
    frames = pick_frames(video, folder, 12, job)
    before = {path.name: sha256_file(path) for path in folder.iterdir()}
    assert sorted(before) == [frame.name for frame in frames]
    lost = sorted(before)[4:]
    for name in lost:
        (folder / name).unlink()
    (folder / f".{lost[0]}.part77").write_bytes(b"half a frame")
    kept = {name: (folder / name).stat().st_mtime_ns for name in sorted(before)[:4]}
    monkeypatch.setattr("recon.video.measure", lambda *_: pytest.fail("the video was watched again"))
    assert pick_frames(video, folder, 12, job) == frames
    assert {path.name: sha256_file(path) for path in folder.iterdir()} == before
    assert {name: (folder / name).stat().st_mtime_ns for name in kept} == kept


def test_another_number_of_frames_starts_anew(tmp_path: Path):
    video, folder = tmp_path / "pan.mp4", tmp_path / "job" / "frames"
    write_video(video, np.arange(80) * 6.0)
    job = Job(tmp_path / "job")
    assert (
        len(pick_frames(video, folder, 12, job))
        > len(pick_frames(video, folder, 6, job))
        == len(list(folder.iterdir()))
    )


def turn(path: Path) -> None:
    """Write a rotation by 90 degrees into the display matrix of an MP4's track (ISO/IEC 14496-12, 8.3.2)."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4
    matrix = at + 4 + (32 if data[at] else 20) + 16
    one = (0x10000).to_bytes(4, "big")
    assert bytes(data[matrix : matrix + 4]) == one
    minus = (-0x10000).to_bytes(4, "big", signed=True)
    zero, w = bytes(4), (0x40000000).to_bytes(4, "big")
    data[matrix : matrix + 36] = zero + one + zero + minus + zero + zero + (240 << 16).to_bytes(4, "big") + zero + w
    path.write_bytes(bytes(data))


def test_rotation_of_the_video_is_applied(tmp_path: Path):
    write_video(tmp_path / "pan.mp4", np.arange(40) * 6.0)
    plain, _ = run_ingest(tmp_path / "pan.mp4", tmp_path / "plain", frames=8)
    turn(tmp_path / "pan.mp4")
    turned, _ = run_ingest(tmp_path / "pan.mp4", tmp_path / "turned", frames=8)
    assert turned.size[0].tolist() == [240, 320]
    both = sorted(set(plain.names) & set(turned.names))
    assert both
    upright = read_photo(turned.root / both[0])
    expected = np.rot90(read_photo(plain.root / both[0]), -1)
    assert np.abs(upright.astype(int) - expected).mean() < 3


def test_which_video_is_meant(tmp_path: Path):
    (tmp_path / "one" / "clips").mkdir(parents=True)
    (tmp_path / "one" / "clips" / "a.MOV").write_bytes(b"x")
    assert look(tmp_path / "one").model == tmp_path / "one" / "clips" / "a.MOV"
    (tmp_path / "one" / "b.mp4").write_bytes(b"y")
    with pytest.raises(InputError, match="holds 2 videos"):
        look(tmp_path / "one")
    write_pictures(tmp_path / "one", 3)
    capture, job = run_ingest(tmp_path / "one", tmp_path / "job")
    assert (capture.kind, len(capture)) == ("photos", 3)
    assert any("2 videos beside the photos" in warning for warning in job.warnings)


def test_a_real_walk(datasets: Path, tmp_path: Path):
    capture, _ = run_ingest(datasets / "gopro_gpmf_videos", tmp_path / "job", frames=20)
    assert 12 <= len(capture) <= 20
    assert capture.size[0].tolist() == [848, 480]
    steps = np.diff(index_of(capture.names))
    assert steps.max() > 2 * steps.min()  # it does not move evenly, so every n-th frame would be wrong


def test_a_real_camera_on_a_tripod(datasets: Path, tmp_path: Path):
    with pytest.raises(InputError, match="hardly moves"):
        run_ingest(datasets / "pose2sim_4cam" / "single" / "videos" / "cam01.mp4", tmp_path / "job")
