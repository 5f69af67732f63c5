"""A small stage table for the tests of the workspace: three stages that write little files."""

from dataclasses import dataclass, field
from pathlib import Path

from recon.files import atomic_write, write_json
from recon.job import Job
from recon.stages import Stage

PARTS = 4


@dataclass(frozen=True)
class FirstOptions:
    """Options of the first stage."""

    size: int = 3
    """How much."""
    threads: int = field(default=1, metadata={"key": False})
    """Provenance, not key."""


@dataclass(frozen=True)
class SecondOptions:
    """Options of the second stage."""

    factor: float = 2.0
    """How often."""
    fail: bool = False
    """Raise in the middle."""


@dataclass(frozen=True)
class ThirdOptions:
    """Options of the third stage."""

    seed: int = 0
    """Seed."""


def first(source: Path, options: FirstOptions, job: Job) -> None:
    write_json(job.folder / "first.json", {"text": source.read_text(), "size": options.size})
    job.metrics["size"] = options.size


def load_first(folder: Path) -> str:
    return (folder / "first.json").read_text()


def second(first: str, options: SecondOptions, job: Job) -> None:
    """Works in parts; a part that is there is not made again, and each making is logged in the workspace."""
    log = job.folder.parents[1] / "log"
    for part in range(PARTS):
        path = job.scratch / f"part{part}"
        if path.exists():
            continue
        with atomic_write(path) as stream:
            stream.write(f"{first} {options.factor} {part}\n".encode())
        with log.open("a") as stream:
            stream.write(f"{part}\n")
        if options.fail and part == 1:
            raise RuntimeError("a defect")
    with atomic_write(job.folder / "second.txt") as stream:
        stream.write(b"".join((job.scratch / f"part{part}").read_bytes() for part in range(PARTS)))
    job.warn("second warns")


def load_second(folder: Path) -> str:
    return (folder / "second.txt").read_text()


def third(second: str, options: ThirdOptions, job: Job) -> None:
    (job.folder / "third.txt").write_text(f"{second}{options.seed}")


def load_third(folder: Path) -> str:
    return (folder / "third.txt").read_text()


def row(name: str, needs: tuple[str, ...], version: int = 1, named: bool = False) -> Stage:
    return Stage(
        name=name,
        needs=needs,
        run=f"tests.stage_table:{name}",
        options=f"tests.stage_table:{name.capitalize()}Options",
        load=f"tests.stage_table:load_{name}",
        version=version,
        summary="",
        named=named,
    )


TABLE = {"first": row("first", ()), "second": row("second", ("first",)), "third": row("third", ("second",), named=True)}
