"""Calls into pycolmap that take long: run beside the main thread, so that progress shows and Ctrl-C works; without log noise.

pycolmap releases the interpreter lock in its long calls (found by trial with 4.2.1). What a cancelled call has finished stays.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

import numpy as np  # noqa: F401  (before pycolmap: the other way round saving PNGs aborts, seen with pycolmap 4.2.1)

if TYPE_CHECKING:
    import pycolmap

Result = TypeVar("Result")

POLL_SECONDS = 0.5
FATAL = 3
"""glog's level above errors: pycolmap logs as errors what the ladder is there to mend."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """pycolmap logs nothing but fatal errors inside."""
    import pycolmap

    before = pycolmap.logging.minloglevel
    pycolmap.logging.minloglevel = FATAL
    try:
        yield
    finally:
        pycolmap.logging.minloglevel = before


def run_beside(
    call: Callable[[], Result],
    poll: Callable[[], None] = lambda: None,
    token: pycolmap.CancellationToken | None = None,
) -> Result:
    """The result of `call`, run in a thread of its own while `poll` is called now and then in this one.

    On Ctrl-C the token is cancelled and the call awaited, so that its files are whole; a call without a token is left behind
    (its thread dies with the process).
    """
    results: list[Result] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(call())
        except BaseException as error:  # handed to the caller below
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    with quiet():
        thread.start()
        try:
            while thread.is_alive():
                thread.join(POLL_SECONDS)
                poll()
        except BaseException:
            if token is not None:
                token.cancel()
                thread.join()
            raise
    if errors:
        raise errors[0]
    return results[0]
