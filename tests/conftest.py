"""Shared fixtures: the real captures, when RECON_DATASETS says where they are."""

import os
from pathlib import Path

import pytest

from tests.page_site import browser, page_built, site, truth_workspace
from tests.publish_scene import page
from tests.sites import door, served

__all__ = ["browser", "datasets", "door", "page", "page_built", "served", "site", "truth_workspace"]


@pytest.fixture(scope="session")
def datasets() -> Path:
    """The folder of real captures; tests that need it skip where it is not known."""
    value = os.environ.get("RECON_DATASETS")
    if not value:
        pytest.skip("RECON_DATASETS is not set")
    path = Path(value)
    assert path.is_dir(), f"RECON_DATASETS is {value}, which is no folder"
    return path
