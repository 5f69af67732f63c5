"""recon: photos or video in, a place out."""

from recon.errors import InputError, MissingPart, ReconError, SfmError, WorkspaceError

__version__ = "0.1.0"

__all__ = ["InputError", "MissingPart", "ReconError", "SfmError", "WorkspaceError", "__version__"]
