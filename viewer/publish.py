"""`recon publish`: a workspace's scene as a static folder that any web server serves: the page, the scene's files, a manifest.

site/index.html assets/ notices.txt (the built page), manifest.json, splats/*.spz, mesh/mesh.glb, photos/*.jpg and notes.json
(only when asked for). Places are in recon's world frame. What is known of the frame goes out as words (metric, gravity); where
on earth it is, where the workspace lies and, without --photos, what the photos are called stay here.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recon import __version__
from recon.cameras import Cameras
from recon.errors import InputError, WorkspaceError
from recon.files import atomic_write, sha256_file, write_json
from recon.job import NoProgress, Progress
from recon.wording import count as counted
from recon.workspace import Workspace
from viewer.notes import read_notes, write_notes
from viewer.options import MOST_SPLATS, PHOTO_SIDE, PublishOptions
from viewer.site_folder import MANIFEST, building
from viewer.surroundings import Evidence, first_view, ground, subject, whole
from viewer.targets import TARGETS
from viewer.web_page import STAMP, built_page

if TYPE_CHECKING:
    from recon.reconstruction import Reconstruction
    from viewer.site_splats import Shown

MANIFEST_VERSION = 1
MOST_TEXT = 200
"""Characters of a title or a name."""
JPEG_QUALITY = 88
HIDDEN_GREY = 110
"""What a mask hides is this grey in a published photo."""


def publish(
    workspace: Workspace, site: Path, options: PublishOptions, progress: Progress | None = None
) -> dict[str, Any]:
    """Publish a workspace into the folder `site`, replacing a site that is there at the very end, and return the manifest.

    Raises InputError for a folder that is no site of recon's, notes that are none, or more splats than the page holds,
    WorkspaceError for a workspace without a scene or a mesh, and MissingPart when the page cannot be built, or --measure yes
    has no browser.
    """
    progress = progress or NoProgress()
    if not workspace.exists:
        raise WorkspaceError(f"{workspace.root} is no recon workspace. Name one with -w.")
    if options.measure == "yes":
        from viewer.measure import check_browser

        check_browser()
    if not _has_something(workspace, options):
        if not options.mesh and workspace.record("mesh", options.name) is not None:
            raise InputError(
                f"{workspace.root} has a mesh called {options.name} and no scene, and --no-mesh leaves the mesh out: nothing is "
                "left to publish."
            )
        raise WorkspaceError(
            f"{workspace.root} has neither a scene nor a mesh called {options.name}. Run `recon run` or `recon train` first."
        )
    notes = None if options.notes is None else read_notes(options.notes.expanduser())
    page = built_page(progress.say)
    with building(site, workspace.root) as folder:
        copy_page(page, folder)
        manifest = fill(workspace, folder, options, progress)
        manifest["notes"] = write_notes(folder, notes) if notes else None
        write_json(folder / MANIFEST, manifest)
        if options.measure != "no":
            from viewer.measure import measured

            manifest["measured"] = measured(folder, manifest, progress, insist=options.measure == "yes")
            write_json(folder / MANIFEST, manifest)
    return manifest


def _has_something(workspace: Workspace, options: PublishOptions) -> bool:
    trained = workspace.record("train", options.name) is not None
    return trained or (options.mesh and workspace.record("mesh", options.name) is not None)


def copy_page(page: Path, folder: Path) -> None:
    """The built page's files; neither its stamp nor anything hidden."""
    ignore = shutil.ignore_patterns(STAMP, ".*", "*.map")
    shutil.copytree(page, folder, ignore=ignore, dirs_exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)


