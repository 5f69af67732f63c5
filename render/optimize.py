"""Adam for scenes: row-wise for columns, where only the visible rows have gradients, and plain or lazy for shared tensors.

A row's moments, and its own count of updates for the bias correction, move only when the row was seen. Densification
edits rows; the moments follow, because the optimiser hooks into Parameters.edit. Source: Kingma and Ba, Adam, ICLR
2015.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from render.densify import Edit
from render.kernels.adam import row_adam
from render.kernels.lazy_adam import lazy_adam
from render.scene import Parameters

BETA1, BETA2, EPS = 0.9, 0.999, 1e-15


class Optimizer:
    """Moments of every parameter of a scene."""

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        columns = parameters.per_splat
        device = next(iter(columns.values())).device if columns else "cpu"
        shapes = {name: (parameters.capacity, *column.shape[1:]) for name, column in columns.items()}
        self._first = {name: torch.zeros(shape, device=device) for name, shape in shapes.items()}
        self._second = {name: torch.zeros(shape, device=device) for name, shape in shapes.items()}
        self._count = torch.zeros(parameters.capacity, dtype=torch.int32, device=device)
        self._shared = {name: self._plan(name, tensor) for name, tensor in parameters.shared.items()}
        inner = parameters.edit

        def edit(rows: Edit) -> None:
            inner(rows)
            self._follow(rows)

        parameters.edit = edit

    @torch.no_grad()
    def step(self, rates: Mapping[str, float | Tensor]) -> None:
        """One update from the gradients of the last backward pass, which are then cleared: those in the sink of visible rows
        (render.rasterize.RowGrads) plus, in these rows, what autograd left in the columns' own `grad`.
        """
        p = self._parameters
        grads = p.row_grads
        if grads is not None and grads.rows is not None:
            grads.absorb(p.per_splat)
            if p.penalize is not None:
                p.penalize(grads)
            row_adam(
                p.per_splat,
                self._first,
                self._second,
                grads.grads,
                grads.rows,
                self._count,
                dict(rates),
                beta1=BETA1,
                beta2=BETA2,
                eps=EPS,
            )
            grads.clear()
        for name, tensor in p.shared.items():
            if tensor.grad is not None:
                self._shared[name].step(tensor, tensor.grad, float(rates[name]))
                tensor.grad = None

    def _plan(self, name: str, tensor: Tensor) -> WholeAdam:
        beta1, beta2, eps = self._parameters.adam.get(name, (BETA1, BETA2, EPS))
        return WholeAdam(tensor, beta1=beta1, beta2=beta2, eps=eps, lazy=name in self._parameters.lazy)

    def _follow(self, edit: Edit) -> None:
        """Moments of edited rows start again; nothing of the old rows is of use to them."""
        for moments in (self._first, self._second):
            for moment in moments.values():
                moment[edit.restart] = 0
        self._count[edit.restart] = 0

    def state(self) -> dict[str, Tensor]:
        """The live rows of all moments."""
        n = len(next(iter(self._parameters.per_splat.values()), ()))
        out = {"count": self._count[:n]}
        for name in self._first:
            out |= {f"first.{name}": self._first[name][:n], f"second.{name}": self._second[name][:n]}
        for name, moments in self._shared.items():
            out |= {f"shared.{name}.{key}": value for key, value in moments.state().items()}
        return out

    def restore(self, state: Mapping[str, Tensor]) -> None:
        n = len(state["count"])
        self._count[:n] = state["count"].to(self._count.device)
        for name in self._first:
            self._first[name][:n] = state[f"first.{name}"].to(self._count.device)
            self._second[name][:n] = state[f"second.{name}"].to(self._count.device)
        for name, moments in self._shared.items():
            moments.restore({key: state[f"shared.{name}.{key}"] for key in moments.state()})


class WholeAdam:
    """Adam for one tensor of any size that is updated as a whole.

    lazy: entries whose gradient is exactly 0 are left alone, moments and all (on the CPU they are not even read).
    """

    def __init__(self, like: Tensor, *, beta1: float, beta2: float, eps: float, lazy: bool) -> None:
        self._first = torch.zeros_like(like, requires_grad=False)
        self._second = torch.zeros_like(like, requires_grad=False)
        self._count = torch.zeros((), dtype=torch.int64)
        self._beta1, self._beta2, self._eps, self._lazy = beta1, beta2, eps, lazy

    @torch.no_grad()
    def step(self, tensor: Tensor, grad: Tensor, rate: float) -> None:
        """The tensor moves against grad, in place."""
        self._count += 1
        t = int(self._count)
        step, scale = rate / (1 - self._beta1**t), 1 / (1 - self._beta2**t)
        how = (self._beta1, self._beta2, step, scale, self._eps)
        moved = tensor.detach()
        if self._lazy and tensor.device.type == "cpu" and tensor.is_contiguous():
            lazy_adam(moved, self._first, self._second, grad, *how)
        elif self._lazy:
            rows = torch.nonzero(grad.reshape(-1)).ravel()
            parts = [v.view(-1)[rows] for v in (moved, self._first, self._second)]
            _update(parts[0], parts[1], parts[2], grad.reshape(-1)[rows], *how)
            for whole, part in zip((moved, self._first, self._second), parts, strict=True):
                whole.view(-1)[rows] = part
        else:
            _update(moved, self._first, self._second, grad, *how)

    def state(self) -> dict[str, Tensor]:
        return {"first": self._first, "second": self._second, "count": self._count}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self._first.copy_(state["first"])
        self._second.copy_(state["second"])
        self._count.copy_(state["count"])


def _update(
    tensor: Tensor,
    first: Tensor,
    second: Tensor,
    grad: Tensor,
    beta1: float,
    beta2: float,
    step: float,
    scale: float,
    eps: float,
) -> None:
    """One step of Adam in place; `step` and `scale` hold the rate and the corrections of the bias."""
    first.lerp_(grad, 1 - beta1)
    second.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
    tensor.addcdiv_(first, (second * scale).sqrt_().add_(eps), value=-step)


class SmallAdam:
    """Adam for one tensor of a few rows that are updated one at a time, each with its own count: photos, cameras."""

    def __init__(self, like: Tensor, *, beta2: float = BETA2) -> None:
        self._first, self._second = torch.zeros_like(like), torch.zeros_like(like)
        self._count = torch.zeros(len(like), dtype=torch.int64)
        self._beta2 = beta2

    def step(self, row: int, tensor: Tensor, grad: Tensor, rate: float) -> None:
        """tensor[row] moves against grad, in place."""
        self._count[row] += 1
        t = int(self._count[row])
        first, second = self._first[row], self._second[row]
        first.lerp_(grad, 1 - BETA1)
        second.lerp_(grad.square(), 1 - self._beta2)
        tensor[row] -= rate * (first / (1 - BETA1**t)) / ((second / (1 - self._beta2**t)).sqrt() + EPS)

    def state(self) -> dict[str, Tensor]:
        return {"first": self._first, "second": self._second, "count": self._count}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self._first.copy_(state["first"])
        self._second.copy_(state["second"])
        self._count.copy_(state["count"])
