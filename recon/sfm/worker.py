"""pycolmap's long calls, in a process of their own.

Why: pycolmap ends its whole process when something goes wrong in one of its threads (a full disk while it writes matches), its
global mapper cannot be stopped, and SQLite loses its locks where two copies of it (pycolmap's and Python's) work on one
database in one process. A child process can be watched, stopped by Ctrl-C at once, and may die; what it has written stays.

The child reads one request (JSON) from its standard input, and writes the number of photos done to its standard output,
one line each. It ends when its parent does.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np  # noqa: F401  (before pycolmap: the other way round saving PNGs aborts, seen with pycolmap 4.2.1)

from recon.errors import SfmError

if TYPE_CHECKING:
    import pycolmap

POLL_SECONDS = 0.2
INFO, ERRORS = 0, 2
"""glog's levels from which pycolmap's messages go to the child's log: all of them where progress is read from it."""
FATAL = 3


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """pycolmap logs nothing but fatal errors inside, in this process."""
    import pycolmap

    before = pycolmap.logging.minloglevel
    pycolmap.logging.minloglevel = FATAL
    try:
        yield
    finally:
        pycolmap.logging.minloglevel = before


def run_worker(verb: str, request: dict[str, Any], log: Path, poll: Callable[[int], None] = lambda done: None) -> None:
    """Run one of VERBS in a child process; `poll` is called now and then with the number that the child told last.

    Raises OSError (ENOSPC) when the disk is full, SfmError when the child dies otherwise.
    """
    package = str(Path(__file__).resolve().parents[2])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    with open(log, "wb") as errors:
        child = subprocess.Popen(
            [sys.executable, "-m", "recon.sfm.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        )
    assert child.stdin and child.stdout
    done = [0]
    reader = threading.Thread(target=_read_counts, args=(child.stdout, done), daemon=True)
    reader.start()
    try:
        with contextlib.suppress(BrokenPipeError):  # a child that died at once is reported below
            child.stdin.write(json.dumps({"verb": verb, "request": request}).encode() + b"\n")
            child.stdin.flush()
        while child.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(POLL_SECONDS)
            poll(done[0])
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
        reader.join()
        child.stdin.close()
        child.stdout.close()
    if child.returncode != 0:
        raise died(verb, child.returncode, log.read_text(encoding="utf-8", errors="replace"))


def _read_counts(stream: IO[bytes], done: list[int]) -> None:
    for line in stream:
        if line.strip().isdigit():
            done[0] = int(line)


def died(verb: str, code: int, words: str) -> Exception:
    """What to raise for a child that ended with `code` and left these words."""
    if any(sign in words for sign in ("disk is full", "No space left", "disk I/O error", "Disk quota")):
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if "MemoryError" in words or "bad_alloc" in words or code == -9:
        return SfmError(
            f"pycolmap ran out of memory ({verb}). Close other programs, or use fewer features (--features 2000) or photos."
        )
    last = next((line for line in reversed(words.splitlines()) if "Error" in line or "what():" in line), "no message")
    return SfmError(
        f"pycolmap stopped ({verb}, exit {code}): {last.strip()}. Run again; if it stays, report these words."
    )


def _match(database: str, listing: str, block: int, min_inliers: int, seed: int) -> None:
    """One matching thread, and one that verifies: with more of them now and then pairs lose some or all of their matches
    (5 of 100 runs over 190 pairs, pycolmap 4.2.1)."""
    import pycolmap

    matching = pycolmap.FeatureMatchingOptions()
    matching.num_threads = 1
    pairing = pycolmap.ImportedPairingOptions()
    pairing.match_list_path, pairing.block_size = listing, block
    verification = pycolmap.TwoViewGeometryOptions()
    verification.min_num_inliers = min_inliers
    verification.ransac.random_seed = seed
    pycolmap.match_image_pairs(database, matching, pairing, verification, pycolmap.Device.cpu)


def _incremental(database: str, out: str, start: str, settings: dict[str, Any]) -> None:
    import pycolmap

    placed = [0]

    def tell(number: int) -> None:
        placed[0] = number
        sys.stdout.write(f"{number}\n")  # the parent reads it
        sys.stdout.flush()

    models = pycolmap.incremental_mapping(
        database,
        out,
        out,
        pycolmap.IncrementalPipelineOptions(settings),
        input_path=start,
        initial_image_pair_callback=lambda: tell(2),
        next_image_callback=lambda: tell(placed[0] + 1),
    )
    _check_all(models, out)


def _global(database: str, out: str, settings: dict[str, Any]) -> None:
    import pycolmap

    _check_all(pycolmap.global_mapping(database, out, out, pycolmap.GlobalPipelineOptions(settings)), out)


def _triangulate(database: str, model: str, out: str, settings: dict[str, Any]) -> None:
    import pycolmap

    start = pycolmap.Reconstruction(model)
    options = pycolmap.IncrementalPipelineOptions(settings)
    check_written(pycolmap.triangulate_points(start, database, out, out, True, options), Path(out))


def _check_all(models: dict[int, pycolmap.Reconstruction], out: str) -> None:
    """Models stand in folders 0, 1, ..., one that was gone on with in `out` itself; mappers may number them otherwise than
    they return them. Raises OSError (ENOSPC) when one of them is in no folder.
    """
    found = [_content(path.parent) for path in Path(out).glob("**/images.bin")]
    if any(_content(model) not in found for model in models.values()):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), out)


def check_written(model: pycolmap.Reconstruction, folder: Path) -> None:
    """Raises OSError (ENOSPC) when the files do not hold the model: pycolmap does not notice a disk that gets full."""
    if _content(folder) != _content(model):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def _content(model: pycolmap.Reconstruction | Path) -> tuple[list[int], int, int] | None:
    """Photos, points and observations of a model in memory or in a folder; None where its files are cut short."""
    import pycolmap

    try:
        m = pycolmap.Reconstruction(model) if isinstance(model, Path) else model
    except (RuntimeError, ValueError, IndexError, MemoryError):  # what pycolmap raises then
        return None
    return sorted(m.reg_image_ids()), m.num_points3D(), m.compute_num_observations()


VERBS: dict[str, Callable[..., None]] = {
    "match": _match,
    "incremental": _incremental,
    "global": _global,
    "triangulate": _triangulate,
}


def main() -> None:
    """The child's side."""
    import pycolmap

    asked = json.loads(sys.stdin.readline())

    def end_with_parent() -> None:
        sys.stdin.read()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    pycolmap.logging.minloglevel = INFO if asked["verb"] == "match" else ERRORS
    pycolmap.set_random_seed(asked["request"].pop("process_seed", 0))
    VERBS[asked["verb"]](**asked["request"])


if __name__ == "__main__":
    main()
