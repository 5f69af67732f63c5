"""z of a trained scene as its training cameras see it, as views that a surface is fused from. One view in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from recon.cameras import Cameras
from recon.files import save_npz
from recon.mesh.consistency import agreement, neighbours_of
from recon.mesh.views import DepthView
from render.rasterize import rasterize

SURFACE = 0.75
"""Transmittance at which a scene's surface is taken. Splats trained for minutes are soft: half of the light passes what is
the surface by a third of the splats behind it, and the median z lies behind it too.
"""
LEAST_ALPHA = 0.5
"""Pixels that a scene covers less than this have no z."""

NOTHING = 0.05
"""Pixels that it covers less than this show that nothing is there: their z is infinite, their confidence 0."""


@dataclass(frozen=True)
class SplatViews:
    """z of a scene in N cameras: median z of splats, expected z of a field. A view that was rendered before is read from
    `folder`."""

    scene: Any
    names: Sequence[str]
    """[N]."""
    cameras: Cameras
    """[N], at the size to render."""
    folder: Path

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[DepthView]:
        for i in range(len(self)):
            yield self.view(i)

    def view(self, index: int) -> DepthView:
        """One view, its confidence lowered where its neighbours disagree."""
        alone = self.alone(index)
        near = neighbours_of(self.cameras, index)
        if len(near) == 0:
            return alone
        agreed = agreement(alone, [self.alone(i) for i in near])
        return replace(alone, confidence=alone.confidence * agreed)

    def alone(self, index: int) -> DepthView:
        """One view without asking others; atomic on disk, so that a kill costs one view at most."""
        path = self.folder / f"{index:06d}.npz"
        if not path.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            save_npz(path, **self._render(index))
        with np.load(path, allow_pickle=False) as data:
            return DepthView(self.names[index], self.cameras[index], data["z"], data["confidence"])

    def _render(self, index: int) -> dict[str, np.ndarray]:
        import torch

        scene, setup = self.scene, self.scene.setup
        with torch.no_grad():
            if hasattr(scene, "at"):
                seen = rasterize(
                    scene.at(),
                    self.cameras[index],
                    sh_degree=0,
                    antialiased=setup.antialiased,
                    near=setup.near,
                    median=SURFACE,
                )
                z = seen.extra["median_z"][0].numpy()
            else:
                seen = scene.render(self.cameras[index])
                z = seen.z[0].cpu().numpy()
        alpha = seen.alpha[0].cpu().numpy()
        z = np.where(alpha < NOTHING, np.float32(np.inf), z)
        confidence = np.where(np.isfinite(z), np.clip((alpha - LEAST_ALPHA) / (1 - LEAST_ALPHA), 0, 1), 0)
        return {"z": z, "confidence": confidence.astype(np.float32)}
