"""Requests and replies about access: members, invitations, links, what owners decide and sign, the audit log.

As in ``messages``: sizes are bytes, times Unix seconds, and no logic lives here.
"""

from __future__ import annotations

import msgspec

from p2pckpt.tracker_protocol import Role, Visibility


class MemberRow(msgspec.Struct, frozen=True):
    identity: str
    words: str
    """The key as words to compare."""
    name: str
    role: Role
    added_at: int
    link_id: str
    me: bool
    accepted_at: int = 0
    """When they accepted the present licence; 0 for not yet, and where none has to be accepted."""


class SetMemberRequest(msgspec.Struct, frozen=True):
    """``POST /v1/members``."""

    share: str
    identity: str
    """Identity hex, or ``p2pckpt-id:…`` as ``key show`` prints it."""
    role: Role | None
    """Null removes the member."""


class AskRequest(msgspec.Struct, frozen=True):
    """``POST /v1/asks`` → AskReply: ask the owners of a share to be let in."""

    source: str
    """A link, with or without its secret, or the name of a share known here."""
    message: str = ""


class AskReply(msgspec.Struct, frozen=True):
    share_id: str
    words: str
    """Our own key as words: what the owner compares."""
    identity: str


class RequestRow(msgspec.Struct, frozen=True):
    """``GET /v1/requests?share=…`` (a list): somebody who asks to be let in."""

    identity: str
    words: str
    """The key as words to compare, over another way, with the person who asks."""
    name: str
    message: str
    requested_at: int
    removed_at: int
    """When an owner removed this identity before; 0 for never."""


class DecideRequest(msgspec.Struct, frozen=True):
    """``POST /v1/requests``: let somebody in who asked, or deny it."""

    share: str
    identity: str
    role: Role | None
    """Null denies."""


class InviteRequest(msgspec.Struct, frozen=True):
    """``POST /v1/invites`` → InviteReply: add somebody by key."""

    share: str
    identity: str
    """``p2pckpt-id:…``."""
    role: Role


class InviteReply(msgspec.Struct, frozen=True):
    link: str
    """Says where the share is; lets in nobody but the one who was added."""
    identity: str
    words: str


class LogRequest(msgspec.Struct, frozen=True):
    """``POST /v1/log`` → LogReply: read and verify a share's audit log."""

    share: str
    since: int = 0
    """Unix seconds; rows before are verified and left out."""
    limit: int = 1000
    """The newest so many rows."""
    anew: bool = False
    """Forget the end of the log that this machine saw before."""


class LogRow(msgspec.Struct, frozen=True):
    seq: int
    at: int
    actor: str
    """Identity; empty for the tracker and strangers."""
    actor_name: str
    """What they call themselves; unsanitised."""
    action: str
    subject: str
    subject_name: str
    """Name of the identity in ``subject``, or the version of the torrent; empty where there is none."""


class LogReply(msgspec.Struct, frozen=True):
    share: str
    rows: tuple[LogRow, ...]
    """Oldest first."""
    verified: int
    """Rows whose chain holds: all there are."""
    signed: int
    """The last row that the tracker has signed; later ones are signed within a minute."""
    signed_at: int


class MembersReply(msgspec.Struct, frozen=True):
    """What a change of one member led to."""

    members: tuple[MemberRow, ...]
    notes: tuple[str, ...]
    """Sentences for the owner: what else happened, and what is left to do."""


class TermsRequest(msgspec.Struct, frozen=True, kw_only=True):
    """``POST /v1/access``: change what owners decide for a share; null leaves a thing as it is."""

    share: str
    swarm_tls: bool | None = None
    licence: str | None = None
    """What downloaders have to accept first; empty for nothing."""
    threshold: int | None = None
    """Owners' signatures that a change of keys needs."""


