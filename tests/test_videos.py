"""Several videos of one time: names, a common clock by offsets or sound, rates that differ, dropped frames, and bad input."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from recon.capture import load_sources
from recon.errors import InputError
from recon.photos import read_photo
from recon.sources import look
from recon.sync import SAMPLES, correlation, heard_between, offsets, rise
from recon.videos import Watched, shots_of, stands_still
from tests.photo_files import run_ingest
from tests.test_video import panorama

SIZE = (160, 120)


def write_clock(path: Path, times: NDArray, start: float = 0.0, sound: NDArray | None = None, seed: int = 0) -> None:
    """A fixed camera before a clock: the bright bar at x = 20 + 100 * t at time t. Frames at `times` of that clock, and `sound`
    (SAMPLES a second) from `start` on."""
    wall = panorama(*SIZE, seed)[: SIZE[1], : SIZE[0]] // 2
    with av.open(str(path), "w") as out:
        video = out.add_stream("mpeg4", rate=100)
        video.width, video.height, video.time_base = *SIZE, Fraction(1, 1000)
        video.codec_context.time_base, video.bit_rate = Fraction(1, 1000), 4_000_000
        audio = out.add_stream("aac", rate=SAMPLES, layout="mono") if sound is not None else None
        for time in times:
            picture = wall.copy()
            x = round(20 + 100 * time)
            picture[40:80, x : x + 6] = 255
            frame = av.VideoFrame.from_ndarray(picture, "bgr24")
            frame.pts, frame.time_base = round(1000 * (time - start)), Fraction(1, 1000)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if audio is not None and sound is not None:
            part = sound[round(start * SAMPLES) :].astype(np.float32)[None]
            heard = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), "fltp", "mono")
            heard.sample_rate, heard.pts = SAMPLES, 0
            out.mux(audio.encode(heard))
            out.mux(audio.encode(None))


def clock_of(photo: NDArray[np.uint8]) -> float:
    """The time that a photo shows."""
    columns = photo[45:75].astype(float).mean((0, 2))
    return (int(np.argmax(np.convolve(columns, np.ones(6), "valid"))) - 20) / 100


def claps(seconds: float = 2.0, seed: int = 0) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    sound = rng.normal(0, 0.003, round(seconds * SAMPLES))
    for at in (0.31, 0.52, 0.97, 1.13):
        burst = np.exp(-np.arange(400) / 80) * rng.normal(0, 0.4, 400)
        sound[round(at * SAMPLES) :][:400] += burst
    return sound


def check_clock(capture, slack: float) -> None:
    """Photos of one moment show one time, and the times of the capture are those shown up to a constant."""
    shown = np.array([clock_of(read_photo(capture.photo(i))) for i in range(len(capture))])
    assert np.ptp(capture.time - shown) < slack


def test_videos_of_different_rates_with_offsets_and_dropped_frames(tmp_path: Path):
    a, b = np.arange(0, 1.0, 1 / 20), np.arange(0.1, 1.0, 1 / 25)
    b = np.delete(b, [10, 11])
    write_clock(tmp_path / "left.mp4", a)
    write_clock(tmp_path / "right.mp4", b, start=0.1, seed=1)
    videos = (tmp_path / "left.mp4", tmp_path / "right.mp4")
    capture, job = run_ingest(videos, tmp_path / "job", sync="0,2.5")
    assert capture.kind == "videos"
    assert {name.partition("/")[0] for name in capture.names} == {"left", "right"}
    assert capture.names[0] == "left/000001.jpg"
    assert set(zip(capture.camera_id.tolist(), [name[:4] for name in capture.names], strict=True)) == {
        (0, "left"),
        (1, "righ"),
    }
    check_clock(capture, 0.021)
    assert capture.station is not None
    assert (capture.station == capture.camera_id).all()
    assert any("right.mp4 has dropped 2 frames" in warning for warning in job.warnings)
    assert load_sources(tmp_path / "job") == videos
    numbers = {
        name.partition("/")[2] for name, kind in zip(capture.names, capture.split, strict=True) if kind == "test"
    }
    assert numbers == {"000001.jpg", "000009.jpg", "000017.jpg"}
    wrong, _ = run_ingest(videos, tmp_path / "wrong", sync="0,0")
    assert wrong.time is not None
    with pytest.raises(AssertionError):
        check_clock(wrong, 0.05)


def test_sound_tells_the_offset(tmp_path: Path):
    sound = claps()
    write_clock(tmp_path / "a.mp4", np.arange(0, 1.1, 1 / 20), sound=sound)
    write_clock(tmp_path / "b.mp4", np.arange(0.2, 1.1, 1 / 20), start=0.2, sound=sound)
    found, said = offsets("audio", (tmp_path / "a.mp4", tmp_path / "b.mp4"), (20, 20))
    np.testing.assert_allclose(found, [0, 0.2], atol=0.008)
    assert "b.mp4 +0.2" in said
    write_clock(tmp_path / "mute.mp4", np.arange(0, 1, 1 / 20))
    with pytest.raises(InputError, match=r"mute.mp4 has no sound, which --sync audio needs"):
        offsets("audio", (tmp_path / "a.mp4", tmp_path / "mute.mp4"), (20, 20))


@pytest.mark.parametrize("lag", [0.0, 0.3, 0.5])
def test_offset_of_two_noisy_recordings(lag: float):
    whole, rng, start = claps(4.0), np.random.default_rng(5), round(lag * SAMPLES)
    a = rise(whole + rng.normal(0, 0.004, len(whole)))
    b = rise(0.5 * whole[start:] + rng.normal(0, 0.004, len(whole) - start))
    heard = heard_between(a, b, Path("a"), Path("b"))
    assert heard.offset == pytest.approx(lag, abs=0.003)
    assert heard_between(b, a, Path("b"), Path("a")).offset == pytest.approx(-lag, abs=0.003)


def test_sounds_that_have_nothing_in_common_are_refused():
    rng = np.random.default_rng(1)
    a, b = (rise(rng.normal(size=4 * SAMPLES)) for _ in range(2))
    with pytest.raises(InputError, match="does not tell how they belong together"):
        heard_between(a, b, Path("a.mp4"), Path("b.mp4"))
    assert correlation(a, a, 250).argmax() == len(a) - 1


@pytest.mark.parametrize(
    "sync, sentence", [("0,1,2", "gives 3 offsets"), ("soon", "neither audio nor none nor frames")]
)
def test_offsets_that_cannot_be_read(sync: str, sentence: str):
    with pytest.raises(InputError, match=sentence):
        offsets(sync, (Path("a"), Path("b")), (30, 30))


def test_moments_are_those_that_all_videos_cover():
    one = Watched(np.arange(60) / 60, SIZE, True)
    two = Watched(np.arange(30) / 30, SIZE, True)
    shots = shots_of([one, two], ["a", "b"], np.array([0, 0.5]), 100)
    frames = {video: [s.frame for s in shots if s.video == video] for video in (0, 1)}
    assert frames[0] == list(range(30, 60, 2))
    assert frames[1] == list(range(15))
    assert shots[0].time == 0
    assert len(shots_of([one, two], ["a", "b"], np.zeros(2), 10)) == 20
    with pytest.raises(InputError, match=r"share 0.00 s of the common clock"):
        shots_of([one, two], ["a", "b"], np.array([0, 9.0]), 10)


def test_a_camera_that_moves_does_not_stand_still():
    wide = panorama(400, 300)[..., 1]
    assert stands_still([np.ascontiguousarray(wide[:200, :300])] * 4)
    assert not stands_still([np.ascontiguousarray(wide[:200, i : 300 + i]) for i in (0, 2, 4, 6)])


def test_inputs_that_do_not_belong_together(tmp_path: Path):
    write_clock(tmp_path / "a.mp4", np.arange(0, 0.5, 0.05))
    (tmp_path / "notes.doc").write_text("no")
    with pytest.raises(InputError, match="neither a video nor a calibration"):
        look((tmp_path / "a.mp4", tmp_path / "notes.doc"))
    with pytest.raises(InputError, match="expected two different videos"):
        look((tmp_path / "a.mp4", tmp_path / "a.mp4"))
