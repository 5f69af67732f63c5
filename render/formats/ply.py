"""The .ply file of 3D Gaussian splatting: one binary row of 62 floats a splat, raw parameters, axes as they are.

Columns: x y z, nx ny nz (zero), f_dc_0..2, f_rest_0..44 (channel by channel: 15 red, 15 green, 15 blue), opacity
(logit), scale_0..2 (natural logarithm), rot_0..3 (wxyz). What we know of the frame stands in a header comment that
other readers pass over.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import BinaryIO

import numpy as np

from recon.errors import InputError
from recon.files import atomic_write
from recon.geometry import World
from render.splats import Splats

REST = 15
"""Harmonics above band 0 that the layout holds, for each channel."""
WORLD_COMMENT = "recon_world"
NORMAL = ("nx", "ny", "nz")
COLUMNS = (
    *("x", "y", "z", *NORMAL, "f_dc_0", "f_dc_1", "f_dc_2"),
    *(f"f_rest_{i}" for i in range(3 * REST)),
    *("opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
)
SCALARS = {
    "char": "i1",
    "uchar": "u1",
    "short": "i2",
    "ushort": "u2",
    "int": "i4",
    "uint": "u4",
    "float": "f4",
    "double": "f8",
    "int8": "i1",
    "uint8": "u1",
    "int16": "i2",
    "uint16": "u2",
    "int32": "i4",
    "uint32": "u4",
    "float32": "f4",
    "float64": "f8",
}


def write_ply(path: Path, splats: Splats) -> None:
    """Write splats [N] of any SH degree up to 3 (missing bands are zero). Atomic. Quaternions are written normalised."""
    cut = splats.detach().to("cpu")
    n, k = len(cut), cut.sh.shape[1]
    if k > 1 + REST:
        raise ValueError(f"a 3DGS .ply holds SH degree 3 at most, not {cut.sh_degree}")
    quat = cut.quat.numpy().astype(np.float64)
    rest = np.zeros((n, 3, REST), np.float32)
    rest[:, :, : k - 1] = cut.sh[:, 1:].numpy().transpose(0, 2, 1)
    table = np.concatenate(
        [
            cut.mean.numpy(),
            np.zeros((n, 3), np.float32),
            cut.sh[:, 0].numpy(),
            rest.reshape(n, 3 * REST),
            cut.opacity_logit.numpy()[:, None],
            cut.log_scale.numpy(),
            quat / np.maximum(np.linalg.norm(quat, axis=1, keepdims=True), 1e-12),
        ],
        axis=1,
        dtype=np.float32,
    )
    world = json.dumps(cut.world.to_json(), separators=(",", ":"))
    header = ["ply", "format binary_little_endian 1.0", f"comment {WORLD_COMMENT} {world}", f"element vertex {n}"]
    header += [f"property float {name}" for name in COLUMNS]
    with atomic_write(path) as stream:
        stream.write(("\n".join(header) + "\nend_header\n").encode("ascii"))
        stream.write(table.astype("<f4", copy=False).tobytes())


def read_ply(path: Path) -> Splats:
    """Read a 3DGS .ply of SH degree 0..3, binary of either byte order, its columns in any order and type.

    Without the header comment the World is unknown. Raises InputError for a file that is cut short or is no splat file.
    """
    import torch

    try:
        with open(path, "rb") as stream:
            rows, world = _read_table(stream, path)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}). Name a .ply file of splats.") from error
    except (ValueError, IndexError, KeyError) as error:
        raise InputError(f"{path} has a damaged header ({error}). Write it again.") from error
    names = rows.dtype.names or ()
    missing = [name for name in COLUMNS if name not in names and name not in NORMAL and not name.startswith("f_rest_")]
    if missing:
        raise InputError(
            f"{path} is no file of 3D Gaussian splats: expected the columns of 3DGS, missing {', '.join(missing)}. "
            "Point clouds and compressed splats need to be converted first."
        )
    rest = sum(name.startswith("f_rest_") for name in names)
    if rest not in (0, 9, 24, 45):
        raise InputError(f"{path} has {rest} f_rest columns; expected 0, 9, 24 or 45 (SH degree 0 to 3).")

    def pick(*columns: str) -> torch.Tensor:
        return torch.from_numpy(np.stack([rows[c] for c in columns], -1, dtype=np.float32, casting="unsafe"))

    n, k = len(rows), 1 + rest // 3
    sh = torch.zeros(n, k, 3)
    sh[:, 0] = pick("f_dc_0", "f_dc_1", "f_dc_2")
    if rest:
        sh[:, 1:] = pick(*(f"f_rest_{i}" for i in range(rest))).reshape(n, 3, k - 1).transpose(1, 2)
    return Splats(
        mean=pick("x", "y", "z"),
        log_scale=pick("scale_0", "scale_1", "scale_2"),
        quat=pick("rot_0", "rot_1", "rot_2", "rot_3"),
        opacity_logit=pick("opacity")[:, 0],
        sh=sh,
        world=world,
    )


def _read_table(stream: BinaryIO, path: Path) -> tuple[np.ndarray, World]:
    """The vertex rows as a structured array, and the World of the header comment."""
    header = _read_header(stream, path)
    order, fields, count, world = "", [], -1, World()
    for words in header:
        if words[0] == "format":
            order = {"binary_little_endian": "<", "binary_big_endian": ">"}.get(words[1], "")
        elif words[0] == "comment" and words[1:2] == [WORLD_COMMENT]:
            world = World.from_json(json.loads(" ".join(words[2:])))
        elif words[0] == "element":
            if count >= 0:  # what follows the vertices (faces) is not ours
                break
            if words[1] != "vertex":
                raise InputError(f"{path} starts with the element {words[1]!r}; expected 'vertex'. It is no 3DGS .ply.")
            count = int(words[2])
        elif words[0] == "property":
            if words[1] not in SCALARS:
                raise InputError(f"{path} has a property of type {words[1]!r}; a 3DGS .ply has numbers only.")
            fields.append((words[2], order + SCALARS[words[1]]))
    if not order or count < 0:
        raise InputError(f"{path} is not a binary .ply with vertices; text files need to be converted first.")
    dtype = np.dtype(fields)
    data = stream.read(count * dtype.itemsize)
    if len(data) != count * dtype.itemsize:
        found = len(data) // max(dtype.itemsize, 1)
        raise InputError(f"{path} is cut short: its header promises {count} splats, {found} are there. Write it again.")
    return np.frombuffer(data, dtype), world


def _read_header(stream: BinaryIO, path: Path) -> list[list[str]]:
    """The header's lines as words, without the first and the last one."""
    if stream.readline(16).strip() != b"ply":
        raise InputError(f"{path} is no .ply file: it does not begin with 'ply'.")
    lines = []
    for raw in iter(lambda: stream.readline(1 << 16), b""):
        words = raw.decode("latin-1").split()
        if words == ["end_header"]:
            return lines
        if words:
            lines.append(words)
        if len(lines) > 1000:
            break
    raise InputError(f"{path} has no end of header within 1000 lines: it is no .ply file, or cut short.")
