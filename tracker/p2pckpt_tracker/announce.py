"""Announces: one decision for both doors, and the BEP 3 door itself (plain HTTP, for stock clients).

pass → member and share → role → is the torrent one of that share → swarm. Everything is in memory, so announces
go on while the database can't be written. The API's door is in ``api/swarm_routes.py``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

import structlog
from aiohttp import web

from p2pckpt.tracker_protocol import (
    PUBLIC_PASS,
    AnnounceRequest,
    Endpoint,
    SwarmEvent,
    SwarmReply,
    SwarmState,
)
from p2pckpt.tracker_protocol.share_peers import MAX_SHARE_PEERS, SharePeer

from .access_rules import AccessRules
from .dial_back import DialBack
from .fetch_log import FetchLog
from .peer_address import Address, Network, Reach, endpoint, observed, reach
from .rate_limit import RateLimit
from .swarm import Asker, DaemonPeer, Swarm, peer_key
from .swarms import SwarmKey, Swarms, seed_kind
from .wire import (
    DEFAULT_NUMWANT,
    BadAnnounce,
    announce_reply,
    failure_reply,
    parse_announce,
    parse_scrape,
    scrape_reply,
)

MIN_INTERVAL = 60
"""Seconds; what stock clients are told at least to wait."""
ANONYMOUS_MEMBERS = 4096
"""Peers without an account that a swarm holds at most: each is one of so many members, by a hash of its peer id, and
two that fall together replace each other."""
_FIRST_ANONYMOUS = (1 << 32) - ANONYMOUS_MEMBERS
_ANONYMOUS_BURST, _ANONYMOUS_EVERY = 200, 0.5
"""Announces without an account that one address (an IPv6 /64) may make at once, and then seconds for each more."""

_log = structlog.get_logger(__name__)


class Refused(Exception):
    """The announce is not allowed; the text is for the client's user and names nothing secret."""


class Admission(NamedTuple):
    """What a pass allows for one torrent."""

    identity: str
    member: int
    key: SwarmKey
    info_hash: bytes
    """All 32 bytes."""


