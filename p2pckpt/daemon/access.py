"""What the daemon answers about access: requests to be let in, invitations, licences, and the audit log."""

from __future__ import annotations

import contextlib
import re

from p2pckpt import tracker_protocol as tp
from p2pckpt.control import access_messages as am
from p2pckpt.control import messages as m
from p2pckpt.daemon.feed import Feed
from p2pckpt.errors import NotFound, P2pckptError
from p2pckpt.jobs.audit import read_log
from p2pckpt.jobs.services import Services
from p2pckpt.tracker_protocol.audit_log import AuditAction, AuditRow
from p2pckpt.trust import identity as identities
from p2pckpt.trust.identity import PublicIdentity

_IDENTITY = re.compile("[0-9a-f]{64}")


class Access:
    """One method a request of ``control.client``. Raises ``P2pckptError``s."""

    def __init__(self, services: Services, feed: Feed) -> None:
        self._services = services
        self._feed = feed
        self._asked: dict[str, str] = {}
        """Share id → tracker, where we asked to be let in and wait for the answer."""

    # -- asking to be let in

    async def ask(self, request: am.AskRequest) -> am.AskReply:
        """Ask the owners of the share behind a link. Nobody learns from the answer whether there is such a share."""
        entrance, own = self._services.entrance, self._services.identity
        share_id, tracker = entrance.whereabouts(request.source)
        # listening begins before asking: an owner may answer at once
        self._asked[share_id.hex()] = tracker
        self._services.swarms.follow(tracker)
        await entrance.ask_for_access(share_id, tracker, request.message)
        await self._look(share_id.hex())
        return am.AskReply(share_id.hex(), identities.words(own.public_bytes), own.hex)

    async def requests(self, name: str) -> list[am.RequestRow]:
        """Who asks to be let into a share of ours."""
        share = self._services.shares.find(name)
        return [
            am.RequestRow(
                identity=request.identity,
                words=identities.words(public.identity),
                name=request.name,
                message=request.message,
                requested_at=request.requested_at,
                removed_at=request.removed_at,
            )
            for request, public in await self._services.members.requests(share)
        ]

    async def decide(self, request: am.DecideRequest) -> None:
        """Let somebody in who asked, or deny it. Keys are sealed to the receive key that this very identity signed."""
        shares = self._services.shares
        share = shares.find(request.share)
        found = {public.identity.hex(): public for _, public in await self._services.members.requests(share)}
        if request.identity not in found:
            raise NotFound(
                f"{request.identity[:12]} does not ask for access", next_step=f"p2pckpt member requests {share.name}"
            )
        if request.role is None:
            await shares.client(share).deny_request(share.share_id.hex(), request.identity)
            return
        await self._services.members.set(share, found[request.identity].text, request.role)

    async def invite(self, request: am.InviteRequest) -> am.InviteReply:
        """Add somebody by key; the link to send lets nobody else in."""
        shares = self._services.shares
        share = shares.find(request.share)
        public = PublicIdentity.parse(request.identity)
        await self._services.members.set(share, public.text, request.role)
        link = await self._services.link_book.plain(share)
        return am.InviteReply(link.text, public.identity.hex(), identities.words(public.identity))

    async def on_tracker_event(self, tracker: str, event: tp.TrackerEvent) -> None:
        """Tell owners who asks, and those who asked that they are in."""
        if isinstance(event, tp.AccessRequested):
            share = self._services.catalogue.share(bytes.fromhex(event.share_id))
            if share is not None:
                text = f"{event.name or 'somebody'} ({event.identity[:8]}) asks to be let into {share.name}"
                self._feed.send(m.Notice("info", f"{text}: p2pckpt member requests {share.name}"))
            return
        # a stream that begins may have missed the answer
        share_ids = list(self._asked) if isinstance(event, tp.Hello) else [getattr(event, "share_id", "")]
        for share_id in share_ids:
            if self._asked.get(share_id) == tracker:
                await self._look(share_id)

    async def _look(self, share_id: str) -> None:
        """Whether somebody let us in by now; if so, say it once."""
        tracker, is_in = self._asked.get(share_id), False
        with contextlib.suppress(P2pckptError):
            is_in = tracker is not None and await self._services.entrance.is_let_in(bytes.fromhex(share_id), tracker)
        if is_in and self._asked.pop(share_id, None) is not None:
            self._feed.send(m.AccessGranted(share_id))
            self._feed.send(m.Notice("info", f"you were let into the share {share_id[:12]}: fetch it now"))

    # -- the log

    async def log(self, request: am.LogRequest) -> am.LogReply:
        """A share's audit log, verified."""
        services = self._services
        share = services.shares.find(request.share)
        log = await read_log(
            services.shares,
            services.layout,
            share,
            since=request.since,
            limit=request.limit,
            anew=request.anew,
        )
        names = {member.identity: member.name for member in await services.members.all(share)}
        trusted = await services.shares.trusted(share)
        versions = {target.infohash: f"v{number}" for number, target in trusted.targets.versions.items()}
        return am.LogReply(
            share=share.name,
            rows=tuple(
                am.LogRow(
                    seq=row.seq,
                    at=row.at,
                    actor=row.actor,
                    actor_name=names.get(row.actor, ""),
                    action=row.action,
                    subject=row.subject,
                    subject_name=_name_of(row, names, versions),
                )
                for row in log.rows
            ),
            verified=log.head.seq,
            signed=log.signed.log.seq,
            signed_at=log.signed.at,
        )


def _name_of(row: AuditRow, names: dict[str, str], versions: dict[str, str]) -> str:
    """What a person calls the identity or torrent in a row's subject."""
    word = row.subject.partition(" ")[0]
    if not _IDENTITY.fullmatch(word):
        return ""
    return versions.get(word, "") if row.action == AuditAction.FETCHED else names.get(word, "")
