"""Who reaches whom, and at which address, when some are behind a NAT router and some are not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from p2pckpt.errors import P2pckptError
from p2pckpt.trust.links import TrackerAddress

from ...support.homes import Home, seeded_bytes, tree, until, write_files
from .lab import LAN, OUTSIDE, PUBLIC, CannotBuild, HomeOn, Lab, prepare

TRACKER_PORT = 7100
PORT = {"p": 7101, "b": 7102, "c": 7103}
SIZE = 6 << 20
SLOWLY = 256 << 10
"""Bytes per second of a receiver until it was seen whom it is connected to."""
_LOOK = 0.05


@pytest.fixture(scope="module", autouse=True)
def _namespaces() -> None:
    """Skip where no lab can be built, but never in CI."""
    try:
        prepare()
    except CannotBuild as exc:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(exc))


@pytest.fixture
def room() -> Iterator[Path]:
    """A directory with a path short enough for sockets."""
    path = Path(tempfile.mkdtemp(prefix="p2pckpt-lab-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def checkpoint(room: Path) -> Path:
    return write_files(room / "model", {"weights.bin": seeded_bytes(SIZE), "config.json": b"{}\n"})


class Acquaintances:
    """The peers that each host was connected to while this watched: addresses, and whether the host dialled."""

    def __init__(self, **homes: Home) -> None:
        self._homes = homes
        self.dialled: dict[str, set[str]] = {host: set() for host in homes}
        self.met: dict[str, set[str]] = {host: set() for host in homes}

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[Acquaintances]:
        tasks = [asyncio.create_task(self._watch(host, home)) for host, home in self._homes.items()]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, host: str, home: Home) -> None:
        while True:
            with contextlib.suppress(P2pckptError):
                for job in await home.client.jobs():
                    for peer in (await home.client.job_detail(job.id)).peers:
                        self.met[host].add(peer.address.rpartition(":")[0])
                        if "→" in peer.flags:
                            self.dialled[host].add(peer.address)
            await asyncio.sleep(_LOOK)


async def _share(home: Home, directory: Path) -> str:
    """The link that ``p2pckpt share`` prints."""
    done = await home.cli("share", directory, "--name", "lab/model", "--to", "link")
    assert done.returncode == 0, done.stderr + home.report()
    return done.stdout.strip()


async def _is_alone(home: Home) -> bool:
    return not any([(await home.client.job_detail(job.id)).peers for job in await home.client.jobs()])


async def _get(home: Home, link: str, to: Path) -> None:
    done = await home.cli("get", link, "--to", to)
    assert done.returncode == 0, done.stderr + home.report()


async def _get_seen(home: Home, link: str, to: Path, is_seen: Callable[[], bool]) -> None:
    """Receive, slowly until all that has to be seen meanwhile was."""

    async def seen() -> bool:
        return is_seen() or getting.done()

    await home.limit(SLOWLY)
    getting = asyncio.create_task(_get(home, link, to))
    await until(seen, "who has to meet has met")
    await home.limit(0)
    await getting


async def test_neighbours_use_the_lan_and_the_world_uses_the_forwarded_ports(room: Path, checkpoint: Path) -> None:
    # P may not open connections to the outside, so that it is certain who dialled whom
    with Lab(forward=[TRACKER_PORT, PORT["p"]], refuse=[LAN["p"]]) as net:
        async with (
            HomeOn(
                net, "p", room / "p", public_address=PUBLIC, tls_port=PORT["p"], tracker_port=TRACKER_PORT
            ) as publisher,
            HomeOn(net, "b", room / "b", tls_port=PORT["b"]) as neighbour,
            HomeOn(net, "c", room / "c", tls_port=PORT["c"]) as stranger,
        ):
            link = await _share(publisher, checkpoint)
            assert not net.can_dial("c", LAN["p"], PORT["p"])
            assert not net.can_dial("b", PUBLIC, PORT["p"]), "this router does not lead its own LAN back in"
            async with Acquaintances(p=publisher, b=neighbour).watching() as seen:
                await _get_seen(neighbour, link, room / "out-b", lambda: all(seen.met.values()))
            assert tree(room / "out-b") == tree(checkpoint)
            assert seen.met["b"] == {LAN["p"]}
            assert seen.met["p"] == {LAN["b"]}

            await until(lambda: _is_alone(publisher), "the two seeds have parted")
            forwarded, outward = net.counted("forwarded"), net.counted("outward")
            async with Acquaintances(p=publisher, b=neighbour, c=stranger).watching() as seen:
                both = (seen.dialled, "b"), (seen.dialled, "c"), (seen.met, "p")
                await _get_seen(stranger, link, room / "out-c", lambda: all(who[host] for who, host in both))
            assert tree(room / "out-c") == tree(checkpoint)
            # C was told P's forwarded port, and no address that leads nowhere for it
            assert seen.dialled["c"] == {f"{PUBLIC}:{PORT['p']}"}
            assert net.counted("forwarded") > forwarded
            assert seen.met["p"] == {OUTSIDE}
            # B was told where C listens: nobody else could have made these two meet
            assert seen.dialled["b"] == {f"{OUTSIDE}:{PORT['c']}"}
            assert net.counted("outward") > outward


async def test_two_behind_one_router_meet_on_the_lan_through_a_tracker_outside(room: Path, checkpoint: Path) -> None:
    with Lab() as net:
        tracker = await _tracker(net, room)
        async with (
            HomeOn(net, "p", room / "p", tls_port=PORT["p"], tracker=tracker) as publisher,
            HomeOn(net, "b", room / "b", tls_port=PORT["b"], tracker=tracker) as neighbour,
        ):
            link = await _share(publisher, checkpoint)
            assert not publisher.tracker_pid
            assert not net.can_dial("c", PUBLIC, PORT["p"])
            async with Acquaintances(p=publisher, b=neighbour).watching() as seen:
                await _get_seen(neighbour, link, room / "out", lambda: all(seen.met.values()))
            assert tree(room / "out") == tree(checkpoint)
            assert seen.met == {"b": {LAN["p"]}, "p": {LAN["b"]}}


async def test_who_can_not_be_dialled_dials_itself(room: Path, checkpoint: Path) -> None:
    with Lab(silent=True) as net:
        async with (
            HomeOn(net, "c", room / "p", tls_port=PORT["c"], tracker_port=TRACKER_PORT) as publisher,
            HomeOn(net, "b", room / "b", tls_port=PORT["b"]) as receiver,
        ):
            link = await _share(publisher, checkpoint)
            await _get(receiver, link, room / "out")
            assert tree(room / "out") == tree(checkpoint)
            assert not net.can_dial("c", PUBLIC, PORT["b"])


async def _tracker(net: Lab, room: Path) -> str:
    """Start a tracker on C, which ends with the lab; its address with its key."""
    ready, log = room / "tracker.ready", room / "tracker.log"
    serve = ["serve", "--data", room / "tracker", "--listen", f"{OUTSIDE}:{TRACKER_PORT}", "--new-shares", "open"]
    command = [*net.inside("c"), sys.executable, "-m", "p2pckpt_tracker.main", *serve, "--ready-file", ready]
    with log.open("wb") as sink:
        process = subprocess.Popen(list(map(str, command)), stdout=sink, stderr=sink)

    async def listens() -> bool:
        assert process.poll() is None, log.read_text()
        return ready.exists()

    await until(listens, "the tracker listens")
    certificate = bytes.fromhex(json.loads(ready.read_text())["certificate_sha256"])
    return TrackerAddress((f"{OUTSIDE}:{TRACKER_PORT}",), certificate).text
