"""Films of a scene: frames along a camera path, kept one by one in the workspace until the film is whole, then put in place.

Frames wait in the workspace (waiting.py). A film that was stopped goes on from them, and comes out the same, byte for byte. What
stood at the film's place stays until the new film is whole, and is replaced only if recon wrote it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recon import __version__
from recon.errors import InputError
from recon.files import atomic_write, remove_tree, sha256_file, sha256_json, sync_folder, sync_tree, write_json
from recon.job import Job, NoProgress, Progress
from recon.system import system_errors
from recon.wording import count
from viewer.frames import END, Look, color_of, decode_png, depth_scale, draw_frame
from viewer.moments import played
from viewer.movie import encoder_for, key_of_movie, write_movie
from viewer.options import RenderOptions
from viewer.paths import CameraPath, Sampled, read_path
from viewer.waiting import waiting

if TYPE_CHECKING:
    from recon.sparse import SparseModel
    from recon.workspace import Workspace

VERSION = 1
"""Goes up when the same scene, path and options would give other pixels."""
FRAMES = "frames.json"
MOST_FRAMES = 100_000
FILM_SIDE = 1280


@dataclass(frozen=True)
class Plan:
    """A film in all that decides its pixels, and where it goes."""

    out: Path
    """Absolute; a file in .mp4 or a folder."""
    sampled: Sampled
    """[F]."""
    size: tuple[int, int]
    """(width, height), even."""
    fps: float
    look: Look
    codec: str
    """Of a video; "" for frames."""
    metric: bool
    kind_of_path: str

    def key(self, scene: str, device: str) -> str:
        """The film's name in the cache: equal keys, equal bytes."""
        s = self.sampled
        poses = [
            s.cam_from_world.tolist(),
            s.vfov_deg.tolist(),
            None if s.scene_time is None else s.scene_time.tolist(),
        ]
        return sha256_json(
            [VERSION, __version__, scene, device, poses, self.size, asdict(self.look), self.codec, self.fps]
        )

    def file(self, index: int) -> str:
        """The name of a frame."""
        return f"{index:0{max(5, len(str(len(self.sampled) - 1)))}d}.png"


def film(
    workspace: Workspace, options: RenderOptions, progress: Progress | None = None, time: float | None = None
) -> Path:
    """Render a film of a trained scene and return its place. Call again after a stop: finished frames are kept. time: the moment
    at which a scene that moves stands still in it, seconds.

    Raises InputError for a path, an option or a place that cannot be used, MissingPart without PyAV, WorkspaceError without
    a scene. Nothing is rendered before all of that is settled.
    """
    from render.devices import pick_device
    from render.edits import load_edited

    progress = progress or NoProgress()
    plan, device = plan_film(workspace, options), pick_device(options.device)
    record = workspace.record("train", options.name)
    if record is None:
        workspace.load("train", options.name)  # raises, and names the verb to run
    scene = load_edited(workspace, options.name, edits=options.edits)
    plan = replace(plan, sampled=played(plan.sampled, scene, options.name, time))
    if options.path == "orbit" and plan.kind_of_path == "captured":
        progress.say("The photos look at no one thing to go round: the film follows them in their order.")
    result = (record or {})["result"]
    key = plan.key(result + _edits(workspace, options), device)
    if _is_there(plan, key):
        progress.say("It is there already. Move it away to render it anew.")
        return plan.out
    with system_errors(workspace.root), waiting(workspace, key, plan.out, (options.name, result)) as cache:
        _draw_all(scene, device, plan, cache, progress)
        with _place_errors(plan.out):
            _assemble(plan, key, cache, progress)
    return plan.out


def _edits(workspace: Workspace, options: RenderOptions) -> str:
    """What tells a scene from which places are left out; "" where none are."""
    from render.edits import edits_path

    path = edits_path(workspace.root, options.name)
    return sha256_file(path) if options.edits and path.is_file() else ""


