"""Verifying a share's audit log: its chain, the end that the tracker signed, and the end that this machine saw.

The tracker writes the log, so it can leave a row out when the thing happens; what it can't do is change, cut or
reorder what it has signed or shown once without this being seen.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from p2pckpt import atomic
from p2pckpt.errors import NotFound, VerificationFailed
from p2pckpt.tracker_protocol import SIGNED_EXTENSION
from p2pckpt.tracker_protocol.audit_log import AUDIT_START, AuditHead, AuditRow, audit_chain

_SEEN: Final = "log.json"
_HELP: Final = "ask the tracker's operator; nothing else of the share is affected"


class SignedHead(msgspec.Struct, frozen=True):
    """What the timestamp says of the log."""

    log: AuditHead
    at: int = 0
    """When it was signed, Unix seconds."""


def signed_head(directory: Path) -> SignedHead:
    """What the newest timestamp among a share's trusted files says. The files were verified by ``admission.refresh``.

    Raises ``NotFound`` without them, ``VerificationFailed`` for a timestamp that says nothing of a log.
    """
    try:
        signed = msgspec.json.decode((directory / "timestamp.json").read_bytes())["signed"]
        return msgspec.convert(signed[SIGNED_EXTENSION], SignedHead)
    except FileNotFoundError as exc:
        raise NotFound("this share was never looked at from this machine") from exc
    except (msgspec.MsgspecError, KeyError, TypeError) as exc:
        raise VerificationFailed(
            "the tracker's signed timestamp says nothing of the log", next_step="the tracker may be too old"
        ) from exc


def seen_head(directory: Path) -> AuditHead:
    """The end of the log when this machine last verified it; the start of an empty one before that."""
    try:
        return msgspec.json.decode((directory / _SEEN).read_bytes(), type=AuditHead)
    except (FileNotFoundError, msgspec.MsgspecError):
        return AUDIT_START


def remember(directory: Path, head: AuditHead) -> None:
    """Keep the end of a log that was verified."""
    atomic.write(directory / _SEEN, msgspec.json.encode(head))


class LogVerifier:
    """Takes a log's rows from the first to the last, without holding them."""

    def __init__(self, share_id: bytes, signed: AuditHead, seen: AuditHead) -> None:
        self._share_id = share_id.hex()
        self._known = {"the tracker signed": signed, "this machine saw": seen}
        self.head = AUDIT_START
        """The last row taken."""

    def take(self, row: AuditRow) -> None:
        """Raises ``VerificationFailed`` for the first row that does not fit."""
        number = self.head.seq + 1
        link = audit_chain(self.head.chain, self._share_id, number, row.at, row.actor, row.action, row.subject)
        if row.seq != number or row.chain != link:
            raise VerificationFailed(
                f"the log is broken at row {number}: it was changed, moved, or a row before it is missing",
                next_step=_HELP,
            )
        self.head = AuditHead(number, link)
        for who, known in self._known.items():
            if known.seq == number and known.chain != link:
                raise VerificationFailed(
                    f"the log was rewritten: its rows up to {number} are not those that {who}", next_step=_HELP
                )

    def end(self) -> None:
        """Raises ``VerificationFailed`` when rows are missing at the end."""
        for who, known in self._known.items():
            if known.seq > self.head.seq:
                raise VerificationFailed(
                    f"the log was cut: row {self.head.seq + 1} is missing, {who} {known.seq} rows", next_step=_HELP
                )
