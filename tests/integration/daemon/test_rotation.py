"""Keys that are replaced, and spare keys that bring a share back after its owner's machine is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2pckpt.control import access_messages as am
from p2pckpt.tracker_protocol import Role, Visibility
from p2pckpt.trust import identity_file

from ...support.homes import Home, failure, seeded_bytes, tree, write_files
from ...support.tracker_process import start_tracker

pytestmark = pytest.mark.asyncio(loop_scope="package")
PASSPHRASE = "orange tram\n"


async def test_a_new_key_takes_over_the_shares_of_the_old_one(bob: Home, alice: Home, tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(1 << 20, 31)})
    async with Home(tmp_path / "erin") as erin:
        first = await erin.share(source, name="rotated")
        await bob.get(first.link, tmp_path / "bob")
        theirs = await alice.share(write_files(tmp_path / "other", {"x.bin": b"x" * 1000}), name="others/rotated")
        await erin.get(theirs.link, tmp_path / "erins")
        old = await erin.client.key()
        done = await erin.cli("key", "rotate", "--yes")
        assert done.returncode == 0, done.stderr
        await erin.take_over()
        new = await erin.client.key()
        assert done.stdout.strip() == new.identity != old.identity
        access = await erin.client.access("rotated")
        assert (access.owners, access.role, access.epoch) == ((new.identity,), Role.OWNER, 2)
        assert {row.identity for row in await erin.client.members("rotated")} == {
            new.identity,
            (await bob.client.key()).identity,
        }
        write_files(source, {"more.bin": b"signed by the new key"})
        assert (await erin.share(source, name="rotated")).version == 2
        got = await bob.get("rotated", tmp_path / "bob 2")  # follows the roots that both keys signed
        assert (got.version, got.publisher) == (2, new.identity)
        assert tree(tmp_path / "bob 2", leave_out=["model.sig"]) == tree(source, leave_out=["model.sig"])
        asking = await alice.client.requests("others/rotated")
        assert [(row.identity, old.identity[:12] in row.message) for row in asking] == [(new.identity, True)]
        (retired,) = erin.config.keys_dir.glob("retired-*.json")
        assert retired.stat().st_mode & 0o777 == 0o600


async def test_a_share_that_needs_two_signatures_keeps_the_old_key_until_the_other_owner_agrees(
    alice: Home, tmp_path: Path
) -> None:
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(1 << 16, 32)})
    async with Home(tmp_path / "erin") as erin:
        first = await erin.share(source, name="rotated/team")
        await alice.get(first.link, tmp_path / "alice")
        public = (await alice.client.key()).public_text
        await erin.client.set_member(am.SetMemberRequest("rotated/team", public, Role.OWNER))
        await erin.client.set_terms(am.TermsRequest(share="rotated/team", threshold=2))
        seen = (await alice.client.access("rotated/team")).proposal
        assert seen is not None
        await alice.client.sign("rotated/team", seen.digest)
        old = (await erin.client.key()).identity
        refused = await erin.cli("key", "rotate", "--yes")
        assert refused.returncode == 4, refused.stderr
        assert "access sign" in refused.stderr
        assert (await erin.client.key()).identity == old
        signed = await alice.cli("access", "sign", "rotated/team", "--yes")
        assert signed.returncode == 0, signed.stderr
        done = await erin.cli("key", "rotate", "--yes")
        assert done.returncode == 0, done.stderr
        await erin.take_over()
        assert done.stdout.strip() in (await erin.client.access("rotated/team")).owners


async def test_a_spare_key_brings_a_share_back_when_the_owner_s_machine_is_lost(tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(1 << 20, 33)})
    with start_tracker(tmp_path / "tracker") as tracker:
        async with Home(tmp_path / "erin", tracker=tracker.url) as erin:
            first = await erin.share(source, name="saved", to=Visibility.MEMBERS)
            spare = tmp_path / "spare.txt"
            made = await erin.cli("access", "spare", "saved", spare, "--passphrase-stdin", stdin=PASSPHRASE)
            assert made.returncode == 0, made.stderr
            assert spare.stat().st_mode & 0o777 == 0o600
            again = await erin.cli("access", "spare", "saved", spare, "--passphrase-stdin", stdin=PASSPHRASE)
            assert again.returncode == 2
            lost = (await erin.client.key()).identity
            frank = Home(tmp_path / "frank", tracker=tracker.url)
            frank.path.mkdir(mode=0o700)
            restored = await frank.cli("key", "restore", spare, "--passphrase-stdin", stdin=PASSPHRASE)
            assert restored.returncode == 0, restored.stderr
            async with frank:
                await frank.get(first.link, tmp_path / "got")
                assert tree(tmp_path / "got", leave_out=["model.sig"]) == tree(source, leave_out=["model.sig"])
                await frank.client.set_member(am.SetMemberRequest("saved", lost, None))
                me = (await frank.client.key()).identity
                assert (await frank.client.access("saved")).owners == (me,)
                write_files(source, {"more.bin": b"after the loss"})
                assert (await frank.share(source, name="saved", to=Visibility.MEMBERS)).version == 2
                assert (await failure(erin.client.access("saved"))).exit_code in (4, 5)


async def test_a_successor_is_made_once_and_kept_as_its_predecessor(tmp_path: Path) -> None:
    keys_dir = tmp_path / "keys"
    first = identity_file.load_or_create(keys_dir, "erin")
    identity_file.set_passphrase(keys_dir, "tulip")
    second = identity_file.successor(keys_dir, ask=lambda: "tulip")
    assert identity_file.successor(keys_dir, ask=lambda: "tulip").hex == second.hex != first.hex
    assert identity_file.needs_passphrase(keys_dir / "next")
    retired = identity_file.succeed(keys_dir)
    assert identity_file.load(keys_dir, ask=lambda: "tulip").hex == second.hex
    assert retired.name == f"retired-{first.hex[:16]}.json"
