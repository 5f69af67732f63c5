"""Points as the kernels of radiance fields take them: by coordinate, in groups of 16."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from recon.kernels.simd import LANES


def columns(x: Tensor) -> NDArray[np.float32]:
    """f32[D * count]: the coordinates of N points one after the other, each filled up with zeros to groups of 16."""
    out = np.zeros((x.shape[1], padded_count(len(x))), np.float32)
    out[:, : len(x)] = x.detach().numpy().T
    return out.reshape(-1)


def padded_count(count: int) -> int:
    """The points of the groups that hold `count` points."""
    return -(-count // LANES) * LANES


def flat(tensor: Tensor) -> NDArray[np.float32]:
    """The numbers of a CPU tensor of float32, in order."""
    return np.ascontiguousarray(tensor.detach().numpy()).reshape(-1)


def padded(rows: Tensor) -> NDArray[np.float32]:
    """The rows one after the other, filled up with zeros to groups of 16."""
    if len(rows) % LANES == 0:
        return flat(rows)
    out = np.zeros((padded_count(len(rows)), rows.shape[1]), np.float32)
    out[: len(rows)] = rows.detach().numpy()
    return out.reshape(-1)
