"""The file of moving splats: within its tolerance, small, the same bytes twice, and a sentence for whatever is damaged."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recon.cli import main
from recon.errors import InputError
from render.formats import motion
from render.formats.moving import (
    HEAD,
    TOLERANCE,
    Motion,
    MovingFile,
    NothingMoves,
    frame_times,
    moving_file,
    read_moving,
    write_moving,
)
from render.formats.ply import read_ply
from render.formats.sequence import export_moving
from render.formats.spz import read_spz, spz_bytes
from render.rasterize import rasterize
from render.splats import Splats
from tests.fabricate import fabricate
from tests.moving_cases import PATH as CASES
from tests.moving_cases import cases
from tests.moving_splats import BallScene, TurningBall, camera

SCENE = TurningBall(seconds=2.0, fps=30, detail=24)
LOSS_DB = 0.5


@pytest.fixture(scope="module")
def made() -> MovingFile:
    return moving_file(SCENE)


@pytest.fixture
def path(made: MovingFile, tmp_path: Path) -> Path:
    file = tmp_path / "a.gs4d"
    file.write_bytes(whole(made))
    return file


def whole(made: MovingFile) -> bytes:
    return made.head + b"".join(made.segments)


def mse(a: Splats, b: Splats) -> float:
    """Mean squared error of two renders."""
    drawn = [rasterize(s, camera(), depth=False).rgb[0].clamp(0, 1) for s in (a, b)]
    return float(((drawn[0] - drawn[1]) ** 2).mean())


def off(true: Splats, shown: Splats) -> np.ndarray:
    """[N]: displacement of the mean in units of the middle standard deviation."""
    size = true.scale.sort(dim=1).values[:, 1]
    return ((true.mean - shown.mean).norm(dim=1) / size).numpy()


def test_every_splat_stays_within_the_tolerance_at_every_frame(path: Path) -> None:
    read = read_moving(path)
    assert (read.times, read.fps, len(read)) == (SCENE.times, SCENE.fps, len(SCENE))
    assert read.world.scale == "metric" and set(read.moves) == set(range(SCENE.ball.start, SCENE.flap.stop))
    size = SCENE.rest.scale.sort(dim=1).values
    lever = ((size[:, 2] - size[:, 0]) / size[:, 1]).clamp(min=motion.LEVERS[0])
    grace = 1.15  # scales of the base, in units of which the file measures, are rounded
    for time in frame_times(*SCENE.times, SCENE.fps)[::7]:
        true, shown = SCENE.at(time), read.at(time)
        assert off(true, shown).max() <= grace * TOLERANCE
        dot = (torch.nn.functional.normalize(true.quat, dim=1) * shown.quat).sum(1).abs().clamp(max=1)
        angle = 2 * torch.arccos(dot)[SCENE.ball.start :]
        assert float((angle * lever[SCENE.ball.start :]).max()) <= grace * TOLERANCE
        assert float((true.log_scale - shown.log_scale).abs().max()) <= TOLERANCE
    assert off(SCENE.at(0.5), read.at(0.6)).max() > 3 * TOLERANCE  # another time fails the same check
    between = SCENE.at(0.5 + 0.5 / 30)
    assert off(between, read.at(0.5 + 0.5 / 30)).max() <= 2 * TOLERANCE


def test_times_outside_are_the_ends_and_segments_meet(path: Path) -> None:
    read = read_moving(path)
    assert torch.equal(read.at(-5).mean, read.at(0).mean) and torch.equal(read.at(None).mean, read.at(0).mean)
    assert torch.equal(read.at(99).mean, read.at(2).mean)
    for row in read.header["segments"][1:]:
        before, after = read.at(row["start"] - 1e-9), read.at(row["start"])
        assert off(before, after).max() < 2 * TOLERANCE


def test_pictures_lose_less_than_half_a_decibel_and_a_tenth_of_the_bytes_is_enough(
    path: Path, made: MovingFile, tmp_path: Path
) -> None:
    """A scene that is 34 dB from its photos: noise of its own and that of the file add up."""
    read, photos = read_moving(path), 10 ** (-34 / 10)
    for time in (0.0, 0.35, 1.03, 1.77):
        lost = mse(SCENE.at(time), read.at(time))
        assert 10 * np.log10((photos + lost) / photos) <= LOSS_DB
    assert mse(SCENE.at(0.35), read.at(0.6)) > 20 * photos  # another time fails the same check
    frames = [len(spz_bytes(SCENE.at(time))) for time in frame_times(*SCENE.times, SCENE.fps)[::12]]
    assert len(made) <= 61 * np.mean(frames) / 10


def test_equal_scenes_give_equal_bytes(made: MovingFile, tmp_path: Path) -> None:
    again = write_moving(tmp_path / "b.gs4d", SCENE)
    assert (tmp_path / "b.gs4d").read_bytes() == whole(made) == whole(again)


def test_a_file_that_was_read_can_be_written(path: Path, tmp_path: Path) -> None:
    read = read_moving(path)
    write_moving(tmp_path / "b.gs4d", read)
    assert off(read_moving(tmp_path / "b.gs4d").at(0.7), read.at(0.7)).max() <= 2 * TOLERANCE


def changed(change: Callable[[Splats, float], Splats], seconds: float = 1.0) -> Motion:
    small = TurningBall(seconds=seconds, fps=10, detail=8)
    return Motion(lambda t: change(small.at(t), t or 0.0), small.times, small.fps)


def test_scales_and_opacities_may_change(tmp_path: Path) -> None:
    def fading(splats: Splats, t: float) -> Splats:
        return replace(splats, opacity_logit=splats.opacity_logit - 4 * t, log_scale=splats.log_scale + 0.8 * t * t)

    scene = changed(fading)
    assert write_moving(tmp_path / "a.gs4d", scene).header["channels"][-1] == "opacity"
    read = read_moving(tmp_path / "a.gs4d")
    for t in (0.0, 0.5, 0.83, 1.0):
        assert float((read.at(t).opacity - scene.at(t).opacity).abs().max()) < 0.04
        assert float((read.at(t).log_scale - scene.at(t).log_scale).abs().max()) < 1.2 * TOLERANCE


def test_many_turns_and_leaps_are_kept(tmp_path: Path) -> None:
    def wild(splats: Splats, t: float) -> Splats:
        mean = splats.mean.clone()
        mean[-9:] += 3.0 * (round(10 * t) % 3)  # leaps from frame to frame
        angle = torch.tensor(2 * 17.0 * t)
        quat = splats.quat.clone()
        quat[-9:] = torch.stack([angle.cos(), angle.sin(), 0 * angle, 0 * angle])
        return replace(splats, mean=mean, quat=quat)

    scene = changed(wild)
    write_moving(tmp_path / "a.gs4d", scene)
    read = read_moving(tmp_path / "a.gs4d")
    for t in frame_times(*scene.times, scene.fps):
        assert off(scene.at(t), read.at(t)).max() < 1.2 * TOLERANCE
        assert float((read.at(t).quat * scene.at(t).quat).sum(1)[-9:].abs().min()) > 0.995


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    small = TurningBall(seconds=1, fps=5, detail=6)
    cases_: dict[str, tuple[Any, type[Exception], str]] = {
        "still": (changed(lambda s, t: small.at(0)), NothingMoves, "Nothing in the scene moves"),
        "colours": (changed(lambda s, t: replace(s, sh=s.sh + t)), InputError, "keep their colours"),
        "fewer": (changed(lambda s, t: s[: len(s) - round(4 * t)]), InputError, "same at all times"),
        "nan": (changed(lambda s, t: replace(s, mean=s.mean / (t - 1))), InputError, "not finite"),
        "no time": (Motion(small.at, (1.0, 1.0), 5.0), InputError, "first and a last moment"),
        "fps": (Motion(small.at, (0.0, 1.0), 0.0), InputError, "out of range"),
    }
    for name, (scene, kind, words) in cases_.items():
        with pytest.raises(kind, match=words):
            write_moving(tmp_path / "x.gs4d", scene)
        assert not (tmp_path / "x.gs4d").exists(), name


# Damage


def rewritten(data: bytes, change: Callable[[dict[str, Any]], Any]) -> bytes:
    """The file with another header."""
    length = HEAD.unpack_from(data)[2]
    header = json.loads(data[HEAD.size : HEAD.size + length])
    change(header)
    text = json.dumps(header).encode()
    return HEAD.pack(b"GS4D", 1, len(text)) + text + data[HEAD.size + length :]


def refused(path: Path, data: bytes, words: str = "") -> None:
    path.write_bytes(data)
    with pytest.raises(InputError, match=words or "damaged|cut short|no .gs4d") as caught:
        read = read_moving(path)
        for row in read.header["segments"]:
            read.at(row["start"])
    assert str(caught.value).endswith((".", ".spz file of splats.")) and str(path) in str(caught.value)


def test_a_file_cut_anywhere_is_refused(path: Path, made: MovingFile) -> None:
    data, length = whole(made), len(made.head)
    text = HEAD.size + HEAD.unpack_from(data)[2]
    spz = made.header["base"]["spz"]
    ends = [0, 3, 4, 8, 11, HEAD.size, 40, text - 1, text, text + 10, text + spz, length - 1, length, length + 4]
    for end in [*ends, length + len(made.segments[0]), len(data) - 1]:
        refused(path, data[:end])
    refused(path, data + b"x", "is damaged")
    path.write_bytes(data)
    assert len(read_moving(path)) == len(SCENE)


HOSTILE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "more splats": lambda h: h.update(count=h["count"] + 1),
    "no splats": lambda h: h.update(count=0, moving=0),
    "huge count": lambda h: h.update(count=10**18),
    "others move": lambda h: h.update(moving=h["moving"] - 1),
    "degree": lambda h: h.update(sh_degree=3),
    "degree a text": lambda h: h.update(sh_degree="1"),
    "backwards": lambda h: h.update(end=-1.0),
    "infinite": lambda h: h.update(end=float("inf")),
    "not a number": lambda h: h.update(tolerance=float("nan")),
    "no tolerance": lambda h: h.update(tolerance=0),
    "no size": lambda h: h.update(finest=0.0),
    "no fps": lambda h: h.pop("fps"),
    "channels": lambda h: h.update(channels=["mean"]),
    "no segments": lambda h: h.update(segments=[]),
    "segments a number": lambda h: h.update(segments=5),
    "a gap": lambda h: h["segments"][1].update(start=h["segments"][1]["start"] + 0.1),
    "an early end": lambda h: h["segments"].pop(),
    "offsets": lambda h: h["segments"][1].update(offset=0),
    "no frames": lambda h: h["segments"][0].update(frames=0),
    "many frames": lambda h: h["segments"][0].update(frames=10**6),
    "other frames": lambda h: h["segments"][0].update(frames=h["segments"][0]["frames"] + 1),
    "more bytes": lambda h: h["segments"][0].update(bytes=2**31),
    "negative bytes": lambda h: h["base"].update(spz=-1),
    "base and mask": lambda h: h["base"].update(spz=h["base"]["spz"] - 4, mask=h["base"]["mask"] + 4),
    "world": lambda h: h.update(world={"scale": "big"}),
}


@pytest.mark.parametrize("case", list(HOSTILE))
def test_a_header_that_lies_is_refused(case: str, path: Path, made: MovingFile) -> None:
    refused(path, rewritten(whole(made), HOSTILE[case]))


def test_other_files_and_versions_are_refused(path: Path, made: MovingFile, tmp_path: Path) -> None:
    data = whole(made)
    refused(path, b"ply\n" + data[4:], "no .gs4d file")
    refused(path, data[:4] + struct.pack("<I", 2) + data[8:], "version 2")
    refused(path, data[:8] + struct.pack("<I", 2**32 - 1) + data[12:], "cut short")
    refused(path, data[:12] + b"[" * 100 + data[112:], "damaged header")
    with pytest.raises(InputError, match="cannot be read"):
        read_moving(tmp_path / "none.gs4d")


def test_bytes_that_changed_are_noticed(path: Path, made: MovingFile) -> None:
    data, rng = bytearray(whole(made)), np.random.default_rng(1)
    for at in rng.integers(len(made.head), len(data), 40):
        data[at] ^= 0x10
        refused(path, bytes(data))
        data[at] ^= 0x10


def test_a_bomb_is_not_inflated(made: MovingFile) -> None:
    moving = made.header["moving"]
    bomb = zlib.compress(bytes(50_000_000), 9)
    for promised, words in ((50_000_000, "more than it can hold"), (1000, "promised"), (2**32 - 1, "more than")):
        with pytest.raises(ValueError, match=words):
            motion.unpack(promised.to_bytes(4, "little") + bomb, moving, 30, motion.ALWAYS)
    plain = bytes([30]) * moving + bytes([4, 1])
    with pytest.raises(ValueError, match="order 4"):
        motion.unpack(len(plain).to_bytes(4, "little") + zlib.compress(plain), moving, 30, motion.ALWAYS)
    with pytest.raises(ValueError, match="do not divide"):
        motion.unpack(len(plain).to_bytes(4, "little") + zlib.compress(plain), moving, 31, motion.ALWAYS)


def test_numbers_come_back_whatever_they_are() -> None:
    rng = np.random.default_rng(2)
    for scale in (1, 300, motion.LARGEST):
        n = {
            name: rng.integers(-scale, scale + 1, (7, 11, width)).astype(float) for name, width in motion.WIDTH.items()
        }
        rows = np.sort(rng.choice(20, 11, replace=False))
        rest = np.setdiff1d(np.arange(20), rows)
        still = motion.Group(rest, 0, {name: values[:1, : len(rest)] for name, values in n.items()})
        packed = motion.pack([motion.Group(rows, 6, n), still], 20, tuple(motion.WIDTH))
        back = motion.unpack(packed, 20, 12, tuple(motion.WIDTH))
        assert [group.keys for group in back] == [0, 6] and np.array_equal(back[1].rows, rows)
        for name in motion.WIDTH:
            assert np.array_equal(back[1].n[name], n[name]) and np.array_equal(back[0].n[name], still.n[name])


def test_the_page_has_the_cases_of_this_reader(tmp_path: Path) -> None:
    """python -m tests.moving_cases writes them anew."""
    kept, now = json.loads(CASES.read_text(encoding="utf-8")), cases(tmp_path)
    assert kept["moving"].keys() == now["moving"].keys() and kept["rows"] == now["rows"]
    for a, b in zip(kept["moments"], now["moments"], strict=True):
        for name in ("mean", "quat", "log_scale"):
            np.testing.assert_allclose(a[name], b[name], atol=2e-2)


# The command


class Progress:
    def task(self, *_: Any, **__: Any) -> Any:
        from recon.job import NoProgress

        return NoProgress().task("", 1)

    def say(self, text: str) -> None:
        raise AssertionError(text)


def test_export_writes_a_file_and_numbered_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root, scene = fabricate(tmp_path / "ws"), BallScene(seconds=1.0, fps=10, detail=8)
    assert main(["export", "-w", str(root), str(tmp_path / "still.gs4d")]) == 2
    assert "stands still" in capsys.readouterr().err
    assert main(["export", "-w", str(root), str(tmp_path / "a.ply"), "--fps", "5"]) == 2
    assert "--fps does nothing" in capsys.readouterr().err
    monkeypatch.setattr("render.edits.load_edited", lambda *_, **__: scene)
    assert main(["export", "-w", str(root), str(tmp_path / "m.gs4d")]) == 0
    said = "".join(capsys.readouterr())
    assert "times as much" in said and ".ply" in said and "11 frames" in said
    assert len(read_moving(tmp_path / "m.gs4d")) == len(scene)
    assert main(["export", "-w", str(root), str(tmp_path / "frames" / "%04d.ply"), "--fps", "4"]) == 0
    files = sorted((tmp_path / "frames").iterdir())
    assert [f.name for f in files] == [f"{i:04d}.ply" for i in range(5)]
    assert torch.allclose(read_ply(files[3]).mean, scene.at(0.75).mean)
    assert main(["export", "-w", str(root), str(tmp_path / "frames" / "s%d.spz"), "--fps", "1"]) == 0
    assert len(read_spz(tmp_path / "frames" / "s1.spz")) == len(scene)
    for bad, words in (("%04d.obj", "expected one number"), ("%04d%d.ply", "one number"), ("%s.ply", "one number")):
        assert main(["export", "-w", str(root), str(tmp_path / "frames" / bad)]) == 2
        assert words in capsys.readouterr().err
    assert main(["export", "-w", str(root), str(tmp_path / "no" / "m.gs4d")]) == 2
    with pytest.raises(InputError, match="is no splats"):
        export_moving(object(), "main", tmp_path / "m.gs4d", None, Progress())  # type: ignore[arg-type]
