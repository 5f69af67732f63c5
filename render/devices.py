"""Which device to work on."""

from __future__ import annotations

from recon.errors import MissingPart
from recon.job import Job


def pick_device(wanted: str) -> str:
    """ "cpu" or "cuda". Raises MissingPart when CUDA is asked for and something is missing for it."""
    import importlib.util

    import torch

    if wanted == "cpu":
        return "cpu"
    gpu, gsplat = torch.cuda.is_available(), importlib.util.find_spec("gsplat") is not None
    if wanted == "cuda" and not (gpu and gsplat):
        lack = "a CUDA device that torch can see" if not gpu else "the package gsplat (pip install 'recon-scene[cuda]')"
        raise MissingPart(f"--device cuda needs {lack}. `recon doctor` says more; --device cpu works everywhere.")
    return "cuda" if gpu and gsplat else "cpu"


def get_ready(device: str, job: Job) -> None:
    """Compile the CPU's kernels, or load them, so that no step of training pays for it; says so when it takes long."""
    if device != "cpu":
        return
    from render.kernels.warm import kernels_are_compiled, warm_up

    if kernels_are_compiled():
        warm_up()
        return
    job.say("Compiling for this processor; later runs load what is compiled now.")
    with job.task("compiling"):
        warm_up()
