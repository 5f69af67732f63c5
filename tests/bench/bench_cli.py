"""What `recon --help` costs beside importing tyro: python tests/bench/bench_cli.py"""

from __future__ import annotations

import statistics
import subprocess
import sys

from common import ROOT, measured, record

COMMANDS = {
    "python": [sys.executable, "-c", "pass"],
    "import tyro": [sys.executable, "-c", "import tyro"],
    "recon --help": [sys.executable, "-m", "recon", "--help"],
    "recon run --help": [sys.executable, "-m", "recon", "run", "--help"],
}


def main(rounds: int = 9) -> None:
    spent: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name, command in COMMANDS.items():
            with measured() as one:
                subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
            spent[name].append(one.cpu)
    medians = {name: statistics.median(times) for name, times in spent.items()}
    ratio = {name: medians[name] / medians["import tyro"] for name in ("recon --help", "recon run --help")}
    for name, seconds in medians.items():
        print(f"{name:18} {1000 * seconds:6.0f} CPU ms")
    for name, value in ratio.items():
        print(f"{name} / import tyro = {value:.2f}")
    record("cli", {"cpu_seconds": medians, "ratio": ratio})


if __name__ == "__main__":
    main()
