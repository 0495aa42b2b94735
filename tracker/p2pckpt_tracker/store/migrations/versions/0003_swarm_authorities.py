"""Certificate authorities of swarms."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "swarm_authorities",
        sa.Column("share_id", sa.String(64), sa.ForeignKey("shares.share_id"), primary_key=True),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("certificate", sa.String(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.Integer(), nullable=False),
    )


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
