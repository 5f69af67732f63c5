"""The stage table: what each stage needs, where its function stands, and the version of what it writes.

Functions are named by strings, so that reading the table imports nothing. A stage's version goes up when the same options and
inputs would give another result; results of other versions can still be viewed and exported.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Stage:
    """One row: `run(*loaded needs, options, job)` writes a folder that `load(folder)` reads."""

    name: str
    """Verb and folder."""
    needs: tuple[str, ...]
    """Stages whose results are its first arguments, in this order; where options decide it, those of the defaults."""
    run: str
    """"module:function"."""
    options: str
    """"module:dataclass"."""
    load: str
    """"module:function"."""
    version: int
    summary: str
    """One line of `recon --help`."""
    check: str = ""
    """"module:function" that refuses options that the stage cannot work with, before an earlier stage has begun."""
    check_input: str = ""
    """"module:function" that refuses a capture that the stage cannot work with under its options, as soon as it is read."""
    apart: tuple[str, ...] = ()
    """Files in its folder that belong to this machine, or only show the result: outside its hash."""
    named: bool = False
    """Whether several results live side by side under `--name`."""
    needs_of: str = ""
    """"module:function" that tells the needs from the options, where they decide it."""

    def needs_for(self, options: Any) -> tuple[str, ...]:
        """The stages whose results these options need; None stands for the defaults."""
        return resolve(self.needs_of)(options) if self.needs_of and options is not None else self.needs


STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage(
            name="ingest",
            needs=(),
            run="recon.ingest:ingest",
            options="recon.ingest:IngestOptions",
            load="recon.capture:load_capture",
            version=3,
            apart=("place.json",),
            summary="Read photos, a video or an existing data set; check every photo; choose the held-out ones.",
        ),
        Stage(
            name="sfm",
            needs=("ingest",),
            run="recon.sfm:sfm",
            options="recon.sfm:SfmOptions",
            load="recon.sfm:load_sfm",
            version=1,
            summary="Find the cameras and sparse points (structure from motion), and undistort the photos.",
        ),
        Stage(
            name="align",
            needs=("ingest", "sfm"),
            run="recon.align:align",
            options="recon.align:AlignOptions",
            load="recon.align:load_align",
            version=2,
            summary="Turn the scene upright, and into metres where GPS, known distances or depth images tell them.",
        ),
        Stage(
            name="depth",
            needs=("ingest", "align"),
            run="recon.depth:depth",
            options="recon.depth:DepthOptions",
            load="recon.depth:load_maps",
            version=2,
            summary="Measure depth and normals of every training photo (depth camera or multi-view stereo); only when asked for.",
            check="recon.depth:check_options",
            apart=("geometry.html",),
        ),
        Stage(
            name="train",
            needs=("ingest", "align"),
            run="render.stage_train:train_from",
            options="render.options:TrainOptions",
            load="render.stage_train:load_scene",
            version=1,
            summary="Train a scene (Gaussian splats) and write scene.ply.",
            check="render.options:check_options",
            check_input="render.moving_input:check_capture",
            named=True,
            needs_of="render.options:train_needs",
        ),
        Stage(
            name="eval",
            needs=("ingest", "align", "train"),
            run="render.evaluate:evaluate",
            options="render.options:EvalOptions",
            load="render.evaluate:load_metrics",
            version=1,
            summary="Render the held-out photos, measure the error, write report.html.",
            named=True,
        ),
        Stage(
            name="mesh",
            needs=("ingest", "align", "train"),
            run="render.stage_mesh:mesh_stage",
            options="recon.mesh.options:MeshOptions",
            load="recon.mesh:load_mesh",
            version=3,
            summary="Make a textured mesh of the scene, from its splats or from depth maps.",
            named=True,
            needs_of="recon.mesh.options:mesh_needs",
            apart=("geometry.html",),
        ),
    )
}


def resolve(target: str) -> Any:
    """The object that "module:attribute" names; imports the module."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)
