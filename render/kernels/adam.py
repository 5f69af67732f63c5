"""Adam on the visible rows of per-splat columns, in place.

A row that no camera saw is not touched: neither its parameters nor its moments. Bias correction then has to follow the
row,
not the run: with the run's step a row that is new (or was hidden till now) would take steps about three times too long,
since its second moment is still far too small. So `count` holds each row's own number of updates, and the correction of
Kingma and Ba (Adam, 2015) is exact for the sequence of gradients that the row has seen. A row that is reborn (its
moments zeroed) gets count 0.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recon.kernels.jit import DOOR, helper, kernel, spread
from recon.kernels.simd import LANES, absolute, fill, root, select
from recon.kernels.simd_memory import load, load_first, peek, prefetch, store, store_first
from recon.kernels.simd_shuffle import fourths, thirds
from render.kernels import reference
from render.kernels.grads import ColumnGrads, load_functions, outer_block
from render.kernels.layout import scratch

_GRAIN = 8192
_0, _TINY = np.float32(0), np.float32(1e-36)
"""Moments below _TINY are 0: those of splats that are seen but hidden would fade into subnormal numbers, which are
slow.
"""
_AHEAD = 8
"""Rows ahead whose memory is asked for: visible rows lie too irregularly for the processor to foresee."""


@helper
def _ask(param, first, second, at, used):
    """Prefetch one row."""
    for k in range(0, used, LANES):
        prefetch(param, at + k)
        prefetch(first, at + k)
        prefetch(second, at + k)


@kernel
def corrections(rows, count, table, scales):
    """Count one update more for each row; scales f32[2, M] = the row's entries of the table f32[2, updates], or its
    last ones.
    """
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
    m, v = select(absolute(m) < _TINY, _0, m), select(v < _TINY, _0, v)
    return p - rate * scale1 * m / (root(scale2 * v) + eps), m, v


@helper
def _update(param, first, second, at, left, g, rate, scale1, scale2, beta1, beta2, eps):
    """One vector of a row, its first `left` floats."""
    if left >= LANES:
        p, m, v = _step(load(param, at), load(first, at), load(second, at), g, rate, scale1, scale2, beta1, beta2, eps)
        store(param, at, p)
        store(first, at, m)
        store(second, at, v)
    else:
        old = load_first(param, at, left), load_first(first, at, left), load_first(second, at, left)
        p, m, v = _step(old[0], old[1], old[2], g, rate, scale1, scale2, beta1, beta2, eps)
        store_first(param, at, p, left)
        store_first(first, at, m, left)
        store_first(second, at, v, left)


@kernel
def adam_wide(start, stop, rows, scales, param, first, second, grad, stride, used, rate, beta1, beta2, eps):
    """Update the first `used` of `stride` floats of rows[start : stop]; rate f32[used rounded up to 16]."""
    for i in range(start, stop):
        _ask(param, first, second, stride * rows[min(i + _AHEAD, stop - 1)], used)
        scale1, scale2 = fill(scales[0, i]), fill(scales[1, i])
        for k in range(0, used, LANES):
            left = min(used - k, LANES)
            g = load_first(grad, used * i + k, left)
            at = stride * rows[i] + k
            _update(param, first, second, at, left, g, load(rate, k), scale1, scale2, beta1, beta2, eps)


@kernel
def adam_sh(
    start, stop, rows, scales, param, first, second, direction, colour, degree, stride, rate, beta1, beta2, eps
):
    """adam_wide with the gradient in the factors of grads.ShFactors."""
    used = 3 * (degree + 1) * (degree + 1)
    buf = scratch(256)
    for lo in range(start, stop, LANES):
        load_functions(direction, degree, lo, buf)
        for i in range(lo, min(lo + LANES, stop)):
            _ask(param, first, second, stride * rows[min(i + _AHEAD, stop - 1)], used)
            scale1, scale2 = fill(scales[0, i]), fill(scales[1, i])
            functions, rgb = load(buf, LANES * (i - lo)), load(colour, 3 * i)
            at = stride * rows[i]
            g = outer_block(functions, rgb, 0)
            left = min(used, 16)
            _update(param, first, second, at, left, g, load(rate, 0), scale1, scale2, beta1, beta2, eps)
            if degree >= 2:
                g = outer_block(functions, rgb, 1)
                left = min(used - 16, 16)
                _update(param, first, second, at + 16, left, g, load(rate, 16), scale1, scale2, beta1, beta2, eps)
            if degree >= 3:
                g = outer_block(functions, rgb, 2)
                _update(param, first, second, at + 32, 16, g, load(rate, 32), scale1, scale2, beta1, beta2, eps)


@helper
def _repeat(x, times, buf, at):
    """Each lane of x 1, 3 or 4 times, as vectors from buf[at]."""
    if times == 1:
        store(buf, at, x)
    elif times == 3:
        store(buf, at, thirds(x, 0))
        store(buf, at + 16, thirds(x, 1))
        store(buf, at + 32, thirds(x, 2))
    else:
        store(buf, at, fourths(x, 0))
        store(buf, at + 16, fourths(x, 1))
        store(buf, at + 32, fourths(x, 2))
        store(buf, at + 48, fourths(x, 3))


@kernel
def adam_narrow(start, stop, rows, scales1, scales2, param, first, second, grad, width, rate, beta1, beta2, eps):
    """Update columns of `width` 1, 3 or 4: 16 rows are packed into `width` vectors; rate f32[16 width]."""
    buf = scratch(6 * 64)
    p, m, v, s1, s2 = 0, 80, 160, 240, 304
    for lo in range(start, stop, LANES):
        count = min(stop - lo, LANES)
        for n in range(count):  # a store runs over into the next row's place, which then gets its own
            at = width * peek(rows, lo + n)
            store(buf, p + width * n, load_first(param, at, width))
            store(buf, m + width * n, load_first(first, at, width))
            store(buf, v + width * n, load_first(second, at, width))
        _repeat(load_first(scales1, lo, count), width, buf, s1)
        _repeat(load_first(scales2, lo, count), width, buf, s2)
        for k in range(0, LANES * width, LANES):
            g = load_first(grad, width * lo + k, min(LANES, max(0, width * count - k)))
            p_new, m_new, v_new = _step(
                load(buf, p + k),
                load(buf, m + k),
                load(buf, v + k),
                g,
                load(rate, k),
                load(buf, s1 + k),
                load(buf, s2 + k),
                beta1,
                beta2,
                eps,
            )
            store(buf, p + k, p_new)
            store(buf, m + k, m_new)
            store(buf, v + k, v_new)
        for n in range(count):
            at = width * peek(rows, lo + n)
            store_first(param, at, load(buf, p + width * n), width)
            store_first(first, at, load(buf, m + width * n), width)
            store_first(second, at, load(buf, v + width * n), width)


def row_adam(
    params: dict[str, Tensor],
    first: dict[str, Tensor],
    second: dict[str, Tensor],
    grads: Mapping[str, Tensor],
    rows: Tensor,
    count: Tensor,
    lr: dict[str, float | Tensor],
    *,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-15,
) -> None:
    """One Adam update of params[name][rows] for every name in `grads`; params, first, second (moments) and count change
    in place.

    params, first, second: contiguous f32[N, ...] (on CUDA in plain torch). grads: f32[M, ...], as in RowGrads (whose
    factors are used as they are); a gradient [M, k, 3] of a column [N, K, 3], k < K, updates the first k entries. rows:
    i64[M], unique. count: i32[N], updates so far per row. lr: per column a number, or a tensor that broadcasts to a row
    of the column (SH bands with rates of their own: [K, 1]).
    """
    if rows.is_cuda:
        reference.row_adam(params, first, second, grads, rows, count, lr, beta1=beta1, beta2=beta2, eps=eps)
        return
    if len(rows) == 0:
        return
    index = np.ascontiguousarray(rows.numpy(), np.int64)
    scales = np.empty((2, len(index)), np.float32)
    numbers = np.float32(beta1), np.float32(beta2), np.float32(eps)
    factors = grads.factors if isinstance(grads, ColumnGrads) else None
    with DOOR:
        corrections(index, count.numpy(), _table(float(beta1), float(beta2)), scales)
        for name in grads:
            columns = [_flat(name, tensors[name]) for tensors in (params, first, second)]
            stride = len(columns[0]) // len(params[name])
            if name == "sh" and factors is not None:
                rate = _rates(lr[name], params[name], (factors.degree + 1) ** 2)
                given = (factors.direction, factors.colour, factors.degree, stride, rate)
                spread(adam_sh, len(index), index, scales, *columns, *given, *numbers, grain=_GRAIN)
                continue
            grad = grads[name]
            rate = _rates(lr[name], params[name], grad.shape[1] if grad.dim() == 3 else None)
            flat = np.ascontiguousarray(grad.detach().numpy(), np.float32).reshape(-1)
            used = len(flat) // len(index)
            if used == stride and used in (1, 3, 4):
                given = (*scales, *columns, flat, used, np.tile(rate[:used], LANES))
                spread(adam_narrow, len(index), index, *given, *numbers, grain=_GRAIN)
            else:
                spread(adam_wide, len(index), index, scales, *columns, flat, stride, used, rate, *numbers, grain=_GRAIN)


@functools.cache
def _table(beta1: float, beta2: float) -> NDArray[np.float32]:
    """1 / (1 - beta^t) of both betas, f32[2, updates + 1], to where it is 1 in float32 or a million updates have
    passed.
    """
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


def _rates(rate: float | Tensor, param: Tensor, leading: int | None) -> NDArray[np.float32]:
    """Learning rates of one row's floats (its first `leading` entries only), rounded up to whole vectors."""
    row = torch.as_tensor(rate, dtype=torch.float32).detach().expand(param.shape[1:])
    row = row if leading is None else row[:leading]
    out = np.zeros(-(-row.numel() // LANES) * LANES, np.float32)
    out[: row.numel()] = row.reshape(-1).numpy()
    return out
