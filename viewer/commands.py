"""What the verbs of this room do. Each is `verb(name, summary, argv)`; the work itself is in the modules beside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from recon.arguments import OfWorkspace, parse, take
from recon.errors import WorkspaceError
from recon.progress import TerminalProgress
from recon.stages import resolve
from recon.wording import command
from recon.workspace import Workspace
from viewer.options import MomentOptions, PublishOptions, RenderOptions, ServeOptions


def render(verb: str, summary: str, argv: Sequence[str]) -> None:
    """`recon render -w DIR --path orbit --video film.mp4`: a film, or with --panorama a still all around."""
    from viewer.film import film
    from viewer.panorama import panorama

    args = parse(verb, summary, argv, OfWorkspace, RenderOptions, MomentOptions)
    options, workspace, progress = take(RenderOptions, args), Workspace(args.workspace), TerminalProgress()
    if not workspace.exists:
        example = command("recon", "run", "INPUT", "-w", args.workspace)
        raise WorkspaceError(f"{args.workspace} is no recon workspace. `{example}` makes one.")
    out = (film if options.panorama is None else panorama)(workspace, options, progress, args.time)
    size = sum(path.stat().st_size for path in (out.iterdir() if out.is_dir() else [out]))
    progress.say(f"{'film ' if options.panorama is None else 'still'}   {out} ({size / 1e6:.1f} MB)")


@dataclass(frozen=True)
class PublishArguments:
    """`recon publish -w DIR SITE`."""

    site: Positional[Path]
    """Folder to write: new, empty, or a site that recon published before, which stays until the new one is whole."""


def publish(verb: str, summary: str, argv: Sequence[str]) -> None:
    """Write the page and the scene into a folder."""
    args = parse(verb, summary, argv, PublishArguments, OfWorkspace, PublishOptions)
    options, progress = take(PublishOptions, args), TerminalProgress()
    manifest = resolve("viewer.publish:publish")(Workspace(args.workspace), args.site, options, progress)
    for line in resolve("viewer.publish:in_words")(manifest, args.site):
        progress.say(line)
    progress.say(f"look    {command('recon', 'serve', args.site)}   (or any web server)")


@dataclass(frozen=True)
class ServeArguments:
    """`recon serve SITE`."""

    site: Positional[Path]
    """Folder that `recon publish` wrote."""
    open_browser: bool = False
    """Open the page in the default browser."""


def serve(verb: str, summary: str, argv: Sequence[str]) -> None:
    """Serve a published folder until Ctrl-C."""
    args = parse(verb, summary, argv, ServeArguments, ServeOptions)
    serve_folder = resolve("viewer.static_server:serve_folder")
    serve_folder(args.site, take(ServeOptions, args), TerminalProgress(), open_browser=args.open_browser)
