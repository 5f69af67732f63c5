"""What every benchmark shares: CPU seconds, and a JSON record with command, commit, machine, load, seeds and values."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
OUT = ROOT / "build" / "bench"


def cpu_seconds() -> float:
    """User and system seconds of this process over all threads, finished children counted in."""
    t = os.times()
    return t.user + t.system + t.children_user + t.children_system


@dataclass
class Spent:
    """Filled when the block of `measured()` ends."""

    cpu: float = 0.0
    wall: float = 0.0


@contextlib.contextmanager
def measured() -> Iterator[Spent]:
    """CPU and wall seconds of a block."""
    spent, cpu, wall = Spent(), cpu_seconds(), time.monotonic()
    try:
        yield spent
    finally:
        spent.cpu, spent.wall = cpu_seconds() - cpu, time.monotonic() - wall


def datasets() -> Path:
    """The folder of real captures; ends the benchmark with a sentence where it is not known."""
    value = os.environ.get("RECON_DATASETS")
    if not value or not Path(value).is_dir():
        sys.exit("Set RECON_DATASETS to the folder of real captures (expected fox/, strecha2008_halfres/ ... in it).")
    return Path(value)


def record(name: str, values: Any, *, seeds: list[int] | None = None, out: Path | None = None) -> Path:
    """Write build/bench/NAME.json and return its path."""
    data = {
        "name": name,
        "command": " ".join(["python", Path(sys.argv[0]).name, *sys.argv[1:]]),
        "commit": _commit(),
        "machine": {
            "cpu": _cpu_name(),
            "threads": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "load": [round(v, 2) for v in os.getloadavg()],
        "seeds": seeds or [],
        "values": values,
    }
    path = out or OUT / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1, default=float) + "\n")
    print(f"load {data['load']}  commit {data['commit']}  -> {path}")
    return path


def _commit() -> str:
    done = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=ROOT)
    return done.stdout.strip() or "not in git"


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "not known"
