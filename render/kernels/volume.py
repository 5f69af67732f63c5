"""Volume rendering of samples that lie ray after ray in flat arrays: marching through an occupancy grid, and
compositing.

Ray r has the samples start[r] .. start[r + 1]. Compositing is that of Max (1995) as in NeRF: with the optical depth
d_i = sigma_i dt_i of a sample, T_i = exp(-(d_1 + ... + d_(i-1))) of the light passes all before it, and it weighs
w_i = T_i (1 - exp(-d_i)). With q_i the gradient's share of a unit of w_i, the depth d_i is pulled by
T_(i+1) q_i - sum over j > i of w_j q_j.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from recon.kernels.jit import DOOR, helper, kernel, spread
from render.kernels import field_reference
from render.kernels.points import flat

_GRAIN = 256
"""Rays worth a call."""


def composite_packed(sigma: Tensor, rgb: Tensor, t: Tensor, dt: Tensor, start: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(rgb f32[R, 3], alpha f32[R], sum of w t f32[R]) of the samples of R rays, before nothing (black, alpha 0).

    sigma f32[S] >= 0 per unit of t; rgb f32[S, 3]; t, dt f32[S] distances and lengths along the ray; start i64[R + 1]
    from 0 to S, never falling. Differentiable once, by sigma and rgb alone. float32 on the CPU runs compiled; other
    types and CUDA take the twin, field_reference.composite_packed.
    """
    count = len(sigma)
    if rgb.shape != (count, 3) or t.shape != (count,) or dt.shape != (count,):
        found = [list(tensor.shape) for tensor in (sigma, rgb, t, dt)]
        raise ValueError(f"samples must be sigma [S], rgb [S, 3], t [S] and dt [S], not {found}")
    if start.dim() != 1 or len(start) == 0:
        raise ValueError(f"start must be [R + 1], not {list(start.shape)}")
    t, dt = t.detach(), dt.detach()
    if sigma.device.type != "cpu" or {a.dtype for a in (sigma, rgb, t, dt)} != {torch.float32}:
        return field_reference.composite_packed(sigma, rgb, t, dt, start)
    if int(start[0]) != 0 or int(start[-1]) != count or bool((start.diff() < 0).any()):
        raise ValueError(f"start must rise from 0 to the {count} samples")
    return _Composite.apply(sigma, rgb, t, dt, start)


class _Composite(torch.autograd.Function):
    """The kernels as one differentiable step."""

    @staticmethod
    def forward(
        ctx: Any, sigma: Tensor, rgb: Tensor, t: Tensor, dt: Tensor, start: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        rays = len(start) - 1
        after, weight = np.empty(len(sigma), np.float32), np.empty(len(sigma), np.float32)
        out, alpha, t_sum = np.empty((rays, 3), np.float32), np.empty(rays, np.float32), np.empty(rays, np.float32)
        with DOOR:
            given = (flat(sigma), flat(rgb), flat(t), flat(dt), _starts(start))
            spread(composite, rays, *given, after, weight, out.reshape(-1), alpha, t_sum, grain=_GRAIN)
        ctx.save_for_backward(rgb, t, dt, start, torch.from_numpy(after), torch.from_numpy(weight))
        return torch.from_numpy(out), torch.from_numpy(alpha), torch.from_numpy(t_sum)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor, d_alpha: Tensor, d_t: Tensor) -> tuple[Tensor | None, ...]:
        rgb, t, dt, start, after, weight = ctx.saved_tensors
        d_sigma, d_rgb = np.empty(len(t), np.float32), np.empty((len(t), 3), np.float32)
        with DOOR:
            given = (flat(rgb), flat(t), flat(dt), _starts(start), flat(after), flat(weight))
            pulls = (flat(d_out), flat(d_alpha), flat(d_t))
            spread(composite_backward, len(start) - 1, *given, *pulls, d_sigma, d_rgb.reshape(-1), grain=_GRAIN)
        return torch.from_numpy(d_sigma), torch.from_numpy(d_rgb), None, None, None


