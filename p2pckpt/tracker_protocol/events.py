"""What the tracker tells by itself: ``GET /api/v1/events``, one JSON object a line (application/x-ndjson)."""

from __future__ import annotations

from typing import Final

import msgspec

from p2pckpt.tracker_protocol.roles import Role
from p2pckpt.tracker_protocol.swarms import Endpoint

MAX_EVENT_GAP: Final = 15
"""Seconds after which an event stream without an event carries a ``ping``."""


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """First line of every stream."""

    tracker_id: str


class Ping(msgspec.Struct, frozen=True, tag="ping"):
    """Nothing happened; the stream lives."""


class TargetsChanged(msgspec.Struct, frozen=True, tag="targets"):
    """A version was published or a tag moved."""

    share_id: str
    targets_version: int


class RootProposed(msgspec.Struct, frozen=True, tag="proposal"):
    """A change of the share's keys waits for another owner's signature. Sent to owners."""

    share_id: str


class MembersChanged(msgspec.Struct, frozen=True, tag="members"):
    """Somebody joined, left, or got another role. Sent to owners, and to the member concerned."""

    share_id: str
    identity: str
    role: Role | None
    """Null when the member is gone."""


class PeersFound(msgspec.Struct, frozen=True, tag="peers"):
    """New peers in a swarm this member takes part in: no waiting for the next announce."""

    info_hash: str
    peers: list[Endpoint]


class Revoked(msgspec.Struct, frozen=True, tag="revoked"):
    """This member's access to a share is gone."""

    share_id: str


class AccessRequested(msgspec.Struct, frozen=True, tag="request"):
    """Somebody asks to be let in. Sent to owners."""

    share_id: str
    identity: str
    name: str


class AccessChanged(msgspec.Struct, frozen=True, tag="access"):
    """What owners see of a share besides its members is another: links, requests, proposals, accepted licences. Sent
    to owners."""

    share_id: str


class AuthorityChanged(msgspec.Struct, frozen=True, tag="authority"):
    """Somebody lost the right to download: certificates of earlier generations are void, connections are to be
    made anew with a new one."""

    share_id: str
    generation: int


TrackerEvent = (
    Hello
    | Ping
    | TargetsChanged
    | RootProposed
    | MembersChanged
    | PeersFound
    | Revoked
    | AccessRequested
    | AccessChanged
    | AuthorityChanged
)
