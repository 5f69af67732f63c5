"""What the verbs do. Each is `verb(name, summary, argv) -> exit code or None`; the work itself is in the stages' modules."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from tyro.conf import Positional

from recon.arguments import (
    InWorkspace,
    Named,
    OfWorkspace,
    Redo,
    WithInput,
    WithJson,
    WithMesh,
    WithPreset,
    WithView,
    parse,
    take,
)
from recon.errors import InputError, MissingPart, WorkspaceError
from recon.keys import flag_of
from recon.progress import TerminalProgress
from recon.stages import STAGES, resolve
from recon.status import page_of, pages_of, stage_line, status_rows
from recon.wording import command
from recon.workspace import Workspace

MAIN_JOB = ("ingest", "sfm", "align", "train", "eval")
READS_PHOTOS = ("sfm",)
"""Stages that need the photos themselves; the later ones have their undistorted copies."""
READS_DEPTH = ("align", "depth")
"""Stages that need the depth images that came with the photos."""
ON_REQUEST = ("mesh",)
"""Stages that `recon run` adds with --STAGE."""
ON_NEED = ("depth",)
"""Stages that `recon run` adds when the options of another need them."""
MAIN_PARTS = (WithInput, InWorkspace, WithJson, Named, WithPreset, WithView, WithMesh, Redo)


def run(verb: str, summary: str, argv: Sequence[str]) -> None:
    """`recon run INPUT -w DIR`: ingest to eval, and what is asked for beyond, reusing and resuming what is there."""
    options = [resolve(STAGES[name].options) for name in MAIN_JOB + ON_REQUEST + ON_NEED]
    args = parse(verb, summary, argv, *MAIN_PARTS, *options)
    main_job(args, verb)


def main_job(args: Any, verb: str) -> None:
    """Run the main job for parsed arguments; with `view`, watch it, and stay until the viewer is closed."""
    workspace, progress = Workspace(args.workspace), TerminalProgress()
    job = _stages(args)
    _check_all_used(args, job)
    _check_at_the_door(workspace, args, job)
    viewer, records = None, dict[str, Any]()
    try:
        with workspace.writing(verb):
            for name in job:
                records[name] = _run_stage(workspace, name, args, progress, force=False, ahead=job)
                if args.view and viewer is None:  # once the input has proved to be one
                    viewer = _spawn_viewer(args)
        _say_result(workspace, args.name, progress)
        if args.json:
            print(json.dumps(records, indent=1), flush=True)
        if viewer is not None:
            progress.say("The viewer stays open; Ctrl-C ends it.")
            with contextlib.suppress(KeyboardInterrupt):
                viewer.wait()
    finally:
        if viewer is not None and viewer.poll() is None:
            viewer.terminate()
            viewer.wait()


def _stages(args: Any) -> tuple[str, ...]:
    """The main job and what is asked for beyond, each after the stages that its options need."""
    asked = [name for name in ON_REQUEST if getattr(args, name, False)]
    job: list[str] = []
    for name in (*MAIN_JOB, *asked):
        job += [*STAGES[name].needs_for(take(resolve(STAGES[name].options), args)), name]
    return tuple(dict.fromkeys(job))


ASKED_BY = {"mesh": "--mesh", "depth": "--mesh --from depth, or --depth-weight,"}
"""What makes `recon run` include a stage that is not part of the main job."""


def _check_all_used(args: Any, job: Sequence[str]) -> None:
    """Refuse options of stages that are not going to run: silence would look as if they had been followed."""
    for name, how in ASKED_BY.items():
        kind = resolve(STAGES[name].options)
        given = take(kind, args)
        changed = [f for f in fields(kind) if getattr(given, f.name) != getattr(kind(), f.name)]
        if name not in job and changed:
            raise InputError(
                f"{flag_of(changed[0])} is an option of `recon {name}`, which is not part of this run: add {how} or leave it out."
            )


def stage(verb: str, summary: str, argv: Sequence[str]) -> None:
    """`recon ingest|sfm|align|train|eval -w DIR`: that stage alone, from what the workspace holds."""
    parts: list[type] = [WithInput] if verb == "ingest" else []
    parts += [
        InWorkspace if verb == "ingest" else OfWorkspace,
        WithJson,
        *([Named] if STAGES[verb].named else []),
        *([WithPreset] if verb == "train" else []),
        Redo,
    ]
    args = parse(verb, summary, argv, *parts, resolve(STAGES[verb].options))
    workspace, progress = Workspace(args.workspace), TerminalProgress()
    if verb != "ingest" and not workspace.exists:
        raise _no_workspace(args.workspace)
    _check_at_the_door(workspace, args, (verb,))
    with workspace.writing(verb):
        record = _run_stage(workspace, verb, args, progress, force=args.redo)
    if (page := page_of(workspace, verb, getattr(args, "name", "main"))) is not None:
        progress.say(f"page    {page}")
    if args.json:
        print(json.dumps(record, indent=1))


def _check_at_the_door(workspace: Workspace, args: Any, stages: Sequence[str]) -> None:
    """Refuse options and names that some later stage would refuse, before anything is computed."""
    for name in stages:
        options = take(resolve(STAGES[name].options), args)
        if STAGES[name].check:
            resolve(STAGES[name].check)(options)
        workspace.folder(name, getattr(args, "name", "main"))


def _check_input(workspace: Workspace, args: Any, stages: Sequence[str]) -> None:
    """Refuse photos that some later stage would refuse, before the stages between have begun."""
    for stage in (STAGES[name] for name in stages if STAGES[name].check_input):
        resolve(stage.check_input)(workspace.load("ingest"), take(resolve(stage.options), args))


def _run_stage(
    workspace: Workspace, name: str, args: Any, progress: TerminalProgress, *, force: bool, ahead: Sequence[str] = ()
) -> dict[str, Any]:
    """Run one stage with its share of the arguments, unless its result is there. `force`: also when it is.

    `ahead`: the stages of this run, some of which may refuse the photos that ingest read.
    """
    options = take(resolve(STAGES[name].options), args)
    if getattr(options, "steps", None) is not None:
        options = replace(options, minutes=None)
    scene = getattr(args, "name", "main")
    arguments = None
    if name == "ingest":
        source, inputs = _source(workspace, args, options)
        arguments = (source,)
    else:
        inputs = workspace.input_keys(name, scene, options)
    plan = workspace.plan(name, options, inputs, scene)
    redo = force or (args.redo and plan.action == "redo")
    kept = plan.action == "reuse" and not redo
    if name == "ingest" and kept and args.input:
        _follow(workspace, args.input, options, progress)
    reads_depth = name in READS_DEPTH and getattr(options, "sensor", "auto") != "off"
    if (name in READS_PHOTOS or reads_depth) and (redo or plan.action in ("run", "resume")):
        resolve("recon.capture:check_photos")(workspace.load("ingest"), workspace.root, depth_only=reads_depth)
    if plan.action == "resume":
        progress.say(f"{name}: going on where it stopped")
    record = workspace.run(
        name,
        options,
        inputs,
        name=scene,
        redo=redo,
        progress=progress,
        arguments=arguments,
    )
    progress.say(stage_line(record, reused=kept))
    if name == "ingest":
        _check_input(workspace, args, ahead)
    return record


def _follow(workspace: Workspace, source: tuple[Path, ...], options: Any, progress: TerminalProgress) -> None:
    """Photos that were read already may have been moved since: later stages find them where they are now."""
    place = resolve("recon.ingest:follow")(source, options, workspace.folder("ingest"))
    if place is not None:
        progress.say(f"The photos are read from {place} from now on.")


def _source(workspace: Workspace, args: Any, options: Any) -> tuple[tuple[Path, ...], dict[str, str]]:
    """The input's paths and fingerprint: of what was given, or of what this workspace was made from."""
    if not args.input:
        return _earlier_source(workspace, args.redo, options)
    source = tuple(path.expanduser().resolve() for path in args.input)
    for path, given in zip(source, args.input, strict=True):
        if not path.exists():
            raise InputError(f"{given} does not exist. Expected a folder of photos, a video or a data set.")
        if path == workspace.root.resolve():
            raise WorkspaceError(f"{given} is both the input and the workspace. Choose another folder with -w.")
    return source, {"source": resolve("recon.ingest:fingerprint")(source, options)}


