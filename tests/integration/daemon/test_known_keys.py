"""What a person decides about keys, at real daemons: blocked ones, new ones, and names that change hands."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from p2pckpt.control import access_messages as am
from p2pckpt.control import key_messages as km
from p2pckpt.control import messages as m
from p2pckpt.tracker_protocol import Role
from p2pckpt.trust.known_keys import How, KeyState, Review

from ...support.homes import DEADLINE, Home, failure, seeded_bytes, tree, until, write_files
from .halves import half_seeded

pytestmark = pytest.mark.asyncio(loop_scope="package")
MIB = 1 << 20


@pytest_asyncio.fixture(loop_scope="package")
async def dora(tmp_path: Path) -> AsyncIterator[Home]:
    """Somebody who decides: nobody else's tests see it."""
    async with Home(tmp_path / "dora") as home:
        yield home


async def row_of(home: Home, other: Home) -> km.KeyRow:
    identity = (await other.client.key()).identity
    return next(row for row in await home.client.keys() if row.identity == identity)


async def decide(home: Home, other: Home, action: km.KeyAction, **fields: str) -> None:
    identity = (await other.client.key()).identity
    await home.client.decide_key(km.DecideKeyRequest(identity=identity, action=action, **fields))


async def notice(home: Home, part: str) -> m.Notice:
    """The first notice that says this, from now on."""
    async with asyncio.timeout(DEADLINE), contextlib.aclosing(home.client.events()) as events:  # type: ignore[type-var]
        async for event in events:
            if isinstance(event, m.Notice) and part in event.text:
                return event
    raise AssertionError("the event stream ends with an exception")


async def test_a_link_s_publisher_is_known_by_itself_and_verified_by_the_first_word(
    alice: Home, dora: Home, tmp_path: Path
) -> None:
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(MIB, 51)})
    job = await alice.share(source, name="known/first")
    preview = await dora.client.fetch_plan(m.FetchRequest(source=job.link, base=str(tmp_path)))
    mine = await alice.client.key()
    assert preview.publisher_words == mine.words
    row = preview.publisher_key
    assert row is not None
    assert (row.state, row.how, row.name, row.words) == (KeyState.UNVERIFIED, How.LINK, "alice", mine.words)
    assert [(place.share, place.role, place.first_version) for place in row.places] == [("known/first", "owner", 1)]
    assert not any("key" in warning for warning in preview.warnings)  # first contact asks nothing
    got = await dora.cli("get", job.link, "--to", tmp_path / "target")
    assert got.returncode == 0, got.stderr
    assert "not verified by you" in got.stderr
    assert mine.words in got.stderr

    nobody = await dora.cli("--no-input", "trust", "verify", "alice")
    assert nobody.returncode == 2
    assert "--first-word" in nobody.stderr
    wrong = await dora.cli("trust", "verify", "alice", "--first-word", "babab")
    assert wrong.returncode == 2, wrong.stderr
    assert (await row_of(dora, alice)).state is KeyState.UNVERIFIED
    word = mine.words.partition("-")[0].upper()
    right = await dora.cli(
        "trust", "verify", mine.identity[:8], "--share", "known/first", "--first-word", "-", stdin=word
    )
    assert right.returncode == 0, right.stderr
    assert "verified by you" in right.stdout
    row = await row_of(dora, alice)
    assert (row.state, row.everywhere, row.places[0].verified_at > 0) == (KeyState.VERIFIED, False, True)
    shown = await dora.cli("show", "known/first")
    assert "verified by you" in shown.stdout
    listed = await dora.cli("trust", "ls")
    assert "known/first" in listed.stdout
    assert (await dora.client.status()).keys_to_review == 0

    await dora.restart()
    assert await row_of(dora, alice) == row
    forgot = await dora.cli("trust", "forget", "alice")
    assert forgot.returncode == 0, forgot.stderr
    assert (await row_of(dora, alice)).state is KeyState.UNVERIFIED


