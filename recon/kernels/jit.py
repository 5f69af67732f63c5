"""How the kernels are compiled, where they are kept, and how they share the machine's cores.

Numba compiles each kernel on first use and keeps the machine code in a folder of the user's cache, one for each package
that has kernels. Its name is a hash of the kernels' sources and of the machine, so that neither an update of recon nor
a move to another processor finds stale code.

Kernels run without the GIL over ranges of tasks (chunks of splats, tiles, rows of pixels), and plain Python threads
hand the ranges out. That needs no threading layer of Numba's: OpenMP's burns CPU time between kernels, and the work
queue must not be entered from two threads. Every kernel's result is independent of which thread ran what, and of how
many there are.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import platform
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import llvmlite
import numba
from numba.core import config as numba_config

config: Any = numba_config
FAST = {"contract", "nsz"}
"""Of LLVM's fast-math flags only those that keep NaN, infinities and the order of sums."""
DOOR = threading.RLock()
"""Held while kernels run for one caller, so that callers in several threads take turns."""
_TASKS_PER_THREAD = 4


@functools.cache
def cache_folder(package: Path) -> Path:
    """Where this machine's compiled kernels of the package in the folder `package` lie, for its present sources."""
    digest = hashlib.sha256()
    for source in sorted({*Path(__file__).parent.glob("*.py"), *package.glob("*.py")}):
        digest.update(f"{source} {source.stat().st_mtime_ns}".encode() + source.read_bytes())
    machine = (numba.__version__, llvmlite.__version__, platform.machine(), sys.version, config.CPU_NAME, _cpu_flags())
    digest.update(repr(machine).encode())
    base = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(base) / "recon" / "kernels" / digest.hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass  # a home that is read-only or absent: the temporary folder serves until it is cleared
    folder = Path(tempfile.gettempdir()) / f"recon-kernels-{os.getuid() if hasattr(os, 'getuid') else 0}" / folder.name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _cpu_flags() -> str:
    from llvmlite import binding

    return f"{binding.get_host_cpu_name()} {binding.get_host_cpu_features().flatten()}"


def kernel(function: Callable) -> Any:
    """Compile a function that is called from Python: cached, without the GIL, IEEE division by zero."""
    outside = config.CACHE_DIR
    config.CACHE_DIR = str(cache_folder(Path(function.__code__.co_filename).parent))  # read by Numba when it decorates
    try:
        return numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=FAST)(function)
    finally:
        config.CACHE_DIR = outside


def helper(function: Callable) -> Any:
    """Compile a function that kernels call; it is always inlined."""
    return numba.njit(nogil=True, forceinline=True, error_model="numpy", fastmath=FAST)(function)


def threads() -> int:
    """How many threads kernels use: the cores of this process, or NUMBA_NUM_THREADS; at most 32."""
    return max(1, min(32, int(config.NUMBA_NUM_THREADS)))


class _Pool:
    """Threads that wait for work. `run` hands out ranges of tasks in order; the caller works too."""

    def __init__(self, helpers: int) -> None:
        self.helpers = helpers
        self.pid = os.getpid()
        self.inbox: SimpleQueue = SimpleQueue()
        for _ in range(helpers):
            threading.Thread(target=self._work, name="recon-kernels", daemon=True).start()

    def _work(self) -> None:
        while True:
            job, outbox = self.inbox.get()
            try:
                job()
            except BaseException as error:
                outbox.put(error)
            else:
                outbox.put(None)

    def run(self, job: Callable[[], None], helpers: int) -> None:
        outbox: SimpleQueue = SimpleQueue()
        for _ in range(helpers):
            self.inbox.put((job, outbox))
        try:
            job()
        finally:
            errors = [outbox.get() for _ in range(helpers)]
        for error in errors:
            if error is not None:
                raise error


_pool: _Pool | None = None


def spread(function: Callable, count: int, *args: Any, grain: int = 1) -> None:
    """Call function(start, stop, *args) over ranges that cover 0 .. count, on all threads. `grain`: the smallest range
    worth a call.
    """
    global _pool
    if count <= 0:
        return
    workers = min(threads(), -(-count // grain))
    if workers == 1:
        function(0, count, *args)
        return
    if _pool is None or _pool.helpers != threads() - 1 or _pool.pid != os.getpid():  # threads do not survive a fork
        _pool = _Pool(threads() - 1)
    size = max(grain, -(-count // (workers * _TASKS_PER_THREAD)))
    starts = itertools.count(0, size)

    def job() -> None:
        while (start := next(starts)) < count:
            function(start, min(start + size, count), *args)

    _pool.run(job, workers - 1)
