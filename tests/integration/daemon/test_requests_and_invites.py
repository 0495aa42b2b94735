"""Asking to be let in, being approved or denied, and invitations by key and by link."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable
from pathlib import Path

import pytest

from p2pckpt.control import access_messages as am
from p2pckpt.control import messages as m
from p2pckpt.tracker_protocol import Role, Visibility
from p2pckpt.trust.links import Link

from ...support.homes import DEADLINE, Home, failure, seeded_bytes, tree, write_files

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def publish(alice: Home, tmp_path: Path, name: str, to: Visibility = Visibility.MEMBERS) -> tuple[Path, str]:
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(1 << 16, name)})
    return source, (await alice.share(source, name=name, to=to)).link


async def notice(home: Home, text: str, act: Awaitable[object]) -> m.Notice:
    """The notice with ``text`` that ``act`` brings about."""
    async with asyncio.timeout(DEADLINE), contextlib.aclosing(home.client.events()) as events:  # type: ignore[type-var]
        await anext(events)
        await act
        async for event in events:
            if isinstance(event, m.Notice) and text in event.text:
                return event
    raise AssertionError("the event stream ends with an exception")


async def test_who_asks_is_let_in_once_the_owner_has_compared_the_words(alice: Home, bob: Home, tmp_path: Path) -> None:
    source, link = await publish(alice, tmp_path, "ask/first")
    outside = await bob.cli("get", link, "--to", tmp_path / "bob")
    assert outside.returncode == 5
    assert "--request" in outside.stderr
    asking = bob.cli("get", link, "--to", tmp_path / "bob", "--request", "--message", "bob from the lab")
    told = await notice(alice, "asks to be let into ask/first", asking)
    assert told.text.startswith("bob (")
    assert "p2pckpt member requests ask/first" in told.text
    again = await bob.cli("get", link, "--request")
    words = (await bob.client.key()).words
    assert (again.returncode, again.stdout) == (0, "")
    assert words in again.stderr
    listed = await alice.cli("member", "requests", "ask/first")
    assert all(part in listed.stdout for part in (words, "bob", "bob from the lab"))
    assert "compare the words" in listed.stderr
    unsure = await alice.cli("member", "approve", "ask/first", "bob")
    assert unsure.returncode == 2, "nobody said that the words were compared"
    assert words in unsure.stderr
    approved = await alice.cli("member", "approve", "ask/first", words)
    assert approved.returncode == 0, approved.stderr
    assert (await alice.client.requests("ask/first")) == []
    received = await bob.cli("get", link, "--to", tmp_path / "bob")
    assert received.returncode == 0, received.stderr
    assert tree(tmp_path / "bob") == tree(source)
    log = json.loads((await alice.cli("log", "ask/first", "--json")).stdout)["rows"]
    assert [row["action"] for row in log if row["action"] in ("request", "approve", "role")] == ["request", "approve"]


async def test_who_waits_goes_on_when_let_in(alice: Home, carol: Home, tmp_path: Path) -> None:
    source, link = await publish(alice, tmp_path, "ask/wait")
    waiting = asyncio.create_task(carol.cli("get", link, "--to", tmp_path / "carol", "--request", "--wait"))
    async with asyncio.timeout(DEADLINE):
        while not await alice.client.requests("ask/wait"):
            await asyncio.sleep(0.05)
    approved = await alice.cli("member", "approve", "ask/wait", "carol", "--yes", "-q")
    assert approved.stdout.split() == [(await carol.client.key()).identity]
    done = await waiting
    assert (done.returncode, done.stdout.strip()) == (0, str(tmp_path / "carol")), done.stderr
    assert "you were let in" in done.stderr
    assert tree(tmp_path / "carol") == tree(source)


async def test_who_was_denied_is_not_heard_again_and_who_was_removed_shows_as_such(
    alice: Home, bob: Home, carol: Home, tmp_path: Path
) -> None:
    _, link = await publish(alice, tmp_path, "ask/no")
    for home in (bob, carol):
        await home.client.ask(am.AskRequest(link))
    denied = await alice.cli("member", "deny", "ask/no", "carol")
    assert denied.returncode == 0, denied.stderr
    await carol.client.ask(am.AskRequest(link, "please"))
    assert (await failure(carol.get(link, tmp_path / "carol"))).exit_code == 5
    him = (await bob.client.key()).identity
    await alice.client.decide(am.DecideRequest("ask/no", him, Role.VIEWER))
    await alice.cli("member", "rm", "ask/no", him)
    await bob.client.ask(am.AskRequest(link, "me again"))
    (row,) = await alice.client.requests("ask/no")
    assert (row.identity, row.message) == (him, "me again")
    assert abs(row.removed_at - time.time()) < 600
    assert "removed" in (await alice.cli("member", "requests", "ask/no")).stdout
    assert (await alice.cli("member", "approve", "ask/no", "nobody", "-y")).returncode == 5
    assert (await failure(bob.client.requests("ask/no"))).exit_code == 5


async def test_an_invitation_by_key_is_of_use_to_nobody_else(
    alice: Home, bob: Home, carol: Home, tmp_path: Path
) -> None:
    source, _ = await publish(alice, tmp_path, "invited/key")
    key = (await bob.cli("key", "show", "-q")).stdout.strip()
    invited = await alice.cli("invite", "invited/key", key, "--role", "publisher")
    assert invited.returncode == 0, invited.stderr
    link = invited.stdout.strip()
    assert Link.parse(link).secret is None
    assert (await bob.client.key()).words in invited.stderr
    assert (await carol.cli("get", link, "--to", tmp_path / "carol")).returncode == 5
    await bob.get(link, tmp_path / "bob")
    assert tree(tmp_path / "bob") == tree(source)
    write_files(source, {"more.bin": b"more"})
    assert (await bob.share(source, name="invited/key")).version == 2
    assert (await alice.cli("invite", "invited/key", key, "--max-uses", "2")).returncode == 2
    assert (await alice.cli("invite", "invited/key", "nonsense")).returncode == 2


async def test_an_invitation_without_a_key_is_for_one_and_for_a_week(
    alice: Home, bob: Home, carol: Home, tmp_path: Path
) -> None:
    source, _ = await publish(alice, tmp_path, "invited/link", Visibility.LINK)
    before = {row.link_id for row in await alice.client.links("invited/link")}
    link = (await alice.cli("invite", "invited/link")).stdout.strip()
    (row,) = [row for row in await alice.client.links("invited/link") if row.link_id not in before]
    assert (row.role, row.max_uses) == (Role.DOWNLOADER, 1)
    assert abs(row.expires_at - time.time() - 7 * 86400) < 600
    await bob.get(link, tmp_path / "bob")
    assert tree(tmp_path / "bob") == tree(source)
    assert (await failure(carol.get(link, tmp_path / "carol"))).exit_code == 4
    assert (await alice.cli("invite", "invited/link", "--role", "publisher")).returncode == 2