async def test_a_block_stops_a_running_fetch_and_every_later_one_until_it_is_taken_back(
    alice: Home, bob: Home, dora: Home, tmp_path: Path
) -> None:
    half = await half_seeded(alice, bob, tmp_path, "known/blocked")
    await dora.client.fetch_plan(m.FetchRequest(source=half.job.link, base=str(tmp_path)))
    caught = await half.caught(dora, tmp_path / "caught")
    blocked = await dora.cli("trust", "block", (await alice.client.key()).words, "--reason", "laptop lost")
    assert blocked.returncode == 0, blocked.stderr
    ended = await dora.wait_job(caught.id, m.JobState.FAILED)
    assert ended.failure is not None
    assert ended.failure.code == "blocked_key"
    for part in ("'alice'", "whom you blocked on", "laptop lost"):
        assert part in ended.failure.fact
    assert "trust forget" in ended.failure.next_step
    for source in (half.job.link, "known/blocked", "known/blocked@1"):
        refused = await dora.cli("get", source, "--to", tmp_path / "later")
        assert refused.returncode == 7, refused.stderr
        assert "laptop lost" in refused.stderr
    assert not (tmp_path / "later").exists()
    assert (await failure(dora.client.fetch_plan(m.FetchRequest(source=half.job.link, base="/")))).exit_code == 7
    await dora.client.resume(caught.id)
    assert (await failure(dora.wait_job(caught.id))).code == "blocked_key"

    await dora.restart()
    assert (await row_of(dora, alice)).state is KeyState.BLOCKED
    assert (await failure(dora.get("known/blocked", tmp_path / "later"))).code == "blocked_key"
    await half.seed_the_rest()
    await decide(dora, alice, km.KeyAction.FORGET)
    await dora.client.resume(caught.id)
    await dora.wait_job(caught.id)
    assert tree(tmp_path / "caught") == tree(half.source)


async def test_a_block_ends_seeding_and_a_daemon_that_died_in_between_does_not_begin_again(
    alice: Home, dora: Home, tmp_path: Path
) -> None:
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(MIB, 52)})
    job = await alice.share(source, name="known/seeded")
    got = await dora.get(job.link, tmp_path / "target")
    assert got.state is m.JobState.SEEDING
    await decide(dora, alice, km.KeyAction.BLOCK)
    ended = await dora.wait_job(got.id, m.JobState.FAILED)
    assert ended.failure is not None
    assert ended.failure.code == "blocked_key"
    await dora.kill()
    await dora.start()
    assert (await dora.client.job(got.id)).state is m.JobState.FAILED
    assert tree(tmp_path / "target") == tree(source)  # what is here stays
    await dora.verify("known/seeded")


async def team(alice: Home, bob: Home, dora: Home, tmp_path: Path, name: str) -> Path:
    """A share of alice's that dora has, and in which bob may publish from now on."""
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(MIB, name)})
    job = await alice.share(source, name=name)
    await dora.get(job.link, tmp_path / "v1")
    await bob.get(job.link, tmp_path / "bobs")
    public = (await bob.client.key()).public_text
    await alice.client.set_member(am.SetMemberRequest(name, public, Role.PUBLISHER))
    return source


async def test_a_key_that_never_signed_in_a_share_before_is_told_and_the_fetch_goes_on(
    alice: Home, bob: Home, dora: Home, tmp_path: Path
) -> None:
    source = await team(alice, bob, dora, tmp_path, "known/told")
    write_files(source, {"more.bin": b"from bob"})
    async with asyncio.timeout(DEADLINE):
        told = asyncio.create_task(notice(dora, "never signed there before"))
        await asyncio.sleep(0)
        assert (await bob.share(source, name="known/told")).version == 2
        assert "known/told@v2" in (await told).text
    assert (await dora.client.status()).keys_to_review == 1
    row = await row_of(dora, bob)
    assert row.state is KeyState.REVIEW
    assert [(p.review, p.first_version) for p in row.places if p.review] == [(Review.PUBLISHER, 2)]
    preview = await dora.client.fetch_plan(m.FetchRequest(source="known/told", base=str(tmp_path)))
    assert any("new in this share" in warning for warning in preview.warnings), preview.warnings
    assert (await dora.get("known/told", tmp_path / "v2")).version == 2
    seen = await dora.cli("trust", "ls", "--review", "-q")
    assert seen.stdout.split() == [row.identity]
    assert (await dora.cli("trust", "dismiss", row.identity)).returncode == 0
    assert (await dora.client.status()).keys_to_review == 0
    assert (await row_of(dora, bob)).state is KeyState.UNVERIFIED
    write_files(source, {"again.bin": b"from bob again"})
    await bob.share(source, name="known/told")
    assert (await dora.get("known/told", tmp_path / "v3")).version == 3
    assert (await dora.client.status()).keys_to_review == 0  # nothing is asked twice
    assert not [row for row in await alice.client.keys() if row.state is KeyState.REVIEW]  # who let bob in knows him


