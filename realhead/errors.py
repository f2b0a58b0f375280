"""Errors that a user can mend: one sentence that says what was wrong, where, and what to do next."""

from __future__ import annotations


class RealheadError(ValueError):
    """Bad input. The command line prints the sentence on stderr and exits with code 2."""


class AssetError(RealheadError):
    """A file that the package needs is absent, damaged or cannot be fetched."""


class CaptureError(RealheadError):
    """A capture folder, or a file in it, is not what it should be."""


class OutsideError(CaptureError):
    """A path leaves its folder: the file that names it is hostile, and nothing of it is believed."""


class CheckpointError(RealheadError):
    """A checkpoint is damaged, or was made with another head, UV layout or conditioning."""


class TrackingError(RealheadError):
    """No usable face was found in a picture or clip."""
