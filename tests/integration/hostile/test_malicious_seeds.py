"""Eight lying seeds and an honest one: the copy is right, and the liars are found out.

In a share that is not public they are members, with certificates of its swarm.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import aiohttp
import pytest

from p2pckpt.control import access_messages as am
from p2pckpt.control import messages as m
from p2pckpt.store.layout import StoreLayout
from p2pckpt.swarm import torrent as torrents
from p2pckpt.tracker_protocol import PUBLIC_PASS, RECEIVE_KEY_CONTEXT, Role, SwarmEvent, SwarmState, Visibility
from p2pckpt.trust.identity import PublicIdentity

from ...support.homes import Home, seeded_bytes, tree, until, write_files
from ...support.tracker_process import TrackerProcess, start_tracker
from ..swarms.test_refusals import credentials
from ..tracker.people import Person
from .liars import EVERY_BLOCK, ONE_BIT, ONLY_MANIFEST, Kind, Liar

MIB = 1 << 20
SIZE = 8 * MIB
RATE = 6 * MIB
"""Bytes per second of the receiver, so that all of the swarm gets its turn."""
LIARS = (EVERY_BLOCK, EVERY_BLOCK, EVERY_BLOCK, EVERY_BLOCK, ONE_BIT, ONE_BIT, ONE_BIT, ONLY_MANIFEST)
PATIENCE = 150.0
_BANNED = re.compile(r"a peer sent false data.*peer='([0-9.]+):\d+'")


def banned(home: Home) -> set[str]:
    """Addresses of peers that a daemon banned."""
    return set(_BANNED.findall(home.log))


def seed_files(home: Home, info_hash: str) -> tuple[bytes, dict[str, bytes]]:
    """The .torrent and the true files of a torrent, from its publisher's store."""
    layout, whole = StoreLayout(home.store), bytes.fromhex(info_hash)
    data = layout.torrent(whole).read_bytes()
    torrent = torrents.parse(data, whole)
    files = {f"objects/{file.root.hex()}": layout.object(file.root).read_bytes() for file in torrent.objects}
    return data, {f"manifest-{torrent.manifest.root.hex()}": layout.manifest(whole).read_bytes(), **files}


@contextlib.asynccontextmanager
async def hostile_swarm(
    publisher: Home, tracker: TrackerProcess, directory: Path, job: m.Job, kinds: Sequence[Kind], to: Visibility
) -> AsyncIterator[list[Liar]]:
    """Malicious seeds on 127.0.0.2 and up, all of them known to the tracker, and members where it takes that."""
    (info_hash,) = (await publisher.client.version_detail(job.share)).info_hashes
    torrent, files = await asyncio.to_thread(seed_files, publisher, info_hash)
    url = f"http://127.0.0.1:{tracker.announce_port}/announce/{PUBLIC_PASS}"
    async with contextlib.AsyncExitStack() as stack:
        liars = []
        for number, kind in enumerate(kinds):
            address, home = f"127.0.0.{number + 2}", directory / f"liar{number}"
            if to is Visibility.PUBLIC:
                liar = Liar(home, address, kind, torrent, files, announce_url=url)
                stack.push_async_callback(asyncio.to_thread, liar.close)
                await until(liar.announced, "the tracker knows a malicious seed")
            else:
                # from the address of the seed: the tracker hands out what it sees
                connector = aiohttp.TCPConnector(local_addr=(address, 0))
                session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
                person = await Person(session, tracker.url).login()
                keys = PublicIdentity(
                    person.key.public_key().public_bytes_raw(),
                    bytes.fromhex(person.receive_key),
                    person.key.sign(RECEIVE_KEY_CONTEXT + bytes.fromhex(person.receive_key)),
                )
                await publisher.client.set_member(am.SetMemberRequest(job.share_id, keys.text, Role.DOWNLOADER))
                tls = await credentials(person, job.share_id)
                liar = Liar(home, address, kind, torrent, files, tls=tls)
                stack.push_async_callback(asyncio.to_thread, liar.close)
                announce_pass = await person.get_pass(job.share_id)
                swarm = SwarmState(info_hash, announce_pass, 0, SwarmEvent.STARTED)
                (reply,) = (await person.announce([swarm], port=liar.tls_port)).swarms
                assert not reply.failure
            liars.append(liar)
        yield liars


@pytest.mark.timeout(240)
@pytest.mark.parametrize("to", [Visibility.PUBLIC, Visibility.LINK])
async def test_eight_lying_seeds_and_an_honest_one_give_a_right_copy(to: Visibility, tmp_path: Path) -> None:
    source = write_files(tmp_path / "model", {"a.bin": seeded_bytes(SIZE), "config.json": b"{}\n"})
    with start_tracker(tmp_path / "tracker") as tracker:
        async with (
            Home(tmp_path / "publisher", tracker=tracker.url) as publisher,
            Home(tmp_path / "receiver", download_limit=RATE) as receiver,
        ):
            job = await publisher.share(source, name="hostile/model", to=to)
            async with hostile_swarm(publisher, tracker, tmp_path, job, LIARS, to) as liars:
                request = m.FetchRequest(source=job.link, to=str(tmp_path / "out"))
                fetch = await receiver.client.fetch(request)
                await receiver.wait_job(fetch.id, deadline=PATIENCE)
                assert tree(tmp_path / "out") == tree(source)
                liars_met = {liar.address for liar in liars if liar.kind.lies and liar.sent > 2 * MIB}
                assert liars_met, "no liar got to send what it lies about"
                assert banned(receiver) >= liars_met
                # what was received is right on the disk, too, and nothing else is in the store
                await receiver.verify("hostile/model", full=True)
                assert objects(receiver) == objects(publisher)


def objects(home: Home) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in StoreLayout(home.store).objects.rglob("*") if path.is_file()}
