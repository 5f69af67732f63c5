"""Coloured points from a PLY file, ASCII or binary: what a data set brings along as its sparse points."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recon.errors import InputError
from recon.geometry import Array

TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2", "uint16": "u2",
    "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4", "double": "f8", "float64": "f8",
}  # fmt: skip
COLOURS = (("red", "green", "blue"), ("r", "g", "b"))


def read_ply_points(path: Path) -> tuple[Array, NDArray[np.uint8]]:
    """xyz f64[P, 3] and rgb u8[P, 3] (mid grey without colours) of the finite points of a PLY whose first element is vertex.

    Raises InputError saying what is wrong with the file. Source: Turk, The PLY polygon file format, 1994.
    """
    try:
        table = _vertices(path.read_bytes())
        xyz = np.stack([table[axis].astype(np.float64) for axis in "xyz"], -1)
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise InputError(f"{path} cannot be read as a PLY of points ({error}).") from error
    fields = table.dtype.names or ()
    names = next((c for c in COLOURS if set(c) <= set(fields)), None)
    rgb = np.full((len(xyz), 3), 128, np.uint8)
    if names:
        colours = np.stack([table[name] for name in names], -1)
        rgb = (colours if colours.dtype == np.uint8 else np.clip(colours * 255.0 + 0.5, 0, 255)).astype(np.uint8)
    finite = np.isfinite(xyz).all(axis=1)
    return xyz[finite], rgb[finite]


def _vertices(data: bytes) -> NDArray[np.void]:
    """The vertex element as a structured array."""
    end = data.index(b"end_header") + len(b"end_header")
    body = data.index(b"\n", end) + 1
    words = [line.split() for line in data[:end].decode("ascii", "replace").splitlines()]
    if words[0] != ["ply"]:
        raise ValueError("it does not start with ply")
    form = next(w[1] for w in words if w[:1] == ["format"])
    elements = [i for i, w in enumerate(words) if w[:1] == ["element"]]
    if not elements or words[elements[0]][1] != "vertex":
        raise ValueError("its first element is not vertex")
    stop = elements[1] if len(elements) > 1 else len(words)
    properties = [w for w in words[elements[0] + 1 : stop] if w[:1] == ["property"]]
    if any(w[1] == "list" for w in properties):
        raise ValueError("its vertices hold lists")
    count = int(words[elements[0]][2])
    order = ">" if form == "binary_big_endian" else "<"
    dtype = np.dtype([(w[2], order + TYPES[w[1]]) for w in properties])
    if form != "ascii":
        return np.frombuffer(data, dtype, count, body)
    rows = data[body:].split(b"\n")[:count]
    values = np.array([row.split() for row in rows], np.float64).reshape(count, len(properties))
    table = np.empty(count, dtype)
    for i, w in enumerate(properties):
        table[w[2]] = values[:, i]
    return table
