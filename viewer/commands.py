"""What the verbs of the viewer do. Each is `verb(name, summary, argv)`, as in recon/commands.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from recon.arguments import InWorkspace, parse, take
from recon.progress import TerminalProgress
from recon.stages import resolve
from recon.workspace import Workspace
from viewer.options import PublishOptions


@dataclass(frozen=True)
class PublishArguments:
    """`recon publish -w DIR SITE`."""

    site: Positional[Path]
    """Folder to write: new, empty, or a site that recon published before, which stays until the new one is whole."""


def publish(verb: str, summary: str, argv: Sequence[str]) -> None:
    """Write the page and the scene into a folder."""
    args = parse(verb, summary, argv, PublishArguments, InWorkspace, PublishOptions)
    options, progress = take(PublishOptions, args), TerminalProgress()
    manifest = resolve("viewer.publish:publish")(Workspace(args.workspace), args.site, options, progress)
    for line in resolve("viewer.publish:in_words")(manifest, args.site):
        progress.say(line)