class AnnounceDesk:
    """Admits peers to swarms and hands out partners."""

    def __init__(
        self,
        rules: AccessRules,
        swarms: Swarms,
        dial_back: DialBack,
        interval: int,
        proxies: Sequence[Network],
        fetches: FetchLog,
    ) -> None:
        self._rules = rules
        self._swarms = swarms
        self._dial_back = dial_back
        self._interval = interval
        self._proxies = proxies
        self._fetches = fetches
        self._anonymous = RateLimit(_ANONYMOUS_BURST, _ANONYMOUS_EVERY)
        self.answered = 0
        self.refused = 0

    def interval(self) -> int:
        """Seconds until the next announce, up to a tenth longer so that a swarm does not come all at once."""
        return self._interval + random.randrange(self._interval // 10 + 1)

    def seen(self, request: web.BaseRequest) -> Address | None:
        """Where a request comes from; None only for sockets without an IP address."""
        forwarded = request.headers.getall("X-Forwarded-For", ()) if self._proxies else ()
        return observed(request.remote or "", forwarded, self._proxies)

    def admit(self, announce_pass: str, info_hash: bytes) -> Admission:
        """The decision. Raises Refused."""
        known = self._rules.pass_of(announce_pass)
        if known is None:
            raise Refused("pass unknown, expired or revoked")
        short = self._rules.torrent(known.share_id, info_hash)
        if short is None:
            raise Refused("not a torrent of this share")
        whole = self._rules.shares[known.share_id].torrents[short]
        member = self._rules.member_number(known.identity)
        return Admission(known.identity, member, SwarmKey(known.share_id, short), whole)

    def announce(self, announce_pass: str, raw_query: str, seen: Address) -> bytes:
        """A BEP 3 announce, answered. Raises Refused, BadAnnounce."""
        if announce_pass == PUBLIC_PASS:
            self._count_anonymous(seen)
        asked = parse_announce(raw_query)
        if announce_pass == PUBLIC_PASS:
            identity, member, key, whole = self._admit_anonymous(asked.info_hash, asked.peer_id)
            entry = peer_key(member, b"")
        else:
            identity, member, key, whole = self.admit(announce_pass, asked.info_hash)
            entry = peer_key(member, asked.peer_id)
        swarm = self._swarms.open(key)
        kind = seed_kind(asked.left, asked.partial_seed)
        asker = Asker(member, kind, seen)
        peers = peers6 = b""
        if asked.event is SwarmEvent.STOPPED:
            swarm.remove(entry)
        else:
            completed = asked.event is SwarmEvent.COMPLETED
            if completed and identity:
                self._fetches.add(key.share_id, identity, whole.hex())
            now = self._swarms.now()
            new = swarm.announce_plain(entry, member, kind, seen, asked.port, now, completed=completed)
            if new and swarm.daemons:
                how = Reach(((seen.realm, seen.compact(asked.port)),))
                self._swarms.tell_daemons(whole, swarm, asker, how)
            peers, peers6 = swarm.hand_out(asker, asked.numwant)
        return announce_reply(
            interval=self.interval(),
            min_interval=MIN_INTERVAL,
            seeds=swarm.seeds,
            leechers=swarm.leechers,
            downloaded=swarm.completed,
            peers=peers,
            peers6=peers6,
        )

    def announce_daemon(self, identity: str, request: AnnounceRequest, seen: Address) -> list[SwarmReply]:
        """All swarms of one daemon; each is answered or refused by itself."""
        peer_id = bytes.fromhex(request.peer_id)
        how = reach(seen, request.port, request.addresses, self._dial_back.proven)
        joined: list[tuple[Admission, DaemonPeer]] = []
        replies = []
        for state in request.swarms:
            try:
                admission = self.admit(state.announce_pass, bytes.fromhex(state.info_hash))
                if admission.identity != identity:
                    raise Refused("pass of another account")
            except Refused as refusal:
                self.refused += 1
                replies.append(SwarmReply(state.info_hash, 0, 0, [], str(refusal)))
                continue
            kind = seed_kind(state.left, state.partial_seed)
            peer = DaemonPeer(admission.member, peer_id, kind, seen, request.port, tuple(request.addresses))
            replies.append(self._announce_one(admission, peer, how, state))
            if state.event is not SwarmEvent.STOPPED:
                joined.append((admission, peer))
        if joined:
            for each in how.unproven:
                self._dial_back.ask(each, lambda: self._reached(joined))
        return replies

    def scrape(self, announce_pass: str, raw_query: str, seen: Address) -> bytes:
        """A BEP 48 scrape, answered; torrents that are none of the share's are left out. Raises Refused."""
        known = self._rules.pass_of(announce_pass)
        if announce_pass == PUBLIC_PASS:
            self._count_anonymous(seen)
        elif known is None:
            raise Refused("pass unknown, expired or revoked")
        files = {}
        for info_hash in parse_scrape(raw_query):
            share_id = known.share_id if known is not None else self._rules.public_share_of(info_hash)
            short = self._rules.torrent(share_id, info_hash) if share_id is not None else None
            if share_id is not None and short is not None:
                swarm = self._swarms.get(SwarmKey(share_id, short)) or Swarm()
                files[info_hash] = (swarm.seeds, swarm.completed, swarm.leechers)
        return scrape_reply(files)

    def peers_of(self, share_id: str, asker: Address) -> list[SharePeer]:
        """Who announced which address in the swarms of a share, as far as ``asker`` is told of these addresses."""
        found: dict[tuple[str, Endpoint], None] = {}
        for identity, peer in self._swarms.daemons_of(share_id):
            how = reach(peer.seen, peer.port, peer.stated, self._dial_back.proven)
            found.update(((identity, endpoint(each)), None) for each in how.for_asker(asker))
            if len(found) >= MAX_SHARE_PEERS:
                break
        return [SharePeer(identity, address) for identity, address in found][:MAX_SHARE_PEERS]

    def evict(self, share_id: str, identity: str) -> int:
        """Remove the peers of somebody who may no longer download; returns how many there were."""
        return self._swarms.evict(share_id, self._rules.member_number(identity))

    def _count_anonymous(self, seen: Address) -> None:
        """Raises Refused for an address that announces without an account more often than any client would."""
        if not self._anonymous.take(seen.packed[:8].hex()):
            raise Refused("too many announces from this address")

    def _admit_anonymous(self, info_hash: bytes, peer_id: bytes) -> Admission:
        """A stock client without an account, in a swarm of a public share. Raises Refused for all other torrents."""
        share_id = self._rules.public_share_of(info_hash)
        if share_id is None:
            raise Refused("not a torrent of a public share")
        member = _FIRST_ANONYMOUS + peer_key(0, peer_id) % ANONYMOUS_MEMBERS
        short = info_hash[:20]
        return Admission("", member, SwarmKey(share_id, short), self._rules.shares[share_id].torrents[short])

    def _announce_one(self, admission: Admission, peer: DaemonPeer, how: Reach, state: SwarmState) -> SwarmReply:
        swarm = self._swarms.open(admission.key)
        asker = Asker(peer.member, peer.kind, peer.seen)
        peers = peers6 = b""
        if state.event is SwarmEvent.STOPPED:
            swarm.remove(peer_key(peer.member, peer.peer_id))
        else:
            completed = state.event is SwarmEvent.COMPLETED
            if completed:
                self._fetches.add(admission.key.share_id, admission.identity, state.info_hash)
            if swarm.announce_daemon(peer, how, self._swarms.now(), completed=completed):
                self._swarms.tell_daemons(admission.info_hash, swarm, asker, how)
            peers, peers6 = swarm.hand_out(asker, DEFAULT_NUMWANT)
        self.answered += 1
        found = [endpoint(peers[at : at + 6]) for at in range(0, len(peers), 6)]
        found += [endpoint(peers6[at : at + 18]) for at in range(0, len(peers6), 18)]
        authority = self._rules.shares[admission.key.share_id].authority
        return SwarmReply(state.info_hash, swarm.seeds, swarm.leechers, found, authority=authority)

    def _reached(self, joined: Sequence[tuple[Admission, DaemonPeer]]) -> None:
        """A stated address answered: hand it out from now on, and tell those who wait."""
        for admission, peer in joined:
            if not self._swarms.still_there(admission.key, peer):
                continue
            how = reach(peer.seen, peer.port, peer.stated, self._dial_back.proven)
            swarm = self._swarms.open(admission.key)
            swarm.announce_daemon(peer, how, self._swarms.now(), completed=False)
            self._swarms.tell_daemons(admission.info_hash, swarm, Asker(peer.member, peer.kind, peer.seen), how)


def announce_app(desk: AnnounceDesk) -> web.Application:
    """The BEP 3 listener: two routes, no middleware. Refusals are HTTP 200 with a failure reason."""

    async def announce(request: web.Request) -> web.Response:
        return _answer(desk, request, desk.announce)

    async def scrape(request: web.Request) -> web.Response:
        return _answer(desk, request, desk.scrape)

    app = web.Application()
    app.router.add_get("/announce/{pass}", announce, allow_head=False)
    app.router.add_get("/scrape/{pass}", scrape, allow_head=False)
    return app


def _answer(desk: AnnounceDesk, request: web.Request, work: Callable[[str, str, Address], bytes]) -> web.Response:
    retry: int | None
    try:
        seen = desk.seen(request)
        if seen is None:
            raise Refused("no usable address")
        body = work(request.match_info["pass"], request.rel_url.raw_query_string, seen)
        desk.answered += 1
    except (Refused, BadAnnounce) as refusal:
        desk.refused += 1
        # A malformed request stays malformed; a pass is renewed by whoever runs the client, within minutes.
        retry = None if isinstance(refusal, BadAnnounce) else 5
        body = failure_reply(str(refusal), interval=desk.interval(), retry_minutes=retry)
    except Exception as exc:
        _log.error("announce failed", error=type(exc).__name__)  # its traceback could hold the pass
        body = failure_reply("internal error", interval=desk.interval(), retry_minutes=5)
    return web.Response(body=body, content_type="text/plain")
