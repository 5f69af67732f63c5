"""The live view under load: N clients that move their cameras for M minutes while a training runs on the same machine.

python tests/bench/bench_live.py                              20 clients, 10 minutes, the sample capture
python tests/bench/bench_live.py --clients 4 --minutes 2 --workspace DIR      a copy of a workspace that is aligned already

Prints, and writes to build/bench/live.json: what went wrong, the server's resident memory after warming up and at the end, and
the share of the machine's CPU that pictures took (by the painter's own books) and the whole server took (by the system's).
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import ROOT, record

WARM_SHARE = 0.2
"""Share of the time after which memory is taken as the start: all clients are there, the scene has its size."""
TRAINING = ["--long-side", "320", "--splats", "8000"]
MOVING, RESTING, RATE = 3.0, 4.0, 15.0
"""Seconds that a client moves and rests, and the cameras that it sends a second while it moves."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument(
        "--workspace", type=Path, help="a workspace with align/, which is copied; default: made of the sample"
    )
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="where the JSON goes; default: build/bench/live.json")
    args = parser.parse_args()
    if args.serve:
        serve(args.serve)
        return
    with tempfile.TemporaryDirectory() as folder:
        values = measure(prepared(Path(folder) / "w", args.workspace), args.clients, args.minutes)
    for name, value in values.items():
        print(f"{name:28} {value:.4g}" if isinstance(value, float) else f"{name:28} {value}")
    record("live", values, seeds=[0], out=args.out)


def prepared(root: Path, given: Path | None) -> Path:
    """A workspace that can be trained."""
    if given is not None:
        parts = ("recon.json", "ingest", "sfm", "align")
        root.mkdir()
        for name in parts:
            copy: Any = shutil.copytree if (given / name).is_dir() else shutil.copy
            copy(given / name, root / name)
        return root
    from recon.sample import sample_photos

    run("ingest", str(sample_photos()), "-w", str(root))
    for stage in ("sfm", "align"):
        run(stage, "-w", str(root))
    return root


def run(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "recon", *words], check=True, cwd=ROOT)


def measure(root: Path, clients: int, minutes: float) -> dict[str, Any]:
    """Start a training, the server and the clients; watch them; stop them all."""
    words = ["train", "-w", str(root), "--minutes", str(minutes + 2), *TRAINING]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": ROOT}
    training = subprocess.Popen([sys.executable, "-m", "recon", *words], **quiet)
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).resolve()), "--serve", str(root)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    lines: list[dict[str, Any]] = []
    try:
        assert server.stdout is not None
        port = json.loads(server.stdout.readline())["port"]
        reader = threading.Thread(target=read, args=(server.stdout, lines), daemon=True)
        reader.start()
        stop = threading.Event()
        crowd = [Client(port, i, stop) for i in range(clients)]
        wait_for_training(lines, training)
        first, start = lines[-1], time.monotonic()
        while time.monotonic() - start < 60 * minutes and training.poll() is None and server.poll() is None:
            time.sleep(1.0)
        last, alive = lines[-1], training.poll() is None and server.poll() is None
        stop.set()
        for client in crowd:
            client.join()
    finally:
        for process in (training, server):
            process.terminate()
            process.wait(timeout=60)
    return summary(first, last, lines, crowd) | {"clients": clients, "minutes": minutes, "all_alive": alive}


def wait_for_training(lines: list[dict[str, Any]], training: subprocess.Popen[bytes]) -> None:
    """Until the server sees a training with splats."""
    while not (lines and lines[-1]["training"] and lines[-1]["splats"]):
        if training.poll() is not None:
            sys.exit("The training ended before it began: run `recon train` by hand to see why.")
        time.sleep(0.5)


