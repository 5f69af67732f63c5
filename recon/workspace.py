"""Workspace: one folder a stage, keys that say when a result may be reused, one writer, and swaps that a kill cannot tear.

Layout of DIR:
    recon.json                 the format of this workspace
    STAGE[/NAME]/              a finished stage; its stage.json is written last
    .building/STAGE[/NAME]/    a stage at work; building.json holds its key: the same call resumes, another one starts anew
    .old/STAGE[/NAME]/         what a swap has put aside; brought back, or removed, by the next writer
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recon import __version__
from recon.errors import ReconError, WorkspaceError
from recon.files import remove_parts, remove_tree, sha256_file, sha256_json, sync_folder, sync_tree, write_json
from recon.job import Job, NoProgress, Progress
from recon.keys import changes, key_options, plain, stage_key
from recon.stages import STAGES, resolve
from recon.system import cpu_seconds, machine, system_errors, versions
from recon.wording import command, shown
from recon.writer import Writer, forget, note, note_stage, noted

FORMAT = 1
"""Version of the layout. A workspace of a higher one is refused."""
UNKNOWN = "its process is not known"
NEEDED = frozenset({"key", "result", "version", "options", "inputs", "metrics", "wall_seconds"})
"""What a stage.json must say to be one."""


@dataclass(frozen=True)
class Plan:
    """What a run of a stage would do, and why."""

    action: str
    """"reuse", "resume", "run", or "redo" (a result of another key is there)."""
    key: str
    inputs: dict[str, str]
    changes: tuple[str, ...] = ()
    """For "redo": what differs from the result that is there, in words."""


class Workspace:
    """A folder of stage results. Readers need no lock; call `writing()` around anything that writes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._check_format()

    def _check_format(self) -> None:
        marker = self.root / "recon.json"
        if self.root.exists() and not self.root.is_dir():
            raise WorkspaceError(f"{self.root} is a file; expected a folder. Choose another one with -w.")
        try:
            str(self.root).encode()
        except UnicodeEncodeError:
            raise WorkspaceError(
                f"The path {shown(str(self.root))} is not valid UTF-8. Choose another folder with -w."
            ) from None
        try:
            found = int(json.loads(marker.read_text(encoding="utf-8"))["format"])
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WorkspaceError(
                f"{marker} cannot be read ({error}). If {self.root} is a recon workspace, delete that one file and try again."
            ) from error
        if found > FORMAT:
            raise WorkspaceError(
                f"{self.root} was written by a newer recon (workspace format {found}; this one, {__version__}, knows "
                f"{FORMAT}). Update recon, or choose another folder with -w."
            )

    @property
    def exists(self) -> bool:
        return (self.root / "recon.json").is_file()

    def folder(self, stage: str, name: str = "main") -> Path:
        """Where the finished stage stands."""
        return self.root / _relative(stage, name)

    def building(self, stage: str, name: str = "main") -> Path:
        """Where the stage stands while it works."""
        return self.root / ".building" / _relative(stage, name)

    def record(self, stage: str, name: str = "main") -> dict[str, Any] | None:
        """The finished stage's stage.json, or None."""
        path = self.folder(stage, name) / "stage.json"
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(record, dict) or not record.keys() >= NEEDED:
                raise ValueError("it is no record of a stage")
            return record
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise WorkspaceError(
                f"{path} is damaged ({error}). Run `{self._verb(stage, name)} --redo` to remake it."
            ) from error

    def _verb(self, stage: str, name: str) -> str:
        """The command that makes a stage."""
        words = ["recon", stage, *(["PHOTOS"] if stage == "ingest" else []), "-w", self.root]
        return command(*words, *(["--name", name] if STAGES[stage].named and name != "main" else []))

    def load(self, stage: str, name: str = "main") -> Any:
        """The stage's result. Raises WorkspaceError, naming the verb to run, when it is not there."""
        if self.record(stage, name) is None:
            raise WorkspaceError(
                f"{self.root} has no {_title(stage, name)} yet. Run `{self._verb(stage, name)}` first, or `recon run`."
            )
        return resolve(STAGES[stage].load)(self.folder(stage, name))

    def input_keys(self, stage: str, name: str = "main", options: Any = None) -> dict[str, str]:
        """What identifies the results that a stage needs, by stage. Raises WorkspaceError when one is missing or out of date."""
        keys = {}
        for need in STAGES[stage].needs_for(options):
            record = self.record(need, name) if need in STAGES else None
            if record is None:
                raise WorkspaceError(
                    f"{stage} needs {_title(need, name)}, and {self.root} has none. "
                    f"Run `{self._verb(need, name)}` first, or `recon run`.{self._made_otherwise(stage, name, options)}"
                )
            if stale := self.stale_inputs(need, name):
                raise WorkspaceError(
                    f"{_title(need, name)} was made from an earlier {' and '.join(stale)}. "
                    f"Remake it with `{self._verb(need, name)} --redo`."
                )
            keys[need] = record["result"]
        return keys

    def _made_otherwise(self, stage: str, name: str, options: Any) -> str:
        """What the result that is there was made with, if with other options, as a sentence."""
        record = self.record(stage, name)
        told = [] if record is None or options is None else list(changes(record, STAGES[stage], options, {}))
        return f" The {_title(stage, name)} that is there was made otherwise: {'; '.join(told)}." if told else ""

    def stale_inputs(self, stage: str, name: str = "main") -> list[str]:
        """The needs of a finished stage that have been remade since, directly or further up."""
        record = self.record(stage, name)
        if record is None:
            return []
        stale = []
        for need in _needs_of_record(stage, record):
            try:
                current = self.record(need, name)
            except WorkspaceError:  # damaged: to be remade, and so is what was made from it
                current = None
            if current is None or current["result"] != record["inputs"].get(need) or self.stale_inputs(need, name):
                stale.append(need)
        return stale

    def plan(self, stage: str, options: Any, inputs: dict[str, str], name: str = "main") -> Plan:
        """What run() would do with these options and input keys."""
        key, folder = stage_key(STAGES[stage], options, inputs), self.building(stage, name)
        try:
            record = self.record(stage, name)
        except WorkspaceError:
            return Plan("redo", key, inputs, ("its stage.json is damaged",))
        if record is not None:
            if record["key"] == key:
                return Plan("reuse", key, inputs)
            return Plan("redo", key, inputs, tuple(changes(record, STAGES[stage], options, inputs)))
        if _building_key(folder) == key:
            return Plan("resume", key, inputs)
        return Plan("run", key, inputs)

    @contextlib.contextmanager
    def writing(self, verb: str) -> Iterator[None]:
        """Hold the workspace for one writer, repair what a kill left, and turn system errors into sentences."""
        import filelock

        with system_errors(self.root):
            made, fresh = not self.root.exists(), not self.exists
            self.root.mkdir(parents=True, exist_ok=True)
            if not self.exists and _is_foreign(self.root):
                raise WorkspaceError(
                    f"{self.root} is not empty and no recon workspace. Choose a new or empty folder with -w."
                )
            lock = filelock.FileLock(self.root / ".lock", timeout=0)
            try:
                lock.acquire()
            except NotImplementedError as error:
                raise WorkspaceError(
                    f"The file system of {self.root} has no locks, which keep two runs apart. Choose a local folder with -w."
                ) from error
            except filelock.Timeout:
                raise WorkspaceError(
                    f"Another recon is writing to {self.root} ({noted(self.root) or UNKNOWN}). Wait for it, stop it, or choose "
                    "another folder with -w. `recon status` and `recon view` work meanwhile."
                ) from None
            try:
                note(self.root, Writer(os.getpid(), verb))
                if not self.exists:
                    write_json(self.root / "recon.json", {"format": FORMAT, "recon": __version__})
                self._repair()
                yield
            except ReconError:
                if fresh and not self.results():
                    remove_tree(self.root / ".building")
                raise
            finally:
                forget(self.root)
                lock.release()
                if fresh:
                    self._leave_nothing(made)

    def _leave_nothing(self, made: bool) -> None:
        """Remove a workspace in which nothing was begun, or nothing came of the first stage: its input was none."""
        if {path.name for path in self.root.iterdir()} <= {".lock", "recon.json"}:
            (self.root / "recon.json").unlink(missing_ok=True)
            (self.root / ".lock").unlink(missing_ok=True)
            if made:
                self.root.rmdir()

    def _repair(self) -> None:
        """Finish what a kill cut short: a result that was whole takes its place, one put aside without a successor comes back."""
        for stage, name, built in list(_results(self.root / ".building")):
            self._swap(built, stage, name)
        for stage, name, aside in list(_results(self.root / ".old")):
            final = self.folder(stage, name)
            if not final.exists():
                final.parent.mkdir(parents=True, exist_ok=True)
                os.replace(aside, final)
        remove_tree(self.root / ".old")
        remove_parts(self.root)

    def results(self) -> list[tuple[str, str]]:
        """(stage, name) of every finished result, in the order of the table."""
        return [(stage, name) for stage, name, _ in _results(self.root)]

    def run(
        self,
        stage: str,
        options: Any,
        inputs: dict[str, str],
        *,
        name: str = "main",
        redo: bool = False,
        progress: Progress | None = None,
        arguments: tuple[Any, ...] | None = None,
    ) -> dict[str, Any]:
        """Run a stage unless its result is there, and return its stage.json. Call inside `writing()`.

        `arguments` replaces the loaded needs (ingest gets its source this way). With `redo`, a result of any key is built anew
        beside the old one, which stays until the new one is whole.
        """
        plan = self.plan(stage, options, inputs, name)
        if plan.action == "reuse" and not redo:
            return self.record(stage, name) or {}
        if plan.action == "redo" and not redo:
            raise WorkspaceError(_another_key(self.root, stage, name, plan))
        row, folder = STAGES[stage], self.building(stage, name)
        progress = progress or NoProgress()
        note_stage(self.root, stage, name)
        earlier = _open_building(folder, plan.key)
        job = Job(folder, progress)
        wall, cpu = time.monotonic(), cpu_seconds()
        try:
            loaded = (
                arguments if arguments is not None else tuple(self.load(need, name) for need in row.needs_for(options))
            )
            resolve(row.run)(*loaded, options, job)
        except BaseException:
            with contextlib.suppress(OSError):
                spent = {
                    "wall_seconds": earlier["wall_seconds"] + time.monotonic() - wall,
                    "cpu_seconds": earlier["cpu_seconds"] + cpu_seconds() - cpu,
                }
                write_json(folder / "building.json", {"key": plan.key, **spent})
            raise
        job.tidy()
        apart = {folder / name for name in ("building.json", *row.apart)}
        outputs = {
            path.relative_to(folder).as_posix(): sha256_file(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path not in apart and not path.is_relative_to(folder / "scratch")
        }
        record = {
            "stage": stage,
            "key": plan.key,
            "result": sha256_json([plan.key, outputs]),
            "version": row.version,
            "options": plain(dataclasses.asdict(options)) | key_options(options),
            "inputs": inputs,
            "outputs": outputs,
            "versions": versions(),
            "seed": getattr(options, "seed", None),
            "wall_seconds": round(earlier["wall_seconds"] + time.monotonic() - wall, 2),
            "cpu_seconds": round(earlier["cpu_seconds"] + cpu_seconds() - cpu, 2),
            "warnings": job.warnings,
            "metrics": plain(job.metrics),
            **machine(options),
        }
        write_json(folder / "stage.json", record)
        self._swap(folder, stage, name)
        return record

    def _swap(self, built: Path, stage: str, name: str) -> None:
        """Put a built folder in place; the old one is put aside until the new one stands.

        The checkpoints go only now that stage.json is there: a kill before it must find them.
        """
        remove_tree(built / "scratch")
        (built / "building.json").unlink(missing_ok=True)
        sync_tree(built)
        final, old = self.folder(stage, name), self.root / ".old" / _relative(stage, name)
        final.parent.mkdir(parents=True, exist_ok=True)
        if final.exists():
            remove_tree(old)
            old.parent.mkdir(parents=True, exist_ok=True)
            os.replace(final, old)
        os.replace(built, final)
        sync_folder(final.parent)
        remove_tree(self.root / ".old")
        with contextlib.suppress(OSError):
            built.parent.rmdir()
            (self.root / ".building").rmdir()


def _relative(stage: str, name: str) -> Path:
    if not STAGES[stage].named:
        return Path(stage)
    if not name or name in (".", "..") or "/" in name or "\\" in name or name.startswith("."):
        raise WorkspaceError(f"{name!r} cannot name a result. Use letters, digits, '-' and '_', as in --name fine.")
    return Path(stage) / name


def _results(base: Path) -> Iterator[tuple[str, str, Path]]:
    """(stage, name, folder) of every stage folder below `base` whose stage.json is written."""
    for stage in STAGES.values():
        folders = sorted((base / stage.name).iterdir()) if stage.named and (base / stage.name).is_dir() else []
        for folder in folders if stage.named else [base / stage.name]:
            if (folder / "stage.json").is_file():
                yield stage.name, folder.name if stage.named else "main", folder


def _needs_of_record(stage: str, record: dict[str, Any]) -> list[str]:
    """The stages that a result was made from, in the order of the table."""
    return [n for n in STAGES if n in record["inputs"]] if STAGES[stage].needs_of else list(STAGES[stage].needs)


def _title(stage: str, name: str) -> str:
    return f"{stage}/{name}" if stage in STAGES and STAGES[stage].named else stage


def _building_key(folder: Path) -> str | None:
    try:
        return json.loads((folder / "building.json").read_text(encoding="utf-8"))["key"]
    except (OSError, ValueError, KeyError):
        return None


def _open_building(folder: Path, key: str) -> dict[str, float]:
    """Make the building folder ready: kept when it is of the same key, emptied otherwise. Returns the seconds spent before."""
    if _building_key(folder) == key:
        data = json.loads((folder / "building.json").read_text(encoding="utf-8"))
        return {name: float(data.get(name, 0)) for name in ("wall_seconds", "cpu_seconds")}
    remove_tree(folder)
    folder.mkdir(parents=True)
    write_json(folder / "building.json", {"key": key})
    return {"wall_seconds": 0.0, "cpu_seconds": 0.0}


def _another_key(root: Path, stage: str, name: str, plan: Plan) -> str:
    beside = " or keep both with --name NEW," if STAGES[stage].named else ""
    return (
        f"{root} already holds a result of {_title(stage, name)} made otherwise: {'; '.join(plan.changes)}. Nothing was changed. "
        f"Repeat its options to keep it, add --redo to replace it,{beside} or choose another folder with -w."
    )


def _is_foreign(root: Path) -> bool:
    """Whether visible files are there; hidden ones may be what a kill left of ours."""
    return any(not path.name.startswith(".") for path in root.iterdir())
