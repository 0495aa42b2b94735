"""What the tracker and its clients say to each other: routes, messages, roles and limits.

This package is all of the client that the tracker imports; ``signed`` and ``audit_log`` hold what both compute alike.
JSON bodies are msgspec structs; ``bytes`` fields travel as base64. Everything that is signed (TUF metadata, manifests,
torrents) travels as the exact bytes that were signed. docs/tracker-protocol.md tells the story; this is the authority.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

API: Final = "/api/v1"
TOKEN_PREFIX: Final = "p2pt_"  # noqa: S105 - marks a token, is none
PASS_PREFIX: Final = "p2pp_"  # noqa: S105 - marks a pass, is none
PUBLIC_PASS: Final = "public"  # noqa: S105 - in a pass's place in BEP 3: anonymous, public shares only

MAX_JSON_BODY: Final = 1 << 20
"""Bytes of a JSON request body."""
MAX_METADATA: Final = 4 << 20
"""Bytes of one TUF file."""
MAX_MANIFEST: Final = 64 << 20
MAX_TORRENT: Final = 64 << 20
MAX_CARD: Final = 1 << 20
"""Bytes of one sealed manifest, .torrent file and card (README.md)."""
MAX_REQUEST_MESSAGE: Final = 200
"""Characters of what somebody who asks for access says about themselves."""
MAX_LICENCE: Final = 200
"""Characters of a licence that downloaders have to accept."""
MAX_SWARMS_PER_ANNOUNCE: Final = 256
MAX_ADDRESSES: Final = 16

PASS_LIFETIME: Final = 24 * 3600
"""Seconds an announce pass is valid."""
CERTIFICATE_LIFETIME: Final = 24 * 3600
"""Seconds a member's certificate for the swarms of a share is valid."""
TOKEN_LIFETIME: Final = 30 * 24 * 3600
"""Seconds an account token is valid."""
CHALLENGE_LIFETIME: Final = 60
"""Seconds within which a challenge must come back signed."""
MAX_EVENT_GAP: Final = 15
"""Seconds after which an event stream without an event carries a ``ping``."""

LOGIN_CONTEXT: Final = b"p2pckpt login v2\0"
RECEIVE_KEY_CONTEXT: Final = b"p2pckpt receive key v1\0"
LINK_AUTH_CONTEXT: Final = b"p2pckpt link auth v1\0"
LINK_WRAP_CONTEXT: Final = b"p2pckpt link wrap v1\0"
LINK_BIND_CONTEXT: Final = b"p2pckpt link bind v1\0"
ACCEPT_CONTEXT: Final = b"p2pckpt accept licence v1\0"

MANIFEST_TARGET_PREFIX: Final = "v/"
"""A version's manifest is the TUF target ``v/<number>``."""
KEYRING_ROLE: Final = "keyring"
SIGNED_EXTENSION: Final = "p2pckpt"
"""The field in signed root, targets, keyring and timestamp metadata that holds what is ours (trust/versions.py)."""


class Role(StrEnum):
    """What a member may do; each role may do all that the ones before it may."""

    VIEWER = "viewer"
    DOWNLOADER = "downloader"
    PUBLISHER = "publisher"
    OWNER = "owner"

    @property
    def rank(self) -> int:
        return list(Role).index(self)

    def covers(self, needed: Role) -> bool:
        """Whether a member with this role may do what needs ``needed``."""
        return self.rank >= needed.rank


class Visibility(StrEnum):
    """Who a share is for."""

    MEMBERS = "members"
    """Only members that an owner added."""
    LINK = "link"
    """Members, and whoever redeems a link. Content is sealed."""
    PUBLIC = "public"
    """Anyone with an account may view and download; content is plain."""


class SwarmEvent(StrEnum):
    """BEP 3's announce events."""

    NONE = ""
    STARTED = "started"
    STOPPED = "stopped"
    COMPLETED = "completed"


# --- the tracker itself and accounts -------------------------------------------------------------------------


