"""Dialling stated addresses back, with a dial that is a stand-in."""

from __future__ import annotations

import asyncio

from p2pckpt.tracker_protocol import Endpoint
from p2pckpt_tracker.dial_back import AT_ONCE, REMEMBERED, WAITING, DialBack, dial_tcp

GLOBAL = [Endpoint(f"8.8.{n // 250}.{n % 250}", 6881) for n in range(200)]


async def settle(dial_back: DialBack) -> None:
    while dial_back._running:
        await asyncio.gather(*dial_back._running.values())


async def test_only_a_few_are_dialled_at_once_and_only_so_many_wait() -> None:
    running, most, dialled = 0, 0, 0

    async def dial(where: Endpoint) -> bool:
        nonlocal running, most, dialled
        running, dialled = running + 1, dialled + 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return True

    dial_back, reached = DialBack(dial), []
    for each in GLOBAL:
        dial_back.ask(each, lambda each=each: reached.append(each))  # type: ignore[misc]
    await settle(dial_back)
    assert most == AT_ONCE
    assert dialled == WAITING
    assert reached == GLOBAL[:WAITING]


async def test_a_verdict_is_remembered_for_a_while() -> None:
    now, answers = 0.0, [False, True]

    async def dial(where: Endpoint) -> bool:
        return answers.pop(0)

    dial_back, reached = DialBack(dial, lambda: now), []
    for _ in range(3):
        dial_back.ask(GLOBAL[0], lambda: reached.append(now))
        await settle(dial_back)
    assert (answers, reached, dial_back.proven(GLOBAL[0])) == ([True], [], False)
    now = REMEMBERED + 1
    dial_back.ask(GLOBAL[0], lambda: reached.append(now))
    await settle(dial_back)
    assert (answers, reached, dial_back.proven(GLOBAL[0])) == ([], [now], True)


async def test_nothing_private_is_ever_dialled() -> None:
    dialled = []

    async def dial(where: Endpoint) -> bool:
        dialled.append(where)
        return True

    dial_back = DialBack(dial)
    for host in ("127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fd00::1"):
        dial_back.ask(Endpoint(host, 6881), lambda: None)
    await settle(dial_back)
    assert dialled == []


async def test_closing_ends_what_is_still_dialling() -> None:
    async def dial(where: Endpoint) -> bool:
        await asyncio.Event().wait()
        return True

    dial_back = DialBack(dial)
    dial_back.ask(GLOBAL[0], lambda: None)
    await asyncio.sleep(0)
    await dial_back.close()
    assert not dial_back.proven(GLOBAL[0])


async def test_a_dial_tells_a_listener_from_a_closed_port() -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    assert await dial_tcp(Endpoint("127.0.0.1", port))
    server.close()
    await server.wait_closed()
    assert not await dial_tcp(Endpoint("127.0.0.1", port))
