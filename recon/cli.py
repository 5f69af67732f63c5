"""The command line: `recon VERB ...`. Only the chosen verb's modules are imported.

Exit codes: 0 a result; 1 a defect of ours; 2 an error that the user can mend; 130 stopped with Ctrl-C.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from recon import __version__
from recon.errors import ReconError
from recon.stages import STAGES, resolve

VERBS: dict[str, tuple[str, str]] = {
    "run": ("recon.commands:run", "Photos in, a place out: every stage that the goal needs, and no more."),
    "demo": ("recon.commands:demo", "The same on the sample capture; publishes its page and opens it."),
    **{name: ("recon.commands:stage", stage.summary) for name, stage in STAGES.items()},
    "compare": (
        "render.compare:compare",
        "Put the scenes of a workspace side by side: errors, times, sizes, pictures.",
    ),
    "export": ("recon.commands:export", "Write the scene or its mesh in another format: OUT.ply, OUT.glb, OUT.obj."),
    "render": ("viewer.commands:render", "Film the scene: .mp4, or frames with depth or alpha; or a still all around."),
    "view": ("recon.commands:view", "Look at a workspace in the browser, finished or still at work."),
    "publish": ("viewer.commands:publish", "Write a static folder for any web server: the page and the scene."),
    "serve": (
        "viewer.commands:serve",
        "Serve a published page: to this machine, or with --host to headsets and phones.",
    ),
    "status": ("recon.commands:status", "Show the stages, their numbers, and what a rerun would do."),
    "doctor": ("recon.doctor:doctor", "Say what this machine has, and what is missing for what."),
}
"""Verb -> (function(verb, summary, argv), its line in `recon --help`)."""
GOES_ON = "The same command goes on where it stopped."
STOPPED = {
    "publish": "What stood at the site's place stays as it was; the same command starts anew.",
    "export": "Nothing was written; the same command starts anew.",
    "compare": "Nothing was written; the same command starts anew.",
    "status": "Nothing was changed.",
    "doctor": "Nothing was changed.",
}
"""What Ctrl-C leaves, of the verbs that do not go on where they stopped."""


def usage() -> str:
    lines = [f"  {verb:8} {summary}" for verb, (_, summary) in VERBS.items()]
    return "\n".join(
        [
            f"recon {__version__}: photos or video in, a place out.",
            "",
            "  recon run INPUT -w DIR    INPUT: a folder of photos, a video, a COLMAP model or a transforms.json data set",
            "  recon VERB --help         the options of a verb",
            "",
            *lines,
            "",
            "  --debug with any verb: the traceback of an error",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The `recon` command. Returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    try:
        return _dispatch([word for word in words if word != "--debug"])
    except ReconError as error:
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            f"\nStopped. {STOPPED.get(next((word for word in words if word != '--debug'), ''), GOES_ON)}",
            file=sys.stderr,
        )
        return 130
    except BrokenPipeError:  # the reader of our output has gone, as in `recon --help | head`
        sys.stdout = None
        return 0
    except Exception as error:
        if debug:
            raise
        print(
            f"defect: {type(error).__name__}: {error}\nThis is a fault of recon's, not yours; what was finished is kept. "
            "The same command with --debug shows where it happened.",
            file=sys.stderr,
        )
        return 1


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage(), flush=True)
        return 0
    if words[0] == "--version":
        print(__version__)
        return 0
    verb, rest = words[0], words[1:]
    if verb not in VERBS:
        import difflib

        close = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f" Did you mean `recon {close[0]}`?" if close else ""
        raise ReconError(f"recon has no verb {verb!r}.{hint} `recon --help` lists them.")
    target, summary = VERBS[verb]
    return resolve(target)(verb, summary, rest) or 0


if __name__ == "__main__":
    sys.exit(main())