def _starts(start: Tensor) -> NDArray[np.int64]:
    return np.ascontiguousarray(start.detach().numpy(), np.int64)


@kernel
def composite(begin, end, sigma, rgb, t, dt, start, after, weight, out, alpha, t_sum):
    """Composite rays begin .. end; after, weight f32[S]: the light left behind each sample, and its weight."""
    for ray in range(begin, end):
        through, red, green, blue, far = 1.0, 0.0, 0.0, 0.0, 0.0
        for i in range(start[ray], start[ray + 1]):
            share = -math.expm1(-(float(sigma[i]) * float(dt[i])))
            w = through * share
            through -= w
            red, green, blue = red + w * rgb[3 * i], green + w * rgb[3 * i + 1], blue + w * rgb[3 * i + 2]
            far += w * t[i]
            after[i], weight[i] = through, w
        out[3 * ray], out[3 * ray + 1], out[3 * ray + 2] = red, green, blue
        alpha[ray], t_sum[ray] = 1.0 - through, far


@kernel
def composite_backward(begin, end, rgb, t, dt, start, after, weight, d_out, d_alpha, d_t, d_sigma, d_rgb):
    """Back-propagate through rays begin .. end."""
    for ray in range(begin, end):
        red, green, blue = d_out[3 * ray], d_out[3 * ray + 1], d_out[3 * ray + 2]
        behind = 0.0
        for i in range(start[ray + 1] - 1, start[ray] - 1, -1):
            w = weight[i]
            q = float(
                red * rgb[3 * i] + green * rgb[3 * i + 1] + blue * rgb[3 * i + 2] + d_alpha[ray] + d_t[ray] * t[i]
            )
            d_sigma[i] = dt[i] * (after[i] * q - behind)
            behind += w * q
            d_rgb[3 * i], d_rgb[3 * i + 1], d_rgb[3 * i + 2] = w * red, w * green, w * blue