async def test_versions_by_a_new_key_wait_where_that_is_set(alice: Home, bob: Home, dora: Home, tmp_path: Path) -> None:
    await dora.stop()
    dora.set(new_keys="wait")
    await dora.start()
    source = await team(alice, bob, dora, tmp_path, "known/waits")
    write_files(source, {"more.bin": b"from bob"})
    await bob.share(source, name="known/waits")
    refused = await dora.cli("get", "known/waits", "--to", tmp_path / "v2")
    assert refused.returncode == 7, refused.stderr
    assert "not looked at" in refused.stderr
    assert (await dora.get("known/waits@1", tmp_path / "v1 again")).version == 1
    first = (await bob.client.key()).words.partition("-")[0]
    await decide(dora, bob, km.KeyAction.VERIFY, share="known/waits", first_word=first)
    assert (await dora.get("known/waits", tmp_path / "v2")).version == 2


async def test_somebody_blocked_who_becomes_a_publisher_later_is_refused_and_others_are_not(
    alice: Home, bob: Home, dora: Home, tmp_path: Path
) -> None:
    identity = (await bob.client.key()).identity
    assert (await dora.cli("trust", "block", identity)).returncode == 0  # never seen here
    source = await team(alice, bob, dora, tmp_path, "known/later")
    write_files(source, {"more.bin": b"from bob"})
    await bob.share(source, name="known/later")
    assert (await failure(dora.get("known/later", tmp_path / "v2"))).code == "blocked_key"
    assert (await dora.get("known/later@1", tmp_path / "v1 again")).version == 1
    assert (await dora.client.status()).keys_to_review == 0
    write_files(source, {"model.bin": seeded_bytes(MIB, 3)})
    assert (await alice.share(source, name="known/later")).version == 3
    assert (await dora.get("known/later", tmp_path / "v3")).version == 3


async def test_another_key_under_a_verified_name_is_warned_of_with_both_keys(
    alice: Home, dora: Home, tmp_path: Path
) -> None:
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(MIB, 54)})
    job = await alice.share(source, name="known/real")
    await dora.get(job.link, tmp_path / "real")
    real = await alice.client.key()
    await decide(dora, alice, km.KeyAction.VERIFY, first_word=real.words.partition("-")[0])
    impostor = Home(tmp_path / "impostor")
    impostor.set(name="\u0410l\u0456ce")  # an A and an i of the Cyrillic alphabet
    async with impostor:
        write_files(source, {"model.bin": seeded_bytes(MIB, 55)})
        false = await impostor.share(source, name="known/false")
        preview = await dora.client.fetch_plan(m.FetchRequest(source=false.link, base=str(tmp_path)))
        row = preview.publisher_key
        assert row is not None
        assert (row.state, [other.identity for other in row.namesakes]) == (KeyState.REVIEW, [real.identity])
        mine = await impostor.client.key()
        (warning,) = (each for each in preview.warnings if "name of another key" in each)
        assert real.words in warning
        assert mine.words in warning
        first = mine.words.partition("-")[0]
        refused = await failure(
            dora.client.decide_key(
                km.DecideKeyRequest(identity=mine.identity, action=km.KeyAction.VERIFY, first_word=first)
            )
        )
        assert "verify it for one share" in refused.next_step
        seen = await dora.cli("trust", "show", mine.identity)
        assert "name of another key" in seen.stderr
        assert (await dora.client.status()).keys_to_review == 1


async def test_all_who_listen_hear_of_a_decision(alice: Home, dora: Home, tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {"model.bin": b"x" * 1000})
    await dora.get((await alice.share(source, name="known/heard")).link, tmp_path / "target")
    changes = 0

    async def listen() -> None:
        nonlocal changes
        async with contextlib.aclosing(dora.client.events()) as events:  # type: ignore[type-var]
            async for event in events:
                changes += isinstance(event, km.KeysChanged)

    listeners = [asyncio.create_task(listen()) for _ in range(2)]
    await asyncio.gather(*(dora.client.status() for _ in listeners))
    await decide(dora, alice, km.KeyAction.BLOCK)

    async def heard() -> bool:
        return changes == 2

    try:
        await until(heard, "both heard")
    finally:
        for listener in listeners:
            listener.cancel()
        await asyncio.gather(*listeners, return_exceptions=True)