def _earlier_source(workspace: Workspace, redo: bool, options: Any) -> tuple[tuple[Path, ...], dict[str, str]]:
    """What this workspace was made from. Its photos need not be there any more, unless they are to be read anew."""
    record, source = workspace.record("ingest"), resolve("recon.capture:load_sources")(workspace.folder("ingest"))
    example = command("recon", "run", "PHOTOS", "-w", workspace.root)
    if record is None or not source:
        raise InputError(
            f"No input: {workspace.root} has not read any photos yet. Name a folder of photos, a video or a data set, as in "
            f"`{example}`."
        )
    inputs, gone = record["inputs"], [path for path in source if not path.exists()]
    if redo and not gone:
        inputs = {"source": resolve("recon.ingest:fingerprint")(source, options)}
    if gone and workspace.plan("ingest", options, inputs).action != "reuse":
        raise InputError(
            f"The photos were in {gone[0]}, which is no longer there. Name the folder where they are, as in `{example}`."
        )
    return source, inputs


def demo(verb: str, summary: str, argv: Sequence[str]) -> None:
    """`recon demo`: the main job on the sample capture, then its page."""
    args = parse(verb, summary, argv, DemoOptions, Named, Redo)
    photos = resolve("recon.sample:sample_photos")()
    options = [resolve(STAGES[name].options) for name in MAIN_JOB + ON_REQUEST + ON_NEED]
    words = [str(photos), "-w", str(args.workspace), "--minutes", str(args.minutes), "--name", args.name, *DEMO_OPTIONS]
    words += ["--redo"] * args.redo
    progress = TerminalProgress()
    progress.say(
        f"The sample capture: photos to a scene in about {args.minutes + DEMO_MINUTES_AROUND:.0f} minutes on two quiet cores, "
        "half a minute more the first time, when the kernels are compiled."
    )
    job = parse("run", summary, words, *MAIN_PARTS, *options)
    main_job(job, verb)
    try:
        site = _demo_page(args, progress)
    except MissingPart as missing:
        progress.warn(f"{missing} Until then the live view shows the scene.")
        site = None
    if args.view and site is not None:
        options = resolve("viewer.options:ServeOptions")()
        resolve("viewer.static_server:serve_folder")(site, options, progress, open_browser=True)
    elif args.view:
        resolve("viewer.server:serve")(
            args.workspace, resolve("viewer.options:ViewOptions")(name=args.name, open_browser=True)
        )


