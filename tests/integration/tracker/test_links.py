"""Links: joining with one, and all the ways in which one is over."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from typing import Any

import pytest
from sqlalchemy import update

from p2pckpt.tracker_protocol import PROBLEM_LINK_SPENT
from p2pckpt_tracker.app import Tracker
from p2pckpt_tracker.store.tables import links

from .conftest import Login
from .people import Answer, Person, ShareFiles, b64


class Link:
    """A link as an owner's client makes it."""

    def __init__(self, share: ShareFiles) -> None:
        self.share = share
        self.auth = secrets.token_hex(32)
        self.link_id = secrets.token_hex(8)

    async def register(self, **changes: Any) -> Answer:
        body = {
            "link_id": self.link_id,
            "auth_hash": hashlib.sha256(bytes.fromhex(self.auth)).hexdigest(),
            "wrapped_keys": b64(b"sealed"),
            "role": "downloader",
        }
        return await self.share.owner.call("POST", f"/shares/{self.share.share_id}/links", body | changes)

    async def redeem(self, who: Person, auth: str | None = None) -> Answer:
        body = {"auth": self.auth if auth is None else auth, "binding": "0b" * 32}
        return await who.call("POST", f"/links/{self.link_id}/redeem", body)


async def test_whoever_has_the_secret_joins_with_the_links_role(share: ShareFiles, person: Login) -> None:
    joiner, link = await person(), Link(share)
    assert (await link.register(password_salt="aa" * 16)).status == 201
    assert (await link.register(password_salt="aa" * 16)).status == 201, "the same again is no conflict"
    info = await joiner.good("GET", f"/links/{link.link_id}")
    assert info == {"share_id": share.share_id, "password_salt": "aa" * 16}
    reply = (await link.redeem(joiner)).json()
    assert reply == {"share_id": share.share_id, "role": "downloader", "wrapped_keys": b64(b"sealed")}
    members = await share.owner.good("GET", f"/shares/{share.share_id}/members")
    (member,) = (each for each in members if each["identity"] == joiner.identity)
    assert (member["link_id"], member["binding"]) == (link.link_id, "0b" * 32)
    await joiner.get_pass(share.share_id)


async def test_a_link_for_one_is_won_by_exactly_one_of_a_thousand(share: ShareFiles, person: Login) -> None:
    """As many at once as the session has connections: 250."""
    people = await asyncio.gather(*(person(f"198.51.{n // 250}.{n % 250}") for n in range(1000)))
    link = Link(share)
    await link.register(max_uses=1)
    answers = await asyncio.gather(*(link.redeem(each) for each in people))
    statuses = [each.status for each in answers]
    assert statuses.count(200) == 1
    assert statuses.count(410) == 999
    winner = people[statuses.index(200)]
    assert (await link.redeem(winner)).status == 200, "again is no second use"
    (record,) = await share.owner.good("GET", f"/shares/{share.share_id}/links")
    assert record["uses"] == 1
    members = await share.owner.good("GET", f"/shares/{share.share_id}/members")
    assert {each["identity"] for each in members} == {share.owner.identity, winner.identity}


async def test_a_redeem_that_is_sent_again_gains_nothing(share: ShareFiles, person: Login) -> None:
    """The same bytes by the same account, by another one, after removal and after revocation."""
    joiner, thief, link, once = await person(), await person(), Link(share), Link(share)
    members = f"/shares/{share.share_id}/members"
    await link.register(max_uses=2)
    await once.register(max_uses=1)
    for _ in range(3):
        assert (await once.redeem(joiner)).status == (await link.redeem(joiner)).status == 200
    assert (await once.redeem(thief)).status == 410, "another account, a link for one"
    uses = {each["link_id"]: each["uses"] for each in await share.owner.good("GET", f"/shares/{share.share_id}/links")}
    assert uses == {once.link_id: 1, link.link_id: 0}, "a member who joins again uses nothing up"
    assert (await share.owner.call("DELETE", f"{members}/{joiner.identity}")).status == 204
    assert (await once.redeem(joiner)).status == 410, "after removal"
    await share.owner.good("PUT", f"{members}/{joiner.identity}", {"role": "viewer"})
    assert (await once.redeem(joiner)).json()["role"] == "viewer", "let in again by hand: no higher than that"
    await share.owner.call("DELETE", f"/shares/{share.share_id}/links/{link.link_id}")
    for each in (joiner, thief):
        assert (await link.redeem(each)).status == 410, "after revocation"
    stored = {each["identity"]: each["role"] for each in await share.owner.good("GET", members)}
    assert stored == {share.owner.identity: "owner", joiner.identity: "viewer"}