def fill(workspace: Workspace, folder: Path, options: PublishOptions, progress: Progress) -> dict[str, Any]:
    """Write the scene's files into the folder; returns the manifest, all but its "measured"."""
    from render.edits import load_edited

    reconstruction, capture = workspace.load("align"), workspace.load("ingest")
    model = reconstruction.model
    trained = workspace.record("train", options.name) is not None
    scene = load_edited(workspace, options.name, edits=options.edits) if trained else None
    _say_what_edits_leave(workspace, scene, options, progress)
    held_out, refined = capture.test_names, {} if scene is None else scene.refined
    poses = [refined.get(name, pose) for name, pose in zip(model.names, model.cameras.cam_from_world, strict=True)]
    cameras = replace(model.cameras, cam_from_world=np.stack(poses))
    training = [i for i, name in enumerate(model.names) if name not in held_out] or list(range(len(model.names)))
    splats, moving, shown, times = None, None, None, None
    if scene is not None and hasattr(scene, "at"):
        splats, moving, shown = _splats(scene, cameras[training], folder, options, progress)
    around = surroundings(reconstruction, cameras, training, shown)
    start = around["start"]
    if scene is not None and moving is not None and shown is not None:
        from viewer.site_moving import write_first_picture

        times = scene.times
        start["time"] = when(start["time"], times, times[0])
        moving["coarse"] = write_first_picture(shown, start["time"], folder, TARGETS[options.target], options, progress)
    else:
        start["time"] = None
    mesh = copy_mesh(workspace, folder, options)
    if splats is None and moving is None and mesh is None:
        raise WorkspaceError(
            f"Scene {options.name} has neither splats nor a mesh, which is what the page draws. Train splats beside it "
            "(`recon train --scene gs --name splats`) and publish these with --name splats."
        )
    photos = (
        write_photos(reconstruction, folder, options.photo_side or PHOTO_SIDE, progress) if options.photos else None
    )
    return {
        "recon_manifest": MANIFEST_VERSION,
        "generator": f"recon {__version__}",
        "title": text(options.title if options.title is not None else Path(os.path.realpath(workspace.root)).name),
        "target": options.target,
        "world": {"scale": model.world.scale, "up": model.world.up},
        **around,
        "splats": splats,
        "mesh": mesh,
        "cameras": [
            {
                "name": text(name) if options.photos else f"photo {i + 1}",
                "cam_from_world": cameras.cam_from_world[i].ravel().tolist(),
                "K": [float(cameras.K[i, r, c]) for r, c in ((0, 0), (1, 1), (0, 2), (1, 2))],
                "size": [int(side) for side in cameras.size[i]],
                "split": "test" if name in held_out else "train",
                "photo": photos[i] if photos else None,
                "time": None if cameras.time is None else when(float(cameras.time[i]), times, None),
            }
            for i, name in enumerate(model.names)
        ],
        "moving": moving,
        "notes": None,
        "measured": None,
    }


def _say_what_edits_leave(workspace: Workspace, scene: Any, options: PublishOptions, progress: Progress) -> None:
    """Edits take splats away; what photos and the mesh made of them show stays: say so, and how to leave it out."""
    from render.edits import edits_path

    path = edits_path(workspace.root, options.name)
    if scene is None or not hasattr(scene, "at") or not options.edits or not path.is_file():
        return
    mesh = options.mesh and workspace.record("mesh", options.name) is not None
    still = [("the mesh", "--no-mesh")] * mesh + [("the photos", "no --photos")] * options.photos
    if still:
        what, without = (" and ".join(words) for words in zip(*still, strict=True))
        progress.warn(
            f"What was deleted in the viewer (edits/{path.name}) is gone from the splats alone: {what} may still show it. "
            f"Publish with {without} to leave that out."
        )


def when(time: float | None, times: tuple[float, float] | None, otherwise: float | None) -> float | None:
    """A photo's time, brought into those of a scene that moves; `otherwise` where one is not known, or nothing moves."""
    return otherwise if time is None or times is None else float(min(max(time, times[0]), times[1]))


def text(words: str) -> str:
    """Words for the manifest: of bounded length, with nothing that cannot be written as UTF-8. HTML in them stays what it is,
    text, and the page shows it as such.
    """
    return words.encode("utf-8", "backslashreplace").decode()[:MOST_TEXT]


