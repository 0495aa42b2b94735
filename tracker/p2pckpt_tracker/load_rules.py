"""Fills the access rules from the database at start."""

from __future__ import annotations

import time

from sqlalchemy import Connection, select

from p2pckpt.tracker_protocol import Role, Visibility

from .access_rules import AccessRules, Pass, ShareGrants, Token
from .store.acceptance_rows import accepted
from .store.tables import members, passes, shares, swarm_authorities, tokens, torrents


def load_rules(connection: Connection) -> AccessRules:
    """All grants, published torrents, and the tokens and passes that are still valid."""
    rules = AccessRules()
    now = int(time.time())
    for share in connection.execute(select(shares.c.share_id, shares.c.visibility, shares.c.licence)):
        grants = rules.shares[share.share_id] = ShareGrants(Visibility(share.visibility), licence=share.licence)
        if share.licence:
            grants.accepted = accepted(connection, share.share_id, share.licence)
    for member in connection.execute(select(members.c.share_id, members.c.identity, members.c.role)):
        rules.shares[member.share_id].members[member.identity] = Role(member.role)
    for torrent in connection.execute(select(torrents.c.share_id, torrents.c.info_hash)):
        rules.add_torrents(torrent.share_id, [torrent.info_hash])
    for each in connection.execute(select(swarm_authorities.c.share_id, swarm_authorities.c.generation)):
        rules.shares[each.share_id].authority = each.generation
    for token in connection.execute(select(tokens).where(tokens.c.expires_at > now)):
        rules.tokens[token.digest] = Token(token.identity, token.expires_at)
    for each in connection.execute(select(passes).where(passes.c.expires_at > now)):
        rules.passes[each.digest] = Pass(each.share_id, each.identity, each.expires_at)
    return rules
