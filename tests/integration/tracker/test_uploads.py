"""Uploads that no signed targets name any more: how long they stay, what keeps them, and that nothing else goes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Sequence
from typing import Any

import aiohttp
import pytest
from tuf.api.metadata import TargetFile

from p2pckpt.tracker_protocol import BlobKind
from p2pckpt_tracker.app import Tracker
from p2pckpt_tracker.store.blobs import Blobs, upload_of
from p2pckpt_tracker.uploads import KEPT

from .people import DEADLINE, Person, ShareFiles, torrent
from .test_retirement import change
from .test_swarms import Stock


def uploads(target: TargetFile) -> list[tuple[str, str]]:
    """Kind and name of what a version has at the tracker."""
    custom: dict[str, Any] = target.unrecognized_fields["custom"]
    return [("manifest", target.hashes["sha256"]), ("torrent", custom["infohash"]), ("card", custom["card"])]


async def here(share: ShareFiles, target: TargetFile) -> set[str]:
    """Kinds of a version's uploads that can be had."""
    found = set()
    for kind, name in uploads(target):
        answer = await share.owner.call("GET", f"/shares/{share.share_id}/blobs/{kind}/{name}")
        assert answer.status in (200, 404)
        found |= {kind} if answer.status == 200 else set()
    return found


ALL = {"manifest", "torrent", "card"}


async def rounds(tracker: Tracker, passed: Iterable[int]) -> None:
    for seconds in passed:
        await tracker._services.uploads.round(seconds)


async def test_what_only_a_retired_version_had_is_deleted_after_two_days_and_not_before(
    share: ShareFiles, session: aiohttp.ClientSession, tracker: Tracker
) -> None:
    first = await share.publish(1)
    await share.publish(2)
    gone, stays = share.targets.pop("v/1"), share.targets["v/2"]
    await rounds(tracker, [KEPT, KEPT])
    assert await here(share, gone) == ALL, "nothing is counted while it is named"
    assert await change(share) == 200
    await rounds(tracker, [600, KEPT - 1])
    assert await here(share, gone) == ALL
    await rounds(tracker, [1])
    assert await here(share, gone) == set()
    await rounds(tracker, [KEPT, KEPT])
    assert await here(share, stays) == ALL
    # who has it goes on offering it
    stock = Stock(session, tracker, "203.0.113.9")
    reply = await stock.announce(await share.owner.get_pass(share.share_id), first, left=0, event="started")
    assert b"failure reason" not in reply


async def test_what_is_taken_back_in_time_is_whole_and_has_its_days_anew(share: ShareFiles, tracker: Tracker) -> None:
    await share.publish(1)
    await share.publish(2)
    listed, first = share.targets_version, share.targets.pop("v/1")
    assert await change(share) == 200
    await rounds(tracker, [0, KEPT - 1])
    share.targets["v/1"] = first
    assert await change(share, earlier=listed) == 200
    await rounds(tracker, [1, KEPT])
    assert await here(share, first) == ALL
    del share.targets["v/1"]
    assert await change(share) == 200
    await rounds(tracker, [0, KEPT - 1])
    assert await here(share, first) == ALL


async def test_a_version_does_not_come_back_without_its_uploads(share: ShareFiles, tracker: Tracker) -> None:
    await share.publish(1)
    await share.publish(2)
    listed, first = share.targets_version, share.targets.pop("v/1")
    assert await change(share) == 200
    await rounds(tracker, [0, KEPT])
    share.targets["v/1"] = first
    assert await change(share, earlier=listed) == 422


async def test_uploads_wait_two_days_for_the_signature_and_again_when_they_are_sent_again(
    share: ShareFiles, tracker: Tracker
) -> None:
    await share.publish(1)
    info_hash, data = torrent(share.torrent_name)
    path = f"/shares/{share.share_id}/blobs/torrent/{info_hash}"
    assert (await share.owner.call("PUT", path, data)).status == 201
    await rounds(tracker, [0, KEPT - 1])
    assert (await share.owner.call("PUT", path, data)).status == 200
    await rounds(tracker, [1, KEPT - 1])
    assert (await share.owner.call("GET", path)).status == 200
    await rounds(tracker, [1])
    assert (await share.owner.call("GET", path)).status == 404
    assert (await share.owner.call("PUT", path, data)).status == 201
    await rounds(tracker, [1])
    assert (await share.owner.call("GET", path)).status == 200