async def test_five_wrong_secrets_burn_a_link(share: ShareFiles, person: Login) -> None:
    guesser, link = await person(), Link(share)
    await link.register()
    for _ in range(5):
        assert (await link.redeem(guesser, "00" * 32)).status == 403
    answer = await link.redeem(guesser)
    assert (answer.status, answer.json()["type"]) == (410, PROBLEM_LINK_SPENT)
    assert (await guesser.call("GET", f"/links/{link.link_id}")).status == 410
    (record,) = await share.owner.good("GET", f"/shares/{share.share_id}/links")
    assert (record["revoked"], record["burnt"]) == (True, True)


async def test_a_revoked_or_expired_link_lets_nobody_in(share: ShareFiles, person: Login) -> None:
    joiner, link, late = await person(), Link(share), Link(share)
    await link.register()
    path = f"/shares/{share.share_id}/links/{link.link_id}"
    assert (await share.owner.call("DELETE", path)).status == 204
    assert (await share.owner.call("DELETE", path)).status == 204
    assert (await link.redeem(joiner)).status == 410
    assert (await late.register(expires_at=int(time.time()) - 1)).status == 400
    assert (await late.redeem(joiner)).status == 404
    (record,) = await share.owner.good("GET", f"/shares/{share.share_id}/links")
    assert (record["revoked"], record["burnt"]) == (True, False)


async def test_strangers_are_not_told_which_end_a_link_came_to(
    tracker: Tracker, share: ShareFiles, person: Login
) -> None:
    guesser, first, stranger = await person(), await person(), await person()
    revoked, burnt, expired, used = [Link(share) for _ in range(4)]
    for each in (revoked, burnt):
        await each.register()
    await expired.register(expires_at=int(time.time()) + 1000)
    await used.register(max_uses=1)
    await share.owner.call("DELETE", f"/shares/{share.share_id}/links/{revoked.link_id}")
    for _ in range(5):
        await burnt.redeem(guesser, "00" * 32)
    past = update(links).where(links.c.link_id == expired.link_id).values(expires_at=1)
    await tracker._database.write(lambda connection: connection.execute(past))
    assert (await used.redeem(first)).status == 200
    answers = [await each.redeem(stranger) for each in (revoked, burnt, expired, used)]
    assert {(each.status, each.body) for each in answers} == {(410, answers[0].body)}
    wrong = [await each.redeem(stranger, "11" * 32) for each in (expired, used)]
    assert {each.status for each in wrong} == {403}, "who has not the secret learns no more than that"


async def test_a_link_never_lowers_a_role(share: ShareFiles, person: Login) -> None:
    member, link = await person(), Link(share)
    await link.register(role="viewer", max_uses=1)
    await share.owner.good("PUT", f"/shares/{share.share_id}/members/{member.identity}", {"role": "publisher"})
    assert (await link.redeem(member)).json()["role"] == "publisher"
    (record,) = await share.owner.good("GET", f"/shares/{share.share_id}/links")
    assert record["uses"] == 0


