"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "facts",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("value", sa.String(), nullable=False),
    )
    op.create_table(
        "accounts",
        sa.Column("identity", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("receive_key", sa.String(64), nullable=False),
        sa.Column("receive_key_signature", sa.String(128), nullable=False),
        sa.Column("created_at", sa.Integer(), nullable=False),
    )
    op.create_table(
        "listed",
        sa.Column("identity", sa.String(64), primary_key=True),
        sa.Column("added_at", sa.Integer(), nullable=False),
    )
    op.create_table(
        "tokens",
        sa.Column("digest", sa.LargeBinary(32), primary_key=True),
        sa.Column("identity", sa.String(64), sa.ForeignKey("accounts.identity"), nullable=False),
        sa.Column("expires_at", sa.Integer(), nullable=False),
    )
    op.create_table(
        "shares",
        sa.Column("share_id", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("torrent_name", sa.String(), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("visibility", sa.String(16), nullable=False),
        sa.Column("root_version", sa.Integer(), nullable=False),
        sa.Column("targets_version", sa.Integer(), nullable=False),
        sa.Column("keyring_version", sa.Integer(), nullable=False),
        sa.Column("snapshot_version", sa.Integer(), nullable=False),
        sa.Column("snapshot_expires", sa.Integer(), nullable=False),
        sa.Column("timestamp_version", sa.Integer(), nullable=False),
        sa.Column("timestamp_expires", sa.Integer(), nullable=False),
        sa.Column("versions", sa.Integer(), nullable=False),
        sa.Column("last_number", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Integer(), nullable=False),
        sa.Column("updated_at", sa.Integer(), nullable=False),
    )
    op.create_table(
        "members",
        sa.Column("share_id", sa.String(64), sa.ForeignKey("shares.share_id"), nullable=False),
        sa.Column("identity", sa.String(64), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("added_at", sa.Integer(), nullable=False),
        sa.Column("link_id", sa.String(16), nullable=False),
        sa.Column("binding", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("share_id", "identity"),
    )
    op.create_index("members_by_identity", "members", ["identity"])
    op.create_table(
        "passes",
        sa.Column("digest", sa.LargeBinary(32), primary_key=True),
        sa.Column("share_id", sa.String(64), sa.ForeignKey("shares.share_id"), nullable=False),
        sa.Column("identity", sa.String(64), nullable=False),
        sa.Column("expires_at", sa.Integer(), nullable=False),
    )
    op.create_index("passes_by_member", "passes", ["share_id", "identity"])
    op.create_table(
        "torrents",
        sa.Column("share_id", sa.String(64), sa.ForeignKey("shares.share_id"), nullable=False),
        sa.Column("info_hash", sa.String(64), nullable=False),
        sa.Column("published_at", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("share_id", "info_hash"),
    )
    op.create_table(
        "links",
        sa.Column("link_id", sa.String(16), primary_key=True),
        sa.Column("share_id", sa.String(64), sa.ForeignKey("shares.share_id"), nullable=False),
        sa.Column("auth_hash", sa.String(64), nullable=False),
        sa.Column("wrapped_keys", sa.LargeBinary(), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("expires_at", sa.Integer(), nullable=False),
        sa.Column("max_uses", sa.Integer(), nullable=False),
        sa.Column("uses", sa.Integer(), nullable=False),
        sa.Column("wrong_auths", sa.Integer(), nullable=False),
        sa.Column("revoked", sa.Boolean(), nullable=False),
        sa.Column("password_salt", sa.String(), nullable=False),
        sa.Column("created_at", sa.Integer(), nullable=False),
    )
    op.create_index("links_by_share", "links", ["share_id"])
    op.create_table(
        "redemptions",
        sa.Column("link_id", sa.String(16), sa.ForeignKey("links.link_id"), nullable=False),
        sa.Column("identity", sa.String(64), nullable=False),
        sa.Column("redeemed_at", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("link_id", "identity"),
    )
    op.create_table(
        "audit",
        sa.Column("seq", sa.Integer(), primary_key=True),
        sa.Column("at", sa.Integer(), nullable=False),
        sa.Column("share_id", sa.String(64), nullable=False),
        sa.Column("actor", sa.String(64), nullable=False),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("chain", sa.String(64), nullable=False),
    )


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
