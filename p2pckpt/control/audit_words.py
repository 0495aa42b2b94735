"""How rows of an audit log are told, in every front end. Everything returned is safe to show."""

from __future__ import annotations

import time
from typing import Final

from p2pckpt.checkpoint.terminal_text import clean
from p2pckpt.control.access_messages import LogReply, LogRow
from p2pckpt.tracker_protocol.audit_log import AuditAction

_SHORT: Final = 8
"""Digits of an identity beside a name: names are chosen by their bearers."""


def verdict(reply: LogReply) -> str:
    """What was verified, in a sentence."""
    later = reply.verified - reply.signed
    rows = f"{later:,} newer row" + ("" if later == 1 else "s")
    return f"verified up to row {reply.signed}, signed {moment(reply.signed_at)} UTC" + (
        f"; {rows} will be signed within a minute" if later else ""
    )


def moment(at: int) -> str:
    """``2026-11-21 14:02:11``, in UTC; times come from others, and no calendar reaches as far as an integer does."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(max(0, min(at, 1 << 36))))


def person(identity: str, name: str) -> str:
    """``bob (3fa1c2d4)``: a name and the digits that tell its bearer from namesakes."""
    if not identity:
        return "-"
    if name:
        return f"{clean(name, 40)} ({clean(identity[:_SHORT], _SHORT)})"
    return clean(identity[: 2 * _SHORT], 2 * _SHORT)


def subject(row: LogRow) -> str:
    """Whom or what a row is about."""
    first, _, rest = row.subject.partition(" ")
    if row.action == AuditAction.FETCHED and row.subject_name:
        return clean(row.subject_name, 80)
    if len(first) != 64:
        return clean(row.subject, 200)
    return f"{person(first, row.subject_name)} {clean(rest, 200)}".rstrip()
