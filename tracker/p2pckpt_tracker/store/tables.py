"""The tables, for queries. Their history is in ``migrations``; a test holds the two against each other.

Times are Unix seconds. Identities, share ids and infohashes are lower-case hex; tokens and passes are SHA-256.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
)

metadata = MetaData()


def _share() -> Column[str]:
    return Column("share_id", String(64), ForeignKey("shares.share_id"), nullable=False)


facts = Table(
    "facts",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", String, nullable=False),
)
"""Single values: ``tracker_id``, and ``time_served``, the seconds that this tracker has run in all."""

accounts = Table(
    "accounts",
    metadata,
    Column("identity", String(64), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("receive_key", String(64), nullable=False),
    Column("receive_key_signature", String(128), nullable=False),
    Column("created_at", Integer, nullable=False),
)

listed = Table(
    "listed",
    metadata,
    Column("identity", String(64), primary_key=True),
    Column("added_at", Integer, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("digest", LargeBinary(32), primary_key=True),
    Column("identity", String(64), ForeignKey("accounts.identity"), nullable=False),
    Column("expires_at", Integer, nullable=False),
)

shares = Table(
    "shares",
    metadata,
    Column("share_id", String(64), primary_key=True),
    Column("name", String, nullable=False),
    Column("torrent_name", String, nullable=False),
    Column("owner", String(64), nullable=False),
    Column("visibility", String(16), nullable=False),
    Column("root_version", Integer, nullable=False),
    Column("targets_version", Integer, nullable=False),
    Column("keyring_version", Integer, nullable=False),
    Column("snapshot_version", Integer, nullable=False),
    Column("snapshot_expires", Integer, nullable=False),
    Column("timestamp_version", Integer, nullable=False),
    Column("timestamp_expires", Integer, nullable=False),
    Column("versions", Integer, nullable=False),
    Column("last_number", Integer, nullable=False),
    Column("created_at", Integer, nullable=False),
    Column("updated_at", Integer, nullable=False),
    Column("signed_seq", Integer, nullable=False),
    Column("licence", String, nullable=False),
)
"""``versions`` counts those not retired; ``last_number`` is the highest ever published: none is used twice.
``signed_seq`` is the row of the audit log that the timestamp names; ``licence`` is the keyring's."""

members = Table(
    "members",
    metadata,
    _share(),
    Column("identity", String(64), nullable=False),
    Column("role", String(16), nullable=False),
    Column("added_at", Integer, nullable=False),
    Column("link_id", String(16), nullable=False),
    Column("binding", String(64), nullable=False),
    PrimaryKeyConstraint("share_id", "identity"),
    Index("members_by_identity", "identity"),
)
"""An owner may add an identity before its first login, so this does not refer to ``accounts``."""

passes = Table(
    "passes",
    metadata,
    Column("digest", LargeBinary(32), primary_key=True),
    _share(),
    Column("identity", String(64), nullable=False),
    Column("expires_at", Integer, nullable=False),
    Index("passes_by_member", "share_id", "identity"),
)

swarm_authorities = Table(
    "swarm_authorities",
    metadata,
    Column("share_id", String(64), ForeignKey("shares.share_id"), primary_key=True),
    Column("generation", Integer, nullable=False),
    Column("certificate", String, nullable=False),
    Column("key", LargeBinary, nullable=False),
    Column("created_at", Integer, nullable=False),
)
"""The present certificate authority of each share that had need of one; earlier keys are deleted."""

torrents = Table(
    "torrents",
    metadata,
    _share(),
    Column("info_hash", String(64), nullable=False),
    Column("published_at", Integer, nullable=False),
    PrimaryKeyConstraint("share_id", "info_hash"),
)
"""Published once, announceable for good: later versions may need objects of a retired one."""

links = Table(
    "links",
    metadata,
    Column("link_id", String(16), primary_key=True),
    _share(),
    Column("auth_hash", String(64), nullable=False),
    Column("wrapped_keys", LargeBinary, nullable=False),
    Column("role", String(16), nullable=False),
    Column("expires_at", Integer, nullable=False),
    Column("max_uses", Integer, nullable=False),
    Column("uses", Integer, nullable=False),
    Column("wrong_auths", Integer, nullable=False),
    Column("revoked", Boolean, nullable=False),
    Column("password_salt", String, nullable=False),
    Column("created_at", Integer, nullable=False),
    Index("links_by_share", "share_id"),
)

redemptions = Table(
    "redemptions",
    metadata,
    Column("link_id", String(16), ForeignKey("links.link_id"), nullable=False),
    Column("identity", String(64), nullable=False),
    Column("redeemed_at", Integer, nullable=False),
    PrimaryKeyConstraint("link_id", "identity"),
)
"""Who has used a link: not counted twice, and no way back in for somebody an owner removed."""

requests = Table(
    "requests",
    metadata,
    _share(),
    Column("identity", String(64), ForeignKey("accounts.identity"), nullable=False),
    Column("message", String(200), nullable=False),
    Column("requested_at", Integer, nullable=False),
    Column("denied_at", Integer, nullable=False),
    PrimaryKeyConstraint("share_id", "identity"),
    Index("requests_by_identity", "identity"),
)
"""Who asks to be let in. ``denied_at`` is 0 while it is open; a denied one keeps its bearer quiet for a while."""

acceptances = Table(
    "acceptances",
    metadata,
    _share(),
    Column("identity", String(64), ForeignKey("accounts.identity"), nullable=False),
    Column("licence", String, nullable=False),
    Column("signature", String(128), nullable=False),
    Column("accepted_at", Integer, nullable=False),
    PrimaryKeyConstraint("share_id", "identity", "licence"),
)
"""Kept also when the licence changes or the member leaves: they are the owner's proof."""

unnamed_uploads = Table(
    "unnamed_uploads",
    metadata,
    _share(),
    Column("upload", String(80), nullable=False),
    Column("since", Integer, nullable=False),
    PrimaryKeyConstraint("share_id", "upload"),
)
"""Uploads that no signed targets named when they were looked at last; ``since`` is no date but a ``time_served``."""

audit = Table(
    "audit",
    metadata,
    Column("share_id", String(64), nullable=False),
    Column("seq", Integer, nullable=False),
    Column("at", Integer, nullable=False),
    Column("actor", String(64), nullable=False),
    Column("action", String(32), nullable=False),
    Column("subject", String, nullable=False),
    Column("chain", String(64), nullable=False),
    PrimaryKeyConstraint("share_id", "seq"),
    Index("audit_by_subject", "share_id", "action", "subject", "actor"),
)
"""Append-only, one log a share; ``chain`` covers the row and the previous row's chain."""