def summary(
    first: dict[str, Any], last: dict[str, Any], lines: list[dict[str, Any]], crowd: list[Client]
) -> dict[str, Any]:
    """The figures between two lines of the server's."""
    wall, cores = last["time"] - first["time"], last["cores"]
    warm = next(line for line in lines if line["time"] - first["time"] >= WARM_SHARE * wall)
    pictures = [client.pictures for client in crowd]
    return {
        "errors": last["errors"] + sum(client.lost for client in crowd),
        "rss_start_mb": warm["rss_mb"],
        "rss_end_mb": last["rss_mb"],
        "rss_ratio": last["rss_mb"] / warm["rss_mb"],
        "splats_start": warm["splats"],
        "splats_end": last["splats"],
        "cores": cores,
        "share_of_pictures": (last["drawn"] - first["drawn"]) / (cores * wall),
        "share_of_server": (last["cpu"] - first["cpu"]) / (cores * wall),
        "pictures": last["pictures"] - first["pictures"],
        "pictures_a_client": [min(pictures), max(pictures)],
        "cameras_sent": sum(client.sent for client in crowd),
        "training_step_end": last["step"],
    }


class Client(threading.Thread):
    """A browser that circles around the scene, rests, and circles again."""

    def __init__(self, port: int, number: int, stop: threading.Event) -> None:
        from tests.browser import FakeBrowser

        super().__init__(daemon=True)
        self._browser, self._number, self._halt = FakeBrowser(port), number, stop
        self.sent = self.pictures = self.lost = 0
        self.start()

    def run(self) -> None:
        rng = np.random.default_rng(self._number)
        angle, began = rng.uniform(0, 2 * np.pi), time.monotonic() - rng.uniform(0, MOVING + RESTING)
        while not self._halt.wait(1 / RATE):
            self._count()
            if self._browser.closed:
                self.lost += 1
                return
            if (time.monotonic() - began) % (MOVING + RESTING) < MOVING:
                angle += 0.02
                self._look(angle)
        self._browser.__exit__(None, None, None)

    def _look(self, angle: float) -> None:
        from recon.geometry import quat_from_rotation

        forward = -np.array([np.cos(angle), np.sin(angle), 0.3])
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, [0, 0, 1.0])
        right /= np.linalg.norm(right)
        wxyz = quat_from_rotation(np.stack([right, np.cross(forward, right), forward], -1))
        self._browser.look(-4 * forward, wxyz, 0.9, (960, 600))
        self.sent += 1

    def _count(self) -> None:
        """Count the true images that came, and forget all messages."""
        came, self._browser.messages[:] = list(self._browser.messages), []
        self.pictures += sum(m["type"] == "BackgroundImageMessage" and bool(m["rgb_data"]) for m in came)


# The server's process


def serve(root: Path) -> None:
    """Serve a workspace, and say every second on standard output how it goes."""
    from viewer.options import ViewOptions
    from viewer.server import Viewer

    errors = Counter()
    logging.getLogger().addHandler(errors)
    with Viewer(root, ViewOptions(port=0)) as viewer:
        print(json.dumps({"port": viewer.port}), flush=True)
        while True:
            time.sleep(1.0)
            budget, now = viewer.painter.budget, viewer._snapshot
            splats = None if now is None or now.scene is None else now.scene.splats
            line = {
                "time": time.monotonic(),
                "cpu": time.process_time(),
                "rss_mb": resident_mb(),
                "errors": errors.count,
                "cores": budget.cores,
                "drawn": budget.drawn,
                "pictures": budget.pictures,
                "training": viewer.painter.training,
                "splats": 0 if splats is None else len(splats),
                "step": now.history[-1]["step"] if now is not None and now.history else 0,
            }
            print(json.dumps(line), flush=True)


class Counter(logging.Handler):
    """Counts what is worth a warning."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1
        print(self.format(record), file=sys.stderr)


def resident_mb() -> float:
    """Resident memory of this process, 2^20 bytes (Linux)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def read(stream: Any, lines: list[dict[str, Any]]) -> None:
    for line in stream:
        lines.append(json.loads(line))


if __name__ == "__main__":
    main()
