"""The kernels of radiance fields against their twins in plain torch, forward and backward, on the same inputs.

    python tests/bench/bench_field_kernels.py [--points 262144] [--rounds 3]

Twin and kernel take turns in one process, in float32, with the same number of threads; the ratio is of medians of CPU
seconds (user and system, all threads), and beside it of wall seconds. Points lie anywhere, which is the worst case for
the caches, and, in the cases named "along rays", 64 to a ray.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from torch import Tensor

from recon.kernels.jit import threads
from render.kernels import field_reference
from render.kernels.hash_grid import HashGridSpec, hash_grid
from render.kernels.plane_grid import plane_grid, plane_shapes
from render.kernels.volume import composite_packed, march_occupied
from tests.bench.common import cpu_seconds, record

Run = Callable[[], Any]
SAMPLES = 64
"""Samples of a ray."""


def forward_backward(function: Callable[..., Tensor], inputs: list[Tensor], pull: Tensor) -> Run:
    """A call that computes the function and the gradients of all inputs that want one."""
    leaves = [tensor for tensor in inputs if tensor.requires_grad]
    return lambda: torch.autograd.grad(function(*inputs), leaves, pull)


def points(count: int, dimensions: int, along_rays: bool) -> Tensor:
    """Points in 0 .. 1."""
    generator = torch.Generator().manual_seed(0)
    if not along_rays:
        return torch.rand(count, dimensions, generator=generator)
    ends = torch.rand(2, -(-count // SAMPLES), 1, dimensions, generator=generator)
    share = (torch.arange(SAMPLES)[:, None] + 0.5) / SAMPLES
    return (ends[0] + (ends[1] - ends[0]) * share).reshape(-1, dimensions)[:count].contiguous()


def hash_case(count: int, levels: int, features: int, along_rays: bool = False, by_x: bool = False) -> tuple[Run, Run]:
    spec = HashGridSpec.make(levels, features, 19, 16, 2048)
    x = points(count, 3, along_rays).requires_grad_(by_x)
    table = spec.make_table(torch.Generator().manual_seed(1)).requires_grad_()
    pull = torch.randn(count, spec.width)
    kernel, twin = (functools.partial(f, spec=spec) for f in (hash_grid, field_reference.hash_grid))
    return forward_backward(twin, [x, table], pull), forward_backward(kernel, [x, table], pull)


def plane_case(
    count: int, resolution: tuple[int, ...], features: int, along_rays: bool = False, by_x: bool = False
) -> tuple[Run, Run]:
    x = (2 * points(count, len(resolution), along_rays) - 1).requires_grad_(by_x)
    generator = torch.Generator().manual_seed(1)
    planes = [torch.rand(h, w, features, generator=generator).requires_grad_() for h, w in plane_shapes(resolution)]
    pull = torch.randn(count, features)

    def run(function: Callable[..., Tensor]) -> Run:
        return forward_backward(lambda x, *p: function(x, p, "multiply"), [x, *planes], pull)

    return run(field_reference.plane_grid), run(plane_grid)


def composite_case(count: int) -> tuple[Run, Run]:
    generator = torch.Generator().manual_seed(1)
    sigma, rgb = (torch.rand(count, *shape, generator=generator).requires_grad_() for shape in ((), (3,)))
    t, dt, start = torch.rand(count), torch.full((count,), 0.02), torch.arange(0, count + 1, SAMPLES)
    pull = torch.randn(len(start) - 1, 5)

    def run(function: Callable[..., tuple[Tensor, Tensor, Tensor]]) -> Run:
        def joined(sigma: Tensor, rgb: Tensor) -> Tensor:
            out, alpha, far = function(sigma, rgb, t, dt, start)
            return torch.cat([out, alpha[:, None], far[:, None]], 1)

        return forward_backward(joined, [sigma, rgb], pull)

    return run(field_reference.composite_packed), run(composite_packed)


def march_case(count: int) -> tuple[Run, Run]:
    """Rays through a shell that fills a few per cent of 128^3 cells; `count` steps in all."""
    rays = count // SAMPLES
    axis = torch.linspace(-1, 1, 128)
    radius = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).norm(dim=0)
    occupancy = (radius > 0.6) & (radius < 0.65)
    generator = torch.Generator().manual_seed(1)
    origin = 3 * torch.nn.functional.normalize(torch.randn(rays, 3, generator=generator), dim=1)
    direction = torch.nn.functional.normalize(torch.rand(rays, 3, generator=generator) - 0.5 - origin, dim=1)
    box, jitter = torch.tensor([[-1.0] * 3, [1.0] * 3]), torch.rand(rays, generator=generator)
    given = (origin, direction, torch.zeros(rays), torch.full((rays,), 9.0), occupancy, box[0], box[1], 2 / 128, jitter)
    return lambda: field_reference.march_occupied(*given), lambda: march_occupied(*given)


def compare(twin: Run, kernel: Run, rounds: int) -> dict[str, float]:
    """Medians over the rounds, the first of which does not count: it compiles."""
    spent: dict[str, list[tuple[float, float]]] = {"twin": [], "kernel": []}
    for _ in range(rounds + 1):
        for name, run in (("twin", twin), ("kernel", kernel)):
            cpu, wall = cpu_seconds(), time.monotonic()
            run()
            spent[name].append((cpu_seconds() - cpu, time.monotonic() - wall))
    values = {}
    for name, times in spent.items():
        for i, kind in enumerate(("cpu", "wall")):
            values[f"{name}_{kind}_ms"] = 1e3 * statistics.median(pair[i] for pair in times[1:])
    values["ratio"] = values["twin_cpu_ms"] / values["kernel_cpu_ms"]
    values["ratio_wall"] = values["twin_wall_ms"] / values["kernel_wall_ms"]
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=262_144)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    torch.set_num_threads(threads())
    n = options.points
    cases: dict[str, Callable[[], tuple[Run, Run]]] = {
        "hash 8x4": lambda: hash_case(n, 8, 4),
        "hash 16x2": lambda: hash_case(n, 16, 2),
        "hash 8x4 along rays": lambda: hash_case(n, 8, 4, along_rays=True),
        "hash 8x4 with x": lambda: hash_case(n, 8, 4, by_x=True),
        "planes 128^2x32 D=3": lambda: plane_case(n, (128, 128, 128), 32),
        "planes 64^2x50x16 D=4": lambda: plane_case(n, (64, 64, 64, 50), 16),
        "planes 64^2x50x16 D=4 along rays": lambda: plane_case(n, (64, 64, 64, 50), 16, along_rays=True),
        "planes 64^2x50x16 D=4 with x": lambda: plane_case(n, (64, 64, 64, 50), 16, by_x=True),
        "composite": lambda: composite_case(n),
        "march": lambda: march_case(n),
    }
    values: dict[str, Any] = {"points": n, "threads": threads()}
    for name, make in cases.items():
        if options.only in name:
            found = values[name] = compare(*make(), options.rounds)
            print(
                f"{name:34} twin {found['twin_cpu_ms']:7.0f} ms CPU, kernel {found['kernel_cpu_ms']:6.0f} ms:"
                f" {found['ratio']:5.1f} times; {found['ratio_wall']:5.1f} times by the clock"
            )
    record("field_kernels", values, seeds=[0], out=options.out)


if __name__ == "__main__":
    main()
