"""Where magnet links are shown, what is in them, and who answers at the announce URL that they name."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote_from_bytes, urlsplit

import aiohttp
from yarl import URL

from p2pckpt.tracker_protocol import Visibility

from ...support.homes import Home, seeded_bytes, write_files
from ..tracker.bdecode import bdecode
from .test_stock_client import parameters

MIB = 1 << 20


async def announce(url: str, info_hash: str) -> dict[bytes, bytes]:
    query = f"info_hash={quote_from_bytes(bytes.fromhex(info_hash)[:20])}&peer_id={'p' * 20}&port=7000&left=1"
    async with aiohttp.ClientSession() as session, session.get(URL(f"{url}?{query}", encoded=True)) as answer:
        return dict(bdecode(await answer.read()))


async def test_the_tracker_beside_the_daemon_takes_stock_announces_once_a_share_is_public(tmp_path: Path) -> None:
    closed = write_files(tmp_path / "closed", {"a.bin": seeded_bytes(MIB)})
    opened = write_files(tmp_path / "opened", {"b.bin": seeded_bytes(MIB, 1)})
    async with Home(tmp_path / "alice") as alice:
        await alice.share(closed, name="closed/model", to=Visibility.LINK)
        (private,) = (await alice.client.version_detail("closed/model")).info_hashes
        assert alice.tracker_ready["announce_port"] == 0
        assert (await alice.client.version_detail("closed/model")).magnets == ()

        done = await alice.cli("share", opened, "--name", "open/model", "--to", "public", "--allow-no-licence")
        assert done.returncode == 0, done.stderr
        (info_hash,) = (await alice.client.version_detail("open/model")).info_hashes
        (magnet,) = (await alice.client.version_detail("open/model")).magnets
        port = alice.tracker_ready["announce_port"]
        assert parameters(magnet) == [
            ("xt", f"urn:btmh:1220{info_hash}"),
            ("dn", "open/model@v1"),
            ("tr", f"http://127.0.0.1:{port}/announce/public"),
            ("x.pe", f"127.0.0.1:{(await alice.client.status()).listen_ports[0]}"),
        ]
        assert done.stdout.strip().startswith("p2pckpt:") and magnet not in done.stdout and magnet in done.stderr
        shown = json.loads((await alice.cli("--json", "show", "open/model")).stdout)
        assert shown["version"]["magnets"] == [magnet]
        assert magnet in (await alice.cli("show", "open/model")).stdout
        new = await alice.cli("link", "new", "open/model")
        assert magnet in new.stderr and magnet not in new.stdout

        url = dict(parameters(magnet))["tr"]
        peers = (await announce(url, info_hash))[b"peers"]
        assert peers[4:] == urlsplit(f"//{dict(parameters(magnet))['x.pe']}").port.to_bytes(2, "big")  # type: ignore[union-attr]
        assert (await announce(url, private))[b"failure reason"] == b"not a torrent of a public share"

        await alice.restart()  # the same URL, for the magnet links that are out
        assert (await alice.client.version_detail("open/model")).magnets == (magnet,)
