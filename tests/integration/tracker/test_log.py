"""The audit log of a share: what gets into it, and that its end is in the signed timestamp."""

from __future__ import annotations

import secrets
import time
from typing import Any

from tuf.api.metadata import Metadata

from p2pckpt.tracker_protocol import SwarmEvent, SwarmState
from p2pckpt.tracker_protocol.audit_log import AUDIT_START, AuditPage, AuditRow, audit_chain
from p2pckpt_tracker.app import Tracker

from .conftest import Login
from .people import Person, ShareFiles, b64, sign
from .test_links import Link


async def read(owner: Person, share_id: str, limit: int = 0) -> list[AuditRow]:
    """All pages, the chain checked."""
    rows: list[AuditRow] = []
    after: int | None = 0
    while after is not None:
        answer = await owner.call("GET", f"/shares/{share_id}/log?after={after}&limit={limit}")
        page = AuditPage(rows=[AuditRow(**row) for row in answer.json()["rows"]], next=answer.json()["next"])
        rows += page.rows
        after = page.next
    chain = AUDIT_START.chain
    for number, row in enumerate(rows, 1):
        chain = audit_chain(chain, share_id, number, row.at, row.actor, row.action, row.subject)
        assert (row.seq, row.chain) == (number, chain)
    return rows


async def signed_head(owner: Person, share_id: str) -> dict[str, Any]:
    answer = await owner.call("GET", f"/shares/{share_id}/metadata/timestamp.json")
    head: dict[str, Any] = Metadata.from_bytes(answer.body).signed.unrecognized_fields["p2pckpt"]["log"]
    return head


async def test_everything_that_changes_a_share_is_in_its_log_in_order(share: ShareFiles, person: Login) -> None:
    owner, path = share.owner, f"/shares/{share.share_id}"
    member, joiner, link, guessed = await person(), await person(), Link(share), Link(share)
    asked, denied = await person(), await person()
    await share.publish(1)
    await share.publish(2)
    share.targets_version += 1
    fields = {"p2pckpt": {"tags": {"stable": 2, "old": 1}, "trackers": []}}
    del share.targets["v/1"]
    signed = sign(share.targets_file(unrecognized_fields=fields), owner)
    await owner.good("POST", f"{path}/targets", {"targets": b64(signed)})
    share.targets_version += 1
    await owner.good("POST", f"{path}/targets", {"targets": b64(sign(share.targets_file(), owner))})
    share.targets_version += 1
    await owner.good("POST", f"{path}/targets", {"targets": b64(sign(share.targets_file(), owner))})
    keyring = share.keyring(version=2, unrecognized_fields={"p2pckpt": {"epochs": [], "licence": "mit"}})
    await owner.good("POST", f"{path}/keyring", {"keyring": b64(sign(keyring, owner))})
    share.root_version = 2
    await owner.good("POST", f"{path}/root", {"root": b64(sign(share.root(), owner))})
    for role in ("viewer", "viewer", "publisher"):
        await owner.good("PUT", f"{path}/members/{member.identity}", {"role": role})
    await owner.call("DELETE", f"{path}/members/{member.identity}")
    await link.register()
    await link.redeem(joiner)
    await owner.call("DELETE", f"{path}/links/{link.link_id}")
    await guessed.register(role="viewer")
    for _ in range(5):
        await guessed.redeem(member, "00" * 32)
    for each in (asked, denied):
        await each.good("POST", f"{path}/requests", {"message": "hello"})
    await owner.good("PUT", f"{path}/members/{asked.identity}", {"role": "viewer"})
    await owner.call("DELETE", f"{path}/requests/{denied.identity}")
    rows = await read(owner, share.share_id)
    me = owner.identity
    assert [(row.actor, row.action, row.subject) for row in rows] == [
        (me, "create", "members"),
        (me, "publish", "v1"),
        (me, "publish", "v2"),
        (me, "retire", "v1"),
        (me, "tag", "old v1"),
        (me, "tag", "stable v2"),
        (me, "tag", "old"),
        (me, "tag", "stable"),
        (me, "targets", "6"),
        (me, "keyring", "2"),
        (me, "licence", "mit"),
        (me, "root", "2"),
        (me, "role", f"{member.identity} viewer"),
        (me, "role", f"{member.identity} publisher"),
        (me, "remove", member.identity),
        (me, "link", f"{link.link_id} downloader"),
        (joiner.identity, "join", link.link_id),
        (me, "link-revoked", link.link_id),
        (me, "link", f"{guessed.link_id} viewer"),
        ("", "link-burnt", guessed.link_id),
        (asked.identity, "request", ""),
        (denied.identity, "request", ""),
        (me, "approve", f"{asked.identity} viewer"),
        (me, "deny", denied.identity),
    ]
    assert all(abs(row.at - time.time()) < 600 for row in rows)
    assert await read(owner, share.share_id, limit=5) == rows


