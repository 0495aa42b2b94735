"""A share's audit log: its messages, and the chain that tracker and clients compute alike."""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from typing import Final

import msgspec

MAX_LOG_PAGE: Final = 500
"""Rows of one page."""


class AuditAction(StrEnum):
    """What an audit log records; ``subject`` of each in docs/tracker-protocol.md."""

    CREATE = "create"
    PUBLISH = "publish"
    RETIRE = "retire"
    RESTORE = "restore"
    TAG = "tag"
    TARGETS = "targets"
    KEYRING = "keyring"
    ROOT = "root"
    PROPOSAL = "proposal"
    PROPOSAL_WITHDRAWN = "proposal-withdrawn"
    LICENCE = "licence"
    ROLE = "role"
    REMOVE = "remove"
    REQUEST = "request"
    APPROVE = "approve"
    DENY = "deny"
    LINK = "link"
    LINK_REVOKED = "link-revoked"
    LINK_BURNT = "link-burnt"
    JOIN = "join"
    LICENCE_ACCEPTED = "licence-accepted"
    FETCHED = "fetched"
    CA_ROTATED = "ca-rotated"
    RECHAINED = "rechained"


class AuditRow(msgspec.Struct, frozen=True):
    """One row of a share's log."""

    seq: int
    """1, 2, 3, … without gaps."""
    at: int
    actor: str
    """Identity; empty for the tracker itself and for strangers."""
    action: str
    """An ``AuditAction``; readers show those they do not know as they are."""
    subject: str
    chain: str
    """``audit_chain`` of this row."""


class AuditPage(msgspec.Struct, frozen=True):
    """``GET /api/v1/shares/{id}/log?after=…&limit=…`` (needs owner): rows with a higher ``seq``, oldest first."""

    rows: list[AuditRow]
    next: int | None
    """Pass as ``after`` for the next page; null at the end."""


class AuditHead(msgspec.Struct, frozen=True):
    """The newest row of a log, by number and chain. The signed timestamp's field ``p2pckpt`` is ``{log, at}``: the
    head, and when it was signed."""

    seq: int
    chain: str


AUDIT_START: Final = AuditHead(0, "0" * 64)
"""The head of a log without rows."""


def audit_chain(previous: str, share_id: str, seq: int, at: int, actor: str, action: str, subject: str) -> str:
    """A row's link: SHA-256, in hex, of this JSON array in ASCII without spaces."""
    fields = [previous, share_id, seq, at, actor, action, subject]
    return hashlib.sha256(json.dumps(fields, separators=(",", ":")).encode()).hexdigest()
