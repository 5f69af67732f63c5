"""Adam on the visible rows of per-splat columns, in place.

A row that no camera saw is not touched: neither its parameters nor its moments. Bias correction then has to follow the
row, not the run:
with the run's step a row that is new (or was hidden till now) would take steps about three times too long, since its
second moment is
still far too small. So `count` holds each row's own number of updates, and the correction of Kingma and Ba (Adam,
2015) is exact
for the sequence of gradients that the row has seen. A row that is reborn (its moments zeroed) gets count 0.
"""

from __future__ import annotations

from torch import Tensor


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

    params, first, second: f32[N, ...] on the CPU. grads: f32[M, ...], as in RowGrads; a gradient [M, k, 3] of a column
    [N, K, 3], k < K,
    updates the first k entries. rows: i64[M], unique. count: i32[N], updates so far per row. lr: per column a number,
    or a tensor that
    broadcasts to a row of the column (SH bands with rates of their own: [K, 1]).
    """
    count[rows] += 1
    t = count[rows].double()
    for name, grad in grads.items():
        shape = (-1,) + (1,) * (grad.dim() - 1)
        k = grad.shape[1] if grad.dim() == 3 else None
        index = rows if k is None else (rows, slice(0, k))
        m = beta1 * first[name][index] + (1 - beta1) * grad
        v = beta2 * second[name][index] + (1 - beta2) * grad * grad
        first[name][index], second[name][index] = m, v
        m_hat = m / (1 - beta1**t).to(m.dtype).view(shape)
        v_hat = v / (1 - beta2**t).to(v.dtype).view(shape)
        rate = lr[name]
        if isinstance(rate, Tensor) and rate.dim() > 1:
            rate = rate[:k]
        params[name].data[index] -= rate * m_hat / (v_hat.sqrt() + eps)