def _splats(
    scene: Any, training: Cameras, folder: Path, options: PublishOptions, progress: Progress
) -> tuple[dict[str, Any] | None, dict[str, Any] | None, Shown]:
    """Write the splats; returns the manifest's "splats" or "moving", and the scene as the cameras see it."""
    from render.lod import Drawing
    from viewer.site_moving import write_moving_splats
    from viewer.site_splats import look, write_splats

    drawing, splats = Drawing(scene.setup.near, scene.setup.antialiased), scene.at(None)
    if options.splats == 0 and len(splats) > MOST_SPLATS:
        raise InputError(
            f"Scene {options.name} has {len(splats)} splats, and the page holds at most {MOST_SPLATS}. Give "
            f"--splats {MOST_SPLATS} or less instead of --splats 0."
        )
    target = TARGETS[options.target]
    if getattr(scene, "times", None) is not None:
        moving = write_moving_splats(scene, training, folder, target, options, progress)
        if moving is not None:
            return None, *moving
    shown = look(splats, training, drawing, progress)
    if len(shown.splats) == 0:
        raise WorkspaceError(
            f"Scene {options.name} has no splats that can be seen. Train it again with `recon train --redo`."
        )
    return write_splats(shown, folder, target, options, progress), None, shown


def surroundings(
    reconstruction: Reconstruction, cameras: Cameras, training: list[int], shown: Shown | None
) -> dict[str, Any]:
    """The manifest's "bounds", "floor" and "start"; from the sparse points where there are no splats.

    cameras: of all photos; training: rows of those that the scene was trained on.
    """
    model = reconstruction.model
    if shown is not None:
        from render.lod import spread
        from viewer.site_splats import VIEWS, likeness

        evidence, views = shown.evidence(), shown.seen.cameras
        names = [model.names[training[i]] for i in spread(len(training), VIEWS)]
        like = likeness(shown, [inside(reconstruction.images, reconstruction.image_path(name)) for name in names])
    else:
        points = model.xyz if len(model.xyz) else cameras.centers
        evidence, views = Evidence(points, *np.ones((3, len(points)))), cameras[training]
        like = np.zeros(len(views))
    low, high = subject(evidence)
    return {
        "bounds": {"min": low.tolist(), "max": high.tolist()},
        "floor": None if model.world.up == "unknown" else ground(evidence, low, high, cameras[training]),
        "start": first_view(views, low, high, whole(evidence, low, high, views), like),
    }


def copy_mesh(workspace: Workspace, folder: Path, options: PublishOptions) -> dict[str, Any] | None:
    """mesh/mesh.glb without what its file says of the frame; returns the manifest's "mesh"."""
    if not options.mesh or workspace.record("mesh", options.name) is None:
        return None
    source = workspace.folder("mesh", options.name) / "mesh.glb"
    try:
        data = source.read_bytes()
        if data[:4] != b"glTF" or struct.unpack_from("<I", data, 8)[0] != len(data) or data[16:20] != b"JSON":
            raise ValueError("it is no whole GLB")
        length = struct.unpack_from("<I", data, 12)[0]
        gltf = json.loads(data[20 : 20 + length])
        gltf["asset"] = {"version": "2.0", "generator": "recon"}
        faces = gltf["accessors"][gltf["meshes"][0]["primitives"][0]["indices"]]["count"] // 3
    except (OSError, ValueError, KeyError, IndexError, TypeError, struct.error) as error:
        raise WorkspaceError(f"{source} is damaged ({error}). Make it again with `recon mesh --redo`.") from error
    head = json.dumps(gltf, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 4)
    body = data[20 + length :]
    (folder / "mesh").mkdir()
    path = folder / "mesh" / "mesh.glb"
    with atomic_write(path) as stream:
        stream.write(struct.pack("<4sII", b"glTF", 2, 20 + len(head) + len(body)))
        stream.write(struct.pack("<I4s", len(head), b"JSON") + head + body)
    return {"file": "mesh/mesh.glb", "bytes": path.stat().st_size, "faces": faces, "sha256": sha256_file(path)}


