"""A small published folder, with secrets in it and beside it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from viewer.door import Door
from viewer.options import ServeOptions
from viewer.static_server import folder_server

SECRET = b"what lies outside"
FILES = {
    "index.html": b"<!doctype html><title>page</title>",
    "manifest.json": b"{}",
    "assets/page.js": b"export {}",
    "assets/spark.wasm": b"\0asm",
    "splats/0000.spz": bytes(range(256)) * 40,
    "mesh/mesh.glb": b"glTF",
    "film.mp4": b"film",
    "photos/über uns.jpg": b"photo",
    "splats/empty.spz": b"",
}


def site(root: Path) -> Path:
    """A published folder beside a secret."""
    folder = root / "site"
    for name, content in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (folder / ".htpasswd").write_bytes(SECRET)
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_bytes(SECRET)
    (root / "secret.txt").write_bytes(SECRET)
    (root / "site-old").mkdir()
    (root / "site-old" / "secret.txt").write_bytes(SECRET)
    return folder


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the served folder lies."""
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def door(served: Path) -> Iterator[Door]:
    """A running server of site(served)."""
    with folder_server(site(served), ServeOptions(port=0)) as running:
        yield running
