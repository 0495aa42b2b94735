"""Slow seeds: peers that claim all of a torrent, answer as they please, and come back when they are cut off."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import os
import struct
from collections.abc import AsyncIterator, Sequence
from typing import Final

_HAVE_ALL: Final = struct.pack(">IB", 1, 14)
_UNCHOKE: Final = struct.pack(">IB", 1, 1)
_REQUEST: Final = 6
_PIECE: Final = 7
_RATE: Final = 4096
"""Bytes per second of those that trickle."""
_BLOCKS_A_PIECE: Final = 4
"""How far those go that stop in the middle."""
_AGAIN: Final = 1.0
"""Seconds until one that was cut off comes back."""


class Pace(enum.Enum):
    TRICKLE = enum.auto()
    """Every block comes, at a few KiB a second."""
    STOP_IN_PIECES = enum.auto()
    """The first blocks of each piece come at once, the others never."""
    SILENT = enum.auto()
    """No block ever comes."""


class SlowSeed:
    """Dials a peer from ``address`` until it is cancelled. ``data`` is what lies in the torrent's pieces."""

    def __init__(self, pace: Pace, address: str, info_hash: bytes, data: bytes, piece_length: int) -> None:
        self.pace = pace
        self.asked = 0
        """Requests that came."""
        self._address = address
        self._hello = b"\x13BitTorrent protocol" + bytes(7) + b"\x14" + info_hash[:20] + os.urandom(20)
        self._data = data
        self._piece_length = piece_length

    async def run(self, port: int) -> None:
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._serve(port)
            await asyncio.sleep(_AGAIN)

    async def _serve(self, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(self._address, 0))
        requests: asyncio.Queue[tuple[int, int, int]] = asyncio.Queue()
        try:
            writer.write(self._hello)
            await reader.readexactly(len(self._hello))
            writer.write(_HAVE_ALL + _UNCHOKE)
            answering = asyncio.create_task(self._answer(requests, writer))
            try:
                while True:
                    (length,) = struct.unpack(">I", await reader.readexactly(4))
                    message = await reader.readexactly(length)
                    if message[:1] == bytes([_REQUEST]):
                        self.asked += 1
                        requests.put_nowait(struct.unpack(">III", message[1:13]))
            finally:
                answering.cancel()
                await asyncio.gather(answering, return_exceptions=True)
        finally:
            writer.close()

    async def _answer(self, requests: asyncio.Queue[tuple[int, int, int]], writer: asyncio.StreamWriter) -> None:
        sent: dict[int, int] = {}
        while True:
            piece, begin, length = await requests.get()
            sent[piece] = sent.get(piece, 0) + 1
            if self.pace is Pace.SILENT or (self.pace is Pace.STOP_IN_PIECES and sent[piece] > _BLOCKS_A_PIECE):
                continue
            at = piece * self._piece_length + begin
            message = struct.pack(">IBII", 9 + length, _PIECE, piece, begin) + self._data[at : at + length]
            step = _RATE // 4 if self.pace is Pace.TRICKLE else len(message)
            for start in range(0, len(message), step):
                writer.write(message[start : start + step])
                await writer.drain()
                if self.pace is Pace.TRICKLE:
                    await asyncio.sleep(step / _RATE)


@contextlib.asynccontextmanager
async def slow_seeds(
    paces: Sequence[Pace], port: int, info_hash: bytes, data: bytes, piece_length: int
) -> AsyncIterator[list[SlowSeed]]:
    """Seeds on 127.0.0.20 and up that dial ``port``."""
    seeds = [
        SlowSeed(pace, f"127.0.0.{20 + number}", info_hash, data, piece_length) for number, pace in enumerate(paces)
    ]
    tasks = [asyncio.create_task(seed.run(port)) for seed in seeds]
    try:
        yield seeds
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