def march_occupied(
    origin: Tensor,
    direction: Tensor,
    near: Tensor,
    far: Tensor,
    occupancy: Tensor,
    low: Tensor | Sequence[float],
    high: Tensor | Sequence[float],
    step: float,
    jitter: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """(t f32[S], dt f32[S], start i64[R + 1]): where R rays meet occupied cells of a box, ray after ray, near to far.

    The part of a ray between near and far that lies in the box low .. high is cut into steps of length `step` (the last
    one is shorter); t is where in its step the sample lies: at `jitter` f32[R] of 0 .. 1 (None: in the middle), the same
    for all steps of a ray. A step is kept, with its length dt, when the cell at t is occupied. origin, direction
    f32[R, 3]; near, far f32[R]; occupancy bool or u8 [GX, GY, GZ], cells along x, y, z. No gradients. On CUDA by the
    twin, field_reference.march_occupied, which tests every step; on the CPU empty cells are skipped whole.
    """
    if occupancy.dim() != 3 or occupancy.dtype not in (torch.bool, torch.uint8):
        raise ValueError(f"occupancy must be bool or uint8 [GX, GY, GZ], not {occupancy.dtype} {list(occupancy.shape)}")
    if not step > 0:
        raise ValueError(f"the step must be positive, not {step}")
    rays = len(origin)
    box = [torch.as_tensor(side, dtype=torch.float32, device=origin.device) for side in (low, high)]
    jitter = origin.new_full((rays,), 0.5) if jitter is None else jitter
    if origin.device.type != "cpu":
        return field_reference.march_occupied(origin, direction, near, far, occupancy, box[0], box[1], step, jitter)
    cells = np.ascontiguousarray(occupancy.detach().numpy()).view(np.uint8).reshape(-1)
    frame = np.array([*box[0].tolist(), *box[1].tolist(), *occupancy.shape, step], np.float64)
    arrays = [flat(tensor.float()) for tensor in (origin, direction, near, far, jitter)]
    start = np.zeros(rays + 1, np.int64)
    nothing = np.empty(0, np.float32)
    with DOOR:
        spread(march, rays, *arrays, cells, frame, True, start, nothing, nothing, grain=_GRAIN)
        np.cumsum(start, out=start)
        t, dt = np.empty(start[-1], np.float32), np.empty(start[-1], np.float32)
        spread(march, rays, *arrays, cells, frame, False, start, t, dt, grain=_GRAIN)
    return torch.from_numpy(t), torch.from_numpy(dt), torch.from_numpy(start)


@helper
def _range(origin, direction, frame, ray, enter, leave):
    """The part (enter, leave) of a ray that lies in the box; leave <= enter: none."""
    for axis in range(3):
        o, d = float(origin[3 * ray + axis]), float(direction[3 * ray + axis])
        if d != 0:
            a, b = (frame[axis] - o) / d, (frame[3 + axis] - o) / d
            enter, leave = max(enter, min(a, b)), min(leave, max(a, b))
        elif not (o >= frame[axis] and o < frame[3 + axis]):
            leave = enter
    return enter, leave


@helper
def _in_cells(origin, direction, frame, ray, line):
    """The ray in units of cells into line: start and slope by axis, and one over the slope, or NaN where it is 0."""
    for axis in range(3):
        scale = frame[6 + axis] / (frame[3 + axis] - frame[axis])
        slope = float(direction[3 * ray + axis]) * scale
        line[axis] = (float(origin[3 * ray + axis]) - frame[axis]) * scale
        line[3 + axis] = slope
        line[6 + axis] = 1 / slope if slope != 0 else math.nan


@helper
def _look(line, frame, occupancy, at):
    """(whether the cell at distance `at` is occupied, else the distance at which the ray leaves that cell)."""
    x = min(max(np.floor(line[0] + at * line[3]), 0.0), frame[6] - 1)
    y = min(max(np.floor(line[1] + at * line[4]), 0.0), frame[7] - 1)
    z = min(max(np.floor(line[2] + at * line[5]), 0.0), frame[8] - 1)
    if occupancy[(np.int64(x) * np.int64(frame[7]) + np.int64(y)) * np.int64(frame[8]) + np.int64(z)] != 0:
        return True, at
    leave = math.inf
    for axis, cell in enumerate((x, y, z)):
        end = (cell + (1.0 if line[3 + axis] > 0 else 0.0) - line[axis]) * line[6 + axis]
        leave = end if end < leave else leave  # not with NaN
    return False, leave


@kernel
def march(begin, end, origin, direction, near, far, jitter, occupancy, frame, counting, start, t, dt):
    """Rays begin .. end: their numbers of samples into start[ray + 1], or the samples into t and dt from start[ray].

    frame: the box's low and high corner, the cells along x, y, z, and the step.
    """
    step, line = frame[9], np.empty(9)
    for ray in range(begin, end):
        enter, leave = _range(origin, direction, frame, ray, float(near[ray]), float(far[ray]))
        found = 0
        if leave > enter:  # false with NaN, too
            _in_cells(origin, direction, frame, ray, line)
            k, steps, offset = 0, math.ceil((leave - enter) / step), float(jitter[ray])
            while k < steps:
                first = enter + k * step
                width = min(step, leave - first)
                at = first + offset * width
                full, out_at = _look(line, frame, occupancy, at)
                k += 1
                if not full:  # on to the first sample beyond this cell; the least bit before it, for rounding's sake
                    if not out_at < leave:
                        break
                    k = max(k, math.ceil((out_at - enter) / step - offset - 1e-6))
                    continue
                if not counting:
                    t[start[ray] + found] = at
                    dt[start[ray] + found] = width
                found += 1
        if counting:
            start[ray + 1] = found
