"""Adam on the visible rows of per-splat columns, in place.

A row that no camera saw is not touched: neither its parameters nor its moments. Bias correction then has to follow the
row,
not the run: with the run's step a row that is new (or was hidden till now) would take steps about three times too
long, since
its second moment is still far too small. So `count` holds each row's own number of updates, and the correction of
Kingma and Ba
(Adam, 2015) is exact for the sequence of gradients that the row has seen. A row that is reborn (its moments zeroed)
gets count 0.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from render.kernels import reference
from render.kernels.jit import DOOR, helper, kernel, spread
from render.kernels.simd import LANES, fill, lane_numbers, root, select
from render.kernels.simd_memory import load, store

_GRAIN = 8192
_NARROW = 4
"""Columns of at most so many floats a row are no work for vectors."""


@kernel
def corrections(rows, count, table, scales):
    """Count one update more for each row; scales f32[2, M] = the row's entries of the table f32[2, updates], or its
    last ones."""
    for i in range(len(rows)):
        t = count[rows[i]] + 1
        count[rows[i]] = t
        t = min(t, table.shape[1] - 1)
        scales[0, i] = table[0, t]
        scales[1, i] = table[1, t]


@helper
def _step(p, m, v, g, rate, scale1, scale2, beta1, beta2, eps):
    """(parameter, first moment, second moment) after one update; all vectors but the betas and eps."""
    m = beta1 * m + (np.float32(1) - beta1) * g
    v = beta2 * v + (np.float32(1) - beta2) * (g * g)
    return p - rate * scale1 * m / (root(scale2 * v) + eps), m, v


@kernel
def adam_wide(start, stop, rows, scales, param, first, second, grad, stride, used, rate, beta1, beta2, eps):
    """Update the first `used` of `stride` floats of rows[start : stop]; rate f32[used rounded up to 16]."""
    lanes = lane_numbers()
    for i in range(start, stop):
        scale1, scale2 = fill(scales[0, i]), fill(scales[1, i])
        at, g_at = stride * rows[i], used * i
        for k in range(0, used, LANES):
            p, m, v = load(param, at + k), load(first, at + k), load(second, at + k)
            p_new, m_new, v_new = _step(p, m, v, load(grad, g_at + k), load(rate, k), scale1, scale2, beta1, beta2, eps)
            if used - k >= LANES:
                store(param, at + k, p_new)
                store(first, at + k, m_new)
                store(second, at + k, v_new)
            else:
                mine = lanes < np.float32(used - k)
                store(param, at + k, select(mine, p_new, p))
                store(first, at + k, select(mine, m_new, m))
                store(second, at + k, select(mine, v_new, v))


@kernel
def adam_narrow(start, stop, rows, scales, param, first, second, grad, stride, used, rate, beta1, beta2, eps):
    """Update the first `used` of `stride` floats of rows[start : stop], for a few floats a row; rate f32[used]."""
    rest1, rest2 = np.float32(1) - beta1, np.float32(1) - beta2
    for i in range(start, stop):
        at, g_at = stride * rows[i], used * i
        scale1, scale2 = scales[0, i], scales[1, i]
        for k in range(used):
            g = grad[g_at + k]
            m = beta1 * first[at + k] + rest1 * g
            v = beta2 * second[at + k] + rest2 * (g * g)
            first[at + k] = m
            second[at + k] = v
            param[at + k] -= rate[k] * scale1 * m / (np.sqrt(scale2 * v) + eps)


def row_adam(
    params: dict[str, Tensor],
    first: dict[str, Tensor],
    second: dict[str, Tensor],
    grads: dict[str, Tensor],
    rows: Tensor,
    count: Tensor,
    lr: dict[str, float | Tensor],
    *,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-15,
) -> None:
    """One Adam update of params[name][rows] for every name in `grads`; params, first, second (moments) and count
    change in place.

    params, first, second: contiguous f32[N, ...] (on CUDA in plain torch). grads: f32[M, ...], as in RowGrads; a
    gradient [M, k, 3] of a column
    [N, K, 3], k < K, updates the first k entries. rows: i64[M], unique. count: i32[N], updates so far per row. lr: per
    column a
    number, or a tensor that broadcasts to a row of the column (SH bands with rates of their own: [K, 1]).
    """
    if rows.is_cuda:
        reference.row_adam(params, first, second, grads, rows, count, lr, beta1=beta1, beta2=beta2, eps=eps)
        return
    if len(rows) == 0:
        return
    index = np.ascontiguousarray(rows.numpy(), np.int64)
    scales = np.empty((2, len(index)), np.float32)
    numbers = np.float32(beta1), np.float32(beta2), np.float32(eps)
    with DOOR:
        corrections(index, count.numpy(), _table(float(beta1), float(beta2)), scales)
        for name, grad in grads.items():
            columns = [_flat(name, tensors[name]) for tensors in (params, first, second)]
            stride, used = len(columns[0]) // len(params[name]), grad[0].numel()
            small = used <= _NARROW or -(-used // LANES) * LANES > stride  # a wider store would reach into the next row
            g = _with_room(grad, len(index) * used)
            rate = _rates(lr[name], params[name], grad, used)
            spread(
                adam_narrow if small else adam_wide,
                len(index),
                index,
                scales,
                *columns,
                g,
                stride,
                used,
                rate,
                *numbers,
                grain=_GRAIN,
            )


@functools.cache
def _table(beta1: float, beta2: float) -> NDArray[np.float32]:
    """1 / (1 - beta^t) of both betas, f32[2, updates + 1], to where it is 1 in float32 or a million updates have
    passed."""
    slowest = max(beta1, beta2, 1e-3)
    length = int(min(1e6, 17 / -np.log(slowest))) + 2 if slowest < 1 else 2
    t = np.arange(1, length)
    out = np.ones((2, length), np.float32)
    out[0, 1:], out[1, 1:] = 1 / (1 - beta1**t), 1 / (1 - beta2**t)
    return out


def _flat(name: str, column: Tensor) -> NDArray[np.float32]:
    if not column.is_contiguous():
        raise ValueError(f"the {name} column must be contiguous: it is updated in place")
    return column.detach().numpy().reshape(-1)


def _with_room(grad: Tensor, used: int) -> NDArray[np.float32]:
    """The gradient's floats; vectors of the last row may read up to LANES beyond them."""
    flat = np.ascontiguousarray(grad.detach().numpy(), np.float32).reshape(-1)
    return flat if used % LANES == 0 else np.concatenate([flat, np.zeros(LANES, np.float32)])


def _rates(rate: float | Tensor, param: Tensor, grad: Tensor, used: int) -> NDArray[np.float32]:
    """Learning rates f32[used rounded up] of one row's floats."""
    out = np.zeros(-(-used // LANES) * LANES, np.float32)
    if isinstance(rate, Tensor):
        row = rate.detach().float().expand(param.shape[1:])
        if grad.dim() == 3:
            row = row[: grad.shape[1]]
        out[:used] = row.reshape(-1).numpy()
    else:
        out[:used] = rate
    return out
