"""Several owners of one share: either of them alone, then both signatures needed, then one of them gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2pckpt.control import access_messages as am
from p2pckpt.tracker_protocol import Role

from ...support.homes import Home, failure, seeded_bytes, tree, write_files

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def test_two_owners_then_two_signatures_then_one_owner_again(
    alice: Home, bob: Home, carol: Home, tmp_path: Path
) -> None:
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(1 << 20, 21)})
    first = await alice.share(source, name="owners/team")
    keys = {home: await home.client.key() for home in (alice, bob, carol)}
    await bob.get(first.link, tmp_path / "bob")

    # bob becomes an owner, and does what owners do: a link, a member, a version
    await alice.client.set_member(am.SetMemberRequest("owners/team", keys[bob].public_text, Role.OWNER))
    access = await bob.client.access("owners/team")
    assert (set(access.owners), access.threshold) == ({keys[alice].identity, keys[bob].identity}, 1)
    made = await bob.client.create_link(am.CreateLinkRequest(share="owners/team"))
    await carol.get(made.link, tmp_path / "carol")
    write_files(source, {"more.bin": b"from bob"})
    assert (await bob.share(source, name="owners/team")).version == 2
    # and knows the links that alice had made before: whoever joined by them gets new keys from him, too
    await bob.client.set_member(am.SetMemberRequest("owners/team", keys[carol].identity, Role.PUBLISHER))
    assert (await alice.client.access("owners/team")).publishers == (keys[carol].identity,)

    # from now on a change of keys takes both
    access = await alice.client.set_terms(am.TermsRequest(share="owners/team", threshold=2))
    assert (access.threshold, access.proposal and access.proposal.missing) == (1, 1)
    seen = (await bob.client.access("owners/team")).proposal
    assert seen is not None
    assert (seen.threshold, seen.signed) == (2, False)
    wrong = await failure(bob.client.sign("owners/team", "0" * 64))
    assert wrong.code == "conflict"
    assert (await bob.client.sign("owners/team", seen.digest)).in_force
    assert (await alice.client.access("owners/team")).threshold == 2

    # carol may publish until both have signed that she may not
    reply = await alice.client.set_member(am.SetMemberRequest("owners/team", keys[carol].identity, None))
    assert any("access sign" in note for note in reply.notes)
    access = await bob.client.access("owners/team")
    assert access.publishers == (keys[carol].identity,)
    assert access.proposal is not None
    assert access.proposal.publishers_removed == (keys[carol].identity,)
    refused = await failure(carol.share(source, name=f"{first.share_id}"))
    assert refused.exit_code != 0  # the tracker lets her in no more, whatever the root says
    shown = await bob.cli("access", "sign", "owners/team", "--yes")
    assert shown.returncode == 0, shown.stderr
    assert "no publisher any more" in shown.stderr
    assert (await alice.client.access("owners/team")).publishers == ()

    # readers need one owner only
    public = keys[carol].public_text
    await bob.client.set_member(am.SetMemberRequest("owners/team", public, Role.DOWNLOADER))
    await carol.get("owners/team", tmp_path / "carol 2")
    assert tree(tmp_path / "carol 2") == tree(source)

    # a proposal can be taken back, by whoever made it
    await alice.client.set_member(am.SetMemberRequest("owners/team", public, Role.PUBLISHER))
    await bob.cli("access", "withdraw", "owners/team")
    assert (await alice.client.access("owners/team")).proposal is not None
    assert (await alice.cli("access", "withdraw", "owners/team")).returncode == 0
    assert (await alice.client.access("owners/team")).proposal is None

    # bob can't be rid of alice alone: she has time to object, and when carol, an owner too, agrees, alice is out
    reply = await bob.client.set_member(am.SetMemberRequest("owners/team", keys[carol].public_text, Role.OWNER))
    seen = (await alice.client.access("owners/team")).proposal
    assert seen is not None
    assert seen.owners_added == (keys[carol].identity,)
    assert (await alice.client.sign("owners/team", seen.digest)).in_force
    reply = await bob.client.set_member(am.SetMemberRequest("owners/team", keys[alice].identity, None))
    assert any("access sign" in note for note in reply.notes)
    assert keys[alice].identity in (await alice.client.access("owners/team")).owners
    made = (await bob.client.create_link(am.CreateLinkRequest(share="owners/team"))).link
    seen = (await carol.client.access("owners/team")).proposal
    assert seen is not None
    assert (await carol.client.sign("owners/team", seen.digest)).in_force
    assert (await failure(alice.client.access("owners/team"))).exit_code in (4, 5)
    access = await bob.client.access("owners/team")
    assert (set(access.owners), access.epoch) == ({keys[bob].identity, keys[carol].identity}, 3)
    # an owner could open every link that was there: none is of use any more
    assert all(row.revoked for row in await bob.client.links("owners/team"))
    async with Home(tmp_path / "dave") as dave:
        assert (await failure(dave.get(made, tmp_path / "daves"))).exit_code == 4


async def test_an_owner_can_not_remove_itself(alice: Home, tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {"model.bin": b"alone"})
    await alice.share(source, name="owners/alone")
    me = (await alice.client.key()).identity
    error = await failure(alice.client.set_member(am.SetMemberRequest("owners/alone", me, None)))
    assert error.exit_code != 0
    assert (await alice.client.access("owners/alone")).owners == (me,)
    assert (await alice.client.access("owners/alone")).epoch == 1
