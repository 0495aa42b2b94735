"""The daemon's log as front ends get it: what became of jobs and bans, followed live, and on the command line."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path

import pytest

from p2pckpt.control.health_messages import BanRequest
from p2pckpt.errors import BadUsage

from ...support.homes import DEADLINE, Home, failure, flip_bit, seeded_bytes, write_files

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def test_what_became_of_jobs_and_bans_can_be_read(alice: Home, bob: Home, tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(1 << 20, 3)})
    before = (await bob.client.daemon_log(limit=1))[-1].seq
    published = await alice.share(source, name="log/told", version_name="first")
    await bob.get(published.link, tmp_path / "target")
    await bob.client.ban(BanRequest("192.0.2.9", "sends nonsense"))
    await bob.client.unban("192.0.2.9")
    flip_bit(tmp_path / "target/model.bin", 1000)
    await failure(bob.verify("log/told"))
    await bob.verify("log/told", repair=True)
    fetched = next(job for job in await bob.client.jobs() if job.share == "log/told" and job.kind == "fetch")
    await bob.client.remove(fetched.id)

    records = await bob.client.daemon_log(since=before)
    said = [record.event for record in records]
    for event in (
        "received log/told@first",
        "banned 192.0.2.9",
        "no longer banned: 192.0.2.9",
        "failed: log/told@v1",
        "verified and repaired log/told@first",
        "removed log/told@first",
    ):
        assert event in said
    failed = next(record for record in records if record.event.startswith("failed"))
    assert (failed.level, failed.source) == ("error", "daemon.job_table")
    assert "damaged files" in failed.fields["reason"]
    assert failed.fields["next"].startswith("p2pckpt verify --repair")
    assert "published log/told@first" in [record.event for record in await alice.client.daemon_log()]
    errors = await bob.client.daemon_log(since=before, level="error")
    assert {record.level for record in errors} == {"error"}
    # nothing that opens anything is in it, here or in the file
    secret = published.link.partition("#")[2]
    assert secret and secret not in alice.log and secret not in bob.log
    assert not any(secret in str(record) for record in [*records, *await alice.client.daemon_log()])


async def test_the_log_is_followed_live(bob: Home) -> None:
    async def hear() -> str:
        async with contextlib.aclosing(bob.client.follow_log(since=last)) as records:  # type: ignore[type-var]
            async for record in records:
                if record.event.startswith("banned"):
                    return record.event
        raise AssertionError("a stream ends with an exception")

    last = (await bob.client.daemon_log(limit=1))[-1].seq
    hearing = asyncio.create_task(hear())
    await bob.client.ban(BanRequest("198.51.100.0/24"))
    assert await asyncio.wait_for(hearing, DEADLINE) == "banned 198.51.100.0/24"
    await bob.client.unban("198.51.100.0/24")
    assert isinstance(await failure(bob.client.daemon_log(level="loud")), BadUsage)

    printed = json.loads((await bob.cli("daemon", "logs", "--json", "--level", "info")).stdout)
    assert "banned 198.51.100.0/24" in [record["event"] for record in printed]
