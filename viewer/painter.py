"""One thread that draws pictures for all clients: rest images, comparisons, thumbnails. One at a time, the newest wish wins.

While a training is running it keeps to one thread and to a small share of the CPU (queue.py), so that watching does not slow
the training.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Hashable

from viewer.queue import Budget, Desk

NICE = 10
"""Niceness of the drawing thread: whatever else the machine does comes first."""

log = logging.getLogger("recon.viewer")


class Painter:
    """A queue and the thread that works it off. `training` may be set from any thread."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, cpu: Callable[[], float] = time.process_time
    ) -> None:
        self.training = False
        self._clock, self._cpu = clock, cpu
        self._desk = Desk()
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name="recon-painter", daemon=True)
        self._thread.start()

    def ask(self, key: Hashable, draw: Callable[[], None], delay: float = 0.0) -> None:
        """Call draw() after `delay` seconds, unless another wish of the same key replaces it before. Keys: (client, what)."""
        with self._changed:
            self._desk.queue.ask(key, draw, self._clock() + delay)
            self._changed.notify()

    def forget(self, matches: Callable[[Hashable], bool]) -> None:
        """Drop the wishes whose key matches."""
        with self._changed:
            self._desk.queue.forget(matches)

    def stop(self) -> None:
        """End the thread after the picture it is drawing."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join(timeout=2)

    @property
    def budget(self) -> Budget:
        """What pictures and the whole process took while a training ran."""
        return self._desk.budget

    def _next(self) -> Callable[[], None] | None:
        """Wait for a wish that is due and may be paid for; None when stopped."""
        with self._changed:
            while not self._stopped:
                draw, wait = self._desk.turn(self._clock(), self._cpu(), self.training)
                if draw is not None:
                    return draw
                self._changed.wait(wait)
            return None

    def _work(self) -> None:
        if hasattr(os, "nice"):
            with contextlib.suppress(OSError):
                os.nice(NICE)  # on Linux of this thread alone
        while (draw := self._next()) is not None:
            start = self._cpu()
            limit_threads(1 if self.training else None)
            try:
                draw()
            except Exception:
                log.exception("a picture could not be drawn")
            self.budget.paid(self._cpu() - start)


def limit_threads(count: int | None) -> None:
    """Threads of the kernels that this thread calls from now on; None: as many as there are."""
    import numba
    import torch

    most = int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    numba.set_num_threads(min(count or most, most))
    torch.set_num_threads(min(count or most, most))
