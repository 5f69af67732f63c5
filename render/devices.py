"""Which device to work on."""

from __future__ import annotations

from recon.errors import MissingPart


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