def write_photos(reconstruction: Reconstruction, folder: Path, side: int, progress: Progress) -> list[str]:
    """photos/0000.jpg, ...: the undistorted photos in the order of their names, resized, without metadata."""
    import cv2

    names = reconstruction.model.names
    (folder / "photos").mkdir()
    files = [f"photos/{i:04d}.jpg" for i in range(len(names))]
    with progress.task("photos", len(names)) as task:
        for name, file in zip(names, files, strict=True):
            picture = published_photo(reconstruction, name, side)
            settings = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
            with atomic_write(folder / file) as stream:
                stream.write(cv2.imencode(".jpg", np.ascontiguousarray(picture[..., ::-1]), settings)[1].tobytes())
            task.advance()
    return files


def published_photo(reconstruction: Reconstruction, name: str, side: int) -> NDArray[np.uint8]:
    """u8[H, W, 3] of an undistorted photo: over black where it has a matte, grey where its mask hides something."""
    from recon.cameras import fit_size
    from recon.reconstruction import read_image, shrink

    path = inside(reconstruction.images, reconstruction.image_path(name))
    image = read_image(path).astype(np.float32)
    rgb = image[..., :3] * (image[..., 3:] / 255 if image.shape[2] == 4 else 1.0)
    mask = reconstruction.mask_path(name)
    if mask is not None and reconstruction.masks is not None:
        import cv2

        shown = read_image(inside(reconstruction.masks, mask))[..., 0]
        rgb[cv2.resize(shown, rgb.shape[1::-1], interpolation=cv2.INTER_NEAREST) < 128] = HIDDEN_GREY
    height, width = rgb.shape[:2]
    return np.clip(np.round(shrink(rgb, fit_size(np.array([width, height]), side))), 0, 255).astype(np.uint8)


def inside(folder: Path, path: Path) -> Path:
    """The path, if it lies below the folder: names come from files, and a name may say "..". Raises InputError otherwise."""
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
        raise InputError(
            f"The photo {path.name!r} is named by a path that leads out of {folder.name}/: expected a file in the workspace. "
            "Rename it in the model, and run `recon run` again."
        )
    return path


def in_words(manifest: dict[str, Any], site: Path) -> list[str]:
    """What was published, for the terminal."""
    lines = []
    if (splats := manifest["splats"]) is not None:
        size = sum(part["bytes"] for part in (splats["coarse"], *splats["tiles"])) / 1e6
        tiles = counted(len(splats["tiles"]), "tile")
        lines.append(f"splats  {splats['count']} of SH degree {splats['sh_degree']} in {tiles}, {size:.1f} MB")
    if (moving := manifest["moving"]) is not None:
        size = (moving["bytes"] + sum(segment["bytes"] for segment in moving["segments"])) / 1e6
        files = counted(len(moving["segments"]), "segment")
        seconds = moving["end"] - moving["start"]
        lines.append(f"moving  {moving['count']} splats, {seconds:.1f} s in {files}, {size:.1f} MB")
    if (mesh := manifest["mesh"]) is not None:
        lines.append(f"mesh    {mesh['faces']} faces, {mesh['bytes'] / 1e6:.1f} MB")
    if manifest["notes"] is not None:
        lines.append(f"notes   {site / manifest['notes']}")
    if (m := manifest["measured"]) is not None:
        from viewer.measure import in_software

        lines.append(
            f"opened  in {m['browser']}: first picture {m['first_ms'] / 1e3:.1f} s, whole {m['ready_ms'] / 1e3:.1f} s, "
            f"a frame {m['frame_ms']:.0f} ms, drawn by {m['renderer']}"
        )
        if in_software(m["renderer"]):
            lines.append("        That is software: any graphics card is faster, and the times say nothing of one.")
    return [*lines, f"site    {site}"]
