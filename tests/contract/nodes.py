"""Torrents with known content, and engines that remember what they were told."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from p2pckpt.checkpoint.merkle import FileTree
from p2pckpt.checkpoint.pieces import PieceSet
from p2pckpt.checkpoint.pieces import count as piece_count
from p2pckpt.checkpoint.plan import PIECE_LENGTH
from p2pckpt.swarm.engine import (
    Engine,
    EngineEvent,
    EngineProblem,
    Flushed,
    PieceArrived,
    Placement,
    TlsCredentials,
)
from p2pckpt.swarm.torrent import Torrent, TorrentFile, build
from p2pckpt.tracker_protocol import Endpoint

DEADLINE = 30.0
"""Seconds in which anything waited for must have happened: far beyond what any of it takes."""
OBJECTS = (2 * PIECE_LENGTH + 700_001, PIECE_LENGTH, 100_003)
"""Lengths of the usual objects: three pieces of which the last is short, one whole piece, less than one."""

TORRENT_NAME = "p2pckpt-sample"

Pieces = set[tuple[int, int]]
"""(file, piece within it)."""


class Sample:
    """A torrent and the bytes of its files, the same for the same arguments."""

    def __init__(
        self, seed: str, lengths: Iterable[int] = OBJECTS, *, private: bool = True, name: str = TORRENT_NAME
    ) -> None:
        manifest = noise(f"{seed} manifest", 5000)
        objects = [noise(f"{seed} {number}", length) for number, length in enumerate(lengths)]
        by_root = {(file := torrent_file(data)).root: (file, data) for data in objects}
        files = [file for file, _ in by_root.values()]
        self.torrent: Torrent = build(name, torrent_file(manifest), files, private=private)
        self.contents = [manifest, *(by_root[file.root][1] for file in self.torrent.objects)]

    @property
    def info_hash(self) -> bytes:
        return self.torrent.info_hash

    @property
    def pieces(self) -> Pieces:
        files = enumerate(self.torrent.files)
        return {(number, piece) for number, file in files for piece in range(piece_count(file.length))}

    def file_of_length(self, length: int) -> int:
        """Number of the file with this length: objects are ordered by their roots."""
        return next(number for number, file in enumerate(self.torrent.files) if file.length == length)

    def piece(self, file: int, piece: int) -> bytes:
        return self.contents[file][piece * PIECE_LENGTH : (piece + 1) * PIECE_LENGTH]


class Node:
    """A started engine, its directory, and every event it sent. With ``tls``, all its torrents are for members."""

    def __init__(self, engine: Engine, directory: Path, tls: TlsCredentials | None = None) -> None:
        self.engine = engine
        self.tls = tls
        self.directory = directory
        self.events: list[EngineEvent] = []
        self._changed = asyncio.Event()

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint("127.0.0.1", self.engine.port if self.tls is None else self.engine.tls_port)

    def heard(self, event: EngineEvent) -> None:
        self.events.append(event)
        self._changed.set()

    def path(self, sample: Sample, file: int) -> Path:
        return self.directory / sample.info_hash.hex()[:8] / str(file)

    def add(self, sample: Sample, have: Pieces | None = None) -> None:
        """Take the torrent in with these pieces (default: none), whose bytes are put into the files."""
        have = have or set()
        (self.directory / sample.info_hash.hex()[:8]).mkdir(parents=True, exist_ok=True)
        for file, piece in sorted(have):
            self.path(sample, file).touch()
            with self.path(sample, file).open("r+b") as sink:
                sink.seek(piece * PIECE_LENGTH)
                sink.write(sample.piece(file, piece))
        self.engine.add(self.placement(sample, have))

    def placement(self, sample: Sample, have: Pieces) -> Placement:
        numbers = range(len(sample.contents))
        sets = [PieceSet() for _ in numbers]
        for file, piece in have:
            sets[file].add([piece])
        paths = tuple(self.path(sample, number) for number in numbers)
        return Placement(sample.torrent, paths, tuple(sets), self.tls)

    def want(self, sample: Sample, pieces: Pieces) -> None:
        self.engine.want(sample.info_hash, by_file(pieces))

    def connect(self, sample: Sample, *others: Node) -> None:
        self.engine.connect(sample.info_hash, [other.endpoint for other in others])

    def arrived(self, sample: Sample) -> Pieces:
        """What was reported to have arrived."""
        return set(self.arrivals(sample))

    def arrivals(self, sample: Sample) -> list[tuple[int, int]]:
        """The same in order, with repetitions."""
        events = [e for e in self.events if isinstance(e, PieceArrived) and e.info_hash == sample.info_hash]
        return [(event.file, event.piece) for event in events]

    def problems(self, sample: Sample) -> list[EngineProblem]:
        return [e for e in self.events if isinstance(e, EngineProblem) and e.info_hash == sample.info_hash]

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Return once ``condition`` holds, looking again at every event."""
        try:
            async with asyncio.timeout(DEADLINE):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"waited in vain until {what}; last events: {self.events[-5:]}") from None

    async def received(self, sample: Sample, pieces: Pieces) -> None:
        """Return once these pieces have arrived."""
        await self.until(lambda: pieces <= self.arrived(sample), f"{sorted(pieces)} arrived")

    async def flushed(self, sample: Sample) -> None:
        """Ask for a flush and return once it is answered."""
        self.events = [event for event in self.events if not isinstance(event, Flushed)]
        self.engine.flush(sample.info_hash)
        await self.until(lambda: Flushed(sample.info_hash) in self.events, "the flush was answered")

    def on_disk(self, sample: Sample, file: int, piece: int) -> bytes:
        with self.path(sample, file).open("rb") as source:
            source.seek(piece * PIECE_LENGTH)
            return source.read(len(sample.piece(file, piece)))


def by_file(pieces: Pieces) -> Mapping[int, set[int]]:
    wanted: dict[int, set[int]] = {}
    for file, piece in pieces:
        wanted.setdefault(file, set()).add(piece)
    return wanted


def noise(seed: str, length: int) -> bytes:
    return hashlib.shake_256(seed.encode()).digest(length)


def torrent_file(data: bytes) -> TorrentFile:
    tree = FileTree(PIECE_LENGTH)
    tree.update(data)
    root, layer = tree.finish()
    return TorrentFile(root, len(data), layer)
