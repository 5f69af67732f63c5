"""Errors that the user can mend. Each says what was expected, what was found, and what to do next.

The command line turns a ReconError into exit code 2 without a traceback; anything else is a defect of ours (exit code 1).
"""


class ReconError(Exception):
    """What the user can mend. `str(error)` is the whole message: expected, found, next step."""


class InputError(ReconError):
    """Photos, video, masks or an existing model that cannot be used."""


class SfmError(ReconError):
    """No reconstruction came out of the photos."""


class WorkspaceError(ReconError):
    """A workspace that is locked, unwritable, damaged, newer than this recon, or holds a result of other options."""


class MissingPart(ReconError):
    """An optional part (a package, a model file) that this call needs is not installed."""
