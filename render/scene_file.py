"""scene.npz: a scene's per-splat columns and shared tensors, and as JSON its `world` and, in `config`, all else."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.errors import WorkspaceError
from recon.files import save_npz
from recon.geometry import World

FORMAT = 1


def save_scene(path: Path, scene: Any, **info: Any) -> None:
    """Write a scene. Atomic; equal scenes give equal bytes. Arrays keep their names; shared ones are prefixed "shared.".
    `info` is added to the scene's own.

    The scene's device is not written: it is where it was made, not what it is.
    """
    parameters = scene.parameters()
    arrays = {name: column.detach().cpu().numpy() for name, column in parameters.per_splat.items()}
    arrays |= {f"shared.{name}": tensor.detach().cpu().numpy() for name, tensor in parameters.shared.items()}
    setup = {f.name: getattr(scene.setup, f.name) for f in dataclasses.fields(scene.setup) if f.name not in _ELSEWHERE}
    config = {
        "format": FORMAT,
        "scene": scene.info["scene"],
        "config": dataclasses.asdict(scene.config),
        "setup": setup,
        "info": scene.info | info,
    }
    save_npz(path, world=json.dumps(scene.setup.world.to_json()), config=json.dumps(config), **arrays)


_ELSEWHERE = ("world", "device")


def read_scene(path: Path, device: str = "cpu") -> Any:
    """Read what save_scene() wrote, onto a device. Raises WorkspaceError when it is damaged or of a newer recon."""
    import torch

    from render.initial import SceneSetup
    from render.scenes import config_of

    arrays = read_npz(path)
    try:
        world = World.from_json(json.loads(str(arrays.pop("world"))))
        head = json.loads(str(arrays.pop("config")))
        if head["format"] > FORMAT:
            raise WorkspaceError(f"{path} is of a newer recon (format {head['format']}): update recon to read it.")
        setup = SceneSetup(**head["setup"], world=world, device=device)
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        scene = config_of(head["scene"])(**head["config"]).load(setup, tensors)
    except (KeyError, TypeError, ValueError) as error:
        raise WorkspaceError(f"{path} is damaged ({error}). Run `recon train` with --redo.") from error
    scene.info = head["info"]
    return scene


def read_refined(path: Path) -> dict[str, NDArray[np.float64]]:
    """cam_from_world f64[4, 4] of each training photo by name, where training refined them; none without the file."""
    if not path.is_file():
        return {}
    arrays = read_npz(path)
    return dict(zip(arrays["names"].tolist(), arrays["cam_from_world"].astype(np.float64), strict=True))


def read_npz(path: Path) -> dict[str, NDArray]:
    """All arrays of a file. Raises WorkspaceError when it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as data:
            return dict(data)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise WorkspaceError(f"{path} is damaged ({error}). Run `recon train` with --redo.") from error
