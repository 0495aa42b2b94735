"""What the table of routes says, what it leaves out, and who stays in a share. Its cells: test_route_table.py."""

from __future__ import annotations

from dataclasses import replace

import pytest

from p2pckpt_tracker.route_table import ROUTES

from .conftest import Login
from .people import Person, ShareFiles, b64, sign


@pytest.mark.parametrize("method", ["PATCH", "PUT", "DELETE", "POST", "TRACE"])
async def test_what_the_table_does_not_name_does_not_exist(person: Login, method: str) -> None:
    someone = await person()
    for path in ("/tracker", "/", "/shares/x/y", "/events", "/../tracker.key"):
        if (method, path) in {("POST", "/tokens")}:
            continue
        answer = await someone.call(method, path)
        assert answer.status in (404, 405)
        assert answer.headers["Content-Type"] == "application/problem+json"


async def test_an_unknown_share_looks_like_one_that_is_hidden(share: ShareFiles, person: Login) -> None:
    stranger = await person()
    hidden = await stranger.call("GET", f"/shares/{share.share_id}")
    absent = await stranger.call("GET", f"/shares/{'ab' * 32}")
    assert (hidden.status, hidden.body) == (absent.status, absent.body) == (404, absent.body)


async def test_the_last_owner_stays(share: ShareFiles, person: Login) -> None:
    second = await person()
    members = f"/shares/{share.share_id}/members"
    mine = f"{members}/{share.owner.identity}"
    assert (await share.owner.call("PUT", mine, {"role": "viewer"})).status == 409
    assert (await share.owner.call("DELETE", mine)).status == 409
    answer = await share.owner.call("PUT", f"{members}/{second.identity}", {"role": "owner"})
    assert (answer.status, "sign a root" in answer.json()["detail"]) == (409, True), "the root does not name it"
    await share.add_owner(second)
    for method, body in (("DELETE", None), ("PUT", {"role": "viewer"})):
        answer = await second.call(method, mine, body)
        assert (answer.status, "sign a root" in answer.json()["detail"]) == (409, True), "the root names it"
    alone = replace(share, owner=second, co_owners=(), root_version=3, targets_version=3, keyring_version=2)
    files = {"root": alone.root(), "targets": alone.targets_file(), "keyring": alone.keyring()}
    await second.good(
        "POST", f"/shares/{share.share_id}/root", {name: b64(sign(file, second)) for name, file in files.items()}
    )
    assert (await second.call("DELETE", mine)).status == 204
    assert (await share.owner.call("GET", members)).status == 404
    assert (await second.call("PUT", f"{members}/{second.identity}", {"role": "viewer"})).status == 409


async def test_somebody_is_added_before_their_first_login(share: ShareFiles, session: object, url: str) -> None:
    newcomer = Person(session, url)  # type: ignore[arg-type]
    members = f"/shares/{share.share_id}/members"
    record = await share.owner.good("PUT", f"{members}/{newcomer.identity}", {"role": "viewer"})
    assert (record["name"], record["receive_key"]) == ("", "")
    await newcomer.login()
    listed = await share.owner.good("GET", members)
    assert {each["identity"]: each["receive_key"] for each in listed} == {
        share.owner.identity: share.owner.receive_key,
        newcomer.identity: newcomer.receive_key,
    }
    assert (await share.owner.call("PUT", f"{members}/{'x' * 64}", {"role": "viewer"})).status == 400
    unknown_role = await share.owner.call("PUT", f"{members}/{newcomer.identity}", {"role": "god"})
    assert unknown_role.status == 400


def test_the_table_is_not_empty_and_names_nothing_twice() -> None:
    assert len(ROUTES) > 20
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)
    assert len({route.name for route in ROUTES}) == len(ROUTES)


def test_the_table_says_what_was_decided() -> None:
    """Written out a second time on purpose: the walk above follows the table wherever it goes."""
    by_need: dict[str, set[str]] = {}
    for route in ROUTES:
        by_need.setdefault(route.need.value, set()).add(route.name)
    assert by_need == {
        "anyone": {"tracker_info", "make_challenge", "log_in"},
        "account": {
            "list_shares", "create_share", "link_info", "redeem_link", "announce", "stream_events", "request_access",
        },
        "viewer": {"show_share", "read_metadata", "get_manifest", "get_card"},
        "downloader": {
            "get_torrent", "list_members", "list_peers", "make_pass", "accept_licence", "issue_certificate",
        },
        "publisher": {"publish_targets", "put_manifest", "put_torrent", "put_card"},
        "owner": {
            "publish_keyring", "publish_root", "set_member", "remove_member", "create_link", "list_links",
            "revoke_link", "rewrap_link", "propose_root", "read_proposal", "withdraw_proposal",
            "list_requests", "deny_request", "read_log",
        },
    }  # fmt: skip
    behind_the_licence = {"get_torrent", "list_peers", "make_pass", "issue_certificate"}
    assert {route.name for route in ROUTES if route.licence} == behind_the_licence