class TrackerInfo(msgspec.Struct, frozen=True):
    """``GET /api/v1/tracker`` (no token)."""

    tracker_id: str
    """Random, 32 hex digits, made at first start; signed into every login."""
    version: str
    online_key: str
    """Ed25519 public key, hex: signs snapshot and timestamp of every share here."""
    announce_url: str
    """Base of BEP 3 announces for stock clients, without the pass; empty when that listener is off."""
    new_shares: str
    """``open`` or ``listed``: who may create shares."""


class ChallengeReply(msgspec.Struct, frozen=True):
    """``POST /api/v1/challenges`` (no token, no body)."""

    challenge: str
    """Hex; single use, valid for ``CHALLENGE_LIFETIME``."""


class LoginRequest(msgspec.Struct, frozen=True):
    """``POST /api/v1/tokens``: proves possession of an identity, makes the account if there is none."""

    identity: str
    """Ed25519 public key, hex. It is the account's and the member's id everywhere."""
    receive_key: str
    """X25519 public key, hex: what content keys are sealed to."""
    receive_key_signature: str
    """Ed25519 over RECEIVE_KEY_CONTEXT + raw receive key, hex."""
    name: str
    """What the person calls themselves, ≤64 characters; shown, never trusted."""
    challenge: str
    signature: str
    """Ed25519 over ``login_message``, hex."""
    certificate: str = ""
    """SHA-256 of the TLS certificate that the client was shown, hex; empty over plain HTTP."""


def login_message(tracker_id: str, challenge: str, certificate: str) -> bytes:
    """What a login signs. The certificate stands first: whatever a tracker sends as its id and challenge, a login made
    over a connection with one certificate is none for a tracker that shows another."""
    return LOGIN_CONTEXT + b"\0".join(each.encode() for each in (certificate, tracker_id, challenge))


class TokenReply(msgspec.Struct, frozen=True):
    token: str
    expires_at: int
    """Unix seconds."""


# --- shares ---------------------------------------------------------------------------------------------------


class CreateShare(msgspec.Struct, frozen=True):
    """``POST /api/v1/shares``: a new share from its first signed files; the caller becomes its owner.

    The tracker checks: share id is SHA-256(root), root version 1 is signed by its own root keys and by the
    caller's identity among them, snapshot and timestamp name the tracker's online key, targets and keyring
    verify. It then signs snapshot 1 and timestamp 1.
    """

    root: bytes
    targets: bytes
    keyring: bytes
    visibility: Visibility


class ShareRecord(msgspec.Struct, frozen=True):
    """One share as its members see it: ``GET /api/v1/shares/{id}``; a page of them: ``GET /api/v1/shares``."""

    share_id: str
    """SHA-256 of root version 1, hex."""
    name: str
    """From the signed root: ``cars/sd15``."""
    visibility: Visibility
    owner: str
    role: Role
    """The caller's own role."""
    targets_version: int
    versions: int
    created_at: int
    updated_at: int
    torrent_name: str
    """The name all torrents of this share carry."""
    licence_due: str = ""
    """What the caller must accept before a pass, a torrent or a certificate is given; empty for nothing."""


class SharePage(msgspec.Struct, frozen=True):
    """``GET /api/v1/shares?after=…&limit=…&query=…``: shares the caller may view, ordered by id."""

    shares: list[ShareRecord]
    next: str | None
    """Pass as ``after`` for the next page; null at the end."""


# TUF files:      GET  /api/v1/shares/{id}/metadata/{file}   needs viewer; raw bytes
#                 file: N.root.json, timestamp.json, N.snapshot.json, N.targets.json, N.keyring.json
# blobs:          PUT  /api/v1/shares/{id}/blobs/{kind}/{sha256}   needs publisher; raw body, idempotent
#                 GET  …                                           manifest and card: viewer; torrent: downloader
#                 kind: manifest, torrent, card; for a torrent the name is its v2 infohash


class BlobKind(StrEnum):
    MANIFEST = "manifest"
    TORRENT = "torrent"
    CARD = "card"


