"""What libtorrent tells of a torrent's connections, copied into our own terms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import libtorrent as lt

from p2pckpt.swarm.engine import PeerStats
from p2pckpt.swarm.listening import bracket

_UTP_SOCKET: Final = 1 << 17
_SSL_SOCKET: Final = 1 << 18
"""Flags of peer_info that the bindings lack."""
_SOURCES: Final = (
    (lt.peer_info.tracker, "tracker"),
    (lt.peer_info.dht, "dht"),
    (lt.peer_info.pex, "exchange"),
    (lt.peer_info.lsd, "lan"),
    (1 << 5, "incoming"),
)


def peer_stats(handle: Any, since: Mapping[tuple[str, int], int]) -> list[PeerStats]:
    """Peers whose handshake is done; ``since`` has the moments at which addresses connected. Blocks."""
    return [
        PeerStats(
            address=f"{bracket(peer.ip[0])}:{peer.ip[1]}",
            client=peer.client.decode("utf-8", "replace") if isinstance(peer.client, bytes) else str(peer.client),
            progress=peer.progress,
            rate_down=peer.payload_down_speed,
            rate_up=peer.payload_up_speed,
            seed=bool(peer.flags & lt.peer_info.seed),
            interested=bool(peer.flags & lt.peer_info.remote_interested),
            choked=bool(peer.flags & lt.peer_info.remote_choked),
            encrypted=bool(peer.flags & (lt.peer_info.rc4_encrypted | lt.peer_info.plaintext_encrypted)),
            outgoing=bool(peer.flags & lt.peer_info.outgoing_connection),
            tls=bool(peer.flags & _SSL_SOCKET),
            utp=bool(peer.flags & _UTP_SOCKET),
            downloaded=peer.total_download,
            uploaded=peer.total_upload,
            since=since.get(peer.ip, 0),
            sources=tuple(name for bit, name in _SOURCES if int(peer.source) & int(bit)),
        )
        for peer in handle.get_peer_info()
        if not peer.flags & (lt.peer_info.connecting | lt.peer_info.handshake)
    ]
