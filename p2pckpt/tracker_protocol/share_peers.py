"""Who announced which address: what the tracker tells members of a share's swarms about each other."""

from __future__ import annotations

from typing import Final

import msgspec

from p2pckpt.tracker_protocol.swarms import Endpoint

MAX_SHARE_PEERS: Final = 2000


class SharePeer(msgspec.Struct, frozen=True):
    """``GET /api/v1/shares/{id}/peers``: one row an address, at most ``MAX_SHARE_PEERS``, needs downloader.

    Only addresses that the caller would be told in an announce, too, and that daemons announced as members.
    """

    identity: str
    """Who announced it."""
    address: Endpoint
