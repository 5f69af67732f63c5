"""Given poses: points for cameras that a data set brings. The poses and intrinsics are never moved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from recon.capture import Capture
from recon.job import Job
from recon.sparse import SparseModel

if TYPE_CHECKING:
    from recon.sfm import SfmOptions


def with_given_poses(
    capture: Capture, options: SfmOptions, job: Job
) -> tuple[SparseModel, tuple[tuple[str, str], ...]]:
    raise NotImplementedError