async def leaning(share: ShareFiles, tracker: Tracker, leans_on: Sequence[str] | None) -> tuple[TargetFile, TargetFile]:
    """What was listed of version 1, retired first, and of version 2, which leans on its torrent, until just now."""
    await share.publish(2, leans_on=leans_on)
    await share.publish(3)
    one, two = share.targets.pop("v/1"), share.targets["v/2"]
    assert await change(share) == 200
    await rounds(tracker, [0, KEPT, KEPT])
    assert await here(share, one) == {"torrent"}
    del share.targets["v/2"]
    assert await change(share) == 200
    return one, two


async def test_a_torrent_stays_while_a_version_leans_on_it(share: ShareFiles, tracker: Tracker) -> None:
    one, two = await leaning(share, tracker, [await share.publish(1)])
    await rounds(tracker, [0, KEPT - 1])
    assert (await here(share, one), await here(share, two)) == ({"torrent"}, ALL)
    await rounds(tracker, [1])
    assert (await here(share, one), await here(share, two)) == (set(), set())


async def test_no_torrent_goes_while_a_version_does_not_say_what_it_leans_on(
    share: ShareFiles, tracker: Tracker
) -> None:
    await share.publish(1)
    one, _ = await leaning(share, tracker, None)
    await rounds(tracker, [0, KEPT - 1])
    assert await here(share, one) == {"torrent"}, "two days from now, not from when it was retired"
    await rounds(tracker, [1])
    assert await here(share, one) == set()


async def test_a_version_can_not_lean_on_what_is_not_here(share: ShareFiles) -> None:
    info_hash, data = torrent(share.torrent_name)
    for wrong in ([info_hash], ["short"], [7], "torrents"):
        _, target = await share.upload(1, leans_on=[])
        target.unrecognized_fields["custom"]["leans_on"] = wrong
        share.targets["v/1"] = target
        assert await change(share) == 422
    await share.owner.good("PUT", f"/shares/{share.share_id}/blobs/torrent/{info_hash}", data)
    target.unrecognized_fields["custom"]["leans_on"] = [info_hash]
    assert await change(share) == 200


async def test_what_is_sent_again_while_it_is_being_deleted_is_here_afterwards(
    share: ShareFiles, tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await share.publish(1)
    info_hash, data = torrent(share.torrent_name)
    path = f"/shares/{share.share_id}/blobs/torrent/{info_hash}"
    await share.owner.good("PUT", path, data)
    await rounds(tracker, [0])
    deleting, looked = threading.Event(), threading.Event()
    delete, is_here = Blobs.delete_uploads, tracker._services.uploads.is_here

    def slowly(self: Blobs, share_id: str, over: list[str]) -> None:
        deleting.set()
        assert looked.wait(DEADLINE)
        delete(self, share_id, over)

    async def watched(share_id: str, upload: str) -> bool:
        answer = asyncio.create_task(is_here(share_id, upload))
        while not _waits(tracker, share_id):
            await asyncio.sleep(0)
        looked.set()
        return await answer

    monkeypatch.setattr(Blobs, "delete_uploads", slowly)
    monkeypatch.setattr(tracker._services.uploads, "is_here", watched)
    async with asyncio.timeout(DEADLINE):
        ending = asyncio.create_task(rounds(tracker, [KEPT]))
        assert await asyncio.to_thread(deleting.wait, DEADLINE)
        answer = await share.owner.call("PUT", path, data)
        await ending
    assert answer.status == 201
    assert tracker._services.uploads.path(share.share_id, upload_of(BlobKind.TORRENT, info_hash)).read_bytes() == data
    await rounds(tracker, [KEPT - 1])
    assert (await share.owner.call("GET", path)).status == 200


def _waits(tracker: Tracker, share_id: str) -> bool:
    """Whether somebody waits for their turn with a share."""
    return bool(tracker._services.uploads._held._locks[share_id]._waiters)


async def test_strangers_to_a_share_keep_nothing_of_it(share: ShareFiles, person: Any, tracker: Tracker) -> None:
    await share.publish(1)
    await share.publish(2)
    gone = share.targets.pop("v/1")
    assert await change(share) == 200
    await rounds(tracker, [0, KEPT - 1])
    stranger: Person = await person()
    for kind, name in uploads(gone):
        assert (await stranger.call("PUT", f"/shares/{share.share_id}/blobs/{kind}/{name}", b"")).status == 404
    await rounds(tracker, [1])
    assert await here(share, gone) == set()
