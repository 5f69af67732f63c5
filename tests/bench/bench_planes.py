"""K-Planes beside a dense grid over space and time: python tests/bench/bench_planes.py --seeds 0 1 2

memory: bytes of six planes and of a dense grid of as many features at 128^3 x 50. Four balls that move, photographed exactly
(tests/field_scenes.py), one photo a moment, each from elsewhere: planes of 32 texels and 16 moments against a dense grid of
32^3 x 16, trained for as many steps on as many samples, with the same networks; planes added instead of multiplied; without time;
and, as a negative control, on photos that have each other's times. PSNR on views and moments that training did not see.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from common import cpu_seconds, record
from torch import Tensor

from recon.cameras import Cameras
from render.grid_field import GridField
from render.heads import new_heads
from render.initial import SceneInit, SceneSetup
from render.kernels.plane_grid import plane_shapes
from render.kernels.warm import warm_up
from render.scenes.kplanes import KplanesConfig, dense_bytes, roughness
from tests.field_scenes import dataset_of, orbit, psnr, trained

SIDE, MOMENTS, FEATURES = 32, 16, 8
PHOTOS, VIEWS, SECONDS = 64, 12, 2.0
LARGE = (128, 128, 128, 50)
SMALL = KplanesConfig(
    features=FEATURES,
    scales=(SIDE,),
    moments=MOMENTS,
    hidden=32,
    cells=32,
    steps_across=96,
    samples=8192,
    half=False,
)


@dataclass(frozen=True)
class DenseConfig(KplanesConfig):
    """The same options; `scales` has one side."""

    def build(self, init: SceneInit) -> DenseScene:
        generator = torch.Generator().manual_seed(init.setup.seed)
        tensors = new_heads(self.features, self.hidden, generator)
        shape = (self.moments, *[self.scales[0]] * 3, self.features)
        tensors["grid"] = 0.1 + 0.4 * torch.rand(shape, generator=generator)
        tensors["occupancy"] = torch.zeros(self.cells, self.cells, self.cells)
        return self.load(init.setup, tensors)

    def load(self, setup: SceneSetup, tensors: Mapping[str, Tensor]) -> DenseScene:
        return DenseScene(self, setup, tensors)


class DenseScene(GridField):
    """Shared tensors: "grid" [T, X, Y, Z, features], interpolated linearly along all; the rest as in kplanes."""

    config: DenseConfig

    def __init__(self, config: DenseConfig, setup: SceneSetup, tensors: Mapping[str, Tensor]) -> None:
        super().__init__(config, setup, tensors)
        self._steps = 0

    def features(self, x: Tensor, time: Tensor | None, known: Tensor | None = None) -> Tensor:
        assert time is not None and self.setup.times is not None
        start, end = self.setup.times
        grid = self.tensors["grid"]
        size = torch.tensor(grid.shape[:4])
        place = torch.cat([((time - start) / (end - start))[:, None], x], 1).clamp(0, 1) * (size - 1)
        low = place.floor().long().clamp(max=size - 2)
        share = place - low
        stride = torch.tensor([int(s) for s in torch.cat([size[1:].flip(0).cumprod(0).flip(0), torch.ones(1)])])
        flat, out = grid.view(-1, grid.shape[-1]), 0.0
        for corner in itertools.product((0, 1), repeat=4):
            offset = torch.tensor(corner)
            weight = torch.where(offset == 1, share, 1 - share).prod(1, keepdim=True)
            out = out + weight * flat.index_select(0, ((low + offset) * stride).sum(1))
        return torch.as_tensor(out)

    def some_times(self, count: int) -> Tensor | None:
        assert self.setup.times is not None
        start, end = self.setup.times
        return start + (end - start) * torch.rand(count, generator=self._generator)

    def penalty(self) -> Tensor | None:
        """Smooth in space and in time, with the weights of the planes."""
        c, grid = self.config, self.tensors["grid"]
        if self._steps % c.penalty_every:
            return None
        space = torch.stack([grid.diff(dim=axis).square().mean() for axis in (1, 2, 3)]).sum()
        return c.penalty_every * (c.tv * space + c.smooth * roughness(grid.flatten(1, 3).transpose(0, 1)))

    def after_step(self, step: int, progress: float) -> bool:
        self._steps = step
        return super().after_step(step, progress)


def memory() -> dict[str, float]:
    """Bytes at LARGE, for one feature each."""
    planes = 4 * sum(h * w for h, w in plane_shapes(LARGE))
    dense = dense_bytes(LARGE, 1)
    print(
        f"{'x'.join(map(str, LARGE))}: a feature takes {dense} bytes dense, {planes} in planes: {dense / planes:.0f} times"
    )
    return {"dense_bytes": dense, "plane_bytes": planes, "ratio": dense / planes}


def shuffled(cameras: Cameras, seed: int) -> Cameras:
    assert cameras.time is not None
    return replace(cameras, time=np.random.default_rng(seed).permutation(cameras.time))


def one(config: Any, seed: int, steps: int, play: int, wrong: bool) -> dict[str, float]:
    """Train on the ball and look at it."""
    cameras = orbit(PHOTOS, SECONDS)
    dataset = dataset_of(cameras, play)
    if wrong:
        level = dataset.levels[1.0]
        dataset = replace(dataset, levels={1.0: replace(level, cameras=shuffled(cameras, seed))})
    before = cpu_seconds()
    scene = trained(config, dataset, steps, seed=seed)
    found = {"cpu": cpu_seconds() - before, "psnr": psnr(scene, orbit(VIEWS, SECONDS), play)}
    grids = [t for name, t in scene.tensors.items() if name == "grid" or name.startswith("plane.")]
    return found | {"bytes": float(sum(t.numel() * t.element_size() for t in grids))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--play", type=int, default=2, help="which balls; settings were chosen on 0 and 1")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warm_up()
    values: dict[str, Any] = {"memory": memory(), "steps": args.steps}
    dense = DenseConfig(**vars(SMALL))
    for label, config, wrong in (
        ("dense", dense, False),
        ("multiply", SMALL, False),
        ("add", replace(SMALL, combine="add"), False),
        ("without time", replace(SMALL, timed=False), False),
        ("times shuffled", SMALL, True),
    ):
        runs = [one(config, seed, args.steps, args.play, wrong) for seed in args.seeds]
        mean = {key: statistics.mean(run[key] for run in runs) for key in runs[0]}
        values[label] = {"mean": mean, "runs": runs}
        print(f"{label:16} {mean['psnr']:6.2f} dB  {mean['bytes']:10.0f} bytes  {mean['cpu']:6.1f} CPU s", flush=True)
    mean = {label: values[label]["mean"]["psnr"] for label in ("dense", "multiply", "add")}
    values["behind_dense_db"] = mean["dense"] - mean["multiply"]
    values["multiply_before_add_db"] = mean["multiply"] - mean["add"]
    record("planes", values, seeds=args.seeds)


if __name__ == "__main__":
    main()
