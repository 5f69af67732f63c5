"""What the verbs of this room do. Each is `verb(name, summary, argv)`; the work itself is in the modules beside."""

from __future__ import annotations

from collections.abc import Sequence

from recon.arguments import InWorkspace, parse, take
from recon.errors import WorkspaceError
from recon.progress import TerminalProgress
from recon.wording import command
from recon.workspace import Workspace
from viewer.options import RenderOptions


def render(verb: str, summary: str, argv: Sequence[str]) -> None:
    """`recon render -w DIR --path orbit --video film.mp4`: a film, or with --panorama a still all around."""
    from viewer.film import film
    from viewer.panorama import panorama

    args = parse(verb, summary, argv, InWorkspace, RenderOptions)
    options, workspace, progress = take(RenderOptions, args), Workspace(args.workspace), TerminalProgress()
    if not workspace.exists:
        example = command("recon", "run", "INPUT", "-w", args.workspace)
        raise WorkspaceError(f"{args.workspace} is no recon workspace. `{example}` makes one.")
    out = (film if options.panorama is None else panorama)(workspace, options, progress)
    size = sum(path.stat().st_size for path in (out.iterdir() if out.is_dir() else [out]))
    progress.say(f"wrote {out} ({size / 1e6:.1f} MB)")
