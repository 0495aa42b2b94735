"""Versions that are retired: who may, what goes on working, and how they come back as what they were or not at all."""

from __future__ import annotations

from typing import Any

import aiohttp

from p2pckpt_tracker.app import Tracker

from .conftest import Login
from .people import Person, ShareFiles, b64, sign
from .test_log import read
from .test_signed_content import add_publisher
from .test_swarms import Stock


async def change(share: ShareFiles, by: Person | None = None, earlier: int = 0, **fields: Any) -> int:
    """Offer the next targets with what ``share`` names now; the status of the answer."""
    signed = sign(share.targets_file(version=share.targets_version + 1, **fields), by or share.owner)
    body = {"targets": b64(signed), "earlier": earlier}
    answer = await (by or share.owner).call("POST", f"/shares/{share.share_id}/targets", body)
    share.targets_version += answer.status == 200
    return answer.status


async def test_a_retired_version_comes_back_as_what_it_was_and_as_nothing_else(share: ShareFiles) -> None:
    for number in (1, 2, 3):
        await share.publish(number)
    listed, first = share.targets_version, share.targets.pop("v/1")
    second = share.targets.pop("v/2")
    assert await change(share) == 200
    share.targets["v/1"] = first
    for earlier in (0, listed - 3, share.targets_version, share.targets_version + 1, -1, 10**9):
        assert await change(share, earlier=earlier) == 422, f"targets {earlier} did not list it"
    _, share.targets["v/1"] = await share.upload(1)
    assert await change(share, earlier=listed) == 422, "that is another one"
    share.targets |= {"v/1": first, "v/2": second}
    assert await change(share, earlier=listed) == 200
    assert (await share.owner.good("GET", f"/shares/{share.share_id}"))["versions"] == 3
    rows = await read(share.owner, share.share_id)
    assert [(row.action, row.subject) for row in rows[-4:]] == [
        ("retire", "v1"),
        ("retire", "v2"),
        ("restore", "v1"),
        ("restore", "v2"),
    ]


async def test_a_number_is_given_once_also_after_the_newest_was_retired(share: ShareFiles) -> None:
    await share.publish(1)
    await share.publish(2)
    del share.targets["v/2"]
    assert await change(share) == 200
    _, share.targets["v/2"] = await share.upload(2)
    assert await change(share) == 422
    del share.targets["v/2"]
    await share.publish(3)


async def test_a_publisher_neither_retires_versions_nor_takes_them_back(share: ShareFiles, person: Login) -> None:
    publisher = await add_publisher(share, person)
    await share.publish(1, publisher)
    await share.publish(2, publisher)
    listed, first = share.targets_version, share.targets.pop("v/1")
    assert await change(share, publisher) == 422
    assert await change(share) == 200, "an owner retires what others published"
    share.targets["v/1"] = first
    assert await change(share, publisher, earlier=listed) == 422
    assert await change(share, earlier=listed) == 200


async def test_a_retired_version_s_torrent_goes_on_being_announced_and_served(
    share: ShareFiles, session: aiohttp.ClientSession, tracker: Tracker
) -> None:
    first = await share.publish(1)
    await share.publish(2)
    del share.targets["v/1"]
    assert await change(share) == 200
    stock = Stock(session, tracker, "203.0.113.9")
    reply = await stock.announce(await share.owner.get_pass(share.share_id), first, left=0, event="started")
    assert b"failure reason" not in reply
    assert (await share.owner.call("GET", f"/shares/{share.share_id}/blobs/torrent/{first}")).status == 200