class PublishTargets(msgspec.Struct, frozen=True):
    """``POST /api/v1/shares/{id}/targets``: new versions or moved tags, needs publisher; retired ones, needs owner.

    Compare-and-swap: the signed version must be the current one plus one, else 409 and nothing changes. Every
    new target's manifest and torrent must have been uploaded.
    """

    targets: bytes
    earlier: int = 0
    """Number of the targets that listed what these list again: retired versions that an owner takes back."""


class PublishKeyring(msgspec.Struct, frozen=True):
    """``POST /api/v1/shares/{id}/keyring``: a new keyring, needs owner; compare-and-swap as for targets."""

    keyring: bytes


class PublishRoot(msgspec.Struct, frozen=True):
    """``POST /api/v1/shares/{id}/root``: the next root, signed by the old and the new keys, needs owner.

    What has to change with it comes along and counts at the same moment: targets when owners change, because they
    delegate the keyring to the root's keys, and a keyring that a leaving owner had signed.
    """

    root: bytes
    targets: bytes = b""
    """Empty: the present ones stay."""
    keyring: bytes = b""
    """Empty: the present one stays."""


class RootProposal(msgspec.Struct, frozen=True):
    """``PUT /api/v1/shares/{id}/proposal``, needs owner: a next root that needs more owners' signatures.

    One of each owner at a time; a newer one of the same owner takes its place, and any new root ends all. What says the
    same as another's proposal adds its signatures to that one. ``DELETE`` withdraws the caller's own.
    """

    root: bytes


class RootProposals(msgspec.Struct, frozen=True):
    """``GET /api/v1/shares/{id}/proposal``, needs owner: next roots that wait for signatures; one of them can win."""

    roots: list[bytes]


class PublishReply(msgspec.Struct, frozen=True):
    targets_version: int
    snapshot_version: int
    timestamp_version: int


# --- members ----------------------------------------------------------------------------------------------------


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


# --- links -------------------------------------------------------------------------------------------------------


class CreateLink(msgspec.Struct, frozen=True):
    """``POST /api/v1/shares/{id}/links``: register a link made by the client, needs owner.

    The tracker learns neither the secret nor the keys: only SHA-256 of what a redeemer must show, and the
    content keys wrapped under another key derived from the secret.
    """

    link_id: str
    """16 hex digits, random."""
    auth_hash: str
    """SHA-256 of the 32-byte auth value, hex."""
    wrapped_keys: bytes
    role: Role
    """viewer or downloader."""
    expires_at: int = 0
    """Unix seconds; 0 for never."""
    max_uses: int = 0
    """0 for any number."""
    password_salt: str = ""
    """Hex; not empty when a password joins the secret (Argon2id, parameters fixed by the client)."""


class RewrapLink(msgspec.Struct, frozen=True):
    """``PUT /api/v1/shares/{id}/links/{link_id}``: the newest content keys under the same secret, needs owner."""

    wrapped_keys: bytes


class LinkRecord(msgspec.Struct, frozen=True):
    """``GET /api/v1/shares/{id}/links`` (a list, needs owner); ``DELETE …/links/{link_id}`` revokes one."""

    link_id: str
    role: Role
    expires_at: int
    max_uses: int
    uses: int
    created_at: int
    revoked: bool
    """Whether nobody can join with it any more, because an owner said so or because it was burnt."""
    burnt: bool = False
    """Whether wrong secrets or passwords were what ended it."""


class LinkInfo(msgspec.Struct, frozen=True):
    """``GET /api/v1/links/{link_id}`` (any token): what a client must know before it can redeem."""

    share_id: str
    password_salt: str


class RedeemLink(msgspec.Struct, frozen=True):
    """``POST /api/v1/links/{link_id}/redeem`` (any token): join the link's share with the link's role.

    Redeeming again as a member counts no second use and never lowers a role. After 5 wrong auth values the link
    is burnt.
    """

    auth: str
    """The 32-byte auth value, hex."""
    binding: str
    """HMAC-SHA256(link secret, LINK_BIND_CONTEXT + identity + receive key), hex: proves to the owner that this
    key came with the secret."""


class RedeemReply(msgspec.Struct, frozen=True):
    share_id: str
    role: Role
    wrapped_keys: bytes


