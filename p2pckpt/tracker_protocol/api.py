"""What every request and answer has in common: the prefix of all routes, and how a refusal is told."""

from __future__ import annotations

from typing import Final

import msgspec

API: Final = "/api/v1"
MAX_JSON_BODY: Final = 1 << 20
"""Bytes of a JSON request body."""


class Problem(msgspec.Struct, frozen=True):
    """RFC 9457, ``application/problem+json``: the body of every 4xx and 5xx of the API."""

    type: str
    """``about:blank`` or one of ``PROBLEM_*``."""
    title: str
    status: int
    detail: str = ""


PROBLEM_CONFLICT: Final = "urn:p2pckpt:conflict"
PROBLEM_LINK_SPENT: Final = "urn:p2pckpt:link-spent"
PROBLEM_BAD_SIGNATURE: Final = "urn:p2pckpt:bad-signature"
PROBLEM_NOT_LISTED: Final = "urn:p2pckpt:not-listed"
PROBLEM_LICENCE: Final = "urn:p2pckpt:licence"
"""403: the licence has to be accepted first; ``detail`` is the licence."""
