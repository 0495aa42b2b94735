"""A client that is not ours takes a public share by its magnet link, and others get the share from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl

import pytest

from p2pckpt.store.layout import StoreLayout
from p2pckpt.swarm import torrent as torrents
from p2pckpt.tracker_protocol import Visibility
from p2pckpt.trust.links import TrackerAddress

from ...support.homes import Home, seeded_bytes, tree, until, write_files
from ...support.tracker_process import TrackerProcess, start_tracker
from .qbittorrent import QBittorrent, prepare

pytestmark = pytest.mark.timeout(300)
MIB = 1 << 20


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    prepare()


@pytest.fixture
def tracker(tmp_path: Path) -> Iterator[TrackerProcess]:
    """One that outlives the publisher."""
    with start_tracker(tmp_path / "tracker", plain_http=False) as process:
        yield process


def address(tracker: TrackerProcess) -> str:
    return TrackerAddress((f"127.0.0.1:{tracker.api_port}",), bytes.fromhex(tracker.certificate_sha256)).text


def without(magnet: str, name: str) -> str:
    """A magnet link that lacks all parameters of that name."""
    kept = [part for part in magnet.removeprefix("magnet:?").split("&") if not part.startswith(name + "=")]
    return "magnet:?" + "&".join(kept)


def parameters(magnet: str) -> list[tuple[str, str]]:
    return parse_qsl(magnet.removeprefix("magnet:?"))


def published(home: Home, info_hash: str) -> tuple[str, dict[str, bytes]]:
    """Name and files of a torrent, as the publisher's store has them."""
    layout, whole = StoreLayout(home.store), bytes.fromhex(info_hash)
    torrent = torrents.parse(layout.torrent(whole).read_bytes(), whole)
    files = {f"objects/{file.root.hex()}": layout.object(file.root).read_bytes() for file in torrent.objects}
    return torrent.name, {f"manifest-{torrent.manifest.root.hex()}": layout.manifest(whole).read_bytes(), **files}


async def test_a_stock_client_downloads_by_magnet_link_and_alone_seeds_to_a_receiver(
    tracker: TrackerProcess, tmp_path: Path
) -> None:
    source = write_files(tmp_path / "model", {"a.bin": seeded_bytes(5 * MIB), "config.json": b"{}\n"})
    async with (
        Home(tmp_path / "publisher", tracker=address(tracker)) as publisher,
        QBittorrent(tmp_path / "stock") as stock,
    ):
        await publisher.share(source, name="open/model", to=Visibility.PUBLIC)
        write_files(source, {"b.bin": seeded_bytes(2 * MIB, 1)})
        job = await publisher.share(source, name="open/model")
        newer, older = (await publisher.client.version_detail("open/model@v2")).magnets
        hashes = [dict(parameters(magnet))["xt"].removeprefix("urn:btmh:1220") for magnet in (newer, older)]
        # metadata and payload come from our daemon: from the peer that the link names, and from one the tracker names
        await stock.add(without(newer, "tr"))
        await stock.add(without(older, "x.pe"))
        for info_hash in hashes:
            await until(lambda h=info_hash: stock.has(h), "the stock client has a torrent")  # type: ignore[misc]
        # both torrents have the share's name: the client keeps them in one directory
        (name, files), (_, older_files) = [published(publisher, info_hash) for info_hash in hashes]
        assert stock.files(name) == files | older_files
        await publisher.stop()
        await stock.add_tracker(hashes[0], dict(parameters(newer))["tr"])
        async with Home(tmp_path / "receiver") as receiver:
            await receiver.get(job.link, tmp_path / "out")
            assert tree(tmp_path / "out") == tree(source)
