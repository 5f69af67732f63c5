"""How this room's kernels are compiled, kept, and spread over the machine's cores.

Kernels are Numba functions over ranges `start .. stop` that run without the GIL; plain threads hand the ranges out, and
a result never depends on which thread ran what. Machine code is kept in the user's cache, in a folder named by the
room's sources.
"""

from __future__ import annotations

import hashlib
import os
import platform
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numba
from numba.core import config as numba_config

_config: Any = numba_config
_FAST = {"contract", "nsz"}
"""Of LLVM's fast-math flags those that keep NaN, infinities and the order of sums."""
_RANGES_PER_THREAD = 4


def _cache_folder() -> str:
    """A folder that neither an update of recon nor another machine finds stale code in."""
    digest = hashlib.sha256(repr((numba.__version__, _config.CPU_NAME, platform.machine())).encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        if b"@kernel" in (code := source.read_bytes()):
            digest.update(code)
    base = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    for root in (Path(base), Path(tempfile.gettempdir())):
        folder = root / "recon" / "mesh" / digest.hexdigest()[:16]
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            break
    return str(folder)


def kernel(function: Callable) -> Any:
    """Compile a function on first use: cached, without the GIL, IEEE division by zero."""
    outside = _config.CACHE_DIR
    _config.CACHE_DIR = _CACHE  # read by Numba when it decorates
    try:
        return numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=_FAST)(function)
    finally:
        _config.CACHE_DIR = outside


_CACHE = _cache_folder()


def threads() -> int:
    """How many threads kernels use: NUMBA_NUM_THREADS, else the cores of this process."""
    return max(1, int(_config.NUMBA_NUM_THREADS))


def spread(function: Callable, count: int, *args: Any) -> None:
    """Call function(start, stop, *args) over ranges that cover 0 .. count, on all threads."""
    workers = min(threads(), count)
    if workers <= 1:
        if count > 0:
            function(0, count, *args)
        return
    size = -(-count // (workers * _RANGES_PER_THREAD))
    with ThreadPoolExecutor(workers) as pool:
        jobs = [pool.submit(function, start, min(start + size, count), *args) for start in range(0, count, size)]
        for job in jobs:
            job.result()
