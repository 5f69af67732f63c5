"""Puts the built page into wheels and sdists. An editable install needs none: a checkout builds it when it is asked for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PageHook(BuildHookInterface):
    """`viewer/_page` in what is built; a warning, and no page, where Node is missing."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        if version == "editable" or (root / "viewer" / "_page").is_dir():
            return
        sys.path.insert(0, str(root))
        from recon.errors import MissingPart
        from viewer.web_page import built_page

        try:
            build_data["force_include"][str(built_page(self.app.display_info))] = "viewer/_page"
        except MissingPart as missing:
            self.app.display_warning(f"{missing} This build of recon will have no `recon publish`.")
