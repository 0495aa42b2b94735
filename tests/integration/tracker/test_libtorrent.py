"""Real clients: two libtorrent sessions that know only the announce URL find each other through the tracker."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import aiohttp
import libtorrent as lt

from ...support.tracker_process import start_tracker
from .people import Person, ShareFiles, b64, sign

DEADLINE = 60.0


def make_torrent(folder: Path, name: str) -> bytes:
    """A v2-only private torrent of two random files below ``folder / name``."""
    content = folder / name
    content.mkdir(parents=True)
    for each in ("a", "b"):
        (content / each).write_bytes(os.urandom(100_000))
    files = lt.list_files(str(content))
    creator = lt.create_torrent(files, 16384, lt.create_torrent.v2_only)
    creator.set_priv(True)
    lt.set_piece_hashes(creator, str(folder))
    encoded: bytes = lt.bencode(creator.generate())
    return encoded


def open_session(announce_url: str, data: bytes, folder: Path) -> tuple[Any, Any]:
    session = lt.session(
        {
            "listen_interfaces": "127.0.0.1:0",
            "enable_dht": False,
            "enable_lsd": False,
            "enable_upnp": False,
            "enable_natpmp": False,
            "alert_mask": lt.alert.category_t.all_categories,
            "allow_multiple_connections_per_ip": True,
            "stop_tracker_timeout": 1,
        }
    )
    parameters = lt.load_torrent_buffer(data)
    parameters.save_path = str(folder)
    parameters.trackers = [announce_url]
    return session, session.add_torrent(parameters)


def wait_until_seeding(handles: list[Any]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not all(handle.status().is_seeding for handle in handles):
        assert time.monotonic() < deadline, [
            (handle.status().progress, [entry["message"] for entry in handle.trackers()]) for handle in handles
        ]
        time.sleep(0.05)


async def test_two_libtorrent_sessions_meet_through_the_tracker(tmp_path: Path) -> None:
    with start_tracker(tmp_path / "tracker") as process:
        async with aiohttp.ClientSession() as session:
            owner, other = [await Person(session, process.url).login() for _ in range(2)]
            share = ShareFiles(owner, (await owner.good("GET", "/tracker"))["online_key"])
            await share.create()
            data = make_torrent(tmp_path / "seed", share.torrent_name)
            info_hash = str(lt.load_torrent_buffer(data).ti.info_hashes().v2)
            await owner.good("PUT", f"/shares/{share.share_id}/blobs/torrent/{info_hash}", data)
            _, target = await share.upload(1)
            target.unrecognized_fields["custom"]["infohash"] = info_hash
            share.targets["v/1"] = target
            share.targets_version += 1
            signed = b64(sign(share.targets_file(), owner))
            await owner.good("POST", f"/shares/{share.share_id}/targets", {"targets": signed})
            members = f"/shares/{share.share_id}/members"
            await owner.good("PUT", f"{members}/{other.identity}", {"role": "downloader"})
            base = (await owner.good("GET", "/tracker"))["announce_url"]
            passes = [await each.get_pass(share.share_id) for each in (owner, other)]
        seed, seed_handle = open_session(f"{base}/{passes[0]}", data, tmp_path / "seed")
        leech, leech_handle = open_session(f"{base}/{passes[1]}", data, tmp_path / "leech")
        await asyncio.to_thread(wait_until_seeding, [seed_handle, leech_handle])
        for name in ("a", "b"):
            want = tmp_path / "seed" / share.torrent_name / name
            assert (tmp_path / "leech" / share.torrent_name / name).read_bytes() == want.read_bytes()
        # The handles go first, so that the sessions do not wait for a tracker while they are destroyed.
        for each, handle in ((seed, seed_handle), (leech, leech_handle)):
            each.remove_torrent(handle)
