"""Uploads that no signed targets name, and since when."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "unnamed_uploads",
        sa.Column("share_id", sa.String(64), sa.ForeignKey("shares.share_id"), nullable=False),
        sa.Column("upload", sa.String(80), nullable=False),
        sa.Column("since", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("share_id", "upload"),
    )


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
