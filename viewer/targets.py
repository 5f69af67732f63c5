"""What a device can show, in one table: `recon publish --target`.

Splats are drawn sorted, every frame, in two views on a headset, so that their number decides the frame rate; the degree of their
spherical harmonics decides what they weigh on the way and in memory. Published counts of others: Quest 3 up to 1M at degree 0 or
1, phones 1 to 3M, desktop browsers 1 to 5M.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """One device's budget."""

    splats: int
    """Most splats that it holds at once."""
    sh_degree: int
    coarse: int
    """Most splats of the coarse picture that comes first."""
    tile: int
    """Most splats of a tile: one file, one request."""
    window: tuple[int, int]
    """(width, height) of the browser window in which the page is measured."""


TARGETS: dict[str, Target] = {
    "quest3": Target(800_000, 1, 15_000, 50_000, (1280, 720)),
    "phone": Target(1_500_000, 1, 15_000, 65_536, (390, 844)),
    "web": Target(3_000_000, 2, 30_000, 65_536, (1280, 720)),
    "desktop": Target(10_000_000, 3, 30_000, 100_000, (1920, 1080)),
}
COARSE_SHARE = 0.1
"""The coarse picture of a small scene has this share of its splats at most..."""
COARSE_LEAST = 2000
"""...or so many."""
