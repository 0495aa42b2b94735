"""Asking to be let in, and accepting licences, as the tracker sees it."""

from __future__ import annotations

import secrets
from typing import Any

import aiohttp
import pytest

from p2pckpt.tracker_protocol import ACCEPT_CONTEXT, PROBLEM_LICENCE, AccessChanged, AccessRequested, MembersChanged
from p2pckpt_tracker.app import Tracker
from p2pckpt_tracker.rate_limit import RateLimit
from p2pckpt_tracker.store import request_rows

from .conftest import Login
from .people import Answer, Events, Person, ShareFiles, b64, sign
from .test_links import Link


async def ask(who: Person, share_id: str, message: str = "") -> Answer:
    return await who.call("POST", f"/shares/{share_id}/requests", {"message": message})


async def waiting(share: ShareFiles) -> list[str]:
    return [each["identity"] for each in await share.owner.good("GET", f"/shares/{share.share_id}/requests")]


async def test_the_answer_is_the_same_whatever_is_asked_for(share: ShareFiles, person: Login) -> None:
    stranger, member = await person(), await person()
    public = ShareFiles(share.owner, share.online_key, name="open")
    await public.create("public")
    await share.owner.good("PUT", f"/shares/{share.share_id}/members/{member.identity}", {"role": "viewer"})
    answers = [await ask(stranger, each) for each in (share.share_id, public.share_id, secrets.token_hex(32), "x")]
    answers += [await ask(each, share.share_id) for each in (member, share.owner)]
    assert {(each.status, each.body) for each in answers} == {(202, b"")}
    assert await waiting(share) == [stranger.identity]
    assert await share.owner.good("GET", f"/shares/{public.share_id}/requests") == []
    again = await ask(stranger, share.share_id, "hello")
    (row,) = await share.owner.good("GET", f"/shares/{share.share_id}/requests")
    assert (again.status, row["message"], row["receive_key"]) == (202, "hello", stranger.receive_key)


async def test_owners_are_told_once_and_whoever_is_approved_is_told_too(
    share: ShareFiles, person: Login, session: aiohttp.ClientSession
) -> None:
    asking, other = await person(), await person()
    async with Events(share.owner, session) as owners, Events(asking, session) as asker:
        for each in (asking, asking, other):
            await ask(each, share.share_id)
        told = [await owners.wait_for(AccessRequested) for _ in range(2)]
        assert [each.identity for each in told] == [asking.identity, other.identity]
        assert told[0] == AccessRequested(share.share_id, asking.identity, "somebody")
        await share.owner.good("PUT", f"/shares/{share.share_id}/members/{asking.identity}", {"role": "viewer"})
        assert (await asker.wait_for(MembersChanged)).role == "viewer"
    assert await waiting(share) == [other.identity]


@pytest.mark.parametrize("message", ["x" * 201, "red \x1b[31m", "two\nlines", 5])
async def test_a_message_is_short_and_printable(share: ShareFiles, person: Login, message: Any) -> None:
    asking = await person()
    assert (await ask(asking, share.share_id, message)).status == 400
    assert await waiting(share) == []


