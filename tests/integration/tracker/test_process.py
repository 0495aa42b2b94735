"""The tracker as a process: starting, stopping, restarting, moving, hostile connections, its log."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from p2pckpt.tracker_protocol import SwarmState

from ...support.tracker_process import TrackerProcess, start_tracker
from .bdecode import bdecode
from .people import Events, Person, ShareFiles

SLOWLORIS_LIMIT = 15.0
"""Seconds in which a connection that sends nothing useful must be closed: a security limit, not a speed."""


@pytest.fixture
def process(tmp_path: Path) -> Any:
    with start_tracker(tmp_path / "tracker") as running:
        yield running


async def make_share(session: aiohttp.ClientSession, process: TrackerProcess) -> tuple[ShareFiles, str]:
    owner = await Person(session, process.url).login()
    share = ShareFiles(owner, (await owner.good("GET", "/tracker"))["online_key"])
    await share.create()
    return share, await share.publish(1)


async def stock_announce(session: aiohttp.ClientSession, process: TrackerProcess, secret: str, info_hash: str) -> Any:
    from yarl import URL

    short = "".join(f"%{byte:02x}" for byte in bytes.fromhex(info_hash)[:20])
    query = f"info_hash={short}&peer_id={'p' * 20}&port=7000&left=1"
    url = URL(f"http://127.0.0.1:{process.announce_port}/announce/{secret}?{query}", encoded=True)
    async with session.get(url) as answer:
        assert answer.status == 200
        return bdecode(await answer.read())


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "p2pckpt_tracker.main", *map(str, arguments)], capture_output=True, text=True
    )


async def test_shares_tokens_and_passes_outlive_a_restart(session: aiohttp.ClientSession, tmp_path: Path) -> None:
    with start_tracker(tmp_path / "tracker") as process:
        share, info_hash = await make_share(session, process)
        secret = await share.owner.get_pass(share.share_id)
        await share.owner.good("GET", f"/shares/{share.share_id}/log")  # signs all there is to sign
        timestamp = (await share.owner.call("GET", f"/shares/{share.share_id}/metadata/timestamp.json")).body
        assert process.stop() == 0
    with start_tracker(tmp_path / "tracker") as process:
        share.owner.url = process.url
        assert (await share.owner.good("GET", f"/shares/{share.share_id}"))["versions"] == 1
        assert b"failure reason" not in await stock_announce(session, process, secret, info_hash)
        again = (await share.owner.call("GET", f"/shares/{share.share_id}/metadata/timestamp.json")).body
        assert again == timestamp
        await share.publish(2)
        assert process.stop(signal.SIGKILL) == -signal.SIGKILL
    with start_tracker(tmp_path / "tracker") as process:
        share.owner.url = process.url
        assert (await share.owner.good("GET", f"/shares/{share.share_id}"))["versions"] == 2


async def test_files_of_the_tracker_are_for_its_owner_only(process: TrackerProcess) -> None:
    assert process.data_dir.stat().st_mode & 0o777 == 0o700
    found = [path for path in process.data_dir.rglob("*") if path.is_file()]
    assert {path.name for path in found} >= {"tracker.db", "tracker.key", "tracker.lock"}
    for path in found:
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_second_tracker_on_the_same_directory_refuses(process: TrackerProcess) -> None:
    second = command("serve", "--data", process.data_dir, "--listen", "127.0.0.1:0")
    assert second.returncode == 1
    assert "another tracker is running" in second.stderr
    assert "Traceback" not in second.stderr


async def test_sigterm_ends_streams_and_exits_cleanly(session: aiohttp.ClientSession, tmp_path: Path) -> None:
    process = start_tracker(tmp_path / "tracker")
    someone = await Person(session, process.url).login()
    async with Events(someone, session) as events:
        await events.next()
        code = await asyncio.to_thread(process.stop)
        assert await events.next() is None
    assert code == 0
    assert "Traceback" not in process.log()


async def test_the_certificate_is_the_one_the_ready_file_names_and_stays(tmp_path: Path) -> None:
    seen = set()
    for _ in range(2):
        with start_tracker(tmp_path / "tracker", plain_http=False) as process:
            seen.add(process.certificate_sha256)
            pinned = aiohttp.Fingerprint(bytes.fromhex(process.certificate_sha256))
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"{process.url}/api/v1/tracker", ssl=pinned) as answer,
            ):
                assert answer.status == 200
    assert len(seen) == 1


async def test_neither_tokens_nor_passes_nor_targets_reach_the_log(
    session: aiohttp.ClientSession, process: TrackerProcess
) -> None:
    share, info_hash = await make_share(session, process)
    secret = await share.owner.get_pass(share.share_id)
    await stock_announce(session, process, secret, info_hash)
    await stock_announce(session, process, secret, "ab" * 32)
    spoilt = [
        f"GET /announce/{secret}?info_hash=%zz HTTP/9.9\r\n\r\n",
        f"G\x00T /announce/{secret} HTTP/1.1\r\n\r\n",
        f"GET /announce/{secret} HTTP/1.1\r\nBad Header\r\n\r\n",
        f"GET /announce/{secret} HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        f"GET /{secret} HTTP/1.1\r\nAuthorization: Bearer {share.owner.token}\r\nX: {'y' * 20_000}\r\n\r\n",
    ]
    for port in (process.announce_port, process.api_port):
        for text in spoilt:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(text.encode("latin-1"))
            await reader.read()
            writer.close()
    # Break the store under its feet, so that operations fail in ways nobody planned for.
    for path in (process.data_dir / "blobs").rglob("*.json"):
        path.write_bytes(b"\xff")
    _, target = await share.upload(2)
    assert target
    await share.owner.call("POST", f"/shares/{share.share_id}/keyring", {"keyring": ""})
    process.stop()
    log = process.log()
    assert "listening" in log
    for each in (secret, share.owner.token, secret[5:30], share.owner.token[5:30]):
        assert each not in log
    assert "Traceback" not in log


async def test_connections_that_send_nothing_useful_are_closed(process: TrackerProcess) -> None:
    beginnings = [
        b"",
        b"GET /ann",
        b"GET /announce/x?info_hash=1 HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        b"POST /api/v1/tokens HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{",
        b"GET /announce/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n",
        b"GET /announce/x HTTP/1.1\r\nHost: x\r\n\r\n",
    ]

    async def hold(port: int, beginning: bytes) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(beginning)

        async def drip() -> None:
            # A byte now and then is what makes the attack cheap; it must not buy more time.
            while True:
                await asyncio.sleep(1)
                writer.write(b"a")
                await writer.drain()

        dripping = asyncio.create_task(drip()) if beginning and not beginning.endswith(b"\r\n\r\n") else None
        try:
            async with asyncio.timeout(SLOWLORIS_LIMIT):
                while await reader.read(65536):
                    pass
        except ConnectionError:
            pass
        finally:
            if dripping is not None:
                dripping.cancel()
                await asyncio.gather(dripping, return_exceptions=True)
            writer.close()

    ports = (process.announce_port, process.api_port)
    await asyncio.gather(*(hold(port, beginning) for port in ports for beginning in beginnings))


async def test_announces_go_on_while_the_database_is_locked(
    session: aiohttp.ClientSession, process: TrackerProcess
) -> None:
    share, info_hash = await make_share(session, process)
    secret = await share.owner.get_pass(share.share_id)
    blocker = sqlite3.connect(process.data_dir / "tracker.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    try:
        answer = await share.owner.call("POST", f"/shares/{share.share_id}/pass")
        assert (answer.status, answer.headers["Retry-After"]) == (503, "10")
        assert b"failure reason" not in await stock_announce(session, process, secret, info_hash)
        reply = await share.owner.announce([SwarmState(info_hash, secret, 0)])
        assert not reply.swarms[0].failure
    finally:
        blocker.execute("ROLLBACK")
        blocker.close()
    await share.owner.get_pass(share.share_id)


async def test_a_backup_of_a_running_tracker_goes_on_elsewhere(session: aiohttp.ClientSession, tmp_path: Path) -> None:
    archive, moved = tmp_path / "tracker.tar", tmp_path / "moved"
    with start_tracker(tmp_path / "tracker") as process:
        share, info_hash = await make_share(session, process)
        secret = await share.owner.get_pass(share.share_id)
        made = command("backup", "--data", process.data_dir, archive)
        assert made.returncode == 0, made.stderr
        assert archive.stat().st_mode & 0o777 == 0o600
        assert command("backup", "--data", process.data_dir, archive).returncode == 1, "never overwritten"
        assert command("restore", "--data", process.data_dir, archive).returncode == 1, "never over a tracker"
        tracker_id = process.tracker_id
    restored = command("restore", "--data", moved, archive)
    assert restored.returncode == 0, restored.stderr
    with start_tracker(moved) as process:
        assert process.tracker_id == tracker_id
        share.owner.url = process.url
        assert b"failure reason" not in await stock_announce(session, process, secret, info_hash)
        answer = await share.owner.call("GET", f"/shares/{share.share_id}/metadata/timestamp.json")
        assert answer.json()["signed"]["version"] > 1000, "clients may have seen later ones than the backup has"
        await share.publish(2)
        for path in moved.rglob("*"):
            assert path.stat().st_mode & 0o077 == 0, path


def test_an_archive_that_is_no_backup_is_refused(tmp_path: Path) -> None:
    import tarfile

    evil = tmp_path / "evil.tar"
    (tmp_path / "x").write_text("x")
    for name in ("../x", "/x", "tracker.db/../../x", "blobs/../../x", "other"):
        evil.unlink(missing_ok=True)
        with tarfile.open(evil, "w") as archive:
            archive.add(tmp_path / "x", "tracker.db")
            info = archive.gettarinfo(tmp_path / "x")
            info.name = name
            archive.addfile(info, (tmp_path / "x").open("rb"))
        result = command("restore", "--data", tmp_path / "new", evil)
        assert result.returncode == 1
        assert "no backup" in result.stderr
        assert not list((tmp_path / "new").iterdir())


def test_users_are_listed_and_taken_off(tmp_path: Path) -> None:
    identity, data = os.urandom(32).hex(), tmp_path / "tracker"
    assert command("migrate", "--data", data).returncode == 0
    assert command("user", "add", "--data", data, identity).returncode == 0
    assert command("user", "ls", "--data", data).stdout.split() == [identity]
    assert command("user", "rm", "--data", data, identity).returncode == 0
    assert command("user", "rm", "--data", data, identity).returncode == 1
    assert command("user", "ls", "--data", data).stdout == ""
    assert command("user", "add", "--data", data, "nobody").returncode == 2


async def test_an_owner_flag_lists_an_identity(session: aiohttp.ClientSession, tmp_path: Path) -> None:
    listed, other = Person(session, ""), Person(session, "")
    with start_tracker(tmp_path / "tracker", new_shares="listed", owner=[listed.identity]) as process:
        statuses = []
        for each in (listed, other):
            each.url = process.url
            await each.login()
            files = ShareFiles(each, (await each.good("GET", "/tracker"))["online_key"])
            statuses.append((await each.call("POST", "/shares", files.create_body())).status)
    assert statuses == [201, 403]


@pytest.mark.parametrize(
    "wrong",
    [
        ["--listen", "nowhere"],
        ["--listen", "127.0.0.1:99999"],
        ["--listen", "::1:80"],
        ["--trusted-proxy", "10.0.0.0/99"],
        ["--owner", "me"],
        ["--tls-cert", "x"],
        ["--tls-cert", "absent.pem", "--tls-key", "absent.key"],
    ],
)
def test_wrong_usage_is_told_in_one_line(tmp_path: Path, wrong: list[str]) -> None:
    result = command("serve", "--data", tmp_path / "tracker", "--listen", "127.0.0.1:0", *wrong)
    assert result.returncode in (1, 2)
    assert "Traceback" not in result.stderr
