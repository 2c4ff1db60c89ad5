"""The exceptions a user can meet. Each message is one line: what, where, what to do."""

from __future__ import annotations


class SsimAeError(Exception):
    """Failed while working (exit code 1)."""


class InputError(SsimAeError):
    """Wrong use or bad input, found before work began (exit code 2)."""


class SettingsError(InputError):
    """One or more settings are wrong; the message lists all of them."""


class PictureError(SsimAeError):
    """A picture that cannot be used; the message names the file."""


class DetectorError(InputError):
    """A file or folder that is no detector, or one of another version."""
