"""Opening the default browser at an address without showing the address's token to other users of the machine.

A browser's command line can be read by everybody (ps). An address with a token therefore goes into a file that only this user
can read, and the browser is started with the file's name; the file's page sends it on.
"""

from __future__ import annotations

import contextlib
import html
import tempfile
from collections.abc import Iterator
from pathlib import Path

PAGE = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="referrer" content="no-referrer">'
    '<meta http-equiv="refresh" content="0;url={url}"><title>recon</title><p><a href="{url}">Go on to recon</a></p></html>\n'
)


@contextlib.contextmanager
def opened(url: str, wanted: bool = True) -> Iterator[None]:
    """The default browser is sent to `url`, if `wanted`; the file that this takes is there while the block runs."""
    import webbrowser

    with contextlib.ExitStack() as stack:
        if wanted and "?" in url:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="recon-")))  # for this user alone
            page = folder / "open.html"
            page.write_text(PAGE.format(url=html.escape(url)), encoding="utf-8")
            page.chmod(0o600)
            webbrowser.open(page.as_uri())
        elif wanted:
            webbrowser.open(url)
        yield