async def test_whom_an_owner_removed_or_demoted_does_not_come_back_with_the_same_link(
    share: ShareFiles, person: Login
) -> None:
    gone, demoted, link = await person(), await person(), Link(share)
    await link.register()
    for each in (gone, demoted):
        assert (await link.redeem(each)).status == 200
    members = f"/shares/{share.share_id}/members"
    assert (await share.owner.call("DELETE", f"{members}/{gone.identity}")).status == 204
    await share.owner.good("PUT", f"{members}/{demoted.identity}", {"role": "viewer"})
    assert (await link.redeem(gone)).status == 410
    assert (await link.redeem(demoted)).json()["role"] == "viewer"


async def test_whom_an_owner_turned_down_comes_by_no_link_of_before(share: ShareFiles, person: Login) -> None:
    """Added by hand, so that they never used the links that they know."""
    gone, low, link = await person(), await person(), Link(share)
    await link.register()
    members = f"/shares/{share.share_id}/members"
    for each in (gone, low):
        await share.owner.good("PUT", f"{members}/{each.identity}", {"role": "downloader"})
    assert (await share.owner.call("DELETE", f"{members}/{gone.identity}")).status == 204
    await share.owner.good("PUT", f"{members}/{low.identity}", {"role": "viewer"})
    assert (await link.redeem(gone)).status == 410
    assert (await link.redeem(low)).json()["role"] == "viewer"
    later = Link(share)
    await later.register()
    assert (await later.redeem(gone)).status == 200, "a link made since is the owner's newer word"
    assert (await later.redeem(low)).json()["role"] == "downloader"
    uses = {each["link_id"]: each["uses"] for each in await share.owner.good("GET", f"/shares/{share.share_id}/links")}
    assert uses == {link.link_id: 0, later.link_id: 2}


async def test_a_member_stays_known_by_the_link_it_came_by(share: ShareFiles, person: Login) -> None:
    joiner, added, first, second = await person(), await person(), Link(share), Link(share)
    await first.register(role="viewer")
    await second.register()
    members = f"/shares/{share.share_id}/members"
    await share.owner.good("PUT", f"{members}/{added.identity}", {"role": "downloader"})
    for link, who in ((first, joiner), (second, joiner), (second, added), (first, added)):
        assert (await link.redeem(who)).status == 200
    rows = {each["identity"]: each for each in await share.owner.good("GET", members)}
    assert (rows[joiner.identity]["link_id"], rows[joiner.identity]["role"]) == (first.link_id, "downloader")
    assert (rows[added.identity]["link_id"], rows[added.identity]["binding"]) == ("", "")
    again = {"auth": first.auth, "binding": "0c" * 32}
    assert (await joiner.call("POST", f"/links/{first.link_id}/redeem", again)).status == 200
    rows = {each["identity"]: each for each in await share.owner.good("GET", members)}
    assert rows[joiner.identity]["binding"] == "0c" * 32, "the same link's newer proof counts"


@pytest.mark.parametrize(
    "changes",
    [
        {"link_id": "short"},
        {"auth_hash": "AB" * 32},
        {"role": "publisher"},
        {"role": "owner"},
        {"max_uses": -1},
        {"password_salt": "xyz"},
        {"wrapped_keys": b64(bytes((64 << 10) + 1))},
    ],
)
async def test_a_malformed_link_is_refused(share: ShareFiles, changes: dict[str, Any]) -> None:
    assert (await Link(share).register(**changes)).status == 400


async def test_a_taken_link_id_is_a_conflict(share: ShareFiles) -> None:
    first, second = Link(share), Link(share)
    second.link_id = first.link_id
    assert (await first.register()).status == 201
    assert (await second.register()).status == 409


async def test_malformed_redeems_do_not_count_as_wrong(share: ShareFiles, person: Login) -> None:
    joiner, link = await person(), Link(share)
    await link.register()
    for _ in range(10):
        assert (await link.redeem(joiner, "short")).status == 400
    assert (await link.redeem(joiner)).status == 200
