"""Members of a share, those who ask to become members, and what they have to accept first."""

from __future__ import annotations

from typing import Final

import msgspec

from p2pckpt.tracker_protocol.roles import Role

MAX_REQUEST_MESSAGE: Final = 200
"""Characters of what somebody who asks for access says about themselves."""
MAX_LICENCE: Final = 200
"""Characters of a licence that downloaders have to accept."""
ACCEPT_CONTEXT: Final = b"p2pckpt accept licence v1\0"


class Member(msgspec.Struct, frozen=True):
    """``GET /api/v1/shares/{id}/members`` (a list; needs downloader) and the body of a role change."""

    identity: str
    name: str
    role: Role
    receive_key: str
    receive_key_signature: str
    added_at: int
    link_id: str = ""
    """The link through which this member joined, empty when an owner added them."""
    binding: str = ""
    """What the joiner sent with the link: HMAC-SHA256(link secret, LINK_BIND_CONTEXT + identity + receive key)."""
    accepted_at: int = 0
    """When this member accepted the present licence; 0 for not yet, and where nothing is to be accepted."""


class SetMember(msgspec.Struct, frozen=True):
    """``PUT /api/v1/shares/{id}/members/{identity}``: add a member or change the role, needs owner.

    ``DELETE`` on the same path removes the member: passes die, peers are evicted, ``revoked`` is sent. Owners
    are whom the signed root names: it comes first, the role owner after it, and who stands there can be neither removed
    nor demoted (409).
    """

    role: Role


class RequestAccess(msgspec.Struct, frozen=True):
    """``POST /api/v1/shares/{id}/requests`` (any token): ask the owners to be let in.

    Answered with 202 whatever the id is and whoever asks, so that nobody learns from it which shares there are.
    """

    message: str = ""
    """At most ``MAX_REQUEST_MESSAGE`` printable characters; shown to owners, never trusted."""


class AccessRequest(msgspec.Struct, frozen=True):
    """``GET /api/v1/shares/{id}/requests`` (a list, needs owner): somebody who asks to be let in.

    ``PUT …/members/{identity}`` approves, ``DELETE …/requests/{identity}`` denies.
    """

    identity: str
    name: str
    receive_key: str
    receive_key_signature: str
    message: str
    requested_at: int
    removed_at: int = 0
    """When an owner last removed this identity from the share; 0 for never."""


class AcceptLicence(msgspec.Struct, frozen=True):
    """``POST /api/v1/shares/{id}/acceptance``: needs downloader; 409 when ``licence`` is not the present one."""

    licence: str
    signature: str
    """Ed25519 by the identity over ACCEPT_CONTEXT + raw share id + licence (UTF-8), hex."""
