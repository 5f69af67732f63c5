"""What --preset stands for: defaults that explicit options override."""

from __future__ import annotations

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    "preview": {"minutes": 0.75, "long_side": 480, "splats": 40_000},
    "standard": {"minutes": 5.0, "long_side": 960, "splats": 120_000},
    "high": {"minutes": 20.0, "long_side": 1600, "splats": 400_000},
}
"""Values by option name. preview: the first picture soon; high: the best that this machine can."""
