"""An engine without BitTorrent: pieces are copied between the files of engines in one process.

It keeps the contract of ``p2pckpt.swarm.engine.Engine`` as strictly as a real one may. What arrives stays in memory
until ``flush``, so that a caller who reads too early finds nothing, and is lost when it can't be written. Every piece
is hashed before it counts, and who served a bad one is not asked again. One piece moves per turn of the event loop, so
everything can be interrupted.
tests/contract holds it against libtorrent's engine.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from ipaddress import ip_address

from p2pckpt.checkpoint.pieces import count as piece_count
from p2pckpt.checkpoint.plan import PIECE_LENGTH
from p2pckpt.errors import P2pckptError
from p2pckpt.swarm.engine import (
    EngineEvent,
    EngineProblem,
    Flushed,
    IpNetwork,
    Network,
    PeerStats,
    PieceArrived,
    Placement,
    TlsCredentials,
    TorrentStats,
)
from p2pckpt.swarm.torrent import TorrentFile
from p2pckpt.tracker_protocol import Endpoint

_LEAF = 16 << 10
_FIRST_PORT = 40_000


class FakeNetwork:
    """Who listens on which port. Engines of one network reach each other and nobody else."""

    def __init__(self) -> None:
        self.listening: dict[int, FakeEngine] = {}
        self._next_port = _FIRST_PORT

    def free_port(self) -> int:
        self._next_port += 1
        return self._next_port


@dataclass(eq=False)
class _Torrent:
    placement: Placement
    have: list[set[int]]
    wanted: list[set[int]]
    memory: dict[tuple[int, int], bytes] = field(default_factory=dict)
    """Pieces that arrived and are in no file yet."""
    urgent: list[tuple[int, int]] = field(default_factory=list)
    """What comes before the rest, in order."""
    peers: dict[FakeEngine, bool] = field(default_factory=dict)
    """Connected engines; True where this side dialled."""
    banned: set[FakeEngine] = field(default_factory=set)
    problem: bool = False
    down: int = 0
    up: int = 0
    next_at: float = 0.0
    """When the next piece may be fetched."""
    downloaded: int = 0
    uploaded: int = 0

    @property
    def files(self) -> tuple[TorrentFile, ...]:
        return self.placement.torrent.files

    @property
    def complete(self) -> bool:
        return all(len(here) == piece_count(file.length) for here, file in zip(self.have, self.files, strict=True))

    def missing(self) -> Iterator[tuple[int, int]]:
        for file, piece in self.urgent:
            if piece in self.wanted[file] - self.have[file]:
                yield file, piece
        for file, (wanted, here) in enumerate(zip(self.wanted, self.have, strict=True)):
            for piece in sorted(wanted - here):
                yield file, piece

    def size_of(self, file: int, piece: int) -> int:
        return min(PIECE_LENGTH, self.files[file].length - piece * PIECE_LENGTH)

    def read(self, file: int, piece: int) -> bytes:
        """A piece as it would be sent; whatever can be read of it."""
        if (file, piece) in self.memory:
            return self.memory[file, piece]
        try:
            with self.placement.paths[file].open("rb") as source:
                source.seek(piece * PIECE_LENGTH)
                return source.read(self.size_of(file, piece))
        except OSError:
            return b""

    def is_right(self, file: int, piece: int, data: bytes) -> bool:
        expected = self.files[file]
        layer = expected.piece_layer
        if not layer:
            return _tree(data, 1) == expected.root
        return _tree(data, PIECE_LENGTH // _LEAF) == layer[32 * piece : 32 * piece + 32]

    def reserve(self, file: int) -> None:
        """Make sure that the file can be written; raises ``OSError``."""
        with self.placement.paths[file].open("ab"):
            pass

    def lose(self) -> None:
        """Forget what is in memory only: it has to be fetched again."""
        for file, piece in self.memory:
            self.have[file].discard(piece)
        self.memory.clear()

    def write_out(self) -> None:
        """Put into the files what is in memory; raises ``OSError`` and keeps the rest there."""
        for (file, piece), data in list(self.memory.items()):
            descriptor = os.open(self.placement.paths[file], os.O_WRONLY | os.O_CREAT, 0o644)
            try:
                os.pwrite(descriptor, data, piece * PIECE_LENGTH)
            finally:
                os.close(descriptor)
            del self.memory[file, piece]


class FakeEngine:
    """See ``p2pckpt.swarm.engine.Engine``."""

    def __init__(self, network: FakeNetwork, port: int = 0, tls_port: int = 0) -> None:
        self._network = network
        self._port = port
        self._tls_port = tls_port
        self._torrents: dict[bytes, _Torrent] = {}
        self._on_event: Callable[[EngineEvent], None] | None = None
        self._step: asyncio.Handle | None = None
        self._down = 0
        self._allowed: int | None = None
        self._closed = False

    def allow(self, pieces: int | None) -> None:
        """Not part of the contract: fetch so many pieces more and then none, or any number again."""
        self._allowed = pieces
        self._wake()

    async def start(self, on_event: Callable[[EngineEvent], None]) -> None:
        self._port = self._port or self._network.free_port()
        self._tls_port = self._tls_port or self._network.free_port()
        if taken := {self._port, self._tls_port} & self._network.listening.keys():
            raise P2pckptError(f"peers can't connect: port {taken.pop()} is taken")
        self._loop = asyncio.get_running_loop()
        self._network.listening |= {self._port: self, self._tls_port: self}
        self._on_event = on_event

    async def stop(self) -> None:
        if self._on_event is None:
            return
        self._on_event = None
        if self._step is not None:
            self._step.cancel()
        for info_hash in list(self._torrents):
            self.remove(info_hash)
        del self._network.listening[self._port], self._network.listening[self._tls_port]

    @property
    def port(self) -> int:
        return self._port

    @property
    def tls_port(self) -> int:
        return self._tls_port

    def listen_on(self, addresses: Sequence[str]) -> None:
        pass

    def add(self, placement: Placement) -> None:
        info_hash = placement.torrent.info_hash
        if info_hash in self._torrents:
            raise P2pckptError("the torrent is here already")
        have = [set(pieces) for pieces in placement.have]
        self._torrents[info_hash] = _Torrent(placement, have, [set() for _ in have])

    def stay_connected(self, stay: bool) -> None:
        """Nobody hangs up here."""

    def renew(self, info_hash: bytes, tls: TlsCredentials) -> None:
        if (torrent := self._torrents.get(info_hash)) is not None:
            torrent.placement = replace(torrent.placement, tls=tls)

    def want(self, info_hash: bytes, pieces: Mapping[int, Iterable[int]]) -> None:
        torrent = self._torrents[info_hash]
        torrent.wanted = [set(pieces.get(file, ())) for file in range(len(torrent.files))]
        self._wake()

    def rewant(self, info_hash: bytes, more: Mapping[int, Iterable[int]], fewer: Mapping[int, Iterable[int]]) -> None:
        if (torrent := self._torrents.get(info_hash)) is not None:
            for file, wanted in enumerate(torrent.wanted):
                wanted |= set(more.get(file, ()))
                wanted -= set(fewer.get(file, ()))
            self._wake()

    def hurry(self, info_hash: bytes, pieces: Sequence[tuple[int, int]]) -> None:
        if (torrent := self._torrents.get(info_hash)) is not None:
            torrent.urgent = [*pieces, *(piece for piece in torrent.urgent if piece not in pieces)]
            self._wake()

    def remove(self, info_hash: bytes) -> None:
        torrent = self._torrents.pop(info_hash, None)
        if torrent is None:
            return
        for peer in list(torrent.peers):
            self._disconnect(torrent, peer, info_hash)
        with contextlib.suppress(OSError):
            torrent.write_out()

    def connect(self, info_hash: bytes, peers: Iterable[Endpoint]) -> None:
        torrent = self._torrents.get(info_hash)
        for endpoint in peers if torrent is not None else ():
            other = self._network.listening.get(endpoint.port)
            theirs = other._torrents.get(info_hash) if other is not None else None
            if other is None or torrent is None or theirs is None or other is self or other in torrent.peers:
                continue
            if self._closed or other._closed:
                continue
            if not self._let_in(torrent, theirs, other, endpoint.port):
                continue
            torrent.peers[other] = True
            theirs.peers[self] = False
            self._wake()
            other._wake()

    def flush(self, info_hash: bytes) -> None:
        torrent = self._torrents.get(info_hash)
        if torrent is None:
            return
        try:
            torrent.write_out()
        except OSError as exc:
            self._report(info_hash, torrent, exc)
        self._send(Flushed(info_hash))

    def limit(self, down: int, up: int) -> None:
        self._down = down
        self._begin_anew()

    def limit_torrent(self, info_hash: bytes, down: int, up: int) -> None:
        if (torrent := self._torrents.get(info_hash)) is not None:
            torrent.down, torrent.up, torrent.next_at = down, up, 0.0
            for engine in (self, *torrent.peers):
                engine._begin_anew()

    async def stats(self) -> Mapping[bytes, TorrentStats]:
        await asyncio.sleep(0)
        return {
            info_hash: TorrentStats(
                0,
                0,
                torrent.downloaded,
                torrent.uploaded,
                len(torrent.peers),
                sum(peer._torrents[info_hash].complete for peer in torrent.peers),
            )
            for info_hash, torrent in self._torrents.items()
        }

    async def peers(self, info_hash: bytes) -> list[PeerStats]:
        await asyncio.sleep(0)
        torrent = self._torrents.get(info_hash)
        return [] if torrent is None else [self._peer(info_hash, torrent, peer) for peer in torrent.peers]

    async def availability(self, info_hash: bytes) -> tuple[bytes, ...]:
        await asyncio.sleep(0)
        torrent = self._torrents.get(info_hash)
        if torrent is None:
            return ()
        others = [peer._torrents[info_hash].have for peer in torrent.peers]
        return tuple(
            bytes(sum(piece in have[file] for have in others) for piece in range(piece_count(entry.length)))
            for file, entry in enumerate(torrent.files)
        )

    def network(self) -> Network:
        return Network()

    def ban(self, networks: Sequence[IpNetwork]) -> None:
        """Every engine of a network is at 127.0.0.1."""
        self._closed = any(ip_address("127.0.0.1") in network for network in networks)
        for info_hash, torrent in self._torrents.items() if self._closed else ():
            for peer in list(torrent.peers):
                self._disconnect(torrent, peer, info_hash)

    def seek(self, info_hash: bytes) -> bool:
        return False

    # -- inside

    def _peer(self, info_hash: bytes, torrent: _Torrent, peer: FakeEngine) -> PeerStats:
        theirs = peer._torrents[info_hash]
        total = sum(piece_count(file.length) for file in torrent.files)
        return PeerStats(
            address=f"127.0.0.1:{peer.port}",
            client="fake",
            progress=sum(map(len, theirs.have)) / total,
            rate_down=0,
            rate_up=0,
            seed=theirs.complete,
            interested=any(piece in torrent.have[file] for file, piece in theirs.missing()),
            choked=False,
            encrypted=False,
            outgoing=torrent.peers[peer],
            tls=torrent.placement.tls is not None,
        )

    def _let_in(self, torrent: _Torrent, theirs: _Torrent, other: FakeEngine, port: int) -> bool:
        """Both plain on the plain port, or both of one authority on the port for TLS."""
        ours, their = torrent.placement.tls, theirs.placement.tls
        if ours is None or their is None:
            return ours is their and port == other.port
        return ours.authority == their.authority and port == other.tls_port

    def _disconnect(self, torrent: _Torrent, peer: FakeEngine, info_hash: bytes) -> None:
        torrent.peers.pop(peer, None)
        if (theirs := peer._torrents.get(info_hash)) is not None:
            theirs.peers.pop(self, None)

    def _send(self, event: EngineEvent) -> None:
        self._loop.call_soon(lambda: self._on_event(event) if self._on_event is not None else None)

    def _wake(self) -> None:
        """See to it that the next piece is moved."""
        if self._step is not None or self._on_event is None:
            return
        if self._down:
            self._step = self._loop.call_later(PIECE_LENGTH / self._down, self._move_one)
        else:
            self._step = self._loop.call_soon(self._move_one)

    def _begin_anew(self) -> None:
        """Limits are others than when the next step was planned."""
        if self._step is not None:
            self._step.cancel()
            self._step = None
        self._wake()

    def _move_one(self) -> None:
        self._step = None
        now, waits = self._loop.time(), []
        for info_hash, torrent in self._torrents.items():
            if torrent.next_at > now:
                waits.append(torrent.next_at - now)
            elif not torrent.problem and self._fetch_one(info_hash, torrent):
                self._wake()
                return
        if waits:
            self._step = self._loop.call_later(min(waits), self._move_one)

    def _fetch_one(self, info_hash: bytes, torrent: _Torrent) -> bool:
        """Ask for one piece; whether there was anything to ask for."""
        if self._allowed == 0:
            return False
        for file, piece in torrent.missing():
            for peer in list(torrent.peers):
                theirs = peer._torrents[info_hash]
                if peer not in torrent.banned and piece in theirs.have[file]:
                    data = theirs.read(file, piece)
                    if torrent.is_right(file, piece, data):
                        theirs.uploaded += len(data)
                        limits = [limit for limit in (torrent.down, theirs.up) if limit]
                        torrent.next_at = self._loop.time() + len(data) / min(limits) if limits else 0.0
                        self._take(info_hash, torrent, file, piece, data)
                    else:
                        torrent.banned.add(peer)
                        self._disconnect(torrent, peer, info_hash)
                    return True
        return False

    def _take(self, info_hash: bytes, torrent: _Torrent, file: int, piece: int, data: bytes) -> None:
        torrent.memory[file, piece] = data
        torrent.have[file].add(piece)
        torrent.downloaded += len(data)
        self._allowed = self._allowed - 1 if self._allowed is not None else None
        self._send(PieceArrived(info_hash, file, piece))
        try:
            torrent.reserve(file)
        except OSError as exc:
            self._report(info_hash, torrent, exc)
        for peer in torrent.peers:
            peer._wake()

    def _report(self, info_hash: bytes, torrent: _Torrent, exc: OSError) -> None:
        torrent.lose()
        if not torrent.problem:
            torrent.problem = True
            self._send(EngineProblem(info_hash, str(exc), exc.errno == errno.ENOSPC))


def _tree(data: bytes, leaves: int) -> bytes:
    """The Merkle root over ``data``, padded with absent leaves to at least ``leaves``, as BEP 52 says."""
    level = [sha256(data[at : at + _LEAF]).digest() for at in range(0, len(data), _LEAF)] or [bytes(32)]
    while leaves < len(level):
        leaves *= 2
    level += [bytes(32)] * (leaves - len(level))
    while len(level) > 1:
        level = [sha256(level[at] + level[at + 1]).digest() for at in range(0, len(level), 2)]
    return level[0]