class Access(msgspec.Struct, frozen=True):
    """``GET /v1/access?share=NAME``: who decides, reads and publishes, and how the share is kept from others."""

    share: str
    visibility: Visibility
    role: Role
    """Ours."""
    owners: tuple[str, ...]
    """Identities that sign changes of keys."""
    publishers: tuple[str, ...]
    """Others who may publish."""
    threshold: int
    epoch: int
    """Of the keys that new versions are sealed with; 0 when content is plain."""
    readers: int
    """Members whom an owner gave keys; who came by a link since the last epoch has them from there."""
    swarm_tls: bool
    licence: str
    fresh_until: int
    """Unix seconds until which the tracker vouches that nothing newer was there."""
    signed_at: int
    """When a publisher last signed what is there: a tracker can vouch for old files, and can't make this newer."""
    expires_at: int
    """When the first of root, targets and keyring runs out, unless it is signed anew."""
    proposals: tuple[Proposal, ...]
    """At most one of each owner."""

    @property
    def proposal(self) -> Proposal | None:
        """The one to look at next: one that this machine has not signed, if there is one."""
        return min(self.proposals, key=lambda each: each.signed, default=None)


class Proposal(msgspec.Struct, frozen=True):
    """A change of a share's keys that waits for owners' signatures."""

    owners_added: tuple[str, ...]
    owners_removed: tuple[str, ...]
    publishers_added: tuple[str, ...]
    publishers_removed: tuple[str, ...]
    threshold: int
    missing: int
    signed: bool
    """By this machine."""
    digest: str
    """Names exactly this change, with the signatures it has: what ``sign`` is asked to sign."""


class SignReply(msgspec.Struct, frozen=True):
    """``POST /v1/access/sign?share=NAME&digest=…``."""

    in_force: bool


class LinkRow(msgspec.Struct, frozen=True):
    link_id: str
    share: str
    role: Role
    expires_at: int
    max_uses: int
    uses: int
    created_at: int
    revoked: bool
    burnt: bool = False
    """Wrong secrets or passwords have ended it."""

    def state(self, now: float) -> str:
        """``open``, or why nobody joins with it any more."""
        if self.burnt:
            return "burnt"
        if self.revoked:
            return "revoked"
        if self.expires_at and self.expires_at <= now:
            return "expired"
        return "used up" if self.max_uses and self.uses >= self.max_uses else "open"


class CreateLinkRequest(msgspec.Struct, frozen=True, kw_only=True):
    """``POST /v1/links`` → LinkReply."""

    share: str
    role: Role = Role.DOWNLOADER
    expires_at: int = 0
    max_uses: int = 0
    password: str = ""


class LinkReply(msgspec.Struct, frozen=True):
    link: str
    web_link: str
    """The https form; empty when the tracker has no certificate that a browser would accept."""
    reach: str
    """Who can reach the tracker in it, one sentence."""
    magnets: tuple[str, ...] = ()
    """Of the newest version of a public share, for stock BitTorrent clients."""


# --- leaving a share ------------------------------------------------------------------------------------------------


class LeavePlan(msgspec.Struct, frozen=True):
    """``GET /v1/leave?share=NAME``: what leaving would mean. Changes nothing."""

    share_id: str
    share: str
    role: Role
    jobs: tuple[str, ...]
    """Those that would end."""
    stored: int
    """Bytes of its objects on this machine."""
    alone: tuple[int, ...]
    """Versions that are whole here, and that nobody else is known to seed."""
    consequences: tuple[str, ...]
    """Sentences for people, most important first; warnings begin with ``!``."""
    link: str
    """By which a member comes back; it lets nobody else in. Empty when the tracker does not run."""
    pinned: tuple[int, ...] = ()
    """Versions that are pinned here: it is left only by who says that they may go."""


class Freed(msgspec.Struct, frozen=True):
    """``DELETE /v1/versions/NAME@VERSION``: its objects are not here any more."""

    freed: int
    """Bytes."""


class LeaveReply(msgspec.Struct, frozen=True):
    """``POST /v1/leave?share=NAME``: the share is not known here any more, and its data is deleted."""

    share_id: str
    share: str
    freed: int
    """Bytes."""