def plan_film(workspace: Workspace, options: RenderOptions) -> Plan:
    """Settle every option, and look at the place where the film goes."""
    assert options.video is not None
    out = _place(options.video)
    movie = out.suffix.lower() == ".mp4"
    if movie and options.kind == "alpha":
        raise InputError("An .mp4 holds no transparency: name a folder for --kind alpha, as in --video frames.")
    codec = encoder_for(options.codec)[0] if movie else ""
    own = None if options.path in ("orbit", "captured") else read_path(Path(options.path).expanduser())
    model = workspace.load("align").model
    size = film_size(model, options)
    path, kind = _path(model, own, options, size[0] / size[1])
    fps = options.fps or path.fps
    times = path.frame_times(fps)
    if len(times) > MOST_FRAMES:
        raise InputError(f"{len(times)} frames are too many: expected {MOST_FRAMES} at most. Lower --fps or --seconds.")
    sampled = path.at(times)
    unit, span = depth_scale(model, sampled.cameras(size)) if options.kind == "depth" else (1.0, (1.0, 2.0))
    background = _background(workspace, options)
    look = Look(options.kind, background, options.supersample, movie and options.kind == "depth", unit, span)
    return Plan(out, sampled, size, fps, look, codec, model.world.scale == "metric", kind)


def _path(model: SparseModel, own: CameraPath | None, options: RenderOptions, aspect: float) -> tuple[CameraPath, str]:
    """The path that --path names, as long as --seconds wants, and what it is."""
    from viewer.orbit import captured, orbit

    if own is None:
        planned = (orbit if options.path == "orbit" else captured)(model, aspect, options.seconds)
        return planned.path, planned.kind
    if options.seconds is not None and own.duration == 0:
        raise InputError(f"--seconds does nothing for {options.path}, which has one keyframe. Leave it out.")
    return own if options.seconds is None else own.retimed(options.seconds), "file"


def _background(workspace: Workspace, options: RenderOptions) -> tuple[float, float, float]:
    """What --background says, else what the scene was trained over."""
    if options.background is not None:
        return color_of(options.background)
    record = workspace.record("train", options.name) or {}
    red, green, blue = record.get("metrics", {}).get("background", (0.0, 0.0, 0.0))
    return float(red), float(green), float(blue)


def film_size(model: SparseModel, options: RenderOptions) -> tuple[int, int]:
    """(width, height), both even because videos have half the chroma."""
    text = options.aspect or "16:9"
    if text == "photo":
        width, height = (float(np.median(side)) for side in model.cameras.size.T)
    else:
        try:
            width, height = (float(side) for side in text.split(":"))
        except ValueError:
            width = height = 0.0
        if not (0.05 <= (width / height if height > 0 else 0) <= 20):
            raise InputError(f"--aspect {text} is no shape of a picture: expected WIDTH:HEIGHT, as in 16:9, or photo.")
    scale = (options.long_side or FILM_SIDE) / max(width, height)
    return max(2, 2 * round(width * scale / 2)), max(2, 2 * round(height * scale / 2))


# Where it goes


def _place(wanted: Path) -> Path:
    """The absolute place of the film. Raises InputError where none can be put."""
    out = wanted.expanduser().resolve()
    suffix = out.suffix.lower()
    if suffix == ".mp4" and out.is_dir():
        raise InputError(f"{wanted} is a folder. Name a file, as in {wanted / 'film.mp4'}.")
    if suffix not in ("", ".mp4") and not out.is_dir():
        raise InputError(
            f"{wanted} ends in {suffix}; expected .mp4, or a folder's name without an ending, for PNG frames."
        )
    if suffix != ".mp4" and out.exists() and not out.is_dir():
        raise InputError(f"{wanted} is a file; expected a folder for frames, or a file ending in .mp4.")
    if not out.parent.is_dir():
        raise InputError(f"{out.parent} is no folder. Make it first, or write somewhere else.")
    if not os.access(out.parent, os.W_OK):
        raise InputError(f"{out.parent} cannot be written to. Write somewhere else.")
    return out


def _is_there(plan: Plan, key: str) -> bool:
    """Whether this very film stands at its place. Raises InputError when something stands there that is no film of ours."""
    if not plan.out.exists():
        return False
    if plan.codec:
        found = key_of_movie(plan.out)
        if found is None and plan.out.stat().st_size:
            raise InputError(f"{plan.out} is there, and recon did not write it. Move it away, or choose another name.")
        return found == key
    listed = _frames_of(plan.out)
    names = {path.name for path in plan.out.iterdir()}
    strange = sorted(names - {FRAMES, *listed.get("files", ())})
    if strange:
        raise InputError(
            f"{plan.out} holds {strange[0]}, which is no frame of recon's. Name a new or an empty folder with --video."
        )
    return listed.get("key") == key and names == {FRAMES, *listed["files"]}


