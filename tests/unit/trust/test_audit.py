"""Verifying an audit log: what is accepted, and each way in which one is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from p2pckpt.errors import NotFound, VerificationFailed
from p2pckpt.tracker_protocol.audit_log import AUDIT_START, AuditHead, AuditRow, audit_chain
from p2pckpt.trust import audit

from .people import OWNER, Shelf

SHARE = hashlib.sha256(b"share").digest()


def log(length: int, share: bytes = SHARE, subject: str = "v{}") -> list[AuditRow]:
    rows, chain = [], AUDIT_START.chain
    for seq in range(1, length + 1):
        fields = (1_700_000_000 + seq, "ab" * 32, "publish", subject.format(seq))
        chain = audit_chain(chain, share.hex(), seq, *fields)
        rows.append(AuditRow(seq, *fields, chain))
    return rows


def head(rows: list[AuditRow]) -> AuditHead:
    return AuditHead(rows[-1].seq, rows[-1].chain) if rows else AUDIT_START


def verify(rows: list[AuditRow], signed: AuditHead = AUDIT_START, seen: AuditHead = AUDIT_START) -> AuditHead:
    verifier = audit.LogVerifier(SHARE, signed, seen)
    for row in rows:
        verifier.take(row)
    verifier.end()
    return verifier.head


@pytest.mark.parametrize("length", [0, 1, 9])
def test_a_whole_log_is_accepted_up_to_its_end(length: int) -> None:
    rows = log(length)
    assert verify(rows, head(rows), head(rows)) == head(rows)
    assert verify(rows, head(rows[: length // 2]), head(rows[: length // 3])) == head(rows)


Spoil = Callable[[list[AuditRow]], list[AuditRow]]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda rows: [*rows[:4], msgspec.structs.replace(rows[4], subject="v99"), *rows[5:]], "broken at row 5"),
        (lambda rows: [*rows[:4], msgspec.structs.replace(rows[4], at=1), *rows[5:]], "broken at row 5"),
        (lambda rows: [*rows[:4], msgspec.structs.replace(rows[4], chain="0" * 64), *rows[5:]], "broken at row 5"),
        (lambda rows: rows[1:], "broken at row 1"),
        (lambda rows: rows[:3] + rows[4:], "broken at row 4"),
        (lambda rows: [*rows[:3], rows[4], rows[3], *rows[5:]], "broken at row 4"),
        (lambda rows: [*rows[:3], rows[2], *rows[3:]], "broken at row 4"),
        (lambda rows: log(9, share=hashlib.sha256(b"other").digest()), "broken at row 1"),
        (lambda rows: rows[:7], "row 8 is missing"),
        (lambda rows: [], "row 1 is missing"),
        (lambda rows: log(9, subject="other {}"), "up to 8 are not those that the tracker signed"),
    ],
)
def test_what_was_changed_cut_or_reordered_is_refused_with_its_row(spoil: Spoil, says: str) -> None:
    rows = log(9)
    with pytest.raises(VerificationFailed, match=says):
        verify(spoil(rows), signed=head(rows[:8]))


def test_rows_that_this_machine_saw_count_though_the_tracker_signs_others() -> None:
    rows, other = log(9), log(9, subject="other {}")
    with pytest.raises(VerificationFailed, match="up to 6 are not those that this machine saw"):
        verify(other, signed=head(other), seen=head(rows[:6]))
    with pytest.raises(VerificationFailed, match="row 3 is missing"):
        verify(rows[:2], signed=head(rows[:2]), seen=head(rows))


def test_the_end_is_read_from_the_verified_timestamp(tmp_path: Path) -> None:
    shelf = Shelf()
    with pytest.raises(NotFound):
        audit.signed_head(tmp_path)
    shelf.refresh(tmp_path, OWNER)
    assert audit.signed_head(tmp_path).log == AUDIT_START
    (tmp_path / "timestamp.json").write_bytes(b'{"signed": {"version": 3}}')
    with pytest.raises(VerificationFailed):
        audit.signed_head(tmp_path)


def test_the_end_seen_is_kept_and_a_damaged_one_counts_as_none(tmp_path: Path) -> None:
    assert audit.seen_head(tmp_path) == AUDIT_START
    audit.remember(tmp_path, head(log(3)))
    assert audit.seen_head(tmp_path) == head(log(3))
    (tmp_path / "log.json").write_bytes(b"{")
    assert audit.seen_head(tmp_path) == AUDIT_START