async def test_requests_are_bounded_by_share_account_and_time(
    tracker: Tracker, share: ShareFiles, person: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasty = await person()
    statuses = [(await ask(hasty, secrets.token_hex(32))).status for _ in range(12)]
    assert statuses == [202] * 10 + [429] * 2
    monkeypatch.setattr(tracker._services, "requests", RateLimit(1000, 1))
    monkeypatch.setattr(request_rows, "OPEN_PER_SHARE", 3)
    monkeypatch.setattr(request_rows, "OPEN_PER_ACCOUNT", 2)
    crowd = [await person() for _ in range(5)]
    assert {(await ask(each, share.share_id)).status for each in crowd} == {202}
    assert sorted(await waiting(share)) == sorted(each.identity for each in crowd[:3])
    others = [ShareFiles(share.owner, share.online_key, name=f"s{n}") for n in range(3)]
    for each in others:
        await each.create()
        await ask(hasty, each.share_id)
    assert [len(await waiting(each)) for each in others] == [1, 1, 0]


async def test_who_was_denied_is_quiet_for_a_day(
    share: ShareFiles, person: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking = await person()
    path = f"/shares/{share.share_id}/requests/{asking.identity}"
    assert (await share.owner.call("DELETE", path)).status == 404
    await ask(asking, share.share_id)
    assert (await share.owner.call("DELETE", path)).status == 204
    assert (await ask(asking, share.share_id)).status == 202
    assert await waiting(share) == []
    monkeypatch.setattr(request_rows, "QUIET", -1)
    await ask(asking, share.share_id)
    assert await waiting(share) == [asking.identity]


async def test_who_joins_by_a_link_asks_no_more(share: ShareFiles, person: Login) -> None:
    asking, link = await person(), Link(share)
    await ask(asking, share.share_id)
    await link.register()
    assert (await link.redeem(asking)).status == 200
    assert await waiting(share) == []


# -- licences


async def set_licence(share: ShareFiles, licence: str) -> Answer:
    share.keyring_version += 1
    keyring = share.keyring(unrecognized_fields={"p2pckpt": {"epochs": [], "licence": licence}})
    body = {"keyring": b64(sign(keyring, share.owner))}
    return await share.owner.call("POST", f"/shares/{share.share_id}/keyring", body)


async def accept(who: Person, share: ShareFiles, licence: str, by: Person | None = None, **fields: str) -> Answer:
    signed = ACCEPT_CONTEXT + bytes.fromhex(share.share_id) + licence.encode()
    body = {"licence": licence, "signature": (by or who).key.sign(signed).hex()} | fields
    return await who.call("POST", f"/shares/{share.share_id}/acceptance", body)


async def test_a_downloader_signs_exactly_the_present_licence(
    share: ShareFiles, person: Login, tracker: Tracker
) -> None:
    member, other = await person(), await person()
    path = f"/shares/{share.share_id}"
    await share.owner.good("PUT", f"{path}/members/{member.identity}", {"role": "downloader"})
    held = await member.get_pass(share.share_id)
    assert (await accept(member, share, "mit")).status == 409, "nothing is to be accepted yet"
    assert (await set_licence(share, "mit")).status == 200
    refused = await member.call("POST", f"{path}/pass")
    assert (refused.status, refused.json()["type"], refused.json()["detail"]) == (403, PROBLEM_LICENCE, "mit")
    assert (await member.good("GET", path))["licence_due"] == "mit"
    assert (await share.owner.good("GET", path))["licence_due"] == ""
    for status, answer in (
        (409, await accept(member, share, "apache-2.0")),
        (422, await accept(member, share, "mit", by=other)),
        (422, await accept(member, share, "mit", signature="00" * 64)),
        (422, await accept(member, share, "mit", signature="short")),
        (404, await accept(other, share, "mit")),
    ):
        assert answer.status == status, answer.body
    assert (await member.call("POST", f"{path}/pass")).status == 403
    for _ in range(2):
        assert (await accept(member, share, "mit")).status == 204
    assert await member.get_pass(share.share_id)
    (row,) = [each for each in await share.owner.good("GET", f"{path}/members") if each["identity"] == member.identity]
    assert row["accepted_at"] > 0
    assert tracker._rules.pass_of(held) is not None, "what was given before lives out its day"
    assert (await set_licence(share, "mit, changed")).status == 200
    assert (await member.call("POST", f"{path}/pass")).status == 403
    assert (await set_licence(share, "mit")).status == 200
    assert await member.get_pass(share.share_id), "an old acceptance of the same text counts again"


@pytest.mark.parametrize("licence", ["x" * 201, "red \x1b[31m", "two\nlines", 5, None])
async def test_a_keyring_with_a_malformed_licence_is_refused(share: ShareFiles, licence: Any) -> None:
    assert (await set_licence(share, licence)).status == 422
    share.keyring_version -= 1
    assert (await set_licence(share, "x" * 200)).status == 200


@pytest.mark.parametrize("field", [None, [], {}, {"epochs": "x"}, {"epochs": [{"epoch": "1"}]}])
async def test_a_keyring_whose_field_is_none_of_ours_is_refused(share: ShareFiles, field: Any) -> None:
    keyring = share.keyring(version=2, unrecognized_fields={"p2pckpt": field})
    body = {"keyring": b64(sign(keyring, share.owner))}
    assert (await share.owner.call("POST", f"/shares/{share.share_id}/keyring", body)).status == 422


async def test_owners_hear_of_all_that_changes_what_they_decide_about(
    share: ShareFiles, person: Login, session: aiohttp.ClientSession
) -> None:
    asking, link = await person(), Link(share)
    path = f"/shares/{share.share_id}"
    async with Events(share.owner, session) as owners:

        async def told() -> None:
            assert await owners.wait_for(AccessChanged) == AccessChanged(share.share_id)

        await ask(asking, share.share_id)
        await owners.wait_for(AccessRequested)
        await share.owner.good("DELETE", f"{path}/requests/{asking.identity}")
        await told()
        await link.register()
        await told()
        for _ in range(5):
            assert (await link.redeem(asking, auth="00" * 32)).status == 403
        await told()
        await share.owner.good("DELETE", f"{path}/links/{link.link_id}")
        await told()
        await share.owner.good("DELETE", f"{path}/proposal")
        await told()
        await share.owner.good("PUT", f"{path}/members/{asking.identity}", {"role": "downloader"})
        await set_licence(share, "apache-2.0")
        assert (await accept(asking, share, "apache-2.0")).status == 204
        await told()
        assert (await accept(asking, share, "apache-2.0")).status == 204, "the same again is no news"
        await ask(await person(), share.share_id)
        while not isinstance(event := await owners.next(), AccessRequested):
            assert not isinstance(event, AccessChanged)
