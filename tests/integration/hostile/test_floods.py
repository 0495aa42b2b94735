"""Connections that say nothing, garbage, or far too much, while a download goes on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
from pathlib import Path

from p2pckpt.tracker_protocol import Visibility

from ...support.homes import Home, seeded_bytes, tree, write_files

MIB = 1 << 20
SILENT = 200
_ROOM = 150 * MIB
"""Bytes that a daemon's memory may grow by through all of it."""


def handshake(info_hash: str) -> bytes:
    """A peer's BEP 3 handshake with the fast extension and version 2."""
    return b"\x13BitTorrent protocol" + b"\0\0\0\0\0\0\0\x14" + bytes.fromhex(info_hash)[:20] + os.urandom(20)


def message(kind: int, body: bytes = b"") -> bytes:
    return struct.pack(">IB", 1 + len(body), kind) + body


def requests(count: int) -> bytes:
    """Requests for blocks of all kinds: false, overlong, beyond the end."""
    shapes = [(0, 0, 16384), (0, 0, 1 << 30), (1 << 31, 0, 16384), (0, 1 << 31, 16384), (0xFFFFFFFF, 0, 0)]
    return b"".join(message(6, struct.pack(">III", *shapes[n % len(shapes)])) for n in range(count))


async def shout(port: int, what: list[bytes]) -> None:
    """Send until the other side has had enough."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        for each in what:
            writer.write(each)
            async with asyncio.timeout(5):
                await writer.drain()
        writer.close()


async def test_a_download_goes_on_among_silent_shouting_and_mad_connections(tmp_path: Path) -> None:
    source = write_files(tmp_path / "model", {"a.bin": seeded_bytes(8 * MIB), "config.json": b"{}\n"})
    async with Home(tmp_path / "publisher") as publisher, Home(tmp_path / "receiver") as receiver:
        job = await publisher.share(source, name="flooded/model", to=Visibility.PUBLIC)
        (info_hash,) = (await publisher.client.version_detail(job.share)).info_hashes
        before = (await publisher.client.status()).rss_bytes
        (port,) = (await publisher.client.status()).listen_ports[:1]
        api, announces = (publisher.tracker_ready[name] for name in ("api_port", "announce_port"))
        hello = handshake(info_hash)
        floods = [
            [os.urandom(1 << 16)],
            [hello[:30]],
            [hello, message(2), requests(20_000)],
            [hello, *[message(17, struct.pack(">I", n)) for n in range(5000)]],  # allowed fast, for all there is
            [hello, struct.pack(">I", 0xFFFFFFFF) + b"\x14" * 70_000],
            [hello, message(20, b"\0" + b"d" * 100_000)],
            [hello, message(21, os.urandom(48))],  # a hash request for nothing
            [b"GET / HTTP/1.1\r\n" * 5000],
        ]
        silent = []
        for target in (port, port, port, announces, api):
            for _ in range(SILENT // 5):
                silent.append(await asyncio.open_connection("127.0.0.1", target))
        try:
            async with asyncio.TaskGroup() as group:
                for flood in floods:
                    for target in (port, announces):
                        for _ in range(3):
                            group.create_task(shout(target, flood))
                group.create_task(receiver.get(job.link, tmp_path / "out"))
            assert tree(tmp_path / "out") == tree(source)
            after = await publisher.client.status()
            assert after.rss_bytes - before < _ROOM
        finally:
            for _, writer in silent:
                writer.close()