def _demo_page(args: Any, progress: TerminalProgress) -> Path:
    """Publish the demo's scene into its workspace. Raises MissingPart when the page cannot be built."""
    site = args.workspace / "site"
    options = resolve("viewer.options:PublishOptions")(
        name=args.name, target="desktop", title="A still life", photos=True, measure="no"
    )
    resolve("viewer.publish:publish")(Workspace(args.workspace), site, options, progress)
    progress.say(f"page    {site}")
    return site


DEMO_MINUTES_AROUND = 2.0
"""Wall minutes of the demo outside the training loop, on two quiet cores."""
DEMO_OPTIONS = ("--long-side", "640", "--splats", "80000")


@dataclass(frozen=True)
class DemoOptions:
    """`recon demo`."""

    workspace: Path = field(default=Path("recon-demo"), metadata={"aliases": ("-w",)})
    """Folder that holds everything the demo makes."""
    minutes: float = 2.0
    """Wall time of the training loop."""
    view: bool = True
    """Open the page at the end."""


@dataclass(frozen=True)
class ExportArguments:
    """`recon export OUT -w DIR`."""

    out: Positional[Path]
    """File to write; its ending chooses the format: .ply or .spz for splats; .glb, .obj or .ply for a mesh. A scene that moves:
    moving.gs4d, or one file a frame as in frames/%04d.ply."""
    what: Literal["auto", "splats", "mesh", "hull", "shell"] = "auto"
    """splats: the trained scene. mesh: its textured mesh. hull, shell: a collider, the mesh's convex hull or its larger parts
    with few faces. auto: splats into .ply and .spz, the mesh into the other formats."""
    edits: bool = True
    """Leave out the splats that were deleted in the viewer (edits/NAME.json)."""
    fps: float | None = None
    """Frames a second of a scene that moves; without it, those of its photos."""


