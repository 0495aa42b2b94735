"""A login is worth nothing at another tracker than the one that the client is connected to."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from p2pckpt.access.client import TrackerClient
from p2pckpt.errors import NotAllowed, NotFound
from p2pckpt.tracker_protocol import API, login_message
from p2pckpt.trust.links import TrackerAddress
from p2pckpt_tracker.app import Tracker
from p2pckpt_tracker.data_dir import DataDir, fingerprint, server_context
from p2pckpt_tracker.settings import Settings

from ...unit.trust.people import person as identity_of
from .conftest import LOCAL

VICTIM = identity_of("victim")
NO_SHARE = "00" * 32


@asynccontextmanager
async def running(data: Path, **options: Any) -> AsyncIterator[Tracker]:
    tracker = Tracker(Settings(data, LOCAL, None, None, only_listed=False, **options))
    await tracker.start()
    try:
        yield tracker
    finally:
        await tracker.stop()


def own_pair(directory: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key."""
    home = DataDir(directory)
    home.create_database()
    return home.own_certificate()


@asynccontextmanager
async def passing_on(
    upstream: str,
    session: aiohttp.ClientSession,
    context: ssl.SSLContext | None,
    spoil: Callable[[dict[str, Any]], dict[str, Any]] = dict,
) -> AsyncIterator[tuple[int, list[int]]]:
    """Something in front of a tracker, for good or ill: its port, and the statuses of the logins it passed on."""
    logins: list[int] = []

    async def serve(request: web.Request) -> web.Response:
        body = await request.read()
        login = request.path == f"{API}/tokens"
        if login:
            sent = await request.json()
            body = msgspec.json.encode(spoil(sent))
        headers = {key: value for key, value in request.headers.items() if key in ("Authorization", "Content-Type")}
        async with session.request(
            request.method, upstream + request.path, data=body, headers=headers, ssl=False
        ) as answer:
            if login:
                logins.append(answer.status)
            return web.Response(status=answer.status, body=await answer.read())

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", serve)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        yield runner.addresses[0][1], logins
    finally:
        await runner.cleanup()


async def ask(address: TrackerAddress, trust: ssl.SSLContext | None = None) -> None:
    """Log in and ask for a share that is not there. ``trust`` stands for the system's authorities."""
    client = TrackerClient(address, VICTIM, "victim")
    if trust is not None:
        client._ssl = trust
    try:
        with pytest.raises(NotFound):
            await client.share(NO_SHARE)
    finally:
        await client.close()


@pytest.mark.parametrize("tls", [True, False], ids=["its own certificate", "plain http"])
async def test_a_tracker_that_passes_a_login_on_gets_no_token(
    session: aiohttp.ClientSession, tmp_path: Path, tls: bool
) -> None:
    certificate, key = own_pair(tmp_path / "evil")
    pinned = bytes.fromhex(fingerprint(certificate)) if tls else b""
    context = server_context(certificate, key) if tls else None
    async with running(tmp_path / "honest") as honest:
        right = honest._fingerprint

        def claim(login: dict[str, Any]) -> dict[str, Any]:
            return login | {"certificate": right}

        for spoil in (dict, claim):
            async with passing_on(f"https://127.0.0.1:{honest.api_port}", session, context, spoil) as (port, logins):
                address = TrackerAddress((f"127.0.0.1:{port}" if tls else f"http://127.0.0.1:{port}",), pinned)
                client = TrackerClient(address, VICTIM, "victim")
                with pytest.raises(NotAllowed, match="another certificate" if spoil is dict else "does not verify"):
                    await client.share(NO_SHARE)
                await client.close()
            assert set(logins) == {401}
        assert not honest._rules.tokens
        await ask(TrackerAddress((f"127.0.0.1:{honest.api_port}",), bytes.fromhex(right)))


async def test_a_certificate_that_an_authority_vouches_for_is_signed_as_well(
    session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    certificate, key = own_pair(tmp_path / "ca")
    trust = ssl.create_default_context(cafile=str(certificate))
    async with running(tmp_path / "tracker", tls_certificate=certificate, tls_key=key) as tracker:
        assert tracker._fingerprint == fingerprint(certificate)
        await ask(TrackerAddress((f"127.0.0.1:{tracker.api_port}",)), trust)
    async with running(tmp_path / "other") as other:
        url = f"https://127.0.0.1:{other.api_port}"
        async with passing_on(url, session, server_context(certificate, key)) as (port, logins):
            with pytest.raises(NotAllowed, match="another certificate"):
                await ask(TrackerAddress((f"127.0.0.1:{port}",)), trust)
        assert set(logins) == {401}


async def test_behind_a_proxy_that_ends_tls_its_certificate_counts(
    session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    certificate, key = own_pair(tmp_path / "proxy")
    pinned = bytes.fromhex(fingerprint(certificate))
    for named in (True, False):
        proxies = (certificate,) if named else ()
        async with running(tmp_path / f"tracker {named}", plain_http=True, proxy_certificates=proxies) as tracker:
            url = f"http://127.0.0.1:{tracker.api_port}"
            async with passing_on(url, session, server_context(certificate, key)) as (port, _):
                by_proxy, direct = TrackerAddress((f"127.0.0.1:{port}",), pinned), TrackerAddress((url,))
                right, wrong = (by_proxy, direct) if named else (direct, by_proxy)
                await ask(right)
                with pytest.raises(NotAllowed, match="--proxy-certificate"):
                    await ask(wrong)


async def test_a_proxys_certificate_that_can_not_be_read_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    with pytest.raises(ValueError, match="PEM"):
        async with running(tmp_path / "tracker", plain_http=True, proxy_certificates=(tmp_path / "empty.pem",)):
            pass


async def test_ids_and_challenges_can_not_be_shaped_into_another_login() -> None:
    tracker, challenge, certificate = "ab" * 16, "cd" * 32, "ef" * 32
    right = login_message(tracker, challenge, certificate)
    shaped = [(tracker, challenge + certificate), (certificate + "\0" + tracker, challenge), ("", certificate)]
    assert all(login_message(*each, "") != right for each in shaped)
