"""The daemon stops, is killed and starts again: jobs go on, ports stay, the tracker is found."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from p2pckpt.control import access_messages as am
from p2pckpt.control import messages as m
from p2pckpt.trust.links import Link

from ...support.homes import Home, failure, is_alive, seeded_bytes, tree, until, write_files
from ...support.tracker_process import start_tracker
from .halves import half_seeded

pytestmark = pytest.mark.asyncio(loop_scope="package")
MIB = 1 << 20


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def erin_s_home(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Home]:
    async with Home(tmp_path_factory.mktemp("homes") / "erin") as home:
        yield home


@pytest_asyncio.fixture(loop_scope="package")
async def erin(erin_s_home: Home) -> Home:
    """A publisher whose daemon the tests stop and kill; it runs when one begins."""
    if erin_s_home.process is None:
        await erin_s_home.start()
    return erin_s_home


@contextmanager
def taken_port() -> Iterator[int]:
    """A port of 127.0.0.1 that somebody else listens on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


async def test_a_fetch_goes_on_after_a_restart_and_seeds_on_the_same_port_after_another(
    alice: Home, bob: Home, carol: Home, tmp_path: Path
) -> None:
    half = await half_seeded(alice, bob, tmp_path, "restarted")
    async with Home(tmp_path / "dave") as dave:
        before = await dave.client.status()
        job = await half.caught(dave, tmp_path / "target")
        await dave.restart()
        assert (await dave.client.status()).listen_ports == before.listen_ports
        await dave.wait_until(job.id, lambda job: job.phase is m.Phase.CONNECTING)
        await half.seed_the_rest()
        done = await dave.wait_job(job.id)
        assert done.wire_done == done.wire_size < half.job.wire_size
        assert tree(tmp_path / "target") == tree(half.source)
        await alice.client.pause(half.job.id)
        await dave.restart()
        await dave.wait_job(job.id, m.JobState.SEEDING)
        await carol.get(half.job.link, tmp_path / "carol")
        assert tree(tmp_path / "carol") == tree(half.source)


async def test_a_publisher_seeds_again_after_a_restart_and_its_link_still_leads_there(
    erin: Home, carol: Home, tmp_path: Path
) -> None:
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(2 * MIB, 1)})
    published = await erin.share(source, name="seeds/again")
    before, port = await erin.client.status(), erin.tracker_ready["api_port"]
    await erin.restart()
    assert (await erin.client.status()).listen_ports == before.listen_ports
    again = await erin.wait_job(published.id, m.JobState.SEEDING)
    assert again.link == published.link
    await until(lambda: _runs(erin), "the tracker runs again")
    assert erin.tracker_ready["api_port"] == port
    await carol.get(published.link, tmp_path / "carol")
    assert tree(tmp_path / "carol") == tree(source)
    await erin.client.pause(published.id)
    await erin.restart()
    assert (await erin.client.job(published.id)).state is m.JobState.PAUSED


async def test_a_killed_daemon_leaves_its_tracker_which_the_next_one_adopts(
    erin: Home, carol: Home, tmp_path: Path
) -> None:
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(2 * MIB, 2)})
    published = await erin.share(source, name="killed")
    tracker = erin.tracker_pid
    await erin.kill()
    assert is_alive(tracker)
    preview = await carol.client.fetch_plan(m.FetchRequest(source=published.link, to=str(tmp_path / "target")))
    assert preview.share == "killed"
    await erin.start()
    await erin.wait_job(published.id, m.JobState.SEEDING)
    await carol.get(published.link, tmp_path / "target")
    assert erin.tracker_pid == tracker
    assert (await erin.client.status()).embedded_tracker
    await erin.stop()
    assert not is_alive(tracker)
    assert tree(tmp_path / "target") == tree(source)


async def test_a_tracker_that_was_killed_is_started_again_on_its_port_with_the_next_daemon(
    erin: Home, carol: Home, tmp_path: Path
) -> None:
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(2 * MIB, 3)})
    published = await erin.share(source, name="both/killed")
    port = erin.tracker_ready["api_port"]
    await erin.kill(tracker=True)
    await erin.start()
    await until(lambda: _runs(erin), "the tracker runs again")
    assert erin.tracker_ready["api_port"] == port
    await carol.get(published.link, tmp_path / "target")
    assert tree(tmp_path / "target") == tree(source)


async def _runs(home: Home) -> bool:
    return bool(home.tracker_pid)


