"""Representations by name. A new one is a file with a frozen config that has build(init) -> Scene, and one line here."""

from __future__ import annotations

from render.scenes.gs import GsConfig

SCENES = {"gs": GsConfig}
