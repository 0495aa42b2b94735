"""What only libtorrent's engine has; the rest of it is held to the contract in tests/contract."""

from __future__ import annotations

import asyncio
import dataclasses
import select
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from p2pckpt.errors import P2pckptError
from p2pckpt.swarm.libtorrent_engine import Discovery, LibtorrentEngine
from tests.contract.nodes import DEADLINE, Node, Sample


@pytest.mark.parametrize("data", [b"", b"no torrent", b"d4:infodee"])
async def test_bytes_that_are_no_torrent_are_an_error_of_ours(tmp_path: Path, data: bytes) -> None:
    sample = Sample("engine")
    node = Node(LibtorrentEngine(["127.0.0.1"], 0, scratch=tmp_path / "scratch"), tmp_path / "node")
    await node.engine.start(node.heard)
    placement = node.placement(sample, set())
    broken = dataclasses.replace(placement, torrent=dataclasses.replace(sample.torrent, data=data))
    with pytest.raises(P2pckptError, match="libtorrent"):
        node.engine.add(broken)
    node.add(sample)
    await node.engine.stop()


async def test_nothing_is_written_where_libtorrent_keeps_parts_of_files(tmp_path: Path) -> None:
    sample = Sample("scratch")
    seed = Node(LibtorrentEngine(["127.0.0.1"], 0, scratch=tmp_path / "scratch"), tmp_path / "seed")
    leech = Node(LibtorrentEngine(["127.0.0.1"], 0, scratch=tmp_path / "scratch"), tmp_path / "leech")
    for node in (seed, leech):
        await node.engine.start(node.heard)
    seed.add(sample, sample.pieces)
    leech.add(sample)
    wanted = set(sorted(sample.pieces)[1:4])
    leech.want(sample, wanted)
    leech.connect(sample, seed)
    await leech.received(sample, wanted)
    await leech.flushed(sample)
    await seed.engine.stop()
    await leech.engine.stop()
    assert not (tmp_path / "scratch").exists() or list((tmp_path / "scratch").rglob("*")) == []


async def test_no_address_is_mapped_unless_a_router_said_so(tmp_path: Path) -> None:
    engine = LibtorrentEngine(["127.0.0.1"], 0, scratch=tmp_path)
    await engine.start(lambda event: None)
    assert engine.mapped(tls=False) is engine.mapped(tls=True) is None
    await engine.stop()


async def test_nobody_hears_of_an_engine_that_has_only_private_torrents(tmp_path: Path) -> None:
    private, public = Sample("private"), Sample("public", private=False)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bootstrap:
        bootstrap.bind(("127.0.0.1", 0))
        bootstrap.settimeout(DEADLINE)
        discovery = Discovery(dht=True, bootstrap=f"127.0.0.1:{bootstrap.getsockname()[1]}", lan=True)
        engine = LibtorrentEngine(["127.0.0.1"], 0, discovery=discovery, scratch=tmp_path / "scratch")
        node = Node(engine, tmp_path / "node")

        def switched_on() -> list[bool]:
            settings = engine._session.get_settings()
            return [settings["enable_dht"], settings["enable_lsd"]]

        await engine.start(node.heard)
        node.add(private, private.pieces)
        assert switched_on() == [False, False]
        assert not select.select([bootstrap], [], [], 0)[0]
        node.add(public, public.pieces)
        assert switched_on() == [True, True]
        query = await asyncio.to_thread(bootstrap.recv, 4096)
        assert private.info_hash[:20] not in query
        engine.remove(public.info_hash)
        assert switched_on() == [False, False]
        await engine.stop()


async def test_an_engine_that_was_told_not_to_be_found_is_not(tmp_path: Path) -> None:
    sample = Sample("quiet", private=False)
    node = Node(LibtorrentEngine(["127.0.0.1"], 0, scratch=tmp_path / "scratch"), tmp_path / "node")
    await node.engine.start(node.heard)
    node.add(sample, sample.pieces)
    settings = node.engine._session.get_settings()  # type: ignore[attr-defined]
    assert not settings["enable_dht"] and not settings["enable_lsd"]
    await node.engine.stop()


async def test_how_it_is_found_can_change_while_it_runs(tmp_path: Path) -> None:
    public = Sample("public", private=False)
    node = Node(LibtorrentEngine(["127.0.0.1"], 0, scratch=tmp_path / "scratch"), tmp_path / "node")
    engine = node.engine
    assert isinstance(engine, LibtorrentEngine)
    await engine.start(node.heard)

    def switched_on() -> list[bool]:
        settings = engine._session.get_settings()
        return [settings["enable_dht"], settings["enable_lsd"]]

    engine.discover(Discovery(lan=True))
    assert switched_on() == [False, False], "there is nothing to be found"
    node.add(public, public.pieces)
    assert switched_on() == [False, True]
    engine.discover(Discovery())
    assert switched_on() == [False, False]
    await engine.stop()


async def test_no_change_of_settings_forgets_the_port_for_tls(tmp_path: Path) -> None:
    """libtorrent would, and would close it at the next change of the network (tests/integration/network)."""
    engine = LibtorrentEngine(["127.0.0.1"], 1001, 1002, scratch=tmp_path / "scratch")
    told: list[dict[str, object]] = []
    engine._session = SimpleNamespace(apply_settings=told.append)
    engine.limit(1, 2)
    engine.listen_on(["127.0.0.1", "127.0.0.2"])
    assert told[0]["upload_rate_limit"] == 2
    assert [each["listen_interfaces"] for each in told] == [
        "127.0.0.1:1001,127.0.0.1:1002s",
        "127.0.0.1:1001,127.0.0.2:1001,127.0.0.1:1002s,127.0.0.2:1002s",
    ]
