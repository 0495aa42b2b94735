"""What happens to a transfer that runs: certificates that are renewed, and an owner who switches TLS off and on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from p2pckpt.control import access_messages as am
from p2pckpt_tracker.api import swarm_routes
from p2pckpt_tracker.app import Tracker, _base32
from p2pckpt_tracker.settings import Listen, Settings

from ...support.homes import Home, seeded_bytes, tree, until, write_files
from .test_revocation import SIZE, begin, goes_on


async def test_certificates_are_renewed_while_a_transfer_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They live three seconds, the transfer until two are over; who comes later finds certificates that are valid."""
    issued: dict[str, int] = {}
    issue = swarm_routes.issue

    def counting(authority: Any, key: bytes, identity: str, *rest: Any) -> str:
        issued[identity] = issued.get(identity, 0) + 1
        return issue(authority, key, identity, *rest)

    monkeypatch.setattr(swarm_routes, "issue", counting)
    listen = Listen("127.0.0.1", 0)
    tracker = Tracker(Settings(tmp_path / "t", listen, None, None, only_listed=False, certificate_lifetime=3))
    await tracker.start()
    at = f"127.0.0.1:{tracker.api_port}#{_base32(tracker._fingerprint)}"
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(SIZE, 7)})
    try:
        async with (
            Home(tmp_path / "alice", tracker=at) as alice,
            Home(tmp_path / "bob") as bob,
            Home(tmp_path / "carol") as carol,
        ):
            link = (await alice.share(source, name="m")).link
            job = await begin(bob, link, tmp_path / "bob has")
            seen = dict(issued)
            (peer,) = (await alice.client.job_detail("j1")).peers
            assert "T" in peer.flags
            who = [(await home.client.key()).identity for home in (alice, bob)]

            async def renewed() -> bool:
                return all(issued[identity] >= seen[identity] + 2 for identity in who)

            await until(renewed, "both have had two more certificates")
            assert not (await bob.client.job(job.id)).state.ended
            await goes_on(bob, job, source)
            await carol.get(link, tmp_path / "carol has")
            assert tree(tmp_path / "carol has") == tree(source)
            for home in (alice, bob):
                home.check_log()
    finally:
        await tracker.stop()


async def test_an_owner_switches_tls_off_and_on_while_a_transfer_runs(tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(SIZE, 7)})
    async with Home(tmp_path / "alice") as alice, Home(tmp_path / "bob") as bob:
        link = (await alice.share(source, name="m")).link
        job = await begin(bob, link, tmp_path / "bob has")

        async def is_tls(wanted: bool) -> bool:
            flags = [peer.flags for peer in (await bob.client.job_detail(job.id)).peers]
            return bool(flags) and all(("T" in each) is wanted for each in flags)

        assert await is_tls(True)
        for wanted in (False, True):
            await alice.client.set_terms(am.TermsRequest(share="m", swarm_tls=wanted))
            await until(lambda wanted=wanted: is_tls(wanted), f"TLS is {'on' if wanted else 'off'}")  # type: ignore[misc]
        await goes_on(bob, job, source)
