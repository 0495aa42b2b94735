"""Alembic's entry point: uses the connection and transaction that ``store.migrate`` opened."""

from __future__ import annotations

from alembic import context

from p2pckpt_tracker.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite alters a table by copying it
    transaction_per_migration=False,
)
context.run_migrations()
