"""Writes that a kill cannot tear: build beside, fsync, rename. And the hashes that keys are made of."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that appears under `path` whole or not at all; what stood there before stays until then."""
    part = path.with_name(f".{path.name}.part{os.getpid()}")
    try:
        with open(part, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_json(path: Path, data: Any) -> None:
    """Atomic; keys keep their order, so that equal data gives equal bytes."""
    with atomic_write(path) as stream:
        stream.write((json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())


def save_npz(path: Path, **arrays: Any) -> None:
    """Atomic, uncompressed and without time stamps: equal arrays give equal bytes. Arrays of objects are refused."""
    import zipfile

    import numpy as np

    with atomic_write(path) as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, value in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asarray(value), allow_pickle=False)


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder survive a power cut, where the system allows it."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sync_tree(folder: Path) -> None:
    """fsync every file and folder below `folder`."""
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError), open(os.path.join(root, name), "rb") as stream:
                os.fsync(stream.fileno())
        sync_folder(Path(root))


def remove_tree(folder: Path) -> None:
    """Remove a folder that may be absent; what cannot be removed raises OSError."""
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder)
    else:
        folder.unlink(missing_ok=True)


def remove_parts(folder: Path) -> None:
    """Remove what killed atomic writes left directly in `folder`."""
    for part in folder.glob(".*.part*"):
        part.unlink(missing_ok=True)


def sha256_file(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_json(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
