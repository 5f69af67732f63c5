"""A small published folder, with secrets in it and beside it."""

from pathlib import Path

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
