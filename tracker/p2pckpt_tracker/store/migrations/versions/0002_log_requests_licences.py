"""One audit log a share; requests for access; licences to accept."""

from __future__ import annotations

import hashlib
import json
import time

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.rename_table("audit", "audit_of_all")
    op.create_table(
        "audit",
        sa.Column("share_id", sa.String(64), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("at", sa.Integer(), nullable=False),
        sa.Column("actor", sa.String(64), nullable=False),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("chain", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("share_id", "seq"),
    )
    op.create_index("audit_by_subject", "audit", ["share_id", "action", "subject", "actor"])
    _carry_over(op.get_bind())
    op.drop_table("audit_of_all")
    op.add_column("shares", sa.Column("signed_seq", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("shares", sa.Column("licence", sa.String(), nullable=False, server_default=""))
    op.create_table(
        "requests",
        sa.Column("share_id", sa.String(64), sa.ForeignKey("shares.share_id"), nullable=False),
        sa.Column("identity", sa.String(64), sa.ForeignKey("accounts.identity"), nullable=False),
        sa.Column("message", sa.String(200), nullable=False),
        sa.Column("requested_at", sa.Integer(), nullable=False),
        sa.Column("denied_at", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("share_id", "identity"),
    )
    op.create_index("requests_by_identity", "requests", ["identity"])
    op.create_table(
        "acceptances",
        sa.Column("share_id", sa.String(64), sa.ForeignKey("shares.share_id"), nullable=False),
        sa.Column("identity", sa.String(64), sa.ForeignKey("accounts.identity"), nullable=False),
        sa.Column("licence", sa.String(), nullable=False),
        sa.Column("signature", sa.String(128), nullable=False),
        sa.Column("accepted_at", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("share_id", "identity", "licence"),
    )


def _carry_over(connection: sa.Connection) -> None:
    """Chain the rows of each share anew, and end each log with a row that says so."""
    rows = connection.execute(
        sa.text("SELECT share_id, at, actor, action, subject FROM audit_of_all ORDER BY seq")
    ).all()
    logs: dict[str, list[tuple[int, str, str, str]]] = {}
    for share_id, *fields in rows:
        logs.setdefault(share_id, []).append(tuple(fields))
    insert = sa.text("INSERT INTO audit VALUES (:share_id, :seq, :at, :actor, :action, :subject, :chain)")
    names = ("at", "actor", "action", "subject")
    for share_id, log in logs.items():
        chain = "0" * 64
        log.append((int(time.time()), "", "rechained", f"{len(log)} rows of one log for all shares"))
        for seq, row in enumerate(log, 1):
            text = json.dumps([chain, share_id, seq, *row], separators=(",", ":"))
            chain = hashlib.sha256(text.encode()).hexdigest()
            values = dict(zip(names, row, strict=True)) | {"share_id": share_id, "seq": seq, "chain": chain}
            connection.execute(insert, values)


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