async def test_the_signed_timestamp_names_the_end_of_the_log(share: ShareFiles, person: Login) -> None:
    other = ShareFiles(share.owner, share.online_key, name="other")
    await other.create()
    assert await signed_head(share.owner, share.share_id) == {"seq": 0, "chain": "0" * 64}
    member = await person()
    await share.owner.good("PUT", f"/shares/{share.share_id}/members/{member.identity}", {"role": "viewer"})
    await share.publish(1)
    rows = await read(share.owner, share.share_id)
    assert await signed_head(share.owner, share.share_id) == {"seq": 3, "chain": rows[-1].chain}
    assert (await read(share.owner, other.share_id))[0].action == "create"
    before = (await share.owner.call("GET", f"/shares/{share.share_id}/metadata/timestamp.json")).body
    await read(share.owner, share.share_id)
    after = (await share.owner.call("GET", f"/shares/{share.share_id}/metadata/timestamp.json")).body
    assert after == before, "reading alone signs nothing"


async def test_a_log_that_has_grown_is_signed_without_anybody_reading_it(tracker: Tracker, share: ShareFiles) -> None:
    assert share.share_id in await tracker._services.freshness.due()
    await tracker._services.freshness.sign_again(share.share_id)
    assert await tracker._services.freshness.due() == []
    assert (await signed_head(share.owner, share.share_id))["seq"] == 1


async def test_a_fetch_is_recorded_once_a_member_and_version(
    tracker: Tracker, share: ShareFiles, person: Login
) -> None:
    first, second = [await share.publish(number) for number in (1, 2)]
    members = [await person() for _ in range(2)]
    for each in members:
        await share.owner.good("PUT", f"/shares/{share.share_id}/members/{each.identity}", {"role": "downloader"})
    before = len(await read(share.owner, share.share_id))
    for _ in range(3):
        torrent = f"/shares/{share.share_id}/blobs/torrent/{first}"
        assert (await members[0].call("GET", torrent)).status == 200
        await tracker._fetches.flush()
    for each in members:
        secret = await each.get_pass(share.share_id)
        for event in (SwarmEvent.STARTED, SwarmEvent.COMPLETED, SwarmEvent.COMPLETED):
            await each.announce([SwarmState(second, secret, 0, event)])
    rows = (await read(share.owner, share.share_id))[before:]
    assert [(row.actor, row.action, row.subject) for row in rows] == [
        (members[0].identity, "fetched", first),
        (members[0].identity, "fetched", second),
        (members[1].identity, "fetched", second),
    ]


async def test_who_guesses_gets_no_row(share: ShareFiles, person: Login) -> None:
    stranger = await person()
    before = await read(share.owner, share.share_id)
    for path in (
        f"/shares/{share.share_id}/requests",
        f"/shares/{secrets.token_hex(32)}/requests",
        "/shares/x/requests",
    ):
        assert (await share.owner.call("POST", path, {})).status == 202
    assert (await stranger.call("GET", f"/shares/{share.share_id}/log")).status == 404
    for query in ("after=-1", "after=x", "limit=0x1", "limit=501", f"after={'9' * 40}"):
        assert (await share.owner.call("GET", f"/shares/{share.share_id}/log?{query}")).status == 400
    assert await read(share.owner, share.share_id) == before
