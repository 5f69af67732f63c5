"""Random splats and a camera that looks at them, for the tests of rendering."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from recon.cameras import Cameras
from recon.geometry import rotation_from_quat


def scene(count: int, *, seed: int = 0, bands: int = 16, size: float = -2.5, spread: float = 0.6) -> dict[str, Tensor]:
    """Random columns round the origin."""
    g = torch.Generator().manual_seed(seed)
    return {
        "mean": torch.randn(count, 3, generator=g),
        "log_scale": size + spread * torch.randn(count, 3, generator=g),
        "quat": torch.randn(count, 4, generator=g),
        "opacity_logit": 1.5 * torch.randn(count, generator=g),
        "sh": 0.3 * torch.randn(count, bands, 3, generator=g),
    }


def cameras(
    width: int = 53, height: int = 37, *, distance: float = 4.0, center: tuple[float, float] = (0.5, 0.5)
) -> Cameras:
    pose = np.eye(4)[None]
    pose[0, :3, :3] = rotation_from_quat([0.9, 0.2, -0.3, 0.1])
    pose[0, :3, 3] = [0.1, -0.2, distance]
    k = np.array([[[0.9 * width, 0, center[0] * width], [0, 1.1 * width, center[1] * height], [0, 0, 1]]])
    return Cameras(pose, k, np.array([[width, height]], np.int32))
