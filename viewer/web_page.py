"""Where the built page is. A wheel carries it; a source checkout builds it with Node when it is missing or out of date.

Also read by hatch_build.py, which puts the page into wheels: imports nothing but the standard library and recon.errors.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from recon.errors import MissingPart

CARRIED = Path(__file__).parent / "_page"
"""The page in a wheel or an sdist."""
SOURCES = Path(__file__).parent / "web"
"""The page's sources in a checkout."""
STAMP = "sources.sha256"
"""Beside the built page, written last: what it was built from."""
OLDEST_NODE = (20, 19)
NOT_SOURCES = ("node_modules", "dist", "tests")
LOG_LINES = 20

Say = Callable[[str], None]


def built_page(say: Say = lambda text: None) -> Path:
    """The folder of the built page: index.html, assets/, notices.txt.

    In a checkout whose page is not built, or older than its sources, builds it, which takes about a minute the first time
    and needs Node and the npm registry. `say` is told before that. Raises MissingPart when it cannot be built.
    """
    if (CARRIED / "index.html").is_file():
        return CARRIED
    if not (SOURCES / "package.json").is_file():
        raise MissingPart(
            "This installation of recon has no viewer page. Install a released wheel, or a whole checkout."
        )
    built = SOURCES / "dist"
    digest = sources_digest(SOURCES)
    if stamp_of(built) != digest:
        say("building the viewer's page with Node")
        build(SOURCES)
        (built / STAMP).write_text(digest, encoding="ascii")
    return built


def page_is_built() -> bool:
    """Whether built_page() has nothing to build."""
    return (CARRIED / "index.html").is_file() or (
        (SOURCES / "package.json").is_file() and stamp_of(SOURCES / "dist") == sources_digest(SOURCES)
    )


def stamp_of(built: Path) -> str | None:
    """What a built page was built from; None when it is not there, or only half."""
    try:
        return (built / STAMP).read_text(encoding="ascii")
    except OSError:
        return None


def sources_digest(sources: Path) -> str:
    """SHA-256 over the names and contents of what the page is built from."""
    digest = hashlib.sha256()
    files = [
        path
        for path in sources.rglob("*")
        if path.is_file() and path.relative_to(sources).parts[0] not in NOT_SOURCES and not path.name.startswith(".")
    ]
    for path in sorted(files, key=lambda path: path.relative_to(sources).as_posix()):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(sources).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def build(sources: Path) -> None:
    """Fetch the packages that the lock file names, check the types, build into dist/."""
    npm = node_tools()
    shutil.rmtree(sources / "dist", ignore_errors=True)
    lock, installed = sources / "package-lock.json", sources / "node_modules" / ".recon-lock"
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
    if not installed.is_file() or installed.read_text(encoding="ascii") != wanted:
        run([npm, "ci", "--no-audit", "--no-fund"], sources)
        installed.write_text(wanted, encoding="ascii")
    run([npm, "run", "build"], sources)


def node_tools() -> str:
    """npm's path. Raises MissingPart when Node is missing or too old."""
    node, npm = shutil.which("node"), shutil.which("npm")
    needed = ".".join(map(str, OLDEST_NODE))
    if node is None or npm is None:
        raise MissingPart(
            f"The viewer's page is not built yet: this is a source checkout, and building it needs Node {needed} or newer with "
            "npm, which were not found. Install Node, or a released wheel of recon, which carries the page."
        )
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    numbers = re.match(r"v(\d+)\.(\d+)", version)
    if numbers is None or (int(numbers[1]), int(numbers[2])) < OLDEST_NODE:
        raise MissingPart(
            f"The viewer's page needs Node {needed} or newer to be built; found {version or 'none that runs'}."
        )
    return npm


def run(command: list[str], folder: Path) -> None:
    """Run a step of the build. Raises MissingPart with the end of what it said."""
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, "CI": "1"}
    )
    if done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-LOG_LINES:])
        raise MissingPart(
            f"The viewer's page could not be built: `{' '.join(command[1:])}` in {folder} failed.\n{said}"
        )
