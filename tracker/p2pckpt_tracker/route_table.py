"""Every route of the API with the least that a caller must be. What is not listed here does not exist."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from p2pckpt.tracker_protocol import API, BlobKind, Role


class Who(Enum):
    """Callers that need no role in a share."""

    ANYONE = "anyone"
    ACCOUNT = "account"
    """Anybody with a valid token."""


class Route(NamedTuple):
    """One operation; ``name`` is also the name of the function that serves it."""

    name: str
    method: str
    path: str
    need: Role | Who
    licence: bool = False
    """Whether downloaders must have accepted the share's licence first."""


_SHARE = f"{API}/shares/{{share}}"
_BLOB = f"{_SHARE}/blobs"

ROUTES: tuple[Route, ...] = (
    Route("tracker_info", "GET", f"{API}/tracker", Who.ANYONE),
    Route("make_challenge", "POST", f"{API}/challenges", Who.ANYONE),
    Route("log_in", "POST", f"{API}/tokens", Who.ANYONE),
    Route("list_shares", "GET", f"{API}/shares", Who.ACCOUNT),
    Route("create_share", "POST", f"{API}/shares", Who.ACCOUNT),
    Route("show_share", "GET", _SHARE, Role.VIEWER),
    Route("read_metadata", "GET", f"{_SHARE}/metadata/{{file}}", Role.VIEWER),
    Route("publish_targets", "POST", f"{_SHARE}/targets", Role.PUBLISHER),
    Route("publish_keyring", "POST", f"{_SHARE}/keyring", Role.OWNER),
    Route("publish_root", "POST", f"{_SHARE}/root", Role.OWNER),
    Route("propose_root", "PUT", f"{_SHARE}/proposal", Role.OWNER),
    Route("read_proposal", "GET", f"{_SHARE}/proposal", Role.OWNER),
    Route("withdraw_proposal", "DELETE", f"{_SHARE}/proposal", Role.OWNER),
    Route("put_manifest", "PUT", f"{_BLOB}/{BlobKind.MANIFEST}/{{blob}}", Role.PUBLISHER),
    Route("put_torrent", "PUT", f"{_BLOB}/{BlobKind.TORRENT}/{{blob}}", Role.PUBLISHER),
    Route("put_card", "PUT", f"{_BLOB}/{BlobKind.CARD}/{{blob}}", Role.PUBLISHER),
    Route("get_manifest", "GET", f"{_BLOB}/{BlobKind.MANIFEST}/{{blob}}", Role.VIEWER),
    Route("get_torrent", "GET", f"{_BLOB}/{BlobKind.TORRENT}/{{blob}}", Role.DOWNLOADER, licence=True),
    Route("get_card", "GET", f"{_BLOB}/{BlobKind.CARD}/{{blob}}", Role.VIEWER),
    Route("list_members", "GET", f"{_SHARE}/members", Role.DOWNLOADER),
    Route("set_member", "PUT", f"{_SHARE}/members/{{identity}}", Role.OWNER),
    Route("remove_member", "DELETE", f"{_SHARE}/members/{{identity}}", Role.OWNER),
    Route("request_access", "POST", f"{_SHARE}/requests", Who.ACCOUNT),
    Route("list_requests", "GET", f"{_SHARE}/requests", Role.OWNER),
    Route("deny_request", "DELETE", f"{_SHARE}/requests/{{identity}}", Role.OWNER),
    Route("accept_licence", "POST", f"{_SHARE}/acceptance", Role.DOWNLOADER),
    Route("read_log", "GET", f"{_SHARE}/log", Role.OWNER),
    Route("create_link", "POST", f"{_SHARE}/links", Role.OWNER),
    Route("list_links", "GET", f"{_SHARE}/links", Role.OWNER),
    Route("rewrap_link", "PUT", f"{_SHARE}/links/{{link}}", Role.OWNER),
    Route("revoke_link", "DELETE", f"{_SHARE}/links/{{link}}", Role.OWNER),
    Route("link_info", "GET", f"{API}/links/{{link}}", Who.ACCOUNT),
    Route("redeem_link", "POST", f"{API}/links/{{link}}/redeem", Who.ACCOUNT),
    Route("issue_certificate", "POST", f"{_SHARE}/certificate", Role.DOWNLOADER, licence=True),
    Route("make_pass", "POST", f"{_SHARE}/pass", Role.DOWNLOADER, licence=True),
    Route("list_peers", "GET", f"{_SHARE}/peers", Role.DOWNLOADER, licence=True),
    Route("announce", "POST", f"{API}/announce", Who.ACCOUNT),
    Route("stream_events", "GET", f"{API}/events", Who.ACCOUNT),
)
