"""A still all around, equirectangular, from six views of 100 degrees, with the metadata by which viewers know it (GPano).

Notation: the panorama's frame is a level camera's: +X right, +Y down, +Z forward. Longitude 0, in the middle of the picture, is
forward, and grows to the right; latitude grows upwards. The six faces overlap, and each direction is a blend of the faces that
see it: splats are projected a little differently in each, and order changes, so that a hard seam would show.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recon.cameras import Cameras
from recon.errors import InputError
from recon.files import atomic_write
from recon.geometry import Array
from recon.job import Job, NoProgress, Progress
from viewer.frames import as_bytes, color_of, draw
from viewer.moments import moment_of
from viewer.options import RenderOptions
from viewer.paths import read_path

if TYPE_CHECKING:
    from recon.sparse import SparseModel
    from recon.workspace import Workspace

TANGENT = float(np.tan(np.radians(50.0)))
"""Of half of what a face shows: 5 degrees beyond each seam."""
PANORAMA_SIDE = 4096
BAND = 64
"""Rows resampled at a time."""
CREATOR = "recon"
FACES = {
    "front": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "right": ((0, 0, -1), (0, 1, 0), (1, 0, 0)),
    "back": ((-1, 0, 0), (0, 1, 0), (0, 0, -1)),
    "left": ((0, 0, 1), (0, 1, 0), (-1, 0, 0)),
    "up": ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
    "down": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
}
"""Each face's right, down and forward in the panorama's frame: the rows of face_from_panorama."""


def panorama(
    workspace: Workspace, options: RenderOptions, progress: Progress | None = None, time: float | None = None
) -> Path:
    """Render a panorama of a trained scene and return its place. time: the moment of a scene that moves, seconds; without it, the
    camera path's, or its first.

    Raises InputError for a place that there is not or a file that recon did not write, WorkspaceError without a scene.
    """
    import tempfile

    from render.devices import get_ready, pick_device
    from render.edits import load_edited

    assert options.panorama is not None
    progress, out = progress or NoProgress(), _checked(options.panorama)
    width = 2 * ((options.long_side or PANORAMA_SIDE) // 2)
    background = None if options.background is None else color_of(options.background)
    model = workspace.load("align").model
    panorama_from_world, center, moment = standpoint(model, options)
    device = pick_device(options.device)
    scene = load_edited(workspace, options.name, edits=options.edits).to(device)
    chosen = moment_of(scene, options.name, time)
    moment = moment if chosen is None else chosen
    with tempfile.TemporaryDirectory() as scratch:
        get_ready(device, Job(Path(scratch), progress))
    color = tuple(scene.info["background"]) if background is None else background
    faces = {}
    with progress.task(f"rendering {width}x{width // 2}", len(FACES)) as task:
        for name in FACES:
            camera = face_camera(name, panorama_from_world, center, width, moment)
            faces[name] = draw(scene, camera, color, options.supersample)[0]
            task.advance()
    data = encode(as_bytes(equirectangular(faces, width)), out.suffix.lower())
    try:
        with atomic_write(out) as stream:
            stream.write(data)
    except OSError as error:
        raise InputError(f"{out} cannot be written ({error.strerror or error}). Choose another place.") from error
    return out


def _checked(wanted: Path) -> Path:
    """The absolute place of the still. Raises InputError where none can be put."""
    out = wanted.expanduser().resolve()
    if out.suffix.lower() not in (".jpg", ".jpeg", ".png"):
        raise InputError(f"{wanted} ends in {out.suffix or 'nothing'}; expected .jpg or .png.")
    if out.is_dir():
        raise InputError(f"{wanted} is a folder. Name a file, as in {wanted / 'around.jpg'}.")
    if not out.parent.is_dir():
        raise InputError(f"{out.parent} is no folder. Make it first, or write somewhere else.")
    if out.exists() and out.stat().st_size:
        with open(out, "rb") as stream:
            ours = f"<xmp:CreatorTool>{CREATOR}<".encode() in stream.read(65536)
        if not ours:
            raise InputError(f"{wanted} is there, and is no panorama of recon's. Move it away, or choose another name.")
    return out


def standpoint(model: SparseModel, options: RenderOptions) -> tuple[Array, Array, float | None]:
    """panorama_from_world f64[3, 3], the place f64[3] and the moment (seconds, or None) that --path and --place name."""
    from viewer.orbit import up_of

    own = None if options.path == "orbit" else read_path(Path(options.path).expanduser())
    cameras, place, moment = model.cameras, options.place, None
    keyframe = own is not None and (place is None or place.isdecimal())
    if own is not None and not keyframe:
        raise InputError(
            f"--path {options.path} does nothing with --place {place}: of a path, --place takes the number of a keyframe, 0 to "
            f"{len(own) - 1}. Leave one of the two out."
        )
    if place is not None and place in model.names and not keyframe:
        row = model.names.index(place)
        pose = cameras.world_from_cam[row]
    elif own is not None:
        index = int(place or 0)
        if index >= len(own):
            raise InputError(f"--place {index}: {options.path} has keyframes 0 to {len(own) - 1}.")
        sampled = own.at(own.time[index])
        pose = np.linalg.inv(sampled.cam_from_world[0])
        moment = None if sampled.scene_time is None else float(sampled.scene_time[0])
    elif place is None:
        away = np.linalg.norm(cameras.centers - np.median(cameras.centers, 0), axis=1)
        pose = cameras.world_from_cam[int(away.argmin())]
    else:
        pose = np.eye(4)
        pose[:3, 3] = _coordinates(place)
        pose[:3, 2] = [0, 1, 0]
    return level(pose, up_of(model)), pose[:3, 3], moment


def _coordinates(place: str) -> Array:
    try:
        xyz = np.array([float(word) for word in place.split(",")])
        if xyz.shape != (3,) or not np.isfinite(xyz).all():
            raise ValueError
    except ValueError:
        raise InputError(
            f"--place {place} is no place: expected the name of a posed photo, X,Y,Z in the world, or with --path FILE.json the "
            "number of a keyframe."
        ) from None
    return xyz


def level(world_from_cam: Array, up: Array) -> Array:
    """panorama_from_world f64[3, 3]: held level, and facing where a camera faces (or, looking straight up or down, where the
    top of its picture points)."""
    for axis in (world_from_cam[:3, 2], -world_from_cam[:3, 1], world_from_cam[:3, 0]):
        flat = axis - (axis @ up) * up
        if np.linalg.norm(flat) > 0.1:
            break
    forward = flat / np.linalg.norm(flat)
    return np.stack([np.cross(forward, up), -up, forward])


def face_camera(name: str, panorama_from_world: Array, center: Array, width: int, time: float | None = None) -> Cameras:
    """One face as a camera, as fine in its middle as a panorama of that width is along its horizon."""
    rotation = np.array(FACES[name], np.float64) @ panorama_from_world
    side = max(8, int(np.ceil(width / np.pi * TANGENT)))
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, -rotation @ center
    focal = side / (2 * TANGENT)
    k = np.array([[focal, 0, side / 2], [0, focal, side / 2], [0, 0, 1]])
    moment = None if time is None else np.array([time])
    return Cameras(pose[None], k[None], np.full((1, 2), side, np.int32), time=moment)


def equirectangular(faces: dict[str, NDArray[np.float32]], width: int) -> NDArray[np.float32]:
    """f32[width / 2, width, 3] from the faces f32[S, S, 3]."""
    import cv2

    height = width // 2
    out = np.zeros((height, width, 3), np.float32)
    longitude = ((np.arange(width) + 0.5) / width - 0.5) * 2 * np.pi
    for top in range(0, height, BAND):
        latitude = (0.5 - (np.arange(top, min(top + BAND, height)) + 0.5) / height)[:, None] * np.pi
        flat = np.cos(latitude)
        direction = np.stack(
            np.broadcast_arrays(flat * np.sin(longitude), -np.sin(latitude), flat * np.cos(longitude)), -1
        )
        total = np.zeros(direction.shape[:2], np.float32)
        for name, image in faces.items():
            side = len(image)
            limit = TANGENT * (1 - 2 / side)
            seen = direction @ np.array(FACES[name], np.float64).T
            ahead = seen[..., 2] > 0.1
            tangent = seen[..., :2] / np.where(ahead, seen[..., 2], 1)[..., None]
            reach = np.abs(tangent).max(-1)
            weight = np.where(ahead, np.clip((limit - reach) / (limit - 1 / limit), 0, 1), 0).astype(np.float32)
            if not weight.any():
                continue
            pixel = ((tangent / TANGENT + 1) * side / 2 - 0.5).astype(np.float32)  # cv2's pixel centres are integers
            part = cv2.remap(image, pixel[..., 0], pixel[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            out[top : top + len(part)] += weight[..., None] * part
            total += weight
        out[top : top + BAND] /= total[..., None]
    return out


def encode(rgb: NDArray[np.uint8], suffix: str) -> bytes:
    """The bytes of a JPEG or PNG of rgb u8[H, W, 3] that says it is a panorama."""
    import cv2

    pixels = np.ascontiguousarray(rgb[..., ::-1])
    xmp = xmp_of(rgb.shape[1], rgb.shape[0])
    if suffix == ".png":
        data = cv2.imencode(".png", pixels)[1].tobytes()
        body = b"iTXtXML:com.adobe.xmp\0\0\0\0\0" + xmp
        chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        return data[:33] + chunk + data[33:]  # after the signature and the header
    chroma = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 95, *chroma])[1].tobytes()
    body = b"http://ns.adobe.com/xap/1.0/\0" + xmp
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]


def xmp_of(width: int, height: int) -> bytes:
    """Google's Photo Sphere metadata of a whole sphere (developers.google.com/streetview/spherical-metadata)."""
    values: dict[str, Any] = {
        "ProjectionType": "equirectangular",
        "UsePanoramaViewer": "True",
        "FullPanoWidthPixels": width,
        "FullPanoHeightPixels": height,
        "CroppedAreaImageWidthPixels": width,
        "CroppedAreaImageHeightPixels": height,
        "CroppedAreaLeftPixels": 0,
        "CroppedAreaTopPixels": 0,
    }
    fields = "".join(f"<GPano:{name}>{value}</GPano:{name}>" for name, value in values.items())
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        'xmlns:GPano="http://ns.google.com/photos/1.0/panorama/" xmlns:xmp="http://ns.adobe.com/xap/1.0/">'
        f"<xmp:CreatorTool>{CREATOR}</xmp:CreatorTool>{fields}</rdf:Description></rdf:RDF></x:xmpmeta>"
        '<?xpacket end="r"?>'
    ).encode()
