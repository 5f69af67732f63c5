"""The whole main job as a user runs it: wall time by stage, CPU seconds, peak memory, held-out error.

python tests/bench/bench_run.py preview        recon run fox/images --preset preview
python tests/bench/bench_run.py memory         the same at 960 px with --preset high (--minutes shortens it)
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from common import ROOT, datasets, measured, record

CASES = {"preview": ["--preset", "preview"], "memory": ["--preset", "high", "--long-side", "960"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--photos", type=Path, help="default: fox/images of RECON_DATASETS")
    parser.add_argument("--minutes", type=float)
    args = parser.parse_args()
    photos = args.photos or datasets() / "fox" / "images"
    words = [*CASES[args.case], *(["--minutes", str(args.minutes)] if args.minutes else [])]
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder) / "w"
        command = [sys.executable, "-m", "recon", "run", str(photos), "-w", str(workspace), *words]
        with measured() as spent:
            peak = run_and_watch(command)
        stages = {name: json.loads((workspace / path / "stage.json").read_text()) for name, path in folders().items()}
        metrics = json.loads((workspace / "eval/main/metrics.json").read_text())
    values = {
        "arguments": words,
        "wall_seconds": spent.wall,
        "cpu_seconds": spent.cpu,
        "peak_gib": peak,
        "stages": {name: {k: data[k] for k in ("wall_seconds", "cpu_seconds")} for name, data in stages.items()},
        "psnr": metrics["psnr"],
        "ssim": metrics["ssim"],
        "splats": metrics["splats"],
    }
    for name, data in values["stages"].items():
        print(f"{name:8} {data['wall_seconds']:7.1f} s wall {data['cpu_seconds']:7.1f} CPU s")
    print(f"whole    {spent.wall:7.1f} s wall {spent.cpu:7.1f} CPU s, peak {peak:.2f} GiB")
    print(f"held out {metrics['psnr']:.2f} dB, SSIM {metrics['ssim']:.3f}, {metrics['splats']} splats")
    record(f"run_{args.case}", values, seeds=[0])


def folders() -> dict[str, str]:
    return {"ingest": "ingest", "sfm": "sfm", "align": "align", "train": "train/main", "eval": "eval/main"}


def run_and_watch(command: list[str]) -> float:
    """Run a command to its end; the peak of its own and its children's resident memory together, GiB."""
    process = subprocess.Popen(command, cwd=ROOT)
    peak, done = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.2):
            peak = max(peak, resident(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    code = process.wait()
    done.set()
    watcher.join()
    if code != 0:
        sys.exit(f"{' '.join(command)} ended with {code}")
    return peak / 2**30


def resident(pid: int) -> int:
    """Bytes of a process and its descendants, from /proc; shared pages count for each."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(resident(int(child)) for child in children)


if __name__ == "__main__":
    main()
