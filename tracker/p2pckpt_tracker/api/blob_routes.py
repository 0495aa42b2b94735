"""Manifests, torrents and cards: opaque to the tracker but for their hash, and a torrent's name."""

from __future__ import annotations

import asyncio
import hashlib
import re
from typing import IO

from aiohttp import web

from p2pckpt.tracker_protocol import MAX_CARD, MAX_MANIFEST, MAX_TORRENT, BlobKind

from ..store import share_rows
from ..store.blobs import upload_of
from ..torrent_file import BadTorrent, read_torrent
from .call import Call, Refusal, not_found

_HEX64 = re.compile("[0-9a-f]{64}")
_WRITE_AT = 1 << 20
"""Bytes gathered before they go to the disk."""


async def put_manifest(call: Call) -> web.Response:
    """Upload a sealed manifest under its SHA-256: 201 new, 200 here already."""
    return await _put(call, BlobKind.MANIFEST, MAX_MANIFEST)


async def put_torrent(call: Call) -> web.Response:
    """Upload a torrent under its v2 infohash: 201 new, 200 here already."""
    return await _put(call, BlobKind.TORRENT, MAX_TORRENT)


async def put_card(call: Call) -> web.Response:
    """Upload a card under its SHA-256: 201 new, 200 here already."""
    return await _put(call, BlobKind.CARD, MAX_CARD)


async def get_manifest(call: Call) -> web.StreamResponse:
    """A sealed manifest; ranges work."""
    return await _get(call, BlobKind.MANIFEST)


async def get_torrent(call: Call) -> web.StreamResponse:
    """A torrent; ranges work."""
    response = await _get(call, BlobKind.TORRENT)
    call.services.fetches.add(call.share_id, call.identity, _name(call))
    return response


async def get_card(call: Call) -> web.StreamResponse:
    """A card; ranges work."""
    return await _get(call, BlobKind.CARD)


async def _get(call: Call, kind: BlobKind) -> web.StreamResponse:
    path = call.services.uploads.path(call.share_id, upload_of(kind, _name(call)))
    if not await asyncio.to_thread(path.is_file):
        raise not_found()
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Disposition": "attachment",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, max-age=86400, immutable",
    }
    return web.FileResponse(path, headers=headers)


async def _put(call: Call, kind: BlobKind, limit: int) -> web.Response:
    """Store a body under its hash; 201 when it is new, 200 when it was here, nothing when the hash is wrong."""
    name = _name(call)
    upload = upload_of(kind, name)
    blobs, uploads = call.services.blobs, call.services.uploads
    if await uploads.is_here(call.share_id, upload):
        return web.Response(status=200)
    temp = await asyncio.to_thread(blobs.open_temp, call.share_id)
    try:
        found = await _receive(call, temp, limit)
        if kind is BlobKind.TORRENT:
            found = await _torrent_hash(call, temp)
        if found != name:
            raise Refusal(422, "hash differs", "the body is not what the path names")
        await uploads.place(call.share_id, upload, temp)
    finally:
        await asyncio.to_thread(blobs.discard, temp)
    return web.Response(status=201)


async def _receive(call: Call, temp: IO[bytes], limit: int) -> str:
    sha256 = hashlib.sha256()
    waiting = bytearray()
    async for chunk in call.chunks(limit):
        waiting += chunk
        if len(waiting) >= _WRITE_AT:
            await asyncio.to_thread(_absorb, temp, sha256, bytes(waiting))
            waiting.clear()
    await asyncio.to_thread(_absorb, temp, sha256, bytes(waiting))
    return sha256.hexdigest()


def _absorb(temp: IO[bytes], sha256: hashlib._Hash, data: bytes) -> None:
    sha256.update(data)
    temp.write(data)


async def _torrent_hash(call: Call, temp: IO[bytes]) -> str:
    share_id = call.share_id
    share = await call.services.database.read(lambda connection: share_rows.get_share(connection, share_id))

    def read() -> bytes:
        temp.seek(0)
        return temp.read()

    try:
        facts = await asyncio.to_thread(lambda: read_torrent(read()))
    except BadTorrent as exc:
        raise Refusal(422, "torrent refused", str(exc)) from None
    if share is None or facts.name != share.torrent_name:
        raise Refusal(422, "torrent refused", "it must carry the name that the share's root gives its torrents")
    return facts.info_hash


def _name(call: Call) -> str:
    name = call.part("blob")
    if not _HEX64.fullmatch(name):
        raise not_found()
    return name
