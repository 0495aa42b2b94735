"""Who reads what after somebody was removed: new epochs, links that are still open, publishers in the middle of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from p2pckpt.control import access_messages as am
from p2pckpt.control import messages as m
from p2pckpt.control import publish_messages as pm
from p2pckpt.store.catalogue import Catalogue, KnownShare, RemovalRow
from p2pckpt.tracker_protocol import Role, Visibility
from p2pckpt.trust.links import Link
from p2pckpt_tracker.app import Tracker
from p2pckpt_tracker.metadata import VersionConflict
from p2pckpt_tracker.settings import Listen, Settings

from ...support.homes import DEADLINE, Home, failure, seeded_bytes, tree, write_files

pytestmark = pytest.mark.asyncio(loop_scope="package")
MIB = 1 << 20


async def shared(alice: Home, tmp_path: Path, name: str, **fields: object) -> tuple[Path, m.Job]:
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(4 * MIB, name)})
    return source, await alice.share(source, name=name, **fields)


async def key_of(home: Home) -> m.KeyInfo:
    return await home.client.key()


async def remove(alice: Home, name: str, who: Home) -> am.MembersReply:
    return await alice.client.set_member(am.SetMemberRequest(name, (await key_of(who)).identity, None))


def known(home: Home, name: str) -> KnownShare:
    """What a home's catalogue holds of a share, the keys of its link among it."""
    catalogue = Catalogue(home.store / "catalogue.db")
    try:
        return next(share for share in catalogue.shares() if share.name == name)
    finally:
        catalogue.close()


async def sealed_epochs(home: Home, name: str) -> set[int]:
    """Epochs that the objects of a version are sealed with."""
    manifest = await home.client.manifest(name)
    return {each["sealed_epoch"] for each in manifest["objects"]}


async def test_removing_somebody_begins_an_epoch_and_packs_nothing_again(
    alice: Home, bob: Home, carol: Home, tmp_path: Path
) -> None:
    source, first = await shared(alice, tmp_path, "epochs/removed")
    await bob.get(first.link, tmp_path / "bob")
    await carol.get(first.link, tmp_path / "carol")
    reply = await remove(alice, "epochs/removed", bob)
    assert [row.identity for row in reply.members if row.identity == (await key_of(bob)).identity] == []
    assert (await alice.client.access("epochs/removed")).epoch == 2
    write_files(source, {"more.bin": seeded_bytes(MIB, 7)})
    second = await alice.share(source, name="epochs/removed")
    assert second.reused >= 4 * MIB
    assert second.wire_done < 2 * MIB
    assert await sealed_epochs(alice, "epochs/removed@2") == {1, 2}
    await carol.get("epochs/removed", tmp_path / "carol 2")  # came by the same link, and remains
    assert tree(tmp_path / "carol 2") == tree(source)
    error = await failure(bob.get("epochs/removed", tmp_path / "bob 2"))
    assert error.exit_code in (4, 5), error.fact


async def test_what_somebody_removed_knows_opens_no_later_version(alice: Home, bob: Home, tmp_path: Path) -> None:
    """Not even with the signed files and the manifest in hand, which a careless member may pass on."""
    from p2pckpt.errors import NotAllowed
    from p2pckpt.trust import identity_file, keyrings, sealing, versions

    source, first = await shared(alice, tmp_path, "epochs/offline")
    await bob.get(first.link, tmp_path / "bob")
    await remove(alice, "epochs/offline", bob)
    write_files(source, {"more.bin": seeded_bytes(MIB, 8)})
    await alice.share(source, name="epochs/offline")
    share_id = bytes.fromhex(first.share_id)
    trust = alice.store / "trust" / first.share_id
    target = versions.parse_targets((trust / "targets.json").read_bytes()).versions[2]
    manifest = (alice.store / "torrents" / target.infohash / "manifest").read_bytes()
    content = versions.parse_keyring((trust / "keyring.json").read_bytes())
    bobs = identity_file.load(bob.config.keys_dir)
    keys = keyrings.open_epochs(content, bobs, share_id, known(bob, "epochs/offline").keys)
    assert set(keys) == {1}
    with pytest.raises(NotAllowed):
        sealing.open_manifest(manifest, keys, share_id, 2)
    alices = keyrings.open_epochs(content, identity_file.load(alice.config.keys_dir), share_id)
    assert sealing.open_manifest(manifest, alices, share_id, 2)


async def test_the_link_somebody_joined_by_goes_with_them_and_others_get_the_new_keys(
    alice: Home, bob: Home, carol: Home, tmp_path: Path
) -> None:
    source, first = await shared(alice, tmp_path, "epochs/links")
    other = (await alice.client.create_link(am.CreateLinkRequest(share="epochs/links", password="tulip"))).link
    await bob.get(first.link, tmp_path / "bob")
    reply = await remove(alice, "epochs/links", bob)
    assert any("revoked" in note for note in reply.notes)
    assert (await failure(carol.get(first.link, tmp_path / "carol"))).exit_code == 4
    write_files(source, {"more.bin": seeded_bytes(MIB, 9)})
    await alice.share(source, name="epochs/links")
    await carol.get(other, tmp_path / "carol", password="tulip")
    assert tree(tmp_path / "carol") == tree(source)
    await carol.get(f"{first.share_id}@1", tmp_path / "carol 1")  # the new keys lead back to the old ones
    assert not (tmp_path / "carol 1" / "more.bin").exists()


