"""Adam on the entries of a large tensor that have a gradient, in place: a step touches few entries of a hash table.

Its twin in torch is what render.optimize.WholeAdam does on other devices.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from recon.kernels.jit import DOOR, kernel, spread

_GRAIN = 65536


@kernel
def _move(start, stop, param, first, second, grad, beta1, beta2, step, scale, eps):
    """Entries start .. stop."""
    one = np.float32(1)
    for i in range(start, stop):
        g = grad[i]
        if g != 0:
            m = first[i] + (one - beta1) * (g - first[i])
            v = beta2 * second[i] + (one - beta2) * g * g
            first[i] = m
            second[i] = v
            param[i] -= step * m / (np.sqrt(v * scale) + eps)


def lazy_adam(
    param: Tensor,
    first: Tensor,
    second: Tensor,
    grad: Tensor,
    beta1: float,
    beta2: float,
    step: float,
    scale: float,
    eps: float,
) -> None:
    """One update of contiguous float32 tensors of one shape on the CPU. `step`: the rate over the first moment's bias
    correction; `scale`: one over that of the second."""
    arrays = [tensor.detach().reshape(-1).numpy() for tensor in (param, first, second, grad)]
    numbers = [np.float32(value) for value in (beta1, beta2, step, scale, eps)]
    with DOOR:
        spread(_move, len(arrays[0]), *arrays, *numbers, grain=_GRAIN)
