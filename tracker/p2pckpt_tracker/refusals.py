"""Why a signed file is not taken."""

from __future__ import annotations


class MetadataRefused(Exception):
    """A signed file breaks a rule; the text names the rule."""


class BadSignature(MetadataRefused):
    """A signature is missing, wrong, or by somebody who may not sign this."""


class VersionConflict(MetadataRefused):
    """The file is not the successor of the current one: somebody published in between."""
