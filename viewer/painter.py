"""One thread that draws pictures for all clients: rest images, comparisons, thumbnails. One at a time, the newest wish wins.

While a training is running it keeps to one thread and to a small share of the time, so that watching does not slow the training.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

SHARE_WHILE_TRAINING = 0.1
"""Of one thread's time."""
LONGEST_REST = 6.0
"""Seconds: the first picture may take long, because kernels are compiled for it."""
NICE = 10
"""Niceness of the drawing thread: whatever else the machine does comes first."""

log = logging.getLogger("recon.viewer")


@dataclass(frozen=True)
class _Wish:
    due: float
    draw: Callable[[], None]


class Painter:
    """A queue with one place for each key. `training` may be set from any thread."""

    def __init__(self) -> None:
        self.training = False
        self._wishes: dict[Hashable, _Wish] = {}
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name="recon-painter", daemon=True)
        self._thread.start()

    def ask(self, key: Hashable, draw: Callable[[], None], delay: float = 0.0) -> None:
        """Call draw() after `delay` seconds, unless another wish of the same key replaces it before."""
        with self._changed:
            self._wishes[key] = _Wish(time.monotonic() + delay, draw)
            self._changed.notify()

    def forget(self, matches: Callable[[Hashable], bool]) -> None:
        """Drop the wishes whose key matches."""
        with self._changed:
            self._wishes = {key: wish for key, wish in self._wishes.items() if not matches(key)}

    def stop(self) -> None:
        """End the thread after the picture it is drawing."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join(timeout=2)

    def _next(self) -> Callable[[], None] | None:
        """Wait for the wish that is due first; None when stopped."""
        with self._changed:
            while not self._stopped:
                key = min(self._wishes, key=lambda k: self._wishes[k].due, default=None)
                wait = None if key is None else self._wishes[key].due - time.monotonic()
                if key is not None and wait is not None and wait <= 0:
                    return self._wishes.pop(key).draw
                self._changed.wait(wait)
            return None

    def _work(self) -> None:
        if hasattr(os, "nice"):
            with contextlib.suppress(OSError):
                os.nice(NICE)  # on Linux of this thread alone
        while (draw := self._next()) is not None:
            start = time.monotonic()
            limit_threads(1 if self.training else None)
            try:
                draw()
            except Exception:
                log.exception("a picture could not be drawn")
            if self.training:
                self._rest(min(LONGEST_REST, (time.monotonic() - start) * (1 / SHARE_WHILE_TRAINING - 1)))

    def _rest(self, seconds: float) -> None:
        """Leave the machine to the training, but for stop()."""
        end = time.monotonic() + seconds
        with self._changed:
            while not self._stopped and (left := end - time.monotonic()) > 0:
                self._changed.wait(left)


def limit_threads(count: int | None) -> None:
    """Threads of the kernels that this thread calls from now on; None: as many as there are."""
    import numba
    import torch

    most = int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    numba.set_num_threads(min(count or most, most))
    torch.set_num_threads(min(count or most, most))