def export(verb: str, summary: str, argv: Sequence[str]) -> None:
    """Write a trained scene, or its mesh, in another format. Reads whatever version of recon wrote it."""
    args = parse(verb, summary, argv, ExportArguments, OfWorkspace, Named)
    workspace = _existing(args.workspace)
    formats = resolve("render.formats:WRITERS")
    what = args.what
    if what in ("auto", "splats") and resolve("render.formats.sequence:is_of_time")(args.out):
        _export_moving(workspace, args)
        return
    if args.fps is not None:
        raise InputError(f"--fps does nothing for {args.out}: it is for moving.gs4d and frames/%04d.ply. Leave it out.")
    if what == "auto":
        what = "splats" if args.out.suffix.lower() in formats["splats"] else "mesh"
    write = resolve("render.formats:writer")(args.out, "splats" if what == "splats" else "mesh")
    if what == "splats":
        scene = resolve("render.edits:load_edited")(workspace, args.name, edits=args.edits)
        if not hasattr(scene, "at"):
            raise InputError(
                f"Scene {args.name} ({scene.info['scene']}) is a field, not splats, and {args.out.suffix} holds nothing else. "
                "Train splats beside it (`recon train --scene gs --name splats`), or export its mesh (`recon mesh`)."
            )
        content = scene.at(None)
    else:
        content = workspace.load("mesh", args.name)
        content = content if what == "mesh" else resolve("recon.mesh.collider:collider")(content, what)
    try:
        write(args.out, content)
    except OSError as error:
        raise InputError(f"{args.out} cannot be written ({error.strerror or error}). Choose another place.") from error
    TerminalProgress().say(f"wrote {args.out} ({args.out.stat().st_size / 1e6:.1f} MB)")


def _export_moving(workspace: Workspace, args: Any) -> None:
    """A scene that moves, as one file or as one a frame."""
    scene = resolve("render.edits:load_edited")(workspace, args.name, edits=args.edits)
    progress = TerminalProgress()
    try:
        lines = resolve("render.formats.sequence:export_moving")(scene, args.name, args.out, args.fps, progress)
    except OSError as error:
        raise InputError(f"{args.out} cannot be written ({error.strerror or error}). Choose another place.") from error
    for line in lines:
        progress.say(line)


def view(verb: str, summary: str, argv: Sequence[str]) -> None:
    """Serve the viewer until Ctrl-C."""
    serving = resolve("viewer.options:ServeOptions")
    args = parse(verb, summary, argv, OfWorkspace, resolve("viewer.options:ViewOptions"), serving)
    options, workspace = take(resolve("viewer.options:ViewOptions"), args), _existing(args.workspace)
    workspace.folder("train", options.name)
    resolve("viewer.server:serve")(workspace.root, options, take(serving, args))


def _spawn_viewer(args: Any) -> Any:
    """`recon view` as a process of its own, so that it cannot disturb the training."""
    import subprocess

    words = [sys.executable, "-m", "recon", "view", "-w", str(args.workspace), "--name", args.name, "--open-browser"]
    return subprocess.Popen(words, stdout=sys.stderr)  # standard output is for --json


def status(verb: str, summary: str, argv: Sequence[str]) -> None:
    """Show the stages of a workspace. Takes no lock."""
    args = parse(verb, summary, argv, OfWorkspace, WithJson)
    workspace = _existing(args.workspace)
    if args.json:
        print(json.dumps([workspace.record(*result) for result in workspace.results()], indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("stage", "state", "numbers", "seconds", "a rerun would", box=None, pad_edge=False)
    for row in status_rows(workspace):
        table.add_row(*row)
    console = Console(highlight=False)
    console.print(table)
    for page in pages_of(workspace):
        console.print(f"page    {page}", markup=False, soft_wrap=True)


def _existing(root: Path) -> Workspace:
    workspace = Workspace(root)
    if not workspace.exists:
        raise _no_workspace(root)
    return workspace


def _no_workspace(root: Path) -> WorkspaceError:
    return WorkspaceError(f"{root} is no recon workspace. `{command('recon', 'run', 'INPUT', '-w', root)}` makes one.")


def _say_result(workspace: Workspace, name: str, progress: TerminalProgress) -> None:
    root = workspace.root
    folder = workspace.folder("train", name)
    progress.say(f"scene   {next((p for p in [folder / 'scene.ply'] if p.is_file()), folder / 'scene.npz')}")
    progress.say(f"report  {workspace.folder('eval', name) / 'report.html'}")
    if (mesh := workspace.folder("mesh", name) / "mesh.glb").is_file():
        progress.say(f"mesh    {mesh}")
    if (page := page_of(workspace, "mesh", name)) is not None:
        progress.say(f"page    {page}")
    if sum(stage == "eval" for stage, _ in workspace.results()) > 1:
        progress.say(f"beside  {command('recon', 'compare', '-w', root)}")
    progress.say(f"look    {command('recon', 'view', '-w', root, *(['--name', name] if name != 'main' else []))}")
