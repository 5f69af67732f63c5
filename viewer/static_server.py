"""`recon serve SITE`: a published folder over HTTP(S), for this machine, or behind a token for others.

Read-only: GET and HEAD, no listing, nothing but regular files of the folder, whatever the path or a symbolic link says.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import stat
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote

from recon.errors import InputError
from viewer.door import Door, announce
from viewer.guard import Request
from viewer.opening import opened
from viewer.options import ServeOptions
from viewer.visit import Limits, Visit

PAGE_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; style-src 'self'; "
    "img-src 'self' data: blob:; connect-src 'self' blob:; base-uri 'none'; form-action 'none'"
)
"""What the page may load. The page itself says the same (viewer/web/index.html), for hosts that send no headers."""
NOT_USED = [
    "camera",
    "microphone",
    "geolocation",
    "usb",
    "serial",
    "hid",
    "midi",
    "payment",
    "display-capture",
]
CONTENT = {
    "Content-Security-Policy": f"{PAGE_POLICY}; frame-ancestors 'self'",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Permissions-Policy": ", ".join(["xr-spatial-tracking=(self)", *(f"{name}=()" for name in NOT_USED)]),
    "Cache-Control": "private, no-cache",
}
"""Headers of content, besides those of every answer. no-cache: the browser asks each time whether it has changed."""
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".avif": "image/avif",
    ".ico": "image/x-icon",
    ".mp4": "video/mp4",
    ".webm": "video/webm",
    ".glb": "model/gltf-binary",
    ".gltf": "model/gltf+json",
    ".woff2": "font/woff2",
}
"""By ending; the system's own table differs from machine to machine. Everything else (.spz, .ply, .sog) is bytes."""


def serve_folder(folder: Path, options: ServeOptions, progress: Any, *, open_browser: bool = False) -> None:
    """Serve a published folder until Ctrl-C. `progress` has say(text) and warn(text). Raises as folder_server() does."""
    with folder_server(folder, options) as door:
        announce(door, str(folder), progress)
        with opened(door.url, open_browser), contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


def folder_server(folder: Path, options: ServeOptions, limits: Limits | None = None) -> Door:
    """A running server of a folder: a context manager with url, urls and close().

    Raises InputError when there is no page in the folder, or the address, port or certificate cannot be had; MissingPart
    without the package that makes certificates.
    """
    if not (folder / "index.html").is_file():
        raise InputError(f"{folder} holds no index.html. Expected a folder that `recon publish` wrote.")
    return Door(Folder(folder), options, limits)


class Folder:
    """Answers with the files of a folder."""

    def __init__(self, folder: Path) -> None:
        self._root = folder.resolve()

    async def __call__(self, request: Request, visit: Visit) -> None:
        path = await asyncio.to_thread(locate, self._root, request.path)
        stream = None if path is None else await asyncio.to_thread(open_regular, path)
        if path is None or stream is None:
            await visit.refuse(404, "There is nothing at this address.\n")
            return
        try:
            await _send(request, visit, stream, TYPES.get(path.suffix.lower(), "application/octet-stream"))
        finally:
            stream.close()


def locate(root: Path, path: str) -> Path | None:
    """The file below `root` (resolved) that a URL's path names, percent-encoded as it was sent; None when it names none.

    A folder's is its index.html. Encoded slashes, backslashes, parents, hidden files, drives and streams of Windows are
    refused before the file system is asked, and links are followed only to see that they end below `root`.
    """
    if re.search(r"%2f|%5c|\\", path, re.IGNORECASE):
        return None
    try:
        names = unquote(path, errors="strict").split("/")[1:]
    except UnicodeDecodeError:
        return None
    names[-1:] = [names[-1] or "index.html"] if names else ["index.html"]
    if not all(map(_plain, names)):
        return None
    try:
        real = root.joinpath(*names).resolve(strict=True)
    except (OSError, RuntimeError, ValueError):  # not there, too long, a ring of links
        return None
    inside = real.is_relative_to(root) and all(map(_plain, real.relative_to(root).parts))
    return real if inside else None


def _plain(name: str) -> bool:
    """Whether a name is one that publishing may have written."""
    return (
        bool(name)
        and name.isprintable()
        and name[0] != "."
        and name[-1] not in ". "
        and not set(name) & set('\\/:*?"<>|')
    )


def open_regular(path: Path) -> BinaryIO | None:
    """A regular file, opened; None for anything else. A pipe or a device is not waited for."""
    flags = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
    try:
        handle = os.open(path, flags)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        return None
    return os.fdopen(handle, "rb", buffering=0)


async def _send(request: Request, visit: Visit, stream: BinaryIO, kind: str) -> None:
    """Answer with a file, the part of it that was asked for, or that it has not changed."""
    about = os.fstat(stream.fileno())
    tag = f'"{about.st_mtime_ns:x}-{about.st_size:x}"'
    headers = {**CONTENT, "ETag": tag, "Accept-Ranges": "bytes"}
    if _names_tag(request.headers.get("if-none-match"), tag):
        await visit.stream(304, headers, _part(stream, 0, 0, 1))
        return
    start, end, status = 0, about.st_size, 200
    wish = request.headers.get("range")
    if wish is not None and request.headers.get("if-range", tag) == tag:
        part = byte_range(wish, about.st_size)
        if part is not None and part[0] >= part[1]:
            await visit.reply(416, {**headers, "Content-Range": f"bytes */{about.st_size}"})
            return
        if part is not None:
            (start, end), status = part, 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{about.st_size}"
    headers |= {"Content-Type": kind, "Content-Length": str(end - start)}
    await visit.stream(status, headers, _part(stream, start, end, visit.limits.chunk))


def _names_tag(header: str | None, tag: str) -> bool:
    """If-None-Match: whether one of its tags is ours, weak or strong."""
    tags = [] if header is None else [word.strip().removeprefix("W/") for word in header.split(",")]
    return tag in tags or tags == ["*"]


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """(start, end) of a Range header with one range of bytes, end exclusive; empty when it lies beyond the file;
    None for what may be ignored: several ranges, other units, nonsense (RFC 9110, 14.2).
    """
    match = re.fullmatch(r"bytes=([0-9]{0,18})-([0-9]{0,18})", header.strip())
    if match is None or not any(match.groups()):
        return None
    first, last = match.groups()
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < int(first):
            return None
    return start, end


async def _part(stream: BinaryIO, start: int, end: int, chunk: int) -> AsyncIterator[bytes]:
    """Bytes start to end; fewer when the file has shrunk, and the answer then breaks off."""
    await asyncio.to_thread(stream.seek, start)
    while start < end and (data := await asyncio.to_thread(stream.read, min(chunk, end - start))):
        yield data
        start += len(data)
