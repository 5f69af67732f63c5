"""Representations by name. A new one is a file with a frozen config that has build(init) -> Scene, and one line here."""

from __future__ import annotations

from typing import Any

from recon.stages import resolve

SCENES = {
    "gs": "render.scenes.gs:GsConfig",
    "flat": "render.scenes.flat:FlatConfig",
    "nerf": "render.scenes.nerf:NerfConfig",
    "ngp": "render.scenes.ngp:NgpConfig",
    "kplanes": "render.scenes.kplanes:KplanesConfig",
    "mip360": "render.scenes.mip360:Mip360Config",
    "gs4d": "render.scenes.gs4d:Gs4dConfig",
    "gs_nodes": "render.scenes.gs_nodes:NodesConfig",
}
""""module:class" of the config; strings, so that reading the names imports nothing."""


def config_of(name: str) -> Any:
    """The config class of a representation."""
    return resolve(SCENES[name])