def _frames_of(folder: Path) -> dict[str, Any]:
    """key and files of a folder's frames.json; {} without one of ours."""
    try:
        data = json.loads((folder / FRAMES).read_text(encoding="utf-8"))
        return {"key": str(data["key"]), "files": [str(frame["file"]) for frame in data["frames"]]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


@contextlib.contextmanager
def _place_errors(out: Path) -> Iterator[None]:
    """What the system says about the film's place, in a sentence."""
    reasons = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ENOENT}
    try:
        yield
    except OSError as error:
        if error.errno not in reasons:
            raise
        raise InputError(
            f"{out} cannot be written ({error.strerror}). The frames are kept: mend that, and the same command goes on."
        ) from error


# Frames


def _draw_all(scene: Any, device: str, plan: Plan, cache: Path, progress: Progress) -> None:
    """Every frame that is not in the cache yet."""
    from render.devices import get_ready

    job = Job(cache, progress)
    job.tidy()
    total, missing = len(plan.sampled), [i for i in range(len(plan.sampled)) if not _whole(cache / plan.file(i))]
    if len(missing) < total:
        progress.say(f"film: going on where it stopped, {total - len(missing)} of {count(total, 'frame')} are there")
    if not missing:
        return
    scene = scene.to(device)
    get_ready(device, job)
    cameras = plan.sampled.cameras(plan.size)
    with progress.task(f"rendering {plan.size[0]}x{plan.size[1]}", len(missing)) as task:
        for index in missing:
            data = draw_frame(scene, cameras[index], plan.look)
            with atomic_write(cache / plan.file(index)) as stream:
                stream.write(data)
            task.advance()


def _whole(path: Path) -> bool:
    """Whether a frame is there to its last byte."""
    try:
        with open(path, "rb") as stream:
            stream.seek(-len(END), os.SEEK_END)
            return stream.read() == END
    except OSError:
        return False


def _assemble(plan: Plan, key: str, cache: Path, progress: Progress) -> None:
    """Put the film in place."""
    files = [cache / plan.file(i) for i in range(len(plan.sampled))]
    if not plan.codec:
        _put_folder(plan, key, files)
        return
    encoder = encoder_for(plan.codec)[1]
    with progress.task(f"encoding with {encoder.name}", len(files)) as task:

        def pictures() -> Iterator[Any]:
            for file in files:
                yield decode_png(file.read_bytes())
                task.advance()

        for leftover in plan.out.parent.glob(f".{plan.out.name}.part*"):
            leftover.unlink(missing_ok=True)
        rate = Fraction(plan.fps).limit_denominator(1001)
        write_movie(plan.out, pictures(), plan.size, rate, encoder, key)


def _put_folder(plan: Plan, key: str, files: list[Path]) -> None:
    """The frames as a folder, built beside and renamed; frames.json says what they are."""
    parent, name = plan.out.parent, plan.out.name
    part, old = parent / f".{name}.part{os.getpid()}", parent / f".{name}.old{os.getpid()}"
    for leftover in [*parent.glob(f".{name}.part*"), old]:
        remove_tree(leftover)
    part.mkdir()
    try:
        for file in files:
            try:
                os.link(file, part / file.name)
            except OSError:  # another file system, or one without links
                shutil.copyfile(file, part / file.name)
        write_json(part / FRAMES, frames_record(plan, key))
        sync_tree(part)
        if plan.out.exists():
            os.replace(plan.out, old)
        os.replace(part, plan.out)
    finally:
        remove_tree(part)
        if old.exists() and not plan.out.exists():
            os.replace(old, plan.out)
        remove_tree(old)
    sync_folder(parent)


def frames_record(plan: Plan, key: str) -> dict[str, Any]:
    """frames.json: what the PNG files hold, and the camera of each."""
    s, cameras = plan.sampled, plan.sampled.cameras(plan.size)
    unit = "metre" if plan.metric else "scene unit"
    depth = {"per_step": plan.look.unit, "unit": unit, "nothing": 0, "that_or_beyond": 65535}
    what = {"rgb": "sRGB, 8 bits", "alpha": "sRGB and straight alpha, 8 bits", "depth": "z along the axis, 16 bits"}
    return {
        "recon_frames": 1,
        "key": key,
        "kind": plan.look.kind,
        "content": what[plan.look.kind],
        "depth": depth if plan.look.kind == "depth" else None,
        "size": list(plan.size),
        "fps": plan.fps,
        "frames": [
            {
                "file": plan.file(i),
                "time": float(s.time[i]),
                "scene_time": None if s.scene_time is None else float(s.scene_time[i]),
                "cam_from_world": s.cam_from_world[i].ravel().tolist(),
                "K": [float(cameras.K[i, r, c]) for r, c in ((0, 0), (1, 1), (0, 2), (1, 2))],
            }
            for i in range(len(s))
        ],
    }
