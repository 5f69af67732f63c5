"""Gradients of the columns of visible rows, with those of the SH coefficients left in factors until somebody wants them
whole.

A splat's colour is a product of SH functions and coefficients, so dL/d(sh[k, c]) = Y_k(direction) dL/d(colour[c]): 6
numbers say what 48 do, and the 48 of every visible splat would go through memory twice in each step.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recon.kernels.jit import DOOR, helper, kernel, spread
from recon.kernels.simd import LANES
from recon.kernels.simd_memory import load, load3, store_first, transpose
from recon.kernels.simd_shuffle import thirds, triples
from render.kernels.layout import scratch
from render.kernels.sh import basis
from render.splats import SH_C0

_GRAIN = 8192
SPARE = 3 * LANES
"""Floats that `direction` and `colour` have beyond their last row, so that vectors may read on."""


@dataclass(frozen=True)
class ShFactors:
    """Gradients of the SH coefficients of M rows, in factors."""

    direction: NDArray[np.float32]
    """f32[3 M + SPARE], unit, from the camera."""
    colour: NDArray[np.float32]
    """f32[3 M + SPARE], dL/d(colour); 0 where the colour is clamped."""
    degree: int

    def dense(self) -> NDArray[np.float32]:
        """f32[M, (degree + 1)^2, 3]."""
        rows, terms = (len(self.colour) - SPARE) // 3, (self.degree + 1) ** 2
        out = np.empty((rows, terms, 3), np.float32)
        with DOOR:
            spread(expand, rows, self.direction, self.colour, self.degree, out.reshape(-1), grain=_GRAIN)
        return out


class ColumnGrads(MutableMapping[str, Tensor]):
    """Column name -> f32[M, ...]; "sh" holds the bands in use only: f32[M, (sh_degree + 1)^2, 3], made when it is asked
    for.

    Whoever wants to know only how much each splat's colour matters asks for colour(), which costs nothing.
    """

    def __init__(self, columns: dict[str, Tensor], factors: ShFactors | None = None) -> None:
        self._columns = dict(columns)
        self._factors = factors
        self._version: int | None = None  # of the "sh" tensor when it was made from the factors

    @property
    def factors(self) -> ShFactors | None:
        """Of the "sh" gradient, unless it was set or changed in place meanwhile."""
        made = self._columns.get("sh")
        return None if made is not None and made._version != self._version else self._factors

    def colour(self) -> Tensor:
        """f32[M, 3], dL/d(colour); 0 where the colour is clamped."""
        if self.factors is not None:
            return torch.from_numpy(self.factors.colour)[:-SPARE].view(-1, 3)
        return self["sh"][:, 0] / SH_C0

    def __getitem__(self, name: str) -> Tensor:
        if name == "sh" and name not in self._columns and self._factors is not None:
            self._columns[name] = torch.from_numpy(self._factors.dense())
            self._version = self._columns[name]._version
        return self._columns[name]

    def __setitem__(self, name: str, gradient: Tensor) -> None:
        if name == "sh":
            self._version = None
        self._columns[name] = gradient

    def __delitem__(self, name: str) -> None:
        if name == "sh" and self._factors is not None:
            self._factors = None
            self._columns.pop(name, None)
        else:
            del self._columns[name]

    def __iter__(self) -> Iterator[str]:
        yield from (name for name in self._columns if name != "sh")
        if "sh" in self._columns or self._factors is not None:
            yield "sh"

    def __len__(self) -> int:
        return sum(1 for _ in self)


@helper
def load_functions(direction, degree, first, buf):
    """The SH functions of rows first .. first + 15 into buf[0:256], 16 floats a row; those beyond the degree hold
    rubbish.
    """
    x, y, z = load3(direction, 3 * first)
    basis(degree, x, y, z, buf, 0)
    transpose(buf, 0)


@helper
def outer_block(functions, colour, block):
    """Floats 16 block .. 16 block + 15 of the row Y_0 r, Y_0 g, Y_0 b, Y_1 r, ...; functions: lane k = Y_k; colour:
    lanes r g b.
    """
    if block == 0:
        return thirds(functions, 0) * triples(colour, 0)
    if block == 1:
        return thirds(functions, 1) * triples(colour, 1)
    return thirds(functions, 2) * triples(colour, 2)


@kernel
def expand(start, stop, direction, colour, degree, out):
    """out f32[M, (degree + 1)^2, 3] of rows start .. stop."""
    used = 3 * (degree + 1) * (degree + 1)
    buf = scratch(256)
    for first in range(start, stop, LANES):
        load_functions(direction, degree, first, buf)
        for i in range(first, min(first + LANES, stop)):
            functions, rgb = load(buf, LANES * (i - first)), load(colour, 3 * i)
            for block in range((used + LANES - 1) // LANES):
                left = min(LANES, used - LANES * block)
                store_first(out, used * i + LANES * block, outer_block(functions, rgb, block), left)
