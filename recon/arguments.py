"""Options dataclasses -> one flat command line: a field's name is its flag, its docstring its help, its default its default."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from recon.errors import InputError
from recon.presets import PRESETS


def field_docs(options: type) -> dict[str, str]:
    """The string under each field of a dataclass, by field name."""
    body = ast.parse(textwrap.dedent(inspect.getsource(options))).body[0]
    assert isinstance(body, ast.ClassDef)
    docs = {}
    for field, doc in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(doc, ast.Expr) and isinstance(doc.value, ast.Constant):
            docs[ast.unparse(field.target)] = " ".join(str(doc.value.value).split())
    return docs


def flat(name: str, *parts: type, defaults: dict[str, Any] | None = None) -> type:
    """One dataclass with the fields of all `parts`, in order; a field that several share (seed, device) appears once.

    `defaults` replaces the defaults of the fields that it names.
    """
    defaults = defaults or {}
    fields: dict[str, tuple[str, Any, Any]] = {}
    for part in parts:
        hints, docs = typing.get_type_hints(part, include_extras=True), field_docs(part)
        for field in dataclasses.fields(part):
            if field.name in fields:
                continue
            about = tyro.conf.arg(help=docs.get(field.name, ""), aliases=field.metadata.get("aliases"))
            default = defaults.get(field.name, field.default)
            if default is dataclasses.MISSING and field.default_factory is not dataclasses.MISSING:
                default = field.default_factory()
            own = dataclasses.field() if default is dataclasses.MISSING else dataclasses.field(default=default)
            fields[field.name] = (field.name, Annotated[hints[field.name], about], own)
    return dataclasses.make_dataclass(name, list(fields.values()), frozen=True, kw_only=True)


def take(options: type, args: Any) -> Any:
    """An instance of `options` filled from the flat arguments that have its fields."""
    return options(**{f.name: getattr(args, f.name) for f in dataclasses.fields(options) if hasattr(args, f.name)})


def parse(verb: str, summary: str, argv: Sequence[str], *parts: type) -> Any:
    """Parse a verb's arguments; --preset, where the verb has it, moves the defaults. Wrong arguments end the process with 2.

    Raises InputError for arguments that contradict each other.
    """
    kind = flat(verb.capitalize(), *parts, defaults=_preset(argv) if WithPreset in parts else None)
    several = {
        f"--{field.name.replace('_', '-')}"
        for part in parts
        for field in dataclasses.fields(part)
        if typing.get_origin(typing.get_type_hints(part)[field.name]) is tuple
    }
    args = tyro.cli(kind, prog=f"recon {verb}", args=_gathered(argv, several), description=summary)
    if _flags(argv) >= {"--steps", "--minutes"} and None not in (args.steps, args.minutes):
        raise InputError("--steps and --minutes both say when training ends. Give one of the two.")
    return args


def _flags(argv: Sequence[str]) -> set[str]:
    """The flags among the words, as they are spelled in the help."""
    return {word.partition("=")[0].replace("_", "-") for word in argv if word.startswith("--")}


def _gathered(argv: Sequence[str], several: set[str]) -> list[str]:
    """The words with the values of a flag of `several` together: given twice, it must not forget what it got first."""
    groups: list[list[str]] = [[]]
    for word in argv:
        flag, equals, value = word.partition("=")
        flag = flag.replace("_", "-")
        if flag in several:
            known = next((group for group in groups if group[:1] == [flag]), None)
            groups.append([flag] if known is None else known)
            groups[-1] += [value] if equals else []
        elif word.startswith("--") or word == "-w":
            groups.append([word])
        else:
            groups[-1].append(word)
    whole = {id(group): group for group in groups}
    return [word for group in whole.values() for word in group]


def _preset(argv: Sequence[str]) -> dict[str, Any]:
    """The values of the preset that the arguments name (standard when they name none or a wrong one: tyro will complain)."""
    name = "standard"
    for i, word in enumerate(argv):
        if word == "--preset" and i + 1 < len(argv):
            name = argv[i + 1]
        elif word.startswith("--preset="):
            name = word.partition("=")[2]
    return PRESETS.get(name, {})


Preset = Literal["preview", "standard", "high"]


@dataclasses.dataclass(frozen=True)
class InWorkspace:
    """Arguments of every verb that may begin a workspace."""

    workspace: Path = dataclasses.field(metadata={"aliases": ("-w",)})
    """Folder that holds everything this command makes. New, or a workspace of earlier runs."""


@dataclasses.dataclass(frozen=True)
class OfWorkspace:
    """Arguments of every verb that needs what is in a workspace."""

    workspace: Path = dataclasses.field(metadata={"aliases": ("-w",)})
    """A workspace, as `recon run` made it."""


@dataclasses.dataclass(frozen=True)
class WithJson:
    """For verbs that have records to print."""

    json: bool = False
    """Print the stage's stage.json to standard output; run: one object of them by stage; status: a list of all."""


@dataclasses.dataclass(frozen=True)
class Redo:
    """For verbs that write a stage."""

    redo: bool = False
    """Replace a result that was made with other options or photos. The old one stays until the new one is whole."""


@dataclasses.dataclass(frozen=True)
class Named:
    """For train, eval and what reads them."""

    name: str = "main"
    """Which scene of this workspace: several live side by side."""


@dataclasses.dataclass(frozen=True)
class WithPreset:
    """For verbs that train."""

    preset: Preset = "standard"
    """Sets the defaults of minutes, long-side and splats; explicit options override it."""


@dataclasses.dataclass(frozen=True)
class WithInput:
    """For verbs that start from photos."""

    input: tyro.conf.Positional[tuple[Path, ...]] = ()
    """A folder of photos, a video, several videos of one time (with a calibration of their cameras), or a data set (COLMAP,
    transforms.json). May be left out once it has been read."""


@dataclasses.dataclass(frozen=True)
class WithView:
    """For verbs that can be watched."""

    view: bool = False
    """Watch live in the browser while it works."""


@dataclasses.dataclass(frozen=True)
class WithMesh:
    """For the verb that runs all stages."""

    mesh: bool = False
    """Also make a mesh of the scene (see `recon mesh --help` for its options)."""
