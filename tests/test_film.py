"""Films: what is in the frames, the video read back, resuming, and places that are not ours to write to."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from recon.cli import main
from recon.errors import InputError, MissingPart
from recon.files import write_json
from recon.geometry import World
from recon.workspace import Workspace
from render.edits import Ball, Edits, edits_path, write_edits
from render.evaluate import psnr
from tests.fabricate import ring_cameras, splat_columns, write_scene
from tests.film_scene import SMALL, whole
from tests.path_cases import around
from viewer import film as film_module
from viewer import movie
from viewer.film import film, film_size
from viewer.frames import color_of, z_steps
from viewer.options import RenderOptions
from viewer.paths import CameraPath, write_path

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return whole(tmp_path_factory.mktemp("film") / "ws")


def video(path: Path) -> tuple[list[np.ndarray], float, tuple[int, int], str]:
    """Frames u8[H, W, 3], pictures a second, size and codec of a video."""
    av = pytest.importorskip("av")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [
            frame.reformat(format="rgb24", src_colorspace="ITU709").to_ndarray() for frame in container.decode(video=0)
        ]
        return frames, float(stream.average_rate), (stream.width, stream.height), stream.codec_context.name


def frames_in(folder: Path) -> list[np.ndarray]:
    listed = json.loads((folder / "frames.json").read_text())["frames"]
    return [cv2.imread(str(folder / frame["file"]), cv2.IMREAD_UNCHANGED) for frame in listed]


# Frames


def test_frames_are_the_scenes_own_renders(root, tmp_path):
    out = film(Workspace(root), RenderOptions(video=tmp_path / "frames", background="#336699", **SMALL))
    told = json.loads((out / "frames.json").read_text())
    assert (told["kind"], told["size"], told["fps"], len(told["frames"])) == ("rgb", [64, 36], 6.0, 6)
    assert sorted(p.name for p in out.iterdir()) == [*(f["file"] for f in told["frames"]), "frames.json"]
    scene = Workspace(root).load("train")
    for frame, pixels in zip(told["frames"], frames_in(out), strict=True):
        fx, fy, cx, cy = frame["K"]
        camera = replace(
            ring_cameras(1),
            cam_from_world=np.array(frame["cam_from_world"]).reshape(1, 4, 4),
            K=np.array([[[fx, 0, cx], [0, fy, cy], [0, 0, 1]]]),
            size=np.array([told["size"]], np.int32),
        )
        with torch.no_grad():
            truth = scene.render(camera, background=torch.tensor([0.2, 0.4, 0.6])).rgb[0].clamp(0, 1).numpy()
        assert np.abs(pixels[..., ::-1] / 255 - truth).max() < 0.51 / 255
    assert not (root / ".film").exists(), "nothing waits any more"


def test_alpha_frames_are_straight(root, tmp_path):
    """Composited over any colour they are the render over that colour."""
    clear = frames_in(film(Workspace(root), RenderOptions(video=tmp_path / "a", kind="alpha", **SMALL)))
    blue = frames_in(film(Workspace(root), RenderOptions(video=tmp_path / "b", background="#0000ff", **SMALL)))
    for rgba, over in zip(clear, blue, strict=True):
        alpha = rgba[..., 3:] / 255
        assert 0.2 < alpha.mean() < 0.95 and (alpha == 0).any()
        composite = rgba[..., :3] * alpha + np.array([255, 0, 0]) * (1 - alpha)
        assert np.quantile(np.abs(composite - over), 0.995) < 2, "but where colours are brighter than white"


def test_depth_frames_hold_z(root, tmp_path):
    """A dense wall of splats at a known z, in a metric world: millimetres."""
    ws = whole(tmp_path / "ws")
    write_json(ws / "align" / "world.json", World("metric", "gravity").to_json())
    write_scene(ws / "train" / "main" / "scene.npz", wall(), World("metric", "gravity"))
    pose = np.eye(4)[None]
    pose[0, :3, 3] = [0, 0, 2.0]  # the wall z = 0 is 2 m ahead
    write_path(tmp_path / "p.json", CameraPath(np.array([0.0]), pose, np.array([70.0])))
    options = RenderOptions(
        video=tmp_path / "d", kind="depth", path=str(tmp_path / "p.json"), long_side=64, device="cpu"
    )
    (pixels,) = frames_in(film(Workspace(ws), options))
    told = json.loads((tmp_path / "d" / "frames.json").read_text())["depth"]
    assert (told["per_step"], told["unit"], told["nothing"]) == (0.001, "metre", 0)
    assert pixels.dtype == np.uint16 and pixels.shape == (36, 64)
    assert np.abs(pixels[13:23, 27:37].astype(int) - 2000).max() <= 20 and pixels[0, 0] == 0
    assert z_steps(np.array([np.nan, 1e-9, 0.0014, 70.0]), 0.001).tolist() == [0, 1, 1, 65535]


def wall() -> dict[str, np.ndarray]:
    """Flat splats on z = 0, half a metre to each side of the origin."""
    x, y = (v.ravel() for v in np.meshgrid(np.linspace(-0.5, 0.5, 21), np.linspace(-0.5, 0.5, 21)))
    columns = splat_columns(len(x))
    columns["mean"] = np.stack([x, y, 0 * x], -1).astype(np.float32)
    columns["log_scale"] = np.log(np.tile(np.float32([0.03, 0.03, 0.001]), (len(x), 1)))
    columns["quat"] = np.tile(np.float32([1, 0, 0, 0]), (len(x), 1))
    columns["opacity_logit"] = np.full(len(x), 5, np.float32)
    return columns


def test_supersampling_is_the_mean_of_a_larger_picture(root, tmp_path):
    fine = frames_in(film(Workspace(root), RenderOptions(video=tmp_path / "f", **SMALL | {"long_side": 128})))
    mean = frames_in(film(Workspace(root), RenderOptions(video=tmp_path / "m", supersample=2, **SMALL)))
    for a, b in zip(fine, mean, strict=True):
        pooled = a.reshape(36, 2, 64, 2, 3).mean((1, 3))
        assert np.abs(pooled - b).max() < 1.6


def test_moments_of_the_scene_reach_it(root, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(film_module, "draw_frame", lambda scene, camera, look: seen.append(camera.time) or PNG)
    path = CameraPath(np.array([0.0, 1.0]), around(8)[:2], np.full(2, 50.0), 2.0, scene_time=np.array([3.0, 5.0]))
    write_path(tmp_path / "p.json", path)
    film(Workspace(root), RenderOptions(video=tmp_path / "t", path=str(tmp_path / "p.json"), long_side=16))
    assert [float(t[0]) for t in seen] == [3.0, 4.0, 5.0]


PNG = cv2.imencode(".png", np.zeros((10, 16, 3), np.uint8))[1].tobytes()


def test_what_was_deleted_in_the_viewer_is_not_filmed(tmp_path):
    ws = whole(tmp_path / "ws")
    before = frames_in(film(Workspace(ws), RenderOptions(video=tmp_path / "before", **SMALL)))
    world = Workspace(ws).load("align").model.world
    write_edits(edits_path(ws), Edits((Ball((0.0, 0.0, 0.0), 100.0),), world))
    after = frames_in(film(Workspace(ws), RenderOptions(video=tmp_path / "after", **SMALL)))
    kept = frames_in(film(Workspace(ws), RenderOptions(video=tmp_path / "kept", edits=False, **SMALL)))
    assert all(pixels.max() == 0 for pixels in after) and np.mean(before) > 10
    np.testing.assert_array_equal(before, kept)
    film(Workspace(ws), RenderOptions(video=tmp_path / "before", **SMALL))
    assert np.max(frames_in(tmp_path / "before")) == 0, "the film from before is not taken for this one"


# Videos


@pytest.mark.parametrize("codec", ["auto", "h264", "mpeg4"])
def test_a_video_holds_the_frames(root, tmp_path, codec):
    options = RenderOptions(video=tmp_path / "o.mp4", codec=codec, **SMALL | {"long_side": 128})
    found, rate, size, name = video(film(Workspace(root), options))
    truth = frames_in(film(Workspace(root), RenderOptions(video=tmp_path / "f", **SMALL | {"long_side": 128})))
    assert (len(found), rate, size) == (6, 6.0, (128, 72))
    assert {"auto": "vp9"}.get(codec, codec) in name
    for a, b in zip(found, truth, strict=True):
        assert psnr(a / 255, b[..., ::-1] / 255) > 27, "and the colours are the right ones"
        assert np.abs(a.mean((0, 1)) - b[..., ::-1].mean((0, 1))).max() < 2
    data = (tmp_path / "o.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "it plays while it loads"
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize("codec", ["vp9", "h264"])
def test_colours_survive_the_video(tmp_path, codec):
    """Plain saturated frames: the matrix of BT.601 instead of BT.709 would be tens of levels off."""
    pytest.importorskip("av")
    colors = np.array([[200, 30, 30], [30, 200, 30], [30, 30, 200], [250, 250, 250], [5, 5, 5]], np.uint8)
    frames = [np.full((36, 64, 3), color, np.uint8) for color in colors]
    movie.write_movie(tmp_path / "c.mp4", frames, (64, 36), Fraction(5), movie.encoder_for(codec)[1], "key")
    found, *_ = video(tmp_path / "c.mp4")
    assert np.abs(np.array([f[18, 32] for f in found]).astype(int) - colors).max() < 8
    assert movie.key_of_movie(tmp_path / "c.mp4") == "key"


def test_depth_as_a_video_is_coloured(root, tmp_path):
    found, *_ = video(film(Workspace(root), RenderOptions(video=tmp_path / "d.mp4", kind="depth", **SMALL)))
    assert np.ptp(found[0].astype(int), axis=(0, 1)).min() > 40 and len(found) == 6


def test_without_pyav_frames_still_work(root, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "av", None)
    words = ["render", "-w", str(root), "--long-side", "32", "--seconds", "0.5", "--fps", "4", "--device", "cpu"]
    assert main([*words, "--video", str(tmp_path / "o.mp4")]) == 2
    assert "pip install 'recon-scene[video]'" in capsys.readouterr().err and not (root / ".film").exists()
    assert main([*words, "--video", str(tmp_path / "frames")]) == 0
    assert len(list((tmp_path / "frames").glob("*.png"))) == 2


def test_a_build_without_an_encoder_is_said(monkeypatch):
    pytest.importorskip("av")
    nothing = (movie.Encoder("no such encoder", "", {}),)
    monkeypatch.setattr(movie, "CODECS", movie.CODECS | {"vp9": nothing, "av1": nothing})
    assert movie.encoder_for("auto")[0] == "mpeg4"
    with pytest.raises(MissingPart, match="no encoder for vp9"):
        movie.encoder_for("vp9")


# Resuming


def test_a_film_goes_on_after_a_kill_and_comes_out_the_same(tmp_path):
    """Killed without a chance to tidy up, in a process of its own; one frame is torn besides."""
    ws = whole(tmp_path / "ws")
    options = ["--long-side", "64", "--seconds", "10", "--fps", "6", "--device", "cpu"]
    command = [sys.executable, "-m", "recon", "render", "-w", str(ws), *options]
    process = subprocess.Popen([*command, "--video", str(tmp_path / "killed.mp4")], cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list(ws.glob(".film/*/*.png"))) < 5 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = sorted(ws.glob(".film/*/*.png"))
    assert 5 <= len(kept) < 60 and not (tmp_path / "killed.mp4").exists()
    kept[1].write_bytes(kept[1].read_bytes()[:-20])
    stamps = {p.name: p.stat().st_mtime_ns for p in kept if p != kept[1]}
    arguments = {"long_side": 64, "seconds": 10.0, "fps": 6.0, "device": "cpu"}
    reused = {}
    original = film_module._assemble

    def assemble(plan, key, cache, progress):
        reused.update({p.name: p.stat().st_mtime_ns for p in cache.glob("*.png")})
        original(plan, key, cache, progress)

    with pytest.MonkeyPatch.context() as m:
        m.setattr(film_module, "_assemble", assemble)
        again = film(Workspace(ws), RenderOptions(video=tmp_path / "killed.mp4", **arguments))
    assert len(reused) == 60 and stamps.items() <= reused.items(), "finished frames are not rendered again"
    straight = film(Workspace(ws), RenderOptions(video=tmp_path / "straight.mp4", **arguments))
    assert again.read_bytes() == straight.read_bytes()
    assert not (ws / ".film").exists()


def test_ctrl_c_keeps_frames_and_another_film_does_not_take_them(root, tmp_path, monkeypatch):
    drawn, real = [], film_module.draw_frame

    def stopped(scene, camera, look):
        if len(drawn) == 3:
            raise KeyboardInterrupt
        drawn.append(1)
        return real(scene, camera, look)

    monkeypatch.setattr(film_module, "draw_frame", stopped)
    options = RenderOptions(video=tmp_path / "f", **SMALL)
    with pytest.raises(KeyboardInterrupt):
        film(Workspace(root), options)
    assert len(list(root.glob(".film/*/*.png"))) == 3 and not (tmp_path / "f").exists()
    count = []
    monkeypatch.setattr(film_module, "draw_frame", lambda *a: count.append(1) or real(*a))
    film(Workspace(root), replace(options, background="white", video=tmp_path / "g"))
    assert len(count) == 6
    film(Workspace(root), options)
    assert len(count) == 9 and not (root / ".film").exists()
    film(Workspace(root), options)
    assert len(count) == 9, "it is there already"


# Places


def test_what_recon_did_not_write_is_not_replaced(root, tmp_path, monkeypatch):
    mine = tmp_path / "holiday.mp4"
    mine.write_bytes(b"my holiday")
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "me.jpg").write_bytes(b"me")
    half = tmp_path / "half"
    film(Workspace(root), RenderOptions(video=half, **SMALL))
    (half / "notes.txt").write_text("mine")
    monkeypatch.setattr(film_module, "draw_frame", None)  # nothing gets rendered
    for place, words in ((mine, "did not write it"), (folder, "holds me.jpg"), (half, "holds notes.txt")):
        with pytest.raises(InputError, match=words):
            film(Workspace(root), RenderOptions(video=place, **SMALL))
    with pytest.raises(InputError, match="did not write"):
        film(Workspace(root), RenderOptions(video=mine, **SMALL))
    assert mine.read_bytes() == b"my holiday" and (folder / "me.jpg").read_bytes() == b"me"
    assert len(list(half.iterdir())) == 8


def test_a_film_of_ours_is_replaced_when_the_new_one_is_whole(root, tmp_path, monkeypatch):
    for out in (tmp_path / "f", tmp_path / "o.mp4"):
        film(Workspace(root), RenderOptions(video=out, **SMALL))
        before = out.read_bytes() if out.is_file() else (out / "00000.png").read_bytes()
        other = RenderOptions(video=out, background="white", **SMALL | {"seconds": 0.5})
        with monkeypatch.context() as m:
            m.setattr(film_module, "draw_frame", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                film(Workspace(root), other)
        assert before == (out.read_bytes() if out.is_file() else (out / "00000.png").read_bytes())
        film(Workspace(root), other)
        assert before != (out.read_bytes() if out.is_file() else (out / "00000.png").read_bytes())
    assert len(list((tmp_path / "f").glob("*.png"))) == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f", "o.mp4"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "Say where"),
        (("--video", "a.mp4", "--panorama", "b.jpg"), "one of them"),
        (("--video", "a.mov"), "expected .mp4, or a folder"),
        (("--video", "no/a.mp4"), "is no folder"),
        (("--video", "a.mp4", "--kind", "alpha"), "no transparency"),
        (("--video", "a", "--kind", "alpha", "--background", "white"), "--background does nothing"),
        (("--video", "a", "--kind", "depth", "--supersample", "2"), "--supersample does nothing"),
        (("--video", "a", "--codec", "h264"), "--codec does nothing"),
        (("--video", "a", "--place", "0"), "--place does nothing"),
        (("--panorama", "a.jpg", "--fps", "3"), "--fps does nothing"),
        (("--panorama", "a.jpg", "--kind", "depth"), "--kind does nothing"),
        (("--panorama", "a.gif"), "expected .jpg or .png"),
        (("--panorama", "a.jpg", "--place", "nowhere"), "is no place"),
        (("--panorama", "a.jpg", "--place", "1,2,nan"), "is no place"),
        (("--video", "a", "--background", "mauve"), "is no colour"),
        (("--video", "a", "--aspect", "wide"), "no shape"),
        (("--video", "a", "--aspect", "0:9"), "no shape"),
        (("--video", "a", "--fps", "nan"), "--fps nan"),
        (("--video", "a", "--long-side", "4"), "--long-side 4"),
        (("--video", "a", "--path", "none.json"), "cannot be read"),
        (("--video", "a", "--seconds", "80000", "--fps", "240"), "too"),
        (("--video", "a", "--name", "other"), "train"),
        (("--video", "a", "--name", "../x"), "cannot name"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_rendered(root, tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    assert main(["render", "-w", str(root), *words]) == 2
    assert said in capsys.readouterr().err.replace("\n", " ")
    assert not (root / ".film").exists() and not list(tmp_path.iterdir())


def test_sizes_are_even_and_of_the_shape_asked_for(root):
    model = Workspace(root).load("align").model
    sizes = {
        text: film_size(model, RenderOptions(video=Path("a"), aspect=text, long_side=101))
        for text in (None, "1:1", "9:16", "photo", "2.39:1")
    }
    assert sizes == {None: (100, 56), "1:1": (100, 100), "9:16": (56, 100), "photo": (100, 68), "2.39:1": (100, 42)}
    assert color_of("grey") == (0.5, 0.5, 0.5) and color_of("#ff8000") == (1.0, 128 / 255, 0.0)
