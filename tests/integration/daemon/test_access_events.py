"""What front ends of owners hear when members, links, requests or proposals change, and links shown again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from p2pckpt.control import access_messages as am
from p2pckpt.control import messages as m
from p2pckpt.tracker_protocol import Role, Visibility

from ...support.homes import DEADLINE, Home, failure, seeded_bytes, tree, write_files

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def heard(
    home: Home, act: Awaitable[object], share_id: str, row: Callable[[m.ShareRow], bool] = lambda row: True
) -> None:
    """Return once, after ``act``, the share's row passed ``row`` and readers were told to ask anew, in either order."""
    passed = told = False
    async with asyncio.timeout(DEADLINE), contextlib.aclosing(home.client.events()) as events:  # type: ignore[type-var]
        await anext(events)
        await act
        async for event in events:
            if isinstance(event, m.ShareChanged) and event.share.share_id == share_id:
                passed = row(event.share)
            told = told or event == m.AccessChanged(share_id)
            if passed and told:
                return


async def publish(alice: Home, tmp_path: Path, name: str, to: Visibility) -> m.Job:
    return await alice.share(write_files(tmp_path / "source", {"model.bin": seeded_bytes(1 << 16)}), name=name, to=to)


async def test_an_owner_hears_of_requests_links_members_and_terms(
    alice: Home, bob: Home, carol: Home, tmp_path: Path
) -> None:
    name = "heard/of"
    job = await publish(alice, tmp_path, name, Visibility.MEMBERS)
    him, her = (await bob.client.key()).identity, (await carol.client.key()).identity
    await heard(alice, bob.client.ask(am.AskRequest(job.link)), job.share_id, lambda row: row.requests == 1)
    ask = carol.client.ask(am.AskRequest(job.link))
    await heard(alice, ask, job.share_id, lambda row: row.requests == 2)
    await heard(
        alice, alice.client.decide(am.DecideRequest(name, her, None)), job.share_id, lambda row: row.requests == 1
    )
    approve = alice.client.decide(am.DecideRequest(name, him, Role.DOWNLOADER))
    await heard(alice, approve, job.share_id, lambda row: (row.members, row.requests) == (2, 0))
    await heard(alice, alice.client.create_link(am.CreateLinkRequest(share=name)), job.share_id)
    (link,) = await alice.client.links(name)
    await heard(alice, alice.client.revoke_link(name, link.link_id), job.share_id)
    await heard(alice, alice.client.set_terms(am.TermsRequest(share=name, licence="apache-2.0")), job.share_id)
    (shown,) = [row for row in (await alice.client.shares()) if row.share_id == job.share_id]
    assert (shown.members, shown.requests, shown.proposals) == (2, 0, 0)


async def test_a_proposal_counts_for_the_owner_who_has_not_signed_it(alice: Home, bob: Home, tmp_path: Path) -> None:
    name = "heard/proposal"
    job = await publish(alice, tmp_path, name, Visibility.MEMBERS)
    other = (await bob.cli("key", "show", "-q")).stdout.strip()
    link = (await alice.client.invite(am.InviteRequest(name, other, Role.OWNER))).link
    await bob.get(link, tmp_path / "bob")
    propose = alice.client.set_terms(am.TermsRequest(share=name, threshold=2))  # two signatures make it two
    await heard(bob, propose, job.share_id, lambda row: row.proposals == 1)
    assert [row.proposals for row in await alice.client.shares() if row.share_id == job.share_id] == [0]
    await heard(bob, alice.client.withdraw(name), job.share_id, lambda row: row.proposals == 0)


async def test_an_owner_sees_an_open_link_again_and_nobody_else_does(
    alice: Home, bob: Home, carol: Home, tmp_path: Path
) -> None:
    name = "again/link"
    await publish(alice, tmp_path, name, Visibility.LINK)
    made = await alice.client.create_link(am.CreateLinkRequest(share=name, password="open sesame", max_uses=3))
    link_id = (await alice.client.links(name))[-1].link_id
    shown = await alice.cli("link", "show", name, link_id)
    assert shown.stdout.strip().partition("#")[2] == made.link.partition("#")[2], shown.stderr
    plain = await alice.client.link(name)
    assert "#" not in plain.link
    assert (await failure(bob.get(plain.link, tmp_path / "outside"))).exit_code == 5, "it lets nobody in"
    await bob.get(shown.stdout.strip(), tmp_path / "bob", password="open sesame")
    assert tree(tmp_path / "bob") == tree(tmp_path / "source")
    assert (await failure(bob.client.link(name, link_id))).exit_code in (4, 5), "members are no owners"
    assert (await bob.client.link(name)).link.partition("&n=")[0] == plain.link.partition("&n=")[0]
    assert (await failure(alice.client.link(name, "00" * 8))).exit_code == 5
    await alice.client.revoke_link(name, link_id)
    over = await alice.cli("link", "show", name, link_id)
    assert over.returncode == 2
    assert "lets nobody in any more" in over.stderr
    drawn = await alice.cli("link", "qr", name)
    assert (drawn.returncode, drawn.stdout) == (0, "")
    assert "on a terminal only" in drawn.stderr