# --- requests for access and licences ------------------------------------------------------------------------------


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


# --- swarms ------------------------------------------------------------------------------------------------------


class PassReply(msgspec.Struct, frozen=True):
    """``POST /api/v1/shares/{id}/pass``: the right to announce in this share's swarms, needs downloader."""

    announce_pass: str
    expires_at: int


class IssueCertificate(msgspec.Struct, frozen=True):
    """``POST /api/v1/shares/{id}/certificate``: the right to connect to peers of this share, needs downloader.

    For shares that are not public; 409 for those that are. The certificate's DNS name is the share's
    ``torrent_name``, its common name the member's identity. Nobody but peers of this share accepts it.
    """

    public_key: bytes
    """P-256, DER (SubjectPublicKeyInfo)."""


class CertificateReply(msgspec.Struct, frozen=True):
    certificate: str
    """PEM."""
    authority: str
    """PEM: what certificates of other members are checked against."""
    generation: int
    """Of the authority: it is replaced when somebody loses the right to download, and everybody reconnects."""
    issued_at: int
    """Unix seconds by the tracker's clock; for peers whose clocks run behind, validity begins an hour earlier."""
    expires_at: int


class Endpoint(msgspec.Struct, frozen=True, order=True):
    """Where a peer accepts connections."""

    host: str
    """A literal IPv4 or IPv6 address."""
    port: int


class SwarmState(msgspec.Struct, frozen=True):
    """One swarm in an announce of a daemon."""

    info_hash: str
    """v2 infohash, 64 hex digits."""
    announce_pass: str
    left: int
    """Bytes still wanted; 0 makes this peer a seed of what it holds."""
    event: SwarmEvent = SwarmEvent.NONE
    uploaded: int = 0
    downloaded: int = 0
    partial_seed: bool = False
    """BEP 21: complete for its own purposes, but without the whole torrent."""


class AnnounceRequest(msgspec.Struct, frozen=True):
    """``POST /api/v1/announce`` (token): every swarm of one daemon at once, with the addresses it can be reached at.

    Stock clients use BEP 3 instead: ``GET /announce/<pass>?info_hash=…`` on the announce listener.
    """

    peer_id: str
    """40 hex digits, one per daemon run."""
    port: int
    """Where peers connect to in these swarms; the address that the tracker sees is combined with it. A daemon
    listens for TLS on a port of its own, and announces swarms with and without it apart."""
    addresses: list[Endpoint]
    """LAN, mapped and configured public addresses of this daemon."""
    swarms: list[SwarmState]


class SwarmReply(msgspec.Struct, frozen=True):
    info_hash: str
    seeds: int
    leechers: int
    peers: list[Endpoint]
    failure: str = ""
    """Why this one was refused (no such pass, revoked, not a swarm of that share); the others stand."""
    authority: int = 0
    """Present generation of the share's certificate authority; 0 where there is none."""


class AnnounceReply(msgspec.Struct, frozen=True):
    interval: int
    """Seconds until the next announce is due; events come over the stream meanwhile."""
    observed: str
    """The caller's address as the tracker sees it."""
    swarms: list[SwarmReply]


# --- events: GET /api/v1/events, one JSON object a line (application/x-ndjson) ----------------------------------


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


# --- errors ------------------------------------------------------------------------------------------------------


class Problem(msgspec.Struct, frozen=True):
    """RFC 9457, ``application/problem+json``: the body of every 4xx and 5xx of the API."""

    type: str
    """``about:blank`` or one of ``PROBLEM_*``."""
    title: str
    status: int
    detail: str = ""


PROBLEM_CONFLICT: Final = "urn:p2pckpt:conflict"
PROBLEM_LINK_SPENT: Final = "urn:p2pckpt:link-spent"
PROBLEM_BAD_SIGNATURE: Final = "urn:p2pckpt:bad-signature"
PROBLEM_NOT_LISTED: Final = "urn:p2pckpt:not-listed"
PROBLEM_LICENCE: Final = "urn:p2pckpt:licence"
"""403: the licence has to be accepted first; ``detail`` is the licence."""