async def test_the_status_says_what_runs_where(tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(2 * MIB, 4)})
    async with Home(tmp_path / "erin") as erin:
        status = await erin.client.status()
        assert erin.process is not None
        assert (status.pid, status.home, status.name) == (erin.process.pid, str(erin.path), "erin")
        assert status.identity == (await erin.client.key()).identity
        assert (status.jobs, status.stored_bytes, status.embedded_tracker) == (0, 0, False)
        assert status.tracker_state == "none"
        port = status.listen_ports[0]
        with socket.create_connection(("127.0.0.1", port), timeout=10):
            pass
        published = await erin.share(source)

        async def counted() -> bool:
            status = await erin.client.status()
            return status.stored_bytes == published.wire_size and status.tracker_state == "connected"

        await until(counted, "the status counts what is stored and the tracker is connected")
        status = await erin.client.status()
        assert (status.jobs, status.embedded_tracker) == (1, True)
        assert status.free_bytes > 0
        assert 0 < status.rss_bytes <= status.peak_rss_bytes
        printed = await erin.cli("daemon", "status")
        assert printed.returncode == 0
        assert status.identity in printed.stdout
        await erin.stop()
        assert (await erin.cli("daemon", "status")).returncode == 8


async def test_a_second_daemon_of_one_home_leaves_the_first_alone(erin: Home) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "p2pckpt.daemon.main"], env=erin.env, capture_output=True, text=True, timeout=60
    )
    assert (second.returncode, second.stderr) == (0, "")
    assert erin.process is not None
    assert (await erin.client.status()).pid == erin.process.pid


async def test_a_configured_port_that_is_taken_is_an_error_that_names_it(tmp_path: Path) -> None:
    with taken_port() as port:
        home = Home(tmp_path / "erin", port=port)
        home.path.mkdir()
        started = await home.cli("daemon", "start")
        assert started.returncode == 8
        assert str(port) in started.stderr
        home.check_log()


async def test_a_remembered_port_that_is_taken_makes_room_for_another(erin: Home) -> None:
    before = (await erin.client.status()).listen_ports
    await erin.stop()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", before[0]))
        other.listen()
        await erin.start()
        now = (await erin.client.status()).listen_ports
    assert now[0] != before[0]
    assert now[1] == before[1]


async def test_a_tracker_port_that_is_taken_fails_the_publish_and_says_so(tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {"x": b"1"})
    with taken_port() as port:
        async with Home(tmp_path / "erin", tracker_port=port) as erin:
            error = await failure(erin.share(source))
            assert "tracker did not start" in error.fact


async def test_a_configured_tracker_is_used_instead_of_one_beside_the_daemon(bob: Home, tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(2 * MIB, 5)})
    with start_tracker(tmp_path / "tracker", plain_http=True) as tracker:
        async with Home(tmp_path / "erin", tracker=tracker.url) as erin:
            published = await erin.share(source, name="standalone")
            assert Link.parse(published.link).tracker.hosts == (tracker.url,)
            assert erin.tracker_pid == 0
            assert not (await erin.client.status()).embedded_tracker
            await bob.get(published.link, tmp_path / "target")
            tracker.stop()
            error = await failure(erin.client.create_link(am.CreateLinkRequest(share="standalone")))
            assert error.code == "tracker_unreachable"
            await erin.restart()
            await erin.wait_job(published.id, m.JobState.SEEDING)
    assert tree(tmp_path / "target") == tree(source)


async def test_a_socket_directory_that_others_can_enter_is_refused(erin: Home) -> None:
    await erin.stop()
    erin.config.runtime_dir.chmod(0o755)
    started = await erin.cli("daemon", "start")
    erin.config.runtime_dir.chmod(0o700)
    assert started.returncode == 8
    assert "private" in started.stderr


async def test_every_version_seeds_again_after_a_restart_though_they_share_torrents(
    erin: Home, carol: Home, tmp_path: Path
) -> None:
    source = write_files(tmp_path / "source", {"kept.bin": seeded_bytes(2 * MIB, 6)})
    jobs = []
    for number in range(4):
        write_files(source, {"changing.bin": seeded_bytes(MIB, 100 + number)})
        jobs.append(await erin.share(source, name="many"))
    await erin.restart()
    for job in jobs:
        await erin.wait_job(job.id, m.JobState.SEEDING)
    await until(lambda: _runs(erin), "the tracker runs again")
    for number in (1, 4):
        await carol.get(jobs[0].link if number == 1 else "many@4", tmp_path / str(number))
    states = [job.state for job in await erin.client.jobs() if job.share == "many"]
    assert states == [m.JobState.SEEDING] * 4
    assert tree(tmp_path / "4") == tree(source)
