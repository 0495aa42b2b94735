"""Who is connected: rows for front ends, made from what the engine and the tracker tell, and claiming no more."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final

from p2pckpt.control.health_messages import PeersReply
from p2pckpt.control.messages import PeerRow
from p2pckpt.jobs.joined import Joined
from p2pckpt.jobs.readers import is_reader
from p2pckpt.jobs.services import Services
from p2pckpt.swarm.engine import PeerStats
from p2pckpt.tracker_protocol import Endpoint

_MOST: Final = 2000
_MARKS: Final = (
    ("seed", "S"),
    ("interested", "I"),
    ("choked", "C"),
    ("encrypted", "E"),
    ("tls", "T"),
    ("outgoing", "→"),
)


@dataclass(slots=True)
class _Connections:
    """Everything that goes on with one address and port."""

    stats: list[PeerStats] = field(default_factory=list)
    joined: list[Joined] = field(default_factory=list)


async def peers_reply(services: Services, bans: int) -> PeersReply:
    """``GET /v1/peers``."""
    swarms = services.swarms
    busy = [joined for joined in swarms.all() if (stats := swarms.stats(joined.torrent.info_hash)) and stats.peers]
    rows = await _rows(services, busy)
    rows.sort(key=lambda row: (-row.rate_down - row.rate_up, -row.total_down - row.total_up, row.address))
    network = swarms.engine.network()
    return PeersReply(
        peers=tuple(rows[:_MOST]),
        count=len(rows),
        listening=swarms.ports,
        port_mapping=services.config.flag("port_mapping"),
        mapped=tuple(_text(each) for each in (network.mapped, network.mapped_tls) if each is not None),
        dht=network.dht,
        lan=network.lan,
        bans=bans,
    )


async def peers_of(services: Services, job_id: str) -> tuple[PeerRow, ...]:
    """The peers of one job's swarms, the busiest first."""
    rows = await _rows(services, [joined for joined in services.swarms.all() if job_id in joined.wanted])
    return tuple(sorted(rows, key=lambda row: (-row.rate_down - row.rate_up, row.address)))


async def _rows(services: Services, several: Iterable[Joined]) -> list[PeerRow]:
    found: dict[str, _Connections] = {}
    several = list(several)
    answers = await asyncio.gather(*(services.swarms.engine.peers(joined.torrent.info_hash) for joined in several))
    for joined, peers in zip(several, answers, strict=True):
        for peer in peers:
            connections = found.setdefault(peer.address, _Connections())
            connections.stats.append(peer)
            connections.joined.append(joined)
    services.swarms.acquaintances.ask({(joined.share_id, joined.tracker) for joined in several})
    names = {share.share_id: share.name for share in services.shares.known()}
    return [_row(services, names, address, connections) for address, connections in found.items()]


def _row(services: Services, names: dict[bytes, str], address: str, connections: _Connections) -> PeerRow:
    stats, joined = connections.stats, connections.joined
    return PeerRow(
        address=address,
        client=stats[0].client,
        have=max(round(each.progress * 1000) for each in stats),
        rate_down=sum(each.rate_down for each in stats),
        rate_up=sum(each.rate_up for each in stats),
        flags="".join(mark for name, mark in _MARKS if any(getattr(each, name) for each in stats)),
        total_down=sum(each.downloaded for each in stats),
        total_up=sum(each.uploaded for each in stats),
        since=min((each.since for each in stats if each.since), default=0),
        transport="uTP" if any(each.utp for each in stats) else "TCP",
        place=_place(address),
        found=", ".join(dict.fromkeys(name for each in stats for name in each.sources)),
        # an address that dialled us is that of its socket, not what anybody announced
        who=services.swarms.acquaintances.who({each.share_id for each in joined}, address)
        if all(each.outgoing for each in stats)
        else "",
        member=any(each.tls for each in stats),
        shares=tuple(sorted({names.get(each.share_id, "") for each in joined} - {""})),
        jobs=tuple(
            sorted({j for each in joined for j in each.wanted if not is_reader(j)}, key=lambda job: int(job[1:]))
        ),
    )


def _place(address: str) -> str:
    host = ip_address(address.rpartition(":")[0].strip("[]").partition("%")[0])
    if host.is_loopback:
        return "here"
    return "LAN" if host.is_private or host.is_link_local else "internet"


def _text(endpoint: Endpoint) -> str:
    return f"[{endpoint.host}]:{endpoint.port}" if ":" in endpoint.host else f"{endpoint.host}:{endpoint.port}"
