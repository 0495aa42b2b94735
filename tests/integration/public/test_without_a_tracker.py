"""A public share whose tracker is gone: the DHT brings publisher and receiver together."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import libtorrent as lt
import pytest

from p2pckpt.control import messages as m
from p2pckpt.tracker_protocol import Visibility

from ...support.homes import DEADLINE, Home, seeded_bytes, tree, until, write_files
from ...support.tracker_process import start_tracker
from .test_stock_client import address

MIB = 1 << 20


@pytest.fixture
def bootstrap() -> Iterator[str]:
    """A DHT node on loopback that knows nobody yet."""
    node = lt.session(
        {
            "listen_interfaces": "127.0.0.1:0",
            "dht_bootstrap_nodes": "",
            "enable_dht": True,
            "enable_lsd": False,
            "enable_upnp": False,
            "enable_natpmp": False,
        }
    )
    assert node.listen_port()
    yield f"127.0.0.1:{node.listen_port()}"
    del node


async def test_a_receiver_finds_the_publisher_by_the_dht_when_the_tracker_is_gone(
    bootstrap: str, tmp_path: Path
) -> None:
    source = write_files(tmp_path / "model", {"a.bin": seeded_bytes(3 * MIB)})
    with start_tracker(tmp_path / "tracker", plain_http=False) as tracker:
        settings = {"tracker": address(tracker), "dht": 1, "dht_bootstrap": bootstrap}
        async with (
            Home(tmp_path / "publisher", **settings) as publisher,
            Home(tmp_path / "receiver", **settings) as receiver,
        ):
            shared = await publisher.share(source, name="open/model", to=Visibility.PUBLIC)
            await publisher.stop()
            request = m.FetchRequest(source=shared.link, to=str(tmp_path / "out"))
            job = await receiver.client.fetch(request)
            await receiver.wait_until(job.id, lambda job: job.phase is m.Phase.CONNECTING)
            tracker.stop(signal.SIGKILL)
            await publisher.start()
            await receiver.wait_job(job.id)
            assert tree(tmp_path / "out") == tree(source)


async def test_a_sealed_share_is_not_in_the_dht(bootstrap: str, tmp_path: Path) -> None:
    host, port = bootstrap.split(":")
    sealed = write_files(tmp_path / "sealed", {"a.bin": seeded_bytes(MIB)})
    public = write_files(tmp_path / "public", {"b.bin": seeded_bytes(MIB, 1)})
    async with Home(tmp_path / "publisher", dht=1, dht_bootstrap=bootstrap) as publisher:
        jobs = [
            await publisher.share(sealed, name="closed/model", to=Visibility.LINK),
            await publisher.share(public, name="open/model", to=Visibility.PUBLIC),
        ]
        hashes = [(await publisher.client.version_detail(job.share)).info_hashes[0] for job in jobs]
        asker = lt.session(
            {
                "listen_interfaces": "127.0.0.1:0",
                "dht_bootstrap_nodes": f"{host}:{port}",
                "enable_lsd": False,
                "alert_mask": lt.alert.category_t.dht_notification | lt.alert.category_t.dht_operation_notification,
            }
        )
        found: dict[str, set[int]] = {each: set() for each in hashes}

        async def heard() -> bool:
            for each in hashes:
                asker.dht_get_peers(lt.sha1_hash(bytes.fromhex(each)[:20]))
            for alert in asker.pop_alerts():
                if isinstance(alert, lt.dht_get_peers_reply_alert):
                    key = next(each for each in hashes if each.startswith(str(alert.info_hash)))
                    found[key] |= {peer[1] for peer in alert.peers()}
            return bool(found[hashes[1]])

        await until(heard, "the DHT knows the public share", deadline=DEADLINE)
        port_of_publisher, _ = (await publisher.client.status()).listen_ports
        assert found == {hashes[0]: set(), hashes[1]: {port_of_publisher}}
        assert asker.is_dht_running()
