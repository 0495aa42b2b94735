"""The table of routes against every kind of caller, cell by cell."""

from __future__ import annotations

import secrets

import pytest

from p2pckpt.tracker_protocol import Role
from p2pckpt_tracker.route_table import ROUTES, Who

from .conftest import Login
from .people import Person, ShareFiles

CALLERS = ("nobody", "account", *Role)


def expected(need: Role | Who, caller: str) -> set[int]:
    """Statuses that mean "let in" are all but 401, 403, 404; here: which refusal it must be, if any."""
    if need is Who.ANYONE:
        return set()
    if caller == "nobody":
        return {401}
    if need is Who.ACCOUNT:
        return set()
    if caller == "account":
        return {404}
    assert isinstance(need, Role)
    return set() if Role(caller).covers(need) else {403}


async def test_every_route_lets_in_exactly_those_whom_the_table_names(share: ShareFiles, person: Login) -> None:
    callers: dict[str, Person] = {"nobody": await person(), "account": await person(), "owner": share.owner}
    callers["nobody"].token = ""
    for role in (Role.VIEWER, Role.DOWNLOADER, Role.PUBLISHER):
        callers[role] = await person()
        await share.owner.good("PUT", f"/shares/{share.share_id}/members/{callers[role].identity}", {"role": role})
    cells = 0
    for route in ROUTES:
        for caller in CALLERS:
            if route.name == "stream_events" and caller != "nobody":
                continue  # answers for ever; test_events lets all of them in
            answer = await callers[caller].call(route.method, api_path(route.path, share.share_id))
            refusals = expected(route.need, caller)
            if refusals:
                assert answer.status in refusals, (route, caller, answer.status)
            else:
                assert answer.status not in (401, 500, 503), (route, caller, answer.body)
                assert b"role too low" not in answer.body, (route, caller)
                if route.method == "POST" and "{link}" not in route.path:
                    assert answer.status != 404, (route, caller)
            cells += 1
    assert cells == len(ROUTES) * len(CALLERS) - (len(CALLERS) - 1)
    for name, caller in callers.items():
        if name != "nobody":
            assert (await caller.call("GET", "/shares")).status == 200, "nobody lost access on the way"


def api_path(path: str, share_id: str) -> str:
    """A path below the API with parts that lead to nothing, so that letting in changes nothing."""
    filled = path.format(
        share=share_id,
        file="9.root.json",
        blob="ab" * 32,
        identity=secrets.token_hex(32),
        link=secrets.token_hex(8),
    )
    return filled.removeprefix("/api/v1")


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
    await share.owner.good("PUT", f"{members}/{second.identity}", {"role": "owner"})
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
        "account": {"list_shares", "create_share", "link_info", "redeem_link", "announce", "stream_events"},
        "viewer": {"show_share", "read_metadata", "get_manifest", "get_card"},
        "downloader": {"get_torrent", "list_members", "make_pass"},
        "publisher": {"publish_targets", "put_manifest", "put_torrent", "put_card"},
        "owner": {
            "publish_keyring", "publish_root", "set_member", "remove_member", "create_link", "list_links",
            "revoke_link",
        },
    }  # fmt: skip
