"""Queries about accounts, tokens and the list of who may create shares."""

from __future__ import annotations

import secrets
import time

from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.dialects.sqlite import insert as upsert

from p2pckpt.tracker_protocol import LoginRequest

from .tables import accounts, facts, listed, tokens


def tracker_id(connection: Connection) -> str:
    """The tracker's id, made on first use: 32 hex digits."""
    known: str | None = connection.scalar(select(facts.c.value).where(facts.c.name == "tracker_id"))
    if known is None:
        known = secrets.token_hex(16)
        connection.execute(insert(facts).values(name="tracker_id", value=known))
    return known


def is_account(connection: Connection, identity: str) -> bool:
    return connection.scalar(select(accounts.c.identity).where(accounts.c.identity == identity)) is not None


def save_account(connection: Connection, login: LoginRequest) -> None:
    """Make the account, or take over its present name and receive key."""
    mutable = {
        "name": login.name,
        "receive_key": login.receive_key,
        "receive_key_signature": login.receive_key_signature,
    }
    statement = upsert(accounts).values(identity=login.identity, created_at=int(time.time()), **mutable)
    connection.execute(statement.on_conflict_do_update(index_elements=["identity"], set_=mutable))


def save_token(connection: Connection, digest: bytes, identity: str, expires_at: int) -> None:
    """Keep a token's digest; takes the chance to drop those that are over."""
    connection.execute(delete(tokens).where(tokens.c.expires_at < int(time.time())))
    connection.execute(insert(tokens).values(digest=digest, identity=identity, expires_at=expires_at))


def is_listed(connection: Connection, identity: str) -> bool:
    """Asked of the database each time: ``user add`` works while the tracker runs."""
    return connection.scalar(select(listed.c.identity).where(listed.c.identity == identity)) is not None


def add_listed(connection: Connection, identity: str) -> None:
    """Allow an identity to create shares; again is fine."""
    statement = upsert(listed).values(identity=identity, added_at=int(time.time()))
    connection.execute(statement.on_conflict_do_nothing())


def remove_listed(connection: Connection, identity: str) -> bool:
    """Take that back; its shares stay. False when it was not listed."""
    return connection.execute(delete(listed).where(listed.c.identity == identity)).rowcount > 0


def all_listed(connection: Connection) -> list[tuple[str, str]]:
    """(identity, name or empty), ordered by identity."""
    rows = connection.execute(
        select(listed.c.identity, accounts.c.name)
        .join(accounts, accounts.c.identity == listed.c.identity, isouter=True)
        .order_by(listed.c.identity)
    )
    return [(row.identity, row.name or "") for row in rows]
