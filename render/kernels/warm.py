"""Every kernel once, on a scene of a few splats and on a few rays: what compiles them all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from recon.cameras import Cameras
from recon.kernels.jit import cache_folder
from render.kernels.adam import row_adam
from render.kernels.agreement import penalties
from render.kernels.depth import depth_pulls
from render.kernels.hash_grid import HashGridSpec, hash_grid
from render.kernels.lazy_adam import lazy_adam
from render.kernels.march_contracted import march_contracted
from render.kernels.plane_grid import plane_grid
from render.kernels.ssim import photometric
from render.kernels.volume import composite_packed, march_occupied
from render.rasterize import RowGrads, rasterize
from render.splats import Splats

CACHE = cache_folder(Path(__file__).parent)
"""Where this machine's compiled kernels of this version of recon lie."""


def kernels_are_compiled() -> bool:
    """Whether a whole warm_up() has been kept for this machine; if not, the first training step compiles for half a
    minute.
    """
    return (CACHE / "complete").exists()


def warm_up() -> None:
    """Compile every kernel, or load it from the cache, by rendering and differentiating a scene of a few splats."""
    _run_all()
    (CACHE / "complete").touch()


def _run_all() -> None:
    """Render, differentiate and update a few splats, in the types that training uses."""
    generator = torch.Generator().manual_seed(0)
    splats = Splats(
        mean=torch.randn(20, 3, generator=generator),
        log_scale=torch.full((20, 3), -1.0),
        quat=torch.randn(20, 4, generator=generator),
        opacity_logit=torch.zeros(20),
        sh=torch.zeros(20, 16, 3),
    )
    columns = splats.columns()
    for column in columns.values():
        column.requires_grad_()
    pose = np.eye(4)[None]
    pose[0, 2, 3] = 5
    cameras = Cameras(pose, np.array([[[40, 0, 20], [0, 40, 20], [0, 0, 1.0]]]), np.full((1, 2), 40, np.int32))
    sink = RowGrads()
    moving = torch.as_tensor(pose, dtype=torch.float32).requires_grad_()
    for features in (None, torch.zeros(20, 1, requires_grad=True)):
        sink.clear()
        rendering = rasterize(splats, cameras, cam_from_world=moving, row_grads=sink, median=0.5, features=features)
        _, gradient, _, _ = photometric(rendering.rgb[0], torch.zeros(40, 40, 3, dtype=torch.uint8))
        images = [rendering.rgb, rendering.alpha, *rendering.extra.values()]
        given = [image for image in images if image.requires_grad]
        torch.autograd.backward(given, [gradient[None], *(torch.zeros_like(image) for image in given[1:])])
    assert sink.rows is not None
    first, second = ({name: torch.zeros_like(c) for name, c in columns.items()} for _ in range(2))
    planes, alpha, rgb = np.ones((6, 4, 4), np.float32), np.ones((4, 4), np.float32), np.ones((4, 4, 3), np.float32)
    penalties(planes, alpha, rgb, cameras.K[0], 1.0, 1.0)
    none = np.zeros(4, np.int64)
    alpha.setflags(write=False)  # depth maps are memory-mapped for reading
    depth_pulls(rgb[..., 0], rgb[..., 1], None, alpha, alpha, (none, none), 1.0, (1.0, 1.0, 1.0))
    count = torch.zeros(20, dtype=torch.int32)
    row_adam(columns, first, second, sink.grads, sink.rows, count, dict.fromkeys(columns, 0.0))
    a, b, c, d = (torch.zeros(4) for _ in range(4))
    lazy_adam(a, b, c, d, 0.9, 0.99, 0.0, 1.0, 1e-15)
    _run_fields()


def _run_fields() -> None:
    """What radiance fields over grids are made of, in the shapes that their scenes have as they are."""
    spec = HashGridSpec.make(2, 4, 8, 4, 8)
    table = spec.make_table().requires_grad_()
    features = hash_grid(torch.rand(40, 3), table, spec)
    planes = [torch.ones(4, 4, 16, requires_grad=True) for _ in range(6)]
    both = (features.sum(), *(plane_grid(torch.zeros(40, d), planes[: 3 * d - 6]).sum() for d in (3, 4)))
    sum(both[1:], both[0]).backward()
    origin, direction, near = torch.zeros(2, 3), torch.nn.functional.normalize(torch.ones(2, 3)), torch.full((2,), 0.1)
    cells, jitter = torch.ones(4, 4, 4, dtype=torch.uint8), torch.full((2,), 0.5)
    edges = torch.linspace(0.1, 1, 9)
    march_contracted(origin, direction, near, 10 * near, cells, edges, jitter)
    t, dt, start = march_occupied(origin, direction, near, 10 * near, cells, [-1.0] * 3, [1.0] * 3, 0.1, jitter)
    sigma, rgb = torch.ones(len(t), requires_grad=True), torch.ones(len(t), 3)
    composite_packed(sigma, rgb, t, dt, start)[0].sum().backward()
