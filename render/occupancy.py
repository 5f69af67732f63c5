"""Which cells of a field's box hold something: samples are taken in these alone.

As in Instant-NGP (Mueller et al., SIGGRAPH 2022, appendix E.2): each cell keeps the largest density lately seen in it, which
fades; a cell is occupied where a ray would lose a noticeable share of its light over one step. At the start every cell
is, so that the field can grow anywhere.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

EVERY = 16
"""Steps between updates."""
SHARE = 4
"""An update looks at one cell in so many, and at as many again of those that are occupied."""
FADE = 0.95
"""What is left of a cell's density when it is looked at again."""
LEAST_ALPHA = 0.01
"""Share of a ray's light that an occupied cell takes over one step, at least."""


class Occupancy:
    """Cells of the unit cube."""

    def __init__(self, density: Tensor, step: float, warm_up: int) -> None:
        """`density` f32[G, G, G], by x, y, z, the largest lately seen in each cell: updated in place. `step`: a ray's, in
        the units that densities are per. `warm_up`: steps during which every cell is occupied."""
        self._density, self._step, self._warm_up = density, step, warm_up
        self.mask = torch.ones(density.shape, dtype=torch.uint8, device=density.device)
        """u8[G, G, G]: 1 = occupied."""

    def share(self) -> float:
        """Of the cells that are occupied, 0..1."""
        return float(self.mask.float().mean())

    @torch.no_grad()
    def update(self, step: int, look: Callable[[Tensor], Tensor], generator: torch.Generator) -> None:
        """Look at cells with `look` (places [N, 3] in the unit cube -> densities f32[N]), each at a random place in it."""
        side, device = self.mask.shape[0], self.mask.device
        chosen = self._chosen(step, generator).to(device)
        corner = torch.stack([chosen // side**2, chosen // side % side, chosen % side], -1)
        x = (corner + torch.rand(corner.shape, generator=generator).to(device)) / side
        flat = self._density.view(-1)
        flat[chosen] = torch.maximum(FADE * flat[chosen], look(x))
        if step >= self._warm_up:
            self.refresh()

    def _chosen(self, step: int, generator: torch.Generator) -> Tensor:
        """The cells i64[N] to look at: all while every cell is occupied."""
        cells = self.mask.numel()
        if step <= self._warm_up:
            return torch.arange(cells)
        full = torch.nonzero(self.mask.view(-1)).ravel().cpu()
        amount = cells // SHARE
        anywhere = torch.randint(cells, (amount,), generator=generator)
        again = full[torch.randint(max(len(full), 1), (min(amount, len(full)),), generator=generator)]
        return torch.cat([anywhere, again]).unique()

    def refresh(self) -> None:
        """The mask from the densities: cells that take LEAST_ALPHA of the light, and in a thin field those above its mean."""
        enough = min(LEAST_ALPHA / self._step, float(self._density.mean()))
        self.mask = (self._density > enough).to(torch.uint8)

    def finish(self) -> None:
        """The mask is that of the densities from here on, as when they are read again. Where no cell was ever passed over
        (training ended in its warm-up), the densities are forgotten: without any every cell stays occupied."""
        if bool(self.mask.all()):
            self._density.zero_()
        else:
            self.refresh()