async def test_a_downloader_who_becomes_a_viewer_reads_later_manifests_and_no_later_content(
    alice: Home, bob: Home, tmp_path: Path
) -> None:
    source, _ = await shared(alice, tmp_path, "epochs/viewer", to=Visibility.MEMBERS)
    public = (await key_of(bob)).public_text
    await alice.client.set_member(am.SetMemberRequest("epochs/viewer", public, Role.DOWNLOADER))
    job = (await alice.client.jobs())[-1]
    await bob.get(job.link, tmp_path / "bob")
    await alice.client.set_member(am.SetMemberRequest("epochs/viewer", public, Role.VIEWER))
    write_files(source, {"more.bin": seeded_bytes(MIB, 10)})
    await alice.share(source, name="epochs/viewer")
    detail = await bob.client.version_detail("epochs/viewer@2")
    assert {file.path for file in detail.files} == {"model.bin", "more.bin"}
    assert (await failure(bob.get("epochs/viewer@2", tmp_path / "bob 2"))).exit_code == 4


async def test_a_member_named_by_key_keeps_reading_through_epochs_and_comes_back(
    alice: Home, bob: Home, carol: Home, tmp_path: Path
) -> None:
    source, first = await shared(alice, tmp_path, "epochs/named", to=Visibility.MEMBERS)
    for home in (bob, carol):
        await alice.client.set_member(
            am.SetMemberRequest("epochs/named", (await key_of(home)).public_text, Role.DOWNLOADER)
        )
    await bob.get(first.link, tmp_path / "bob")
    await remove(alice, "epochs/named", carol)
    write_files(source, {"more.bin": seeded_bytes(MIB, 11)})
    await alice.share(source, name="epochs/named")
    await bob.get("epochs/named", tmp_path / "bob 2")
    assert tree(tmp_path / "bob 2") == tree(source)
    await alice.client.set_member(
        am.SetMemberRequest("epochs/named", (await key_of(carol)).public_text, Role.DOWNLOADER)
    )
    await carol.get(first.link, tmp_path / "carol")
    assert tree(tmp_path / "carol") == tree(source)
    await carol.get("epochs/named@1", tmp_path / "carol 1")


async def test_a_removal_that_was_due_when_the_daemon_died_is_finished_when_it_starts(
    tmp_path: Path, bob: Home
) -> None:
    async with Home(tmp_path / "erin") as erin:
        _, first = await shared(erin, tmp_path, "epochs/died")
        await bob.get(first.link, tmp_path / "bob")
        await erin.stop()
        catalogue = Catalogue(erin.store / "catalogue.db")
        share_id, bobs = bytes.fromhex(first.share_id), (await key_of(bob)).identity
        link_id = first.link.partition("#")[2] and Link.parse(first.link).secret.link_id  # type: ignore[union-attr]
        catalogue.note_removal(RemovalRow(share_id, bobs, "", link_id))  # as written before the tracker is told
        catalogue.close()
        await erin.start()

        async def begun() -> bool:
            return (await erin.client.access("epochs/died")).epoch == 2

        from ...support.homes import until

        await until(begun, "the new epoch has begun")

        async def done() -> bool:
            catalogue = Catalogue(erin.store / "catalogue.db")
            due = catalogue.removals_due(share_id)
            catalogue.close()
            return not due

        await until(done, "nothing is left to do")
        assert bobs not in {row.identity for row in await erin.client.members("epochs/died")}
        assert [row.revoked for row in await erin.client.links("epochs/died")] == [True]
        assert (await failure(bob.get("epochs/died", tmp_path / "bob 2"))).exit_code in (4, 5)


async def test_a_publish_in_the_middle_of_a_removal_is_packed_again_with_the_new_keys(
    tmp_path: Path, carol: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dave has sealed with the keys of the first epoch when erin removes carol: the tracker turns his version away."""
    tracker = Tracker(
        Settings(tmp_path / "tracker", Listen("127.0.0.1", 0), None, None, plain_http=True, only_listed=False)
    )
    arrived, removed, refusals = asyncio.Event(), asyncio.Event(), list[str]()

    async def after_the_removal(*request: Any) -> Any:
        arrived.set()
        await removed.wait()
        try:
            return await publish_targets(*request)
        except VersionConflict as exc:
            refusals.append(str(exc))
            raise

    await tracker.start()
    try:
        async with (
            Home(tmp_path / "erin", tracker=f"http://127.0.0.1:{tracker.api_port}") as erin,
            Home(tmp_path / "dave") as dave,
        ):
            _, first = await shared(erin, tmp_path, "epochs/race")
            await dave.get(first.link, tmp_path / "dave has")
            for home, role in ((dave, Role.PUBLISHER), (carol, Role.DOWNLOADER)):
                public = (await key_of(home)).public_text
                await erin.client.set_member(am.SetMemberRequest("epochs/race", public, role))
            publish_targets = tracker._services.shares.publish_targets
            monkeypatch.setattr(tracker._services.shares, "publish_targets", after_the_removal)
            theirs = write_files(tmp_path / "theirs", {"other.bin": seeded_bytes(4 * MIB, 12)})
            job = await dave.client.publish(
                pm.PublishRequest(path=str(theirs), name="epochs/race", allow_no_licence=True)
            )
            async with asyncio.timeout(DEADLINE):
                await arrived.wait()
            await remove(erin, "epochs/race", carol)
            removed.set()
            done = await dave.wait_job(job.id)
            assert refusals == ["v/2 is sealed with epoch 1, and the newest is 2"]
            assert done.version == 2
            assert await sealed_epochs(dave, "epochs/race@2") == {2}
            await erin.get("epochs/race", tmp_path / "erin has")
            assert tree(tmp_path / "erin has") == tree(theirs)
    finally:
        await tracker.stop()
